package deliver

import (
	"context"
	"strings"
	"time"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

// Delivery is one message on its way to one destination. The caller fills in the
// exported fields of the first group and lets go of it; the store gives back all of them.
type Delivery struct {
	Message  sink.Message
	Rendered []sink.Header // for Target.Fill
	Source   string        // of the change
	Ledger   Ledger        // nil: nobody keeps account of it any more
	Entry    uint64        // given to Ledger.Done
	// Event is what the message is rendered from by Config.Render, at each attempt until
	// that succeeds. Nil for a message that is rendered.
	Event []byte
	// Origin is what the message was rendered from, if that is kept.
	Origin []byte
	// Damage says why what the store gave back of it is not what was written. It is dead
	// then, whatever the schedule says.
	Damage error
	// Mended: the message was rendered from Event since it was stored.
	Mended bool
	// Row is the row that it is about.
	Row Row
	// Lanes are hashes of the ordering keys it belongs to: none = no order; two when
	// a row's key changed, so that it comes after the old key's deliveries and before
	// the new key's. Equal hashes of different keys only cost parallelism. They are kept
	// in the store, so they must not change from run to run.
	Lanes [2]uint64
	NLane int
	Table uint64 // which table's lanes; 0 = none
	// Barrier: after all earlier deliveries of Table and before all later ones.
	Barrier bool

	ID          uint64 // grows in the order of enqueueing; set by Enqueue
	Destination string // set by Enqueue
	Trigger     int64  // set by Enqueue
	ParkedAt    time.Time
	Fate

	size     int64 // taken from the budget
	waits    int   // lanes in which it is not yet first
	most     int   // deliveries it may share a batch with, itself included; 0 = as many as fit
	stored   bool  // parked in the store; what is in memory is a copy
	gone     bool  // was stored, and somebody skipped or erased it there
	again    bool  // being put back into the store, where it waits
	kept     bool  // accepted, and in the clerk's hands
	evicted  bool  // from memory to the store
	low      bool  // see lot.send
	touched  bool  // stored, and its Fate in the store is an old one
	finished bool
	sending  bool // in a worker's hands; with a pipelined kind perhaps before it is first
	links    []link
	first    [2]link
	next     *Delivery // in the ready list
	err      error     // why it was not handed to the sink in this attempt
}

// Row names a row of a source. The zero Row is none.
type Row struct {
	Table string // schema.table
	Key   []byte // the plain text of one column, or a JSON list of several
}

// State says what is to become of a delivery that is kept.
type State uint8

// States. The store keeps the numbers.
const (
	Parked State = iota // is still to be sent
	Dead                // is not sent any more, unless somebody asks for it
	Sent                // was accepted
)

// Fate is what became of a delivery so far.
type Fate struct {
	Attempts int // that failed
	Refusals int // those of them that were about this delivery alone
	State    State
	SentAt   time.Time // Sent: accepted then
	// Bare: what it says is not kept any more, so that it cannot be sent again.
	Bare     bool
	NextAt   time.Time // not tried before; zero = when its turn comes
	FailedAt time.Time // the last attempt that failed
	Class    string    // of the last failure: a sink.Class, or "deleted", "skipped"
	Code     string
	Error    string
	Tries    []Try // the last attempts, the latest at the end
}

// Try is an attempt that failed.
type Try struct {
	At    time.Time `json:"at"`
	Class string    `json:"class"`
	Code  string    `json:"code"`
	Error string    `json:"error"`
}

// maxTries bounds the attempts that are kept.
const maxTries = 20

// maxError bounds how much of an error is kept, bytes.
const maxError = 500

// failed notes a failure.
func (f *Fate) failed(err *sink.Error, now time.Time) {
	f.FailedAt, f.Class, f.Code, f.Error = now, err.Class.String(), err.Code, clip(err.Error(), maxError)
	if len(f.Tries) == maxTries {
		f.Tries = f.Tries[1:]
	}
	f.Tries = append(f.Tries, Try{now, f.Class, f.Code, f.Error})
}

// overhead is about what a delivery takes besides its body, bytes.
const overhead = 800

// Bytes is about how many bytes of memory d takes.
func (d *Delivery) Bytes() int64 {
	return overhead + int64(len(d.Message.Body)+len(d.Event)+len(d.Origin))
}

// snapshot is what is kept of d as it is now: d goes on changing. The destination's mu is
// held.
func (d *Delivery) snapshot() *Delivery {
	m := &d.Message
	return &Delivery{
		Message:  sink.Message{ID: m.ID, Key: m.Key, Body: m.Body, ContentType: m.ContentType, Signal: m.Signal, Model: m.Model, Committed: m.Committed},
		Rendered: d.Rendered, Source: d.Source, Event: d.Event, Origin: d.Origin, Row: d.Row, Lanes: d.Lanes, NLane: d.NLane, Table: d.Table, Barrier: d.Barrier,
		ID: d.ID, Destination: d.Destination, Trigger: d.Trigger, ParkedAt: d.ParkedAt, Fate: d.Fate,
	}
}

// strip forgets what d says.
func (d *Delivery) strip() {
	d.Bare, d.Message.Body, d.Rendered, d.Event, d.Origin = true, nil, nil, nil, nil
}

// Ledger keeps the account of deliveries. Called by many goroutines; must not block.
type Ledger interface {
	// Done is told of each delivery that is accepted or parked, or that nobody wants any
	// more.
	Done(entry uint64)
	// Stopped says that Done counts no more: no delivery is begun from then on.
	Stopped() bool
}

// RenderFunc renders d.Message and d.Rendered of d.Event, with the trigger as it is
// now. It returns false if there is nothing to send after all.
type RenderFunc func(ctx context.Context, d *Delivery) (send bool, err error)

// clip cuts s to at most n bytes, at the end of a character.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
