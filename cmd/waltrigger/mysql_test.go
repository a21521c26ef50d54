package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	neturl "net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	driversql "github.com/go-sql-driver/mysql"
)

// mysqlDatabase is a database of the test's own on a MySQL or MariaDB, with the tables of
// the application, and a user that may do what check --grants says.
type mysqlDatabase struct {
	t         *testing.T
	name, url string
	host      string
	*sql.DB
}

var mysqlTables = []string{
	"CREATE TABLE myapp_customer (id bigint AUTO_INCREMENT PRIMARY KEY, name varchar(255) NOT NULL, email varchar(254) NOT NULL)",
	"CREATE TABLE myapp_product (id bigint AUTO_INCREMENT PRIMARY KEY, name varchar(255) NOT NULL, description longtext NOT NULL)",
	`CREATE TABLE myapp_sale (id bigint AUTO_INCREMENT PRIMARY KEY, customer_id bigint NOT NULL, product_id bigint NOT NULL, quantity int NOT NULL,
		FOREIGN KEY (customer_id) REFERENCES myapp_customer (id), FOREIGN KEY (product_id) REFERENCES myapp_product (id))`,
	"CREATE TABLE ledger (id bigint AUTO_INCREMENT PRIMARY KEY, k int NOT NULL, seq int NOT NULL)",
}

// eachMySQL runs f with a database on each of the servers.
func eachMySQL(t *testing.T, f func(t *testing.T, db *mysqlDatabase)) {
	t.Helper()
	for _, variable := range []string{"WALTRIGGER_TEST_MYSQL", "WALTRIGGER_TEST_MARIADB"} {
		t.Run(strings.ToLower(strings.TrimPrefix(variable, "WALTRIGGER_TEST_")), func(t *testing.T) {
			f(t, newMySQL(t, service(t, variable)))
		})
	}
}

func newMySQL(t *testing.T, admin string) *mysqlDatabase {
	t.Helper()
	u, err := neturl.Parse(admin)
	if err != nil {
		t.Fatal(err)
	}
	d := &mysqlDatabase{t: t, host: u.Host, name: fmt.Sprintf("e2e_%d_%d", os.Getpid(), time.Now().UnixNano()%1e12)}
	d.url = fmt.Sprintf("%s://%s:secret@%s/%s", u.Scheme, d.name, u.Host, d.name)
	d.DB = d.open("")
	for _, q := range []string{
		"CREATE DATABASE " + d.name, "CREATE USER " + d.name + "@'%' IDENTIFIED BY 'secret'",
		"GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO " + d.name + "@'%'", "GRANT SELECT ON " + d.name + ".* TO " + d.name + "@'%'",
	} {
		d.exec(q)
	}
	t.Cleanup(func() {
		d.exec("DROP DATABASE " + d.name)
		d.exec("DROP USER " + d.name + "@'%'")
		_ = d.Close()
	})
	db := d.open(d.name)
	defer db.Close()
	for _, q := range mysqlTables {
		if _, err := db.Exec(q); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
	return d
}

func (d *mysqlDatabase) open(name string) *sql.DB {
	d.t.Helper()
	cfg := driversql.NewConfig()
	cfg.User, cfg.Passwd, cfg.Net, cfg.Addr, cfg.DBName, cfg.Logger = "root", "root", "tcp", d.host, name, &driversql.NopLogger{}
	c, err := driversql.NewConnector(cfg)
	if err != nil {
		d.t.Fatal(err)
	}
	return sql.OpenDB(c)
}

func (d *mysqlDatabase) exec(q string, args ...any) {
	d.t.Helper()
	if _, err := d.Exec(strings.ReplaceAll(q, "@@", d.name+"."), args...); err != nil {
		d.t.Fatalf("%s: %v", q, err)
	}
}

// mysqlSession is one of a ledger; one in five of its transactions is an XA transaction.
type mysqlSession struct {
	*sql.Conn
	db     *sql.DB
	xid    string
	undone bool
}

var xids atomic.Int64

func (d *mysqlDatabase) session() (ledgerSession, error) {
	db := d.open(d.name)
	c, err := db.Conn(context.Background())
	return &mysqlSession{Conn: c, db: db}, err
}

func (s *mysqlSession) run(queries ...string) error {
	for _, q := range queries {
		if _, err := s.ExecContext(context.Background(), q); err != nil {
			my := (*driversql.MySQLError)(nil)
			s.undone = s.undone || errors.As(err, &my) && (my.Number == 1205 || my.Number == 1213)
			return fmt.Errorf("%s: %w", q, err)
		}
	}
	return nil
}

func (s *mysqlSession) begin() error {
	if s.xid = ""; rand.IntN(5) == 0 {
		s.xid = fmt.Sprintf("'%d_%d'", os.Getpid(), xids.Add(1))
		return s.run("XA START " + s.xid)
	}
	return s.run("BEGIN")
}

func (s *mysqlSession) read(query string) (out [][3]int64, err error) {
	rows, err := s.QueryContext(context.Background(), query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var x [3]int64
		if err := rows.Scan(&x[0], &x[1], &x[2]); err != nil {
			return nil, err
		}
		out = append(out, x)
	}
	return out, rows.Err()
}

// broken is a session whose transaction the server has undone: by a deadlock, or a lock
// that it waited for in vain.
func (s *mysqlSession) broken() bool { return s.undone }

func (s *mysqlSession) end(commit bool) error {
	how := map[bool]string{true: "COMMIT", false: "ROLLBACK"}[commit]
	if s.xid != "" {
		return s.run("XA END "+s.xid, "XA PREPARE "+s.xid, "XA "+how+" "+s.xid)
	}
	return s.run(how)
}

func (s *mysqlSession) close() {
	_ = s.Conn.Close()
	_ = s.db.Close()
}

// TestMySQLExample fires the page's third example, with names from the related tables.
func TestMySQLExample(t *testing.T) {
	eachMySQL(t, func(t *testing.T, db *mysqlDatabase) {
		hook := newReceiver(t)
		p := startDaemon(t, db.url, loopback+dynamicValues)
		p.create(aim(example3, hook.URL))
		db.exec("INSERT INTO @@myapp_customer VALUES (1, 'O\\'Brien', 'o@example.com')")
		db.exec("INSERT INTO @@myapp_product VALUES (1, 'Tea', '')")
		db.exec("INSERT INTO @@myapp_sale VALUES (7, 1, 1, 3)")
		got := hook.wait(t, 1)[0]
		if want := `{"action":"new_sale","customer_name":"O'Brien","product_name":"Tea"}`; got.Body != want || got.Header.Get("Authorization") != "Bearer s3cret" {
			t.Errorf("got %s, want %s", got.Body, want)
		}
		if id := got.Header.Get("Webhook-Id"); !strings.HasPrefix(id, "shop_") || strings.ContainsAny(id, ":.@/,") || len(id) > 160 {
			t.Errorf("id %q", id)
		}
		if st := p.source(); st["state"] != "streaming" {
			t.Errorf("source %v", st)
		}
		status, tables, _ := p.call(http.MethodGet, "/api/content-types", "")
		if status != http.StatusOK || !strings.Contains(fmt.Sprint(tables), "model_name:sale") || !strings.Contains(fmt.Sprint(tables), "identity:full") {
			t.Errorf("content types: %d %v", status, tables)
		}
		// A schema and a table; a table that is not there; a column that is not.
		for body, want := range map[string]int{
			fmt.Sprintf(`{"app_label": %q, "model_name": "ledger"}`, db.name): http.StatusCreated,
			`{"app_label": "myapp", "model_name": "Nothing"}`:                 http.StatusUnprocessableEntity,
		} {
			status, out, _ := p.call(http.MethodPost, "/api/action-triggers", fmt.Sprintf(`{"config_signals":[{"signal":"post_save"}],"content_types":[%s],"webhooks":[{"url":%q}]}`, body, hook.URL))
			if status != want {
				t.Errorf("%s: %d %v", body, status, out)
			}
		}
		hook.reset()
		db.exec("INSERT INTO @@ledger (k, seq) VALUES (1, 2)")
		if got := hook.wait(t, 1)[0].Body; !strings.Contains(got, `"operation":"insert"`) || !strings.Contains(got, `"instance":{"id":1,"k":1,"seq":2}`) {
			t.Errorf("got %s", got)
		}
		hook.reset()
		p.create(fmt.Sprintf(`{"config_signals":[{"signal":"post_save"}],"content_types":[{"app_label":"myapp","model_name":"product"}],"webhooks":[{"url":%q}],"payload_format":"debezium"}`, hook.URL))
		db.exec("INSERT INTO @@myapp_product VALUES (2, 'Coffee', '')")
		if got := hook.wait(t, 1)[0].Body; !strings.Contains(got, fmt.Sprintf(`"connector":%q,"name":"shop","ts_ms":`, strings.SplitN(db.url, ":", 2)[0])) || !strings.Contains(got, fmt.Sprintf(`"db":%q,"table":"myapp_product"`, db.name)) || !strings.Contains(got, `"gtid":"`) {
			t.Errorf("got %s", got)
		}
		hook.reset()
		// The table changes while the daemon is down.
		p.stop()
		db.exec("UPDATE @@myapp_sale SET quantity = 4")
		db.exec("ALTER TABLE @@myapp_sale ADD note varchar(10) DEFAULT 'x' FIRST")
		db.exec("UPDATE @@myapp_sale SET quantity = 5")
		hook.reset()
		p.start()
		hook.wait(t, 2)
	})
}

// TestMySQLUnseen: a session that has its statements logged is noticed.
func TestMySQLUnseen(t *testing.T) {
	eachMySQL(t, func(t *testing.T, db *mysqlDatabase) {
		hook := newReceiver(t)
		p := startDaemon(t, db.url, loopback)
		p.create(strings.Replace(fmt.Sprintf(ledgerTrigger, hook.URL), `"public"`, fmt.Sprintf("%q", db.name), 1))
		s, err := db.session()
		if err != nil {
			t.Fatal(err)
		}
		defer s.close()
		if err := s.run("SET SESSION binlog_format = 'STATEMENT'", "INSERT INTO ledger (k, seq) VALUES (1, 1)", "SET SESSION binlog_format = 'ROW'", "INSERT INTO ledger (k, seq) VALUES (1, 2)"); err != nil {
			t.Fatal(err)
		}
		if got := hook.wait(t, 1)[0].Body; got != "1 2 insert" {
			t.Errorf("got %s", got)
		}
		if st := p.source(); fmt.Sprint(st["unseen_statements"]) != "1" || !strings.Contains(fmt.Sprint(st["detail"]), "changed rows which the log does not hold: 1; ") {
			t.Errorf("source %v", st)
		}
		if !strings.Contains(p.metrics(), `waltrigger_source_unseen_statements_total{source="shop"} 1`) {
			t.Error("the metrics do not count it")
		}
	})
}

// TestMySQLKill kills the daemon at random moments while tables are altered and XA
// transactions are under way.
func TestMySQLKill(t *testing.T) {
	eachMySQL(t, func(t *testing.T, db *mysqlDatabase) {
		hook := newReceiver(t)
		p := startDaemon(t, db.url, loopback)
		p.create(strings.Replace(fmt.Sprintf(ledgerTrigger, hook.URL), `"public"`, fmt.Sprintf("%q", db.name), 1))
		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(400 * time.Millisecond):
				}
				q := fmt.Sprintf("ALTER TABLE %s.ledger ADD extra%d int DEFAULT %d AFTER id", db.name, i, i)
				if i%2 == 1 {
					how := "ADD"
					if i > 60 { // a row has room for some hundred, MariaDB's for those that are dropped as well
						how = fmt.Sprintf("CHANGE last%d", i-60)
					}
					q = fmt.Sprintf("ALTER TABLE %s.ledger DROP extra%d, %s last%d varchar(9) DEFAULT 'x'", db.name, i-1, how, i)
				}
				if _, err := db.Exec(q); err != nil {
					t.Error(err)
				}
			}
		}()
		killRepeatedly(t, p, db, hook)
		close(stop)
		<-done
	})
}

// TestMySQLTakeOver stops, kills and ends the active one of two instances, whose store is
// on the same server, while tables are altered: the other one goes on with what the first
// one knew of the tables.
func TestMySQLTakeOver(t *testing.T) {
	eachMySQL(t, func(t *testing.T, db *mysqlDatabase) {
		hook := newReceiver(t)
		db.exec("CREATE DATABASE " + db.name + "_store")
		defer db.exec("DROP DATABASE " + db.name + "_store")
		x := &pair{t: t}
		for _, who := range []string{"one", "two"} {
			p := newDaemon(t, db.url, named+"delivery: {max_in_flight: 4}\n")
			p.rewrite("sqlite:"+filepath.Join(p.dir, "store.db"), "mysql://root:root@"+db.host+"/"+db.name+"_store")
			p.env = []string{"WHO=" + who}
			x.ps = append(x.ps, p)
		}
		_, standby := x.start()
		standby.create(strings.Replace(fmt.Sprintf(namedLedger, hook.URL), `"public"`, fmt.Sprintf("%q", db.name), 1))
		l := newLedger(t)
		l.write(db, 8, 1500)
		for round, end := range []func(*process){
			func(p *process) { p.signal(syscall.SIGSTOP) }, (*process).kill, (*process).stop,
		} {
			active, standby := x.roles()
			db.exec(fmt.Sprintf("ALTER TABLE @@ledger ADD extra%d int DEFAULT %d FIRST", round, round))
			sent := by(hook.requests(), standby)
			seen := len(hook.requests())
			waitFor(t, "sent since", func() bool { return len(hook.requests()) > seen+10 })
			end(active)
			db.exec(fmt.Sprintf("ALTER TABLE @@ledger ADD more%d varchar(9) AFTER id", round))
			waitFor(t, "taken over", func() bool { return by(hook.requests(), standby) > sent })
			if round == 0 {
				active.signal(syscall.SIGCONT)
			} else {
				active.start()
			}
		}
		l.stop()
		v := l.settled(t, hook)
		t.Logf("%+v", v)
		if v.wrong() != 0 || v.committed < 500 {
			t.Errorf("%+v, want nothing lost, reordered or invented, and ids that stay", v)
		}
		for _, p := range x.ps {
			p.stop()
		}
	})
}

// TestMySQLCommands runs the commands on sources.
func TestMySQLCommands(t *testing.T) {
	eachMySQL(t, func(t *testing.T, db *mysqlDatabase) {
		hook := newReceiver(t)
		p := startDaemon(t, db.url, loopback)
		p.create(strings.Replace(fmt.Sprintf(ledgerTrigger, hook.URL), `"public"`, fmt.Sprintf("%q", db.name), 1))
		db.exec("INSERT INTO @@ledger (k, seq) VALUES (1, 1)")
		hook.wait(t, 1)
		p.stop()
		out, _, code := p.cli("check")
		if code != 0 || !strings.Contains(out, "the user may read the log") {
			t.Errorf("check: %d %s", code, out)
		}
		out, _, code = p.cli("check", "--grants")
		if code != 0 || !strings.Contains(out, "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO '"+db.name+"'@'%'") {
			t.Errorf("grants: %d %s", code, out)
		}
		out, _, code = p.cli("source", "list")
		if code != 0 || !strings.Contains(out, "binary log") || !strings.Contains(out, "binlog.0") {
			t.Errorf("list: %d %s", code, out)
		}
		_, errs, code := p.cli("source", "adopt", "shop")
		if code == 0 || !strings.Contains(errs, "nothing to adopt") {
			t.Errorf("adopt: %d %s", code, errs)
		}
		db.exec("INSERT INTO @@ledger (k, seq) VALUES (1, 2)")
		out, errs, code = p.cli("source", "resync", "shop", "--accept-gap")
		if code != 0 || !strings.Contains(out, "The gap") {
			t.Errorf("resync: %d %s %s", code, out, errs)
		}
		hook.reset()
		p.start()
		db.exec("INSERT INTO @@ledger (k, seq) VALUES (1, 3)")
		if got := hook.wait(t, 1)[0].Body; got != "1 3 insert" {
			t.Errorf("got %s after the gap", got)
		}
		p.stop()
		if out, errs, code = p.cli("source", "drop", "shop"); code != 0 {
			t.Errorf("drop: %d %s %s", code, out, errs)
		}
		hook.reset()
		p.start()
		eventuallyActive(t, p)
		db.exec("INSERT INTO @@ledger (k, seq) VALUES (1, 4)")
		if got := hook.wait(t, 1)[0].Body; got != "1 4 insert" {
			t.Errorf("got %s after a new beginning", got)
		}
	})
}

// eventuallyActive waits until the only trigger fires again.
func eventuallyActive(t *testing.T, p *process) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		_, out, _ := p.call(http.MethodGet, "/api/action-triggers", "")
		if strings.Contains(fmt.Sprint(out), "state:active") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the trigger is not active: %v", out)
		}
	}
}

// TestMySQLRelations follows foreign keys from each sale, has rows at their ends changed in
// between, and goes through the rows that refer to a customer.
func TestMySQLRelations(t *testing.T) {
	eachMySQL(t, func(t *testing.T, db *mysqlDatabase) {
		hook := newReceiver(t)
		db.exec("CREATE TABLE @@myapp_region (code varchar(20) PRIMARY KEY, name varchar(20) NOT NULL) COLLATE utf8mb4_general_ci")
		db.exec("ALTER TABLE @@myapp_customer ADD region_id varchar(20) COLLATE utf8mb4_general_ci, ADD FOREIGN KEY (region_id) REFERENCES @@myapp_region (code)")
		db.exec("INSERT INTO @@myapp_region VALUES ('North', 'N0'), ('south', 'S0')")
		db.exec("INSERT INTO @@myapp_product VALUES (1, 'Tea', ''), (2, 'Coffee', '')")
		db.exec("INSERT INTO @@myapp_customer VALUES (1, 'Ann', '', 'NORTH'), (2, 'Bob', '', 'south'), (3, 'Cy', '', NULL)")
		p := startDaemon(t, db.url, loopback)
		p.create(simple("sale", "{{ instance.id }}|{{ instance.customer.region.name }}|{{ instance.customer.name }}|{{ instance.product.name }}", hook.URL))
		p.create(simple("customer", "{{ instance.id }}: {{ instance.sale_set.count }}{% for s in instance.sale_set.all %} {{ s.id }}={{ s.product.name }}{% endfor %} {{ instance.sale_set.first.id }}", hook.URL))
		want := func(bodies ...string) {
			t.Helper()
			var got []string
			for _, r := range hook.wait(t, len(bodies)) {
				got = append(got, r.Body)
			}
			slices.Sort(got)
			if !slices.Equal(got, bodies) {
				t.Errorf("got %q, want %q", got, bodies)
			}
			hook.reset()
		}
		db.exec("INSERT INTO @@myapp_sale VALUES (1, 1, 1, 1), (2, 2, 2, 1), (3, 3, 1, 1)")
		want("1|N0|Ann|Tea", "2|S0|Bob|Coffee", "3||Cy|Tea")
		db.exec("UPDATE @@myapp_region SET name = 'N1' WHERE code = 'north'")
		db.exec("UPDATE @@myapp_product SET name = 'Green tea' WHERE id = 1")
		db.exec("INSERT INTO @@myapp_sale VALUES (4, 1, 1, 1)")
		want("4|N1|Ann|Green tea")
		db.exec("UPDATE @@myapp_customer SET email = 'a'")
		want("1: 2 1=Green tea 4=Green tea 1", "2: 1 2=Coffee 2", "3: 1 3=Green tea 3")
		db.exec("DELETE FROM @@myapp_sale WHERE id IN (1, 2)")
		db.exec("UPDATE @@myapp_customer SET email = 'b'")
		want("1: 1 4=Green tea 4", "2: 0 ", "3: 1 3=Green tea 3")

		for i := range 300 { // each sale shows the product as it was, or later
			db.exec("UPDATE @@myapp_product SET name = ? WHERE id = 2", fmt.Sprintf("Coffee %03d", i))
			db.exec("INSERT INTO @@myapp_sale VALUES (?, 2, 2, 1)", 1000+i)
		}
		for _, r := range hook.wait(t, 300) {
			var id, shown int
			if _, err := fmt.Sscanf(r.Body, "%d|S0|Bob|Coffee %d", &id, &shown); err != nil || shown < id-1000 {
				t.Errorf("got %s, %v", r.Body, err)
			}
		}
		if p.counter("waltrigger_lookup_hits_total") == 0 {
			t.Error("no related row was at hand")
		}
	})
}
