package mysql

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/sink/brokertest"
	"github.com/waltrigger/waltrigger/pkg/source"
)

// findings are what Check says, of which tests ask.
type findings []source.Finding

func (f findings) has(level, text string) bool {
	return slices.ContainsFunc(f, func(f source.Finding) bool { return f.Level == level && strings.Contains(f.Text+" "+f.Mend, text) })
}

func checked(t *testing.T, cfg Config) findings {
	t.Helper()
	s := newSource(t, cfg, &memory{})
	defer s.Close()
	got := findings(s.Check(context.Background(), source.State{}))
	for _, f := range got {
		if strings.Contains(f.Text+f.Mend, "secret") {
			t.Errorf("the password is shown: %+v", f)
		}
	}
	return got
}

// TestGrants: the user that Grants makes needs no more, and less is named.
func TestGrants(t *testing.T) {
	everywhere(t, func(t *testing.T, db *testDB) {
		db.exec("create table item (id int primary key)")
		got := checked(t, db.config())
		if slices.ContainsFunc(got, func(f source.Finding) bool { return f.Level == source.LevelError }) || !got.has(source.LevelOK, "may read the log") {
			t.Errorf("with everything granted: %+v", got)
		}
		client := "replication client"
		if db.mariadb {
			client = "binlog monitor" // its new name
		}
		from := "from " + db.name + "@'%'"
		for _, less := range []struct{ revoke, level, want string }{
			{"revoke replication slave on *.* " + from, source.LevelError, "REPLICATION SLAVE"},
			{"revoke " + client + " on *.* " + from, source.LevelError, "waltrigger check --grants"},
			{"revoke select on `" + db.name + "`.* " + from, source.LevelError, db.name},
		} {
			db.admin(less.revoke)
			if got := checked(t, db.config()); !got.has(less.level, less.want) {
				t.Errorf("after %s: %+v", less.revoke, got)
			}
		}
	})
}

// TestCheckLost: what was saved is no place from which this log can be read on.
func TestCheckLost(t *testing.T) {
	everywhere(t, func(t *testing.T, db *testDB) {
		s := newSource(t, db.config(), &memory{})
		defer s.Close()
		got := findings(s.Check(context.Background(), source.State{Identity: "elsewhere", Mark: change.Mark{End: "0/7"}}))
		if !got.has(source.LevelError, "the position is lost (resync_required): ") || !got.has(source.LevelOK, "what columns are called") {
			t.Errorf("found %+v", got)
		}
	})
}

// TestCheckWithoutAccess: what does not even connect.
func TestCheckWithoutAccess(t *testing.T) {
	everywhere(t, func(t *testing.T, db *testDB) {
		good := db.config()
		for _, c := range []struct{ from, to, want string }{
			{":secret@", ":secretive@", "user and password"},
			{"/" + db.name, "/not_there", "not_there"},
			{db.addr, "127.0.0.1:1", "127.0.0.1:1"},
		} {
			cfg := good
			cfg.URL = strings.Replace(cfg.URL, c.from, c.to, 1)
			if got := checked(t, cfg); len(got) != 1 || !got.has(source.LevelError, c.want) {
				t.Errorf("%s: %+v", c.want, got)
			}
		}
	})
}

// TestCheckCascades: tables are named where the log does not hold what foreign keys do,
// and only there.
func TestCheckCascades(t *testing.T) {
	everywhere(t, func(t *testing.T, db *testDB) {
		db.exec(`create table parent (id int primary key)
			create table child (id int primary key, parent_id int, constraint fk_child foreign key (parent_id) references parent (id) on delete cascade)
			create table other (id int primary key, parent_id int, foreign key (parent_id) references parent (id))`)
		r := start(t, db, "parent", "child", "other")
		db.exec(`insert into parent values (1)
			insert into child values (1, 1)
			delete from parent where id = 1
			insert into parent values (2)`)
		r.want(`insert parent -> (id=1)
			insert child -> (id=1 parent_id=1)`)
		logged := false
		for got := ""; got != "insert parent -> (id=2)"; {
			got = line(r.row())
			logged = logged || strings.HasPrefix(got, "delete child")
		}
		got := checked(t, db.config())
		if named := got.has(source.LevelWarn, db.name+".child"); named == logged || got.has(source.LevelWarn, db.name+".other") {
			t.Errorf("the log holds the cascade: %v; %+v", logged, got)
		}
		if !db.mariadb && !logged {
			t.Error("MySQL does not log the cascade")
		}
	})
}

// TestCheckSettings: each thing that a server may be set to is named.
func TestCheckSettings(t *testing.T) {
	ownServers(t, func(t *testing.T, _ *brokertest.Own, db *testDB) {
		for _, c := range []struct {
			set, level, want string
			mysql, mariadb   bool
		}{
			{"binlog_row_image = 'MINIMAL'", source.LevelWarn, "SET GLOBAL binlog_row_image = 'FULL'", true, true},
			{"binlog_row_metadata = 'FULL'", source.LevelOK, "the log says what columns are called", true, true},
			{"binlog_row_value_options = 'PARTIAL_JSON'", source.LevelWarn, "differences of JSON documents", true, false},
			{"binlog_expire_logs_seconds = 3600", source.LevelWarn, "the log is kept for 1h0m0s", true, true},
			{"binlog_format = 'MIXED'", source.LevelError, "SET GLOBAL binlog_format = 'ROW'", true, true},
			{"binlog_format = 'STATEMENT'", source.LevelError, "SET GLOBAL binlog_format = 'ROW'", true, true},
		} {
			if db.mariadb && !c.mariadb || !db.mariadb && !c.mysql {
				continue
			}
			if got := checked(t, db.config()); got.has(c.level, c.want) {
				t.Errorf("before %s: %+v", c.set, got)
			}
			name, _, _ := strings.Cut(c.set, " ")
			var before string
			if err := db.root.QueryRowContext(context.Background(), "select @@global."+name).Scan(&before); err != nil {
				t.Fatal(err)
			}
			db.admin("set global " + c.set)
			if got := checked(t, db.config()); !got.has(c.level, c.want) {
				t.Errorf("%s: %+v", c.set, got)
			}
			if strings.Trim(before, "0123456789") != "" || before == "" {
				before = "'" + before + "'"
			}
			db.admin(fmt.Sprintf("set global %s = %s", name, before))
		}
		db.admin("set global sync_binlog = 1")
		if got := checked(t, db.config()); !got.has(source.LevelWarn, "sync_binlog is 1 and innodb_flush_log_at_trx_commit 2") {
			t.Errorf("not every commit is on disk: %+v", got)
		}
		db.admin("set global innodb_flush_log_at_trx_commit = 1")
		if got := checked(t, db.config()); got.has(source.LevelWarn, "sync_binlog") {
			t.Errorf("every commit is on disk: %+v", got)
		}
		var mode string
		_ = db.root.QueryRowContext(context.Background(), "select @@global.gtid_mode").Scan(&mode)
		if got := checked(t, db.config()); got.has(source.LevelWarn, "cannot go on with another server") != (mode == "OFF") {
			t.Errorf("gtid_mode %q: %+v", mode, got)
		}
	})
}

// TestCheckLogging: a server without a log, and one with the log of some databases.
func TestCheckLogging(t *testing.T) {
	for _, k := range ownKinds {
		if strings.Contains(k.name, " ") {
			continue
		}
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			brokertest.Server(t, "WALTRIGGER_TEST_"+k.prefix)
			o := startOwn(t, k.script, k.prefix, k.version, "--skip-log-bin", 1)
			if got := checked(t, newTestDB(t, o.URL).config()); !got.has(source.LevelError, "log_bin=ON") {
				t.Errorf("without a log: %+v", got)
			}
			o = startOwn(t, k.script, k.prefix, k.version, "--binlog-do-db=wanted --binlog-ignore-db=unwanted", 1)
			if got := checked(t, newTestDB(t, o.URL).config()); !got.has(source.LevelWarn, "some databases only: wanted") || !got.has(source.LevelWarn, "some databases: unwanted") {
				t.Errorf("with the log of some databases: %+v", got)
			}
		})
	}
}
