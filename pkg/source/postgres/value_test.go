package postgres

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestValue(t *testing.T) { each(t, testValue) }

func testValue(t *testing.T, db *database) {
	db.exec(`create table secret (id int primary key, token text); insert into secret values (1, 'tok'), (2, null), (3, 's3cret')`)
	db.exec(`create sequence counter; create function writes() returns text language sql as $$ insert into secret values (9, 'x') returning token $$`)
	s := newSource(t, Config{Name: "shop", URL: db.url})
	for _, c := range []struct{ query, want, text string }{
		{"select token from secret where id = 1", "tok", ""},
		{"select token from secret where id = 1;", "tok", ""},
		{"with x as (select 17) select * from x -- a comment", "17", ""},
		{"select '2026-01-02 03:04:05+00'::timestamptz", "2026-01-02 03:04:05+00", ""}, // pinned settings
		{"values ('é')", "é", ""},
		{"show transaction_read_only", "on", ""},
		{"select repeat('x', 65536)", strings.Repeat("x", 65536), ""},
		{"select repeat('x', 65537)", "", "more than 64 KiB"},
		{"select repeat('x', 100000000)", "", "more than 64 KiB"},
		{"select token from secret where id = 2", "", "gives null"},
		{"select token from secret where id = 4", "", "gives no row"},
		{"select token from secret", "", "more than one row"},
		{"select 's3cret' from (select generate_series(1, 1000000000)) x", "", "more than one row"},
		{"select id, token from secret where id = 3", "", "2 columns"},
		{"", "", "gives no row"},
		{"select 1; select 2", "", "SQLSTATE 42601"},
		{"select tokn from secret", "", `column "tokn" does not exist (SQLSTATE 42703)`},
		{"selec", "", "syntax error"},
		{"select token::int from secret where id = 3", "", "the query failed (SQLSTATE 22P02)"},
		{"insert into secret values (5, 'x') returning token", "", "read-only transaction"},
		{"update secret set token = 'x' where id = 1 returning token", "", "read-only transaction"},
		{"select writes()", "", "read-only transaction"},
		{"select nextval('counter')", "", "read-only transaction"},
		{"select set_config('transaction_read_only', 'off', false)", "", "SQLSTATE 25001"},
		{"drop table secret", "", "read-only transaction"},
		{"do $$ begin raise exception 's3cret'; end $$", "", "the query failed (SQLSTATE P0001)"},
	} {
		got, err := s.Value(t.Context(), c.query)
		if got != c.want || (err == nil) != (c.text == "") {
			t.Errorf("%s: %.80q, %v, want %.80q or %q", c.query, got, err, c.want, c.text)
		}
		if err != nil && (!strings.Contains(err.Error(), c.text) || strings.Contains(err.Error(), "s3cret")) {
			t.Errorf("%s: error %v, want one about %q", c.query, err, c.text)
		}
	}
	if n := rows(t, db, "select count(*) from secret"); n != 3 {
		t.Errorf("%d rows, want 3", n)
	}
}

// TestValueTakesNoLonger: the server stops the query when the caller's time is up, and a
// lock that the application holds is not waited for.
func TestValueTakesNoLonger(t *testing.T) { each(t, testValueTakesNoLonger) }

func testValueTakesNoLonger(t *testing.T, db *database) {
	db.exec(`create table secret (token text); insert into secret values ('tok')`)
	s := newSource(t, Config{Name: "shop", URL: db.url})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := s.Value(ctx, "select pg_sleep(1000)::text")
	if err == nil || !errors.Is(err, context.DeadlineExceeded) && !strings.Contains(err.Error(), "57014") {
		t.Errorf("error %v, want one of time", err)
	}
	eventually(t, "the query to end", func() bool {
		return rows(t, db, "select count(*) from pg_stat_activity where query like '%pg_sleep(1000)%' and pid <> pg_backend_pid()") == 0
	})
	db.exec("begin; lock table secret")
	defer db.exec("rollback")
	var wg sync.WaitGroup
	for range 5 { // nobody waits for another
		wg.Go(func() {
			if _, err := s.Value(t.Context(), "select token from secret"); err == nil || !strings.Contains(err.Error(), "SQLSTATE 55P03") {
				t.Errorf("error %v, want lock_timeout's", err)
			}
		})
		wg.Go(func() {
			if v, err := s.Value(t.Context(), "select 'x'"); v != "x" || err != nil {
				t.Errorf("got %q, %v", v, err)
			}
		})
	}
	wg.Wait()
}

func rows(t *testing.T, db *database, query string) (n int) {
	t.Helper()
	if err := db.QueryRow(t.Context(), query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
