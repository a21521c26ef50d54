// Package source defines what a tailed database must offer. Each database lives in a
// folder of its own below this one and passes sourcetest.
package source

import (
	"context"
	"fmt"

	"github.com/waltrigger/waltrigger/pkg/change"
)

// Batch is a run of changes in log order, handed over as one. The receiver owns it.
type Batch []change.Change

// State is what the store remembers of a source between runs.
type State struct {
	Identity string // which server, database and slot Mark belongs to; opaque; "" = never read
	Mark     change.Mark
	// Rewound is set in what Prepare saves when it goes back, and is not part of what is
	// loaded again.
	Rewound *Rewind
}

// Rewind says that reading goes back. See RewoundError.
type Rewind struct {
	From change.Position // the log was read up to there before
	Seq  uint64          // transactions with this Tx.Seq or a higher one have not been seen
}

// Source tails one database.
type Source interface {
	Catalog
	// Prepare checks that the source can be tailed from saved and creates what is
	// missing (publication, then slot). save is called with every State that must
	// survive a crash, before the step that makes it necessary; the last one saved is
	// returned. Errors are those of this package where the operator has to act.
	// Called again only after a failure, of Run as well, which may follow then.
	Prepare(ctx context.Context, saved State, save func(State) error) (State, error)
	// Run sends committed changes in commit order to out until ctx ends (it returns
	// nil then) or reading can never succeed again. It reconnects by itself, sends
	// nothing twice within one Run, and starts behind from. While out is full it
	// keeps the connection alive and reads nothing. A transaction ends with a
	// change.Commit; positions without changes come as a lone Commit.
	Run(ctx context.Context, from change.Mark, out chan<- Batch) error
	// Ack says that everything up to p, an End of a Commit sent by Run, is done and
	// saved. Cheap; any goroutine, p never goes back.
	Ack(p change.Position)
	// Status is a snapshot for people and metrics. Any goroutine.
	Status() Status
	Close() error
}

// Notes keep what a source must remember beside its Mark: texts by name, opaque to
// everybody else. Once SaveNotes returned nil they survive a crash. A source whose log
// says all that is needed keeps none.
type Notes interface {
	LoadNotes(ctx context.Context) (map[string]string, error)
	// SaveNotes sets notes, all or none of them; an empty text removes one.
	SaveNotes(ctx context.Context, changed map[string]string) error
}

// TableName names a table.
type TableName struct{ Schema, Name string }

func (t TableName) String() string { return t.Schema + "." + t.Name }

// NameOf is the name of a table that changes are about.
func NameOf(t *change.Table) TableName { return TableName{Schema: t.Schema, Name: t.Name} }

// Catalog is what a source knows of its tables now. Any goroutine; read-only and with
// time-outs of its own. Every error means that the source cannot be asked, but for those
// that are Lasting.
type Catalog interface {
	// Tables lists the tables that can be tailed, without columns of other schemas
	// than those visible to the user. Sorted by schema and name.
	Tables(ctx context.Context) ([]TableInfo, error)
	// Publish makes the log carry the changes of exactly these tables. Tables that
	// do not exist are left out and returned as missing.
	Publish(ctx context.Context, tables []TableName) (missing []TableName, err error)
	// Barrier waits, holding no lock, until every transaction that held a write lock
	// on one of tables when it was called has ended. It then returns the Tx.Seq at or
	// above which lies every transaction whose COMMIT is issued after the return, and
	// below which lies every one acknowledged before the call. waiting is called with
	// a description of the transactions still open, whenever that changes.
	Barrier(ctx context.Context, tables []TableName, waiting func(blockers string)) (seq uint64, err error)
	// Rows reads the rows that q asks for. A row that is not there is not in the answer.
	Rows(ctx context.Context, q Query) (RowSet, error)
	// Counts counts them instead; q has no limit.
	Counts(ctx context.Context, q Query) (CountSet, error)
	// Carried gives a word for each of tables, "" where the log does not carry all
	// changes of its rows now. The word is another one than before if rows may have
	// changed, or been replaced, in a way that the log does not tell: it is another
	// table of that name, was rewritten or got other columns, was left out of the log in
	// between, or the server is another one.
	Carried(ctx context.Context, tables []TableName) ([]string, error)
	// Value answers a query of the operator's that gives one row of one column, as text
	// of at most MaxValue bytes. Nothing that the query does is kept. The error never
	// repeats what the database holds.
	Value(ctx context.Context, query string) (string, error)
}

// Latest is what a Catalog may offer besides, for people who try a trigger.
type Latest interface {
	// Latest reads the row of a table with the highest primary key, or any one of a table
	// without: none if the table is empty.
	Latest(ctx context.Context, table TableName) (RowSet, error)
}

// Missing is what a Catalog may offer besides, cheaper than all of Tables.
type Missing interface {
	// Missing gives those of tables that do not exist, or that the user may not see.
	Missing(ctx context.Context, tables []TableName) ([]TableName, error)
}

// MaxValue bounds an answer of Catalog.Value, bytes.
const MaxValue = 64 << 10

// InsertOnly is a Source that can carry the inserts of tables whose updates and deletes
// cannot be published without harm.
type InsertOnly interface {
	// AllowInsertOnly names the tables for which that will do, for the calls of Publish
	// that follow and for what the source does by itself.
	AllowInsertOnly(tables []TableName)
}

// Joiner is a Source that tells which tables came into its log, and when.
type Joiner interface {
	// OnJoin makes the source call f whenever a table joins its log: changes committed
	// before that position are not in it. Any goroutine; f must not call the source.
	OnJoin(f func(table TableName, before change.Position))
}

// Query asks for the rows of a table by the values of some of its columns.
type Query struct {
	Table   TableName
	Columns []string
	Keys    [][]string // each one canonical text a column; no two are the same
	Limit   int        // rows of each key at most; 0: all
	First   bool       // with Limit: those that come first by the primary key; else any
}

// RowSet is an answer of Catalog.Rows. Of the transactions that Run sends, it shows all
// with a Tx.Seq below Seq, and none with one of Until or above; what lies between it
// shows or not. Seq 0 promises nothing, and so does Until 0. Who asks on behalf of a
// transaction that Run has sent needs a Seq above its.
type RowSet struct {
	Table *change.Table
	Rows  [][]change.Value
	Of    []int // for each row the place of its key in Query.Keys; nil: its texts tell
	Seq   uint64
	Until uint64
}

// CountSet is an answer of Catalog.Counts; Seq and Until are those of a RowSet.
type CountSet struct {
	Counts []int64 // one for each of Query.Keys
	Seq    uint64
	Until  uint64
}

// TableInfo describes a table as the catalog has it now.
type TableInfo struct {
	TableName
	Columns        []ColumnInfo
	PrimaryKey     []string
	ForeignKeys    []ForeignKey
	Identity       change.Identity // of every row: partitions may differ from their root
	OldColumns     []string        // what the log holds of a deleted row, and of an update that changes one of them
	WholeOldRow    string          // what makes the log hold the whole old row, statements to be run
	IdentityUsable bool            // updates and deletes can be published without harm, or are not published
	Unlogged       []change.Op     // what the log does not carry as things are; of a table without usable identity
	InSearchPath   bool
	Unreadable     bool // rows of it cannot be read by query
	Partitioned    bool
	Leaf           bool // a partition of another table
}

// ColumnInfo describes a column as the catalog has it now.
type ColumnInfo struct {
	Name, Type string
	NotNull    bool
	Generated  bool // not in the log
	// Equal is not empty if equality is that of the canonical texts: two values of
	// columns with the same word are equal for the database if, and only if, their texts
	// are. It is empty for what ignores case or trailing zeros.
	Equal string
}

// ForeignKey is a foreign key of a table.
type ForeignKey struct {
	Name       string
	Columns    []string
	RefTable   TableName
	RefColumns []string
	Indexed    bool // rows are found by Columns without reading the whole table
	Unique     bool // no two rows have the same Columns: at most one row refers to another
}

// Status is a snapshot of a source.
type Status struct {
	State    string // connecting, streaming, stopped, resync_required, store_unknown_slot, error
	Detail   string // the error or the next step, in words
	Received change.Position
	Acked    change.Position
	LagBytes uint64 // server's end of log minus acknowledged
	// RetainedBytes is the log that the server keeps for this source, a few seconds ago:
	// more than LagBytes where an old transaction is still open.
	RetainedBytes uint64
	Events        uint64 // row changes sent since start
	Skipped       uint64 // transactions left out because their writer asked for it, since start
	Unseen        uint64 // statements since start whose row changes the log does not hold
	Reconnects    uint64
}

// HaltError stops a source until an operator acts. It is not retried.
type HaltError struct {
	State  string // a Status.State: resync_required, store_unknown_slot, misconfigured
	Reason string // what was found
	Mend   string // what to do, commands or SQL included
}

// PositionLost is a HaltError of the source of that name: changes since it was read last
// cannot be read any more.
func PositionLost(name, reason string) *HaltError {
	return &HaltError{
		State: ResyncRequired, Reason: reason,
		Mend: "changes in between are lost to this source: `waltrigger source resync " + name + " --accept-gap` goes on from now, and with --backfill in its place the rows of the tables are sent as they are then",
	}
}

func (e *HaltError) Error() string { return fmt.Sprintf("%s: %s; %s", e.State, e.Reason, e.Mend) }
