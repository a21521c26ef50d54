package sourcetest

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
)

// Workload is what applications do to a database: several connections at once commit and
// roll back random transactions with savepoints, exchange the keys of rows, move rows
// about, change large columns or leave them alone, empty tables and change their schema.
type Workload struct {
	Seed    uint64
	Changes int         // commit at least so many row changes
	Tables  []WorkTable // see there
	// Open opens a connection. An error of Exec means that the statement was not done,
	// and is expected now and then: two transactions may be in each other's way.
	Open func() WorkConn
	// From stands behind a select without a table, in databases that want a word there.
	From string

	done  atomic.Int64
	names sync.Map // table -> the present name of its column note
}

// WorkTable is a table with the columns id (integer, primary key), n (integer), body
// (text, large values out of line if the database does that) and note (short text).
type WorkTable struct {
	Name     string
	Fixed    bool // its schema is left alone
	Truncate bool // it is emptied now and then
}

// WorkConn is a connection of an application's.
type WorkConn interface {
	Exec(sql string) (rows int64, err error)
}

const (
	workers = 6
	workIDs = 400 // keys of a table
)

// Stop makes Run return before all is done.
func (w *Workload) Stop() { w.done.Store(int64(w.Changes)) }

// Run does the work.
func (w *Workload) Run() {
	for _, t := range w.Tables {
		w.names.Store(t.Name, "note")
	}
	var wg sync.WaitGroup
	for i := range workers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(w.Seed, uint64(i)))
			c := w.Open()
			for w.done.Load() < int64(w.Changes) {
				w.transaction(r, c)
			}
		})
	}
	wg.Go(func() {
		r := rand.New(rand.NewPCG(w.Seed, workers))
		c := w.Open()
		for step := int64(1); w.done.Load() < int64(w.Changes); {
			if w.done.Load() > step*int64(w.Changes)/40 { // so often in a run, however long it is
				step++
				w.alter(r, c)
				continue
			}
			w.transaction(r, c)
		}
	})
	wg.Wait()
}

// transaction runs one, of some statements.
func (w *Workload) transaction(r *rand.Rand, c WorkConn) {
	if _, err := c.Exec("begin"); err != nil {
		return
	}
	var rows int64
	for range 1 + r.IntN(6) {
		n, err := w.statement(r, c)
		if err != nil {
			_, _ = c.Exec("rollback")
			return
		}
		rows += n
	}
	end := "commit"
	if r.IntN(10) == 0 {
		end = "rollback"
	}
	if _, err := c.Exec(end); err == nil && end == "commit" {
		w.done.Add(rows)
	}
}

// statement runs one under a savepoint, which is given up if it fails, and at times all
// the same.
func (w *Workload) statement(r *rand.Rand, c WorkConn) (rows int64, err error) {
	if _, err := c.Exec("savepoint s"); err != nil {
		return 0, err
	}
	for _, sql := range w.pick(r) {
		n, failed := c.Exec(sql)
		if rows += n; failed != nil {
			_, err := c.Exec("rollback to savepoint s")
			return 0, err
		}
	}
	if r.IntN(8) == 0 {
		_, err := c.Exec("rollback to savepoint s")
		return 0, err
	}
	_, err = c.Exec("release savepoint s")
	return rows, err
}

// pick makes up statements.
func (w *Workload) pick(r *rand.Rand) []string {
	t := w.Tables[r.IntN(len(w.Tables))]
	a, b := 1+r.IntN(workIDs), 1+r.IntN(workIDs)
	name, _ := w.names.Load(t.Name)
	switch k := r.IntN(1000); {
	case k < 350:
		return []string{fmt.Sprintf("insert into %[1]s (id, n, body, %[2]s) select %[3]d, %[4]d, %[5]s, '%[6]s'%[7]s where not exists (select 1 from %[1]s where id = %[3]d)",
			t.Name, name, a, r.IntN(100), body(r), word(r), w.From)}
	case k < 550:
		return []string{fmt.Sprintf("update %s set n = n + 1 where id = %d", t.Name, a)}
	case k < 620:
		return []string{fmt.Sprintf("update %s set %s = null, n = n where id = %d", t.Name, name, a)}
	case k < 680:
		return []string{fmt.Sprintf("update %s set body = %s where id = %d", t.Name, body(r), a)}
	case k < 760:
		return []string{fmt.Sprintf("update %s set n = %d, %s = '%s' where id between %d and %d", t.Name, r.IntN(100), name, word(r), a, a+10)}
	case k < 860:
		return []string{fmt.Sprintf("update %s set id = %d where id = %d", t.Name, a, b)}
	case k < 900: // two rows exchange their keys
		spare := workIDs + 1 + r.IntN(workIDs)
		move := "update %s set id = %d where id = %d"
		return []string{fmt.Sprintf(move, t.Name, spare, a), fmt.Sprintf(move, t.Name, a, b), fmt.Sprintf(move, t.Name, b, spare)}
	case k < 950: // one that is gone and comes again within the transaction
		return []string{fmt.Sprintf("delete from %s where id = %d", t.Name, a), fmt.Sprintf("insert into %s (id, n, body, %s) values (%d, 0, null, '%s')", t.Name, name, a, word(r))}
	case k < 998 || !t.Truncate:
		return []string{fmt.Sprintf("delete from %s where id between %d and %d", t.Name, a, a+r.IntN(3))}
	}
	return []string{"truncate table " + t.Name}
}

// alter changes the schema of a table. Rows that this gives other values are touched:
// the log says nothing of them.
func (w *Workload) alter(r *rand.Rand, c WorkConn) {
	t := w.Tables[r.IntN(len(w.Tables))]
	if t.Fixed {
		return
	}
	if r.IntN(2) == 0 { // to no effect if it is the wrong one
		_, _ = c.Exec([]string{"alter table " + t.Name + " add column extra int", "alter table " + t.Name + " drop column extra"}[r.IntN(2)])
		return
	}
	was, _ := w.names.Load(t.Name)
	now := map[any]string{"note": "remark", "remark": "note"}[was]
	if _, err := c.Exec(fmt.Sprintf("alter table %s rename column %s to %s", t.Name, was, now)); err != nil {
		return
	}
	w.names.Store(t.Name, now)
	for range 1000 { // others may be in the way
		if _, err := c.Exec("update " + t.Name + " set n = n + 1"); err == nil {
			return
		}
	}
}

// body is an SQL expression: nothing, something small, or too large to be kept in the row
// and not compressible.
func body(r *rand.Rand) string {
	switch r.IntN(4) {
	case 0:
		return "null"
	case 1:
		return "'" + word(r) + "'"
	}
	var b strings.Builder
	for range 400 {
		fmt.Fprintf(&b, "%016x", r.Uint64())
	}
	return "'" + b.String() + "'"
}

var words = []string{"", "a", "O''Brien", "tab\there", `"quoted"`, "é😀", "null", "{}", `back\\slash`}

// word is the inside of an SQL string. MySQL and PostgreSQL differ in what a backslash
// is, which is as good: the database says what came of it.
func word(r *rand.Rand) string { return words[r.IntN(len(words))] }
