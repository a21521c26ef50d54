package postgres

import (
	"fmt"
	"testing"

	"github.com/waltrigger/waltrigger/pkg/change"
)

// line shows a change with both rows.
func line(c change.Change) string {
	return fmt.Sprintf("%s %s %s / %s -> %s", c.Op, c.Table.Name, c.Image, show(c, c.Before), show(c, c.After))
}

func TestRowImages(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		db.exec(`create table full_ (id int primary key, n int, body text); alter table full_ replica identity full;
			create table bare (id int, n int); alter table bare replica identity full;
			create table idx (id int primary key, code text not null unique, n int); alter table idx replica identity using index idx_code_key`)
		r := start(t, db.config(), &memory{}, "full_", "bare", "idx")
		db.exec("insert into full_ select 1, 1, string_agg(md5(random()::text), '') from generate_series(1, 500)")
		body := r.row().After[2].Text
		db.exec("update full_ set n = 2")
		c := r.row()
		if c.Image != change.ImageFull || c.After[2].Text != body || c.Before[2].Text != body || c.Before[1].Text != "1" || len(body) != 16_000 {
			t.Errorf("unchanged large value is not taken from the old row: image %s, %d bytes", c.Image, len(c.After[2].Text))
		}
		if len(c.Table.Key) != 1 || !c.Table.KeyIsPrimary || c.Table.Identity != change.IdentityFull {
			t.Errorf("key %v, primary %v", c.Table.Key, c.Table.KeyIsPrimary)
		}
		db.exec("insert into bare values (1, 1); update bare set n = null; delete from bare")
		db.exec("insert into idx values (1, 'a', 1); update idx set n = 2; update idx set code = 'b'; delete from idx")
		for _, want := range []string{
			"insert bare none / none -> id=1 n=1",
			"update bare full / id=1 n=1 -> id=1 n=null",
			"delete bare full / id=1 n=null -> none",
			`insert idx none / none -> id=1 code="a" n=1`,
			`update idx none / none -> id=1 code="a" n=2`,
			`update idx key_only / id=missing code="a" n=missing -> id=1 code="b" n=2`,
			`delete idx key_only / id=missing code="b" n=missing -> none`,
		} {
			c := r.row()
			if got := line(c); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			switch c.Table.Name {
			case "bare":
				if len(c.Table.Key) != 0 || c.Table.KeyIsPrimary {
					t.Errorf("bare has key %v", c.Table.Key)
				}
			case "idx":
				if len(c.Table.Key) != 1 || c.Table.Key[0] != 0 || !c.Table.KeyIsPrimary {
					t.Errorf("idx has key %v, primary %v", c.Table.Key, c.Table.KeyIsPrimary)
				}
			}
		}
	})
}

func TestSchemaChanges(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		db.exec("create table t (id int primary key, a text)")
		r := start(t, db.config(), &memory{}, "t")
		db.exec("begin; insert into t values (1, 'x'); alter table t add column b int default 7; insert into t values (2, 'y'); alter table t rename column a to aa; update t set b = 8 where id = 2; alter table t drop column aa; alter table t alter column b type text; insert into t values (3, 'z'); commit")
		db.exec("analyze t")
		db.exec("insert into t values (4, 'same')")
		db.exec("alter table t rename to renamed; insert into renamed values (5, 'r')")
		for _, want := range []string{
			`insert t none / none -> id=1 a="x"`,
			`insert t none / none -> id=2 a="y" b=7`,
			`update t none / none -> id=2 aa="y" b=8`,
			`insert t none / none -> id=3 b="z"`,
		} {
			if got := line(r.row()); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		same := r.row()
		if got := line(same); got != `insert t none / none -> id=4 b="same"` {
			t.Errorf("got %s", got)
		}
		db.exec("analyze renamed; insert into renamed values (6, 'r')")
		first, second := r.row(), r.row()
		if got := line(first); got != `insert renamed none / none -> id=5 b="r"` {
			t.Errorf("got %s", got)
		}
		if first.Table != second.Table {
			t.Error("the same shape gives another Table")
		}
	})
}

// TestDroppedBeforeRead decodes rows of tables and types that are gone by now.
func TestDroppedBeforeRead(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		db.exec("create type mood as enum ('sad'); create table gone (id int primary key, m mood); alter table gone replica identity full")
		st := &memory{}
		r := start(t, db.config(), st, "gone")
		r.close()
		db.exec("insert into gone values (1, 'sad'); update gone set m = null; drop table gone; drop type mood")
		r = start(t, db.config(), &memory{states: st.states})
		if got, want := line(r.row()), `insert gone none / none -> id=1 m="sad"`; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if got, want := line(r.row()), `update gone full / id=1 m="sad" -> id=1 m=null`; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

func TestPartitions(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		db.exec(`create table parts (id int, n int, primary key (id)) partition by range (id);
			create table low (n int, id int not null); alter table parts attach partition low for values from (0) to (100)`) // other column order
		r := start(t, db.config(), &memory{}, "parts")
		db.exec("insert into parts values (1, 10); insert into low (id, n) values (2, 20)")
		db.exec("create table high partition of parts for values from (100) to (200); insert into high values (100, 30)")
		db.exec("update parts set id = 101 where id = 1; truncate parts")
		for _, want := range []string{
			"insert parts none / none -> id=1 n=10", "insert parts none / none -> id=2 n=20", "insert parts none / none -> id=100 n=30",
			"delete parts key_only / id=1 n=missing -> none", "insert parts none / none -> id=101 n=10", "truncate parts none / none -> none",
		} {
			if got := line(r.row()); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
	})
}

func TestLogicalMessages(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		db.exec("create table t (id int primary key)")
		r := start(t, db.config(), &memory{}, "t")
		db.exec(`begin; select pg_logical_emit_message(false, 'waltrigger', '{"not":"transactional"}'); select pg_logical_emit_message(true, 'other', '{}');
			select pg_logical_emit_message(true, 'waltrigger', '{"user":"ann"}'); insert into t values (1); commit`)
		db.exec(`begin; insert into t values (2); select pg_logical_emit_message(true, 'waltrigger', '{"too":"late"}'); commit`)
		db.exec(`begin; select pg_logical_emit_message(true, 'waltrigger', 'no json'); insert into t values (3); commit`)
		for _, want := range []string{`{"user":"ann"}`, "", ""} {
			if c := r.row(); c.Tx.Annotations != want || c.Ordinal != 1 {
				t.Errorf("%s: annotations %q, want %q", show(c, c.After), c.Tx.Annotations, want)
			}
		}
	})
}
