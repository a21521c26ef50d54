package mysql

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

// TestImages writes with every row image: what the log does not hold is missing, and the
// key is always there.
func TestImages(t *testing.T) {
	everywhere(t, func(t *testing.T, db *testDB) {
		withMetadata(t, db, func(t *testing.T) {
			db.notes = &memory{}
			db.exec("create table doc (id int, body longtext, n int, part int, extra int default 5, primary key (part, id))")
			db.exec("create table loose (a int, b int)\ncreate table bare (a int default 7, b int)")
			r := start(t, db, "doc", "loose", "bare")
			db.exec(`set binlog_row_image = 'MINIMAL'
				insert into doc (id, part, body) values (1, 1, 'x')
				update doc set n = 2 where id = 1
				update doc set id = 2, n = null where id = 1
				delete from doc
				insert into loose values (1, 2)
				update loose set b = 3
				delete from loose
				set binlog_row_image = 'NOBLOB'
				insert into doc values (1, 'x', 1, 1, 5)
				update doc set n = 2
				update doc set body = 'y'
				delete from doc
				set binlog_row_image = 'FULL'
				insert into doc values (1, 'x', 1, 1, 5)
				update doc set n = 2
				replace into doc values (1, 'z', 1, 1, 5)
				insert into doc values (1, 'x', 9, 1, 5) on duplicate key update n = 7
				update doc set n = 7
				insert ignore into doc values (1, 'x', 9, 1, 5)`)
			r.want(`insert doc -> (id=1 body="x" part=1)
				update doc key_only (id=1 part=1) -> (id=1 n=2 part=1)
				update doc key_only (id=1 part=1) -> (id=2 n=null part=1)
				delete doc key_only (id=2 part=1)
				insert loose -> (a=1 b=2)
				update loose full (a=1 b=2) -> (a=1 b=3)
				delete loose full (a=1 b=3)
				insert doc -> (id=1 body="x" n=1 part=1 extra=5)
				update doc key_only (id=1 n=1 part=1 extra=5) -> (id=1 n=2 part=1 extra=5)
				update doc key_only (id=1 n=2 part=1 extra=5) -> (id=1 body="y" n=2 part=1 extra=5)
				delete doc key_only (id=1 n=2 part=1 extra=5)
				insert doc -> (id=1 body="x" n=1 part=1 extra=5)
				update doc full (id=1 body="x" n=1 part=1 extra=5) -> (id=1 body="x" n=2 part=1 extra=5)
				update doc full (id=1 body="x" n=2 part=1 extra=5) -> (id=1 body="z" n=1 part=1 extra=5)
				update doc full (id=1 body="z" n=1 part=1 extra=5) -> (id=1 body="z" n=7 part=1 extra=5)`)
			db.exec("insert into loose values (9, 9)") // what changed nothing is not in the log
			r.want(`insert loose -> (a=9 b=9)`)
			db.exec(`set binlog_row_image = 'MINIMAL'
				insert into bare () values ()
				set binlog_row_image = 'FULL'
				insert into bare () values ()`)
			if db.mariadb {
				r.want("insert bare -> (a=7 b=null)")
			} else {
				r.want("insert bare -> ()") // a row of no bytes
			}
			r.want("insert bare -> (a=7 b=null)")
			db.exec("drop table doc, loose, bare")
		})
	})
}

// TestPartialJSON writes differences of documents, which MySQL alone does.
func TestPartialJSON(t *testing.T) {
	everywhere(t, func(t *testing.T, db *testDB) {
		if db.mariadb {
			return
		}
		db.exec("create table doc (id int primary key, j json, k json, n int)")
		db.exec("create table other (id int primary key, j json)")
		r := start(t, db, "doc")
		db.exec(`insert into doc values (1, '{"a": 1, "b": "` + strings.Repeat("x", 100) + `"}', '[1]', 1)
			insert into other select id, j from doc
			set binlog_row_value_options = 'PARTIAL_JSON'
			update other set j = json_set(j, '$.a', 2)
			update doc set j = json_set(j, '$.a', 2), n = 2
			update doc set k = json_array_append(k, '$', 5)
			update doc set n = 3`)
		long := strings.Repeat("x", 100)
		r.want(fmt.Sprintf(`insert doc -> (id=1 j={"a": 1, "b": "%[1]s"} k=[1] n=1)
			update doc full (id=1 j={"a": 1, "b": "%[1]s"} k=[1] n=1) -> (id=1 k=[1] n=2)
			update doc full (id=1 j={"a": 2, "b": "%[1]s"} k=[1] n=2) -> (id=1 j={"a": 2, "b": "%[1]s"} k=[1, 5] n=2)
			update doc full (id=1 j={"a": 2, "b": "%[1]s"} k=[1, 5] n=2) -> (id=1 j={"a": 2, "b": "%[1]s"} k=[1, 5] n=3)`, long))
	})
}

// TestXA holds what is prepared until its outcome, across restarts.
func TestXA(t *testing.T) {
	everywhere(t, func(t *testing.T, db *testDB) {
		db.exec("create table item (id int primary key, note varchar(2000))")
		r := start(t, db, "item")
		other := db.connect()
		name := func(id int) string { return fmt.Sprintf("'%s_a%d','b',7", db.name[3:12], id) }
		prepare := func(id int, statements string) {
			db.exec("xa start " + name(id))
			db.exec(statements)
			db.exec("xa end " + name(id) + "\nxa prepare " + name(id))
			db.reconnect()
		}
		prepare(1, "insert into item values (1, 'committed later')\nupdate item set note = 'twice' where id = 1")
		prepare(2, "insert into item values (2, 'rolled back')")
		execOn(t, other, "insert into item values (10, 'between')")
		r.want(`insert item -> (id=10 note="between")`)
		r.next()
		r.close() // both are prepared now, and the position is behind them
		r = start(t, db)
		execOn(t, other, "xa rollback "+name(2))
		execOn(t, other, "insert into item values (11, 'between')")
		r.want(`insert item -> (id=11 note="between")`)
		r.next()
		execOn(t, other, "xa commit "+name(1))
		c := r.row()
		if got := line(c); got != `insert item -> (id=1 note="committed later")` || c.Ordinal != 1 {
			t.Errorf("got %s, ordinal %d", got, c.Ordinal)
		}
		if c2 := r.row(); line(c2) != `update item full (id=1 note="committed later") -> (id=1 note="twice")` || c2.Tx != c.Tx || c2.Ordinal != 2 {
			t.Errorf("got %s", line(c2))
		}
		if c := r.next(); c.Op != change.Commit {
			t.Errorf("got %s, want the end", line(c))
		}
		// In one phase, and one too large for the memory.
		db.exec("xa start " + name(3) + "\ninsert into item values (3, 'one phase')\nxa end " + name(3) + "\nxa commit " + name(3) + " one phase")
		r.want(`insert item -> (id=3 note="one phase")`)
		var many strings.Builder
		many.WriteString("insert into item values (100, repeat('x', 2000))")
		for id := 101; id < 500; id++ {
			fmt.Fprintf(&many, ", (%d, repeat('x', 2000))", id)
		}
		prepare(4, many.String())
		execOn(t, other, "insert into item values (12, 'between')")
		r.want(`insert item -> (id=12 note="between")`)
		r.next()
		execOn(t, other, "xa commit "+name(4))
		for id := 100; id < 300; id++ {
			if c := r.row(); c.After[0].Text != fmt.Sprint(id) {
				t.Fatalf("got %s, want %d", c.After[0].Text, id)
			}
		}
		r.close() // in its middle
		r = start(t, db)
		for id := 300; id < 500; id++ {
			if c := r.row(); c.After[0].Text != fmt.Sprint(id) || c.Ordinal != uint32(id-99) {
				t.Fatalf("got %s with ordinal %d, want %d", c.After[0].Text, c.Ordinal, id)
			}
		}
		r.next()
		// Once all is acknowledged, nothing is remembered.
		r.Ack(r.mark.End)
		eventually(t, "notes of XA transactions are removed", func() bool {
			execOn(t, other, "insert into item values (13, '') on duplicate key update note = concat(note, 'x')")
			r.Ack(func() change.Position { r.row(); r.next(); return r.mark.End }())
			notes, _ := db.notes.LoadNotes(context.Background())
			for n := range notes {
				if strings.HasPrefix(n, noteXA) {
					return false
				}
			}
			return true
		})
	})
}

// eventually waits until f holds.
func eventually(tb testing.TB, what string, f func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(20 * time.Second); !f(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("it never came to pass: %s", what)
		}
	}
}

// TestXAFromBefore: the outcome of what was prepared before the first start is told, as
// what is not seen.
func TestXAFromBefore(t *testing.T) {
	everywhere(t, func(t *testing.T, db *testDB) {
		db.exec("create table item (id int primary key)")
		name := "'old_" + db.name[3:] + "'"
		db.exec("xa start " + name + "\ninsert into item values (1)\nxa end " + name + "\nxa prepare " + name)
		other := db.connect()
		db.reconnect()
		r := start(t, db, "item")
		execOn(t, other, "insert into item values (2)")
		r.want("insert item -> (id=2)")
		eventually(t, "the session lets go of the transaction", func() bool {
			_, err := other.ExecContext(context.Background(), "xa commit "+name)
			return err == nil
		})
		execOn(t, other, "insert into item values (3)")
		r.want("insert item -> (id=3)")
		if n := r.Status().Unseen; n != 1 {
			t.Errorf("%d statements are not seen, want 1", n)
		}
	})
}

// TestCompressed reads compressed transactions.
func TestCompressed(t *testing.T) {
	everywhere(t, func(t *testing.T, db *testDB) {
		db.exec("create table item (id int primary key, note varchar(2000))")
		r := start(t, db, "item")
		if db.mariadb {
			db.admin("set global log_bin_compress = 1")
			defer db.admin("set global log_bin_compress = 0")
		} else {
			db.exec("set binlog_transaction_compression = 1")
		}
		db.exec(`begin
			insert into item values (1, repeat('a', 2000)), (2, repeat('b', 2000))
			update item set note = repeat('c', 1500) where id = 1
			delete from item where id = 2
			commit
			insert into item values (3, repeat('d', 1000))
			create table more (id int primary key, note text)`)
		x := func(c string, n int) string { return `"` + strings.Repeat(c, n) + `"` }
		r.want(fmt.Sprintf(`insert item -> (id=1 note=%s)
			insert item -> (id=2 note=%s)
			update item full (id=1 note=%[1]s) -> (id=1 note=%[3]s)
			delete item full (id=2 note=%[2]s)
			insert item -> (id=3 note=%[4]s)`, x("a", 2000), x("b", 2000), x("c", 1500), x("d", 1000)))
		// Large, and broken off in its middle.
		for range 12 {
			db.exec("insert into item select id + (select max(id) from item), note from item")
		}
		n := 2
		for rows := 2; rows < 2048; rows *= 2 {
			for range rows {
				n++
				r.row()
			}
			r.next()
		}
		for range 700 {
			r.row()
		}
		r.close()
		r = start(t, db)
		if c := r.row(); c.Ordinal != 701 {
			t.Errorf("goes on with ordinal %d", c.Ordinal)
		}
		if db.mariadb {
			return
		}
		name := "'zip_" + db.name[3:] + "'"
		db.exec("set binlog_transaction_compression = 1\nxa start " + name + "\ninsert into item values (0, repeat('z', 2000))\nxa end " + name + "\nxa prepare " + name)
		db.reconnect()
		db.exec("xa commit " + name)
		for {
			if c := r.row(); c.After[0].Text == "0" {
				break
			}
		}
	})
}

// TestWithoutTransactions writes to tables that cannot be rolled back, mixed with others.
func TestWithoutTransactions(t *testing.T) {
	everywhere(t, func(t *testing.T, db *testDB) {
		db.exec(`create table safe (id int primary key) engine = innodb
			create table loose (id int primary key) engine = myisam`)
		r := start(t, db, "safe", "loose")
		db.exec(`insert into loose values (1), (2)
			insert into safe values (1)
			begin
			insert into safe values (2)
			rollback
			begin
			insert into safe values (3)
			savepoint a
			insert into safe values (4)
			savepoint b
			insert into safe values (5)
			rollback to a
			insert into safe values (6)
			commit`)
		r.want(`insert loose -> (id=1)
			insert loose -> (id=2)
			insert safe -> (id=1)
			insert safe -> (id=3)
			insert safe -> (id=6)`)
		if !db.mariadb { // with GTIDs MySQL refuses to mix them
			return
		}
		db.exec(`begin
			insert into safe values (7)
			insert into loose values (7)
			rollback
			begin
			insert into safe values (8)
			savepoint a
			insert into safe values (9)
			insert into loose values (9)
			savepoint b
			insert into safe values (10)
			rollback to b
			rollback to a
			insert into safe values (11)
			commit`)
		r.want(`insert loose -> (id=7)
			insert loose -> (id=9)
			insert safe -> (id=8)
			insert safe -> (id=11)`)
		// Too many to be held: the log is read ahead.
		db.exec("create table n (i int primary key)")
		db.exec("insert into n select seq from seq_1_to_3000")
		db.exec("create table wide (id int primary key, note varchar(8000))")
		if _, err := r.Publish(context.Background(), []source.TableName{db.table("safe"), db.table("wide")}); err != nil {
			t.Fatal(err)
		}
		db.exec(`begin
			insert into wide select i, repeat('x', 8000) from n where i <= 100
			savepoint a
			insert into loose values (20)
			insert into wide select i, repeat('y', 8000) from n where i > 100
			rollback to a
			insert into wide values (101, 'z')
			commit`)
		for id := 1; id <= 101; id++ {
			c := r.row()
			if c.After[0].Text != fmt.Sprint(id) || id == 101 && c.After[1].Text != "z" {
				t.Fatalf("got %.100s", line(c))
			}
		}
	})
}

// TestStatements counts what a session writes as statements.
func TestStatements(t *testing.T) {
	everywhere(t, func(t *testing.T, db *testDB) {
		db.exec("create table item (id int primary key, note varchar(10))")
		r := start(t, db, "item")
		db.exec(`set session binlog_format = 'STATEMENT'
			insert into item values (1, 'a')
			update item set note = 'b'
			delete from item
			set session binlog_format = 'ROW'
			insert into item values (2, 'a')`)
		r.want(`insert item -> (id=2 note="a")`)
		st := r.Status()
		if st.Unseen != 3 || !strings.Contains(st.Detail, "does not hold: 3;") || st.State != "streaming" {
			t.Errorf("status %+v", st)
		}
	})
}

// TestTruncate: of one table, of others, and where the log lacks the shape.
func TestTruncate(t *testing.T) {
	everywhere(t, func(t *testing.T, db *testDB) {
		db.exec("create table item (id int primary key)\ncreate table other (id int primary key)")
		r := start(t, db, "item")
		db.exec("truncate other\ntruncate table `" + db.name + "`.item\ninsert into item values (1)")
		r.want("truncate item\ninsert item -> (id=1)")
	})
}

// TestNames: tables and columns may be called anything.
func TestNames(t *testing.T) {
	everywhere(t, func(t *testing.T, db *testDB) {
		db.exec("create table `od``d \"'x` (`a``b` int primary key, `ü \"'é` varchar(10), `select` int)")
		r := start(t, db, "od`d \"'x")
		db.exec("alter table `od``d \"'x` add `new``col` int after `a``b`")
		db.exec("insert into `od``d \"'x` values (1, 2, 'x', 3)")
		r.want("insert od`d \"'x -> (a`b=1 new`col=2 ü \"'é=\"x\" select=3)")
		db.exec("set sql_mode = 'ANSI_QUOTES'")
		db.exec("alter table \"od`d \"\"'x\" rename column \"select\" to \"sel\"\"\"")
		db.exec("insert into `od``d \"'x` values (2, 2, 'x', 3)")
		r.want("insert od`d \"'x -> (a`b=2 new`col=2 ü \"'é=\"x\" sel\"=3)")
		got, err := r.Rows(context.Background(), source.Query{Table: db.table("od`d \"'x"), Columns: []string{"a`b"}, Keys: [][]string{{"1"}}})
		if err != nil || len(got.Rows) != 1 {
			t.Errorf("%d rows, error %v", len(got.Rows), err)
		}
		// A client of another character set.
		db.exec("set names latin1")
		if _, err := db.app.ExecContext(context.Background(), "alter table `od``d \"'x` add `\xe4` enum('\xf6')"); err != nil {
			t.Fatal(err)
		}
		db.exec("set names utf8mb4")
		db.exec("insert into `od``d \"'x` values (3, 2, 'x', 3, 'ö')")
		if c := r.row(); c.Table.Columns[4].Name != "ä" || c.After[4].Text != "ö" {
			t.Errorf("got %s", line(c))
		}
	})
}
