// Package sourcetest is the suite that every source must pass against its real
// database. It uses only SQL that all of them understand.
package sourcetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

// Harness gives the suite its databases.
type Harness struct {
	// New makes an empty database, removed when the test ends.
	New func(t *testing.T) Database
	// Unchanged says that an update's new row may lack large unchanged columns.
	Unchanged bool
}

// Database is a database under test.
type Database interface {
	// Schema is that of new tables.
	Schema() string
	// Source makes a source over the database; all of one Database share their place
	// in its log. patience is how long the server waits for a sign of life, 0: its own.
	Source(t *testing.T, patience time.Duration) source.Source
	// Session opens a connection of the application's; what it returns runs one
	// statement on it and fails the test if the database does.
	Session(t *testing.T) func(sql string)
	// Kill breaks the connection over which the log is being read.
	Kill(t *testing.T)
}

const patience = 30 * time.Second

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	for _, c := range []struct {
		name string
		f    func(t *testing.T, db Database)
	}{
		{"order of statements", testOrder},
		{"rolled back work", testRollback},
		{"rows of one statement", testMultiRow},
		{"truncate", testTruncate},
		{"large transaction", testLarge},
		{"restart between transactions", testRestart},
		{"restart inside a transaction", testRestartInside},
		{"lost connection", testReconnect},
		{"nobody takes the changes", testBackPressure},
		{"barrier", testBarrier},
		{"barrier without writers", testBarrierFree},
		{"missing table", testMissingTable},
		{"rows by key", testRows},
		{"rows show what was read", testRowsShowWhatWasRead},
		{"rows do not show what comes later", testUntil},
		{"tables whose changes are in the log", testCarried},
	} {
		t.Run(c.name, func(t *testing.T) { c.f(t, h.New(t)) })
	}
	if h.Unchanged {
		t.Run("unchanged large column", func(t *testing.T) { testUnchanged(t, h.New(t)) })
	}
}

// Reader is a running source and the place up to which its changes were taken.
type Reader struct {
	source.Source
	t     *testing.T
	db    Database
	out   chan source.Batch
	stop  context.CancelFunc
	done  chan error
	rest  source.Batch
	State source.State // what a store would hold if everything taken was done
	seq   uint64
}

// Open prepares a source from st, publishes tables and starts reading.
func Open(t *testing.T, db Database, st source.State, wait time.Duration, tables ...string) *Reader {
	t.Helper()
	r := &Reader{Source: db.Source(t, wait), t: t, db: db, out: make(chan source.Batch), done: make(chan error, 1)}
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	var saved source.State
	limit, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	state, err := r.Prepare(limit, st, func(s source.State) error { saved = s; return nil })
	if err != nil {
		t.Fatalf("Prepare: %v", err)
	}
	if st.Identity == "" && state != saved {
		t.Fatalf("Prepare returned %+v, saved %+v", state, saved)
	}
	r.State = state
	var names []source.TableName
	for _, name := range tables {
		names = append(names, source.TableName{Schema: db.Schema(), Name: name})
	}
	if missing, err := r.Publish(limit, names); err != nil || len(missing) > 0 {
		t.Fatalf("Publish: missing %v, error %v", missing, err)
	}
	go func() { r.done <- r.Run(ctx, state.Mark, r.out) }()
	t.Cleanup(r.Stop)
	return r
}

// Stop ends reading, acknowledges what was taken and closes the source.
func (r *Reader) Stop() {
	if r.stop == nil {
		return
	}
	r.stop()
	r.stop = nil
	select {
	case err := <-r.done:
		if err != nil {
			r.t.Errorf("Run: %v", err)
		}
	case <-time.After(patience):
		r.t.Error("Run did not return after its context ended")
	}
	if r.State.Mark.End != "" {
		r.Ack(r.State.Mark.End)
	}
	if err := r.Close(); err != nil {
		r.t.Errorf("Close: %v", err)
	}
}

// Next takes the next change, Commits of transactions included, lone Commits not.
func (r *Reader) Next() change.Change {
	r.t.Helper()
	late := time.After(patience)
	for {
		for len(r.rest) > 0 {
			c := r.rest[0]
			r.rest = r.rest[1:]
			r.take(c)
			if c.Op != change.Commit || c.Tx.Position != "" {
				return c
			}
		}
		select {
		case r.rest = <-r.out:
		case err := <-r.done:
			r.t.Fatalf("Run ended: %v", err)
		case <-late:
			r.t.Fatalf("no change came; status %+v", r.Status())
		}
	}
}

// take moves the mark and checks what holds for every change.
func (r *Reader) take(c change.Change) {
	r.t.Helper()
	if c.Op == change.Commit {
		if c.Tx.End == "" {
			r.t.Error("a Commit has no End")
		}
		if c.Tx.Seq < r.seq {
			r.t.Errorf("Seq went back from %d to %d", r.seq, c.Tx.Seq)
		}
		r.seq = c.Tx.Seq
		r.State.Mark = change.Mark{End: c.Tx.End}
		return
	}
	if c.Tx.Position == "" || c.Tx.Committed.IsZero() || c.Tx.Seq == 0 || c.Table == nil || c.Ordinal == 0 {
		r.t.Errorf("change is not complete: %+v of %+v", c, c.Tx)
	}
	for _, row := range [][]change.Value{c.Before, c.After} {
		if row != nil && len(row) != len(c.Table.Columns) {
			r.t.Errorf("row has %d values, table %d columns", len(row), len(c.Table.Columns))
		}
	}
	r.State.Mark.Tx, r.State.Mark.Done = c.Tx.Position, c.Ordinal
}

// Row takes the next row change.
func (r *Reader) Row() change.Change {
	r.t.Helper()
	for {
		if c := r.Next(); c.Op != change.Commit {
			return c
		}
	}
}

// Want takes as many row changes as are named and compares them, as Print shows them.
func (r *Reader) Want(want ...string) {
	r.t.Helper()
	for _, w := range want {
		if got := Print(r.Row()); got != w {
			r.t.Fatalf("got %s, want %s", got, w)
		}
	}
}

// Print shows a change as `op table(column=value …)` of its instance.
func Print(c change.Change) string {
	s := c.Op.String() + " " + c.Table.Name
	if row := c.Row(); row != nil {
		s += "("
		first := true
		for i, v := range row {
			if v.Kind == change.Missing {
				continue
			}
			if !first {
				s += " "
			}
			first = false
			s += fmt.Sprintf("%s=%s", c.Table.Columns[i].Name, v.AppendJSON(nil))
		}
		s += ")"
	}
	return s
}
