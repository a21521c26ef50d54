package deliver

import (
	"context"
	"errors"
	"time"
)

// ErrTaken is a Store's error for a caller in whose place another one writes to it now:
// nothing of his is written any more.
var ErrTaken = errors.New("another instance is the active one")

// Store keeps parked and dead deliveries. An error means that it cannot be used now and
// that nothing was changed. Lists are in the order of ID.
type Store interface {
	// Settle writes what became of deliveries.
	Settle(ctx context.Context, c *Changes) error
	// Summary counts what is parked, by destination.
	Summary(ctx context.Context) ([]Summary, error)
	// Places lists what is parked for a destination behind the id after, at most limit.
	Places(ctx context.Context, destination string, after uint64, limit int) ([]Place, error)
	// Load reads parked deliveries. Those that are gone are left out.
	Load(ctx context.Context, ids []uint64) ([]*Delivery, error)
	// List gives deliveries, parked and dead ones, as far as f.Limit allows.
	List(ctx context.Context, f *Filter) ([]*Delivery, error)
	// Amend changes the deliveries that f picks, at most f.Limit of them. every, if not
	// 0, is how far apart they are tried again.
	Amend(ctx context.Context, f *Filter, a Amendment, now time.Time, every time.Duration) ([]Amended, error)
	// Expire removes dead deliveries that died before then, and the oldest of the others
	// as long as they have more than maxBytes (0 = no bound).
	Expire(ctx context.Context, then time.Time, maxBytes int64) (removed int, err error)
}

// Changes are written together, in this order.
type Changes struct {
	Park []*Delivery // new ones, parked or dead
	Back []*Delivery // the Fate of parked ones that were tried; what is no longer parked stays as it is
	Done []uint64    // accepted: removed
	Bury []Burial
	Free []string // destinations: what is parked there is tried as soon as its turn comes
}

// Burial makes all that is parked for a destination dead.
type Burial struct {
	Destination, Class, Why string
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

// Filter picks deliveries: those to which all that is set applies.
type Filter struct {
	IDs         []uint64
	Dead        *bool
	Destination string
	Trigger     int64
	Source      string
	Key         *string // the ordering key
	Class, Code string
	After       uint64 // ids behind this one
	Limit       int    // 0 = no limit
	Brief       bool   // without body and what else is rendered
}

// Amendment is what somebody does to deliveries.
type Amendment uint8

// Amendments.
const (
	Retry Amendment = iota // try them again, dead ones as well
	Skip                   // make them dead, so that their lanes go on
	Erase                  // remove them, and nothing is left of them
)

// Amended is what was changed of a destination.
type Amended struct {
	Destination string
	Deliveries  int
	Parked      int   // in the store now
	Bytes       int64 // more of parked ones, or less
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
