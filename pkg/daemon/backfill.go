package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/waltrigger/waltrigger/pkg/api"
	"github.com/waltrigger/waltrigger/pkg/backfill"
	"github.com/waltrigger/waltrigger/pkg/signal"
	"github.com/waltrigger/waltrigger/pkg/source"
	"github.com/waltrigger/waltrigger/pkg/store"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// backfills implements api.Backfills.
type backfills struct {
	triggers *triggers
	sources  *sources
	store    *store.Store
}

func (s *backfills) Start(ctx context.Context, b api.BackfillStart) (api.Backfill, error) {
	records, err := s.records(ctx, b)
	if err != nil {
		return api.Backfill{}, s.triggers.told(err)
	}
	if b.Source == "" {
		if b.Source, err = sourceOf(records[0]); err != nil {
			return api.Backfill{}, err
		}
	}
	t := s.sources.byName(b.Source)
	if t == nil {
		return api.Backfill{}, api.ErrNoSource
	}
	if _, ok := t.source().(source.Scanner); !ok {
		return api.Backfill{}, &api.RefusedError{Code: "not_possible", Detail: "rows of a source of this kind cannot be read"}
	}
	tables, triggers, left, err := s.tables(ctx, t, records, b)
	if err != nil {
		return api.Backfill{}, s.triggers.told(err)
	}
	j := newJob(b.Source, triggers, tables)
	j.MaxRate = b.MaxRate
	conflict, err := s.store.AddBackfill(ctx, j)
	if err != nil {
		return api.Backfill{}, s.triggers.told(err)
	}
	if conflict != nil {
		return api.Backfill{}, &api.RefusedError{Code: "backfill_running", Detail: fmt.Sprintf("backfill %s, for the same trigger, is not over: wait for it, or cancel it", conflict.ID)}
	}
	t.kickBackfill()
	out, err := s.Get(ctx, j.ID)
	out.LeftOut = left
	return out, err
}

func newJob(src string, triggers []int64, tables []source.TableName) backfill.Job {
	j := backfill.Job{ID: backfill.NewID(), Source: src, Triggers: triggers, Wish: backfill.Run, Progress: backfill.Progress{State: backfill.Queued}}
	for _, name := range tables {
		j.Tables = append(j.Tables, backfill.Table{TableName: name, Size: -1})
	}
	return j
}

// records gives the triggers that b is about.
func (s *backfills) records(ctx context.Context, b api.BackfillStart) ([]trigger.Record, error) {
	if b.Trigger == 0 {
		return s.store.Triggers(ctx, trigger.Query{})
	}
	r, err := s.store.Trigger(ctx, b.Trigger)
	if err == nil && !r.Trigger.Active {
		err = &api.RefusedError{Code: "inactive", Detail: "the trigger is not active: it would miss the changes of the rows that are sent"}
	}
	return []trigger.Record{r}, err
}

// sourceOf is the only source of r's tables.
func sourceOf(r trigger.Record) (string, error) {
	var names []string
	for _, a := range r.Activations {
		if src := a.ContentType.Source; a.Table != "" && !slices.Contains(names, src) {
			names = append(names, src)
		}
	}
	switch len(names) {
	case 0:
		return "", errNothingToRead
	case 1:
		return names[0], nil
	}
	return "", &trigger.InvalidError{Problems: []trigger.Problem{{
		Pointer: "/source", Code: trigger.CodeRequired, Detail: "must be one of " + strings.Join(names, ", ") + ": the trigger's tables are of several sources",
	}}}
}

var errNothingToRead = &api.RefusedError{Code: "nothing_to_read", Detail: "no table that is there is named for one of the signals pre_save and post_save"}

// saves reports whether rows that are read fire a.
func saves(a trigger.Activation) bool {
	return a.Signal == signal.PreSave || a.Signal == signal.PostSave
}

// backfilled gives the tables of a source that triggers name for signals of saving, and
// which triggers these are.
func backfilled(src string, records []trigger.Record, wanted func(trigger.Activation) bool) (tables []source.TableName, ids []int64) {
	for _, r := range records {
		for _, a := range r.Activations {
			if !r.Trigger.Active || a.ContentType.Source != src || a.Table == "" || !saves(a) || !wanted(a) {
				continue
			}
			if name := (source.TableName{Schema: a.Schema, Name: a.Table}); !slices.Contains(tables, name) {
				tables = append(tables, name)
			}
			if !slices.Contains(ids, r.Trigger.ID) {
				ids = append(ids, r.Trigger.ID)
			}
		}
	}
	return tables, ids
}

// tables gives what b is about, if it can be read. Of a whole source, what cannot is left
// out, and said.
func (s *backfills) tables(ctx context.Context, t *tail, records []trigger.Record, b api.BackfillStart) (tables []source.TableName, ids []int64, left []string, err error) {
	known, err := t.catalog(ctx)
	if err != nil {
		return nil, nil, nil, unavailable(err)
	}
	found := make([]bool, len(b.Tables))
	out := leftOut{known: known}
	tables, ids = backfilled(t.name, records, func(a trigger.Activation) bool {
		i := slices.IndexFunc(b.Tables, func(name string) bool {
			return name == a.Schema+"."+a.Table || strings.EqualFold(name, a.ContentType.AppLabel+"."+a.ContentType.ModelName)
		})
		if i >= 0 {
			found[i] = true
		}
		if b.Tables == nil && b.Trigger == 0 {
			return out.readable(a)
		}
		return i >= 0 || b.Tables == nil
	})
	var problems []trigger.Problem
	for i, ok := range found {
		if !ok {
			problems = append(problems, trigger.Problem{Pointer: fmt.Sprintf("/tables/%d", i), Code: trigger.CodeInvalid, Detail: "is no table that a trigger names for a signal of saving"})
		}
	}
	for _, name := range tables {
		if why := notReadable(known, name); why != nil {
			problems = append(problems, trigger.Problem{Pointer: "/tables", Code: trigger.CodeNotAllowed, Detail: why.Error()})
		}
	}
	switch {
	case len(problems) > 0:
		return nil, nil, nil, &trigger.InvalidError{Problems: problems}
	case len(tables) == 0 && len(out.said) > 0:
		return nil, nil, nil, &api.RefusedError{Code: errNothingToRead.Code, Detail: "no table can be read in parts: " + strings.Join(out.said, "; ")}
	case len(tables) == 0:
		return nil, nil, nil, errNothingToRead
	}
	return tables, ids, out.said, nil
}

// leftOut collects the tables whose rows a backfill of many cannot send.
type leftOut struct {
	known []source.TableInfo
	names []source.TableName
	said  []string // table NAME: why; mend with: how
}

// readable reports whether the rows of the table of a can be read, and notes why not.
func (l *leftOut) readable(a trigger.Activation) bool {
	name := source.TableName{Schema: a.Schema, Name: a.Table}
	why := notReadable(l.known, name)
	if why != nil && saves(a) && !slices.Contains(l.names, name) {
		l.names, l.said = append(l.names, name), append(l.said, strings.TrimRight(why.Error(), ";"))
	}
	return why == nil
}

// notReadable says why the rows of a table cannot be read in parts, nil if they can.
func notReadable(known []source.TableInfo, name source.TableName) error {
	i := slices.IndexFunc(known, func(t source.TableInfo) bool { return t.TableName == name })
	switch {
	case i < 0:
		return &source.TableError{Table: name, Reason: "it does not exist", Mend: "create it"}
	case known[i].Unreadable:
		return &source.TableError{Table: name, Reason: "its rows may not be read", Mend: fmt.Sprintf("GRANT SELECT ON %s TO the role of the source's url;", name)}
	case len(known[i].PrimaryKey) == 0:
		return &source.TableError{Table: name, Reason: "it has no primary key, by which its rows could be read in parts", Mend: fmt.Sprintf("ALTER TABLE %s ADD PRIMARY KEY (…);", name)}
	}
	return nil
}

func (s *backfills) List(ctx context.Context, f api.BackfillFilter) ([]api.Backfill, error) {
	jobs, err := s.store.Backfills(ctx, f.Source)
	out := []api.Backfill{}
	for i := range jobs {
		j := &jobs[i]
		if (f.Trigger == 0 || slices.Contains(j.Triggers, f.Trigger)) && !(f.Open && j.State.Over()) {
			out = append(out, showBackfill(j))
		}
	}
	return out, s.triggers.told(err)
}

func (s *backfills) Get(ctx context.Context, id string) (api.Backfill, error) {
	j, err := s.store.Backfill(ctx, id)
	if errors.Is(err, backfill.ErrNotFound) {
		return api.Backfill{}, api.ErrNoBackfill
	}
	return showBackfill(&j), s.triggers.told(err)
}

func (s *backfills) Change(ctx context.Context, id, verb string) (api.Backfill, error) {
	wish := map[string]backfill.Wish{api.VerbPause: backfill.Pause, api.VerbResume: backfill.Run, api.VerbCancel: backfill.Cancel}[verb]
	err := s.store.SetWish(ctx, id, wish)
	switch {
	case errors.Is(err, backfill.ErrNotFound):
		return api.Backfill{}, api.ErrNoBackfill
	case errors.Is(err, backfill.ErrOver):
		return api.Backfill{}, &api.RefusedError{Code: "over", Detail: "the backfill is over: start another one"}
	case err != nil:
		return api.Backfill{}, s.triggers.told(err)
	}
	out, err := s.Get(ctx, id)
	if t := s.sources.byName(out.Source); t != nil {
		t.kickBackfill()
	}
	return out, err
}

func showBackfill(j *backfill.Job) api.Backfill {
	out := api.Backfill{
		ID: j.ID, Source: j.Source, Triggers: j.Triggers, State: j.Shown(), Detail: j.Detail, Tables: []api.BackfillTable{}, Rows: j.Rows(), Estimate: estimate(j.Size()),
		MaxRate: j.MaxRate, CreatedAt: j.Created, StartedAt: maybe(j.Started), FinishedAt: maybe(j.Finished),
	}
	if j.State == backfill.Running {
		out.Rate = float64(int64(j.Rate))
	}
	for i := range j.Tables {
		t := &j.Tables[i]
		shown := api.BackfillTable{Table: t.String(), State: "waiting", Rows: t.Rows, Estimate: estimate(t.Size), Error: t.Error}
		switch {
		case t.Error != "":
			shown.State = "failed"
		case t.Over:
			shown.State = "done"
		case t.After != nil:
			shown.State = "running"
		}
		out.Tables = append(out.Tables, shown)
	}
	return out
}

func estimate(n int64) *int64 {
	if n < 0 {
		return nil
	}
	return &n
}
