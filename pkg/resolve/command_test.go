package resolve

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func sh(script string) Config {
	return Config{Command: Command{Argv: []string{"/bin/sh", "-c", script}}}
}

func TestCommand(t *testing.T) {
	t.Setenv("WALTRIGGER_TEST_LEAK", "s3cret")
	with := func(c Config, env map[string]string) Config { c.Command.Env = env; return c }
	tests := []struct {
		name       string
		c          Config
		want, code string
		text       string // in the error
	}{
		{"printf", sh("printf tok"), "tok", "", ""},
		{"newline", sh("echo tok"), "tok", "", ""},
		{"crlf", sh(`printf 'tok\r\n'`), "tok", "", ""},
		{"crlf within", sh(`printf 's3cret\r\nX: y\r\n'`), "", CodeInvalid, "line break"},
		{"crlf within, allowed", Config{Command: sh(`printf 'a\r\nb\r\n'`).Command, Multiline: true}, "a\r\nb", "", ""},
		{"nothing", sh("true"), "", CodeInvalid, "empty"},
		{"NUL", sh(`printf 's3cret\000'`), "", CodeInvalid, "NUL"},
		{"exit status", sh("echo s3cret; echo s3cret >&2; exit 3"), "", CodeFetch, "/bin/sh: exit status 3"},
		{"signal", sh("kill -TERM $$"), "", CodeFetch, "signal: terminated"},
		{"no such program", Config{Command: Command{Argv: []string{"/none/x"}}}, "", CodeFetch, "start /none/x"},
		{"not in PATH", Config{Command: Command{Argv: []string{"waltrigger-no-such-program"}}}, "", CodeFetch, "not found"},
		{"no program", Config{Command: Command{Argv: []string{"/etc"}}}, "", CodeFetch, "start /etc"},
		{"huge", sh("while :; do echo s3cret; done"), "", CodeFetch, "more than 64 KiB"},
		{"huge, and does not mind that nobody reads", sh(`trap "" PIPE; while :; do echo s3cret; done 2>/dev/null`), "", CodeFetch, "more than 64 KiB"},
		{"64 KiB", sh("head -c 65536 /dev/zero | tr '\\0' x; echo"), strings.Repeat("x", 64<<10), "", ""},
		{"a byte more", sh("head -c 65537 /dev/zero | tr '\\0' x; echo"), "", CodeInvalid, "larger than 64 KiB"},
		{"no shell", Config{Command: Command{Argv: []string{"printf", "%s", "$HOME;`x`*"}}}, "$HOME;`x`*", "", ""},
		{"nothing to read", sh("cat; echo tok"), "tok", "", ""},
		{"environment", with(sh("env | grep -v -e ^PATH= -e ^HOME= -e ^PWD= -e ^_= -e ^SHLVL= | sort | tr '\\n' ' '"), map[string]string{"B": "2 3", "A": "1"}), "A=1 B=2 3 ", "", ""},
		{"no other environment", sh("test -n \"$PATH\" && echo ${WALTRIGGER_TEST_LEAK:-none}"), "none", "", ""},
		{"a PATH of its own", with(Config{Command: Command{Argv: []string{"/usr/bin/env"}}}, map[string]string{"PATH": "/x", "HOME": "/y"}), "", CodeInvalid, "line break"},
		{"pointer", Config{Command: sh(`echo '{"a":["x",{"b":"tok"}]}'`).Command, Pointer: "/a/1/b"}, "tok", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newResolver(t, map[string]Config{"a.b": tt.c})
			got, err := r.Resolve(t.Context(), "a.b")
			checkError(t, err, tt.code)
			if got != tt.want {
				t.Fatalf("value %.80q, want %.80q", got, tt.want)
			}
			if err != nil && (!strings.Contains(err.Error(), tt.text) || !strings.Contains(err.Error(), "dynamic value a.b: ") || strings.Contains(err.Error(), "s3cret")) {
				t.Fatalf("error %v, want one about %q", err, tt.text)
			}
		})
	}
}

// TestCommandIsKilled lets programs hang, with children and without, deaf to signals.
func TestCommandIsKilled(t *testing.T) {
	for name, script := range map[string]string{
		"hangs":             "echo $$ >%[1]s; exec sleep 1000",
		"with children":     "sleep 1000 & echo $! >%[1]s; sleep 1000 | cat",
		"deaf":              "trap '' TERM INT HUP; echo $$ >%[1]s; while :; do sleep 1000; done",
		"without output":    "exec >&-; echo $$ >%[1]s; sleep 1000",
		"printed, hangs":    "echo s3cret; echo $$ >%[1]s; sleep 1000",
		"leaves one behind": "(trap '' HUP; exec sleep 1000) & echo $! >%[1]s; exit 1",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pidFile := filepath.Join(t.TempDir(), "pid")
			c := sh(fmt.Sprintf(script, pidFile))
			c.Timeout = 2 * time.Second
			r := newResolver(t, map[string]Config{"v": c})
			_, err := r.Resolve(t.Context(), "v")
			checkError(t, err, CodeFetch)
			if name != "leaves one behind" && !strings.Contains(err.Error(), "/bin/sh was killed: context deadline exceeded") || strings.Contains(err.Error(), "s3cret") {
				t.Error(err)
			}
			awaitEnd(t, pidFile)
		})
	}
	t.Run("by Close", func(t *testing.T) {
		pidFile := filepath.Join(t.TempDir(), "pid")
		r, err := New(map[string]Config{"v": sh("echo $$ >" + pidFile + "; sleep 1000")}, Env{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { _, err := r.Resolve(ctx, "v"); done <- err }()
		readPID(t, pidFile)
		cancel() // who waits need not wait longer; the fetch goes on
		checkError(t, <-done, CodeFetch)
		r.Close()
		awaitEnd(t, pidFile)
	})
}

func readPID(t *testing.T, file string) int {
	t.Helper()
	for until := time.Now().Add(20 * time.Second); time.Now().Before(until); time.Sleep(time.Millisecond) {
		b, _ := os.ReadFile(file)
		if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
			return pid
		}
	}
	t.Fatal("the program did not say its process id")
	return 0
}

// awaitEnd waits until the process is gone, or nothing of it is left but its entry: who
// adopted it may be slow to ask for its status.
func awaitEnd(t *testing.T, file string) {
	t.Helper()
	pid := readPID(t, file)
	for until := time.Now().Add(20 * time.Second); time.Now().Before(until); time.Sleep(time.Millisecond) {
		if syscall.Kill(pid, 0) != nil {
			return
		}
		if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && strings.Contains(string(b), ") Z ") {
			return
		}
	}
	t.Fatalf("process %d still runs", pid)
}

// TestCommandLeavesOutputOpen: a process that escapes the group and keeps the output
// open holds up nobody.
func TestCommandLeavesOutputOpen(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	r := newResolver(t, map[string]Config{"v": sh("setsid sh -c 'echo $$ >" + pidFile + "; exec sleep 1000' & while ! test -s " + pidFile + "; do sleep 0.01; done; echo tok")})
	got, err := r.Resolve(t.Context(), "v")
	if got != "tok" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if err := syscall.Kill(readPID(t, pidFile), syscall.SIGKILL); err != nil {
		t.Error(err)
	}
}

// TestCommandOnce: however many need it, one process runs at a time.
func TestCommandOnce(t *testing.T) {
	runs := filepath.Join(t.TempDir(), "runs")
	r := newResolver(t, map[string]Config{"v": sh("echo x >>" + runs + "; sleep 0.2; wc -l <" + runs)})
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if got, err := r.Resolve(t.Context(), "v"); strings.TrimSpace(got) != "1" || err != nil {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	wg.Wait()
}
