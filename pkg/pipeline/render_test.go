package pipeline

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/deliver"
	"github.com/waltrigger/waltrigger/pkg/payload"
	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/source"
)

func TestSignalsOutsideTriggersInside(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		both := func(id string) string {
			return strings.Replace(hook(id, "{{ signal }}"), `{"signal":"post_save"}`, `{"signal":"post_save"},{"signal":"pre_save"}`, 1)
		}
		b.use(both("a"), both("b"))
		b.log.batches <- transaction(1, insert("1", "0", "null"))
		synctest.Wait()
		ids := b.receiver.ids()
		for _, w := range []string{"a", "b"} {
			pre, post := slices.Index(ids, "shop_tx1_1_pre_save_"+w), slices.Index(ids, "shop_tx1_1_post_save_"+w)
			if pre < 0 || post < pre {
				t.Errorf("received %v", ids)
			}
		}
		b.stop() // the pipeline's own goroutine has ended
		b.done <- <-b.done
		hits, n := b.r.match(b.plan(sale), &change.Change{Op: change.Insert, Tx: tx(1), Table: sale, After: values("1", "0", "null")})
		var order []string
		for _, h := range hits {
			order = append(order, h.Kind.String()+" "+h.Trigger.Destinations[0].ID)
		}
		if want := []string{"pre_save a", "pre_save b", "post_save a", "post_save b"}; n != 4 || !slices.Equal(order, want) {
			t.Errorf("%d deliveries, order %v, want %v", n, order, want)
		}
	})
}

// TestOrder checks which lanes a delivery is in: equal lanes keep their order.
func TestOrder(t *testing.T) {
	pair := change.NewTable("public", "sale", []change.Column{{Name: "id"}, {Name: "n"}, {Name: "customer_id"}}, []int{0, 1}, true, change.IdentityIndex)
	keyless := change.NewTable("public", "sale", sale.Columns, nil, false, change.IdentityNothing)
	other := change.NewTable("public", "other", sale.Columns, []int{0}, true, change.IdentityFull)
	keyMoved := change.Change{Op: change.Update, Image: change.ImageKeyOnly, Before: values("1", "-", "-"), After: values("2", "0", "5")}
	on := func(t *change.Table, c change.Change) change.Change {
		c.Table = t
		return c
	}
	truncate := change.Change{Op: change.Truncate, Table: sale}
	const lane, two, barrier, none = "lane", "two lanes", "barrier", "none"
	for _, c := range []struct {
		name     string
		fields   string
		a, b     change.Change
		what     string // of b
		together bool   // a and b share a lane, or one waits for all of the table
		key      string // of b
	}{
		{"same row", "", insert("1", "0", "5"), remove("1", "0", "5"), lane, true, "1"},
		{"other row", "", insert("1", "0", "5"), insert("2", "0", "5"), lane, false, "2"},
		{"same key of another table", "", insert("1", "0", "5"), on(other, insert("1", "0", "5")), lane, false, "1"},
		{"after the old key", "", insert("1", "0", "5"), keyMoved, two, true, "2"},
		{"before the new key", "", insert("2", "0", "5"), keyMoved, two, true, "2"},
		{"moved from elsewhere", "", insert("3", "0", "5"), keyMoved, two, false, "2"},
		{"truncate", "", insert("1", "0", "5"), truncate, barrier, true, "public.sale"},
		{"two columns", "", on(pair, insert("1", "0", "5")), on(pair, remove("1", "0", "5")), lane, true, "[1,0]"},
		{"two columns, other row", "", on(pair, insert("1", "0", "5")), on(pair, remove("1", "2", "5")), lane, false, "[1,2]"},
		{"delete that does not know its key", "", on(pair, insert("1", "0", "5")), on(pair, remove("-", "-", "5")), barrier, true, "public.sale"},
		{"update that does not know its old key", "", on(pair, insert("1", "0", "5")), on(pair, update(values("2", "-", "-"), values("1", "0", "5"))), barrier, true, "[1,0]"},
		{"without key", "", on(keyless, insert("1", "0", "5")), on(keyless, insert("2", "0", "5")), lane, true, "public.sale"},
		{"strict", `"ordering":"source"`, insert("1", "0", "5"), on(other, insert("2", "0", "5")), lane, true, "shop"},
		{"strict truncate", `"ordering":"source"`, insert("1", "0", "5"), truncate, lane, true, "shop"},
		{"no order", `"ordering":"none"`, insert("1", "0", "5"), insert("1", "0", "5"), none, false, ""},
		{"key of the author", `"ordering_key":"{{ instance.customer_id }}"`, insert("1", "0", "5"), insert("2", "0", "5"), lane, true, "5"},
		{"key of the author, another table", `"ordering_key":"{{ instance.customer_id }}"`, insert("1", "0", "5"), on(other, insert("2", "0", "5")), lane, true, "5"},
		{"key of the author, other key", `"ordering_key":"{{ instance.customer_id }}"`, insert("1", "0", "5"), insert("1", "0", "6"), lane, false, "6"},
		{"key of the author changes", `"ordering_key":"{{ instance.customer_id }}"`, insert("1", "0", "5"), update(values("1", "0", "5"), values("1", "0", "6")), two, true, "6"},
		{"key of the author, truncate", `"ordering_key":"{{ instance.customer_id }}"`, insert("1", "0", "5"), truncate, barrier, true, "public.sale"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, DefaultConfig(), deliver.DefaultConfig(), change.Mark{})
			defer b.deliver.Close()
			fields := []string{}
			if c.fields != "" {
				fields = append(fields, c.fields)
			}
			body := strings.Replace(hook("w", "x", fields...), `{"app_label":"x","model_name":"sale"}`, `{"app_label":"x","model_name":"sale"},{"app_label":"x","model_name":"other"}`, 1)
			b.use(body)
			b.adopt(b.view.Load())
			var dl [2]deliver.Delivery
			for i, x := range []*change.Change{&c.a, &c.b} {
				if x.Tx = tx(i); x.Table == nil {
					x.Table = sale
				}
				pl := b.plan(x.Table)
				s := &pl.byOp[x.Op][0]
				b.r.set(s, x)
				if err := b.order(&dl[i], pl, s.Trigger, x); err != nil {
					t.Fatal(err)
				}
			}
			d := &dl[1]
			what := [...]string{none, lane, two}[d.NLane]
			if d.Barrier {
				what = barrier
			}
			if what != c.what || string(d.Message.Key) != c.key {
				t.Errorf("%s with key %q, want %s with %q", what, d.Message.Key, c.what, c.key)
			}
			together := d.Barrier && d.Table == dl[0].Table
			for _, l := range dl[0].Lanes[:dl[0].NLane] {
				together = together || slices.Contains(d.Lanes[:d.NLane], l)
			}
			if together != c.together {
				t.Errorf("ordered: %v, want %v", together, c.together)
			}
		})
	}
}

func TestCondition(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.use(hook("w", "{{ instance.id }}", `"condition":"instance.n > 10 or \"n\" in changed"`))
		b.log.batches <- transaction(1, insert("1", "5", "null"), insert("2", "11", "null"),
			update(values("3", "1", "null"), values("3", "1", "2")), update(values("4", "1", "null"), values("4", "2", "null")),
			change.Change{Op: change.Update, After: values("5", "1", "null")}) // changed is unknown
		time.Sleep(time.Second)
		got := b.receiver.bodies()
		slices.Sort(got)
		if want := []string{"1", "2", "4"}; !slices.Equal(got, want) { // an insert changes every column
			t.Errorf("received %v, want %v", got, want)
		}
	})
}

// TestRenderLater mends a template while events wait for it: they are rendered with
// what holds by then, and what follows them in their lane waits.
func TestRenderLater(t *testing.T) {
	const endless = "{% for a in instance.n|rjust:999 %}{% for b in instance.n|rjust:999 %}{% endfor %}{% endfor %}"
	for _, c := range []struct {
		name   string
		before []string
		after  []string // the trigger, mended
		want   []string
	}{
		{"payload", []string{hook("w", endless)}, []string{hook("w", "mended {{ instance.id }}.{{ instance.n }}")}, []string{"mended 1.1", "mended 1.2"}},
		{"condition", []string{hook("w", "x", `"condition":"instance.n|rjust:99999999"`)},
			[]string{hook("w", "{{ instance.n }}", `"condition":"instance.n > 1"`)}, []string{"2"}},
		{"ordering key", []string{hook("w", "x", `"ordering_key":"`+endless+`"`)}, []string{hook("w", "{{ instance.n }}", `"ordering_key":"k{{ instance.id }}"`)}, []string{"1", "2"}},
		{"does not compile", []string{hook("w", "x", `"condition":"instance.n >"`)}, []string{hook("w", "{{ instance.n }}")}, []string{"1", "2"}},
		{"trigger deleted", []string{hook("w", endless)}, nil, nil},
		{"destination replaced", []string{hook("w", endless)}, []string{hook("v", "x")}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				b.use(c.before...)
				b.log.batches <- transaction(1, insert("1", "1", "null"), update(values("1", "1", "null"), values("1", "2", "null")))
				time.Sleep(time.Hour)
				wantBodies(t, b.receiver)
				if b.InFlight() != 2 {
					t.Fatalf("%d in flight, want 2", b.InFlight())
				}
				b.use(c.after...)
				time.Sleep(5 * time.Minute)
				wantBodies(t, b.receiver, c.want...)
				if b.InFlight() != 0 || b.log.mark().End != "end1" {
					t.Errorf("%d in flight, saved %+v", b.InFlight(), b.log.mark())
				}
				if c.name == "ordering key" && !slices.Equal(b.receiver.keys, []string{"k1", "k1"}) {
					t.Errorf("keys %v", b.receiver.keys)
				}
			})
		})
	}
}

// TestEditWhileDeliveriesWait changes headers that are taken from the row: a value
// rendered before goes to the header of its name or nowhere.
func TestEditWhileDeliveriesWait(t *testing.T) {
	with := func(headers string) string {
		return strings.Replace(hook("w", "x"), `"url":`, `"headers":{`+headers+`},"url":`, 1)
	}
	run(t, func(t *testing.T, b *bench) {
		b.use(with(`"X-Id":"{{ instance.id }}","X-N":"n{{ instance.n }}"`))
		b.receiver.set(func() {
			b.receiver.answer = func(*sink.Message) error {
				return &sink.Error{Class: sink.Rejected, Code: "http_401", Err: errors.New("401")}
			}
		})
		b.log.batches <- transaction(1, insert("1", "2", "3"))
		time.Sleep(time.Minute)
		b.receiver.set(func() { b.receiver.answer = nil })
		b.use(with(`"X-Customer":"{{ instance.customer_id }}","X-N":"m{{ instance.n }}","X-Fixed":"f","X-Id":"none"`))
		b.log.batches <- transaction(2, insert("4", "5", "6"))
		time.Sleep(5 * time.Minute)
		wantBodies(t, b.receiver, "x X-N=n2 X-Fixed=f X-Id=none", "x X-Customer=6 X-N=m5 X-Fixed=f X-Id=none")
	})
}

func TestFailureOfOneDestinationLeavesTheOthers(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.use(strings.Replace(hook("w", "{{ instance.id }}"), `"webhooks":[`,
			`"webhooks":[{"id":"bad","url":"https://example.com/","headers":{"X":"{{ instance.id|rjust:99999999 }}"}},`, 1))
		b.log.batches <- transaction(1, insert("1", "0", "null"))
		synctest.Wait()
		wantBodies(t, b.receiver, "1")
		b.use()
	})
}

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

func (a all) Rows(context.Context, source.TableName, []string, [][]string) (source.RowSet, error) {
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

var _ payload.Related = (*lookup)(nil)
