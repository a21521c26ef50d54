package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ticks a second in /proc; Linux has had 100 on every platform that Go runs on.
const ticks = 100

// process is a measured child.
type process struct {
	cmd     *exec.Cmd
	log     string
	started time.Time
	done    chan struct{}
	stopped chan struct{}
	anon    chan float64 // gives the peak of anonymous memory, in MB, after the end
}

// start runs a program in a process group of its own; its output goes to a log in dir.
func start(dir, name, program string, args ...string) (*process, error) {
	p := &process{log: filepath.Join(dir, name+".log"), done: make(chan struct{}), stopped: make(chan struct{}), anon: make(chan float64, 1)}
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close() // the child has its own copy
	p.cmd = exec.Command(program, args...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.started = time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is in its ProcessState
		close(p.done)
	}()
	go p.watch()
	return p, nil
}

// watch follows RssAnon; the kernel keeps a peak of the resident size only.
func (p *process) watch() {
	peak := 0.0
	t := time.NewTicker(10 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			peak = max(peak, p.status("RssAnon"))
		case <-p.done:
			p.anon <- peak
			return
		case <-p.stopped:
			p.anon <- peak
			return
		}
	}
}

// ended gives an error if the process is gone.
func (p *process) ended() error {
	select {
	case <-p.done:
		b, _ := os.ReadFile(p.log)
		return fmt.Errorf("%s ended (%s): %s", filepath.Base(p.cmd.Path), p.cmd.ProcessState, bytes.TrimSpace(b[max(0, len(b)-2000):]))
	default:
		return nil
	}
}

// cpu gives the user and system seconds so far.
func (p *process) cpu() float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return float64(user+system) / ticks
}

// status gives a field of /proc/PID/status, in MB.
func (p *process) status(field string) float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, field+":"); ok {
			kb, _ := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(v), " kB"), 64)
			return kb / 1024
		}
	}
	return 0
}

// stop ends it by SIGTERM, or by force after 40 s, and gives the peak of its anonymous
// memory until now.
func (p *process) stop() (anonMB float64, err error) {
	close(p.stopped)
	anonMB = <-p.anon
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(40 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
		return anonMB, fmt.Errorf("%s did not end within 40 s of SIGTERM", filepath.Base(p.cmd.Path))
	}
	return anonMB, nil
}

// output runs a verb of this program to its end and gives what it printed.
func output(ctx context.Context, args ...string) ([]byte, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, args...)
	var e bytes.Buffer
	cmd.Stderr = &e
	b, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", args[0], err, e.Bytes())
	}
	return b, nil
}
