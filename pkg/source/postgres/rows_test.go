package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/waltrigger/waltrigger/pkg/source"
)

func TestRowsByKey(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		db.exec(`create table k (a text, b bytea, c char(4), d timestamptz, n int, primary key (a, b, c, d))`)
		db.exec(`insert into k values (E'x"y\\', '\x00ff', 'ab', '2024-03-09 21:00:00.5+00', 1), ('other', '\x00', 'ab', now(), 2)`)
		s := newSource(t, db.config())
		defer s.Close()
		q := source.Query{Table: source.TableName{Schema: "public", Name: "k"}, Columns: []string{"a", "b", "c", "d"}, Keys: [][]string{{`x"y\`, "\x00\xff", "ab  ", "2024-03-09T21:00:00.5Z"}}}
		got, err := s.Rows(context.Background(), q)
		if err != nil || len(got.Rows) != 1 || got.Rows[0][4].Text != "1" || got.Of[0] != 0 {
			t.Errorf("got %+v, error %v", got, err)
		}
		for _, bad := range []struct {
			columns []string
			key     []string
		}{{[]string{"nope"}, []string{"1"}}, {[]string{"n"}, []string{"not a number"}}, {[]string{"a"}, []string{"1", "2"}}, {[]string{"a"}, []string{"\x00"}}, {nil, nil}} {
			q := source.Query{Table: q.Table, Columns: bad.columns, Keys: [][]string{bad.key}}
			if _, err := s.Rows(context.Background(), q); err == nil {
				t.Errorf("rows, %v = %q: no error", bad.columns, bad.key)
			}
			if _, err := s.Counts(context.Background(), q); err == nil {
				t.Errorf("counts, %v = %q: no error", bad.columns, bad.key)
			}
		}
		// A writer that is open does not block.
		other := db.connect()
		execOn(t, other, "begin; update k set n = 3")
		q.Columns, q.Keys = []string{"n"}, [][]string{{"2"}}
		if got, err = s.Rows(context.Background(), q); err != nil || len(got.Rows) != 1 {
			t.Errorf("got %+v, error %v", got, err)
		}
	})
}

// TestRowsWithoutIndex reads the limited rows of many keys in one pass over the table, whose
// columns may have any names.
func TestRowsWithoutIndex(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		db.exec(`create table plain (id int primary key, k text not null, other int, "#n" int, "#i" int, "#n#" int);
			insert into plain select i, 'key ' || i % 3, i from generate_series(1, 30) i; create table child () inherits (plain); insert into child values (99, 'key 1', 0)`)
		s := newSource(t, db.config())
		defer s.Close()
		q := source.Query{Table: source.TableName{Schema: "public", Name: "plain"}, Columns: []string{"k"}, Keys: [][]string{{"key 1"}, {"none"}, {"key 2"}}, Limit: 2, First: true}
		ids := func() (out []string) {
			t.Helper()
			got, err := s.Rows(context.Background(), q)
			if err != nil {
				t.Fatal(err)
			}
			for i, r := range got.Rows {
				out = append(out, fmt.Sprint(got.Of[i], " ", r[0].Text))
			}
			slices.Sort(out)
			return out
		}
		want := []string{"0 1", "0 4", "2 2", "2 5"}
		if got := ids(); !slices.Equal(got, want) {
			t.Errorf("without an index: %v, want %v", got, want)
		}
		db.exec("create index on plain (k, other)")
		clear(s.reader.shapes)
		if got := ids(); !slices.Equal(got, want) {
			t.Errorf("with an index: %v, want %v", got, want)
		}
		got, err := s.Counts(context.Background(), q)
		if err != nil || !slices.Equal(got.Counts, []int64{10, 0, 10}) {
			t.Errorf("counts %v, error %v: rows of inheriting tables are not its own", got.Counts, err)
		}
	})
}

// TestRowsWaitForACommit asks while a transaction that was sent is not visible yet.
func TestRowsWaitForACommit(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		db.exec("create table t (id int primary key, n int); insert into t values (1, 1)")
		s := newSource(t, db.config())
		defer s.Close()
		other := db.connect()
		execOn(t, other, "begin; update t set n = 2")
		var xid uint32
		if err := other.QueryRow(context.Background(), "select (pg_current_xact_id()::text::bigint & 4294967295)::text::bigint").Scan(&xid); err != nil {
			t.Fatal(err)
		}
		s.sent.add([]sentTx{{seq: 7, xid: xid}})
		q := source.Query{Table: source.TableName{Schema: "public", Name: "t"}, Columns: []string{"id"}, Keys: [][]string{{"1"}}}
		type answer struct {
			source.RowSet
			err error
		}
		done := make(chan answer)
		ask := func() {
			rows, err := s.Rows(context.Background(), q)
			done <- answer{rows, err}
		}
		go ask()
		if a := <-done; a.err == nil || !strings.Contains(a.err.Error(), "standby") {
			t.Errorf("got %v, error %v while the commit is hidden", a.Rows, a.err)
		}
		go ask()
		execOn(t, other, "commit")
		if a := <-done; a.err != nil || a.Rows[0][1].Text != "2" || a.Seq != 8 || a.Until <= 8 {
			t.Errorf("got %+v, error %v", a.RowSet, a.err)
		}
		if len(s.sent.unseen) != 0 {
			t.Errorf("%v is still remembered", s.sent.unseen)
		}
	})
}

func TestSnapshot(t *testing.T) {
	s, err := parseSnapshot("4294967290:4294967300:4294967290,4294967297")
	if err != nil {
		t.Fatal(err)
	}
	for xid, want := range map[uint32]bool{4294967289: true, 4294967290: false, 4294967291: true, 0: true, 1: false, 3: true, 4: false, 5: false} {
		if s.shows(xid) != want {
			t.Errorf("shows %d: %v", xid, !want)
		}
	}
	for _, bad := range []string{"", "1:2", "1:x:", "a:2:", "1:2:3,z"} {
		if _, err := parseSnapshot(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

// TestSentIsBounded forgets what is too much, and knows that it did.
func TestSentIsBounded(t *testing.T) {
	var s sent
	for i := range uint32(2) {
		txs := make([]sentTx, maxSent)
		for j := range txs {
			n := i*maxSent + uint32(j) + 1
			txs[j] = sentTx{lsn(n), n}
		}
		s.add(txs)
	}
	for _, c := range []struct {
		snapshot string
		want     bool
	}{
		{fmt.Sprintf("%d:%d:", maxSent, 2*maxSent+1), false}, // of those forgotten, the newest may be hidden
		{fmt.Sprintf("%d:%d:", maxSent+1, 2*maxSent+1), true},
	} {
		if got, err := s.shownBy(c.snapshot, s.newest()); got != c.want || err != nil {
			t.Errorf("%s: %v, error %v", c.snapshot, got, err)
		}
	}
	if s.newest() != 2*maxSent || len(s.unseen) != 0 {
		t.Errorf("newest %d, %d unseen", s.newest(), len(s.unseen))
	}
}

func TestCarried(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		db.exec(`create table t (id int primary key, n int); create table off (id int primary key);
			create table parts (id int primary key) partition by range (id); create table low partition of parts for values from (0) to (100)`)
		s := newSource(t, db.config())
		defer s.Close()
		ctx := context.Background()
		if _, err := s.Prepare(ctx, source.State{}, (&memory{}).save); err != nil {
			t.Fatal(err)
		}
		name := func(n string) source.TableName { return source.TableName{Schema: "public", Name: n} }
		if _, err := s.Publish(ctx, []source.TableName{name("t"), name("parts")}); err != nil {
			t.Fatal(err)
		}
		look := func() []string {
			t.Helper()
			words, err := s.Carried(ctx, []source.TableName{name("off"), name("t"), name("nowhere"), name("parts"), name("low")})
			if err != nil || len(words) != 5 {
				t.Fatalf("%v, error %v", words, err)
			}
			if words[0] != "" || words[2] != "" || words[4] != "" {
				t.Errorf("words %q for what is not published", words)
			}
			return []string{words[1], words[3]}
		}
		was := look()
		if was[0] == "" || was[1] == "" {
			t.Fatalf("words %q", was)
		}
		db.exec("insert into t values (1, 1); update t set n = 2; insert into parts values (1); analyze")
		db.exec("vacuum (freeze) t")
		if got := look(); !slices.Equal(got, was) {
			t.Errorf("changes of rows: %q, then %q", was, got)
		}
		other := func(at int, sql string, args ...any) {
			t.Helper()
			db.exec(sql, args...)
			if now := look(); now[at] == was[at] || now[at] == "" {
				t.Errorf("%s: the word is %q as before", sql, now[at])
			} else {
				was = now
			}
		}
		other(0, "alter table t add m int default 7")
		other(0, "alter table t rename m to mm")
		other(0, "alter table t alter n type text using 'n' || n")
		other(0, "truncate t")
		other(0, "alter publication shop drop table only t; alter publication shop add table only t")
		other(0, "alter publication shop set (publish = 'insert'); alter publication shop set (publish = 'insert, update, delete, truncate')")
		other(0, "alter table t rename to t_old; create table t (id int primary key); alter publication shop add table only t")
		other(1, "create table high partition of parts for values from (100) to (200)")
		other(1, "truncate low")
		other(1, "alter table parts detach partition high")
		for _, sql := range []string{
			"alter publication shop set (publish = 'insert, update, delete')", "alter table t enable row level security",
		} {
			db.exec(sql)
			if got := look(); got[0] != "" {
				t.Errorf("%s: the log carries all changes", sql)
			}
			db.exec("alter publication shop set (publish = 'insert, update, delete, truncate')")
		}
		if v := db.PgConn().ParameterStatus("server_version"); !strings.HasPrefix(v, "14") {
			db.exec("alter publication shop set table parts where (id > 5)")
			if got := look(); got[1] != "" {
				t.Error("a row filter: the log carries all changes")
			}
		}
	})
}
