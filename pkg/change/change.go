// Package change says what a database's log says: row changes grouped into
// committed transactions, in commit order. It is the vocabulary shared by every
// source and everything behind it, and imports nothing of this module.
package change

import (
	"strings"
	"time"
)

// Op is what happened to a row, or to a transaction.
type Op uint8

// Operations of a Change. Commit is no row change: it closes the transaction and
// is the only place where a source's log may be acknowledged.
const (
	Insert Op = iota + 1
	Update
	Delete
	Truncate // a table; no row
	Read     // an existing row, found by a backfill
	Commit   // end of Tx; also a transaction without changes (a keepalive)
)

// String gives the name that templates see as `operation`.
func (o Op) String() string {
	switch o {
	case Insert:
		return "insert"
	case Update:
		return "update"
	case Delete:
		return "delete"
	case Truncate:
		return "truncate"
	case Read:
		return "read"
	case Commit:
		return "commit"
	}
	return "unknown"
}

// Position is a place in a source's log where reading may resume. Only the source
// that made it reads it (PostgreSQL: an LSN such as 0/16B3748).
type Position string

// Mark is how far a source has been handled: every transaction up to End, and of the
// transaction Tx (if not empty) the first Done row changes.
type Mark struct {
	End  Position // resume here: end of the last transaction that is done
	Tx   Position // Tx.Position of a transaction done in part; "" if none
	Done uint32   // leading row changes of that transaction that are done
}

// Tx is a committed transaction, shared by its changes. All fields but End are fixed
// before its first change is sent.
type Tx struct {
	ID          string    // the database's name for it (PostgreSQL: xid), for display
	Position    Position  // identity of the commit; part of every event id, [A-Za-z0-9_-] only
	Seq         uint64    // grows in log order within a source (PostgreSQL: commit LSN)
	Committed   time.Time // the database's clock at commit
	Annotations string    // JSON object attached to the transaction, or ""
	End         Position  // acknowledge this once all is done; set before the Commit change is sent
}

// Identity says how much of the old row the log holds for a table (PostgreSQL:
// REPLICA IDENTITY; MySQL: the row image).
type Identity uint8

// Row identities.
const (
	IdentityDefault Identity = iota // the primary key
	IdentityIndex                   // the columns of a unique index
	IdentityFull                    // the whole row
	IdentityNothing                 // nothing
)

// Column is a column of a Table at one time of the table's life.
type Column struct {
	Name     string
	Type     string // the database's name of the type, for display
	Identity bool   // part of the replica identity
}

// Table is a table at one time of its life: a schema change makes a new Table.
// It is immutable once sent; compare pointers to see whether the shape changed.
type Table struct {
	Schema, Name string
	Columns      []Column
	Key          []int // columns of the primary key, else of the replica identity, else empty
	KeyIsPrimary bool  // Key is the primary key
	Identity     Identity

	index map[string]int
}

// NewTable builds the name index. columns and key must not be changed afterwards.
func NewTable(schema, name string, columns []Column, key []int, primary bool, id Identity) *Table {
	t := &Table{
		Schema: schema, Name: name, Columns: columns, Key: key, KeyIsPrimary: primary, Identity: id,
		index: make(map[string]int, 2*len(columns)),
	}
	for i, c := range columns {
		lower := strings.ToLower(c.Name)
		if lower == c.Name {
			continue
		}
		if _, taken := t.index[lower]; taken {
			t.index[lower] = -1 // two columns differ only in case: neither is found that way
		} else {
			t.index[lower] = i
		}
	}
	for i, c := range columns {
		t.index[c.Name] = i
	}
	return t
}

// Lookup finds a column by its exact name, else by its unique name in another case;
// -1 if there is none.
func (t *Table) Lookup(name string) int {
	if i, ok := t.index[name]; ok {
		return i
	}
	if lower := strings.ToLower(name); lower != name {
		i, ok := t.index[lower]
		if ok {
			return i
		}
	}
	return -1
}

// Image says how much of the old row a Change holds.
type Image uint8

// Images, printed as `before_complete`.
const (
	ImageNone Image = iota
	ImageKeyOnly
	ImageFull
)

// String gives none, key_only or full.
func (i Image) String() string {
	return [...]string{"none", "key_only", "full"}[i]
}

// Change is one row change of a committed transaction, or the end of one.
//
// Before and After hold one Value for each column of Table, or are nil where the log
// holds no such row. A column the log does not hold is Missing, never Null. Their
// texts may share memory with the other rows of a batch; they are never written again.
type Change struct {
	Op      Op
	Image   Image  // what Before holds
	Ordinal uint32 // place among all row changes that the source decodes in Tx, from 1
	Tx      *Tx
	Table   *Table
	Before  []Value // update, delete
	After   []Value // insert, update, read
}

// Row is the row a template calls `instance`: After, or Before of a delete.
func (c *Change) Row() []Value {
	if c.After != nil {
		return c.After
	}
	return c.Before
}
