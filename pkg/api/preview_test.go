package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/waltrigger/waltrigger/pkg/api"
)

func TestPreviewBodies(t *testing.T) {
	s := newServer(t)
	s.want(http.StatusCreated, s.do("POST", collection, examples[0]))
	whole := func(sample string) string { return `{"trigger":{"name":"n",` + examples[2][1:] + sample + `}` }
	for _, c := range []struct {
		path, body string
		status     int
		want       string // the reason, or the problems
	}{
		{"/preview", whole(""), 200, " 0 0 true n"},
		{"/preview/", whole(`,"sample":"latest"`), 200, " 0 0 true n"},
		{"/preview", whole(`,"sample":null`), 200, " 0 0 true n"},
		{"/preview", whole(`,"sample":{}`), 200, " 0 0 true n"},
		{"/preview", whole(`,"sample":{"operation":"update","before":{"a":1},"after":{"a":2,"b":[{}]}}`), 200, "update 2 0 false n"},
		{"/preview", whole(`,"sample":{"operation":"truncate"}`), 200, "truncate 0 0 false n"},
		{"/1/preview", "", 200, " 0 0 true"},
		{"/1/test", "", 200, " 0 0 true"},
		{"/1/test", `{"sample":{"key":{"id":7}}}`, 200, " 0 1 false"},
		{"/2/preview", "", 404, "not_found"},
		{"/x/test", "", 404, "not_found"},
		{"/preview", "{}", 422, "/trigger required"},
		{"/preview", `{"trigger":[]}`, 422, "/trigger invalid_type"},
		{"/preview", `{"trigger":{"webhooks":[{"url":""}],"x":1}}`, 422, "/trigger/webhooks/0/url required;/trigger/x unknown_field;/trigger/config_signals required;/trigger/content_types required"},
		{"/1/preview", `{"trigger":{}}`, 422, "/trigger unknown_field"},
		{"/1/preview", `{"sample":"newest"}`, 422, "/sample invalid"},
		{"/1/preview", `{"sample":[1]}`, 422, "/sample invalid_type"},
		{"/1/preview", `{"sample":{"operation":"upsert","after":[],"content_type":{"app_label":"pg_x"},"x":1}}`, 422, "/sample/operation invalid;/sample/after invalid_type;/sample/content_type/model_name required;/sample/content_type/app_label not_allowed;/sample/x unknown_field"},
		{"/1/preview", `{"sample":{"key":{},"latest":true}}`, 422, "/sample/latest conflict"},
		{"/1/preview", `{"sample":{"key":{},"after":{}}}`, 422, "/sample conflict"},
		{"/1/preview", `{"sample":{"operation":"truncate","after":{}}}`, 422, "/sample conflict"},
		{"/1/preview", `{"sample":{"operation":"delete","after":{}}}`, 422, "/sample/after conflict"},
		{"/1/preview", `{"sample":{"operation":"insert","before":{}}}`, 422, "/sample/before conflict"},
		{"/1/preview", `{"sample":{"operation":"update","before":{}}}`, 422, "/sample/after required"},
		{"/1/preview", `{"sample":{"after":{"a":1,"a":2}}}`, 400, "/sample/after/a duplicate_key"},
		{"/1/preview", `[]`, 422, " invalid_type"},
		{"/1/preview", `{`, 400, " malformed_json"},
	} {
		a := s.do("POST", collection+c.path, c.body)
		got := s.want(c.status, a)
		said, _ := got["reason"].(string)
		if c.status != 200 {
			said = a.problems(t)
		}
		if said != c.want {
			t.Errorf("%s %s: %q, want %q", c.path, c.body, said, c.want)
		}
	}
	if a := s.do("GET", collection+"/1/shadow", ""); a.status != http.StatusOK || !strings.Contains(string(a.body), `"destination":"d1"`) {
		t.Errorf("shadow: %d %s", a.status, a.body)
	}
	s.want(http.StatusNotFound, s.do("GET", collection+"/2/shadow", ""))
}

// TestPreviewLimits: what asks other machines at the caller's word is bounded, and not
// for everybody.
func TestPreviewLimits(t *testing.T) {
	s := newServer(t, api.NewToken("r", "reader-reader-reader", []string{api.ScopeRead}), api.NewToken("a", "admin-admin-admin", []string{api.ScopeAdmin}))
	s.token = "admin-admin-admin"
	s.want(http.StatusCreated, s.do("POST", collection, examples[0]))
	s.token = "reader-reader-reader"
	for _, path := range []string{"/preview", "/1/preview", "/1/test"} {
		s.want(http.StatusForbidden, s.do("POST", collection+path, "{}"))
	}
	s.want(http.StatusForbidden, s.do("GET", collection+"/1/shadow", ""))
	s.token = "admin-admin-admin"
	for path, most := range map[string]int{"/1/test": 10, "/1/preview": 100} {
		refused := 0
		for range most {
			if a := s.do("POST", collection+path, ""); a.status == http.StatusTooManyRequests && a.header.Get("Retry-After") == "1" {
				refused++
			} else if a.status != http.StatusOK {
				t.Fatalf("%s: %d %s", path, a.status, a.body)
			}
		}
		if refused == 0 {
			t.Errorf("%d of %s in a moment", most, path)
		}
	}
}
