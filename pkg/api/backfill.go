package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// Backfills send the rows that tables have already. Errors are those of Triggers,
// ErrNoSource, ErrNoBackfill and *RefusedError.
type Backfills interface {
	// Start makes a backfill: it is worked on by the active instance, behind those of the
	// same source that were made before.
	Start(ctx context.Context, s BackfillStart) (Backfill, error)
	// List gives those that f picks, the latest first.
	List(ctx context.Context, f BackfillFilter) ([]Backfill, error)
	Get(ctx context.Context, id string) (Backfill, error)
	// Change has one paused, resumed or cancelled.
	Change(ctx context.Context, id, verb string) (Backfill, error)
}

// Errors of Backfills.
var (
	ErrNoBackfill = errors.New("there is no such backfill")
	ErrNoSource   = errors.New("the configuration has no such source")
)

// Verbs of Backfills.Change.
const (
	VerbPause  = "pause"
	VerbResume = "resume"
	VerbCancel = "cancel"
)

// BackfillStart says which rows are sent to whom.
type BackfillStart struct {
	Trigger int64    // 0 = all of Source
	Source  string   // "" = that of the trigger
	Tables  []string // schema.table or app_label.model; none = all that the triggers name
	MaxRate float64  // rows a second; 0 = no limit
}

// BackfillFilter picks backfills: those to which all that is set applies.
type BackfillFilter struct {
	Trigger int64
	Source  string
	Open    bool // those that are not over
}

// Backfill is one.
type Backfill struct {
	ID         string          `json:"id"`
	Source     string          `json:"source"`
	Triggers   []int64         `json:"triggers"`
	State      string          `json:"state"`
	Detail     string          `json:"detail,omitempty"` // what it waits for, or why it failed
	Tables     []BackfillTable `json:"tables"`
	LeftOut    []string        `json:"left_out,omitempty"` // by Start: tables whose rows cannot be read in parts, and why
	Rows       int64           `json:"rows"`
	Estimate   *int64          `json:"estimated_rows"` // done ones included; null = unknown
	Rate       float64         `json:"rows_per_second"`
	MaxRate    float64         `json:"max_rate,omitempty"`
	CreatedAt  time.Time       `json:"created_at"`
	StartedAt  *time.Time      `json:"started_at,omitempty"`
	FinishedAt *time.Time      `json:"finished_at,omitempty"`
}

// BackfillTable is a table of a backfill.
type BackfillTable struct {
	Table    string `json:"table"` // schema.table
	State    string `json:"state"` // waiting, running, done, failed
	Rows     int64  `json:"rows"`
	Estimate *int64 `json:"estimated_rows"`
	Error    string `json:"error,omitempty"`
}

func (s *BackfillStart) fields() map[string]field {
	return map[string]field{
		"max_rate": {read: rateField(&s.MaxRate)},
		"tables": {read: func(raw json.RawMessage, at string) []trigger.Problem {
			if json.Unmarshal(raw, &s.Tables) != nil {
				return wrong(at, trigger.CodeType, "must be a list of strings such as \"public.myapp_sale\" or \"myapp.Sale\"")
			}
			if len(s.Tables) == 0 || len(s.Tables) > maxIDs {
				return wrong(at, trigger.CodeRange, "must have 1 to %d items", maxIDs)
			}
			return nil
		}},
	}
}

func (a *api) backfillTrigger(ctx context.Context, r *request) (*response, error) {
	id, err := pathID(r)
	if err != nil {
		return nil, err
	}
	s := BackfillStart{Trigger: id}
	fields := s.fields()
	fields["source"] = field{read: textField(&s.Source)}
	return a.startBackfill(ctx, r, &s, fields)
}

func (a *api) backfillSource(ctx context.Context, r *request) (*response, error) {
	s := BackfillStart{Source: r.param("name")}
	return a.startBackfill(ctx, r, &s, s.fields())
}

func (a *api) startBackfill(ctx context.Context, r *request, s *BackfillStart, fields map[string]field) (*response, error) {
	if problems := readBodyOf(r.body, "", fields); len(problems) > 0 {
		return nil, invalidBody(problems)
	}
	b, err := a.Backfills.Start(ctx, *s)
	if bad := (*trigger.InvalidError)(nil); errors.As(err, &bad) { // the body is no trigger
		return nil, invalidBody(bad.Problems)
	}
	if err != nil {
		return nil, err
	}
	return &response{status: http.StatusAccepted, header: map[string]string{"Location": "/api/backfills/" + b.ID}, body: b}, nil
}

func (a *api) listBackfills(ctx context.Context, r *request) (*response, error) {
	if err := onlyQuery(r.query, "trigger", "source", "open"); err != nil {
		return nil, err
	}
	id, err := triggerOf(r.query)
	if err != nil {
		return nil, err
	}
	f := BackfillFilter{Source: r.query.Get("source"), Trigger: id}
	switch open := strings.ToLower(r.query.Get("open")); {
	case open == "true":
		f.Open = true
	case open != "false" && r.query.Has("open"):
		return nil, badRequest("invalid_query", "open must be true or false")
	}
	bs, err := a.Backfills.List(ctx, f)
	return list(bs), err
}

func (a *api) getBackfill(ctx context.Context, r *request) (*response, error) {
	b, err := a.Backfills.Get(ctx, r.param("id"))
	return &response{status: http.StatusOK, body: b}, err
}

func (a *api) changeBackfill(verb string) handler {
	return func(ctx context.Context, r *request) (*response, error) {
		b, err := a.Backfills.Change(ctx, r.param("id"), verb)
		return &response{status: http.StatusOK, body: b}, err
	}
}
