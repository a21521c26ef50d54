package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// testVersion is what the program under test takes itself for.
const testVersion = "1.2.3-test"

// binary is the program under test, built once.
var binary string

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil { // these tests wait more than they compute
		panic(err)
	}
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "waltrigger")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "waltrigger")
		build := exec.Command("go", "build", "-ldflags", "-X main.version="+testVersion, "-o", binary, ".")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if os.Getenv("WALTRIGGER_TEST_RACE") == "1" { // with the race detector, which needs a C compiler
			build = exec.Command("go", "build", "-ldflags", "-X main.version="+testVersion, "-race", "-o", binary, ".")
			build.Env = append(os.Environ(), "CGO_ENABLED=1")
		}
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// service gives the address of a service, or skips the test where there is none.
func service(t *testing.T, variable string) string {
	t.Helper()
	v := os.Getenv(variable)
	if v == "" {
		if os.Getenv("WALTRIGGER_TEST_REQUIRED") == "1" {
			t.Fatalf("%s is not set", variable)
		}
		t.Skipf("%s is not set", variable)
	}
	return v
}

// database is a database of the test's own, with the tables of the application.
type database struct {
	t   *testing.T
	url string
	*pgx.Conn
}

const tables = `
CREATE TABLE myapp_customer (id bigserial PRIMARY KEY, name varchar(255) NOT NULL, email varchar(254) NOT NULL);
CREATE TABLE myapp_product (id bigserial PRIMARY KEY, name varchar(255) NOT NULL, description text NOT NULL);
CREATE TABLE myapp_sale (id bigserial PRIMARY KEY, customer_id bigint NOT NULL REFERENCES myapp_customer DEFERRABLE INITIALLY DEFERRED,
	product_id bigint NOT NULL REFERENCES myapp_product DEFERRABLE INITIALLY DEFERRED, quantity integer NOT NULL);
CREATE TABLE ledger (id bigserial PRIMARY KEY, k int NOT NULL, seq int NOT NULL);
ALTER TABLE ledger REPLICA IDENTITY FULL;`

func newDatabase(t *testing.T) *database {
	t.Helper()
	return newDatabaseOn(t, service(t, "WALTRIGGER_TEST_POSTGRES"))
}

// newDatabaseOn gives one on the server whose administrator has that url.
func newDatabaseOn(t *testing.T, admin string) *database {
	t.Helper()
	ctx := context.Background()
	c, err := pgx.Connect(ctx, admin)
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("e2e_%d_%d", os.Getpid(), time.Now().UnixNano())
	if _, err := c.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	cfg, err := pgx.ParseConfig(admin)
	if err != nil {
		t.Fatal(err)
	}
	d := &database{t: t, url: fmt.Sprintf("postgres://%s:%s@%s:%d/%s?sslmode=disable", cfg.User, cfg.Password, cfg.Host, cfg.Port, name)}
	t.Cleanup(func() {
		if d.Conn != nil {
			_ = d.Close(ctx)
		}
		if c.Ping(ctx) != nil { // the server was restarted
			if c, err = pgx.Connect(ctx, admin); err != nil {
				t.Fatal(err)
			}
		}
		for range 50 { // a walsender may need a moment to see that its client is gone
			_, err = c.Exec(ctx, "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = $1 AND active", name)
			if err == nil {
				_, err = c.Exec(ctx, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = $1", name)
			}
			if err == nil {
				_, err = c.Exec(ctx, "DROP DATABASE "+name+" WITH (FORCE)")
			}
			if err == nil {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		if err != nil {
			t.Error(err)
		}
		_ = c.Close(ctx)
	})
	d.Conn = d.connect()
	d.exec(tables)
	return d
}

func (d *database) connect() *pgx.Conn {
	d.t.Helper()
	c, err := pgx.Connect(context.Background(), d.url)
	if err != nil {
		d.t.Fatal(err)
	}
	return c
}

// text asks for one value.
func (d *database) text(sql string, args ...any) string {
	d.t.Helper()
	var out string
	if err := d.QueryRow(context.Background(), sql, args...).Scan(&out); err != nil {
		d.t.Fatalf("%s: %v", sql, err)
	}
	return out
}

func (d *database) exec(sql string, args ...any) {
	d.t.Helper()
	if _, err := d.Exec(context.Background(), sql, args...); err != nil {
		d.t.Fatalf("%s: %v", sql, err)
	}
}

// request is what the receiver was sent.
type request struct {
	Method, Path string
	Header       http.Header
	Body         string
	at           time.Time
}

// receiver is an endpoint for webhooks whose answers a test decides.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	got    []request
	answer func(w http.ResponseWriter, r request) // nil: 200
	more   chan struct{}
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	return newReceiverAt(t, "127.0.0.1:0")
}

func newReceiverAt(t *testing.T, address string) *receiver {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{more: make(chan struct{}, 1)}
	r.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		if err != nil {
			return // the daemon was killed
		}
		req := request{q.Method, q.URL.RequestURI(), q.Header, string(body), time.Now()}
		r.mu.Lock()
		r.got = append(r.got, req)
		answer := r.answer
		r.mu.Unlock()
		select {
		case r.more <- struct{}{}:
		default:
		}
		if answer != nil {
			answer(w, req)
		}
	}))
	_ = r.Listener.Close()
	r.Listener = l
	r.Start()
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) requests() []request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

func (r *receiver) arrivals() []arrival { return arrived(r.requests()) }

func arrived(got []request) []arrival {
	out := make([]arrival, len(got))
	for i, q := range got {
		out[i] = arrival{q.Body, q.Header.Get("Webhook-Id"), q.at}
	}
	return out
}

func (r *receiver) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = nil
}

func (r *receiver) setAnswer(f func(w http.ResponseWriter, q request)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = f
}

// wait waits until n requests have arrived, and a little longer, to see that there are
// no more.
func (r *receiver) wait(t *testing.T, n int) []request {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for len(r.requests()) < n {
		select {
		case <-r.more:
		case <-deadline:
			t.Fatalf("%d requests arrived, want %d: %v", len(r.requests()), n, r.requests())
		}
	}
	settle := time.After(300 * time.Millisecond)
	for {
		select {
		case <-r.more:
		case <-settle:
			if got := r.requests(); len(got) != n {
				t.Fatalf("%d requests arrived, want %d: %v", len(got), n, got)
			}
			return r.requests()
		}
	}
}
