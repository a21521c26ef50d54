package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/waltrigger/waltrigger/pkg/api"
	"github.com/waltrigger/waltrigger/pkg/backfill"
	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/deliver"
	"github.com/waltrigger/waltrigger/pkg/payload"
	"github.com/waltrigger/waltrigger/pkg/pipeline"
	"github.com/waltrigger/waltrigger/pkg/related"
	"github.com/waltrigger/waltrigger/pkg/source"
	"github.com/waltrigger/waltrigger/pkg/store"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// sources are the configured sources, in their order.
type sources struct {
	tails  []*tail
	hidden *payload.Hidden
}

func (s *sources) all() []*tail { return s.tails }

func (s *sources) byName(name string) *tail {
	for _, t := range s.tails {
		if t.name == name {
			return t
		}
	}
	return nil
}

// render renders a delivery that could not be rendered in its turn.
func (s *sources) render(ctx context.Context, dl *deliver.Delivery) (send bool, err error) {
	t := s.byName(dl.Source)
	if t == nil {
		return false, fmt.Errorf("the configuration has no source %s any more", dl.Source)
	}
	t.mu.Lock()
	p := t.pipe
	t.mu.Unlock()
	if p == nil {
		return false, t.notReady()
	}
	return p.Render(ctx, dl)
}

// ask has a source answer a query of the configuration's.
func (d *daemon) ask(ctx context.Context, src, query string) (string, error) {
	t := d.sources.byName(src)
	if t == nil {
		return "", fmt.Errorf("there is no source %s", src)
	}
	v, err := t.source().Value(ctx, query)
	if err != nil {
		return "", fmt.Errorf("source %s: %w", src, err)
	}
	return v, nil
}

func (s *sources) names() []string {
	var out []string
	for _, t := range s.tails {
		out = append(out, t.name)
	}
	return out
}

// ready reports whether all sources that r is about, and that are configured here, can be
// published.
func (s *sources) ready(r trigger.Record) bool {
	return !slices.ContainsFunc(r.Activations, func(a trigger.Activation) bool {
		t := s.byName(a.ContentType.Source)
		return t != nil && !t.isPrepared()
	})
}

// standBy says that another instance runs the sources.
func (s *sources) standBy() {
	for _, t := range s.tails {
		t.firstTry()
	}
}

// tail runs one source through one pipeline, from its preparation to its end, each time
// that this instance becomes the active one.
type tail struct {
	name    string
	open    func() (source.Source, error)
	notes   *notes                      // of src
	content map[string]source.TableName // explicit content types, by lower-case app_label.model
	cfg     pipeline.Config
	metrics *pipeline.Metrics
	wanted  func(src string) []source.TableName // the tables that triggers need now
	ready   func()                              // the source can be published
	fewer   func(src string) []source.TableName // of wanted, those of which the inserts alone will do
	firing  func(src string) []source.TableName // the tables for which a trigger is active
	fires   func(src string, table source.TableName) bool
	rewind  func(ctx context.Context, src string, seq uint64) error
	log     *slog.Logger

	neighbours   *neighbours
	backfillKick chan struct{}
	backfillOver func(backfill.State)

	tried    chan struct{} // closed once the first attempt to prepare it ended
	firstly  sync.Once
	halted   atomic.Pointer[source.HaltError]
	publishM sync.Mutex

	mu       sync.Mutex
	src      source.Source // of this term; between terms, only asked
	prepared chan struct{} // closed once src is prepared
	pipe     *pipeline.Pipeline
	view     *pipeline.View
	tables   []source.TableInfo
	asked    time.Time
	gone     []source.TableName // of active triggers, as last seen
}

func (t *tail) firstTry() { t.firstly.Do(func() { close(t.tried) }) }

func (t *tail) source() source.Source {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.src
}

// isPrepared reports whether this instance reads the source.
func (t *tail) isPrepared() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-t.prepared:
		return true
	default:
		return false
	}
}

// use puts a view in force, now or once the pipeline runs.
func (t *tail) use(v *pipeline.View) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.view = v
	if t.pipe != nil {
		t.pipe.Use(v)
	}
}

// current is the view in force.
func (t *tail) current() *pipeline.View {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.view
}

// run tails the source for a term. A source that an operator has to mend stops and says
// so; the daemon goes on, and so does the source where a start would find nothing else.
func (t *tail) run(ctx context.Context, held *store.Held, d *deliver.Deliverer) {
	var wg sync.WaitGroup
	defer wg.Wait()
	t.notes.held.Store(held)
	if j, ok := t.source().(source.Joiner); ok {
		j.OnJoin(func(table source.TableName, before change.Position) { t.joined(ctx, held, table, before) })
	}
	wg.Go(func() { t.backfill(ctx, held) })
	began, wait := time.Now(), misconfiguredAgain*time.Second
	err := t.read(ctx, held, d, func() {
		close(t.prepared)
		t.firstTry()
		t.ready()
		wg.Go(func() { t.publishLogged(ctx) }) // tables may have been exchanged while the daemon was down
		t.neighbours.begin()
	})
	for t.goesOn(ctx, err, wait) {
		if wait = min(2*wait, misconfiguredMost); time.Since(began) > misconfiguredMost { // it had worked
			wait = misconfiguredAgain * time.Second
		}
		began = time.Now()
		err = t.read(ctx, held, d, func() {})
	}
	if err == nil || ctx.Err() != nil {
		return
	}
	halt := &source.HaltError{State: "error", Reason: err.Error(), Mend: "the log says more"}
	errors.As(err, &halt)
	t.halt(&source.HaltError{State: halt.State, Reason: halt.Reason, Mend: halt.Mend + "; then start waltrigger again"})
	<-ctx.Done()
}

// goesOn reports whether the source is to be read again after err ended that: at once if
// reading goes back, after wait if somebody can mend what is in the way. That is shown
// until the source is prepared again.
func (t *tail) goesOn(ctx context.Context, err error, wait time.Duration) bool {
	halt, rewound := (*source.HaltError)(nil), (*source.RewoundError)(nil)
	switch {
	case errors.As(err, &rewound):
		t.log.Error("reading goes back", "source", t.name, "err", err)
	case errors.As(err, &halt) && halt.State == source.Misconfigured:
		t.halt(halt)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	default:
		return false
	}
	return ctx.Err() == nil
}

// read prepares the source and reads it until ctx ends, or it cannot be read on.
func (t *tail) read(ctx context.Context, held *store.Held, d *deliver.Deliverer, prepared func()) error {
	state, err := t.prepare(ctx, held)
	if err != nil {
		return err
	}
	prepared()
	var wg sync.WaitGroup
	defer wg.Wait()
	renewing, stop := context.WithCancel(ctx)
	defer stop()
	wg.Go(func() { t.tailRelated(renewing) })
	wg.Go(func() { t.lookForGone(renewing) })
	return t.pipeline(state, held, d).Run(ctx)
}

// renew ends a term: the source is closed, and one that can be asked takes its place.
func (t *tail) renew() error {
	err := t.source().Close()
	t.notes.held.Store(nil)
	src, openErr := t.open()
	if openErr != nil { // it was right before
		return errors.Join(err, openErr)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.src, t.pipe, t.prepared, t.gone = src, nil, make(chan struct{}), nil
	t.halted.Store(nil)
	return err
}

// halt shows why the source does not go on, and logs it if it is new.
func (t *tail) halt(h *source.HaltError) {
	if was := t.halted.Swap(h); was == nil || was.Error() != h.Error() {
		t.log.Error("source stopped: it needs a hand", "source", t.name, "state", h.State, "reason", h.Reason, "mend", h.Mend)
	}
}

// A source that is source.Misconfigured is looked at again every so many seconds, and less
// often if what can be prepared cannot be read.
const (
	misconfiguredAgain = 5
	misconfiguredMost  = time.Minute
)

// prepare makes the source ready, as often as it takes.
func (t *tail) prepare(ctx context.Context, held *store.Held) (source.State, error) {
	b := backoff.NewExponentialBackOff()
	b.MaxInterval = 5 * time.Second
	return backoff.Retry(ctx, func() (source.State, error) {
		state, err := t.prepareOnce(ctx, held)
		if err != nil {
			t.firstTry()
		}
		if halt := (*source.HaltError)(nil); errors.As(err, &halt) {
			if halt.State != source.Misconfigured {
				return state, backoff.Permanent(err)
			}
			t.halt(halt)
			return state, backoff.RetryAfter(misconfiguredAgain)
		}
		if err == nil {
			t.halted.Store(nil)
		}
		return state, err
	}, backoff.WithBackOff(b), backoff.WithMaxElapsedTime(0), backoff.WithNotify(func(err error, wait time.Duration) {
		if later := (*backoff.RetryAfterError)(nil); !errors.As(err, &later) { // that one is said
			t.log.Warn("prepare source: trying again", "source", t.name, "wait", wait.Round(time.Millisecond).String(), "err", err)
		}
	}))
}

func (t *tail) prepareOnce(ctx context.Context, held *store.Held) (source.State, error) {
	saved, _, err := held.LoadSource(ctx, t.name)
	if err != nil {
		return saved, err
	}
	return t.source().Prepare(ctx, saved, func(s source.State) error {
		if s.Rewound == nil {
			return held.SaveSource(ctx, t.name, s)
		}
		// First the triggers: done twice, it does no harm.
		if err := t.rewind(ctx, t.name, s.Rewound.Seq); err != nil {
			return err
		}
		return held.Skip(ctx, s, store.Gap{
			Source: t.name, Kind: store.GapRewound, After: s.Mark.End, Before: s.Rewound.From,
			Reason: "the server that took over had not received what was read and sent before",
		})
	})
}

// joined notes that changes of a table from before some position were not in the log,
// although a trigger that is active asks for them: it was made anew, or lost and got back
// its replica identity.
func (t *tail) joined(ctx context.Context, held *store.Held, table source.TableName, before change.Position) {
	if !t.fires(t.name, table) {
		return
	}
	t.log.Error("changes of a table were not in the log", "source", t.name, "table", table.String(), "before", string(before))
	err := held.AddGap(ctx, store.Gap{Source: t.name, Kind: store.GapTable, Table: table, Before: before, Reason: "the table was not published: it was made anew, was taken out of the publication, or had lost its replica identity"})
	if err != nil {
		t.log.Error("record a gap", "source", t.name, "err", err)
	}
}

func (t *tail) pipeline(state source.State, held *store.Held, d *deliver.Deliverer) *pipeline.Pipeline {
	rel := pipeline.Relations{Catalog: t.neighbours.catalog, Leases: t.neighbours.leases}
	p := pipeline.New(t.name, t.cfg, t.source(), rel, state, held, d, t.metrics, t.log)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pipe = p
	if t.view != nil {
		p.Use(t.view)
	}
	return p
}

// standby is the state of a source that another instance reads.
const standby = "standby"

// status describes the source. lease is what the store says of it.
func (t *tail) status(lease store.Lease, active bool) api.Source {
	out := api.Source{Name: t.name, Active: active, ActiveInstance: instance(lease.Holder), Epoch: lease.Epoch}
	if !active {
		out.State, out.Detail, out.Acked = standby, "no instance is active now", string(lease.End)
		if lease.Holder != "" {
			out.Detail = instance(lease.Holder) + " is active"
		}
		return out
	}
	s := t.source().Status()
	if halt := t.halted.Load(); halt != nil {
		s.State, s.Detail = halt.State, halt.Reason+"; "+halt.Mend
	}
	if why := t.stalled(); why != "" {
		s.Detail = strings.TrimPrefix(s.Detail+"; "+why, "; ")
	}
	out.State, out.Detail, out.Received, out.Acked = s.State, s.Detail, string(s.Received), string(s.Acked)
	out.LagBytes, out.RetainedBytes, out.Events, out.Skipped, out.Reconnects, out.Unseen = s.LagBytes, s.RetainedBytes, s.Events, s.Skipped, s.Reconnects, s.Unseen
	return out
}

// stalled says why nothing is read because of the daemon itself, "" if that is not so.
func (t *tail) stalled() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pipe != nil && t.pipe.Stalled() {
		return "the store does not take the position"
	}
	return ""
}

// preview is a pipeline that renders: the one that runs or, where another instance reads
// the source, one that does nothing else. Nil before the source is prepared.
func (t *tail) preview(active bool) *pipeline.Pipeline {
	if p := t.running(); p != nil || active {
		return p
	}
	rel := pipeline.Relations{Catalog: t.neighbours.catalog, Leases: related.NewLeases()}
	return pipeline.New(t.name, t.cfg, t.source(), rel, source.State{}, nil, nil, t.metrics, t.log)
}

// running is the pipeline, nil before the source is prepared.
func (t *tail) running() *pipeline.Pipeline {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.pipe
}

// broken says why a revision of a trigger cannot render what comes of this source.
func (t *tail) broken(id, revision int64) *trigger.Broken {
	p := t.running()
	if p == nil {
		return nil
	}
	return p.Broken(id, revision)
}

// publishLogged publishes without anybody who waits for the answer.
func (t *tail) publishLogged(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := t.publish(ctx); err != nil && ctx.Err() == nil {
		t.log.Warn("publish tables", "source", t.name, "err", err)
	}
}

// publish makes the log carry the tables that are wanted, asked at the last moment, and
// those that they lead to, as far as these can be. It waits for a source that is being
// taken up. An instance that is stopped within it and superseded may take out a table that
// its successor has added: the successor's watch puts it back, and says so.
func (t *tail) publish(ctx context.Context) error {
	if err := t.awaitPrepared(ctx); err != nil {
		return err
	}
	t.publishM.Lock()
	defer t.publishM.Unlock()
	if src, ok := t.source().(source.InsertOnly); ok {
		src.AllowInsertOnly(t.fewer(t.name))
	}
	wanted := t.wanted(t.name)
	around, err := t.neighbours.of(ctx, t.current())
	if err != nil {
		return err
	}
	missing, err := t.source().Publish(ctx, union(wanted, around))
	if rest := t.neighbours.published(around, err); len(rest) < len(around) && len(union(wanted, rest)) < len(union(wanted, around)) {
		t.log.Info("some related tables cannot be in the log: rows of theirs are kept for a second", "source", t.name, "err", err)
		missing, err = t.source().Publish(ctx, union(wanted, rest))
	}
	for _, m := range missing {
		if !t.fires(t.name, m) { // else it was there, and lookForGone tells
			t.log.Warn("table is not there yet", "source", t.name, "table", m.String())
		}
	}
	return err
}

func (t *tail) notReady() error {
	if halt := t.halted.Load(); halt != nil {
		return halt
	}
	s := t.source().Status()
	return fmt.Errorf("source %s is not ready: %s", t.name, cmp.Or(s.Detail, s.State))
}

// awaitPrepared waits while this instance takes up the source and nothing is known to stand
// in its way.
func (t *tail) awaitPrepared(ctx context.Context) error {
	for !t.isPrepared() {
		if s := t.source().Status(); t.halted.Load() != nil || s.State != source.Connecting || s.Detail != "" {
			return t.notReady()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// fresh is how long a look at the catalog serves the calls that follow.
const fresh = time.Second

// catalog lists the tables of the source, as they are now or were a moment ago.
func (t *tail) catalog(ctx context.Context) ([]source.TableInfo, error) {
	t.mu.Lock()
	tables, asked := t.tables, t.asked
	t.mu.Unlock()
	if time.Since(asked) < fresh {
		return tables, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	tables, err := t.source().Tables(ctx)
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", t.name, err)
	}
	t.neighbours.catalog.Learn(tables)
	t.mu.Lock()
	t.tables, t.asked = tables, time.Now()
	t.mu.Unlock()
	return tables, nil
}
