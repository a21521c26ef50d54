package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/waltrigger/waltrigger/pkg/source"
)

// harmTables are tables of every kind, each with a column v that can be updated. The
// second of each pair is what takes the table's replica identity away later.
var harmTables = []struct {
	name, ddl, lose string
	since           int
}{
	{"keyed", "create table keyed (id int primary key, v int)", "alter table keyed drop constraint keyed_pkey cascade", 0},
	{"keyless", "create table keyless (id int, v int)", "", 0},
	{"whole", "create table whole (id int, v int); alter table whole replica identity full", "alter table whole replica identity default", 0},
	{"silent", "create table silent (id int primary key, v int); alter table silent replica identity nothing", "", 0},
	{"later", "create table later (id int primary key, v int)", "alter table later replica identity nothing", 0},
	{"lazy", "create table lazy (id int, v int, primary key (id) deferrable)", "", 0},
	{"uniq", "create table uniq (id int not null unique, v int); alter table uniq replica identity using index uniq_id_key", "alter table uniq drop constraint uniq_id_key", 0},
	{"partial", "create table partial (id int not null, v int); create unique index part on partial (id) where id > 0", "", 0},
	{"computed", "create table computed (id int primary key, v int, w int generated always as (v * 2) stored)", "", 0},
	{"computedkey", "create table computedkey (v int, id int generated always as (v * 2) stored primary key)", "", 0},
	{"wholecomputed", "create table wholecomputed (id int, v int, w int generated always as (v * 2) stored); alter table wholecomputed replica identity full", "alter table wholecomputed add x int generated always as (v * 3) stored", 0},
	{"virtual", "create table virtual (id int, v int, w int generated always as (v * 2) virtual); alter table virtual replica identity full", "", 18},
	{"volatile", "create unlogged table volatile (id int primary key, v int)", "", 0},
	{"parts", "create table parts (id int primary key, v int) partition by range (id); create table parts1 partition of parts for values from (0) to (50)", "create table parts2 (id int not null, v int); alter table parts2 replica identity nothing; alter table parts attach partition parts2 for values from (50) to (100)", 0},
	{"halves", "create table halves (id int, v int) partition by range (id); create table halves1 partition of halves for values from (0) to (100); alter table halves replica identity full", "", 0},
	{"empty", "create table empty_ (id int primary key, v int) partition by range (id)", "", 0},
	{"deep", "create table deep (id int primary key, v int) partition by range (id); create table deep1 partition of deep for values from (0) to (100) partition by range (id); create table deep11 partition of deep1 for values from (0) to (100)", "alter table deep11 replica identity nothing", 0},
	{"parent", "create table parent (id int primary key, v int); create table child () inherits (parent)", "", 0},
	{"refs", "create table refs (id int primary key references keyed on update cascade on delete cascade, v int)", "", 0},
}

// writes are what an application does.
var writes = []string{
	"insert into %[1]s (id, v) values (1, 1), (2, 2)", "update %[1]s set v = v + 1 where id = 1", "update %[1]s set id = 3 where id = 2", "delete from %[1]s where id = 3",
	"insert into %[1]s (id, v) select 1, 5 where not exists (select from %[1]s where id = 1)", "with d as (delete from %[1]s returning *) insert into %[1]s (id, v) select id + 10, v from d", "truncate %[1]s cascade",
}

// outcomes does all writes on all tables and says which fail, and how.
func outcomes(db *database) map[string]string {
	db.tb.Helper()
	out := map[string]string{}
	db.exec("truncate keyed cascade; insert into keyed select generate_series(1, 20)")
	for _, table := range harmTables {
		if table.since > db.major {
			continue
		}
		for _, name := range append([]string{table.name}, map[string][]string{"parts": {"parts1"}, "parent": {"child"}, "deep": {"deep11"}}[table.name]...) {
			name = strings.Replace(name, "empty", "empty_", 1)
			for _, sql := range writes {
				sql = fmt.Sprintf(sql, name)
				_, err := db.Exec(context.Background(), sql)
				out[sql] = sqlState(err)
			}
		}
		db.exec("insert into keyed select generate_series(1, 20) on conflict do nothing")
	}
	return out
}

func (db *database) allHarmTables() []source.TableName {
	db.tb.Helper()
	rows, err := db.Query(context.Background(), "select relname::text from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and relname <> 'parts2'")
	if err != nil {
		db.tb.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		db.tb.Fatal(err)
	}
	return names(list...)
}

// TestNoHarm: whatever tables triggers ask for, in whatever mode, no write of the
// application's fails that did not fail before. That stays so when tables lose their
// replica identity while they are published.
func TestNoHarm(t *testing.T) {
	type way struct {
		name, mode, sql string
		insertOnly      bool
	}
	ways := []way{
		{"auto", ModeAuto, "", false},
		{"auto, inserts", ModeAuto, "", true},
		{"managed", ModeManaged, "", false},
		{"managed, made by somebody", ModeManaged, "create publication shop for table keyed, whole, keyless, parts, halves", true},
		{"existing", ModeExisting, "create publication shop for table keyed, whole, uniq, computed, parts with (publish_via_partition_root = true)", false},
		{"existing, inserts", ModeExisting, "create publication shop for all tables with (publish = 'insert')", true},
		{"existing, harmful", ModeExisting, "create publication shop for all tables", false},
	}
	eachServer(t, func(t *testing.T, dsn string) {
		for _, w := range ways {
			t.Run(w.name, func(t *testing.T) {
				db := newDatabase(t, dsn)
				for _, table := range harmTables {
					if table.since <= db.major {
						db.exec(table.ddl)
					}
				}
				if w.sql != "" && w.mode == ModeExisting {
					db.exec(w.sql)
				}
				before := outcomes(db) // with what is the operator's own doing
				if w.sql != "" && w.mode != ModeExisting {
					db.exec(w.sql)
				}
				cfg := db.config()
				cfg.PublicationMode = w.mode
				r := start(t, cfg, &memory{})
				go func() { // takes everything
					for b := range r.out {
						_ = b
					}
				}()
				defer func() { r.close(); close(r.out) }()
				all := db.allHarmTables()
				if w.insertOnly {
					r.AllowInsertOnly(all)
				}
				if _, err := r.Publish(context.Background(), all); err != nil {
					refusals(t, err)
				}
				compare := func(when string) {
					t.Helper()
					for sql, state := range outcomes(db) {
						if state != "" && before[sql] == "" {
							t.Errorf("%s: %s fails with %q, and did not without us", when, sql, state)
						}
					}
				}
				compare("published")
				if w.mode == ModeExisting {
					return // not ours to take anything out
				}
				for _, table := range harmTables {
					if table.since <= db.major && table.lose != "" {
						db.exec(table.lose)
					}
				}
				if err := r.look(context.Background()); err != nil { // the watch does at latest after five seconds
					t.Fatal(err)
				}
				compare("lost its identity")
				if got := db.members("shop"); strings.Contains(got, "keyless") || strings.Contains(got, "silent") {
					t.Errorf("published %s", got)
				}
			})
		}
	})
}

// TestRenamed: a table that goes by another name is watched by nobody, so it does not stay
// published; nor does one that nobody wants and that lost its replica identity.
func TestRenamed(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		db.exec("create schema attic; create table sale (id int primary key, v int); create table item (id int primary key, v int); create table log (id int, v int); create table other (id int primary key, v int)")
		r := start(t, db.config(), &memory{}, "sale", "item")
		r.AllowInsertOnly(names("log"))
		if _, err := r.Publish(context.Background(), names("sale", "item", "log")); err != nil {
			t.Fatal(err)
		}
		db.exec(`insert into sale values (1, 1); insert into item values (1, 1); insert into other values (1, 1);
			begin; alter table sale rename to sale_old; create table sale (id int primary key, v int); commit;
			alter table item set schema attic; alter table log rename to log_old; alter publication shop add table other`)
		look := func(main, inserts string) {
			t.Helper()
			if err := r.look(context.Background()); err != nil {
				t.Fatal(err)
			}
			if db.members("shop") != main || db.members("shop_inserts") != inserts {
				t.Errorf("published %q and %q, want %q and %q", db.members("shop"), db.members("shop_inserts"), main, inserts)
			}
		}
		look("other sale", "") // what somebody has added does no harm
		db.exec("alter table sale_old drop constraint sale_pkey; alter table attic.item drop constraint item_pkey; update sale_old set v = 2; update attic.item set v = 2; delete from log_old")
		db.exec("alter table other drop constraint other_pkey")
		look("sale", "")
		db.exec("update other set v = 2; alter table sale rename to item")
		look("item", "") // is wanted by that name too
	})
}

// TestLockedStays: a table that cannot be taken out of the publication is named, and keeps
// no other one in it.
func TestLockedStays(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		db.exec("create table a (id int primary key, v int); create table b (id int primary key, v int); create table old (id int primary key, v int)")
		r := start(t, db.config(), &memory{}, "a", "b", "old")
		db.exec("alter table a drop constraint a_pkey; alter table b drop constraint b_pkey; alter table old rename to older; alter table older drop constraint old_pkey")
		other := db.connect()
		execOn(t, other, "begin; lock table a, older in share update exclusive mode")
		if err := r.look(context.Background()); err != nil {
			t.Fatal(err)
		}
		db.exec("update b set v = 2")
		if detail := r.Status().Detail; strings.Count(detail, "lock timeout") != 2 || !strings.Contains(detail, "take table public.a out") || !strings.Contains(detail, "take table public.older out") {
			t.Errorf("detail %q", detail)
		}
		execOn(t, other, "rollback")
		if err := r.look(context.Background()); err != nil {
			t.Fatal(err)
		}
		db.exec("update a set v = 2; update older set v = 2")
	})
}

// TestInsertOnly: of a table without identity the inserts come, if that is enough; with
// an identity it goes to the other publication, and back, and no insert is missed.
func TestInsertOnly(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		db.exec("create table log (id int, v int); create table good (id int primary key)")
		r := start(t, db.config(), &memory{}, "good")
		publish := func() error {
			t.Helper()
			_, err := r.Publish(context.Background(), names("good", "log"))
			return err
		}
		if got := refusals(t, publish()); len(got) != 1 || got[0] != "log" {
			t.Errorf("refused %v", got)
		}
		r.AllowInsertOnly(names("log"))
		if err := publish(); err != nil || db.members("shop") != "good" || db.members("shop_inserts") != "log" {
			t.Fatalf("published %q and %q, %v", db.members("shop"), db.members("shop_inserts"), err)
		}
		look := func() {
			t.Helper()
			if err := r.look(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		db.exec("insert into log values (1, 1); update log set v = 2; delete from log; truncate log; insert into log values (2, 2)")
		db.exec("alter table log add primary key (id); insert into log values (3, 3)")
		look()
		if db.members("shop") != "good log" || db.members("shop_inserts") != "" {
			t.Errorf("with a key: published %q and %q", db.members("shop"), db.members("shop_inserts"))
		}
		db.exec("update log set v = 4 where id = 3; insert into log values (4, 4); alter table log drop constraint log_pkey; insert into log values (5, 5)")
		look()
		if db.members("shop") != "good" || db.members("shop_inserts") != "log" {
			t.Errorf("without: published %q and %q", db.members("shop"), db.members("shop_inserts"))
		}
		db.exec("update log set v = 0; insert into log values (6, 6)")
		r.wantLines("insert log none / none -> id=1 v=1", "truncate log none / none -> none", "insert log none / none -> id=2 v=2", "insert log none / none -> id=3 v=3",
			"update log none / none -> id=3 v=4", "insert log none / none -> id=4 v=4", "insert log none / none -> id=5 v=5", "insert log none / none -> id=6 v=6")
		r.AllowInsertOnly(nil)
		if got := refusals(t, publish()); len(got) != 1 || db.members("shop_inserts") != "" {
			t.Errorf("not allowed any more: refused %v, published %q", got, db.members("shop_inserts"))
		}
		r.close()
		if err := newSource(t, db.config()).Drop(context.Background()); err != nil {
			t.Fatal(err)
		}
		if n := text1(t, db.Conn, "select count(*)::text from pg_publication where pubname = 'shop_inserts'"); n != "0" {
			t.Error("the second publication stays behind")
		}
	})
}

// TestExistingPublication: what is wrong with a publication of the operator's is said,
// with the statement that mends it.
func TestExistingPublication(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		db.exec(`create table good (id int primary key, v int, w int); create table keyless (id int);
			create table parts (id int primary key) partition by range (id); create table parts1 partition of parts for values from (0) to (100);
			create publication leaves for table parts, keyless with (publish_via_partition_root = false); create publication roots for table parts with (publish_via_partition_root = true);
			create publication ins for table keyless with (publish = 'insert')`)
		mends := func(publication string, tables ...string) map[string]string {
			t.Helper()
			cfg := db.config()
			cfg.Publication, cfg.PublicationMode = publication, ModeExisting
			s := newSource(t, cfg)
			defer s.Close()
			_, err := s.Publish(context.Background(), names(tables...))
			out := map[string]string{}
			for _, e := range flatten(err) {
				out[e.Table.Name] = e.Reason + " | " + e.Mend
			}
			return out
		}
		want := func(got map[string]string, table, text string) {
			t.Helper()
			if !strings.Contains(got[table], text) || text == "" && got[table] != "" {
				t.Errorf("%s: %q, want %q", table, got[table], text)
			}
		}
		got := mends("leaves", "parts", "parts1", "keyless", "good")
		want(got, "parts", `ALTER PUBLICATION "leaves" SET (publish_via_partition_root = true);`)
		want(got, "parts1", "")
		want(got, "keyless", `ALTER PUBLICATION "leaves" DROP TABLE "public"."keyless";`)
		want(got, "good", `ALTER PUBLICATION "leaves" ADD TABLE ONLY "public"."good";`)
		got = mends("roots", "parts", "parts1")
		want(got, "parts", "")
		want(got, "parts1", "name that table")
		db.exec("create publication leaf for table parts1 with (publish_via_partition_root = true)")
		got = mends("leaf", "parts", "parts1")
		want(got, "parts", `ALTER PUBLICATION "leaf" ADD TABLE ONLY "public"."parts";`)
		want(got, "parts1", "")
		want(mends("ins", "keyless"), "keyless", "")
		db.exec("create publication everything for all tables")
		if got := mends("everything", "keyless")["keyless"]; !strings.Contains(got, "REPLICA IDENTITY FULL;") || strings.Contains(got, "DROP TABLE") {
			t.Errorf("keyless: %q", got)
		}
		db.exec("drop publication everything")
		if db.major < 15 {
			return // there are no filters, and no schemas
		}
		db.exec("create publication inside for tables in schema public with (publish_via_partition_root = false)")
		got = mends("inside", "parts", "keyless")
		want(got, "parts", `ALTER PUBLICATION "inside" SET (publish_via_partition_root = true);`)
		want(got, "keyless", "REPLICA IDENTITY FULL;")
		if strings.Contains(got["keyless"], "DROP TABLE") {
			t.Errorf("keyless: %q", got["keyless"])
		}
		db.exec("drop publication inside")
		db.exec(`create publication filtered for table good where (v > 0); create publication listed for table good (id, v); create publication short for table good (v, w);
			create publication keyed for table good where (id > 0)`)
		for publication, text := range map[string]string{"filtered": "do not go with its replica identity", "short": "do not go with its replica identity", "listed": "", "keyed": ""} {
			want(mends(publication, "good"), "good", text)
			_, err := db.Exec(context.Background(), "begin; drop publication if exists leaves, filtered, listed, short, keyed, roots; rollback")
			if err != nil {
				t.Fatal(err)
			}
		}
		// The server agrees.
		for publication, fails := range map[string]bool{"filtered": true, "short": true, "listed": false, "keyed": false} {
			others := strings.ReplaceAll("filtered, listed, short, keyed, ", publication+", ", "") + "leaves"
			_, err := db.Exec(context.Background(), "begin; drop publication "+others+"; update good set v = 1")
			if (err != nil) != fails {
				t.Errorf("%s: update gives %v", publication, err)
			}
			db.exec("rollback")
		}
	})
}

// TestComputedKey: version 18 refuses updates by a key that the publication does not carry.
func TestComputedKey(t *testing.T) {
	t.Parallel()
	db := newDatabase(t, newServer(t, 18, nil).start().dsn)
	db.exec(`create table computed (v int, id int generated always as (v * 2) stored primary key);
		create publication without for table computed; create publication with_ for table computed with (publish_generated_columns = stored); create publication listed for table computed (id)`)
	for publication, refused := range map[string]bool{"without": true, "with_": false, "listed": false} {
		cfg := db.config()
		cfg.PublicationMode, cfg.Publication = ModeExisting, publication
		s := newSource(t, cfg)
		defer s.Close()
		_, err := s.Publish(context.Background(), names("computed"))
		if got := refusals(t, err); (len(got) > 0) != refused {
			t.Errorf("%s: %v", publication, err)
		}
		// The server agrees.
		others := strings.ReplaceAll("without, with_, listed", publication+", ", "")
		if publication == "listed" {
			others = "without, with_"
		}
		if _, err := db.Exec(context.Background(), "begin; drop publication "+others+"; update computed set v = 1"); (err != nil) != refused {
			t.Errorf("%s: update gives %v", publication, err)
		}
		db.exec("rollback")
	}
}

// flatten unpacks the table errors that Publish joined.
func flatten(err error) (out []*source.TableError) {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range many.Unwrap() {
			out = append(out, flatten(e)...)
		}
		return out
	}
	if e := (*source.TableError)(nil); errors.As(err, &e) {
		out = append(out, e)
	}
	return out
}

// TestNoDeadlock: whatever we ask of the catalog and do to the publication, a transaction
// of the application's that takes the strongest locks, in any order, is no victim of it.
func TestNoDeadlock(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		db.exec(`create table a (id int primary key); create table b (id int primary key); create table parts (id int primary key) partition by range (id);
			create table parts1 partition of parts for values from (0) to (10); create table parts2 partition of parts for values from (10) to (20)`)
		s := newSource(t, db.config())
		defer s.Close()
		ctx, stop := context.WithCancel(context.Background())
		defer stop()
		var wg sync.WaitGroup
		for _, order := range []string{
			"truncate parts2; truncate parts1; truncate b; truncate a", "alter table b add column x int; alter table b drop column x; alter table a add column x int; alter table a drop column x; truncate parts",
			"lock table parts, b, a in access exclusive mode",
		} {
			c := db.connect()
			wg.Go(func() {
				for ctx.Err() == nil {
					// One such transaction at a time, or they would be each other's victims.
					if _, err := c.Exec(context.Background(), "begin; select pg_advisory_xact_lock(1); "+order+"; commit"); err != nil {
						t.Errorf("%s: %v", order, err)
						return
					}
				}
			})
		}
		for i := range 40 {
			all := names("a", "b", "parts")
			if i%2 == 1 {
				all = names()
			}
			if _, err := s.Publish(ctx, all); err != nil {
				t.Error(err)
			}
			if _, err := s.Tables(ctx); err != nil {
				t.Error(err)
			}
			if _, err := s.Barrier(ctx, all, nil); err != nil {
				t.Error(err)
			}
			if err := s.look(ctx); err != nil {
				t.Error(err)
			}
		}
		stop()
		wg.Wait()
	})
}
