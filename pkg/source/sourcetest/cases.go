package sourcetest

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

const createItem = "create table item (id int primary key, note varchar(2000))"

func testOrder(t *testing.T, db Database) {
	run := db.Session(t)
	run(createItem)
	r := Open(t, db, source.State{}, 0, "item")
	run("begin")
	run("insert into item values (1, 'a')")
	run("update item set note = 'b' where id = 1")
	run("delete from item where id = 1")
	run("insert into item values (1, null)")
	run("commit")
	run("update item set id = 2 where id = 1")
	var ops []string
	var tx *change.Tx
	for i := 1; i <= 4; i++ {
		c := r.Row()
		if i == 1 {
			tx = c.Tx
		}
		if c.Tx != tx || c.Ordinal != uint32(i) {
			t.Errorf("change %d has ordinal %d of %+v", i, c.Ordinal, c.Tx)
		}
		ops = append(ops, c.Op.String())
	}
	if got := strings.Join(ops, " "); got != "insert update delete insert" {
		t.Errorf("got %s", got)
	}
	if c := r.Next(); c.Op != change.Commit || c.Tx != tx {
		t.Errorf("transaction does not end with a Commit but %+v", c)
	}
	c := r.Row()
	if got := Print(c); got != "update item(id=2 note=null)" || c.Before == nil || c.Before[0].Text != "1" || c.Ordinal != 1 {
		t.Errorf("change of the key: got %s, before %v", got, c.Before)
	}
	if !c.Table.KeyIsPrimary || len(c.Table.Key) != 1 || c.Table.Key[0] != 0 {
		t.Errorf("key is %v, primary %v", c.Table.Key, c.Table.KeyIsPrimary)
	}
	if time.Since(c.Tx.Committed).Abs() > time.Hour {
		t.Errorf("committed %v", c.Tx.Committed)
	}
}

func testRollback(t *testing.T, db Database) {
	run := db.Session(t)
	run(createItem)
	r := Open(t, db, source.State{}, 0, "item")
	run("begin")
	run("insert into item values (1, 'never')")
	run("rollback")
	run("begin")
	run("insert into item values (2, 'kept')")
	run("savepoint a")
	run("insert into item values (3, 'never')")
	run("savepoint b")
	run("insert into item values (4, 'never')")
	run("rollback to savepoint a")
	run("insert into item values (5, 'kept')")
	run("commit")
	r.Want(`insert item(id=2 note="kept")`, `insert item(id=5 note="kept")`)
	run("insert into item values (6, 'last')")
	r.Want(`insert item(id=6 note="last")`)
}

func testMultiRow(t *testing.T, db Database) {
	run := db.Session(t)
	run(createItem)
	r := Open(t, db, source.State{}, 0, "item")
	run("insert into item values (3, 'c'), (1, 'a'), (2, 'b')")
	r.Want(`insert item(id=3 note="c")`, `insert item(id=1 note="a")`, `insert item(id=2 note="b")`)
	if r.State.Mark.Done != 3 {
		t.Errorf("the third row has ordinal %d", r.State.Mark.Done)
	}
}

func testTruncate(t *testing.T, db Database) {
	run := db.Session(t)
	run(createItem)
	r := Open(t, db, source.State{}, 0, "item")
	run("insert into item values (1, 'a')")
	run("truncate table item")
	run("insert into item values (1, 'b')")
	r.Want(`insert item(id=1 note="a")`, "truncate item", `insert item(id=1 note="b")`)
}

// insertMany inserts ids from..to in one transaction.
func insertMany(run func(string), from, to, size int) {
	note := strings.Repeat("x", size)
	run("begin")
	for from <= to {
		var b strings.Builder
		b.WriteString("insert into item values ")
		for n := 0; n < 500 && from <= to; n++ {
			if n > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, "(%d,'%s')", from, note)
			from++
		}
		run(b.String())
	}
	run("commit")
}

// wantIDs takes inserts of from..to, in order and each once.
func (r *Reader) wantIDs(from, to int) {
	r.t.Helper()
	for id := from; id <= to; id++ {
		c := r.Row()
		if got := c.After[0].Text; got != fmt.Sprint(id) || c.Op != change.Insert {
			r.t.Fatalf("got %s of %s, want %d", c.Op, got, id)
		}
	}
}

func testLarge(t *testing.T, db Database) {
	run := db.Session(t)
	run(createItem)
	r := Open(t, db, source.State{}, 0, "item")
	const rows, size = 40_000, 1000
	insertMany(run, 1, rows, size)
	var most uint64
	for id := 1; id <= rows; id += 2000 {
		r.wantIDs(id, id+1999)
		if n := len(r.rest); n > 4096 {
			t.Errorf("a batch holds more than %d changes", n)
		}
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		most = max(most, m.HeapAlloc)
	}
	if most > rows*size/2 {
		t.Errorf("%d MB are held for a transaction of %d MB", most>>20, rows*size>>20)
	}
}

func testRestart(t *testing.T, db Database) {
	run := db.Session(t)
	run(createItem)
	r := Open(t, db, source.State{}, 0, "item")
	run("insert into item values (1, 'a')")
	r.Want(`insert item(id=1 note="a")`)
	r.Next() // its Commit
	r.Stop()
	run("insert into item values (2, 'b')")
	st := r.State
	for id := 2; id <= 4; id++ { // the second time from the mark of a source that was stopped by Close
		r = Open(t, db, st, 0, "item")
		run(fmt.Sprintf("insert into item values (%d, 'later')", id+1))
		r.wantIDs(id, id)
		r.Next()
		r.Stop()
		st = r.State
	}
}

func testRestartInside(t *testing.T, db Database) {
	run := db.Session(t)
	run(createItem)
	r := Open(t, db, source.State{}, 0, "item")
	run("insert into item values (1, 'before')")
	r.wantIDs(1, 1)
	r.Next()
	insertMany(run, 2, 3001, 10)
	r.wantIDs(2, 1501)
	st := r.State
	r.Stop()
	if st.Mark.Done != 1500 || st.Mark.Tx == "" {
		t.Fatalf("mark %+v", st.Mark)
	}
	r = Open(t, db, st, 0, "item")
	c := r.Row()
	if c.Tx.Position != st.Mark.Tx || c.Ordinal != 1501 || c.After[0].Text != "1502" {
		t.Fatalf("goes on with ordinal %d of %s, id %s; mark %+v", c.Ordinal, c.Tx.Position, c.After[0].Text, st.Mark)
	}
	r.wantIDs(1503, 3001)
	if c := r.Next(); c.Op != change.Commit {
		t.Errorf("got %s, want the end of the transaction", Print(c))
	}
	run("insert into item values (3002, 'after')")
	r.wantIDs(3002, 3002)
}

func testReconnect(t *testing.T, db Database) {
	run := db.Session(t)
	run(createItem)
	r := Open(t, db, source.State{}, 0, "item")
	insertMany(run, 1, 20_000, 200)
	r.wantIDs(1, 5000)
	db.Kill(t)
	run("insert into item values (20001, 'while it was gone')")
	r.wantIDs(5001, 20_001)
	r.Next()
	db.Kill(t)
	run("insert into item values (20002, 'again')")
	r.wantIDs(20_002, 20_002)
	if n := r.Status().Reconnects; n < 1 {
		t.Errorf("%d reconnects are counted", n)
	}
}

func testBackPressure(t *testing.T, db Database) {
	run := db.Session(t)
	run(createItem)
	r := Open(t, db, source.State{}, time.Second, "item")
	insertMany(run, 1, 20_000, 1000)
	r.wantIDs(1, 1)
	<-time.After(3500 * time.Millisecond) // nobody takes anything for longer than the server's patience
	if n := r.Status().Reconnects; n != 0 {
		t.Errorf("the connection was lost %d times while nobody took changes", n)
	}
	r.wantIDs(2, 20_000)
	if n := r.Status().Reconnects; n != 0 {
		t.Errorf("the connection was lost %d times", n)
	}
}

func testBarrier(t *testing.T, db Database, waits bool) {
	run, open := db.Session(t), db.Session(t)
	run(createItem)
	run("insert into item values (1, 'a')")
	r := Open(t, db, source.State{}, 0)
	open("begin")
	open("update item set note = 'written before the call' where id = 1")
	tables := []source.TableName{{Schema: db.Schema(), Name: "item"}}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := r.Publish(ctx, tables); err != nil {
		t.Fatal(err)
	}
	below := map[string]bool{"2": true} // rows whose transactions must lie below
	var seq uint64
	if waits {
		seq, below["1"] = r.waitFor(ctx, tables, run, open), true
	} else {
		run("insert into item values (2, 'before')")
		var err error
		if seq, err = r.Barrier(ctx, tables, nil); err != nil {
			t.Fatal(err)
		}
		open("commit") // is issued after the call returned: what it wrote before counts as after it
	}
	run("insert into item values (3, 'after')")
	for {
		c := r.Row()
		id := c.After[0].Text
		if below[id] != (c.Tx.Seq < seq) {
			t.Errorf("%s lies at %d, and what was committed after the call returned begins at %d", Print(c), c.Tx.Seq, seq)
		}
		if id == "3" {
			return
		}
	}
}

// waitFor calls Barrier while a writer is open, and then ends that.
func (r *Reader) waitFor(ctx context.Context, tables []source.TableName, run, open func(sql string)) uint64 {
	blocked, done := make(chan string, 10), make(chan uint64, 1)
	go func() {
		seq, err := r.Barrier(ctx, tables, func(b string) { blocked <- b })
		if err != nil {
			r.t.Error(err)
		}
		done <- seq
	}()
	select {
	case text := <-blocked:
		if text == "" || strings.Contains(text, "written before") {
			r.t.Errorf("blockers are described as %q", text)
		}
	case <-done:
		r.t.Fatal("Barrier returned while a writer was open")
	}
	run("insert into item values (2, 'overlaps')") // a new writer is not waited for
	open("commit")
	return <-done
}

func testBarrierFree(t *testing.T, db Database) {
	run := db.Session(t)
	run(createItem)
	run("create table other (id int primary key)")
	r := Open(t, db, source.State{}, 0, "item")
	elsewhere, reads := db.Session(t), db.Session(t)
	elsewhere("begin")
	elsewhere("insert into other values (1)")
	reads("begin")
	reads("select * from item")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	run("insert into item values (1, 'before')")
	seq, err := r.Barrier(ctx, []source.TableName{{Schema: db.Schema(), Name: "item"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	run("insert into item values (2, 'after')")
	if c := r.Row(); c.Tx.Seq >= seq {
		t.Errorf("%s lies at %d, not below %d", Print(c), c.Tx.Seq, seq)
	}
	if c := r.Row(); c.Tx.Seq < seq {
		t.Errorf("%s lies at %d, below %d", Print(c), c.Tx.Seq, seq)
	}
	elsewhere("rollback")
	reads("rollback")
}

func testMissingTable(t *testing.T, db Database) {
	run := db.Session(t)
	run(createItem)
	r := Open(t, db, source.State{}, 0)
	want := source.TableName{Schema: db.Schema(), Name: "nowhere"}
	missing, err := r.Publish(context.Background(), []source.TableName{want, {Schema: db.Schema(), Name: "item"}})
	if err != nil || len(missing) != 1 || missing[0] != want {
		t.Errorf("missing %v, error %v", missing, err)
	}
	run("insert into item values (1, 'a')")
	r.Want(`insert item(id=1 note="a")`)
}

func testUnchanged(t *testing.T, db Database) {
	run := db.Session(t)
	run("create table doc (id int primary key, n int, body text)")
	r := Open(t, db, source.State{}, 0, "doc")
	// Not compressible, so that it is stored out of line.
	run("insert into doc select 1, 1, string_agg(md5(random()::text), '') from generate_series(1, 1000)")
	run("update doc set n = 2")
	if c := r.Row(); len(c.After[2].Text) != 32_000 {
		t.Errorf("inserted body has %d bytes", len(c.After[2].Text))
	}
	c := r.Row()
	if c.After[2].Kind != change.Missing || c.After[1].Text != "2" {
		t.Errorf("update without the body gives %s", Print(c))
	}
}
