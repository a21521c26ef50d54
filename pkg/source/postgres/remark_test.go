package postgres

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/waltrigger/waltrigger/pkg/source"
)

// remarked is what Check warns of a table, and whether Publish logs the same, once.
func remarked(t *testing.T, cfg Config, table string) string {
	t.Helper()
	var log bytes.Buffer
	s, err := New(cfg, nil, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var found []string
	for _, f := range s.Check(context.Background(), source.State{}) {
		if text, of := strings.CutPrefix(f.Text, "table public."+table+": "); of && f.Level == source.LevelWarn && f.Mend != "" {
			found = append(found, text)
		}
	}
	for range 2 {
		if missing, err := s.Publish(context.Background(), names(table)); err != nil || len(missing) > 0 {
			t.Errorf("%s: missing %v, %v", table, missing, err)
		}
	}
	for _, text := range found {
		if n := strings.Count(strings.ReplaceAll(log.String(), `\"`, `"`), text); n != 1 {
			t.Errorf("%s: %q is logged %d times: %s", table, text, n, &log)
		}
	}
	return strings.Join(found, "; ")
}

// TestRemarks: a table that is published, but of which not all comes, is named.
func TestRemarks(t *testing.T) {
	everyMajor(t, func(t *testing.T, db *database) {
		db.exec(`create table good (id int primary key, v int); alter table good replica identity full;
			create table parts (id int primary key, v int) partition by range (id); create unlogged table parts1 partition of parts for values from (0) to (100); create table parts2 partition of parts for values from (100) to (200);
			create foreign data wrapper nothing; create server nowhere foreign data wrapper nothing;
			create table archive (id int, v int) partition by range (id); create foreign table old partition of archive for values from (0) to (100) server nowhere;
			create table new partition of archive (primary key (id)) for values from (100) to (200);
			create table computed (v int, id int generated always as (v * 2) stored primary key)`)
		want := func(cfg Config, table, text string) {
			t.Helper()
			if got := remarked(t, cfg, table); !strings.Contains(got, text) || text == "" && got != "" {
				t.Errorf("%s: %q, want %q", table, got, text)
			}
		}
		cfg := db.config()
		want(cfg, "good", "")
		want(cfg, "parts", "its partitions public.parts1 are not in the log")
		want(cfg, "archive", "its partitions public.old are not in the log")
		if db.major < 18 {
			want(cfg, "computed", fmt.Sprintf("its replica identity has a generated column, which the log of PostgreSQL %d does not hold", db.major))
		} else {
			want(cfg, "computed", "")
		}
		if db.major < 15 {
			return // there are no filters
		}
		db.exec("create publication filtered for table good where (v > 10); create table few (id int primary key, v int); create publication listed for table few (id)")
		cfg.PublicationMode, cfg.Publication = ModeExisting, "filtered"
		want(cfg, "good", "carries only the rows that match its WHERE")
		cfg.Publication = "listed"
		want(cfg, "few", "carries only the columns that it lists")
	})
}
