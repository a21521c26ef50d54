package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// attempts is how often a write that found the trigger changed under it is begun anew.
const attempts = 4

func (a *api) getTrigger(ctx context.Context, r *request) (*response, error) {
	id, err := pathID(r)
	if err != nil {
		return nil, err
	}
	rec, err := a.Triggers.Get(ctx, id)
	return a.shown(http.StatusOK, rec, err)
}

func (a *api) getByName(ctx context.Context, r *request) (*response, error) {
	rec, err := a.Triggers.ByName(ctx, r.param("name"))
	return a.shown(http.StatusOK, rec, err)
}

func (a *api) createTrigger(ctx context.Context, r *request) (*response, error) {
	o, err := writeOptions(r)
	if err != nil {
		return nil, err
	}
	t, problems := trigger.Decode(r.body)
	if t != nil && t.ID != 0 {
		problems = append(problems, trigger.Problem{Pointer: "/id", Code: trigger.CodeReadOnly, Detail: "is given by the server; PUT changes a trigger that exists"})
	}
	if err := a.complete(ctx, 0, t, problems); err != nil {
		return nil, err
	}
	rec, err := a.Triggers.Create(ctx, t, o)
	return a.created(rec, err)
}

// replaceInBody is PUT on the collection: the body's id says which trigger.
func (a *api) replaceInBody(ctx context.Context, r *request) (*response, error) {
	t, problems := trigger.Decode(r.body)
	if t == nil {
		return nil, invalid(problems)
	}
	id, err := queryID(r)
	switch {
	case err != nil:
		return nil, err
	case id != 0 && t.ID != 0 && id != t.ID:
		return nil, badRequest("conflicting_id", "the id of the query and that of the body differ")
	case id == 0:
		id = t.ID
	}
	if id == 0 {
		if !hasProblem(problems, "/id") {
			problems = append(problems, trigger.Problem{Pointer: "/id", Code: trigger.CodeRequired, Detail: "is required: it says which trigger to replace"})
		}
		return nil, &problem{Status: http.StatusBadRequest, Code: "missing_id", Detail: "the body has no id", Errors: problems}
	}
	return a.replace(ctx, r, id, t, problems)
}

func hasProblem(problems []trigger.Problem, pointer string) bool {
	for _, p := range problems {
		if p.Pointer == pointer {
			return true
		}
	}
	return false
}

func (a *api) replaceTrigger(ctx context.Context, r *request) (*response, error) {
	id, err := pathID(r)
	if err != nil {
		return nil, err
	}
	t, problems := trigger.Decode(r.body)
	if t != nil && t.ID != 0 && t.ID != id {
		problems = append(problems, trigger.Problem{Pointer: "/id", Code: trigger.CodeReadOnly, Detail: "differs from the id in the path"})
	}
	return a.replace(ctx, r, id, t, problems)
}

func (a *api) replace(ctx context.Context, r *request, id int64, t *trigger.Trigger, problems []trigger.Problem) (*response, error) {
	o, err := writeOptions(r)
	if err != nil {
		return nil, err
	}
	if len(problems) > 0 {
		if trigger.Malformed(problems) {
			return nil, invalid(problems)
		}
		if _, err := a.Triggers.Get(ctx, id); err != nil {
			return nil, err
		}
		return nil, a.complete(ctx, id, t, problems)
	}
	rec, err := a.Triggers.Replace(ctx, id, t, o)
	return a.changed(rec, err)
}

// patchTrigger reads, merges and replaces what it read; if somebody else wrote in
// between, it does so again.
func (a *api) patchTrigger(ctx context.Context, r *request) (*response, error) {
	id, err := pathID(r)
	if err != nil {
		return nil, err
	}
	o, err := writeOptions(r)
	if err != nil {
		return nil, err
	}
	given := o.IfRevision
	for range attempts {
		rec, err := a.Triggers.Get(ctx, id)
		if err != nil {
			return nil, err
		}
		if given != 0 && given != rec.Revision {
			return nil, trigger.ErrStale
		}
		body, problems := trigger.MergePatch(rec.Trigger, r.body)
		if len(problems) > 0 {
			return nil, invalid(problems)
		}
		t, problems := trigger.Decode(body)
		if t != nil && t.ID != id {
			problems = append(problems, trigger.Problem{Pointer: "/id", Code: trigger.CodeReadOnly, Detail: "differs from the id in the path"})
		}
		if err := a.complete(ctx, id, t, problems); err != nil {
			return nil, err
		}
		o.IfRevision = rec.Revision
		rec, err = a.Triggers.Replace(ctx, id, t, o)
		if errors.Is(err, trigger.ErrStale) && given == 0 {
			continue
		}
		return a.changed(rec, err)
	}
	return nil, busy()
}

func busy() error {
	return &problem{Status: http.StatusConflict, Code: "conflict", Detail: "others keep changing this trigger; try again", RetryAfter: time.Second}
}

// putByName creates or replaces: sent twice, it does nothing the second time.
func (a *api) putByName(ctx context.Context, r *request) (*response, error) {
	o, err := writeOptions(r)
	if err != nil {
		return nil, err
	}
	t, problems := trigger.Decode(r.body)
	name := r.param("name")
	if t != nil && t.Name != "" && t.Name != name {
		problems = append(problems, trigger.Problem{Pointer: "/name", Code: trigger.CodeConflict, Detail: "differs from the name in the path"})
	}
	if t != nil && t.Name == "" && !hasProblem(problems, "/name") {
		if t.Name = name; trigger.CheckName(name) != "" {
			problems = append(problems, trigger.Problem{Pointer: "/name", Code: trigger.CodeInvalid, Detail: "in the path: " + trigger.CheckName(name)})
		}
	}
	for range attempts {
		rec, err := a.Triggers.ByName(ctx, name)
		if err != nil && !errors.Is(err, trigger.ErrNotFound) {
			return nil, err
		}
		exists := err == nil
		id := int64(0)
		if exists {
			id = rec.Trigger.ID
		}
		if t != nil && t.ID != 0 && t.ID != id {
			problems = append(problems, trigger.Problem{Pointer: "/id", Code: trigger.CodeReadOnly, Detail: "is not the id of the trigger of this name"})
		}
		if err := a.complete(ctx, id, t, problems); err != nil {
			return nil, err
		}
		if exists && r.header.Get("If-None-Match") == "*" || !exists && r.header.Get("If-Match") != "" {
			return nil, trigger.ErrStale
		}
		if exists {
			rec, err = a.Triggers.Replace(ctx, id, t.Clone(), o)
			if errors.Is(err, trigger.ErrNotFound) {
				continue
			}
			return a.changed(rec, err)
		}
		rec, err = a.Triggers.Create(ctx, t.Clone(), o)
		var conflict *trigger.ConflictError
		if errors.As(err, &conflict) && conflict.Pointer == "/name" {
			continue
		}
		return a.created(rec, err)
	}
	return nil, busy()
}

// deleteNamed is DELETE on the collection: one trigger, which must be named.
func (a *api) deleteNamed(ctx context.Context, r *request) (*response, error) {
	id, err := queryID(r)
	if err != nil {
		return nil, err
	}
	if len(r.body) > 0 {
		inBody, problems := trigger.DecodeID(r.body)
		switch {
		case len(problems) > 0:
			return nil, invalid(problems)
		case id != 0 && inBody != 0 && id != inBody:
			return nil, badRequest("conflicting_id", "the id of the query and that of the body differ")
		case id == 0:
			id = inBody
		}
	}
	if id == 0 {
		return nil, badRequest("missing_id", "say which trigger: ?id= or an id in the body; there is no way to delete all at once")
	}
	return a.delete(ctx, r, id)
}

func (a *api) deleteTrigger(ctx context.Context, r *request) (*response, error) {
	id, err := pathID(r)
	if err != nil {
		return nil, err
	}
	return a.delete(ctx, r, id)
}

func (a *api) delete(ctx context.Context, r *request, id int64) (*response, error) {
	rev, err := ifRevision(r)
	if err != nil {
		return nil, err
	}
	if err := a.Triggers.Delete(ctx, id, rev); err != nil {
		return nil, err
	}
	return &response{status: http.StatusNoContent}, nil
}

// complete returns nil if there are no problems, else all of them: those of the form
// and those that only the daemon can see.
func (a *api) complete(ctx context.Context, id int64, t *trigger.Trigger, problems []trigger.Problem) error {
	if len(problems) == 0 {
		return nil
	}
	if t != nil && !trigger.Malformed(problems) {
		problems = trigger.Join(problems, a.Triggers.Check(ctx, id, t))
	}
	return invalid(problems)
}

func (a *api) created(rec trigger.Record, err error) (*response, error) {
	status := http.StatusCreated
	if err == nil && activating(rec) {
		status = http.StatusAccepted
	}
	res, err := a.shown(status, rec, err)
	if err == nil {
		res.header["Location"] = fmt.Sprintf("/api/action-triggers/%d", rec.Trigger.ID)
	}
	return res, err
}

func (a *api) changed(rec trigger.Record, err error) (*response, error) {
	status := http.StatusOK
	if err == nil && activating(rec) {
		status = http.StatusAccepted
	}
	return a.shown(status, rec, err)
}

func activating(rec trigger.Record) bool { return rec.State() == string(trigger.Activating) }

func (a *api) shown(status int, rec trigger.Record, err error) (*response, error) {
	if err != nil {
		return nil, err
	}
	return &response{status: status, header: map[string]string{"ETag": etag(rec.Revision)}, body: json.RawMessage(show(rec, a.Secret))}, nil
}

func etag(revision int64) string { return fmt.Sprintf(`"r%d"`, revision) }

// ifRevision reads If-Match: 0 = any, -1 = none that can be stored.
func ifRevision(r *request) (int64, error) {
	header := r.header.Values("If-Match")
	if len(header) == 0 || len(header) == 1 && strings.TrimSpace(header[0]) == "*" {
		return 0, nil
	}
	if len(header) > 1 || strings.Contains(header[0], ",") {
		return 0, badRequest("invalid_if_match", "If-Match must be one ETag or *")
	}
	tag := strings.TrimSpace(header[0])
	if rev, ok := parseID(strings.TrimSuffix(strings.TrimPrefix(tag, `"r`), `"`)); ok && etag(rev) == tag {
		return rev, nil
	}
	return -1, nil
}

func writeOptions(r *request) (WriteOptions, error) {
	o := WriteOptions{Wait: true}
	if err := onlyQuery(r.query, "wait", "id"); err != nil {
		return o, err
	}
	var err error
	if o.IfRevision, err = ifRevision(r); err != nil {
		return o, err
	}
	switch v := r.query.Get("wait"); v {
	case "", "true":
	case "false":
		o.Wait = false
	default:
		return o, badRequest("invalid_query", "wait must be true or false")
	}
	return o, nil
}

// pathID reads the id of the path. What is no id names no trigger.
func pathID(r *request) (int64, error) {
	id, ok := parseID(r.param("id"))
	if !ok {
		return 0, trigger.ErrNotFound
	}
	return id, nil
}

// queryID reads ?id=, 0 if it is not given.
func queryID(r *request) (int64, error) {
	if !r.query.Has("id") {
		return 0, nil
	}
	id, ok := parseID(r.query.Get("id"))
	if !ok || len(r.query["id"]) > 1 {
		return 0, badRequest("invalid_query", "id must be one whole number from 1")
	}
	return id, nil
}

// parseID takes an id in the one way it is written, so that no two paths mean one
// trigger.
func parseID(s string) (int64, bool) {
	id, err := strconv.ParseInt(s, 10, 64)
	return id, err == nil && id > 0 && strconv.FormatInt(id, 10) == s
}

// triggerOf is the trigger that a query asks about, 0 if it asks about all.
func triggerOf(query url.Values) (int64, error) {
	if !query.Has("trigger") {
		return 0, nil
	}
	id, ok := parseID(query.Get("trigger"))
	if !ok {
		return 0, badRequest("invalid_query", "trigger must be the id of a trigger")
	}
	return id, nil
}
