package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
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
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

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
		build := exec.Command("go", "build", "-o", binary, ".")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if os.Getenv("WALTRIGGER_TEST_RACE") == "1" { // with the race detector, which needs a C compiler
			build = exec.Command("go", "build", "-race", "-o", binary, ".")
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
CREATE TABLE ledger (id bigserial PRIMARY KEY, k int NOT NULL, seq int NOT NULL);`

func newDatabase(t *testing.T) *database {
	t.Helper()
	admin := service(t, "WALTRIGGER_TEST_POSTGRES")
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
		req := request{q.Method, q.URL.RequestURI(), q.Header, string(body)}
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

// process is a running daemon.
type process struct {
	t      *testing.T
	dir    string
	api    string
	ops    string
	config string
	slot   string
	token  string
	env    []string // besides the test's own
	cmd    *exec.Cmd
	log    *logText
	exited chan error
}

// logText is what the daemon has written so far.
type logText struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logText) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// startDaemon writes a configuration and starts the daemon with it. extra is YAML that
// is added at the top level.
func startDaemon(t *testing.T, databaseURL, extra string) *process {
	t.Helper()
	p := newDaemon(t, databaseURL, extra)
	p.start()
	return p
}

// newDaemon writes the configuration and starts nothing yet.
func newDaemon(t *testing.T, databaseURL, extra string) *process {
	t.Helper()
	p := &process{t: t, dir: t.TempDir(), log: &logText{}}
	p.api, p.ops = freeAddress(t), freeAddress(t)
	p.config, p.slot = filepath.Join(p.dir, "waltrigger.yaml"), fmt.Sprintf("slot_%d", time.Now().UnixNano())
	text := fmt.Sprintf(`sources: [{name: shop, url: %q, slot: %s}]
store: {url: "sqlite:%s"}
admin: {listen: %q}
ops: {listen: %q}
%s`, databaseURL, p.slot, filepath.Join(p.dir, "store.db"), p.api, p.ops, extra)
	if err := os.WriteFile(p.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.cmd != nil {
			p.kill()
		}
		if strings.Contains(p.log.String(), "DATA RACE") {
			t.Error("the daemon has a data race")
		}
		if t.Failed() {
			t.Logf("daemon's log:\n%s", p.log)
		}
	})
	return p
}

// cli runs another command of the program with the daemon's configuration.
func (p *process) cli(args ...string) (stdout, stderr string, code int) {
	p.t.Helper()
	return runBinary(p.t, append(args, "-c", p.config)...)
}

// environment is the test's, without what would be taken for settings.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "WALTRIGGER_") })
}

// runBinary runs the program to its end, which has to come soon.
func runBinary(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Env = &out, &errs, environment()
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("%v: %v", args, errors.Join(err, ctx.Err()))
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

const loopback = "egress: {allow_cidrs: [127.0.0.0/8]}\n"

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start starts the daemon and waits until it is ready.
func (p *process) start() {
	p.t.Helper()
	p.launch()
	deadline := time.Now().Add(20 * time.Second)
	for {
		select {
		case err := <-p.exited:
			p.t.Fatalf("daemon ended: %v\n%s", err, p.log)
		default:
		}
		resp, err := http.Get("http://" + p.ops + "/readyz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("daemon is not ready: %v\n%s", err, p.log)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (p *process) launch() {
	p.t.Helper()
	p.cmd = exec.Command(binary, "run", "-c", p.config)
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.Env = p.log, p.log, append(environment(), p.env...)
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	cmd, exited := p.cmd, make(chan error, 1)
	p.exited = exited
	go func() { exited <- cmd.Wait() }()
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
	p.cmd = nil
}

// stop ends the daemon as a supervisor does.
func (p *process) stop() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	select {
	case err := <-p.exited:
		if err != nil {
			p.t.Fatalf("daemon ended with %v\n%s", err, p.log)
		}
	case <-time.After(40 * time.Second):
		p.t.Fatalf("daemon did not end\n%s", p.log)
	}
	p.cmd = nil
}

// call sends a request to the API and decodes the answer.
func (p *process) call(method, path, body string) (int, map[string]any, http.Header) {
	p.t.Helper()
	req, err := http.NewRequest(method, "http://"+p.api+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if p.token != "" {
		req.Header.Set("Authorization", "Bearer "+p.token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	var out any
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil && !errors.Is(err, io.EOF) {
		p.t.Fatalf("%s %s: %d: %v", method, path, resp.StatusCode, err)
	}
	object, ok := out.(map[string]any)
	if !ok && out != nil {
		object = map[string]any{"list": out}
	}
	return resp.StatusCode, object, resp.Header
}

// source is the state of the only source.
func (p *process) source() map[string]any {
	p.t.Helper()
	_, out, _ := p.call(http.MethodGet, "/api/sources", "")
	return out["list"].([]any)[0].(map[string]any)
}

func (p *process) metrics() string { return p.opsText("/metrics") }
func (p *process) ready() string   { return p.opsText("/readyz?verbose") }

func (p *process) opsText(path string) string {
	p.t.Helper()
	resp, err := http.Get("http://" + p.ops + path)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(text)
}

// state is the state of a trigger.
func (p *process) state(id any) map[string]any {
	p.t.Helper()
	_, out, _ := p.call(http.MethodGet, fmt.Sprintf("/api/action-triggers/%v", id), "")
	s, _ := out["status"].(map[string]any)
	return s
}

// create creates a trigger, which has to be active at once.
func (p *process) create(body string) map[string]any {
	p.t.Helper()
	status, out, _ := p.call(http.MethodPost, "/api/action-triggers", body)
	if status != http.StatusCreated {
		p.t.Fatalf("create: %d %v", status, out)
	}
	return out
}
