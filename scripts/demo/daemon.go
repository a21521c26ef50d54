package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// daemon is the running waltrigger.
type daemon struct {
	admin, ops string // URLs
	log        string
	cmd        *exec.Cmd
	done       chan struct{} // closed when it has ended
}

// configuration of the demonstration. The addresses of this machine are listed under
// egress: without that, triggers may not send to loopback.
const configuration = `sources:
  - name: demo
    url: %q
store: {url: %q}
admin: {listen: %q}
ops: {listen: %q}
egress: {allow_cidrs: ["127.0.0.0/8"]}
dynamic_values:
  myapp.utils.get_token: {env: DEMO_TOKEN}
  myapp.utils.get_product_id: {literal: a-product}
  myapp.utils.get_sale_id: {literal: a-sale}
`

// startDaemon writes the configuration, starts the binary and waits until it is ready.
func startDaemon(ctx context.Context, s settings, dsn string) (*daemon, error) {
	admin, ops, err := freePorts()
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf(configuration, dsn, "sqlite:"+filepath.Join(s.dir, "waltrigger.db"), admin, ops)
	if s.kafka != "" {
		text += "brokers:\n"
		for name, topic := range topics {
			text += fmt.Sprintf("  %s: {broker_type: kafka, conn_details: {bootstrap_servers: %q}, params: {topic: %s}}\n", name, s.kafka, topic+topicSuffix())
		}
	}
	file := filepath.Join(s.dir, "waltrigger.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	d := &daemon{admin: "http://" + admin, ops: "http://" + ops, log: filepath.Join(s.dir, "waltrigger.log"), done: make(chan struct{})}
	out, err := os.Create(d.log)
	if err != nil {
		return nil, err
	}
	defer out.Close() // the child has its own copy
	d.cmd = exec.Command(s.waltrigger, "run", "-c", file)
	d.cmd.Env = append(os.Environ(), "DEMO_TOKEN="+token)
	d.cmd.Stdout, d.cmd.Stderr = out, out
	// A group of its own: Ctrl-C reaches the demonstration first, which stops it in order.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := d.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start waltrigger: %w", err)
	}
	go func() {
		_ = d.cmd.Wait() // how it ended is in its ProcessState
		close(d.done)
	}()
	if err := d.ready(ctx, 30*time.Second); err != nil {
		d.stop()
		return nil, err
	}
	return d, nil
}

// freePorts gives two loopback addresses that were free a moment ago.
func freePorts() (a, b string, err error) {
	la, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	defer la.Close()
	lb, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	defer lb.Close()
	return la.Addr().String(), lb.Addr().String(), nil
}

// ready polls /readyz.
func (d *daemon) ready(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.ops+"/readyz", nil)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-d.done:
			return d.ended()
		case <-ctx.Done():
			return fmt.Errorf("waltrigger is not ready after %v; %s", limit, d.tail())
		}
	}
}

// create posts a trigger and waits until it is active.
func (d *daemon) create(ctx context.Context, screen *screen, n int, body string) error {
	screen.title(fmt.Sprintf("Example %d: POST %s/api/action-triggers", n, d.admin))
	screen.text(body)
	status, text, err := d.call(ctx, http.MethodPost, "/api/action-triggers", body)
	if err != nil {
		return err
	}
	if status != http.StatusCreated && status != http.StatusAccepted {
		return fmt.Errorf("create trigger %d: status %d: %s", n, status, text)
	}
	var created struct {
		ID     int64
		Status struct{ State string }
	}
	if err := json.Unmarshal(text, &created); err != nil {
		return fmt.Errorf("create trigger %d: %w", n, err)
	}
	screen.text(fmt.Sprintf("   <- %d: trigger %d is %s", status, created.ID, created.Status.State))
	limit := time.Now().Add(30 * time.Second)
	for status == http.StatusAccepted && created.Status.State != "active" {
		if time.Now().After(limit) {
			return fmt.Errorf("trigger %d is still %s", created.ID, created.Status.State)
		}
		time.Sleep(100 * time.Millisecond)
		if _, text, err = d.call(ctx, http.MethodGet, fmt.Sprintf("/api/action-triggers/%d", created.ID), ""); err != nil {
			return err
		}
		if err := json.Unmarshal(text, &created); err != nil {
			return err
		}
	}
	return nil
}

func (d *daemon) call(ctx context.Context, method, path, body string) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, d.admin+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, text, err
}

// ended describes an end of the daemon that was not asked for; nil while it runs.
func (d *daemon) ended() error {
	select {
	case <-d.done:
		return fmt.Errorf("waltrigger ended (%s); %s", d.cmd.ProcessState, d.tail())
	default:
		return nil
	}
}

func (d *daemon) tail() string {
	b, err := os.ReadFile(d.log)
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	lines = lines[max(0, len(lines)-15):]
	return "the end of " + d.log + ":\n" + string(bytes.Join(lines, []byte("\n")))
}

// stop asks it to drain and end, and insists after 30 s.
func (d *daemon) stop() {
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.done:
	case <-time.After(30 * time.Second):
		_ = d.cmd.Process.Kill()
		<-d.done
	}
}
