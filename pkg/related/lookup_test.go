package related

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/payload"
	"github.com/waltrigger/waltrigger/pkg/source"
)

// database is a source with customers, who have a boss and a city, and sales.
type database struct {
	source.Catalog
	rows       map[string][][]string
	seq, until uint64
	keyless    bool // the answer does not tell the keys of its rows
	away       bool
	refuses    string // the table of which it answers nothing
	queries    []string
}

var shapes = map[string]*change.Table{
	"customer": shape("customer", change.IdentityDefault, "id", "name", "boss_id", "code"),
	"sale":     shape("sale", change.IdentityDefault, "id", "customer_id", "n"),
	"profile":  shape("profile", change.IdentityDefault, "id", "customer_id", "n"),
}

// shape is a table whose key is its first column.
func shape(name string, id change.Identity, columns ...string) *change.Table {
	var cs []change.Column
	for i, c := range columns {
		cs = append(cs, change.Column{Name: c, Identity: i == 0 || id == change.IdentityFull})
	}
	return change.NewTable("public", name, cs, []int{0}, true, id)
}

func (d *database) Tables(context.Context) ([]source.TableInfo, error) {
	customer := refers(info("customer", "name", "boss_id", "code"), "customer", "boss_id")
	sale := refers(info("sale", "customer_id", "n"), "customer", "customer_id")
	profile := refers(info("profile", "customer_id", "n"), "customer", "customer_id")
	profile.ForeignKeys[0].Unique = true
	order := refers(info("order", "code", "lazy_id"), "customer", "code")
	order.ForeignKeys[0].RefColumns = []string{"code"}
	order = refers(order, "customer", "lazy_id")
	order.Columns[2].Equal = "" // equal keys may differ as texts
	return []source.TableInfo{customer, sale, order, profile}, nil
}

func (d *database) Rows(_ context.Context, q source.Query) (source.RowSet, error) {
	if d.away {
		return source.RowSet{}, errors.New("connection refused")
	}
	if d.refuses == q.Table.Name {
		d.queries = append(d.queries, "refused")
		return source.RowSet{}, &source.TableError{Table: q.Table, Reason: "it does not exist"}
	}
	t := shapes[q.Table.Name]
	set := source.RowSet{Table: t, Seq: d.seq, Until: d.until}
	var keys []string
	for i, key := range q.Keys {
		keys = append(keys, strings.Join(key, "+"))
		n := 0
		for _, row := range d.rows[q.Table.Name] {
			if q.Limit > 0 && n == q.Limit || row[t.Lookup(q.Columns[0])] != key[0] || len(key) > 1 && row[t.Lookup(q.Columns[1])] != key[1] {
				continue
			}
			n++
			set.Rows = append(set.Rows, values(row...))
			if !d.keyless {
				set.Of = append(set.Of, i)
			}
		}
	}
	slices.Sort(keys)
	d.queries = append(d.queries, fmt.Sprintf("%s by %s %d: %s", q.Table.Name, strings.Join(q.Columns, "+"), q.Limit, strings.Join(keys, " ")))
	return set, nil
}

func (d *database) Counts(ctx context.Context, q source.Query) (source.CountSet, error) {
	rows, err := d.Rows(ctx, q)
	out := source.CountSet{Counts: make([]int64, len(q.Keys)), Seq: rows.Seq, Until: rows.Until}
	for _, of := range rows.Of {
		out.Counts[of]++
	}
	if len(d.queries) > 0 {
		d.queries[len(d.queries)-1] = "count " + d.queries[len(d.queries)-1]
	}
	return out, err
}

func values(texts ...string) []change.Value {
	out := make([]change.Value, len(texts))
	for i, s := range texts {
		switch s {
		case "-":
		case "null":
			out[i].Kind = change.Null
		default:
			out[i] = change.Value{Kind: change.Int, Text: s}
		}
	}
	return out
}

// bench is a Lookup over a database.
type bench struct {
	*Lookup
	t             *testing.T
	db            *database
	hits, misses  int
	queries, gone int
	plans         map[string]*Plan
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, db: &database{rows: map[string][][]string{}, seq: 1000, until: 1000}, plans: map[string]*Plan{}}
	add := func(to *int) func(int) { return func(n int) { *to += n } }
	b.Lookup = NewLookup(b.db, NewCatalog(b.db.Tables, nil, nil, slog.New(slog.DiscardHandler)), NewLeases(), 1<<20, Metrics{add(&b.queries), add(&b.hits), add(&b.misses), add(&b.gone)})
	b.db.rows["customer"] = [][]string{{"7", "70", "8", "17"}, {"8", "80", "9", "18"}, {"9", "90", "null", "19"}}
	b.db.rows["profile"] = [][]string{{"70", "7", "700"}, {"90", "9", "900"}}
	b.db.rows["sale"] = [][]string{{"10", "7", "1"}, {"9", "7", "2"}, {"-5", "8", "3"}, {"11", "7", "4"}}
	return b
}

// lease has the log carry all changes of all tables.
func (b *bench) lease() {
	b.leases.Renew(map[source.TableName]string{public("customer"): "w", public("sale"): "w", public("profile"): "w"}, time.Now())
}

// log tells changes of one transaction.
func (b *bench) log(seq uint64, changes ...change.Change) {
	for i := range changes {
		changes[i].Tx = &change.Tx{Seq: seq}
	}
	b.Advance(changes, seq)
}

// get reads path from a row of a table for an event of the transaction at seq.
func (b *bench) get(seq uint64, table *change.Table, row []change.Value, path string) string {
	b.t.Helper()
	id := fmt.Sprintf("%p %s", table, path)
	if b.plans[id] == nil {
		b.plans[id] = NewPlan(table, [][]string{strings.Split(path, ".")})
	}
	c := &change.Change{Op: change.Insert, Tx: &change.Tx{Seq: seq}, Table: table, After: row}
	if err := b.Read(b.t.Context(), []Need{{b.plans[id], c}}); err != nil {
		return err.Error()
	}
	return b.show(table, row, strings.Split(path, "."))
}

// show follows path as a template would.
func (b *bench) show(t *change.Table, row []change.Value, path []string) string {
	name := path[0]
	if i := t.Lookup(name); i >= 0 {
		return row[i].Text
	}
	ref, ok := b.Follow(t, row, name)
	switch {
	case !ok || ref.Key.Kind == change.Null:
		return "none"
	case ref.Unread:
		return "unread"
	case ref.Set != nil:
		return b.showSet(ref.Set, path[1:])
	case len(path) > 1 && path[1] == "pk" && ref.Key.Kind == change.Missing && ref.Row != nil: // it refers to the row
		return "key " + ref.Row.Values[0].Text
	case len(path) == 1:
		return "key " + ref.Key.Text
	case ref.Row == nil:
		return "no row"
	}
	return b.show(ref.Row.Table, ref.Row.Values, path[1:])
}

func (b *bench) showSet(s payload.Set, path []string) string {
	switch path[0] {
	case "count":
		n, err := s.Count()
		return fmt.Sprint(n, " ", err)
	case "first", "exists":
		r, err := s.First()
		if r == nil {
			return fmt.Sprint("nil ", err)
		}
		return r.Values[0].Text
	}
	rows, err := s.All()
	out := []string{}
	for _, r := range rows {
		text := r.Values[0].Text
		if len(path) > 2 {
			text = b.show(r.Table, r.Values, path[2:])
		}
		out = append(out, text)
	}
	return fmt.Sprint(strings.Join(out, " "), " ", err)
}

// asked compares the queries since it was last called.
func (b *bench) asked(want ...string) {
	b.t.Helper()
	if !slices.Equal(b.db.queries, want) {
		b.t.Errorf("asked\n     %q\nwant %q", b.db.queries, want)
	}
	b.db.queries = nil
}

func (b *bench) want(got, want string) {
	b.t.Helper()
	if got != want {
		b.t.Errorf("got %q, want %q", got, want)
	}
}

func TestFollow(t *testing.T) {
	sale := shapes["sale"]
	for _, c := range []struct {
		row, path, want string
		queries         int
	}{
		{"1 7 0", "customer.name", "70", 1},
		{"1 7 0", "customer.boss.boss.name", "90", 3},
		{"1 9 0", "customer.boss.name", "none", 1}, // null
		{"1 null 0", "customer.name", "none", 0},
		{"1 - 0", "customer.name", "none", 0},
		{"1 6 0", "customer.name", "no row", 1},
		{"1 7 0", "customer", "unread", 0},
		{"1 7 0", "customer.sale_set.count", "3 <nil>", 2},
		{"1 9 0", "customer.sale_set.count", "0 <nil>", 2},
		{"1 7 0", "customer.sale_set.first", "10", 2},
		{"1 9 0", "customer.sale_set.exists", "nil <nil>", 2},
		{"1 7 0", "customer.sale_set.all", "9 10 11 <nil>", 2}, // in the order of the key
		{"1 9 0", "customer.customer_set.all.*.name", "80 <nil>", 2},
		{"1 8 0", "customer.customer_set.all.*.sale_set.count", "3 <nil> <nil>", 3},
		{"1 7 0", "nix.name", "none", 0},
		{"1 7 0", "customer.profile.n", "700", 2},
		{"1 7 0", "customer.profile.customer.name", "70", 2}, // it is there
		{"1 7 0", "customer.profile.pk", "key 70", 2},
		{"1 8 0", "customer.profile.pk", "none", 2},
		{"1 7 0", "customer.profile", "unread", 1},
		{"1 8 0", "customer.boss.profile.pk", "key 90", 3},
	} {
		b := newBench(t)
		b.want(b.get(10, sale, values(strings.Fields(c.row)...), c.path), c.want)
		if len(b.db.queries) != c.queries || b.queries != c.queries {
			t.Errorf("%s: queries %q, counted %d, want %d", c.path, b.db.queries, b.queries, c.queries)
		}
		b.db.keyless = true
		if got := b.get(2000, sale, values(strings.Fields(c.row)...), c.path); got != c.want && !strings.Contains(c.path, "count") {
			t.Errorf("%s: %q of a source that does not tell the keys, want %q", c.path, got, c.want)
		}
	}
}

// TestOneQueryATable reads what many events need.
func TestOneQueryATable(t *testing.T) {
	b := newBench(t)
	plan := NewPlan(shapes["sale"], [][]string{{"customer", "name"}, {"customer", "boss", "name"}, {"customer", "sale_set", "count"}})
	var needs []Need
	for i, id := range []string{"7", "8", "7", "6"} {
		needs = append(needs, Need{plan, &change.Change{Op: change.Insert, Tx: &change.Tx{Seq: uint64(i)}, Table: shapes["sale"], After: values("1", id, "0")}})
	}
	if err := b.Read(t.Context(), needs); err != nil {
		t.Fatal(err)
	}
	slices.Sort(b.db.queries)
	b.asked("count sale by customer_id 0: 7 8", "customer by id 0: 6 7 8", "customer by id 0: 9") // 8 is there
	if b.misses != 6 || b.hits != 10-6 || b.gone != 1 {
		t.Errorf("%d misses, %d hits, %d gone", b.misses, b.hits, b.gone)
	}
	var many []Need
	for i := range maxKeys + 1 {
		many = append(many, Need{plan, &change.Change{Op: change.Insert, Tx: &change.Tx{Seq: 1}, Table: shapes["sale"], After: values("1", strconv.Itoa(i+100), "0")}})
	}
	if err := b.Read(t.Context(), many); err != nil || len(b.db.queries) != 2 {
		t.Errorf("%d queries, error %v", len(b.db.queries), err)
	}
}

// TestLogKeepsRows is what makes a row serve events that are newer than its reading.
func TestLogKeepsRows(t *testing.T) {
	update := func(before, after string) change.Change {
		c := change.Change{Op: change.Update, Table: shapes["customer"], After: values(strings.Fields(after)...)}
		if before != "" {
			c.Image, c.Before = change.ImageKeyOnly, values(strings.Fields(before)...)
		}
		return c
	}
	insert := func(table, row string) change.Change {
		return change.Change{Op: change.Insert, Table: shapes[table], After: values(strings.Fields(row)...)}
	}
	remove := func(table, row string) change.Change {
		return change.Change{Op: change.Delete, Table: shapes[table], Before: values(strings.Fields(row)...)}
	}
	whole := update("", "7 71 8 17")
	whole.Table = shape("customer", change.IdentityDefault, "id", "name", "boss_id")
	whole.After = whole.After[:3]
	for _, c := range []struct {
		name, path string
		changes    []change.Change // at 20
		want       string          // at 20, from the log alone; "" = it is read again
	}{
		{"nothing", "customer.name", nil, "70"},
		{"another row", "customer.name", []change.Change{update("", "8 81 9 18")}, "70"},
		{"an update", "customer.name", []change.Change{update("", "7 71 8 17")}, "71"},
		{"two updates", "customer.name", []change.Change{update("", "7 71 8 17"), update("", "7 72 8 17")}, "72"},
		{"an update that lacks an unchanged column", "customer.name", []change.Change{update("", "7 71 8 -")}, ""},
		{"an update with other columns", "customer.name", []change.Change{whole}, ""},
		{"the key changes", "customer.name", []change.Change{update("7 - - -", "70 71 8 17")}, ""},
		{"another key changes to this one", "customer.name", []change.Change{update("70 - - -", "7 71 8 17")}, "71"},
		{"a delete", "customer.name", []change.Change{remove("customer", "7 - - -")}, ""},
		{"a delete of another", "customer.name", []change.Change{remove("customer", "8 - - -")}, "70"},
		{"a delete without its key", "customer.name", []change.Change{remove("customer", "- - - -")}, ""},
		{"a truncate", "customer.name", []change.Change{{Op: change.Truncate, Table: shapes["customer"]}}, ""},
		{"a backfill", "customer.name", []change.Change{{Op: change.Read, Table: shapes["customer"], After: values("7", "71", "8", "17")}}, "70"},
		{"a step in between", "customer.boss.name", []change.Change{update("", "7 71 9 17")}, "90"}, // 9 is read below
		{"a sale of another customer", "customer.sale_set.count", []change.Change{insert("sale", "50 8 0")}, "3 <nil>"},
		{"a sale more", "customer.sale_set.count", []change.Change{insert("sale", "50 7 0")}, ""},
		{"a sale less", "customer.sale_set.count", []change.Change{remove("sale", "10 - -")}, ""}, // whose it was the log does not say
		{"a sale altered", "customer.sale_set.all", []change.Change{{Op: change.Update, Table: shapes["sale"], After: values("10", "8", "0")}}, ""},
		{"a sale of nobody", "customer.sale_set.first", []change.Change{insert("sale", "50 null 0")}, "10"},
		{"a profile altered", "customer.profile.n", []change.Change{{Op: change.Update, Table: shapes["profile"], After: values("70", "7", "701")}}, ""}, // whose it was the log does not say
		{"a profile altered, and nothing named of it", "customer.name", []change.Change{{Op: change.Update, Table: shapes["profile"], After: values("70", "7", "701")}}, "70"},
		{"sales truncated", "customer.sale_set.first", []change.Change{{Op: change.Truncate, Table: shapes["sale"]}}, ""},
	} {
		b := newBench(t)
		b.db.seq, b.db.until = 15, 15
		b.log(14)
		b.lease()
		row := values("1", "7", "0")
		b.get(14, shapes["sale"], row, c.path)
		b.get(14, shapes["customer"], values("1", "2", "9", "3"), "boss.name")
		b.db.queries = nil
		b.log(20, c.changes...)
		b.db.seq, b.db.until = 21, 21
		got := b.get(20, shapes["sale"], row, c.path)
		if (len(b.db.queries) == 0) != (c.want != "") || c.want != "" && got != c.want {
			t.Errorf("%s: got %q with queries %q, want %q", c.name, got, b.db.queries, c.want)
		}
	}
}

// TestFullIdentity has the log say whose a sale was.
func TestFullIdentity(t *testing.T) {
	profiles := newBench(t)
	profiles.db.seq, profiles.db.until = 15, 15
	profiles.lease()
	profiles.want(profiles.get(14, shapes["sale"], values("1", "7", "0"), "customer.profile.n"), "700")
	profiles.log(20, change.Change{
		Op: change.Update, Table: shape("profile", change.IdentityFull, "id", "customer_id", "n"), Image: change.ImageFull, Before: values("70", "7", "700"), After: values("70", "7", "701"),
	})
	profiles.db.queries = nil
	profiles.want(profiles.get(20, shapes["sale"], values("1", "7", "0"), "customer.profile.n"), "701")
	profiles.asked()
	b := newBench(t)
	b.db.seq, b.db.until = 15, 15
	b.lease()
	full := shape("sale", change.IdentityFull, "id", "customer_id", "n")
	row := values("1", "7", "0")
	b.want(b.get(14, full, row, "customer.sale_set.count"), "3 <nil>")
	b.db.queries = nil
	b.log(20, change.Change{Op: change.Delete, Table: full, Image: change.ImageFull, Before: values("-5", "8", "3")})
	b.get(20, full, row, "customer.sale_set.count")
	b.log(30, change.Change{Op: change.Update, Table: full, Image: change.ImageFull, Before: values("1", "8", "3"), After: values("1", "9", "3")})
	b.get(30, full, row, "customer.sale_set.count")
	b.asked()
	b.db.seq, b.db.until = 41, 41
	b.log(40, change.Change{Op: change.Update, Table: full, Image: change.ImageFull, Before: values("1", "9", "3"), After: values("1", "7", "3")})
	b.get(40, full, row, "customer.sale_set.count")
	b.asked("count sale by customer_id 0: 7")
}

// TestOlderChangesDoNotOverwrite tells changes that the database showed already, or may
// have shown.
func TestOlderChangesDoNotOverwrite(t *testing.T) {
	b := newBench(t)
	b.lease()
	b.log(10)
	row := values("1", "7", "0")
	told := func(seq uint64, name string) {
		b.log(seq, change.Change{Op: change.Update, Table: shapes["customer"], After: values("7", name, "8", "17")})
	}
	b.db.seq, b.db.until = 50, 60 // the log is behind
	b.want(b.get(10, shapes["sale"], row, "customer.name"), "70")
	told(20, "1")
	told(49, "2")
	b.want(b.get(49, shapes["sale"], row, "customer.name"), "70")
	b.asked("customer by id 0: 7")
	told(50, "3") // may be in it, and may not: there can be a newer one in it
	b.db.seq, b.db.until = 100, 100
	b.want(b.get(50, shapes["sale"], row, "customer.name"), "70")
	b.asked("customer by id 0: 7")
	told(60, "4")
	told(99, "5")
	b.want(b.get(99, shapes["sale"], row, "customer.name"), "70")
	told(100, "6")
	b.want(b.get(100, shapes["sale"], row, "customer.name"), "6")
	told(100, "7") // the same transaction again
	told(101, "8")
	b.want(b.get(101, shapes["sale"], row, "customer.name"), "8")
	b.asked()
}

// TestUnfinishedTransaction does not use what the rest of the transaction may change.
func TestUnfinishedTransaction(t *testing.T) {
	b := newBench(t)
	b.lease()
	b.db.seq, b.db.until = 11, 11
	row := values("1", "7", "0")
	b.get(10, shapes["sale"], row, "customer.name")
	b.db.queries = nil
	b.Advance([]change.Change{{Op: change.Insert, Table: shapes["sale"], Tx: &change.Tx{Seq: 20}, After: row}}, 10)
	b.db.seq, b.db.until = 21, 21
	b.get(20, shapes["sale"], row, "customer.name")
	b.asked("customer by id 0: 7")
	b.get(20, shapes["sale"], row, "customer.name")
	b.asked()
	b.Advance(nil, 20)
	b.log(30)
	b.get(30, shapes["sale"], row, "customer.name")
	b.asked()
}

// TestWithoutALease keeps nothing for longer than a second.
func TestWithoutALease(t *testing.T) {
	for name, c := range map[string]struct {
		path     string
		table    *change.Table
		row      []change.Value
		prepare  func(b *bench)
		atOnce   bool // it is read again for each event
		forever  bool // it is not read again
		meantime func(b *bench)
	}{
		"no lease":                    {path: "customer.name", prepare: func(*bench) {}},
		"a lease":                     {path: "customer.name", prepare: (*bench).lease, forever: true, meantime: (*bench).lease},
		"a lease that is not renewed": {path: "customer.name", prepare: (*bench).lease},
		"a lease that ends":           {path: "customer.name", prepare: (*bench).lease, meantime: func(b *bench) { b.leases.Renew(nil, time.Now()) }},
		"another lease": {path: "customer.name", prepare: (*bench).lease, meantime: func(b *bench) {
			b.leases.Renew(map[source.TableName]string{public("customer"): "x"}, time.Now())
		}},
		"a lease that comes too late": {path: "customer.name", prepare: func(*bench) {}, meantime: (*bench).lease},
		"keys that may be equal and look different": {
			path: "lazy.name", table: shape("order", change.IdentityDefault, "id", "code", "lazy_id"), row: values("1", "17", "7"), prepare: (*bench).lease, meantime: (*bench).lease,
		},
		"an answer that promises too little": {path: "customer.name", prepare: func(b *bench) { b.lease(); b.db.seq, b.db.until = 10, 20 }, atOnce: true, meantime: (*bench).lease},
		"an answer that promises nothing":    {path: "customer.name", prepare: func(b *bench) { b.lease(); b.db.seq, b.db.until = 0, 0 }, atOnce: true, meantime: (*bench).lease},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			b.db.seq, b.db.until = 15, 15
			b.log(14, change.Change{Op: change.Insert, Table: shapes["sale"], After: values("1", "8", "0")})
			c.prepare(b)
			table, row := shapes["sale"], values("1", "7", "0")
			if c.table != nil {
				table, row = c.table, c.row
			}
			again := func(seq uint64, want bool) {
				t.Helper()
				b.log(seq)
				b.db.queries = nil
				b.want(b.get(seq, table, row, c.path), "70")
				if (len(b.db.queries) > 0) != want {
					t.Errorf("%s: queries %v at %d", name, b.db.queries, seq)
				}
			}
			again(14, true)
			time.Sleep(stale / 2)
			again(16, c.atOnce)
			time.Sleep(stale/2 - time.Millisecond)
			if c.meantime != nil {
				c.meantime(b)
			}
			again(17, c.atOnce)
			time.Sleep(2 * time.Millisecond)
			again(18, !c.forever)
		})
	}
}

// TestByAnotherKey refers to rows by a column that the log does not hold of old rows.
func TestByAnotherKey(t *testing.T) {
	b := newBench(t)
	b.db.seq, b.db.until = 15, 15
	b.lease()
	order := shape("order", change.IdentityDefault, "id", "code", "lazy_id")
	row := values("1", "17", "null")
	b.want(b.get(14, order, row, "order_code.name"), "none")
	b.want(b.get(14, order, row, "code"), "17")
	plan := NewPlan(order, [][]string{{"code", "name"}})
	read := func(seq uint64, want string) {
		t.Helper()
		if err := b.Read(t.Context(), []Need{{plan, &change.Change{Op: change.Insert, Tx: &change.Tx{Seq: seq}, Table: order, After: row}}}); err != nil {
			t.Fatal(err)
		}
		ref, _ := b.Follow(order, row, "code")
		if ref.Row == nil || ref.Row.Values[1].Text != want || ref.Key.Text != "17" {
			t.Errorf("at %d: %+v, want %s", seq, ref, want)
		}
	}
	read(14, "70")
	b.db.queries = nil
	read(14, "70")
	b.asked()
	// Whatever customer had the code: it may be this one that lost it.
	b.log(20, change.Change{Op: change.Update, Table: shapes["customer"], After: values("7", "70", "8", "170")})
	b.db.seq, b.db.until, b.db.rows["customer"] = 21, 21, [][]string{{"55", "55", "8", "17"}}
	read(20, "55")
	b.asked("customer by code 0: 17")
}

// TestRowThatWasNotThere is kept, until it is there.
func TestRowThatWasNotThere(t *testing.T) {
	b := newBench(t)
	b.db.seq, b.db.until = 15, 15
	b.lease()
	row := values("1", "6", "0")
	b.want(b.get(14, shapes["sale"], row, "customer.name"), "no row")
	b.log(20)
	b.want(b.get(20, shapes["sale"], row, "customer.name"), "no row")
	b.asked("customer by id 0: 6")
	b.log(30, change.Change{Op: change.Insert, Table: shapes["customer"], After: values("6", "60", "null", "16")})
	b.db.seq, b.db.until, b.db.rows["customer"] = 31, 31, [][]string{{"6", "60", "null", "16"}}
	b.want(b.get(30, shapes["sale"], row, "customer.name"), "60")
	b.asked("customer by id 0: 6")
}

func TestSetsAreBounded(t *testing.T) {
	b := newBench(t)
	b.lease()
	b.db.rows["sale"] = nil
	for i := range MaxRows {
		b.db.rows["sale"] = append(b.db.rows["sale"], []string{strconv.Itoa(MaxRows - i), "7", "0"})
	}
	row := values("1", "7", "0")
	got := b.get(10, shapes["sale"], row, "customer.sale_set.all")
	if n := len(strings.Fields(got)); n != MaxRows+1 || !strings.HasPrefix(got, "1 2 3 ") {
		t.Errorf("%d rows: %s", n, got)
	}
	b.db.rows["sale"] = append(b.db.rows["sale"], []string{"0", "7", "0"})
	b.db.seq, b.db.until = 2001, 2001
	b.want(b.get(2000, shapes["sale"], row, "customer.sale_set.all"), " sale_set.all has more than 100 rows; .count, .exists and .first work for any number")
	b.want(b.get(2000, shapes["sale"], row, "customer.sale_set.count"), "101 <nil>")
}

// TestUnread tells what nobody has looked up from what is not there.
func TestUnread(t *testing.T) {
	b := newBench(t)
	row := values("1", "7", "0")
	b.get(10, shapes["sale"], row, "customer.name")
	b.want(b.show(shapes["sale"], row, []string{"customer", "boss", "name"}), "unread")
	b.want(b.show(shapes["sale"], values("1", "8", "0"), []string{"customer", "name"}), "unread")
	for _, path := range []string{"sale_set count", "sale_set first", "sale_set all"} {
		if got := b.show(shapes["customer"], values("7", "1", "2", "3"), strings.Fields(path)); !strings.Contains(got, "sale_set was not looked up") {
			t.Errorf("%s: %s", path, got)
		}
	}
	b.get(10, shapes["sale"], values("1", "9", "0"), "customer.name") // the next events
	b.want(b.show(shapes["sale"], row, []string{"customer", "name"}), "unread")
}

func TestErrorsAreKept(t *testing.T) {
	b := newBench(t)
	b.db.away = true
	row := values("1", "7", "0")
	for range 2 {
		if got := b.get(10, shapes["sale"], row, "customer.sale_set.count"); !strings.Contains(got, "connection refused") {
			t.Errorf("got %s", got)
		}
	}
	b.db.away = false
	b.want(b.get(10, shapes["sale"], row, "customer.sale_set.count"), "3 <nil>")
}

// TestRefusedTable is not asked again for each event, and fails nothing but what leads to it.
func TestRefusedTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.db.refuses = "sale"
		row := values("1", "7", "0")
		for range 3 {
			b.want(b.get(2000, shapes["sale"], row, "customer.name"), "70")
			if got := b.get(2000, shapes["sale"], row, "customer.sale_set.count"); !strings.Contains(got, "table public.sale: it does not exist") {
				t.Errorf("got %s", got)
			}
		}
		refused := func() (n int) {
			for _, q := range b.db.queries {
				if strings.Contains(q, "refused") {
					n++
				}
			}
			return n
		}
		if n, told := refused(), b.Refused(); n != 1 || len(told) != 1 || told[0].Table != public("sale") {
			t.Errorf("asked %d times, told %v", n, told)
		}
		time.Sleep(refusedFor)
		b.get(2000, shapes["sale"], row, "customer.sale_set.count")
		if n := refused(); n != 2 || len(b.Refused()) != 0 {
			t.Errorf("asked %d times; told again: %v", n, b.Refused())
		}
		b.db.refuses = ""
		time.Sleep(refusedFor)
		b.want(b.get(2000, shapes["sale"], row, "customer.sale_set.count"), "3 <nil>")
		b.db.refuses = "sale"
		time.Sleep(stale)
		b.get(2000, shapes["sale"], row, "customer.sale_set.count")
		if len(b.Refused()) != 1 {
			t.Errorf("refused %v", b.Refused())
		}
	})
}

// TestCacheIsBounded keeps what is used, and no more than it may.
func TestCacheIsBounded(t *testing.T) {
	b := newBench(t)
	b.lease()
	b.cache.keep = 100_000
	hot := values("1", "7", "0")
	for i := range 5000 {
		b.db.rows["customer"] = append(b.db.rows["customer"], []string{strconv.Itoa(i + 100), strings.Repeat("1", 100), "null", "0"})
	}
	for i := range 5000 {
		b.get(10, shapes["sale"], hot, "customer.name")
		b.get(10, shapes["sale"], values("1", strconv.Itoa(i+100), "0"), "customer.name")
		weight := 0
		for _, target := range b.cache.targets {
			for key, e := range target.young {
				weight += e.weight
				if target.old[key] != nil {
					t.Fatalf("%s is there twice", key)
				}
			}
		}
		if weight != b.cache.weight || weight > b.cache.keep/2+1000 {
			t.Fatalf("weight %d, counted %d", weight, b.cache.weight)
		}
	}
	if b.cache.rotations < 10 {
		t.Errorf("rotated %d times", b.cache.rotations)
	}
	if n := slices.IndexFunc(b.db.queries[1:], func(q string) bool { return q == b.db.queries[0] }); n >= 0 {
		t.Error("what is used all the time was let go of")
	}
}

func TestCompare(t *testing.T) {
	ints := []string{"-100", "-20", "-3", "0", "2", "10", "9223372036854775808"}
	for i := range ints {
		for j := range ints {
			a, b := change.Value{Kind: change.Int, Text: ints[i]}, change.Value{Kind: change.Int, Text: ints[j]}
			if got := compare(a, b); got != compareInts(i, j) {
				t.Errorf("%s and %s: %d", ints[i], ints[j], got)
			}
		}
	}
	if compare(change.Value{Kind: change.String, Text: "10"}, change.Value{Kind: change.String, Text: "9"}) >= 0 {
		t.Error("texts are not compared as texts")
	}
}

func compareInts(a, b int) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
