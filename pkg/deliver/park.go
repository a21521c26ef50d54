package deliver

import (
	"context"
	"errors"
	"time"
)

// ErrTaken is a Store's error for a caller in whose place another one writes to it now:
// nothing of his is written any more.
var ErrTaken = errors.New("another instance is the active one")

// Store keeps deliveries. An error means that it cannot be used now and that nothing was
// changed. Lists are in the order of ID where nothing else is said.
type Store interface {
	// Settle writes what became of deliveries.
	Settle(ctx context.Context, c *Changes) error
	// Summary counts what is parked, by destination.
	Summary(ctx context.Context) ([]Summary, error)
	// Places lists what is parked for a destination behind the id after, at most limit.
	Places(ctx context.Context, destination string, after uint64, limit int) ([]Place, error)
	// Load reads parked deliveries. Those that are gone are left out.
	Load(ctx context.Context, ids []uint64) ([]*Delivery, error)
	// List gives the deliveries that f picks, at most f.Limit.
	List(ctx context.Context, f *Filter) ([]*Delivery, error)
	// Amend changes deliveries, at most r.Filter.Limit.
	Amend(ctx context.Context, r *Request) (*Outcome, error)
	// Expire removes the oldest of those in a state, Dead or Sent: all that came to it
	// before then, and more until that makes excess bytes.
	Expire(ctx context.Context, s State, then time.Time, excess int64) (Expired, error)
	// Size is about how many bytes those in a state take.
	Size(ctx context.Context, s State) (int64, error)
	// KeepHistory notes since when all that is accepted is kept: since now at the latest,
	// or (keep is false) not at all.
	KeepHistory(ctx context.Context, keep bool) error
}

// Changes are written together, in this order.
type Changes struct {
	Park  []*Delivery // new ones, in any state
	Back  []*Delivery // the Fate of parked ones that were tried; what is no longer parked stays as it is
	Done  []uint64    // accepted: removed
	Bury  []Burial
	Strip bool     // nothing is kept of what the buried ones say
	Free  []string // destinations: what is parked there is tried as soon as its turn comes
}

// Burial makes all that is parked for a destination dead.
type Burial struct {
	Destination, Class, Why string
	Bytes                   int64 // of what was buried: set by Settle
}

// Place is where a parked delivery stands among the others.
type Place struct {
	ID       uint64
	Source   string
	Lanes    [2]uint64
	NLane    int
	Table    uint64
	Barrier  bool
	Refusals int
	NextAt   time.Time
}

// Summary is what is parked for a destination.
type Summary struct {
	Destination string
	Deliveries  int
	Bytes       int64
	LastID      uint64 // the highest
	Oldest      time.Time
}

// Expired is what was removed.
type Expired struct {
	Deliveries int
	Bytes      int64
	More       bool // there may be more to remove
}

// ParkConfig says when deliveries are parked: written to the store, and done as far as
// the log is concerned.
type ParkConfig struct {
	// After is how long a destination may fail before what waits for it is parked. If
	// its queue is full that is not waited for.
	After time.Duration
	// Slow is the number of deliveries a second below which a destination whose queue is
	// full has the rest parked, rather than have other destinations wait for it.
	Slow int
	// MaxBytes bounds what is parked for all destinations; 0 = nothing is parked at all.
	MaxBytes int64
	// DeadAge and DeadBytes bound how long, and how many bytes of, dead deliveries are
	// kept; 0 = no bound.
	DeadAge   time.Duration
	DeadBytes int64
}

// DefaultPark holds the defaults.
var DefaultPark = ParkConfig{
	After: 10 * time.Second, Slow: 1000, MaxBytes: 10 << 30, DeadAge: 30 * 24 * time.Hour, DeadBytes: 1 << 30,
}

// patience is how long a caller waits for room before it is asked who takes it up.
const patience = 200 * time.Millisecond

// await waits for room to be closed; late = not within patience.
func await(ctx context.Context, room <-chan struct{}) (late bool, err error) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-room:
		return false, nil
	case <-timer.C:
		return true, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}
