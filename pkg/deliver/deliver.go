// Package deliver brings messages to their destinations: in order within a lane, in
// parallel over lanes, again and again until they are accepted. It is the only code
// that waits or retries.
//
//	             Destination (one for each webhook or queue of a trigger)
//	Enqueue ──▶ lane "row 7": [d1 sending] [d4] [d9]      ┌▶ worker ─ Sink.Send
//	            lane "row 8": [d2 ready]           ready ─┼▶ worker ─ Sink.Send
//	            lane "row 9": [d3 ready] [d5]             └▶ … max_in_flight
//	                                                          │
//	done(entry) ◀── accepted ─────────────────────────────────┤
//	ready (later) ◀── refused: this delivery waits ───────────┤
//	all of the destination waits ◀── unavailable ─────────────┘
package deliver

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

// Config bounds what is held in memory and says how failures are met.
type Config struct {
	MaxInFlight int           // requests under way for a destination; kinds that keep order by themselves have one
	Queue       int           // deliveries that wait for a destination; full = the log is not read on
	QueueBytes  int64         // memory of what waits for all destinations together, about, bytes
	MaxTimeout  time.Duration // for destinations that name no time-out
	Backoff     Backoff
}

// DefaultConfig holds the defaults.
func DefaultConfig() Config {
	return Config{MaxInFlight: 128, Queue: 4096, QueueBytes: 16 << 20, MaxTimeout: 30 * time.Second, Backoff: DefaultBackoff}
}

// Target says where a destination's messages go now. It is replaced when the trigger
// or the configuration is edited. Safe for concurrent use.
type Target interface {
	Kind() *sink.Kind
	// Conn gives the resolved connection details and a key that is equal for equal
	// details.
	Conn(ctx context.Context) (conn map[string]any, key string, err error)
	// Fill sets m.Params and m.Headers. rendered is what the row gave, by
	// name, when the message was rendered: perhaps by the Target before this one.
	Fill(ctx context.Context, m *sink.Message, rendered []sink.Header) error
	Timeout() time.Duration // of one attempt; 0 = Config.MaxTimeout
	// Env is what a sink opened for conn may use of its surroundings.
	Env(conn map[string]any) sink.Env
}

// Delivery is one message on its way to one destination. The caller fills in the
// exported fields and lets go of it.
type Delivery struct {
	Message  sink.Message
	Rendered []sink.Header // for Target.Fill
	Weight   int           // bytes held besides the body, if those are more
	Ledger   Ledger
	Entry    uint64 // given to Ledger.Done
	// Late renders a message that could not be rendered when its turn came in the log,
	// at each attempt until it succeeds: it returns false if there is nothing to send
	// after all. Nil for a message that is rendered.
	Late func(ctx context.Context, d *Delivery) (send bool, err error)
	// Lanes are hashes of the ordering keys it belongs to: none = no order; two when
	// a row's key changed, so that it comes after the old key's deliveries and before
	// the new key's. Equal hashes of different keys only cost parallelism.
	Lanes [2]uint64
	NLane int
	Table uint64 // which table's lanes; 0 = none
	// Barrier: after all earlier deliveries of Table and before all later ones.
	Barrier bool

	size     int64 // taken from the budget
	waits    int   // lanes in which it is not yet first
	attempts int
	finished bool
	sending  bool // in a worker's hands; with a pipelined kind perhaps before it is first
	links    []link
	first    [2]link
	next     *Delivery // in the ready list
	err      error     // why it was not handed to the sink in this attempt
}

// overhead is about what a delivery takes besides its body, bytes.
const overhead = 640

func (d *Delivery) bytes() int64 { return overhead + int64(max(len(d.Message.Body), d.Weight)) }

// Ledger keeps the account of deliveries. Called by many goroutines; must not block.
type Ledger interface {
	// Done is told of each delivery that is accepted, or that nobody wants any more.
	Done(entry uint64)
	// Stopped says that Done counts no more: no delivery is begun from then on.
	Stopped() bool
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

	mu           sync.Mutex
	destinations map[string]*Destination
	workers      sync.WaitGroup
}

// New returns a Deliverer without destinations.
func New(cfg Config, m *Metrics, log *slog.Logger) *Deliverer {
	ctx, cancel := context.WithCancel(context.Background())
	return &Deliverer{
		cfg: cfg, log: log, sinks: newPool(), ctx: ctx, cancel: cancel, m: m.m,
		bytes: budget{limit: cfg.QueueBytes, room: make(chan struct{})}, destinations: map[string]*Destination{},
	}
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
	}
	q.setTarget(target)
	return q
}

// Keep discards the destinations for which keep is false, with what waits for them.
// A request under way is completed.
func (d *Deliverer) Keep(keep func(id string) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, q := range d.destinations {
		if !keep(id) {
			delete(d.destinations, id)
			q.discard()
		}
	}
}

// Drain waits until nothing is under way and nothing but retries waits, or until ctx
// ends. Nothing may be enqueued meanwhile.
func (d *Deliverer) Drain(ctx context.Context) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for d.busy() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (d *Deliverer) busy() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, q := range d.destinations {
		if q.busy() {
			return true
		}
	}
	return false
}

// Close ends requests under way and closes the sinks. What was not delivered is not
// done.
func (d *Deliverer) Close() {
	d.cancel()
	d.mu.Lock()
	for _, q := range d.destinations {
		q.mu.Lock()
		q.stop()
		q.mu.Unlock()
	}
	d.mu.Unlock()
	d.workers.Wait()
	d.sinks.close(d.log)
}

// Status is a snapshot of a destination.
type Status struct {
	ID       string
	Waiting  int // deliveries, those under way included
	InFlight int // workers sending
	Failures int // since the last success
	RetryAt  time.Time
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

// budget bounds the bytes that wait.
type budget struct {
	mu    sync.Mutex
	used  int64
	limit int64
	room  chan struct{}
	wait  bool
}

// take waits until n bytes fit; a single body larger than the limit fits when nothing
// else is held.
func (b *budget) take(ctx context.Context, n int64) error {
	b.mu.Lock()
	for b.used > 0 && b.used+n > b.limit {
		b.wait = true
		room := b.room
		b.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
		b.mu.Lock()
	}
	b.used += n
	b.mu.Unlock()
	return nil
}

// force takes n bytes whether they fit or not.
func (b *budget) force(n int64) {
	b.mu.Lock()
	b.used += n
	b.mu.Unlock()
}

func (b *budget) give(n int64) {
	b.mu.Lock()
	b.used -= n
	if b.wait {
		b.wait = false
		close(b.room)
		b.room = make(chan struct{})
	}
	b.mu.Unlock()
}
