package mysql

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
	everywhere(t, func(t *testing.T, db *testDB) {
		db.exec("set sql_mode = '', time_zone = '+00:00'\ncreate table first (id int primary key)")
		r := start(t, db, "first")
		sourcetest.Drain(t, r.out)
		for i, c := range []struct{ columns, values, only string }{
			{"int", "(3), (1), (2), (-2147483648)", ""},
			{"bigint unsigned", "(18446744073709551615), (0), (9223372036854775808)", ""},
			{"tinyint(1)", "(0), (1), (2), (-1)", ""},
			{"int(5) zerofill", "(42), (7)", ""},
			{"decimal(65,30)", "(-12345.678900000000000000000000000001), (0.1), (12345678901234567890123456789.5)", ""},
			{"decimal(10,2) unsigned", "(0.10), (10), (9)", ""},
			{"float", "(0.1), (0.3), (16777216), (-0.7), (1e-30)", ""},
			{"double", "(0.1), (0.30000000000000004), (1e308), (-0.5)", ""},
			{"varchar(20)", "('a'), ('B'), ('c'), (''), ('z''\"\\\\'), ('日本')", ""},
			{"varchar(20) character set latin1", "('a'), ('B'), (_utf8mb4 'é'), (_utf8mb4 'z')", ""},
			{"varchar(20) collate utf8mb4_bin", "('a'), ('B'), ('ä'), ('')", ""},
			{"char(4)", "('a'), ('ab'), (''), ('abcd')", ""},
			{"varbinary(8)", "(x'00'), (x''), (x'ff'), (x'5c27')", ""},
			{"binary(4)", "(x'00'), ('ab'), (x'ffffffff')", ""},
			{"bit(10)", "(b'1000000001'), (b'1'), (b'0')", ""},
			{"bit(1)", "(b'1'), (b'0')", ""},
			{"date", "('2024-02-29'), ('0000-00-00'), ('1000-01-01'), ('2024-00-10'), ('9999-12-31')", ""},
			{"datetime(6)", "('2024-06-01 12:00:00.123456'), ('0000-00-00'), ('2024-06-01 12:00:00.12')", ""},
			{"timestamp(3)", "('2024-06-01 12:00:00.123'), ('1971-01-01')", ""},
			{"time(2)", "('-838:59:59'), ('00:00:00.01'), ('25:00:00'), ('-00:00:01')", ""},
			{"year", "(2155), (1901), (0)", ""},
			{"enum('z','a','m')", "('z'), ('a'), ('m')", ""},
			{"varchar(300) character set utf8mb3", "('x'), ('y')", ""},
			{"uuid", "('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'), ('00000000-0000-0000-0000-000000000001'), ('ffffffff-0000-1000-8000-000000000000')", "mariadb"},
			{"inet6", "('::1'), ('10.0.0.1'), ('2001:db8::1')", "mariadb"},
		} {
			if !strings.HasPrefix(db.version, c.only) {
				continue
			}
			table := fmt.Sprint("k", i)
			db.exec("create table " + table + " (n int auto_increment unique, k " + c.columns + " primary key) default charset utf8mb4")
			db.exec("insert into " + table + " (k) values " + c.values)
			var want []string
			rows, err := db.app.QueryContext(context.Background(), "select n from "+table+" order by k")
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			for rows.Next() {
				var n string
				if err := rows.Scan(&n); err != nil {
					t.Fatal(err)
				}
				want = append(want, n)
			}
			if err := rows.Err(); err != nil {
				t.Fatal(err)
			}
			for _, limit := range []int{1, 2} {
				var got []string
				for _, row := range sourcetest.ScanAll(t, r, db.table(table), limit) {
					got = append(got, row[0].Text)
				}
				if !slices.Equal(got, want) {
					t.Errorf("%s by %d: got rows %v, want %v", c.columns, limit, got, want)
				}
			}
		}
	})
}

// TestScanTables: keys of several columns, and what cannot be read.
func TestScanTables(t *testing.T) {
	everywhere(t, func(t *testing.T, db *testDB) {
		db.exec("create table `Odd one` (b int, `A a` enum('x','b'), x int as (b * 2) stored, primary key (`A a`, b))\ncreate table keyless (id int)\n" +
			"create table chosen (k set('a','b') primary key)\ncreate table nothing (id int primary key)\ncreate table first (id int primary key)")
		for i := range 30 {
			db.exec(fmt.Sprintf("insert into `Odd one` (b, `A a`) values (%d, '%s')", i/2, []string{"x", "b"}[i%2]))
		}
		r := start(t, db, "first")
		sourcetest.Drain(t, r.out)
		rows := sourcetest.ScanAll(t, r, db.table("Odd one"), 4)
		if len(rows) != 30 || rows[0][1].Text != "x" || rows[29][1].Text != "b" || rows[29][0].Text != "14" || rows[29][2].Text != "28" {
			t.Errorf("%d rows: %v", len(rows), rows)
		}
		if rows := sourcetest.ScanAll(t, r, db.table("nothing"), 4); len(rows) != 0 {
			t.Errorf("rows of an empty table: %v", rows)
		}
		for table, want := range map[string]string{"nope": "does not exist", "keyless": "no primary key", "chosen": "SET"} {
			_, err := r.Scan(context.Background(), source.Scan{Table: db.table(table), Limit: 1, After: nil})
			if te := (*source.TableError)(nil); !errors.As(err, &te) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %v, want a *TableError with %q", table, err, want)
			}
		}
		db.exec("analyze table `Odd one`")
		if n, err := r.Size(context.Background(), db.table("Odd one")); err != nil || n < 1 || n > 100 {
			t.Errorf("size %d, error %v", n, err)
		}
	})
}

// TestScanBytes: rows that are large come in small parts.
func TestScanBytes(t *testing.T) {
	everywhere(t, func(t *testing.T, db *testDB) {
		db.exec("create table t (id int primary key, v mediumtext)")
		for i := range 30 {
			db.exec(fmt.Sprintf("insert into t values (%d, repeat('x', 100000))", i))
		}
		r := start(t, db, "t")
		sourcetest.Drain(t, r.out)
		sourcetest.ScanBytes(t, r, db.table("t"))
	})
}

// TestScanShowsTheLog: rows show all that was read of the log, with names for transactions
// and without, and the end of the log is reached although nobody writes.
func TestScanShowsTheLog(t *testing.T) {
	everywhere(t, func(t *testing.T, db *testDB) {
		db.exec("create table t (id int primary key, n int)\ninsert into t values (1, 0), (2, 0)")
		for _, named := range []bool{true, false} {
			db.notes = &memory{}
			r := start(t, db, "t")
			db.exec("insert into t values (3, 0)\ndelete from t where id = 3")
			for r.row().Op != change.Delete {
			}
			if !named {
				srv := *r.known.Load()
				srv.named = false
				r.known.Store(&srv)
			}
			for n := range 50 {
				db.exec(fmt.Sprintf("update t set n = n + 1 where id = %d", n%2+1))
				c := r.row()
				got, err := r.Scan(context.Background(), source.Scan{Table: db.table("t"), Limit: 10})
				if err != nil || got.Seq <= c.Tx.Seq || got.Until <= c.Tx.Seq {
					t.Fatalf("%+v, error %v, behind the change at %d", got, err, c.Tx.Seq)
				}
				if row := got.Rows[n%2]; row[1] != c.After[1] {
					t.Fatalf("the table holds %v, and the log had %v before", row, c.After)
				}
			}
			last := scanEnd(t, r, db)
			sourcetest.Drain(t, r.out)
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			if seq, err := r.Reached(ctx, last); err != nil || seq == 0 || seq >= last {
				t.Errorf("reached %d of %d, error %v", seq, last, err)
			}
			db.admin("flush binary logs")
			if seq, err := r.Reached(ctx, scanEnd(t, r, db)); err != nil || seq == 0 {
				t.Errorf("in another file: reached %d, error %v", seq, err)
			}
		}
	})
}

func scanEnd(t *testing.T, r *running, db *testDB) uint64 {
	t.Helper()
	got, err := r.Scan(context.Background(), source.Scan{Table: db.table("t"), Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	return got.Until
}

// TestScanWaitsForNobody: without names for transactions rows are locked while they are
// read, and not if somebody else has them.
func TestScanWaitsForNobody(t *testing.T) {
	everywhere(t, func(t *testing.T, db *testDB) {
		if db.mariadb {
			return // its snapshots tell where they are
		}
		db.exec("create table t (id int primary key, n int)\ninsert into t values (1, 0), (2, 0), (9, 0)")
		r := start(t, db, "t")
		db.exec("insert into t values (4, 0)")
		r.row()
		sourcetest.Drain(t, r.out)
		srv := *r.known.Load()
		srv.named = false
		r.known.Store(&srv)
		other := db.connect()
		for _, q := range []string{"begin", "update t set n = 1 where id = 2"} {
			if _, err := other.ExecContext(context.Background(), q); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := r.Scan(context.Background(), source.Scan{Table: db.table("t"), Limit: 10}); err == nil || !strings.Contains(err.Error(), "being changed") {
			t.Errorf("error %v", err)
		}
		if got, err := r.Scan(context.Background(), source.Scan{Table: db.table("t"), Limit: 1}); err != nil || len(got.Rows) != 1 {
			t.Errorf("%v, error %v", got.Rows, err)
		}
		if _, err := other.ExecContext(context.Background(), "insert into t values (5, 5)"); err != nil {
			t.Error(err) // nothing stays locked
		}
		if _, err := other.ExecContext(context.Background(), "rollback"); err != nil {
			t.Fatal(err)
		}
		if rows := sourcetest.ScanAll(t, r, db.table("t"), 10); len(rows) != 4 {
			t.Errorf("rows %v", rows)
		}
	})
}
