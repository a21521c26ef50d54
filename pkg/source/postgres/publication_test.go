package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

func names(tables ...string) []source.TableName {
	out := []source.TableName{}
	for _, t := range tables {
		out = append(out, source.TableName{Schema: "public", Name: t})
	}
	return out
}

func (db *database) members(publication string) string {
	db.tb.Helper()
	rows, err := db.Query(context.Background(), "select tablename::text from pg_publication_tables where pubname = $1 order by 1", publication)
	if err != nil {
		db.tb.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		db.tb.Fatal(err)
	}
	return strings.Join(list, " ")
}

// refusals unpacks the table errors that Publish joined.
func refusals(t *testing.T, err error) []string {
	t.Helper()
	var out []string
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("not table errors: %v", err)
	}
	for _, e := range joined.Unwrap() {
		var te *source.TableError
		if !errors.As(e, &te) || te.Mend == "" {
			t.Errorf("not a table error: %v", e)
			continue
		}
		out = append(out, te.Table.Name)
	}
	slices.Sort(out)
	return out
}

const assorted = `
create table good (id int primary key);
create table "we""ird Näme" (id int primary key);
create table keyless (id int);
create table whole (id int); alter table whole replica identity full;
create table lazy (id int, primary key (id) deferrable initially deferred);
create table silent (id int primary key); alter table silent replica identity nothing;
create table uniq (id int not null unique); alter table uniq replica identity using index uniq_id_key;
create unlogged table volatile (id int primary key);
create view seen as select * from good;
create table parts (id int primary key, v int) partition by range (id);
create table parts1 partition of parts for values from (0) to (100);
create table halves (id int) partition by range (id);
create table halves1 partition of halves for values from (0) to (100);
alter table halves replica identity full;
create table parent (id int primary key); create table child (more int) inherits (parent)`

func TestPublish(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		db.exec(assorted)
		s := newSource(t, db.config())
		defer s.Close()
		ctx := context.Background()
		all := names("good", `we"ird Näme`, "keyless", "whole", "lazy", "silent", "uniq", "volatile", "seen", "parts", "halves", "parent", "nowhere")
		missing, err := s.Publish(ctx, all)
		if len(missing) != 1 || missing[0].Name != "nowhere" {
			t.Errorf("missing %v", missing)
		}
		if got := strings.Join(refusals(t, err), " "); got != "halves keyless lazy seen silent volatile" {
			t.Errorf("refused %s", got)
		}
		if got := db.members("shop"); got != `good parent parts uniq we"ird Näme whole` {
			t.Errorf("published %s", got)
		}
		for _, sql := range []string{"update keyless set id = 1", "delete from halves", "delete from child", "update parts set id = 2", "update lazy set id = 1", "update silent set id = 2"} {
			db.exec(sql) // the application's writes go on
		}
		if _, err := s.Publish(ctx, names("parts", "parts1")); strings.Join(refusals(t, err), " ") != "parts1" {
			t.Errorf("partition beside its root: %v", err)
		}
		if got := db.members("shop"); got != "parts" {
			t.Errorf("published %s", got)
		}
		if _, err := s.Publish(ctx, nil); err != nil || db.members("shop") != "" {
			t.Errorf("published %q after all triggers are gone (%v)", db.members("shop"), err)
		}
	})
}

func TestPublicationModes(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		db.exec(assorted + "; create publication shop for table good")
		ctx := context.Background()
		for _, mode := range []string{ModeAuto, ModeExisting} { // made by somebody else
			cfg := db.config()
			cfg.PublicationMode = mode
			s := newSource(t, cfg)
			if _, err := s.Publish(ctx, names("good")); err != nil {
				t.Errorf("%s: %v", mode, err)
			}
			_, err := s.Publish(ctx, names("good", "uniq"))
			var te *source.TableError
			if !errors.As(err, &te) || !strings.Contains(te.Mend, `ALTER PUBLICATION "shop" ADD TABLE ONLY "public"."uniq"`) {
				t.Errorf("%s: %v", mode, err)
			}
			if got := db.members("shop"); got != "good" {
				t.Errorf("%s altered the publication to %s", mode, got)
			}
			_ = s.Close()
		}
		s := newSource(t, db.config())
		if _, err := s.Publish(ctx, names("uniq")); err != nil || db.members("shop") != "uniq" {
			t.Errorf("managed: %s, %v", db.members("shop"), err)
		}
		_ = s.Close()
		cfg := db.config()
		cfg.Publication, cfg.PublicationMode = "mine", ModeAuto
		s = newSource(t, cfg)
		if _, err := s.Publish(ctx, names("good")); err != nil || db.members("mine") != "good" {
			t.Errorf("auto, own: %s, %v", db.members("mine"), err)
		}
		_ = s.Close()
		db.exec("create publication everything for all tables")
		cfg.Publication, cfg.PublicationMode = "everything", ModeManaged
		s = newSource(t, cfg)
		_, err := s.Publish(ctx, names("good"))
		wantHalt(t, err, source.Misconfigured, "FOR ALL TABLES")
		_ = s.Close()
	})
}

// TestManagedSchema: what is published by its schema cannot be taken out of the publication.
func TestManagedSchema(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		if db.major < 15 {
			return
		}
		db.exec("create schema more; create table more.item (id int primary key); create table good (id int primary key); create table late (id int primary key, v int); create publication mixed for table good, tables in schema more")
		cfg := db.config()
		cfg.Publication = "mixed"
		_, _, err := prepare(t, cfg, source.State{})
		wantHalt(t, err, source.Misconfigured, "FOR TABLES IN SCHEMA")
		s := newSource(t, cfg)
		defer s.Close()
		if found := fmt.Sprint(s.Check(context.Background(), source.State{})); !strings.Contains(found, "FOR TABLES IN SCHEMA") {
			t.Errorf("check: %s", found)
		}
		r := start(t, db.config(), &memory{}, "good", "late")
		db.exec("alter publication shop add tables in schema more; alter table late drop constraint late_pkey")
		if err := r.look(context.Background()); err != nil {
			t.Fatal(err)
		}
		db.exec("update late set v = 1")
		if detail := r.Status().Detail; !strings.Contains(detail, "FOR TABLES IN SCHEMA") || !strings.Contains(detail, "public.late") {
			t.Errorf("detail %q", detail)
		}
		_, err = r.Publish(context.Background(), names("good"))
		wantHalt(t, err, source.Misconfigured, "FOR TABLES IN SCHEMA")
	})
}

// TestPublishWaitsForNobody: a lock of the application's is not waited for.
func TestPublishWaitsForNobody(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		db.exec("create table good (id int primary key)")
		s := newSource(t, db.config())
		defer s.Close()
		other := db.connect()
		execOn(t, other, "begin; lock table good in access exclusive mode")
		began := time.Now()
		_, err := s.Publish(context.Background(), names("good"))
		if got := refusals(t, err); len(got) != 1 || time.Since(began) > 10*time.Second {
			t.Errorf("refused %v after %v", got, time.Since(began))
		}
		execOn(t, other, "rollback")
		if _, err := s.Publish(context.Background(), names("good")); err != nil {
			t.Error(err)
		}
	})
}

func TestWatch(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		db.exec("create table good (id int primary key); create table other (id int primary key)")
		r := start(t, db.config(), &memory{}, "good", "other")
		if missing, err := r.Publish(context.Background(), names("good", "other", "late")); err != nil || len(missing) != 1 {
			t.Fatalf("missing %v, %v", missing, err)
		}
		db.exec("alter table good drop constraint good_pkey")
		db.exec("insert into good values (1)") // makes the log tell the shape, and the watch look at once
		if c := r.row(); c.Table.Key != nil {
			t.Errorf("key %v", c.Table.Key)
		}
		eventually(t, "taking the table out", func() bool { return db.members("shop") == "other" })
		db.exec("update good set id = 2")
		eventually(t, "saying so", func() bool { return strings.Contains(r.Status().Detail, "public.good") })
		db.exec("drop table other")
		r.suspect()
		eventually(t, "missing a table", func() bool { return strings.Contains(r.Status().Detail, "table public.other does not exist") })
		db.exec("alter table good add primary key (id); create table late (id int primary key); create table other (id int primary key)")
		r.suspect()
		eventually(t, "publishing again", func() bool { return db.members("shop") == "good late other" })
		db.exec("insert into late values (7)")
		if c := r.row(); c.Table.Name != "late" {
			t.Errorf("got %s", show(c, c.After))
		}
		r.suspect()
		eventually(t, "no more complaint", func() bool { return r.Status().Detail == "" })
	})
}

// TestPublicationGone: without its publication the log lacks changes. Reading ends then,
// even if the publication was made anew, and acknowledges nothing of what was left out.
func TestPublicationGone(t *testing.T) {
	everyMajor(t, func(t *testing.T, db *database) {
		db.exec("create table sale (id int primary key)")
		st := &memory{}
		r := start(t, db.config(), st, "sale")
		db.exec("insert into sale values (1)")
		for r.mark.End == "" {
			r.next()
		}
		r.Ack(r.mark.End)
		st.save(source.State{Identity: st.last().Identity, Mark: r.mark})
		halted := func() error {
			t.Helper()
			for {
				select {
				case b := <-r.out:
					r.Ack(b[len(b)-1].Tx.End)
					if c := b[0]; c.Op != change.Commit {
						t.Errorf("got %s", line(c))
					}
				case err := <-r.done:
					r.done = nil
					r.stop()
					_ = r.Close()
					if got := r.Status().State; got != source.ResyncRequired {
						t.Errorf("state %s", got)
					}
					return err
				case <-time.After(20 * time.Second):
					t.Fatalf("Run goes on: %+v", r.Status())
				}
			}
		}
		db.exec("drop publication shop")
		before := text1(t, db.Conn, "select pg_current_wal_insert_lsn()::text")
		db.exec("insert into sale values (2)")
		wantHalt(t, halted(), source.ResyncRequired, "publication")
		if past := text1(t, db.Conn, "select (confirmed_flush_lsn > $1::pg_lsn)::text from pg_replication_slots where slot_name = $2", before, db.name); past != "false" {
			t.Error("what was left out is acknowledged")
		}
		s := newSource(t, db.config())
		if found := fmt.Sprint(s.Check(context.Background(), source.State{})); !strings.Contains(found, "did not for a while") {
			t.Errorf("check: %s", found)
		}
		_, err := s.Publish(context.Background(), names("sale"))
		wantHalt(t, err, source.ResyncRequired, "did not for a while")
		_ = s.Close()
		r = start(t, db.config(), st)
		wantHalt(t, halted(), source.ResyncRequired, "did not for a while")
		db.exec("alter role current_user in database " + db.name + " set client_min_messages = error; create publication shop for table sale")
		r = start(t, db.config(), st)
		wantHalt(t, halted(), source.ResyncRequired, "publication")
		if n := text1(t, db.Conn, "select count(*)::text from pg_publication where pubname like 'shop%'"); n != "2" {
			t.Errorf("%s publications", n)
		}
		s = newSource(t, db.config())
		defer s.Close()
		eventually(t, "the server's process has ended, too", func() bool {
			return text1(t, db.Conn, "select active::text from pg_replication_slots where slot_name = $1", db.name) == "false"
		})
		if _, _, err := s.Resync(context.Background(), names("sale"), st.save); err != nil {
			t.Fatal(err)
		}
		r = start(t, db.config(), st)
		db.exec("insert into sale values (3)")
		if c := r.row(); line(c) != "insert sale none / none -> id=3" {
			t.Errorf("got %s", line(c))
		}
	})
}

func TestBarrierPrepared(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		var n string
		if err := db.QueryRow(context.Background(), "show max_prepared_transactions").Scan(&n); err != nil {
			t.Fatal(err)
		}
		db.exec("create table parts (id int primary key) partition by range (id); create table parts1 partition of parts for values from (0) to (100)")
		s := newSource(t, db.config())
		defer s.Close()
		other := db.connect()
		execOn(t, other, "begin; insert into parts1 values (1)") // only the partition is locked
		blocked, done := make(chan string, 10), make(chan uint64, 1)
		go func() {
			seq, err := s.Barrier(context.Background(), names("parts", "nowhere"), func(text string) { blocked <- text })
			if err != nil {
				t.Error(err)
			}
			done <- seq
		}()
		if text := <-blocked; !strings.Contains(text, "pid ") || !strings.Contains(text, "idle in transaction") || !strings.Contains(text, "user postgres") || strings.Contains(text, "insert") {
			t.Errorf("blocker %q", text)
		}
		if n != "0" { // the server allows prepared transactions
			execOn(t, other, "prepare transaction '"+db.name+"'")
			for text := ""; !strings.Contains(text, db.name); { // it may be seen while it is being prepared
				select {
				case text = <-blocked:
				case <-done:
					t.Fatal("a prepared transaction is not waited for")
				}
			}
			execOn(t, other, "commit prepared '"+db.name+"'")
		} else {
			execOn(t, other, "commit")
		}
		if seq := <-done; seq == 0 {
			t.Error("no position")
		}
		ctx, cancel := context.WithCancel(context.Background())
		execOn(t, other, "begin; insert into parts values (2)")
		_, err := s.Barrier(ctx, names("parts"), func(string) { cancel() })
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		execOn(t, other, "rollback")
	})
}

func TestTables(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		db.exec(assorted)
		db.exec(`create schema far; create table far.away (b int, a int, note varchar(20) not null, primary key (a, b));
			create table refers (id int primary key, x int, y int, twice int generated always as (x * 2) stored,
			constraint refers_fkey foreign key (y, x) references far.away (a, b))`)
		s := newSource(t, db.config())
		defer s.Close()
		list, err := s.Tables(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]source.TableInfo{}
		for _, info := range list {
			got[info.String()] = info
		}
		if !slices.IsSortedFunc(list, func(a, b source.TableInfo) int { return strings.Compare(a.String(), b.String()) }) {
			t.Error("not sorted")
		}
		if info := got["far.away"]; info.InSearchPath || strings.Join(info.PrimaryKey, " ") != "a b" || info.Columns[2] != (source.ColumnInfo{Name: "note", Type: "character varying(20)", NotNull: true, Equal: "text"}) {
			t.Errorf("far.away: %+v", info)
		}
		info := got["public.refers"]
		if len(info.ForeignKeys) != 1 || !info.InSearchPath || !info.Columns[3].Generated {
			t.Fatalf("public.refers: %+v", info)
		}
		if k := info.ForeignKeys[0]; k.Name != "refers_fkey" || k.RefTable.String() != "far.away" || strings.Join(k.Columns, " ") != "y x" || strings.Join(k.RefColumns, " ") != "a b" || k.Indexed {
			t.Errorf("foreign key %+v", k)
		}
		for name, want := range map[string]bool{"good": true, "keyless": false, "whole": true, "lazy": false, "silent": false, "uniq": true, "parts": true, "parts1": true, "halves": false} {
			if info := got["public."+name]; info.IdentityUsable != want {
				t.Errorf("%s: usable %v", name, info.IdentityUsable)
			}
		}
		db.exec("alter table parts replica identity full")
		db.exec("create table leaves (id int primary key, v int) partition by range (id); create table leaves1 partition of leaves for values from (0) to (9); alter table leaves replica identity full; alter table leaves1 replica identity full")
		if list, err = s.Tables(context.Background()); err != nil {
			t.Fatal(err)
		}
		for _, info := range list {
			got[info.String()] = info
		}
		for name, want := range map[string]struct {
			id         change.Identity
			old, whole string
		}{
			"good":        {change.IdentityDefault, "id", `ALTER TABLE public.good REPLICA IDENTITY FULL;`},
			"whole":       {change.IdentityFull, "id", ""},
			"silent":      {change.IdentityNothing, "", `ALTER TABLE public.silent REPLICA IDENTITY FULL;`},
			"uniq":        {change.IdentityIndex, "id", `ALTER TABLE public.uniq REPLICA IDENTITY FULL;`},
			"parts":       {change.IdentityDefault, "id", `ALTER TABLE public.parts1 REPLICA IDENTITY FULL;`}, // its rows are its partition's
			"halves":      {change.IdentityDefault, "", `ALTER TABLE public.halves1 REPLICA IDENTITY FULL;`},
			"leaves":      {change.IdentityFull, "id v", ""},
			`we"ird Näme`: {change.IdentityDefault, "id", `ALTER TABLE public."we""ird Näme" REPLICA IDENTITY FULL;`},
		} {
			info := got["public."+name]
			if info.Identity != want.id || strings.Join(info.OldColumns, " ") != want.old || info.WholeOldRow != want.whole {
				t.Errorf("%s: identity %d, old %v, whole by %q", name, info.Identity, info.OldColumns, info.WholeOldRow)
			}
		}
		if !got["public.parts"].Partitioned || !got["public.parts1"].Leaf || got["public.parts"].Leaf {
			t.Error("partitions are not told")
		}
		if _, there := got["public.seen"]; there {
			t.Error("a view is listed")
		}
	})
}

// TestTablesForRelations tells what following foreign keys has to know.
func TestTablesForRelations(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		db.exec(`create collation any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
			create table base (id int primary key, code text collate any_case unique, amount numeric unique, name varchar(9) unique, day date, fixed char(3));
			create table refers (id bigint primary key, base_id int references base, code text collate any_case references base (code), name text references base (name));
			create table parts (id int primary key) partition by range (id); create table part partition of parts for values from (0) to (100);
			create table refersparts (id int primary key, part_id int references parts unique);
			create index on refers (name, id); create index on refers (base_id) where base_id > 5`)
		role := "reads_" + db.name
		db.exec("create role " + role + " login password 'x'; grant select on base to " + role)
		t.Cleanup(func() { execOn(t, db.server, "drop role "+role) })
		t.Cleanup(func() { db.exec("drop owned by " + role) })
		cfg := db.config()
		cfg.URL = strings.Replace(cfg.URL, "postgres:postgres@", role+":x@", 1)
		s := newSource(t, cfg)
		defer s.Close()
		list, err := s.Tables(context.Background())
		if err != nil || len(list) != 5 {
			t.Fatalf("%d tables, error %v", len(list), err)
		}
		base, refers := list[0], list[3]
		if k := list[4].ForeignKeys; len(k) != 1 || k[0].RefTable.Name != "parts" || !k[0].Unique || !k[0].Indexed {
			t.Errorf("foreign keys %+v to a partitioned table", k)
		}
		if base.Unreadable || !refers.Unreadable {
			t.Errorf("unreadable: base %v, refers %v", base.Unreadable, refers.Unreadable)
		}
		equal := map[string]string{}
		for _, c := range append(base.Columns, refers.Columns[1]) {
			equal[c.Name] = c.Equal
		}
		if equal["id"] == "" || equal["id"] != equal["base_id"] || equal["name"] == "" || equal["day"] == "" || equal["code"] != "" || equal["amount"] != "" || equal["fixed"] != "" {
			t.Errorf("equal %v", equal)
		}
		for _, k := range refers.ForeignKeys {
			if want := k.Columns[0] == "name"; k.Indexed != want || k.Unique {
				t.Errorf("%s: indexed %v, unique %v", k.Name, k.Indexed, k.Unique)
			}
		}
	})
}
