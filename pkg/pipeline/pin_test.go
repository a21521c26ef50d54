package pipeline

import (
	"errors"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/deliver"
	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/store"
)

// TestOneHoldsUpNoOther: whatever one destination waits for, another one gets all, and the
// log is let go of.
func TestOneHoldsUpNoOther(t *testing.T) {
	unavailable := func(code string, after time.Duration) error {
		return &sink.Error{Class: sink.Unavailable, Code: code, RetryAfter: after, Err: errors.New(code)}
	}
	limited := strings.Replace(hook("w", "w{{ instance.id }}"), `"id":"w",`, `"id":"w","rate_limit":0.01,`, 1)
	for _, c := range []struct {
		name, w string
		window  int
		answer  error
	}{
		{"asked to wait, full window", hook("w", "w{{ instance.id }}"), 64, unavailable("http_429", time.Hour)},
		{"asked to wait", hook("w", "w{{ instance.id }}"), 4096, unavailable("http_429", time.Hour)},
		{"one is refused again and again, full window", hook("w", "w{{ instance.id }}"), 64, unavailable("http_500", 0)},
		{"one is refused again and again", hook("w", "w{{ instance.id }}"), 4096, unavailable("http_500", 0)},
		{"rate limit, full window", limited, 64, nil},
		{"rate limit", limited, 4096, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cfg, dcfg := DefaultConfig(), deliver.DefaultConfig()
			cfg.Window, cfg.Grace = c.window, time.Second
			dcfg.Park.After = time.Second
			b := newBench(t, cfg, dcfg, change.Mark{End: "start"})
			b.deliver.Close()
			quiet := slog.New(slog.DiscardHandler)
			s, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "store.db"), quiet)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if b.deliver, err = deliver.New(t.Context(), dcfg, s, deliver.NewMetrics(prometheus.NewRegistry()), quiet); err != nil {
				t.Fatal(err)
			}
			b.Pipeline.deliver = b.deliver
			b.receiver.answer = func(m *sink.Message) error {
				if string(m.Body) == "w1" {
					return c.answer
				}
				return nil
			}
			b.use(c.w, hook("v", "v{{ instance.id }}"))
			b.start()
			const n = 300
			for i := range n {
				b.log.batches <- transaction(i+1, insert(strconv.Itoa(i+1), "0", "0"))
			}
			end := tx(n).End
			deadline := time.Now().Add(time.Minute)
			for got := 0; got < n || b.log.mark().End != end; time.Sleep(10 * time.Millisecond) {
				got = 0
				for _, x := range b.receiver.bodies() {
					if strings.HasPrefix(x, "v") {
						got++
					}
				}
				if time.Now().After(deadline) {
					t.Fatalf("%d of %d arrived at the healthy destination, mark %+v, %+v", got, n, b.log.mark(), b.deliver.Status())
				}
			}
			if err := b.end(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestOrderingKeyToCome: while the database cannot be asked for what an ordering key needs,
// nothing passes that may have the same.
func TestOrderingKeyToCome(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.holds(values("7", "5", "1"))
		b.log.set(func() { b.log.away = true })
		b.use(hook("w", "{{ instance.id }}", `"ordering_key":"k{{ instance.n }}"`))
		b.log.batches <- transaction(1, toast("1", "7")) // of key k5, as the table has it
		b.log.batches <- transaction(2, insert("2", "5", "4"))
		time.Sleep(lookupPatience + 5*time.Second)
		b.log.set(func() { b.log.away = false })
		time.Sleep(5 * time.Minute)
		wantBodies(t, b.receiver, "1", "2")
	})
}
