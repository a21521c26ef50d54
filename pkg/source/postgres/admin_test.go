package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waltrigger/waltrigger/pkg/source"
)

func TestOperate(t *testing.T) {
	each(t, testOperate)
}

func testOperate(t *testing.T, db *database) {
	ctx := context.Background()
	cfg := db.config()
	cfg.PublicationMode = ModeAuto
	with := func(f func(s *Source) error) error {
		t.Helper()
		s := newSource(t, cfg)
		defer s.Close()
		return f(s)
	}
	adopt := func() (st source.State, err error) {
		t.Helper()
		err = with(func(s *Source) error { st, err = s.Adopt(ctx); return err })
		return st, err
	}
	if _, err := adopt(); err == nil || !strings.Contains(err.Error(), "nothing to adopt") {
		t.Errorf("adopt without a slot: %v", err)
	}
	db.exec("create table item (id int primary key)")
	r := start(t, cfg, &memory{}, "item")
	db.exec("insert into item values (1)")
	r.row()
	for what, err := range map[string]error{
		"adopt": with(func(s *Source) error { _, err := s.Adopt(ctx); return err }),
		"drop":  with(func(s *Source) error { return s.Drop(ctx) }),
		"resync": with(func(s *Source) error {
			_, _, err := s.Resync(ctx, nil, (&memory{}).save)
			return err
		}),
	} {
		if err == nil || !strings.Contains(err.Error(), "is being read") {
			t.Errorf("%s while it is read: %v", what, err)
		}
	}
	r.close()

	adopted, err := adopt()
	if err != nil || adopted.Identity == "" || adopted.Mark.End == "" {
		t.Fatalf("adopt: %+v %v", adopted, err)
	}
	if st, _, err := prepare(t, cfg, adopted); err != nil || st != adopted {
		t.Errorf("after adopt: %+v %v", st, err)
	}

	// Resync: the intent is saved first, and what is committed from then on is seen.
	m := &memory{}
	var seq uint64
	err = with(func(s *Source) (err error) {
		_, seq, err = s.Resync(ctx, []source.TableName{{Schema: "public", Name: "item"}, {Schema: "public", Name: "none"}}, m.save)
		return err
	})
	if err != nil || len(m.states) < 2 || m.states[0].Mark.End != "" || m.states[0].Identity == "" || fmt.Sprint(lsn(seq)) != string(m.last().Mark.End) {
		t.Fatalf("resync: %v, seq %s, saved %+v", err, lsn(seq), m.states)
	}
	db.exec("insert into item values (2)")
	r = start(t, cfg, m)
	if c := r.row(); c.Tx.Seq < seq {
		t.Errorf("first change %+v is before %s", c.Tx, lsn(seq))
	}
	r.close()

	if err := with(func(s *Source) error { return s.Drop(ctx) }); err != nil {
		t.Fatal(err)
	}
	if err := with(func(s *Source) error { return s.Drop(ctx) }); err != nil {
		t.Errorf("a second drop: %v", err)
	}
	if err := with(func(s *Source) error {
		slot, err := s.Slot(ctx)
		if slot.Exists {
			t.Errorf("slot %+v stays behind", slot)
		}
		return err
	}); err != nil {
		t.Error(err)
	}

	// What is not ours stays.
	db.exec("create publication shop")
	db.exec("select pg_create_logical_replication_slot($1, 'test_decoding')", db.name)
	err = with(func(s *Source) error { return s.Drop(ctx) })
	wantHalt(t, err, source.Misconfigured, "test_decoding")
	db.exec("select pg_drop_replication_slot($1)", db.name)
	if err := with(func(s *Source) error { return s.Drop(ctx) }); err != nil {
		t.Fatal(err)
	}
	var n int
	if err := db.QueryRow(ctx, "select count(*) from pg_publication").Scan(&n); err != nil || n != 1 {
		t.Errorf("%d publications, %v", n, err)
	}
}

// TestOwners: check says which tables a role cannot publish, and does not advise to
// hand out a superuser's powers.
func TestOwners(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		ctx := context.Background()
		role, owner := db.name+"_r", db.name+"_o"
		db.exec("create role " + role + " login replication password 'x'")
		db.exec("create role " + owner)
		defer func() {
			db.exec("drop owned by " + role)
			db.exec("drop owned by " + owner)
			db.exec("drop role " + role)
			db.exec("drop role " + owner)
		}()
		db.exec("grant create on database " + db.name + " to " + role)
		db.exec("create table theirs (id int primary key)")
		db.exec("alter table theirs owner to " + owner)
		db.exec("create table super (id int primary key)")
		c, err := pgx.ParseConfig(db.url)
		if err != nil {
			t.Fatal(err)
		}
		cfg := db.config()
		cfg.PublicationMode = ModeAuto
		cfg.URL = fmt.Sprintf("postgres://%s:x@%s:%d/%s?sslmode=disable", role, c.Host, c.Port, c.Database)
		s := newSource(t, cfg)
		defer s.Close()
		found := s.Check(ctx, source.State{})
		has := func(text, mend string) bool {
			return slices.ContainsFunc(found, func(f source.Finding) bool {
				return f.Level == source.LevelWarn && strings.Contains(f.Text, text) && strings.Contains(f.Mend, mend)
			})
		}
		if !has("theirs", `GRANT "`+owner+`" TO "`+role+`"`) || !has("public.super", "no superuser") || has("public.super", `GRANT "`+c.User) {
			t.Errorf("found %+v", found)
		}
		if grants := cfg.Grants(); !strings.Contains(grants, `ON DATABASE "`+db.name+`" TO "`+role+`"`) {
			t.Error(grants)
		}
	})
}

func TestReach(t *testing.T) {
	for code, want := range map[string]string{"28P01": "password", "3D000": "name of the database", "53300": "max_connections", "XX000": "reachable"} {
		if got := reach(fmt.Errorf("connect: %w", &pgconn.PgError{Code: code})); !strings.Contains(got, want) {
			t.Errorf("%s: %s", code, got)
		}
	}
	if got := reach(errors.New("tls error: server refused TLS connection")); !strings.Contains(got, "sslmode") {
		t.Error(got)
	}
}
