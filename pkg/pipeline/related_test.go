package pipeline

import (
	"fmt"
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
			{TableName: source.TableName{Schema: "public", Name: "sale"}, Columns: ints("id", "n", "customer_id"), ForeignKeys: []source.ForeignKey{
				fk("x", "customer", []string{"customer_id"}, []string{"id"}), fk("y", "customer", []string{"n"}, []string{"id"}),
				fk("pair_fkey", "customer", []string{"id", "n"}, []string{"id", "boss_id"}),
			}},
			{TableName: source.TableName{Schema: "public", Name: "customer"}, Columns: ints("id", "age", "boss_id"), ForeignKeys: []source.ForeignKey{fk("z", "customer", []string{"boss_id"}, []string{"id"})}},
			{TableName: source.TableName{Schema: "public", Name: "x_visit"}, Columns: ints("id", "sale_id", "customer_id"), ForeignKeys: []source.ForeignKey{
				fk("s", "sale", []string{"sale_id"}, []string{"id"}), fk("c", "customer", []string{"customer_id"}, []string{"id"}),
			}},
		}
		b.log.table = change.NewTable("public", "customer", []change.Column{{Name: "id"}, {Name: "age"}, {Name: "boss_id"}}, []int{0}, true, change.IdentityDefault)
		b.log.shapes = map[string]*change.Table{
			"public.x_visit": change.NewTable("public", "x_visit", []change.Column{{Name: "id"}, {Name: "sale_id"}, {Name: "customer_id"}}, []int{0}, true, change.IdentityDefault),
		}
		b.log.rows["public.customer"] = rows
		b.log.rows["public.x_visit"] = [][]change.Value{values("11", "1", "8"), values("5", "1", "7")}
		b.log.seq = 1000
	})
}

func ints(names ...string) (out []source.ColumnInfo) {
	for _, n := range names {
		out = append(out, source.ColumnInfo{Name: n, Equal: "int"})
	}
	return out
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
		{"to itself", "{{ instance.customer.boss.boss.age }}", insert("1", "0", "9"), "90", 1},
		{"column of the relation's name", "{{ instance.n }} {{ instance.n.age }}", insert("1", "8", "7"), "8 80", 1},
		{"two columns", "{{ instance.pair.age }} {{ instance.pair }}", insert("7", "8", "null"), "70 [7,8]", 1},
		{"two columns, one null", "{{ instance.pair.age|default:0 }}", insert("7", "null", "null"), "0", 0},
		{"null", "{{ instance.customer.age }}|{{ instance.customer|default_if_none:0 }}", insert("1", "0", "null"), "|0", 0},
		{"row gone", "{{ instance.customer.age }}|{{ instance.customer }}", insert("1", "0", "6"), "|6", 1},
		{"row of a step gone", "{{ instance.customer.boss.age }}|", insert("1", "0", "8"), "|", 2},
		{"delete that holds its key only", "{{ instance.customer.age }}|{{ instance.id }}", change.Change{Op: change.Delete, Image: change.ImageKeyOnly, Before: values("1", "-", "-")}, "|1", 0},
		{"before", "{{ before.customer.age }} {{ instance.customer.age }}", update(values("1", "0", "8"), values("1", "0", "7")), "80 70", 1},
		{"no such relation", "{{ instance.other.age }}|", insert("1", "0", "7"), "|", 0},
		{"set", "{{ instance.visit_set.count }} {{ instance.visit_set.exists }}", insert("1", "0", "null"), "2 True", 2},
		{"empty set", "{{ instance.visit_set.count }} {{ instance.visit_set.exists }}{{ instance.visit_set.first }}", insert("2", "0", "null"), "0 FalseNone", 2},
		{"rows of a set", "{% for v in instance.visit_set.all %}{{ v.id }}:{{ v.customer.age }} {% endfor %}", insert("1", "0", "null"), "5:70 11:80 ", 2},
		{"set of a row referred to", "{{ instance.customer.visit_set.count }}", insert("1", "0", "7"), "1", 2},
		{"with", "{% with c=instance.customer %}{{ c.age }}{% endwith %}", insert("1", "0", "7"), "70", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				b.shop(values("7", "70", "8"), values("8", "80", "6"), values("9", "90", "9"))
				b.use(hook("w", c.template))
				b.log.batches <- transaction(1, c.change)
				time.Sleep(time.Second)
				wantBodies(t, b.receiver, c.want)
				if n := b.queries(); n != c.asked {
					t.Errorf("asked %d times, want %d", n, c.asked)
				}
			})
		})
	}
}

// TestRelationsOfManyEvents asks once for as many events as are looked at together.
func TestRelationsOfManyEvents(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		const n = 2*maxAhead + 10
		rows := make([][]change.Value, n)
		changes := make([]change.Change, n)
		for i := range rows {
			rows[i] = values(strconv.Itoa(i), strconv.Itoa(i), "null")
			changes[i] = insert(strconv.Itoa(i), "0", strconv.Itoa(i))
		}
		b.shop(rows...)
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
		if asked := b.queries(); len(got) != 2*n || asked != 3 {
			t.Errorf("%d received, asked %d times", len(got), asked)
		}
	})
}

// queries is how often the database was asked for rows.
func (b *bench) queries() int {
	b.log.mu.Lock()
	defer b.log.mu.Unlock()
	return b.log.asked
}

// carried puts a lease on the customers, for good.
func (b *bench) carried(seq, until uint64) {
	b.log.set(func() { b.log.seq, b.log.until = seq, until })
	b.leases.Renew(map[source.TableName]string{{Schema: "public", Name: "customer"}: "w"}, time.Now().Add(time.Hour))
}

// customer is a change of one in the log.
func customer(id, age string) change.Change {
	t := change.NewTable("public", "customer", []change.Column{{Name: "id", Identity: true}, {Name: "age"}, {Name: "boss_id"}}, []int{0}, true, change.IdentityDefault)
	return change.Change{Op: change.Update, Table: t, After: values(id, age, "8")}
}

// TestRelationsFollowTheLog reads a row once and then has it from the log.
func TestRelationsFollowTheLog(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.shop(values("7", "70", "8"))
		b.carried(11, 11)
		b.use(hook("w", "{{ instance.id }}-{{ instance.customer.age }}"))
		at := func(n int, changes ...change.Change) {
			b.log.batches <- transaction(n, changes...)
			time.Sleep(10 * time.Second)
		}
		at(1, insert("1", "0", "7"))
		at(2, insert("2", "0", "7"))
		at(3, customer("7", "71"))
		at(4, insert("4", "0", "7"))
		at(5, insert("5", "0", "7"), customer("7", "72"), insert("6", "0", "7"), customer("7", "73")) // one transaction has one outcome
		wantBodies(t, b.receiver, "1-70", "2-70", "4-71", "5-73", "6-73")
		if n := b.queries(); n != 1 {
			t.Errorf("asked %d times", n)
		}
	})
}

// TestTransactionInParts hands over a transaction in several batches.
func TestTransactionInParts(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.shop(values("7", "70", "8"))
		b.carried(11, 11)
		b.use(hook("w", "{{ instance.id }}-{{ instance.customer.age }}"))
		send := func(batch source.Batch) { b.log.batches <- slices.Clone(batch) }
		asked := func(want int, bodies ...string) {
			t.Helper()
			synctest.Wait()
			wantBodies(t, b.receiver, bodies...)
			if n := b.queries(); n != want {
				t.Errorf("asked %d times, want %d", n, want)
			}
		}
		send(transaction(1, insert("1", "0", "7")))
		asked(1, "1-70")

		two := transaction(2, insert("2", "0", "7"), customer("7", "71"), insert("3", "0", "7"))
		send(two[:1])
		asked(1, "1-70") // what it says of the customer may still come
		send(two[1:3])
		asked(1, "1-70")
		send(two[3:])
		asked(1, "1-70", "2-71", "3-71")

		// The rest does not come in time: the database says what will be in it.
		three := transaction(3, insert("4", "0", "7"), customer("7", "72"), insert("5", "0", "7"))
		b.shop(values("7", "72", "8"))
		b.carried(31, 31)
		send(three[:1])
		time.Sleep(heldFor - time.Millisecond)
		asked(1, "1-70", "2-71", "3-71")
		time.Sleep(2 * time.Millisecond)
		asked(2, "1-70", "2-71", "3-71", "4-72")
		send(three[1:])
		asked(2, "1-70", "2-71", "3-71", "4-72", "5-72")

		// Triggers that follow no relation wait for nothing.
		b.use(hook("w", "{{ instance.id }}"))
		send(transaction(4, insert("6", "0", "7"), insert("7", "0", "7"))[:1])
		asked(2, "1-70", "2-71", "3-71", "4-72", "5-72", "6")
	})
}

// TestLargeRows are not held back.
func TestLargeRows(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.shop(values("7", "70", "8"))
		b.carried(11, 11)
		b.use(hook("w", "{{ instance.customer.age }}"))
		large := insert("1", strings.Repeat("1", maxHeldBytes), "7")
		b.log.batches <- transaction(1, large)[:1]
		synctest.Wait()
		wantBodies(t, b.receiver, "70")
	})
}

// TestLargeTransaction is looked at before it is there as a whole, with one query.
func TestLargeTransaction(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.shop(values("7", "70", "8"))
		b.carried(5, 5)
		b.use(hook("w", "{{ instance.customer.age }}"))
		b.log.batches <- transaction(0, insert("1", "0", "7"))
		time.Sleep(time.Minute)
		b.carried(11, 11)
		changes := make([]change.Change, 3*maxHeld)
		for i := range changes {
			changes[i] = insert(strconv.Itoa(i), "0", "7")
		}
		all := transaction(1, changes...)
		for part := range slices.Chunk(all[:len(all)-100], 100) {
			b.log.batches <- slices.Clone(part)
		}
		time.Sleep(time.Minute)
		if n := len(b.receiver.bodies()); n < 2*maxHeld || n > 3*maxHeld {
			t.Errorf("%d received before the end of the transaction", n)
		}
		b.log.batches <- all[len(all)-100:]
		time.Sleep(time.Minute)
		if n := len(b.receiver.bodies()); n != 3*maxHeld+1 || b.queries() != 2 {
			t.Errorf("%d received, asked %d times", n, b.queries())
		}
	})
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

// TestRelatedTableThatMayNotBeRead holds up what needs it, and nothing else.
func TestRelatedTableThatMayNotBeRead(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.shop(values("7", "70", "8"))
		b.log.set(func() { b.log.denied = "public.customer" })
		b.use(hook("w", "{{ instance.customer.age }}"), hook("v", "plain {{ instance.id }}"), hook("u", "{{ instance.visit_set.count }} visits"),
			hook("t", "old", `"condition":"instance.customer.age > 69"`), hook("s", "{% if instance.id > 1 %}{{ instance.customer.age }}{% endif %}not looked at"))
		began := time.Now()
		for i := range 3 {
			b.log.batches <- transaction(i+1, insert("1", "0", "7"))
			synctest.Wait()
		}
		want := []string{}
		for range 3 {
			want = append(want, "plain 1", "2 visits", "not looked at")
		}
		wantInAnyOrder(t, b.receiver, want...)
		if took := time.Since(began); took > 0 {
			t.Errorf("the log waited for %v", took)
		}
		if s := fmt.Sprint(b.deliver.Status()); !strings.Contains(s, "permission denied") {
			t.Error("status", s)
		}
		if n := b.queries(); n > 10 { // the customers once, and for each delivery that waits
			t.Errorf("asked %d times", n)
		}
		b.log.set(func() { b.log.denied = "" })
		time.Sleep(5 * time.Minute)
		wantInAnyOrder(t, b.receiver, append(want, "70", "70", "70", "old", "old", "old")...)
		b.log.batches <- transaction(4, insert("2", "0", "7"))
		synctest.Wait()
		wantInAnyOrder(t, b.receiver, append(want, "70", "70", "70", "70", "70not looked at", "0 visits", "plain 2", "old", "old", "old", "old")...)
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
