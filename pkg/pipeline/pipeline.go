// Package pipeline conducts changes from a source to destinations: which triggers does
// a change concern, what do they say of it, and how far is the log done.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/deliver"
	"github.com/waltrigger/waltrigger/pkg/failpoint"
	"github.com/waltrigger/waltrigger/pkg/payload"
	"github.com/waltrigger/waltrigger/pkg/related"
	"github.com/waltrigger/waltrigger/pkg/source"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// Config bounds a pipeline.
type Config struct {
	// Window is how many events may be under way beyond the saved mark: what may be
	// delivered twice after a crash.
	Window int
	// Batches is the capacity of the channel between the source and the pipeline.
	Batches int
	// RelatedBytes bounds the memory of related rows that are kept.
	RelatedBytes int
	// Grace is how long a stop waits for what is under way.
	Grace time.Duration
	// KeepRows has deliveries carry what they were rendered from, so that what is kept of
	// them can be rendered once more.
	KeepRows bool
	// Hidden are the columns that may not leave; nil = none.
	Hidden *payload.Hidden
	// Origin describes the source in Debezium's envelope.
	Origin payload.Origin
}

// DefaultConfig holds the defaults.
func DefaultConfig() Config {
	return Config{Window: 65536, Batches: 4, RelatedBytes: 8 << 20, Grace: 25 * time.Second}
}

// Store keeps how far a source is done.
type Store interface {
	SaveSource(ctx context.Context, name string, s source.State) error
}

// View is the set of triggers in force, with the destinations that deliver for them.
// It is immutable.
type View struct {
	Set    *trigger.Set
	Queues map[*trigger.Destination]*deliver.Destination
}

// Pipeline handles one source.
//
//	source ──▶ [batches] ──▶ match, render ──▶ [lanes of each destination] ──▶ sink
//	  ▲                          │ Open, Commit                                 │
//	  │                          ▼                                              │
//	  └── Ack ◀── save ◀──── Ledger ◀───────────────────── Done ────────────────┘
//
// One goroutine does all between the two queues, so that what is enqueued first in a
// lane is what the log has first.
type Pipeline struct {
	name    string
	cfg     Config
	src     source.Source
	store   Store
	deliver *deliver.Deliverer
	log     *slog.Logger
	m       *sourceMetrics

	state  source.State
	ledger *Ledger
	view   atomic.Pointer[View]
	saved  atomic.Bool // the last attempt to save succeeded
	pinned pin         // of the goroutine that saves

	// Of the goroutine that matches.
	planned *View
	plans   map[*change.Table]*plan
	r       renderer
	events  []event
	parted  *change.Tx // is looked at as it comes, not as a whole
	within  bool       // the last change that was looked at ends no transaction
	through uint64     // Tx.Seq of the last transaction that was looked at to its end
	filling *filling   // rows that are to take their place in the log

	parts   chan told
	matched chan struct{} // closed once nothing more is enqueued
	ended   chan struct{} // closed when Run returns

	catalog *related.Catalog
	broken  broken
}

// Relations is what a pipeline has to know of related tables.
type Relations struct {
	Catalog *related.Catalog
	Leases  *related.Leases
}

// New returns a pipeline for src, which was prepared with state.
func New(name string, cfg Config, src source.Source, rel Relations, state source.State, store Store, d *deliver.Deliverer, m *Metrics, log *slog.Logger) *Pipeline {
	p := &Pipeline{
		name: name, cfg: cfg, src: src, store: store, deliver: d, log: log, m: m.source(name),
		state: state, ledger: NewLedger(state.Mark, cfg.Window),
		parts: make(chan told), matched: make(chan struct{}), ended: make(chan struct{}),
	}
	p.ledger.stuck = func(entry uint64) { p.deliver.Unpin(p.ledger, entry) }
	p.within = state.Mark.Tx != "" // the rest of it comes first
	p.view.Store(&View{Set: trigger.NewSet(nil)})
	p.saved.Store(true)
	p.catalog = rel.Catalog
	p.r = p.newRenderer(related.NewLookup(src, rel.Catalog, rel.Leases, cfg.RelatedBytes, p.m.related()))
	return p
}

// newRenderer makes a renderer for one goroutine, with the rows that it reads.
func (p *Pipeline) newRenderer(rows *related.Lookup) renderer {
	return renderer{
		event: payload.Event{Source: p.name, Related: rows, Hidden: p.cfg.Hidden, Origin: &p.cfg.Origin},
		src:   p.src, rows: rows, m: p.m,
	}
}

// Use puts v in force for every change that is looked at after the call returned. Any
// goroutine.
func (p *Pipeline) Use(v *View) { p.view.Store(v) }

// Stalled reports whether the store does not take what is done: nothing is read then.
func (p *Pipeline) Stalled() bool { return !p.saved.Load() }

// InFlight is the number of events under way beyond the mark.
func (p *Pipeline) InFlight() int { return p.ledger.InFlight() }

// ErrSuperseded is the cause of a context that ends because somebody else may have gone
// on in our place: nothing more may be delivered or saved.
var ErrSuperseded = errors.New("superseded by another instance")

// Run tails the source until ctx ends or the source cannot go on. It then delivers
// what was taken on, for as long as the grace allows (without limit as long as ctx has
// not ended), and saves how far everything is done; unless the cause of the end is
// ErrSuperseded. Called once.
func (p *Pipeline) Run(ctx context.Context) error {
	defer close(p.ended)
	// What was begun is finished after ctx ends, up to the grace.
	hard, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		select {
		case <-time.After(p.cfg.Grace):
			cancel()
		case <-hard.Done():
		}
	})()
	batches := make(chan source.Batch, p.cfg.Batches)
	from := p.state.Mark
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(batches)
		return p.src.Run(gctx, from, batches)
	})
	g.Go(func() error { return p.match(ctx, batches) })
	saver := make(chan struct{})
	go func() {
		defer close(saver)
		p.save(hard)
	}()
	err := g.Wait()
	defer p.m.inFlight.Set(0)
	if errors.Is(context.Cause(ctx), ErrSuperseded) {
		p.ledger.Stop()
		cancel()
		<-saver
		return nil
	}
	if err != nil && ctx.Err() == nil {
		p.log.Error("source ended: what was read of it is still delivered", "source", p.name, "err", err)
		p.deliverRest(ctx)
	}
	if ctx.Err() != nil { // else all is done, and other sources go on
		p.deliver.Drain(hard)
		p.ledger.Stop() // a retry after the last mark would be sent again after the next start
		p.deliver.Drain(hard)
	}
	cancel()
	<-saver
	if saveErr := p.saveMark(context.WithoutCancel(ctx)); saveErr != nil {
		p.log.Error("what was delivered last is sent again after the next start", "source", p.name, "err", saveErr)
		err = errors.Join(err, saveErr)
	}
	return err
}

// deliverRest waits until everything that was read is done.
func (p *Pipeline) deliverRest(ctx context.Context) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for p.ledger.InFlight() > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// match looks at each change in turn. It stops between two changes when ctx ends: a
// change is enqueued for all its destinations or for none.
func (p *Pipeline) match(ctx context.Context, batches <-chan source.Batch) error {
	defer close(p.matched)
	var held source.Batch // begins a transaction
	for open := true; open; {
		var b source.Batch
		var late bool
		if len(held) == 0 {
			select {
			case b, open = <-batches:
			case t := <-p.listen():
				if err := p.take(ctx, t); err != nil {
					return unless(ctx, err)
				}
			}
		} else {
			b, late, open = receive(batches, held)
		}
		if len(b) == 0 {
			continue
		}
		b, held = p.whole(b, late || !open)
		failpoint.Hit("pipeline.read")
		if err := p.batch(ctx, b); err != nil {
			return unless(ctx, err)
		}
	}
	return nil
}

// unless gives err, unless it comes of the end of ctx.
func unless(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// receive waits for the next batch and puts it behind what is held. late: it did not
// come in time.
func receive(batches <-chan source.Batch, held source.Batch) (b source.Batch, late, open bool) {
	select {
	case b, open = <-batches:
	default:
		t := time.NewTimer(heldFor)
		defer t.Stop()
		select {
		case b, open = <-batches:
		case <-t.C:
			late, open = true, true
		}
	}
	return append(held[:len(held):len(held)], b...), late, open
}

func (p *Pipeline) batch(ctx context.Context, b source.Batch) error {
	if err := p.awaitStore(ctx); err != nil {
		return err
	}
	p.r.rows.Advance(b, through(b))
	var last *change.Change // looked at, but not in the ledger
	ahead := 0
	for i := range b {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if v := p.view.Load(); i == ahead || v != p.planned {
			p.adopt(v)
			ahead = min(i+maxAhead, len(b))
			if err := p.lookAhead(ctx, b[i:ahead]); err != nil {
				return err
			}
		}
		c := &b[i]
		if c.Op == change.Commit {
			last = nil
			if err := p.ledger.Commit(ctx, c.Tx); err != nil {
				return err
			}
			placed, err := p.pass(ctx, c)
			if err != nil {
				return err
			}
			if placed { // what was read for the changes that follow was given up
				ahead = i + 1
			}
			continue
		}
		opened, err := p.change(ctx, c)
		if err != nil {
			return err
		}
		if last = nil; !opened {
			last = c
		}
		if _, err := p.pass(ctx, c); err != nil {
			return err
		}
	}
	if last != nil { // a huge transaction of no interest must not be read again from its start
		if _, err := p.ledger.Open(ctx, last.Tx, last.Ordinal, 0); err != nil {
			return err
		}
	}
	p.m.changes.Add(float64(len(b)))
	return nil
}

// awaitStore waits while the store does not take what is done.
func (p *Pipeline) awaitStore(ctx context.Context) error {
	for p.Stalled() {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// change enqueues what c fires, and reports whether that is anything. As long as
// nothing is enqueued, it gives up when ctx ends.
func (p *Pipeline) change(ctx context.Context, c *change.Change) (bool, error) {
	pl := p.plan(c.Table)
	if pl == nil {
		return false, nil
	}
	hits, n := p.r.match(pl, c)
	if n == 0 {
		return false, nil
	}
	entry, err := p.ledger.Open(ctx, c.Tx, c.Ordinal, n)
	if err != nil {
		return false, err
	}
	p.m.events.Add(float64(len(hits)))
	begun := false
	for _, h := range hits {
		if begun, err = p.fire(ctx, pl, h, c, p.ledger, entry, begun); err != nil {
			return true, err
		}
	}
	return true, nil
}

// adopt makes v the view by which changes are looked at.
func (p *Pipeline) adopt(v *View) {
	if v != p.planned {
		p.planned, p.plans = v, map[*change.Table]*plan{}
		p.broken.keep(v)
	}
}

// plan gives what is to be done for changes of t: worked out once for each table and
// view.
func (p *Pipeline) plan(t *change.Table) *plan {
	pl, ok := p.plans[t]
	if !ok {
		if len(p.plans) > 10000 { // shapes of tables that no longer exist
			p.plans = map[*change.Table]*plan{}
		}
		pl = p.newPlan(p.planned, t)
		p.plans[t] = pl
	}
	return pl
}

// save writes the mark to the store once a second, or as soon as half the window waits for
// that, then lets the source forget what is before it: in this order, or a crash between
// the two would leave a store that is behind the log it can still read.
func (p *Pipeline) save(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.ledger.Due():
		case <-tick.C:
			p.unpin()
		}
		if err := p.saveMark(ctx); err != nil && ctx.Err() == nil {
			if p.saved.Swap(false) {
				p.log.Error("store does not take the position: reading waits", "source", p.name, "err", err)
			}
			continue
		}
		if !p.saved.Swap(true) {
			p.log.Info("store takes the position again", "source", p.name)
		}
	}
}

// pin is the oldest entry of the ledger that is not finished, and since when it has been
// that.
type pin struct {
	entry uint64
	since time.Time
}

// unpin has parked what has held up the mark for longer than a destination that fails is
// waited for: the database keeps its log for it.
func (p *Pipeline) unpin() {
	head, open := p.ledger.Head()
	switch now := time.Now(); {
	case !open:
		p.pinned = pin{}
	case p.pinned.since.IsZero() || p.pinned.entry != head:
		p.pinned = pin{head, now}
	case now.Sub(p.pinned.since) >= p.deliver.ParkAfter():
		p.deliver.Unpin(p.ledger, head)
	}
}

func (p *Pipeline) saveMark(ctx context.Context) error {
	m, moved, upTo := p.ledger.Mark()
	p.m.inFlight.Set(float64(p.ledger.InFlight()))
	if !moved && p.state.Mark == m {
		return nil
	}
	s := p.state
	s.Mark = m
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	failpoint.Hit("pipeline.save")
	if err := p.store.SaveSource(ctx, p.name, s); err != nil {
		return fmt.Errorf("save position of %s: %w", p.name, err)
	}
	failpoint.Hit("pipeline.saved")
	p.state = s
	p.ledger.Saved(upTo)
	if m.End != "" {
		p.src.Ack(m.End)
	}
	return nil
}
