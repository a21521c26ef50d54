package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/sink/sinktest"
)

func batched(url string, i int, body string) *sink.Message {
	m := message(url)
	m.ID, m.Body, m.Params["batch"] = fmt.Sprintf("shop_1_%d_post_save_d1", i), []byte(body), "100"
	return m
}

func sendAll(t *testing.T, s *Sink, msgs ...*sink.Message) []error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return s.Send(ctx, msgs)
}

func TestBatch(t *testing.T) {
	r := sinktest.NewReceiver(t)
	s, _ := newSink(t, nil)
	a, b, c, d := batched(r.URL, 1, `{"a": 1.50}`), batched(r.URL, 2, "O'Brien said \"<é>\"\n"), batched(r.URL, 3, "null"), batched(r.URL, 4, "1")
	b.ContentType = "text/plain; charset=utf-8"
	for _, m := range []*sink.Message{a, b, c} {
		m.Headers = []sink.Header{{Name: "Authorization", Value: "Bearer x"}}
	}
	for range 2 {
		if errs := sendAll(t, s, a, d, b, c); errs != nil {
			t.Fatal(errs)
		}
	}
	got := r.Requests()
	if len(got) != 4 {
		t.Fatalf("%d requests", len(got))
	}
	if body := string(got[0].Body); body != `[{"a": 1.50},"O'Brien said \"<é>\"\n",null]` {
		t.Errorf("body %s", body)
	}
	ids := strings.Join([]string{a.ID, b.ID, c.ID}, ",")
	h := got[0].Header
	if h.Get("webhook-batch-ids") != ids || !strings.HasPrefix(h.Get("webhook-id"), "batch_") || h.Get("Content-Type") != "application/json" || h.Get("Authorization") != "Bearer x" {
		t.Errorf("headers %v", h)
	}
	if again := got[2].Header.Get("webhook-id"); again != h.Get("webhook-id") {
		t.Errorf("sent again as %s, first as %s", again, h.Get("webhook-id"))
	}
	if h := got[1].Header; string(got[1].Body) != "[1]" || h.Get("webhook-id") != d.ID || h.Get("webhook-batch-ids") != d.ID {
		t.Errorf("alone: %s with %v", got[1].Body, h)
	}
	if errs := sendAll(t, s, a, b); errs != nil {
		t.Fatal(errs)
	}
	if id := r.Requests()[4].Header.Get("webhook-id"); id == h.Get("webhook-id") {
		t.Error("other messages have the same id")
	}
}

func TestBatchOfCloudEvents(t *testing.T) {
	r := sinktest.NewReceiver(t)
	s, _ := newSink(t, nil)
	a, b, c := batched(r.URL, 1, `{"id":"1"}`), batched(r.URL, 2, `{"id":"2"}`), batched(r.URL, 3, `{}`)
	a.ContentType, b.ContentType = "application/cloudevents+json", "application/cloudevents+json; charset=utf-8"
	if errs := sendAll(t, s, a, b, c); errs != nil {
		t.Fatal(errs)
	}
	got := r.Requests()
	if len(got) != 2 || string(got[0].Body) != `[{"id":"1"},{"id":"2"}]` || got[0].Header.Get("Content-Type") != "application/cloudevents-batch+json" || got[1].Header.Get("Content-Type") != "application/json" {
		t.Errorf("got %+v", got)
	}
}

func TestBatchFailsAsAWhole(t *testing.T) {
	r := sinktest.NewReceiver(t)
	s, _ := newSink(t, nil)
	r.Fault(func(_ int, q *http.Request) sinktest.Fault {
		if strings.Contains(q.Header.Get("webhook-batch-ids"), "_2_") {
			return sinktest.Fault{Status: http.StatusUnprocessableEntity}
		}
		return sinktest.Fault{}
	})
	other := batched(r.URL, 4, "4")
	other.Headers = []sink.Header{{Name: "X", Value: "y"}}
	errs := sendAll(t, s, batched(r.URL, 1, "1"), other, batched(r.URL, 2, "2"), batched(r.URL, 3, "3"))
	for i, err := range errs {
		if i == 1 {
			if err != nil {
				t.Errorf("the other request: %v", err)
			}
			continue
		}
		if e := checkError(t, err, sink.Rejected, "http_422"); e.Shared != 3 {
			t.Errorf("shared by %d", e.Shared)
		}
	}
	if e := checkError(t, sendAll(t, s, batched(r.URL, 2, "2"))[0], sink.Rejected, "http_422"); e.Shared > 1 {
		t.Errorf("alone it is shared by %d", e.Shared)
	}
	bad := batched(r.URL, 5, "5")
	bad.ID = "a\nb"
	if errs := sendAll(t, s, bad); !errors.As(errs[0], new(*sink.Error)) {
		t.Errorf("an id with a line break: %v", errs)
	}
}

// TestBatchIsBounded cuts what would be too much for a receiver, and loses nothing of it.
func TestBatchIsBounded(t *testing.T) {
	r := sinktest.NewReceiver(t)
	s, _ := newSink(t, nil)
	var msgs []*sink.Message
	for i := range 1000 {
		m := batched(r.URL, i, fmt.Sprint(i))
		if i%100 == 0 {
			m.Body = []byte(`"` + strings.Repeat("x", 400_000) + `"`)
		}
		msgs = append(msgs, m)
	}
	huge := batched(r.URL, 1000, `"`+strings.Repeat("x", 3<<20)+`"`)
	if errs := sendAll(t, s, append(msgs, huge)...); errs != nil {
		t.Fatal(errs[0])
	}
	var items []any
	for _, q := range r.Requests() {
		var part []any
		if err := json.Unmarshal(q.Body, &part); err != nil {
			t.Fatal(err)
		}
		if len(part) > 1 && len(q.Body) > maxBatchBody+2 || len(q.Header.Get("webhook-batch-ids")) > maxEvents {
			t.Errorf("%d payloads of %d bytes, %d bytes of ids", len(part), len(q.Body), len(q.Header.Get("webhook-batch-ids")))
		}
		if n := strings.Count(q.Header.Get("webhook-batch-ids"), ",") + 1; n != len(part) {
			t.Errorf("%d ids for %d payloads", n, len(part))
		}
		items = append(items, part...)
	}
	if len(items) != 1001 || len(r.Requests()) > 20 {
		t.Errorf("%d payloads in %d requests", len(items), len(r.Requests()))
	}
}

// TestManyHeaders: messages that all differ go in requests of their own.
func TestManyHeaders(t *testing.T) {
	r := sinktest.NewReceiver(t)
	s, _ := newSink(t, nil)
	var msgs []*sink.Message
	for i := range 50 {
		m := batched(r.URL, i, fmt.Sprint(i))
		m.Headers = []sink.Header{{Name: "X", Value: fmt.Sprint(i)}}
		msgs = append(msgs, m)
	}
	if errs := sendAll(t, s, msgs...); errs != nil {
		t.Fatal(errs)
	}
	for i, q := range r.Requests() {
		if string(q.Body) != fmt.Sprintf("[%d]", i) || q.Header.Get("X") != fmt.Sprint(i) {
			t.Errorf("request %d: %s %s", i, q.Body, q.Header.Get("X"))
		}
	}
}
