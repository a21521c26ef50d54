package mysql

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waltrigger/waltrigger/pkg/source"
)

func TestValue(t *testing.T) {
	everywhere(t, func(t *testing.T, db *testDB) {
		db.exec(`create table secret (id int primary key, token text)
			insert into secret values (1, 'tok'), (2, null), (3, 's3cret')
			create function writes() returns text deterministic modifies sql data begin insert into secret values (9, 'x'); return 'x'; end
			create procedure opens() begin set session transaction read write; insert into secret values (9, 'x'); select 1; end`)
		for _, q := range []string{"execute on function " + db.name + ".writes", "execute on procedure " + db.name + ".opens", "insert, update, delete, create, drop on " + db.name + ".*"} {
			db.admin("grant " + q + " to " + db.name + "@'%'")
		}
		s := newSource(t, db.config(), &memory{})
		defer s.Close()
		for _, c := range []struct{ query, want, text string }{
			{"select token from secret where id = 1", "tok", ""},
			{"select token from secret where id = 1;", "tok", ""},
			{"  (select token from secret where id = 1)", "tok", ""},
			{"with x as (select 17) select * from x -- a comment", "17", ""},
			{"select timestamp('2026-01-02 03:04:05')", "2026-01-02 03:04:05", ""},
			{"select from_unixtime(3600)", "1970-01-01 01:00:00", ""}, // pinned settings
			{"select 'é'", "é", ""},
			{"select 1.50", "1.50", ""},
			{"select x'00ff'", "\x00\xff", ""},
			{"select repeat('x', 65536)", strings.Repeat("x", 65536), ""},
			{"select repeat('x', 65537)", "", "more than 64 KiB"},
			{"select repeat('x', 10000000)", "", "more than 64 KiB"},
			{"select token from secret where id = 2", "", "gives null"},
			{"select token from secret where id = 4", "", "gives no row"},
			{"select token from secret", "", "more than one row"},
			{"with recursive n as (select 1 i union all select i + 1 from n where i < 900) select 's3cret' from n", "", "more than one row"},
			{"select id, token from secret where id = 3", "", "2 columns"},
			{"", "", "gives no row"},
			{"-- nothing", "", "gives no row"},
			{"select 1; select 2", "", "error 1064"},
			{"select tokn from secret", "", "(error 1054)"},
			{"selec", "", "must be a SELECT"},
			{"select token from secrt", "", "(error 1146)"},
			{"insert into secret values (5, 'x')", "", "must be a SELECT"},
			{"insert into secret values (5, 'x') returning token", "", "must be a SELECT"},
			{"with x as (select 1) delete from secret where id in (select * from x)", "", "error 1"},
			{"set session transaction read write", "", "must be a SELECT"},
			{"call opens()", "", "must be a SELECT"},
			{"/*! insert into secret values (5, 'x') */", "", "must be a SELECT"},
			{"select writes()", "", "(error 1792)"},
			{"select token into @x from secret where id = 1", "", "gives no row"},
			{"select json_extract('s3cret', '$')", "", ""},
			{"select extractvalue('<s3cret', concat('/', token)) from secret where id = 3", "", ""},
		} {
			got, err := s.Value(t.Context(), c.query)
			if err == nil && c.text != "" || err != nil && !strings.Contains(err.Error(), c.text) || err == nil && c.want != "" && got != c.want || err != nil && c.want != "" {
				t.Errorf("%s: %.80q, %v, want %.80q or %q", c.query, got, err, c.want, c.text)
			}
			if err != nil && strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%s: the error repeats a value: %v", c.query, err)
			}
		}
		var n int
		if err := db.app.QueryRowContext(t.Context(), "select count(*) from secret").Scan(&n); err != nil || n != 3 {
			t.Errorf("%d rows, want 3; %v", n, err)
		}
	})
}

// TestValueTakesNoLonger: the server stops the query when the caller's time is up, and a
// lock that the application holds is not waited for.
func TestValueTakesNoLonger(t *testing.T) {
	everywhere(t, func(t *testing.T, db *testDB) {
		db.exec("create table secret (token text)\ninsert into secret values ('tok')")
		s := newSource(t, db.config(), &memory{})
		defer s.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		_, err := s.Value(ctx, "select sleep(1000) from secret where token > ''")
		if err == nil || !errors.Is(err, context.DeadlineExceeded) && !strings.Contains(err.Error(), "(error ") {
			t.Errorf("error %v, want one of time", err)
		}
		eventually(t, "the query to end", func() bool {
			var n int
			if err := db.root.QueryRowContext(t.Context(), "select count(*) from information_schema.processlist where user = ? and info like '%sleep(1000)%'", db.name).Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n == 0
		})
		db.exec("lock tables secret write")
		defer db.exec("unlock tables")
		var wg sync.WaitGroup
		for range 5 { // nobody waits for another
			wg.Go(func() {
				if _, err := s.Value(t.Context(), "select token from secret"); err == nil || !strings.Contains(err.Error(), "(error 1205)") {
					t.Errorf("error %v, want that of a lock", err)
				}
			})
		}
		wg.Wait()
	})
}

func TestValueWithoutServer(t *testing.T) {
	s := newSource(t, Config{Name: "shop", URL: "mysql://u:hush@127.0.0.1:1/x"}, &memory{})
	defer s.Close()
	if _, err := s.Value(t.Context(), "select 1"); err == nil || strings.Contains(err.Error(), "hush") {
		t.Errorf("error %v", err)
	}
}

func TestLatest(t *testing.T) {
	everywhere(t, func(t *testing.T, db *testDB) {
		s := newSource(t, db.config(), &memory{})
		defer s.Close()
		db.exec("create table `T x` (k2 varchar(9), n int, `K ``1` int, primary key (`K ``1`, k2))\ncreate table keyless (a text)")
		latest := func(table string) string {
			t.Helper()
			got, err := s.Latest(t.Context(), db.table(table))
			if err != nil {
				t.Fatal(err)
			}
			out := ""
			for _, row := range got.Rows {
				for i, v := range row {
					out += fmt.Sprintf("%s=%s;", got.Table.Columns[i].Name, v.Text)
				}
			}
			return out
		}
		if got := latest("T x"); got != "" {
			t.Errorf("of an empty table: %s", got)
		}
		db.exec("insert into `T x` values ('a', 1, 2), ('b', 2, 2), ('z', 3, 1)\ninsert into keyless values ('only')")
		if got := latest("T x"); got != "k2=b;n=2;K `1=2;" {
			t.Errorf("got %s", got)
		}
		if got := latest("keyless"); got != "a=only;" {
			t.Errorf("got %s", got)
		}
		if _, err := s.Latest(t.Context(), source.TableName{Schema: db.name, Name: "none"}); err == nil {
			t.Error("a table that is not there has a row")
		}
	})
}
