package daemon

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/waltrigger/waltrigger/pkg/api"
	"github.com/waltrigger/waltrigger/pkg/deliver"
	"github.com/waltrigger/waltrigger/pkg/failpoint"
	"github.com/waltrigger/waltrigger/pkg/pipeline"
	"github.com/waltrigger/waltrigger/pkg/sink/shadow"
	"github.com/waltrigger/waltrigger/pkg/source"
	"github.com/waltrigger/waltrigger/pkg/store"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// activationWait is how long a call waits for the activation before it answers that
// it goes on in the background.
const activationWait = 5 * time.Second

// triggers keeps the stored triggers and what is in force of them. It implements
// api.Triggers.
//
// A trigger may be written on any instance that shares the store, while one, the leader,
// reads and sends:
//
//	writer    stores it, pending ──┐            ┌─ sees it active ─ sees it confirmed ─ answers
//	store          version v ──────┤            │ version w          applied w
//	leader                         └▶ reload ─ publish, barrier ─ store it active ─ reload ─ confirm
//
// The leader alone publishes, waits for open transactions and knows what its pipeline
// goes by. The writer answers once the version of what it wants to be so is in force in
// the leader, or there is no leader: the next one reads the store before anything else.
// On the leader itself it is in force once it is reloaded.
//
// Lock order: writing, then mu.
type triggers struct {
	store    *store.Store
	compiler *trigger.Compiler // without the checks that ask a source
	env      trigger.Env
	secret   trigger.SecretParam
	shadow   *shadow.Records
	sources  *sources
	leader   *leader
	tests    *deliver.Deliverer // of single attempts that somebody asks for, on any instance
	log      *slog.Logger

	writing sync.Mutex   // from a write to the store until it is in force
	loaded  atomic.Int64 // the version that is in force here

	mu       sync.Mutex
	deliver  *deliver.Deliverer // nil while another instance is active
	term     context.Context    // of activations, which go on in the background
	end      context.CancelFunc
	compiled map[int64]*trigger.Compiled
	view     *pipeline.View
	active   map[int64]*activation
	wg       sync.WaitGroup
}

func (s *triggers) List(ctx context.Context, q trigger.Query) ([]trigger.Record, error) {
	limit := q.Limit
	if q.State != "" { // is known only once the records are read
		q.Limit = 0
	}
	records, err := s.store.Triggers(ctx, q)
	out := records[:0]
	for _, r := range records {
		if s.inForce(&r); (q.State == "" || q.State == r.State()) && (limit <= 0 || len(out) < limit) {
			out = append(out, r)
		}
	}
	return out, s.told(err)
}

func (s *triggers) Get(ctx context.Context, id int64) (trigger.Record, error) {
	r, err := s.store.Trigger(ctx, id)
	return s.shown(r, err)
}

func (s *triggers) ByName(ctx context.Context, name string) (trigger.Record, error) {
	r, err := s.store.TriggerByName(ctx, name)
	return s.shown(r, err)
}

func (s *triggers) Check(ctx context.Context, id int64, t *trigger.Trigger) []trigger.Problem {
	t = t.Clone()
	var old *trigger.Trigger
	if r, err := s.store.Trigger(ctx, id); err == nil {
		old = r.Trigger
	}
	inherited := trigger.Inherit(t, old)
	return trigger.Join(inherited, trigger.Validate(ctx, t, s.env).Problems)
}

func (s *triggers) Create(ctx context.Context, t *trigger.Trigger, o api.WriteOptions) (trigger.Record, error) {
	r, err := s.create(ctx, t, trigger.FromAPI, o)
	return r, s.told(err)
}

func (s *triggers) Replace(ctx context.Context, id int64, t *trigger.Trigger, o api.WriteOptions) (trigger.Record, error) {
	err := s.ownedByFile(ctx, id)
	if err != nil {
		return trigger.Record{}, s.told(err)
	}
	r, err := s.replace(ctx, id, t, o)
	return r, s.told(err)
}

func (s *triggers) Delete(ctx context.Context, id, ifRevision int64) error {
	err := s.ownedByFile(ctx, id)
	if err == nil {
		err = s.remove(ctx, id, ifRevision)
	}
	return s.told(err)
}

// lateError says that what was asked for is stored and not in force everywhere.
type lateError struct{ err error }

func (e *lateError) Error() string { return "stored, but not in force: " + e.err.Error() }
func (e *lateError) Unwrap() error { return e.err }

// change writes to the store, and has what is stored in force wherever anything is read.
func (s *triggers) change(ctx context.Context, write func() error) error {
	s.writing.Lock()
	err := write()
	if err == nil {
		if late := s.reload(ctx); late != nil {
			err = &lateError{late}
		}
	}
	s.writing.Unlock()
	if err != nil {
		return err
	}
	if err := s.leader.settled(ctx, s.loaded.Load()); err != nil {
		return &lateError{err}
	}
	return nil
}

// told makes of a failure of the store the API's answer.
func (s *triggers) told(err error) error {
	var detail string
	switch {
	case errors.As(err, new(*lateError)):
		detail = "it is stored, and not in force yet: it will be once the store can be used and the active instance has read it"
	case errors.Is(err, store.ErrInDoubt):
		detail = "the connection to the store broke while it was committing: the change may have been made; read before you send it again"
	case errors.Is(err, store.ErrUnavailable):
		detail = "the store cannot be used now, and nothing was changed; the log says why"
	default:
		return err
	}
	s.log.Error("answer: the store failed", "err", err)
	return &api.UnavailableError{Code: "store_unavailable", Detail: detail, RetryAfter: 5 * time.Second}
}

// ownedByFile refuses to change a trigger that the operator keeps in a file.
func (s *triggers) ownedByFile(ctx context.Context, id int64) error {
	r, err := s.store.Trigger(ctx, id)
	if err == nil && r.Origin == trigger.FromFile {
		err = &trigger.ConflictError{Detail: "the trigger is kept in a file of the configuration: change it there"}
	}
	return err
}

func (s *triggers) create(ctx context.Context, t *trigger.Trigger, from trigger.Origin, o api.WriteOptions) (trigger.Record, error) {
	r, err := s.validate(ctx, t, nil, o)
	if err != nil {
		return r, err
	}
	r.Origin = from
	if err := s.change(ctx, func() error { return s.store.CreateTrigger(ctx, &r) }); err != nil {
		return r, err
	}
	failpoint.Hit("daemon.stored")
	id, revision := r.Trigger.ID, r.Revision
	r, err = s.activate(ctx, r, o)
	if err != nil && !errors.As(err, new(*lateError)) { // the source went away in the meantime: as if it had been asked first
		undo := context.WithoutCancel(ctx)
		if delErr := s.remove(undo, id, revision); delErr != nil && !errors.Is(delErr, trigger.ErrNotFound) {
			s.log.Error("take back a trigger that could not be activated", "trigger", id, "err", delErr)
		}
	}
	return r, err
}

func (s *triggers) replace(ctx context.Context, id int64, t *trigger.Trigger, o api.WriteOptions) (trigger.Record, error) {
	was, err := s.store.Trigger(ctx, id)
	if err != nil {
		return was, err
	}
	t.ID = id
	r, err := s.validate(ctx, t, &was, o)
	if err != nil {
		return r, err
	}
	// Without a revision of the caller's, the one just read keeps its activations true.
	err = s.change(ctx, func() error { return s.store.UpdateTrigger(ctx, &r, cmp.Or(o.IfRevision, was.Revision)) })
	if errors.Is(err, trigger.ErrStale) && o.IfRevision == 0 && ctx.Err() == nil {
		return s.replace(ctx, id, t, o)
	}
	if err != nil {
		return r, err
	}
	return s.stored(ctx, r, o), nil
}

// stored brings into force what r has become. It stays so, whatever becomes of the
// activation: that is tried again.
func (s *triggers) stored(ctx context.Context, r trigger.Record, o api.WriteOptions) trigger.Record {
	s.publishAll()
	now, err := s.activate(ctx, r, o)
	if err != nil {
		s.log.Warn("activate trigger: goes on in the background", "trigger", r.Trigger.ID, "err", err)
		return r
	}
	return now
}

func (s *triggers) remove(ctx context.Context, id, ifRevision int64) error {
	if err := s.change(ctx, func() error { return s.store.DeleteTrigger(ctx, id, ifRevision) }); err != nil {
		return err
	}
	s.publishAll()
	return nil
}

// validate makes the record to be stored of t.
func (s *triggers) validate(ctx context.Context, t *trigger.Trigger, was *trigger.Record, o api.WriteOptions) (trigger.Record, error) {
	var old *trigger.Trigger
	if was != nil {
		old = was.Trigger
	}
	problems := trigger.Inherit(t, old)
	v := trigger.Validate(ctx, t, s.env)
	if problems = trigger.Join(problems, v.Problems); len(problems) > 0 {
		return trigger.Record{}, &trigger.InvalidError{Problems: problems}
	}
	if v.Unavailable != nil && o.Wait {
		return trigger.Record{}, unavailable(v.Unavailable)
	}
	as := activations(t, v.Tables, was)
	for i := range as {
		if as[i].State != trigger.Active { // what stood in the way may not do so any more
			as[i].Blocker, as[i].Refused = "", false
		}
	}
	return trigger.Record{Trigger: t, Warnings: v.Warnings, Activations: s.depends(t, as)}, nil
}

// depends notes in activations on which columns of its tables t depends.
func (s *triggers) depends(t *trigger.Trigger, as []trigger.Activation) []trigger.Activation {
	c, _ := s.compiler.Compile(&trigger.Record{Trigger: t})
	names := slices.Concat(c.Names, t.Fields)
	for i := range as {
		as[i].Columns = nil
		if as[i].Table != "" {
			as[i].Columns = s.sources.columnsOf(trigger.ContentType{Source: as[i].ContentType.Source, AppLabel: as[i].ContentType.AppLabel, ModelName: as[i].ContentType.ModelName}, names)
		}
	}
	return as
}

func unavailable(err error) error {
	return &api.UnavailableError{Code: "source_unavailable", Detail: err.Error(), RetryAfter: 5 * time.Second}
}

// activations gives each signal of each content type its activation: those that was
// had already keep theirs, unless it was switched off.
func activations(t *trigger.Trigger, tables []trigger.Table, was *trigger.Record) []trigger.Activation {
	var out []trigger.Activation
	for i, ct := range t.ContentTypes {
		for _, cs := range t.ConfigSignals {
			a := trigger.Activation{ContentType: ct.Name(), Signal: cs.Signal, State: trigger.Pending}
			if i < len(tables) && tables[i].Name != "" {
				a.ContentType.Source, a.Schema, a.Table = tables[i].Source, tables[i].Schema, tables[i].Name
			}
			if was != nil && was.Trigger.Active {
				for _, old := range was.Activations {
					same := old.Signal == a.Signal && old.ContentType.AppLabel == a.ContentType.AppLabel && old.ContentType.ModelName == a.ContentType.ModelName
					if same && (a.Table == "" || old.ContentType.Source == a.ContentType.Source && old.Schema == a.Schema && old.Table == a.Table) {
						a = old
					}
				}
			}
			out = append(out, a)
		}
	}
	return out
}

// reload puts what is stored in force. writing is held.
func (s *triggers) reload(ctx context.Context) error {
	version, err := s.store.Version(ctx) // before: what is read then is this or a later one
	if err != nil {
		return err
	}
	records, err := s.store.Triggers(ctx, trigger.Query{})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	compiled := make(map[int64]*trigger.Compiled, len(records))
	all := make([]*trigger.Compiled, 0, len(records))
	for i := range records {
		c := s.compile(&records[i])
		compiled[c.Trigger.ID] = c
		all = append(all, c)
	}
	s.compiled = compiled
	s.show(all)
	s.loaded.Store(version)
	s.leader.confirm(version)
	return nil
}

// show makes all the view in force. mu is held.
func (s *triggers) show(all []*trigger.Compiled) {
	s.view = &pipeline.View{Set: trigger.NewSet(all), Queues: map[*trigger.Destination]*deliver.Destination{}}
	known := map[string]bool{}
	for _, c := range all {
		for _, d := range c.Destinations {
			known[d.ID] = true
			if s.deliver != nil {
				s.view.Queues[d] = s.deliver.Destination(d.ID, d)
			}
		}
	}
	if s.deliver != nil {
		s.deliver.Keep(func(id string) bool { return known[id] })
	}
	s.shadow.Keep(func(id string) bool { return known[id] })
	for _, t := range s.sources.all() {
		t.use(s.view)
	}
}

// compile compiles r, or takes what was compiled of the same revision. mu is held.
func (s *triggers) compile(r *trigger.Record) *trigger.Compiled {
	if was, ok := s.compiled[r.Trigger.ID]; ok && was.Revision == r.Revision {
		c := *was
		c.Record = r
		return &c
	}
	c, problems := s.compiler.Compile(r)
	for _, p := range problems { // the configuration changed since it was stored
		s.log.Error("stored trigger", "trigger", r.Trigger.ID, "name", r.Trigger.Name, "at", p.Pointer, "problem", p.Detail)
	}
	return c
}

// current is the view in force.
func (s *triggers) current() *pipeline.View {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.view
}

// wanted lists the tables of a source that triggers need, whether or not they are
// active yet.
func (s *triggers) wanted(src string) []source.TableName {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []source.TableName
	for _, t := range s.view.Set.Tables(src) {
		out = append(out, source.TableName{Schema: t.Schema, Name: t.Name})
	}
	slices.SortFunc(out, func(a, b source.TableName) int {
		switch {
		case a.String() < b.String():
			return -1
		case a.String() > b.String():
			return 1
		}
		return 0
	})
	return out
}

// fewer lists the tables of a source of which some trigger will do with the inserts.
func (s *triggers) fewer(src string) []source.TableName {
	var out []source.TableName
	s.eachActivation(src, func(c trigger.ContentType, a trigger.Activation) {
		if t := (source.TableName{Schema: a.Schema, Name: a.Table}); c.AllowInsertOnly && !slices.Contains(out, t) {
			out = append(out, t)
		}
	})
	return out
}

// firing lists the tables of a source for which a trigger is active.
func (s *triggers) firing(src string) []source.TableName {
	set := map[source.TableName]bool{}
	s.eachActivation(src, func(_ trigger.ContentType, a trigger.Activation) {
		if a.State == trigger.Active {
			set[source.TableName{Schema: a.Schema, Name: a.Table}] = true
		}
	})
	return slices.Collect(maps.Keys(set))
}

// fires reports whether a trigger is active for a table.
func (s *triggers) fires(src string, table source.TableName) bool {
	found := false
	s.eachActivation(src, func(_ trigger.ContentType, a trigger.Activation) {
		found = found || a.State == trigger.Active && a.Schema == table.Schema && a.Table == table.Name
	})
	return found
}

// eachActivation calls f for the activations of active triggers that are of a source's
// tables.
func (s *triggers) eachActivation(src string, f func(trigger.ContentType, trigger.Activation)) {
	for _, c := range s.current().Set.Triggers() {
		if !c.Trigger.Active {
			continue
		}
		for _, a := range c.Activations {
			if a.ContentType.Source != src || a.Table == "" {
				continue
			}
			if of, ok := contentTypeOf(c.Trigger, a); ok {
				f(of, a)
			}
		}
	}
}

// contentTypeOf is the content type of t that a is of.
func contentTypeOf(t *trigger.Trigger, a trigger.Activation) (trigger.ContentType, bool) {
	for _, c := range t.ContentTypes {
		if c.AppLabel == a.ContentType.AppLabel && c.ModelName == a.ContentType.ModelName {
			return c, true
		}
	}
	return trigger.ContentType{}, false
}

// rewind lets what is active of a source fire from seq on: reading goes back behind the
// place in the log where it became active, to what was committed after that.
func (s *triggers) rewind(ctx context.Context, src string, seq uint64) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	records, err := s.store.Triggers(ctx, trigger.Query{})
	if err != nil {
		return err
	}
	late := func(a trigger.Activation) bool {
		return a.ContentType.Source == src && a.State == trigger.Active && a.Seq > seq
	}
	for _, r := range records {
		if !slices.ContainsFunc(r.Activations, late) {
			continue
		}
		err := s.store.UpdateActivations(ctx, r.Trigger.ID, r.Revision, func(as []trigger.Activation) []trigger.Activation {
			for i := range as {
				if late(as[i]) {
					as[i].Seq = seq
				}
			}
			return as
		})
		if nilIfGone(err) != nil {
			return err
		}
	}
	return s.reload(ctx)
}

// publishAll lets go of the tables that no trigger needs any more, in the background.
func (s *triggers) publishAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deliver == nil || s.term.Err() != nil {
		return
	}
	ctx := s.term
	for _, t := range s.sources.all() {
		if t.isPrepared() { // else it publishes what is wanted once it is
			s.wg.Go(func() { t.publishLogged(ctx) })
		}
	}
}

// serve begins a term: what is stored now is in force, and d delivers for it. It is false
// if ctx ended before that.
func (s *triggers) serve(ctx context.Context, d *deliver.Deliverer) bool {
	s.mu.Lock()
	s.deliver = d
	s.term, s.end = context.WithCancel(context.WithoutCancel(ctx))
	s.mu.Unlock()
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		s.writing.Lock()
		err := s.reload(ctx)
		s.writing.Unlock()
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			s.rest()
			return false
		}
		s.log.Error("load triggers: trying again", "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	return true
}

// rest ends a term.
func (s *triggers) rest() {
	s.mu.Lock()
	s.end()
	s.mu.Unlock()
	s.wg.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deliver = nil
	if s.view != nil {
		s.show(s.view.Set.Triggers())
	}
}

// leads reports whether this instance reads and sends.
func (s *triggers) leads() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.deliver != nil
}

// followEvery is how often it is looked for what other instances have stored.
const followEvery = 250 * time.Millisecond

// follow puts in force what was stored by another instance, or could not be put in force
// when it was stored, until ctx ends.
func (s *triggers) follow(ctx context.Context) error {
	said := ""
	for {
		err := s.catchUp(ctx)
		if err != nil && ctx.Err() == nil && err.Error() != said {
			s.log.Warn("look for changes of triggers: trying again", "err", err)
			said = err.Error()
		}
		if err == nil {
			said = ""
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(followEvery):
		}
	}
}

func (s *triggers) catchUp(ctx context.Context) error {
	version, err := s.store.Version(ctx)
	if err != nil || version == s.loaded.Load() {
		return err
	}
	s.writing.Lock()
	if version != s.loaded.Load() {
		err = s.reload(ctx)
	}
	s.writing.Unlock()
	if err == nil {
		s.publishAll()
		s.resumeAll()
	}
	return err
}

// resumeAll goes on with the activations that are not finished and that nobody is at, as
// far as their sources can be asked.
func (s *triggers) resumeAll() {
	type task struct{ id, revision int64 }
	var tasks []task
	s.mu.Lock()
	for id, c := range s.compiled {
		if a := s.active[id]; s.needs(*c.Record) && s.sources.ready(*c.Record) && (a == nil || a.revision != c.Revision) {
			tasks = append(tasks, task{id, c.Revision})
		}
	}
	s.mu.Unlock()
	for _, t := range tasks {
		s.begin(t.id, t.revision, false)
	}
}
