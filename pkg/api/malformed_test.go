package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
)

// malformed is a case of testdata/api/malformed.json. A body is valid but for what Set
// adds to it or puts in the place of a field; or it is Body, as it stands. {n:x} in
// either stands for x, n times.
type malformed struct {
	Name    string
	Method  string // POST where empty
	Path    string // the collection where empty
	Headers []string
	Set     map[string]json.RawMessage
	Webhook string // fields of the one webhook, besides a valid url
	Body    *string
	Status  int
	Errors  string // "pointer code" of each, in order
}

func (m malformed) body(t *testing.T) string {
	t.Helper()
	if m.Body != nil {
		return repeat(t, *m.Body)
	}
	fields := map[string]json.RawMessage{
		"config_signals": json.RawMessage(`[{"signal":"post_save"}]`),
		"content_types":  json.RawMessage(`[{"app_label":"myapp","model_name":"Sale"}]`),
		"webhooks":       json.RawMessage(`[{"url":"https://example.com"` + m.Webhook + `}]`),
	}
	for k, v := range m.Set {
		fields[k] = v
	}
	b, err := json.Marshal(fields)
	if err != nil {
		t.Fatalf("%s: %v", m.Name, err)
	}
	return repeat(t, string(b))
}

// repeat writes {{{n:x}}} as n times x.
func repeat(t *testing.T, s string) string {
	t.Helper()
	for {
		before, rest, ok := strings.Cut(s, "{{{")
		if !ok {
			return s
		}
		inner, after, _ := strings.Cut(rest, "}}}")
		var n int
		count, x, _ := strings.Cut(inner, ":")
		if _, err := fmt.Sscan(count, &n); err != nil {
			t.Fatalf("%s: %v", inner, err)
		}
		s = before + strings.Repeat(x, n) + after
	}
}

func TestMalformedBodies(t *testing.T) {
	data, err := os.ReadFile("../../testdata/api/malformed.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []malformed
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 80 {
		t.Fatalf("only %d cases", len(cases))
	}
	s := newServer(t)
	valid := s.do("POST", collection, examples[0])
	s.want(http.StatusCreated, valid)
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			method, path := c.Method, c.Path
			if method == "" {
				method = "POST"
			}
			if path == "" {
				path = collection
			}
			res := s.do(method, path, c.body(t), c.Headers...)
			if res.status != c.Status {
				t.Fatalf("got %d %.1000s, want %d", res.status, res.body, c.Status)
			}
			if res.header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("type %s", res.header.Get("Content-Type"))
			}
			if got := res.problems(t); got != c.Errors {
				t.Errorf("got  %s\nwant %s", got, c.Errors)
			}
			if len(res.body) > 64<<10 {
				t.Errorf("an answer of %d bytes", len(res.body))
			}
			// Nothing is harmed: what was there is, and the next one is served.
			if read := s.do("GET", valid.header.Get("Location"), ""); string(read.body) != string(valid.body) {
				t.Fatalf("the trigger that was there: %s", read.body)
			}
			next := s.do("POST", collection, examples[1])
			if next.status != http.StatusCreated {
				t.Fatalf("the next POST: %d %s", next.status, next.body)
			}
			s.want(http.StatusNoContent, s.do("DELETE", next.header.Get("Location"), ""))
		})
	}
	if all, err := s.service.store.Triggers(t.Context(), queryAll); err != nil || len(all) != 1 {
		t.Errorf("%d triggers are left (%v)", len(all), err)
	}
}
