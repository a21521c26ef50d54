package pipeline

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

// world is a random history of a table (id, unique u, a, long): the transactions, and the
// rows before each of them and after the last one.
type world struct {
	rand     *rand.Rand
	identity change.Identity
	table    *change.Table
	txs      [][]change.Change
	states   []map[int][]change.Value
	value    int
}

const idColumn, uColumn, aColumn, longColumn = 0, 1, 2, 3

func newWorld(seed uint64, transactions int) *world {
	w := &world{rand: rand.New(rand.NewPCG(seed, 1)), identity: []change.Identity{change.IdentityDefault, change.IdentityFull, change.IdentityIndex}[seed%3]}
	columns := []change.Column{{Name: "id"}, {Name: "u"}, {Name: "a"}, {Name: "long"}}
	for i := range columns {
		columns[i].Identity = w.identity == change.IdentityFull || w.identity == change.IdentityDefault && i == idColumn || w.identity == change.IdentityIndex && i == uColumn
	}
	w.table = change.NewTable("public", "t", columns, []int{idColumn}, true, w.identity)
	rows := map[int][]change.Value{}
	for id := range 30 {
		rows[id] = w.row(id)
	}
	w.states = append(w.states, rows)
	seq := uint64(100)
	for range transactions {
		rows = maps.Clone(rows)
		seq += 1 + w.rand.Uint64N(3)
		tx := &change.Tx{Seq: seq}
		var changes []change.Change
		for range 1 + w.rand.IntN(4) {
			for _, c := range w.step(rows) {
				c.Tx, c.Table = tx, w.table
				changes = append(changes, c)
			}
		}
		if len(changes) > 0 {
			w.txs, w.states = append(w.txs, changes), append(w.states, rows)
		}
	}
	return w
}

func (w *world) text() change.Value {
	w.value++
	return change.Value{Kind: change.String, Text: strconv.Itoa(w.value)}
}

func (w *world) row(id int) []change.Value {
	return []change.Value{{Kind: change.Int, Text: strconv.Itoa(id)}, w.text(), w.text(), w.text()}
}

// step changes rows and gives what the log says of it.
func (w *world) step(rows map[int][]change.Value) []change.Change {
	ids := slices.Sorted(maps.Keys(rows))
	if len(ids) < 2 || w.rand.IntN(6) == 0 {
		id := w.rand.IntN(40)
		if rows[id] != nil {
			return nil
		}
		rows[id] = w.row(id)
		return []change.Change{{Op: change.Insert, After: rows[id]}}
	}
	one, other := ids[w.rand.IntN(len(ids))], ids[w.rand.IntN(len(ids))]
	switch w.rand.IntN(30) {
	case 0:
		clear(rows)
		return []change.Change{{Op: change.Truncate}}
	case 1, 2, 3, 4:
		was := rows[one]
		delete(rows, one)
		return []change.Change{{Op: change.Delete, Before: w.before(was)}}
	case 5, 6, 7:
		if one == other { // away
			return w.move(rows, one, 40+w.rand.IntN(10))
		}
		return slices.Concat(w.move(rows, one, 99), w.move(rows, other, one), w.move(rows, 99, other))
	}
	return []change.Change{w.update(rows, one, one)}
}

func (w *world) move(rows map[int][]change.Value, from, to int) []change.Change {
	if rows[from] == nil || rows[to] != nil {
		return nil
	}
	return []change.Change{w.update(rows, from, to)}
}

// update changes a row, and perhaps leaves its long value alone, which the log then does
// not hold.
func (w *world) update(rows map[int][]change.Value, from, to int) change.Change {
	was := rows[from]
	row := slices.Clone(was)
	delete(rows, from)
	row[idColumn].Text, row[aColumn] = strconv.Itoa(to), w.text()
	if w.rand.IntN(4) == 0 {
		row[uColumn] = w.text()
	}
	if w.rand.IntN(2) == 0 {
		row[longColumn] = w.text()
	}
	rows[to] = row
	c := change.Change{Op: change.Update, After: slices.Clone(row)}
	if row[longColumn] == was[longColumn] && w.identity != change.IdentityFull {
		c.After[longColumn] = change.Value{}
	}
	keyed := w.identity == change.IdentityDefault && from != to || w.identity == change.IdentityIndex && row[uColumn] != was[uColumn]
	if keyed || w.identity == change.IdentityFull {
		c.Before = w.before(was)
	}
	return c
}

// before is what the log holds of an old row.
func (w *world) before(row []change.Value) []change.Value {
	out := make([]change.Value, len(row))
	for i := range row {
		if w.table.Columns[i].Identity {
			out[i] = row[i]
		}
	}
	return out
}

// through is the Seq up to which the first n transactions go.
func (w *world) through(n int) uint64 {
	if n == 0 {
		return 0
	}
	return w.txs[n-1][0].Tx.Seq
}

// TestWindow puts parts of random tables between the transactions of random histories, in
// every order in which the reading, its bounds and the log can meet. Wherever the rows
// take their place, they are what the table held there.
func TestWindow(t *testing.T) {
	placed, again := 0, 0
	for seed := range uint64(30000) {
		w := newWorld(seed, 12)
		opened := w.rand.IntN(len(w.txs) + 1)
		sure := opened + w.rand.IntN(len(w.txs)-opened+1) // it shows the first so many transactions
		shown := sure + w.rand.IntN(len(w.txs)-sure+1)    // it really shows so many
		until := shown + w.rand.IntN(len(w.txs)-shown+1)  // it shows no more than so many
		came := opened + w.rand.IntN(len(w.txs)-opened+1) // so many were looked at when the rows came
		err := w.check(opened, sure, shown, until, came)
		switch {
		case errors.Is(err, errApart):
			again++
		case err != nil:
			t.Fatalf("seed %d: opened %d, sure %d, shown %d, until %d, came %d: %v", seed, opened, sure, shown, until, came, err)
		default:
			placed++
		}
	}
	if placed < 2*again {
		t.Errorf("%d parts took their place, and %d had to be read once more", placed, again)
	}
}

func (w *world) check(opened, sure, shown, until, came int) error {
	set := source.RowSet{Table: change.NewTable("public", "t", w.table.Columns, []int{idColumn}, true, change.IdentityDefault), Seq: w.through(sure) + 1, Until: w.through(until) + 1}
	low, high := w.rand.IntN(40), w.rand.IntN(40)
	var ids []int
	for _, id := range slices.Sorted(maps.Keys(w.states[shown])) {
		if id >= low && id < high {
			ids, set.Rows = append(ids, id), append(set.Rows, slices.Clone(w.states[shown][id]))
		}
	}
	win := window{table: source.TableName{Schema: "public", Name: "t"}}
	at := opened
	look := func() {
		for i := range w.txs[at] {
			win.see(&w.txs[at][i])
		}
		at++
	}
	for at < came {
		look()
	}
	win.fill(set)
	for w.rand.IntN(2) == 0 && at < len(w.txs) {
		look()
	}
	win.until = set.Until
	for !win.due(w.through(at)) {
		if at >= until && win.failed == nil {
			return fmt.Errorf("not due at %d", at)
		}
		look()
	}
	if win.failed != nil {
		return win.failed
	}
	now := w.states[at]
	got := map[int]bool{}
	for _, row := range win.rows() {
		id, _ := strconv.Atoi(row[idColumn].Text)
		if got[id] = true; !slices.Equal(row, now[id]) {
			return fmt.Errorf("placed at %d: row %v, the table holds %v", at, row, now[id])
		}
	}
	// A row that was inserted is an event of its own, and so is one that came to its key from
	// elsewhere, which a log that names rows by another index does not say.
	for _, c := range slices.Concat(w.txs[opened:at]...) {
		if c.Op == change.Insert || c.Op == change.Update && w.identity == change.IdentityIndex {
			id, _ := strconv.Atoi(c.After[idColumn].Text)
			got[id] = true
		}
	}
	for _, id := range ids {
		if now[id] != nil && !got[id] {
			return fmt.Errorf("placed at %d: row %d is lost", at, id)
		}
	}
	return nil
}
