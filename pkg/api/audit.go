package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// Audit keeps who changed what. Errors are those of Triggers.
type Audit interface {
	Note(ctx context.Context, e AuditEntry) error
	// Entries lists those before the one with an id (0 = all), the latest first.
	Entries(ctx context.Context, before int64, limit int) ([]AuditEntry, error)
}

// AuditEntry is a change that somebody made by the API.
type AuditEntry struct {
	ID      int64     `json:"id"`
	At      time.Time `json:"at"`
	Token   string    `json:"token"` // name; "" = there are no tokens
	Verb    string    `json:"verb"`
	Object  string    `json:"object"`
	Detail  string    `json:"detail,omitempty"`
	Request string    `json:"request_id"`
}

// actions are the last segments of paths that say what is done.
var actions = []string{"pause", "resume", "cancel", "backfill", "test", "replay", "retry", "skip", "erase", "retry-now"}

// harmless are those of paths of which nothing is changed.
var harmless = []string{"preview"}

// maxDetail bounds the detail of an entry, bytes.
const maxDetail = 1000

// note notes a change that was made. It is made whether or not that can be noted.
func (a *api) note(ctx context.Context, method, path string, r *request, res *response) {
	e := AuditEntry{Object: strings.TrimPrefix(strings.TrimSuffix(path, "/"), "/api/")}
	if i := infoOf(ctx); i != nil {
		e.Token, e.Request = i.token, i.id
	}
	rest, last, _ := cutLast(e.Object)
	switch {
	case slices.Contains(harmless, last):
		return
	case slices.Contains(actions, last):
		e.Verb, e.Object = last, rest
	case method == http.MethodPost:
		e.Verb = "create"
	case method == http.MethodDelete && strings.HasPrefix(e.Object, "deliveries/"):
		e.Verb = "erase"
	case method == http.MethodDelete:
		e.Verb = "delete"
	case method == http.MethodPatch:
		e.Verb = "patch"
	default:
		e.Verb = "put"
	}
	if at := res.header["Location"]; at != "" && e.Verb != "backfill" {
		e.Object = strings.TrimPrefix(at, "/api/")
	} else if e.Object == "action-triggers" { // of the collection: its body or query says which
		id := r.query.Get("id")
		if n, _ := trigger.DecodeID(r.body); n != 0 {
			id = fmt.Sprint(n)
		}
		e.Object += "/" + id
	}
	if slices.Contains(actions, e.Verb) && e.Verb != "test" { // the body of a test is a row
		e.Detail = detail(r.body)
	}
	if err := a.Audit.Note(ctx, e); err != nil {
		a.Log.ErrorContext(ctx, "note who changed what", "request_id", e.Request, "token", e.Token, "verb", e.Verb, "object", e.Object, "error", err)
	}
}

// cutLast cuts a path before its last segment.
func cutLast(path string) (rest, last string, ok bool) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return path, "", false
	}
	return path[:i], path[i+1:], true
}

// detail is a body in short.
func detail(body []byte) string {
	var b bytes.Buffer
	if len(body) == 0 || json.Compact(&b, body) != nil {
		return ""
	}
	if b.Len() > maxDetail {
		return strings.ToValidUTF8(b.String()[:maxDetail], "") + "…"
	}
	return b.String()
}

func (a *api) listAudit(ctx context.Context, r *request) (*response, error) {
	if err := onlyQuery(r.query, "limit", "cursor"); err != nil {
		return nil, err
	}
	limit, err := pageLimit(r.query)
	if err != nil {
		return nil, err
	}
	before := int64(0)
	if r.query.Has("cursor") {
		var ok bool
		if before, ok = parseCursor(r.query.Get("cursor")); !ok {
			return nil, badRequest("invalid_query", "cursor is none that this API gave out")
		}
	}
	entries, err := a.Audit.Entries(ctx, before, limit+1)
	if err != nil {
		return nil, err
	}
	header := map[string]string{}
	if len(entries) > limit {
		entries = entries[:limit]
		header["Link"] = fmt.Sprintf(`</api/audit?limit=%d&cursor=%s>; rel="next"`, limit, cursor(entries[limit-1].ID))
	}
	res := list(entries)
	res.header = header
	return res, nil
}
