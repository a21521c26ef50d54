package source

import (
	"context"

	"github.com/waltrigger/waltrigger/pkg/change"
)

// Managed is a source with the steps that only a person may decide on. Each is taken in
// the place of Prepare and Run, before Close, and fails while somebody reads the source,
// as far as the server knows that.
type Managed interface {
	Source
	// Check looks at everything that tailing needs, and whether reading can go on from
	// saved; it changes nothing. It stops where what follows cannot be asked.
	Check(ctx context.Context, saved State) []Finding
	// Place says where the server stands with us. It changes nothing.
	Place(ctx context.Context, saved State) (Place, error)
	// Adopt gives the state with which reading goes on from where the server keeps a
	// place for us that this store has never read. It changes nothing on the server.
	Adopt(ctx context.Context) (State, error)
	// Resync lets reading go on from now: every transaction with a Tx.Seq of seq or above
	// is seen, of these tables. save is called as by Prepare, the last time with the state
	// that is returned.
	Resync(ctx context.Context, tables []TableName, save func(State) error) (st State, seq uint64, err error)
	// Drop removes what was made for us: on the server and in the notes.
	Drop(ctx context.Context) error
}

// Place is where a server stands with a source.
type Place struct {
	Name   string          // of what it keeps for us; "" = nothing
	At     change.Position // where that stands; "" = nowhere
	Held   int64           // log kept for us or not read by us, bytes
	Remark string          // what is wrong with it, or worth knowing
}

// Levels of a Finding.
const (
	LevelOK    = "ok"
	LevelWarn  = "warn"  // works, and should be known
	LevelError = "error" // the source cannot be tailed before this is mended
)

// Finding is one thing that Check looked at.
type Finding struct {
	Level string `json:"level"`
	Text  string `json:"text"`
	Mend  string `json:"mend,omitempty"` // what to do, SQL included
}
