package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/waltrigger/waltrigger/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// settings loads a configuration; its source leads nowhere.
func settings(t *testing.T, extra string) *config.Config {
	t.Helper()
	dir := t.TempDir()
	text := fmt.Sprintf("sources: [{name: shop, url: 'postgres://u:x@%s/d?sslmode=disable'}]\nstore: {url: 'sqlite:%s/s.db'}\nadmin: {listen: %q}\nops: {listen: %q}\n%s",
		freeAddress(t), dir, freeAddress(t), freeAddress(t), extra)
	path := filepath.Join(dir, "waltrigger.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, _, err := config.Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// TestRunEnds: Run ends in order, leaving no goroutine behind, while its source cannot
// be reached.
func TestRunEnds(t *testing.T) {
	cfg := settings(t, "triggers: ['*.yml']\n")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, cfg, "test", slog.New(slog.DiscardHandler)) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	deadline := time.Now().Add(20 * time.Second)
	for {
		resp, err := client.Get("http://" + cfg.Admin.Listen + "/api/action-triggers")
		if err == nil {
			resp.Body.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("Run did not end")
	}
}

// TestRunFails: what was begun is undone when a later part cannot start.
func TestRunFails(t *testing.T) {
	cfg := settings(t, "")
	l, err := net.Listen("tcp", cfg.Ops.Listen)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for range 2 { // the second time, the store must be free again
		if err := Run(t.Context(), cfg, "test", slog.New(slog.DiscardHandler)); err == nil || err.Error()[:11] != "ops.listen:" {
			t.Errorf("got %v", err)
		}
	}
}
