package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/waltrigger/waltrigger/pkg/signal"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// maxLimit is the longest page.
const maxLimit = 1000

func (a *api) listTriggers(ctx context.Context, r *request) (*response, error) {
	q, err := parseQuery(r.query)
	if err != nil {
		return nil, err
	}
	limit := q.Limit
	if limit > 0 {
		q.Limit++ // one more tells whether there is a next page
	}
	recs, err := a.Triggers.List(ctx, q)
	if err != nil {
		return nil, err
	}
	header := map[string]string{}
	if limit > 0 && len(recs) > limit {
		recs = recs[:limit]
		next := url.Values{}
		for k, v := range r.query {
			next[k] = v
		}
		next.Set("cursor", cursor(recs[limit-1].Trigger.ID))
		header["Link"] = fmt.Sprintf(`</api/action-triggers?%s>; rel="next"`, next.Encode())
	}
	body := []byte{'['}
	for i, rec := range recs {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, show(rec, a.Secret)...)
	}
	return &response{status: http.StatusOK, header: header, body: json.RawMessage(append(body, ']'))}, nil
}

func parseQuery(v url.Values) (trigger.Query, error) {
	q := trigger.Query{
		Name: v.Get("name"), Source: v.Get("source"), ContentType: v.Get("content_type"), Signal: v.Get("signal"),
		Mode: trigger.Mode(v.Get("mode")), State: v.Get("state"),
	}
	if err := onlyQuery(v, "limit", "cursor", "name", "source", "content_type", "signal", "active", "mode", "state"); err != nil {
		return q, err
	}
	if v.Has("mode") && q.Mode != trigger.Live && q.Mode != trigger.Shadow {
		return q, badRequest("invalid_query", "mode must be live or shadow")
	}
	if v.Has("state") && !slices.Contains(states, q.State) {
		return q, badRequest("invalid_query", "state must be one of %s", strings.Join(states, ", "))
	}
	if v.Has("limit") {
		n, err := strconv.Atoi(v.Get("limit"))
		if err != nil || n < 1 || n > maxLimit {
			return q, badRequest("invalid_query", "limit must be a whole number from 1 to %d", maxLimit)
		}
		q.Limit = n
	}
	if v.Has("cursor") {
		id, ok := parseCursor(v.Get("cursor"))
		if !ok {
			return q, badRequest("invalid_query", "cursor is none that this API gave out")
		}
		q.AfterID = id
	}
	if v.Has("active") {
		on := v.Get("active") == "true"
		if !on && v.Get("active") != "false" {
			return q, badRequest("invalid_query", "active must be true or false")
		}
		q.Active = &on
	}
	if v.Has("signal") {
		if _, err := signal.Parse(q.Signal); err != nil {
			return q, badRequest("invalid_query", "signal %v", err)
		}
	}
	return q, nil
}

// states are those of a trigger's status.
var states = []string{string(trigger.Active), string(trigger.Activating), string(trigger.Pending), trigger.StateInactive, trigger.StatePaused, trigger.StateBroken}

// cursor is opaque to clients, so that it may come to mean more than an id.
func cursor(id int64) string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "after:%d", id))
}

func parseCursor(s string) (int64, bool) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	text, ok := strings.CutPrefix(string(b), "after:")
	if err != nil || !ok {
		return 0, false
	}
	return parseID(text)
}

// onlyQuery refuses parameters that mean nothing: a filter that is misspelt must not
// pass for one that matches everything.
func onlyQuery(v url.Values, known ...string) error {
	for k, values := range v {
		if !slices.Contains(known, k) {
			return badRequest("invalid_query", "there is no query parameter %.40q here; there is %s", k, strings.Join(known, ", "))
		}
		if len(values) > 1 {
			return badRequest("invalid_query", "the query parameter %s is given twice", k)
		}
	}
	return nil
}
