// Package deliver brings messages to their destinations: in order within a lane, in
// parallel over lanes, again and again until they are accepted. It is the only code
// that waits or retries, and that parks what cannot be sent now.
//
//	             Destination (one for each webhook or queue of a trigger)
//	Enqueue ──▶ lane "row 7": [d1 sending] [d4] [d9]      ┌▶ worker ─ Sink.Send
//	   │        lane "row 8": [d2 ready]           ready ─┼▶ worker ─ Sink.Send
//	   │        lane "row 9": [d3 ready] [d5]             └▶ … max_in_flight
//	   │              │  ▲                                    │
//	   │         park │  │ load                               │
//	   │              ▼  │                                    │
//	   └──────▶ clerk ─▶ Store                                │
//	                                                          │
//	done(entry) ◀── accepted, or parked ──────────────────────┤
//	parked, with its lane ◀── refused ────────────────────────┤
//	all of the destination waits ◀── unavailable ─────────────┘
package deliver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

// Config bounds what is held in memory and says how failures are met.
type Config struct {
	MaxInFlight int           // requests under way for a destination; kinds that keep order by themselves have one
	Queue       int           // deliveries that wait in memory for a destination
	QueueBytes  int64         // memory of what waits for all destinations together, about, bytes
	MaxTimeout  time.Duration // for destinations that name no time-out
	Backoff     Backoff
	Park        ParkConfig
	History     HistoryConfig // needs Park
	Bodies      Bodies
	// Render renders messages that could not be rendered in their turn. Needed if there
	// are any.
	Render RenderFunc
	// MaySend is asked immediately before each Send: while it is false none is begun.
	// Nil: always true.
	MaySend func() bool
}

// DefaultConfig holds the defaults.
func DefaultConfig() Config {
	return Config{MaxInFlight: 128, Queue: 4096, QueueBytes: 16 << 20, MaxTimeout: 30 * time.Second, Backoff: DefaultBackoff, Park: DefaultPark}
}

// Target says where a destination's messages go now. It is replaced when the trigger
// or the configuration is edited. Safe for concurrent use.
type Target interface {
	Kind() *sink.Kind
	Trigger() int64 // whose destination it is
	// Conn gives the resolved connection details and a key that is equal for equal
	// details.
	Conn(ctx context.Context) (conn map[string]any, key string, err error)
	// Fill sets m.Params and m.Headers. rendered is what the row gave, by
	// name, when the message was rendered: perhaps by the Target before this one.
	Fill(ctx context.Context, m *sink.Message, rendered []sink.Header) error
	Timeout() time.Duration // of one attempt; 0 = Config.MaxTimeout
	Limits() sink.Limits
	Host() string // where it is, to be told from others; "" = nobody knows
	// Env is what a sink opened for conn may use of its surroundings.
	Env(conn map[string]any) sink.Env
}

// ErrClosed is returned for a delivery that comes after Close.
var ErrClosed = errors.New("deliveries are closed")

// Deliverer holds the destinations.
type Deliverer struct {
	cfg    Config
	log    *slog.Logger
	sinks  *pool
	ctx    context.Context // ends at Close: every attempt's parent
	cancel context.CancelFunc
	bytes  budget
	m      *metrics
	ids    atomic.Uint64
	store  Store  // nil: there is none
	clerk  *clerk // nil: nothing is parked

	draining atomic.Bool // nothing is loaded from the store

	mu           sync.Mutex
	destinations map[string]*Destination
	hosts        map[string]*host
	parked       map[string]Summary // of destinations that are not made yet
	workers      sync.WaitGroup
}

// New returns a Deliverer without destinations. store may be nil if cfg parks nothing.
// What is parked there is taken up as destinations are made.
func New(ctx context.Context, cfg Config, store Store, m *Metrics, log *slog.Logger) (*Deliverer, error) {
	own, cancel := context.WithCancel(context.Background())
	d := &Deliverer{
		cfg: cfg, log: log, sinks: newPool(), ctx: own, cancel: cancel, m: m.m, store: store,
		bytes: budget{limit: cfg.QueueBytes, room: make(chan struct{})}, destinations: map[string]*Destination{}, hosts: map[string]*host{}, parked: map[string]Summary{},
	}
	// Ids of other runs are lower: no run enqueues four million deliveries a millisecond.
	d.ids.Store(uint64(time.Now().UnixMilli())<<22 | rand.Uint64N(1<<22))
	if store == nil {
		return d, nil
	}
	if err := d.open(ctx); err != nil {
		cancel()
		return nil, err
	}
	return d, nil
}

// open takes up what the store has.
func (d *Deliverer) open(ctx context.Context) error {
	parks := d.cfg.Park.MaxBytes > 0
	if err := d.store.KeepHistory(ctx, parks && d.cfg.History.Keep > 0); err != nil {
		return err
	}
	if !parks {
		return nil
	}
	all, err := d.store.Summary(ctx)
	if err != nil {
		return fmt.Errorf("read parked deliveries: %w", err)
	}
	var bytes int64
	for _, s := range all {
		d.parked[s.Destination] = s
		bytes += s.Bytes
		if s.LastID > d.ids.Load() { // the clock went back
			d.ids.Store(s.LastID)
		}
	}
	d.clerk = newClerk(ctx, d, d.store, bytes)
	return nil
}

// Destination returns the destination of that id, made if necessary, and gives it
// target, which frees what waits for a retry if it differs from the one before.
func (d *Deliverer) Destination(id string, target Target) *Destination {
	d.mu.Lock()
	defer d.mu.Unlock()
	q, ok := d.destinations[id]
	if !ok {
		q = newDestination(d, id)
		d.destinations[id] = q
		if s, ok := d.parked[id]; ok {
			delete(d.parked, id)
			q.lot.rows, q.lot.top, q.lot.all = s.Deliveries, s.LastID, true
			q.lot.begin()
		}
	}
	q.setTarget(target)
	return q
}

// Keep discards the destinations for which keep is false: what waits for them is dead.
// A request under way is completed.
func (d *Deliverer) Keep(keep func(id string) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, q := range d.destinations {
		if !keep(id) {
			delete(d.destinations, id)
			q.mu.Lock()
			d.leaveHost(q)
			q.mu.Unlock()
			q.discard()
		}
	}
	for id := range d.parked { // left over by a run that ended before it had buried them
		if !keep(id) {
			delete(d.parked, id)
			d.clerk.add(note{what: bury, burial: deleted(id)})
		}
	}
}

func deleted(id string) Burial {
	return Burial{Destination: id, Class: "deleted", Why: "the destination, or its trigger, was deleted"}
}

// Drain parks what waits for a retry, and then waits until nothing is under way, or until
// ctx ends. Nothing may be enqueued meanwhile, and nothing is loaded from the store any
// more.
func (d *Deliverer) Drain(ctx context.Context) {
	d.draining.Store(true)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for d.busy() || d.clerk.busy() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// busy reports whether something is being sent or could be sent now. What could not is
// parked.
func (d *Deliverer) busy() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	busy := false
	for _, q := range d.destinations {
		if q.busy() {
			busy = true
		}
	}
	return busy
}

// Close ends requests under way and closes the sinks. What was not delivered or parked
// is not done.
func (d *Deliverer) Close() {
	d.cancel()
	d.mu.Lock()
	for _, q := range d.destinations {
		q.mu.Lock()
		q.stop()
		q.m.failing.Set(0) // nobody knows any more
		q.m.parked.Set(0)
		q.mu.Unlock()
	}
	d.mu.Unlock()
	d.workers.Wait()
	d.clerk.close()
	d.sinks.close(d.log)
}

// relieve parks what waits for destinations that take up the memory and do not get on.
func (d *Deliverer) relieve() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, q := range d.destinations {
		q.mu.Lock()
		if q.stuck() {
			q.spill()
		}
		q.mu.Unlock()
	}
}

// StoreTrouble says why the store takes no deliveries now, "" if it does.
func (d *Deliverer) StoreTrouble() string {
	if d.clerk == nil {
		return ""
	}
	if why := d.clerk.why.Load(); why != nil {
		return *why
	}
	return ""
}

// ParkAfter is how long something may hold up the account of the log before Unpin is to be
// called.
func (d *Deliverer) ParkAfter() time.Duration { return d.cfg.Park.After }

// Unpin parks what waits for the destinations that have a delivery of entry in memory, so
// that account goes on: whatever keeps that delivery from being accepted, the database
// keeps its log for it, and other destinations wait for it once the window is full.
func (d *Deliverer) Unpin(account Ledger, entry uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, q := range d.destinations {
		q.mu.Lock()
		for dl := range q.lanes.all(&q.ready, q.delayed) {
			if dl.Ledger == account && dl.Entry == entry {
				q.spill()
				break
			}
		}
		q.mu.Unlock()
	}
}

// Status is a snapshot of a destination.
type Status struct {
	ID       string
	Trigger  int64
	Waiting  int // deliveries in memory, those under way included
	Parked   int // deliveries in the store that are still to be sent
	InFlight int // workers sending
	Failures int // since the last success
	RetryAt  time.Time
	Failing  bool // as a whole: it is probed
	Held     bool // not tried until somebody asks for it
	Paused   bool
	Err      string
}

// Status describes all destinations that have one.
func (d *Deliverer) Status() []Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make([]Status, 0, len(d.destinations))
	for _, q := range d.destinations {
		all = append(all, q.status())
	}
	return all
}
