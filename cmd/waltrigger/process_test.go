package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

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
	binary string
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
	p := &process{t: t, dir: t.TempDir(), log: &logText{}, binary: binary}
	p.api, p.ops = freeAddress(t), freeAddress(t)
	p.config, p.slot = filepath.Join(p.dir, "waltrigger.yaml"), fmt.Sprintf("slot_%d", time.Now().UnixNano())
	slot := ""
	if strings.HasPrefix(databaseURL, "postgres") {
		slot = ", slot: " + p.slot
	}
	text := fmt.Sprintf(`sources: [{name: shop, url: %q%s}]
store: {url: "sqlite:%s"}
admin: {listen: %q}
ops: {listen: %q}
%s`, databaseURL, slot, filepath.Join(p.dir, "store.db"), p.api, p.ops, extra)
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

// nextPort is where the next free port is looked for: below those that the system gives
// to clients, or one of these may take it before the daemon does.
var nextPort atomic.Int64

// freeAddress is one on loopback that nobody else of this run gets.
func freeAddress(t *testing.T) string {
	t.Helper()
	nextPort.CompareAndSwap(0, int64(12000+os.Getpid()%150*64))
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", 12000+nextPort.Add(1)%10000)
		if l, err := net.Listen("tcp", address); err == nil {
			l.Close()
			return address
		}
	}
	t.Fatal("no free port")
	return ""
}

// start starts the daemon and waits until it is ready.
func (p *process) start() {
	p.t.Helper()
	p.launch()
	deadline := time.Now().Add(20 * time.Second)
	for {
		select {
		case err := <-p.exited:
			p.cmd = nil
			p.t.Fatalf("daemon ended: %v\n%s", err, p.log)
		default:
		}
		resp, err := http.Get("http://" + p.ops + "/readyz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				p.awaitSource(deadline)
				return
			}
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("daemon is not ready: %v\n%s", err, p.log)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// awaitSource waits until the source can be asked, if it is there at all: a busy server
// takes its time to make a slot.
func (p *process) awaitSource(deadline time.Time) {
	for time.Now().Before(deadline) {
		log := p.log.String()
		if strings.Contains(log, `"msg":"streaming"`) || strings.Contains(log, "trying again") || strings.Contains(log, "needs a hand") || strings.Contains(log, `"msg":"standing by"`) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (p *process) launch() {
	p.t.Helper()
	p.cmd = exec.Command(p.binary, "run", "-c", p.config)
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
