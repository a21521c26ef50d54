package pipeline

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/deliver"
	"github.com/waltrigger/waltrigger/pkg/source"
)

// shop gives b a customer table: the seed's relation, a column that has the name of its
// relation, a self reference and one of two columns.
func (b *bench) shop(rows ...[]change.Value) {
	b.log.set(func() {
		fk := func(name, to string, columns, ref []string) source.ForeignKey {
			return source.ForeignKey{Name: name, Columns: columns, RefTable: source.TableName{Schema: "public", Name: to}, RefColumns: ref}
		}
		b.log.tables = []source.TableInfo{
			{TableName: source.TableName{Schema: "public", Name: "sale"}, ForeignKeys: []source.ForeignKey{
				fk("x", "customer", []string{"customer_id"}, []string{"id"}), fk("y", "customer", []string{"n"}, []string{"id"}),
				fk("pair_fkey", "customer", []string{"id", "n"}, []string{"id", "boss_id"}),
			}},
			{TableName: source.TableName{Schema: "public", Name: "customer"}, ForeignKeys: []source.ForeignKey{fk("z", "customer", []string{"boss_id"}, []string{"id"})}},
		}
		b.log.table = change.NewTable("public", "customer", []change.Column{{Name: "id"}, {Name: "age"}, {Name: "boss_id"}}, []int{0}, true, change.IdentityDefault)
		b.log.rows["public.customer"] = rows
		b.log.seq = 1000
	})
}

func TestRelations(t *testing.T) {
	for _, c := range []struct {
		name, template string
		change         change.Change
		want           string
		asked          int
	}{
		{"one step", "{{ instance.customer.age }}", insert("1", "0", "7"), "70", 1},
		{"only the key", "{{ instance.customer }} {{ instance.customer.pk }}", insert("1", "0", "7"), "7 7", 1},
		{"no step", "{{ instance.customer }}{{ instance.customer|json }}", insert("1", "0", "7"), "77", 0},
		{"two steps", "{{ instance.customer.boss.age }}", insert("1", "0", "7"), "80", 2},
		{"to itself", "{{ instance.customer.boss.boss.age }}", insert("1", "0", "9"), "90", 3},
		{"column of the relation's name", "{{ instance.n }} {{ instance.n.age }}", insert("1", "8", "7"), "8 80", 1},
		{"two columns", "{{ instance.pair.age }} {{ instance.pair }}", insert("7", "8", "null"), "70 [7,8]", 1},
		{"two columns, one null", "{{ instance.pair.age|default:0 }}", insert("7", "null", "null"), "0", 0},
		{"null", "{{ instance.customer.age }}|{{ instance.customer|default_if_none:0 }}", insert("1", "0", "null"), "|0", 0},
		{"row gone", "{{ instance.customer.age }}|{{ instance.customer }}", insert("1", "0", "6"), "|6", 1},
		{"row of a step gone", "{{ instance.customer.boss.age }}|", insert("1", "0", "8"), "|", 2},
		{"delete that holds its key only", "{{ instance.customer.age }}|{{ instance.id }}", change.Change{Op: change.Delete, Image: change.ImageKeyOnly, Before: values("1", "-", "-")}, "|1", 0},
		{"before", "{{ before.customer.age }} {{ instance.customer.age }}", update(values("1", "0", "8"), values("1", "0", "7")), "80 70", 1},
		{"no such relation", "{{ instance.other.age }}|", insert("1", "0", "7"), "|", 0},
		{"loop", "{% with c=instance.customer %}{{ c.age }}{% endwith %}", insert("1", "0", "7"), "70", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				b.shop(values("7", "70", "8"), values("8", "80", "6"), values("9", "90", "9"))
				b.use(hook("w", c.template))
				b.log.batches <- transaction(1, c.change)
				time.Sleep(time.Second)
				wantBodies(t, b.receiver, c.want)
				b.log.mu.Lock()
				defer b.log.mu.Unlock()
				if b.log.asked > c.asked || c.asked > 0 && b.log.asked == 0 {
					t.Errorf("asked %d times, want %d", b.log.asked, c.asked)
				}
			})
		})
	}
}

// TestRelationsAreAsNewAsTheEvent reads a row again for an event that is newer than it.
func TestRelationsAreAsNewAsTheEvent(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.shop(values("7", "70", "8"))
		b.use(hook("w", "{{ instance.customer.age }}"))
		ask := func(n int, seq uint64, age string) int {
			b.log.set(func() {
				b.log.seq = seq
				b.log.rows["public.customer"] = [][]change.Value{values("7", age, "8")}
			})
			b.log.batches <- transaction(n, insert("1", "0", "7"))
			time.Sleep(time.Second)
			b.log.mu.Lock()
			defer b.log.mu.Unlock()
			return b.log.asked
		}
		for i, c := range []struct {
			seq   uint64
			age   string
			asked int
		}{{25, "70", 1}, {26, "71", 1}, {40, "72", 2}, {0, "73", 3}, {0, "74", 4}} { // transactions have Seq 10, 20, …
			if got := ask(i+1, c.seq, c.age); got != c.asked {
				t.Errorf("transaction %d: asked %d times, want %d", i+1, got, c.asked)
			}
		}
		wantBodies(t, b.receiver, "70", "70", "72", "73", "74")
	})
}

// TestRelationsInOneQuery asks once for all events of a batch, and keeps what one
// batch needs however much that is.
func TestRelationsInOneQuery(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		const n = keepRows + 500
		rows := make([][]change.Value, n)
		changes := make([]change.Change, n)
		for i := range rows {
			rows[i] = values(strconv.Itoa(i), strconv.Itoa(i), "null")
			changes[i] = insert(strconv.Itoa(i), "0", strconv.Itoa(i))
		}
		b.shop(rows...)
		b.log.set(func() { b.log.rows = map[string][][]change.Value{} })
		b.rows.relations.catalog = all{b.log, rows}
		b.use(hook("w", "{{ instance.id }}-{{ instance.customer.age }}"))
		for i := range 2 {
			b.log.batches <- transaction(i+1, slices.Clone(changes)...)
		}
		time.Sleep(10 * time.Second)
		got := b.receiver.bodies()
		for _, g := range got {
			if id, age, _ := strings.Cut(g, "-"); id != age {
				t.Fatalf("received %s", g)
			}
		}
		if len(got) != 2*n || b.log.asked != 2 {
			t.Errorf("%d received, asked %d times", len(got), b.log.asked)
		}
	})
}

// all is a catalog that returns all rows, whatever the keys.
type all struct {
	*log
	rows [][]change.Value
}

func (a all) Rows(context.Context, source.Query) (source.RowSet, error) {
	a.asked++
	return source.RowSet{Table: a.table, Rows: a.rows, Seq: 15}, nil
}

func TestRelationsWhileTheDatabaseIsAway(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.shop(values("7", "70", "8"))
		b.log.set(func() { b.log.away = true })
		b.use(hook("w", "{{ instance.customer.age }}"), hook("v", "plain {{ instance.id }}"))
		b.log.batches <- transaction(1, insert("1", "0", "7"))
		time.Sleep(lookupPatience - 2*time.Second)
		wantBodies(t, b.receiver) // the log waits
		time.Sleep(3 * time.Second)
		wantBodies(t, b.receiver, "plain 1") // but not for ever
		began := time.Now()
		b.log.batches <- transaction(2, insert("1", "0", "7"))
		synctest.Wait()
		if took := time.Since(began); took > 0 {
			t.Errorf("the log waited again for %v", took)
		}
		b.log.set(func() { b.log.away = false })
		time.Sleep(5 * time.Minute)
		wantBodies(t, b.receiver, "plain 1", "plain 1", "70", "70")
	})
}

// TestNewTriggerInTheMiddleOfABatch puts a trigger in force whose relations nobody has
// looked up for the batch that is being worked on.
func TestNewTriggerInTheMiddleOfABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dcfg := deliver.DefaultConfig()
		dcfg.Queue = 1
		b := newBench(t, DefaultConfig(), dcfg, change.Mark{End: "start"})
		b.shop(values("7", "70", "8"))
		b.receiver.delay = time.Second
		b.use(hook("w", "{{ instance.id }}"))
		b.start()
		b.log.batches <- transaction(1, insert("1", "0", "7"), insert("2", "0", "7"), insert("3", "0", "7"), insert("4", "0", "7"))
		synctest.Wait() // waits for room
		b.use(hook("w", "{{ instance.id }} {{ instance.customer.age }}"))
		time.Sleep(time.Minute)
		wantBodies(t, b.receiver, "1", "2", "3 70", "4 70")
		if err := b.end(); err != nil {
			t.Error(err)
		}
	})
}

// TestForeignKeysAreAskedForSeldom follows what is no relation, and a relation while the
// catalog does not answer.
func TestForeignKeysAreAskedForSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog()
		b := &bench{log: l}
		b.shop()
		c := &catalog{log: l}
		r := newRelations(c)
		find := func(name string, asked int) {
			t.Helper()
			rel, err := r.find(t.Context(), sale, name)
			if err != nil || (rel == nil) != (name != "customer") {
				t.Errorf("%s: %v, %v", name, rel, err)
			}
			if c.asked != asked {
				t.Errorf("%s: asked %d times, want %d", name, c.asked, asked)
			}
		}
		l.away = true
		if _, err := r.find(t.Context(), sale, "customer"); err == nil {
			t.Error("no error although nothing is known")
		}
		l.away = false
		find("customer", 2)
		find("other", 2)
		time.Sleep(unknownFor)
		find("id", 2) // a column
		find("customer", 2)
		find("other", 3)
		time.Sleep(knownFor)
		l.away = true
		find("customer", 4)
		find("id", 4)
		time.Sleep(unknownFor)
		find("customer", 5)
	})
}

type catalog struct {
	*log
	asked int
}

func (c *catalog) Tables(ctx context.Context) ([]source.TableInfo, error) {
	c.asked++
	return c.log.Tables(ctx)
}

func TestRelationName(t *testing.T) {
	for _, c := range []struct {
		columns []string
		want    string
	}{{[]string{"customer_id"}, "customer"}, {[]string{"customer"}, "customer"}, {[]string{"_id"}, "_id"}, {[]string{"a", "b"}, "sale_pair"}} {
		if got := RelationName(source.ForeignKey{Name: "sale_pair_fkey", Columns: c.columns}); got != c.want {
			t.Errorf("%v: %s, want %s", c.columns, got, c.want)
		}
	}
}
