package related

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

// world is a database with a history, whose log is read with a delay. A value of a row is
// never used again, so it tells from which time it is.
type world struct {
	source.Catalog
	*rand.Rand
	states  []map[string][]string // by table and id, after each transaction; the first is empty
	log     [][]change.Change     // of each transaction
	told    int                   // transactions that were read from the log
	public  int                   // the first transaction of which the log has all changes
	shapes  map[string]*change.Table
	counter int
	queries int
}

// seqOf is where transaction n lies in the log.
func seqOf(n int) uint64 { return uint64(n)*10 + 5 }

// commit adds a transaction of some changes.
func (w *world) commit() {
	n := len(w.states)
	state := maps.Clone(w.states[n-1])
	tx := &change.Tx{Seq: seqOf(n)}
	var changes []change.Change
	tell := func(c change.Change) {
		c.Tx = tx
		if n >= w.public || w.IntN(2) == 0 { // before it is published, a transaction may be in the log in part
			changes = append(changes, c)
		}
	}
	for range 1 + w.IntN(3) {
		table := []string{"customer", "sale"}[w.IntN(2)]
		t := w.shapes[table]
		id := strconv.Itoa(w.IntN(5))
		w.counter++
		fresh := []string{id, strconv.Itoa(w.IntN(5)), strconv.Itoa(1000 + w.counter)}
		old, there := state[table+id]
		switch {
		case w.IntN(40) == 0:
			maps.DeleteFunc(state, func(key string, _ []string) bool { return strings.HasPrefix(key, table) })
			tell(change.Change{Op: change.Truncate, Table: t})
		case !there:
			state[table+id] = fresh
			tell(change.Change{Op: change.Insert, Table: t, After: values(fresh...)})
		case w.IntN(4) == 0:
			delete(state, table+id)
			tell(change.Change{Op: change.Delete, Table: t, Before: w.before(t, old)})
		default:
			if to := strconv.Itoa(w.IntN(5)); state[table+to] == nil && w.IntN(2) == 0 { // another id
				delete(state, table+id)
				fresh[0] = to
			}
			state[table+fresh[0]] = fresh
			c := change.Change{Op: change.Update, Table: t, After: values(fresh...)}
			if fresh[0] != id || t.Identity == change.IdentityFull {
				c.Before = w.before(t, old)
			}
			if w.IntN(8) == 0 && old[1] == fresh[1] {
				c.After[1] = change.Value{} // too large to be repeated
			}
			tell(c)
		}
	}
	w.states, w.log = append(w.states, state), append(w.log, changes)
}

// before is the old row as the log has it.
func (w *world) before(t *change.Table, row []string) []change.Value {
	out := values(row...)
	for i := range out {
		if !t.Columns[i].Identity {
			out[i] = change.Value{}
		}
	}
	return out
}

func (w *world) Tables(context.Context) ([]source.TableInfo, error) {
	return []source.TableInfo{refers(info("customer", "boss_id", "v"), "customer", "boss_id"), refers(info("sale", "customer_id", "v"), "customer", "customer_id")}, nil
}

// Rows shows a state that may be newer than the log was read, and says so vaguely.
func (w *world) Rows(_ context.Context, q source.Query) (source.RowSet, error) {
	w.queries++
	shown := max(w.told, w.public-1) // whoever wrote before it was published has ended
	at := shown + w.IntN(len(w.states)-shown)
	set := source.RowSet{Table: w.shapes[q.Table.Name], Seq: seqOf(w.told + w.IntN(at-w.told+1)), Until: seqOf(at + w.IntN(len(w.states)-at))}
	set.Seq++
	set.Until++
	if w.IntN(10) == 0 {
		set.Until = 0
	}
	if w.IntN(10) == 0 {
		set.Seq = seqOf(w.IntN(w.told + 1))
	}
	for _, key := range slices.Sorted(maps.Keys(w.states[at])) {
		row := w.states[at][key]
		if !strings.HasPrefix(key, q.Table.Name) {
			continue
		}
		of := slices.IndexFunc(q.Keys, func(k []string) bool { return k[0] == row[set.Table.Lookup(q.Columns[0])] })
		if of >= 0 {
			set.Rows, set.Of = append(set.Rows, values(row...)), append(set.Of, of)
		}
	}
	return set, nil
}

func (w *world) Counts(ctx context.Context, q source.Query) (source.CountSet, error) {
	rows, err := w.Rows(ctx, q)
	out := source.CountSet{Counts: make([]int64, len(q.Keys)), Seq: rows.Seq, Until: rows.Until}
	for _, of := range rows.Of {
		out.Counts[of]++
	}
	return out, err
}

// customer and sales are what a customer's row and the set of its sales are in a state.
func (w *world) customer(state map[string][]string, id string) string {
	if row := state["customer"+id]; row != nil {
		return row[2]
	}
	return "gone"
}

func (w *world) sales(state map[string][]string, id string) string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(state)) {
		if row := state[key]; strings.HasPrefix(key, "sale") && row[1] == id {
			out = append(out, row[0]+"="+row[2])
		}
	}
	return strings.Join(out, " ")
}

// TestModel lets a database, its log and its readers go on in many ways. Whatever they
// do, an event is shown a state that the row had, or the set, at its transaction or after it.
func TestModel(t *testing.T) {
	for seed := range uint64(300) {
		id := []change.Identity{change.IdentityDefault, change.IdentityFull}[seed%2]
		w := &world{Rand: rand.New(rand.NewPCG(seed, 1)), states: []map[string][]string{{}}, log: [][]change.Change{nil}}
		w.shapes = map[string]*change.Table{"customer": shape("customer", id, "id", "boss_id", "v"), "sale": shape("sale", id, "id", "customer_id", "v")}
		w.public = w.IntN(60)
		l := NewLookup(w, NewCatalog(w.Tables, nil, nil, slog.New(slog.DiscardHandler)), NewLeases(), 4000, Metrics{
			func(int) {}, func(int) {}, func(int) {}, func(int) {},
		})
		event := shape("event", change.IdentityDefault, "id", "customer_id")
		row := NewPlan(event, [][]string{{"customer", "v"}, {"customer", "sale_set", "count"}, {"customer", "sale_set", "all"}})
		relation := Relation{ForeignKey: source.ForeignKey{Columns: []string{"customer_id"}, RefTable: public("customer"), RefColumns: []string{"id"}}, From: public("event"), Name: "customer", exact: true, unique: true}
		served := 0
		var rest []change.Change
		for step := range 200 {
			for range w.IntN(4) {
				w.commit()
			}
			if len(w.states) > w.public {
				l.leases.Renew(map[source.TableName]string{public("customer"): "w", public("sale"): "w"}, time.Now().Add(time.Hour))
			}
			// Some transactions are told whole, the last one perhaps in part.
			batch := rest // of one that was told in part before
			through := w.told
			for w.told+1 < len(w.states) && w.IntN(3) > 0 {
				w.told++
				batch = append(batch, w.log[w.told]...)
				through = w.told
			}
			newest := through
			rest = nil
			if w.told+1 < len(w.states) && w.IntN(3) == 0 {
				w.told++
				newest = w.told
				cut := w.IntN(len(w.log[w.told]) + 1)
				batch, rest = append(batch, w.log[w.told][:cut]...), w.log[w.told][cut:]
				batch = append(batch, change.Change{Op: change.Insert, Table: event, Tx: &change.Tx{Seq: seqOf(newest)}, After: values("1", "1")})
			}
			l.Advance(batch, seqOf(through))
			if newest == 0 || len(w.states) <= w.public {
				continue // without a lease anything of the last second may be shown
			}
			at := max(newest-w.IntN(3), 1)
			if at < w.public {
				continue
			}
			if l.names == nil {
				if _, err := l.catalog.Names(t.Context(), false); err != nil {
					t.Fatal(err)
				}
				n := *l.catalog.names.Load()
				n.from = maps.Clone(n.from)
				n.from[public("event")] = []*Relation{&relation}
				n.learnt = time.Now().Add(time.Hour)
				l.catalog.names.Store(&n)
			}
			customer := strconv.Itoa(w.IntN(5))
			values := values("1", customer)
			before := w.queries
			if err := l.Read(t.Context(), []Need{{row, &change.Change{Op: change.Insert, Table: event, Tx: &change.Tx{Seq: seqOf(at)}, After: values}}}); err != nil {
				t.Fatal(err)
			}
			if w.queries == before {
				served++
			}
			ref, ok := l.Follow(event, values, "customer")
			if !ok || ref.Unread {
				t.Fatalf("seed %d, step %d: %+v", seed, step, ref)
			}
			got := "gone"
			if ref.Row != nil {
				got = ref.Row.Values[2].Text
			}
			check(t, w, at, fmt.Sprintf("seed %d, step %d, customer %s", seed, step, customer), got, func(s map[string][]string) string { return w.customer(s, customer) })
			if ref.Row == nil {
				continue
			}
			set, _ := l.Follow(ref.Row.Table, ref.Row.Values, "sale_set")
			n, err := set.Set.Count()
			if err != nil {
				t.Fatal(err)
			}
			check(t, w, at, fmt.Sprintf("seed %d, step %d, count of %s", seed, step, customer), strconv.Itoa(int(n)), func(s map[string][]string) string {
				return strconv.Itoa(len(strings.Fields(w.sales(s, customer))))
			})
			rows, err := set.Set.All()
			if err != nil {
				t.Fatal(err)
			}
			var all []string
			for _, r := range rows {
				all = append(all, r.Values[0].Text+"="+r.Values[2].Text)
			}
			check(t, w, at, fmt.Sprintf("seed %d, step %d, sales of %s", seed, step, customer), strings.Join(all, " "), func(s map[string][]string) string { return w.sales(s, customer) })
		}
		if served == 0 && len(w.states) > w.public+50 {
			t.Errorf("seed %d: nothing was served from what was kept", seed)
		}
	}
}

// check reports whether got is what f gives of a state from the transaction at on.
func check(t *testing.T, w *world, at int, what, got string, f func(map[string][]string) string) {
	t.Helper()
	for _, s := range w.states[at:] {
		if f(s) == got {
			return
		}
	}
	t.Fatalf("%s at %d: %q, which it was not then or later; then it was %q", what, at, got, f(w.states[at]))
}
