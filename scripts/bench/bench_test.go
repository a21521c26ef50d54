package main

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestRowID(t *testing.T) {
	tests := []struct {
		body string
		id   int64
		ok   bool
	}{
		{`{"id":7,"x":1}`, 7, true},
		{`{"a":"b","id": "12"}`, 12, true},
		{`{"id":"ab"}`, 0, false},
		{`{"product_id":3}`, 0, false},
		{``, 0, false},
		{`{"id":99999999999999999999}`, 999999999999999999, true},
	}
	for _, tt := range tests {
		if id, ok := rowID([]byte(tt.body)); id != tt.id || ok != tt.ok {
			t.Errorf("%s: %d %v, want %d %v", tt.body, id, ok, tt.id, tt.ok)
		}
	}
}

func TestRecorder(t *testing.T) {
	r := &recorder{}
	r.expect(1, 5000)
	for _, body := range []string{
		`{"id":1}`, `{"id":1001}`, // one customer, in order
		`{"id":2002}`, `{"id":2}`, // one customer, the wrong way round
		`{"id":1}`,    // again
		`{"id":9000}`, // not asked about
		`{}`,
	} {
		r.add([]byte(body))
	}
	if c := r.counts(); c.unique != 4 || c.dups != 1 || c.back != 1 || c.strange != 1 {
		t.Errorf("got %+v, want 4 unique, 1 twice, 1 out of order, 1 without id", c)
	}
}

func TestRecorderServes(t *testing.T) {
	r := &recorder{}
	r.expect(1, 10)
	url, stop, err := r.serve()
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	w, err := dialWire(url)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range []string{`{"id":1}`, `{"id":2}`} {
		if err := w.post([]byte(b)); err != nil {
			t.Fatal(err)
		}
	}
	if c := r.counts(); c.unique != 2 {
		t.Errorf("%d arrived, want 2", c.unique)
	}
}

func TestWireReportsRefusal(t *testing.T) {
	srv := &http.Server{Handler: http.NotFoundHandler()}
	ln, _, err := freePorts()
	if err != nil {
		t.Fatal(err)
	}
	srv.Addr = ln
	go func() { _ = srv.ListenAndServe() }()
	defer srv.Close()
	var w *wire
	for deadline := time.Now().Add(5 * time.Second); ; {
		if w, err = dialWire("http://" + ln + "/"); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	if err := w.post([]byte("{}")); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("error %v, want one with 404", err)
	}
}

func TestOptions(t *testing.T) {
	ok := options{postgres: "x", databases: []string{"postgres"}, rows: 1, reps: 1, workers: 1, ordering: "row", scenarios: []string{"http-tx100"}}
	tests := []struct {
		name   string
		change func(*options)
		want   string
	}{
		{"fine", func(*options) {}, ""},
		{"no postgres", func(o *options) { o.postgres = "" }, "-postgres"},
		{"no mysql", func(o *options) { o.databases = []string{"postgres", "mysql"} }, "-mysql"},
		{"unknown database", func(o *options) { o.databases = []string{"oracle"} }, `"oracle"`},
		{"no rows", func(o *options) { o.rows = 0 }, "-rows"},
		{"ordering", func(o *options) { o.ordering = "x" }, "-ordering"},
		{"unknown scenario", func(o *options) { o.scenarios = []string{"ftp"} }, `"ftp"`},
		{"kafka without broker", func(o *options) { o.scenarios = []string{"kafka-tx100"} }, "-kafka"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := ok
			tt.change(&o)
			err := o.check()
			if (tt.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestReportTakesTheMedian(t *testing.T) {
	var b bytes.Buffer
	var all []result
	for _, eps := range []float64{300, 100, 200} {
		all = append(all, result{Database: "postgres", Peer: "ref-http", Grouping: "tx100", PerSec: eps, Rows: 10, Received: 9, checked: true})
	}
	report(&b, all)
	if s := b.String(); !strings.Contains(s, " 200 ") || strings.Contains(s, " 300 ") {
		t.Errorf("not the median:\n%s", s)
	}
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if f := strings.Fields(lines[len(lines)-1]); f[9] != "3" {
		t.Errorf("lost %s, want the sum 3:\n%s", f[8], b.String())
	}
}
