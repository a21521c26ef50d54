package postgres

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/waltrigger/waltrigger/pkg/source"
)

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
		return s.Check(context.Background())
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
	if !has(got, source.LevelWarn, `ALTER TABLE "public"."keyless" REPLICA IDENTITY FULL;`) || has(got, source.LevelWarn, "good") {
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
	if got := unreachable.Check(context.Background()); !has(got, source.LevelError, "127.0.0.1") || has(got, source.LevelError, "hush") {
		t.Errorf("unreachable: %+v", got)
	}
}
