package api_test

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/waltrigger/waltrigger/pkg/api"
	"github.com/waltrigger/waltrigger/pkg/store"
)

// noted keeps the audit in the store, as the daemon does.
type noted struct{ *store.Store }

func (n noted) Note(ctx context.Context, e api.AuditEntry) error {
	return n.Store.Note(ctx, store.AuditEntry(e))
}

func (n noted) Entries(ctx context.Context, before int64, limit int) ([]api.AuditEntry, error) {
	all, err := n.Audit(ctx, before, limit)
	var out []api.AuditEntry
	for _, e := range all {
		out = append(out, api.AuditEntry(e))
	}
	return out, err
}

func TestAudit(t *testing.T) {
	s := newServer(t, api.NewToken("ci", "s3cret-admin", []string{api.ScopeAdmin}), api.NewToken("viewer", "s3cret-read", nil))
	s.token = "s3cret-admin"
	s.want(http.StatusCreated, s.do("POST", collection, examples[0], "X-Request-Id: first"))
	s.want(http.StatusOK, s.do("PUT", collection+"/", strings.Replace(examples[0], "{", `{"id":1,`, 1)))
	s.want(http.StatusCreated, s.do("PUT", collection+"/by-name/a%20b", examples[1]))
	s.want(http.StatusOK, s.do("PATCH", collection+"/1/", `{"webhooks":[{"url":"https://x.com","headers":{"Authorization":"hunter2"}}]}`))
	s.want(http.StatusOK, s.do("POST", collection+"/1/pause", ""))
	s.want(http.StatusOK, s.do("POST", "/api/deliveries/erase", `{"filter": {"key": "7"}}`))
	s.want(http.StatusOK, s.do("POST", "/api/deliveries/5/retry", `{"render":"original"}`))
	s.want(http.StatusNoContent, s.do("DELETE", "/api/deliveries/5", ""))
	s.want(http.StatusOK, s.do("POST", "/api/destinations/d1/retry-now", ""))
	s.want(http.StatusNoContent, s.do("DELETE", collection+"?id=1", ""))
	// What changes nothing, or is refused, is not among them.
	s.do("POST", collection+"/preview", `{"trigger":`+examples[0]+`}`)
	s.do("POST", collection, `{}`)
	s.do("GET", collection, "")
	res := s.do("GET", "/api/audit", "")
	s.want(http.StatusOK, res)
	var all []api.AuditEntry
	if err := json.Unmarshal(res.body, &all); err != nil {
		t.Fatal(err)
	}
	slices.Reverse(all)
	var got []string
	for _, e := range all {
		if e.Token != "ci" || e.At.IsZero() || e.Request == "" {
			t.Errorf("noted %+v", e)
		}
		got = append(got, strings.TrimSpace(e.Verb+" "+e.Object+" "+e.Detail))
	}
	want := []string{
		"create action-triggers/1", "put action-triggers/1", "put action-triggers/2", "patch action-triggers/1", "pause action-triggers/1",
		`erase deliveries {"filter":{"key":"7"}}`, `retry deliveries/5 {"render":"original"}`, "erase deliveries/5", "retry-now destinations/d1", "delete action-triggers/1",
	}
	if !slices.Equal(got, want) || all[0].Request != "first" || strings.Contains(string(res.body), "hunter2") {
		t.Errorf("noted\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	res = s.do("GET", "/api/audit?limit=6", "")
	next, _, _ := strings.Cut(strings.TrimPrefix(res.header.Get("Link"), "<"), ">")
	res = s.do("GET", next, "")
	if s.want(http.StatusOK, res); strings.Count(string(res.body), `"verb"`) != 4 || res.header.Get("Link") != "" {
		t.Errorf("the rest: %s", res.body)
	}
	for _, bad := range []string{"limit=0", "cursor=x", "verb=create"} {
		s.want(http.StatusBadRequest, s.do("GET", "/api/audit?"+bad, ""))
	}
	s.token = "s3cret-read"
	s.want(http.StatusForbidden, s.do("GET", "/api/audit", ""))
}
