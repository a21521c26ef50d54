package aws

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

func message(body string, headers ...sink.Header) *sink.Message {
	return &sink.Message{ID: "shop_1", Key: []byte("k"), Body: []byte(body), ContentType: "application/json", Signal: "post_save", Model: "a.B", Headers: headers}
}

func TestNewEntry(t *testing.T) {
	h := func(name, value string) sink.Header { return sink.Header{Name: name, Value: value} }
	many := func(n int) (hs []sink.Header) {
		for i := range n {
			hs = append(hs, h(fmt.Sprint("n", i), "v"))
		}
		return hs
	}
	tests := []struct {
		name string
		m    *sink.Message
		code string // "" = is an entry
	}{
		{"plain", message("{}"), ""},
		{"any text", message("\t\r\n \u00a0\u2028\ue000🎉\ufffd"), ""},
		{"all attributes", message("{}", many(5)...), ""},
		{"empty ones do not count", message("{}", append(many(5), h("empty", ""))...), ""},
		{"names", message("{}", h("A-b_c.d", "Müller"), h("a-b_c.d", "x")), ""},
		{"empty", message(""), CodeBody},
		{"control character", message("a\x1fb"), CodeBody},
		{"no UTF-8", message("a\xff"), CodeBody},
		{"no character", message("a\uffff"), CodeBody},
		{"too many", message("{}", many(6)...), CodeHeader},
		{"ours", message("{}", h(sink.HeaderSignal, "x")), CodeHeader},
		{"twice", message("{}", h("x", "1"), h("x", "2")), CodeHeader},
		{"name", message("{}", h("a b", "x")), CodeHeader},
		{"dots", message("{}", h("a..b", "x")), CodeHeader},
		{"reserved", message("{}", h("AWS.x", "x")), CodeHeader},
		{"long name", message("{}", h(strings.Repeat("x", 257), "x")), CodeHeader},
		{"value", message("{}", h("a", "x\x00")), CodeHeader},
		{"too large", message(strings.Repeat("x", 4000)), CodeTooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, err := NewEntry(3, tt.m, 4000)
			if tt.code != "" {
				if err == nil || sink.Classify(err).Code != tt.code || sink.Classify(err).Class != sink.Permanent {
					t.Errorf("got %v, want %s", err, tt.code)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if e.Index != 3 || e.Text != string(tt.m.Body) || len(e.Attributes) > MaxAttributes || e.Size <= len(e.Text) {
				t.Errorf("got %+v", e)
			}
		})
	}
}

func TestBatches(t *testing.T) {
	const kib = 1 << 10
	tests := []struct {
		sizes, want []int // bytes of entries; entries of requests
	}{
		{nil, nil},
		{[]int{1}, []int{1}},
		{slices.Repeat([]int{1}, 25), []int{10, 10, 5}},
		{[]int{256 * kib, 1, 256 * kib}, []int{1, 1, 1}},
		{[]int{128 * kib, 128 * kib, 1}, []int{2, 1}},
		{[]int{1000 * kib, 100 * kib, 100 * kib}, []int{1, 2}},
	}
	for _, tt := range tests {
		var entries []*Entry
		for _, n := range tt.sizes {
			entries = append(entries, &Entry{Size: n})
		}
		var got []int
		for _, b := range batches(entries) {
			got = append(got, len(b))
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%v: got %v, want %v", tt.sizes, got, tt.want)
		}
	}
}

// A request that is refused whole is made again for each message; one that failed for
// another reason is not.
func TestDeliver(t *testing.T) {
	entries := []*Entry{{Index: 0, Text: "a"}, {Index: 2, Text: "bad"}, {Index: 3, Text: "c"}}
	for _, tt := range []struct {
		class    sink.Class
		requests int
		failed   string
	}{{sink.Rejected, 4, "[2]"}, {sink.Permanent, 4, "[2]"}, {sink.Unavailable, 1, "[0 2 3]"}, {sink.Misconfigured, 1, "[0 2 3]"}} {
		errs := make([]error, 4)
		requests := 0
		Deliver(entries, errs, func(batch []*Entry, o *Outcome) *sink.Error {
			requests++
			for i, e := range batch {
				if e.Text == "bad" {
					return &sink.Error{Class: tt.class}
				}
				o.Set(ID(i), nil)
			}
			return nil
		})
		var failed []int
		for i, err := range errs {
			if err != nil {
				failed = append(failed, i)
			}
		}
		if requests != tt.requests || fmt.Sprint(failed) != tt.failed {
			t.Errorf("%s: %d requests, failed %v", tt.class, requests, failed)
		}
	}
}

// What an answer does not mention, or mentions wrongly, is not accepted.
func TestOutcomeOfStrangeAnswers(t *testing.T) {
	errs := make([]error, 2)
	Deliver([]*Entry{{Index: 0}, {Index: 1}}, errs, func(_ []*Entry, o *Outcome) *sink.Error {
		for _, id := range []string{"", "x", "-1", "2"} {
			o.Set(&id, nil)
		}
		o.Set(nil, nil)
		o.Set(ID(1), nil)
		return nil
	})
	if errs[0] == nil || sink.Classify(errs[0]).Class != sink.Unavailable || errs[1] != nil {
		t.Errorf("got %v", errs)
	}
}

func TestTokens(t *testing.T) {
	seen := map[string]bool{}
	for _, key := range []string{"1", `["shop",1]`, "a b", "Müller", "\xff", strings.Repeat("x", 128), strings.Repeat("x", 129), strings.Repeat("x", 130)} {
		g := MessageGroup(&sink.Message{ID: "id", Key: []byte(key)})
		if g == "" || len(g) > 128 || seen[g] || strings.ContainsFunc(g, func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Errorf("%.20q: group %q", key, g)
		}
		seen[g] = true
	}
	if g := MessageGroup(&sink.Message{ID: "id"}); g != "id" {
		t.Errorf("without a key: group %q", g)
	}
	if d := Deduplication(&sink.Message{ID: "shop_1"}); d != "shop_1" {
		t.Errorf("deduplication id %q", d)
	}
}
