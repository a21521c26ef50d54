package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
	"github.com/waltrigger/waltrigger/pkg/source/sourcetest"
)

// TestScanKeys reads tables with every kind of key row by row: each row once, in the
// server's own order.
func TestScanKeys(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		createUserTypes(db)
		s := newSource(t, db.config())
		defer s.Close()
		for i, c := range []struct{ columns, values string }{
			{"int", "(3), (1), (2), (-2147483648)"},
			{"numeric", "(1.50), (1.5000001), ('-1e30'), ('NaN'), (0)"},
			{"float8", "('NaN'), ('-Infinity'), ('Infinity'), (0.1), (1e-300), (-0.5)"},
			{"float4", "(0.1), (0.3), (16777216)"},
			{"text", "('a'), ('B'), ('ä'), (''), ('z''\"\\'), (E'\\n'), ('日本')"},
			{`text collate "C"`, "('a'), ('B'), ('ä'), ('')"},
			{"char(4)", "('a'), ('ab'), (''), ('abcd')"},
			{"citext", "('a'), ('B'), ('c')"},
			{"bytea", `('\x00'), ('\x'), ('\xff'), ('\x5c')`},
			{"bit(3)", "('101'), ('000'), ('111')"},
			{"varbit", "('1'), ('10101'), ('')"},
			{"date", "('2024-02-29'), ('0044-03-15 BC'), ('infinity'), ('-infinity')"},
			{"timestamptz", "('2024-03-09 21:00:00.000001+05'), ('-infinity'), ('0001-01-01 00:00:00 BC')"},
			{"timestamp", "('2024-03-09 21:00:00.000001'), ('294276-12-31 23:59:59.999999')"},
			{"timetz", "('24:00:00+15:59'), ('04:05:06.7-8')"},
			{"interval", "('1 year -2 mons +3 days -04:05:06.789'), ('-1 day'), ('00:00:00.000001')"},
			{"uuid", "('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'), ('00000000-0000-0000-0000-000000000000')"},
			{"bool", "(true), (false)"},
			{"inet", "('192.168.0.1/24'), ('::1'), ('10.0.0.0')"},
			{"mood", "('happy'), ('sad'), ('it''s \"odd\"')"},
			{`far."Mood Ring"`, "('blue')"},
			{"dearprice", "(11.5), (12)"},
			{"int[]", "('{1,2}'), ('{}'), ('{NULL,3}'), ('{1}')"},
			{"text[]", `('{"a,b",NULL}'), ('{"\"\\"}')`},
			{"pair", `('(1,"x,y")'), ('(1,)'), ('(0,b)')`},
			{"int4range", "('[1,5)'), ('empty'), ('(,3)')"},
			{"money", "(1234.5), (-3)"},
			{"jsonb", `('{"a":1}'), ('null'), ('[1, "x"]')`},
			{"tsvector", "('a b'), ('')"},
			{"name", "('a'), ('b')"},
			{"oid", "(1), (4294967295)"},
			{`"char"`, "('a'), ('')"},
			{"pg_lsn", "('0/1'), ('FF/0')"},
			{"hstore", `('a=>1'), ('b=>NULL')`},
			{"ltree", "('a.b'), ('a')"},
		} {
			table := fmt.Sprint("k", i)
			db.exec("create table " + table + " (n serial, k " + c.columns + " primary key)")
			db.exec("insert into " + table + " (k) values " + c.values)
			var want []string
			rows, err := db.Query(context.Background(), "select n::text from "+table+" order by k")
			if err != nil {
				t.Fatal(err)
			}
			for rows.Next() {
				var n string
				if err := rows.Scan(&n); err != nil {
					t.Fatal(err)
				}
				want = append(want, n)
			}
			for _, limit := range []int{1, 2} {
				var got []string
				for _, row := range sourcetest.ScanAll(t, s, source.TableName{Schema: "public", Name: table}, limit) {
					got = append(got, row[0].Text)
				}
				if !slices.Equal(got, want) {
					t.Errorf("%s by %d: got rows %v, want %v", c.columns, limit, got, want)
				}
			}
		}
	})
}

// TestScanTables: keys of several columns, tables of other kinds, and what cannot be read.
func TestScanTables(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		db.exec(`create table "Odd one" (b int, "A a" text, x int generated always as (b * 2) stored, primary key ("A a", b));
			insert into "Odd one" select i % 7, 'k' || i / 7 from generate_series(0, 48) i;
			create table child (z int) inherits ("Odd one"); insert into child values (99, 'child');
			create table parts (id int primary key, v text) partition by range (id);
			create table parts1 partition of parts for values from (0) to (10); create table parts2 (v text, id int not null);
			alter table parts attach partition parts2 for values from (10) to (20); insert into parts select i, i from generate_series(0, 19) i;
			create table keyless (id int); create table hidden (id int primary key); alter table hidden enable row level security; create table secret (id int primary key);
			create table empty (id int primary key);
			create schema ext; create extension citext schema ext; create table elsewhere (n int, k ext.citext, primary key (k, n));
			insert into elsewhere select n, k from unnest(array['b', 'A', 'c', 'B2', 'a3']) k, generate_series(1, 3) n`)
		s := newSource(t, db.config())
		defer s.Close()
		rows := sourcetest.ScanAll(t, s, source.TableName{Schema: "public", Name: "Odd one"}, 5)
		if len(rows) != 49 || !slices.IsSortedFunc(rows, func(a, b []change.Value) int { return strings.Compare(a[1].Text+a[0].Text, b[1].Text+b[0].Text) }) {
			t.Errorf("%d rows: %v", len(rows), rows)
		}
		if rows[0][2].Kind != change.Missing {
			t.Errorf("a generated column is %+v, and the log does not carry it", rows[0][2])
		}
		if rows := sourcetest.ScanAll(t, s, source.TableName{Schema: "public", Name: "parts"}, 7); len(rows) != 20 || rows[19][0].Text != "19" {
			t.Errorf("rows of partitions: %v", rows)
		}
		if rows := sourcetest.ScanAll(t, s, source.TableName{Schema: "public", Name: "elsewhere"}, 2); len(rows) != 15 || rows[0][1].Text != "A" || rows[14][1].Text != "c" {
			t.Errorf("a key with operators that are not in the search path: %v", rows)
		}
		if rows := sourcetest.ScanAll(t, s, source.TableName{Schema: "public", Name: "empty"}, 7); len(rows) != 0 {
			t.Errorf("rows of an empty table: %v", rows)
		}
		role := db.name + "_reader"
		db.exec(fmt.Sprintf("create role %s login password 'x'; grant select on hidden, keyless to %[1]s", role))
		defer db.exec("drop owned by " + role + "; drop role " + role)
		cfg := db.config()
		cfg.URL = strings.Replace(cfg.URL, db.server.Config().User+":"+db.server.Config().Password, role+":x", 1)
		other := newSource(t, cfg)
		defer other.Close()
		for table, want := range map[string]string{"nope": "does not exist", "keyless": "no primary key", "hidden": "BYPASSRLS", "secret": "GRANT SELECT"} {
			_, err := other.Scan(context.Background(), source.Scan{Table: source.TableName{Schema: "public", Name: table}, Limit: 1})
			if te := (*source.TableError)(nil); !errors.As(err, &te) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %v, want a *TableError with %q", table, err, want)
			}
		}
		db.exec("analyze parts1; analyze parts2")
		if n, err := s.Size(context.Background(), source.TableName{Schema: "public", Name: "parts"}); err != nil || n != 20 {
			t.Errorf("size %d, error %v", n, err)
		}
		if n, err := s.Size(context.Background(), source.TableName{Schema: "public", Name: "nope"}); err != nil || n != -1 {
			t.Errorf("size of no table %d, error %v", n, err)
		}
	})
}

// TestScanBytes: rows that are large come in small parts.
func TestScanBytes(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		db.exec("create table t (id int primary key, v text); insert into t select i, repeat('x', 100000) from generate_series(1, 30) i")
		s := newSource(t, db.config())
		defer s.Close()
		sourcetest.ScanBytes(t, s, source.TableName{Schema: "public", Name: "t"})
	})
}

// TestScanLacks: what the log does not carry of a row is missing in one that is read, and
// what it carries is not.
func TestScanLacks(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		db.exec("create table t (id int primary key, n int, x int generated always as (n * 2) stored, v text)")
		list := "t"
		if db.major >= 15 {
			list = "t (id, n)"
		}
		for mode, create := range map[string]string{ModeManaged: "", ModeExisting: "create publication listed for table " + list} {
			cfg := db.config()
			cfg.PublicationMode, cfg.Slot = mode, cfg.Slot+mode
			if create != "" {
				db.exec(create)
				cfg.Publication = "listed"
			}
			r := start(t, cfg, &memory{}, "t")
			db.exec("truncate t; insert into t values (1, 2, default, 'x')")
			c := r.row()
			for c.Op != change.Insert {
				c = r.row()
			}
			got, err := r.Scan(context.Background(), source.Scan{Table: source.TableName{Schema: "public", Name: "t"}, Limit: 10})
			if err != nil || len(got.Rows) != 1 || !slices.Equal(got.Rows[0], c.After) || !slices.Equal(got.Table.Columns, c.Table.Columns) {
				t.Errorf("%s: the table gives %+v of %v (%v), the log %+v of %v", mode, got.Rows, got.Table.Columns, err, c.After, c.Table.Columns)
			}
			r.close()
		}
	})
}

// TestReached: the end of the log is reached although nobody writes, and not before what
// is in it was handed over.
func TestReached(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		db.exec("create table t (id int primary key, v text); create table other (id int)")
		r := start(t, db.config(), &memory{}, "t")
		q := source.Scan{Table: source.TableName{Schema: "public", Name: "t"}, Limit: 10}
		reached := make(chan uint64, 1)
		sourcetest.Drain(t, r.out)
		ask := func() {
			got, err := r.Scan(context.Background(), q)
			if err != nil {
				t.Error(err)
			}
			seq, err := r.Reached(context.Background(), got.Until)
			if err != nil {
				t.Error(err)
			}
			reached <- seq
		}
		last := uint64(0)
		for i, sql := range []string{"", "insert into t values (1, 'x')", "insert into other values (1)", "set synchronous_commit = off; insert into t values (2, 'x'); select count(*) from t", ""} {
			if sql != "" {
				db.exec(sql)
			}
			go ask()
			select {
			case seq := <-reached:
				if i == 1 && seq <= last {
					t.Errorf("after %s: the last commit is %d, before %d", sql, seq, last)
				}
				last = seq
			case <-time.After(20 * time.Second):
				t.Fatalf("after %q: the end of the log was not reached", sql)
			}
		}
	})
}

// TestReachedWaits: what nobody takes was not handed over.
func TestReachedWaits(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		db.exec("create table t (id int primary key, v text)")
		r := start(t, db.config(), &memory{}, "t")
		db.exec("insert into t values (1, 'x')")
		got, err := r.Scan(context.Background(), source.Scan{Table: source.TableName{Schema: "public", Name: "t"}, Limit: 10})
		if err != nil || len(got.Rows) != 1 {
			t.Fatal(got, err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		defer cancel()
		if seq, err := r.Reached(ctx, got.Until); err == nil {
			t.Fatalf("reached %d, and nobody took it", seq)
		}
		c := r.row()
		if c.Tx.Seq >= got.Until {
			t.Errorf("the insert at %d is shown, and the rows show nothing from %d on", c.Tx.Seq, got.Until)
		}
		sourcetest.Drain(t, r.out)
		if seq, err := r.Reached(context.Background(), got.Until); err != nil || seq < c.Tx.Seq {
			t.Errorf("reached %d, error %v: want at least %d", seq, err, c.Tx.Seq)
		}
	})
}
