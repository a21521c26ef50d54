package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/waltrigger/waltrigger/pkg/source"
)

// TestCheckMends: what check says can be run, and then it is not said any more.
func TestCheckMends(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		createUserTypes(db)
		role := db.name + "_r"
		db.exec("create role " + role + " login replication password 'x'")
		defer func() {
			db.exec("drop owned by " + role)
			db.exec("drop role " + role)
		}()
		db.exec(`create schema other; grant usage on schema other to ` + role + `; create table other.secret (id int primary key);
			create schema closed; create table closed.hidden (id int primary key);
			create table keyless (v int); create table policed (id int primary key); alter table policed enable row level security;
			create table parts (id int, v int) partition by range (id); create table parts1 partition of parts for values from (0) to (9);
			create table odd (id int primary key, w weird); grant select on all tables in schema public to ` + role + `;
			create publication own for table parts, keyless with (publish = 'insert, update', publish_via_partition_root = false)`)
		cfg := db.config()
		cfg.URL = strings.Replace(db.url, "postgres:postgres@", role+":x@", 1)
		check := func(mode, publication string) []source.Finding {
			t.Helper()
			cfg.PublicationMode, cfg.Publication = mode, publication
			s := newSource(t, cfg)
			defer s.Close()
			return s.Check(context.Background(), source.State{})
		}
		find := func(mode, publication, text string) *source.Finding {
			t.Helper()
			for _, f := range check(mode, publication) {
				if strings.Contains(f.Text, text) {
					return &f
				}
			}
			return nil
		}
		for _, c := range []struct{ mode, publication, text string }{
			{ModeAuto, "new", "may not create it"},
			{ModeExisting, "own", "does not carry deletes, truncates"},
			{ModeExisting, "own", "table public.parts: publication own gives the changes of each partition the partition's name"},
			{ModeExisting, "own", "table public.keyless: it has no usable replica identity, and publication own makes the application's UPDATE and DELETE of it fail"},
			{ModeAuto, "new", "tables of schema closed (1, such as closed.hidden) are not seen by the role, which lacks USAGE on the schema"},
			{ModeAuto, "new", "tables of schema other (1, such as other.secret) cannot be read"},
			{ModeAuto, "new", "(1, such as public.policed) show the role only the rows"},
		} {
			f := find(c.mode, c.publication, c.text)
			if f == nil {
				t.Errorf("%q is not said: %+v", c.text, check(c.mode, c.publication))
				continue
			}
			sql := f.Mend
			if _, drop, found := strings.Cut(sql, " or ALTER PUBLICATION"); found { // the last of the ways out
				sql = "ALTER PUBLICATION" + drop
			}
			sql, _, _ = strings.Cut(sql, " or name")
			db.exec(sql)
			if f := find(c.mode, c.publication, c.text); f != nil {
				t.Errorf("%q is still said after %s", f.Text, sql)
			}
		}
		if f := find(ModeAuto, "new", "values of type weird are sent as text"); f == nil || f.Level != source.LevelWarn {
			t.Errorf("a type without mapping is not named: %+v", check(ModeAuto, "new"))
		}
		for _, f := range check(ModeAuto, "new") {
			if f.Level == source.LevelError {
				t.Errorf("after all: %+v", f)
			}
		}
	})
}

// TestCheckSettings: settings of the server that shorten what may be waited for.
func TestCheckSettings(t *testing.T) {
	t.Parallel()
	for major, want := range map[int][]string{15: {"max_slot_wal_keep_size is 64MB"}, 18: {"idle_replication_slot_timeout is 1h", "synchronized_standby_slots is nobody", "SQL_ASCII"}} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			args := "-c max_slot_wal_keep_size=64MB"
			if major == 18 {
				args = "-c idle_replication_slot_timeout=1h -c synchronized_standby_slots=nobody"
			}
			s := newServer(t, major, nil, args).start()
			database := "postgres"
			if major == 18 {
				database = "bytes"
				execOn(t, s.connect("postgres"), "create database bytes template template0 encoding 'SQL_ASCII' lc_collate 'C' lc_ctype 'C'")
			}
			src := newSource(t, Config{Name: "shop", URL: strings.Replace(s.dsn, "/postgres?", "/"+database+"?", 1)})
			defer src.Close()
			found := fmt.Sprint(src.Check(context.Background(), source.State{}))
			for _, text := range want {
				if !strings.Contains(found, text) {
					t.Errorf("%q is not said: %s", text, found)
				}
			}
		})
	}
	t.Run("wal_level", func(t *testing.T) {
		t.Parallel()
		s := newServer(t, 16, nil, "-c wal_level=replica").start()
		src := newSource(t, Config{Name: "shop", URL: s.dsn})
		defer src.Close()
		if found := src.Check(context.Background(), source.State{}); len(found) != 1 || found[0].Level != source.LevelError || !strings.Contains(found[0].Mend, "ALTER SYSTEM SET wal_level = 'logical'") {
			t.Errorf("found %+v", found)
		}
		_, _, err := prepare(t, Config{Name: "shop", URL: s.dsn}, source.State{})
		wantHalt(t, err, source.Misconfigured, "wal_level is replica")
	})
}

func TestCheckNamesWhatIsMissing(t *testing.T) {
	each(t, testCheck)
}

func testCheck(t *testing.T, db *database) {
	db.exec(`CREATE TABLE good (id int PRIMARY KEY); CREATE TABLE keyless (v int)`)
	check := func(mode string) []source.Finding {
		s, err := New(Config{Name: "c", URL: db.url, PublicationMode: mode, Slot: "check_slot_" + db.name}, nil, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		return s.Check(context.Background(), source.State{})
	}
	has := func(fs []source.Finding, level, text string) bool {
		return slices.ContainsFunc(fs, func(f source.Finding) bool { return f.Level == level && strings.Contains(f.Text+f.Mend, text) })
	}
	got := check(ModeAuto)
	for _, f := range got {
		if f.Level == source.LevelError {
			t.Errorf("unexpected: %+v", f)
		}
	}
	if !has(got, source.LevelWarn, `ALTER TABLE public.keyless REPLICA IDENTITY FULL;`) || has(got, source.LevelWarn, "good") {
		t.Errorf("keyless table is not named: %+v", got)
	}
	if got := check(ModeExisting); !has(got, source.LevelError, "CREATE PUBLICATION") {
		t.Errorf("missing publication is not named: %+v", got)
	}
	db.exec(`SELECT pg_create_logical_replication_slot('check_slot_` + db.name + `', 'test_decoding')`)
	if got := check(ModeAuto); !has(got, source.LevelError, "pgoutput") {
		t.Errorf("slot of another plugin is not named: %+v", got)
	}

	unreachable, err := New(Config{Name: "c", URL: "postgres://u:hush@127.0.0.1:1/x"}, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer unreachable.Close()
	if got := unreachable.Check(context.Background(), source.State{}); !has(got, source.LevelError, "127.0.0.1") || has(got, source.LevelError, "hush") {
		t.Errorf("unreachable: %+v", got)
	}
}
