package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// ledger writes rows with a sequence number per key, notes each commit, and judges
// what a receiver was sent.
type ledger struct {
	t        *testing.T
	mu       sync.Mutex
	commits  map[string]bool // "key seq" of what is committed for certain
	unknown  map[string]bool // the answer to the commit did not arrive
	rolled   map[string]bool // rolled back
	stopping chan struct{}
	wg       sync.WaitGroup
}

const ledgerTrigger = `{"config_signals":[{"signal":"post_save"}],"content_types":[{"app_label":"public","model_name":"ledger"}],
	"webhooks":[{"url":%q}],"payload":"{{ instance.k }} {{ instance.seq }}","ordering_key":"{{ instance.k }}"}`

// write starts keys connections, each with a key of its own, that commit as fast as
// they can or every pause.
func (l *ledger) write(db *database, keys int, pause time.Duration) {
	l.commits, l.unknown, l.rolled, l.stopping = map[string]bool{}, map[string]bool{}, map[string]bool{}, make(chan struct{})
	ctx := context.Background()
	for k := range keys {
		c := db.connect()
		l.wg.Go(func() {
			defer c.Close(ctx)
			for seq := 1; ; {
				select {
				case <-l.stopping:
					return
				case <-time.After(pause):
				}
				tx, err := c.Begin(ctx)
				if err != nil {
					l.t.Error(err)
					return
				}
				var rows []string
				for range 1 + rand.IntN(4) {
					if _, err := tx.Exec(ctx, "INSERT INTO ledger (k, seq) VALUES ($1, $2)", k, seq); err != nil {
						l.t.Error(err)
						return
					}
					rows = append(rows, fmt.Sprintf("%d %d", k, seq))
					seq++
				}
				to := l.commits
				if rand.IntN(10) == 0 {
					to, err = l.rolled, tx.Rollback(ctx)
				} else {
					err = tx.Commit(ctx)
				}
				if err != nil {
					to = l.unknown
				}
				l.mu.Lock()
				for _, r := range rows {
					to[r] = true
				}
				l.mu.Unlock()
			}
		})
	}
}

func (l *ledger) stop() {
	close(l.stopping)
	l.wg.Wait()
}

type verdict struct{ committed, lost, reordered, phantom, duplicates, changed int }

// judge compares what arrived with what was committed.
func (l *ledger) judge(got []request) verdict {
	v := verdict{committed: len(l.commits)}
	last := map[string]int{}
	seen := map[string]request{}
	for _, r := range got {
		if was, dup := seen[r.Body]; dup {
			v.duplicates++
			if was.Header.Get("Webhook-Id") != r.Header.Get("Webhook-Id") {
				v.changed++
			}
			continue
		}
		seen[r.Body] = r
		k, s, _ := strings.Cut(r.Body, " ")
		seq, err := strconv.Atoi(s)
		if err != nil || !l.commits[r.Body] && !l.unknown[r.Body] {
			v.phantom++
		}
		if seq < last[k] {
			v.reordered++
		}
		last[k] = seq
	}
	for row := range l.commits {
		if _, ok := seen[row]; !ok {
			v.lost++
		}
	}
	return v
}

// settled waits until nothing has arrived for a while and everything committed has.
func (l *ledger) settled(t *testing.T, hook interface{ requests() []request }) verdict {
	t.Helper()
	deadline := time.Now().Add(180 * time.Second)
	for {
		n := len(hook.requests())
		time.Sleep(500 * time.Millisecond)
		got := hook.requests()
		if v := l.judge(got); len(got) == n && v.lost == 0 || time.Now().After(deadline) {
			return v
		}
	}
}

func TestCleanRestartLosesAndRepeatsNothing(t *testing.T) {
	db, hook := newDatabase(t), newReceiver(t)
	p := startDaemon(t, db.url, loopback)
	p.create(fmt.Sprintf(ledgerTrigger, hook.URL))
	l := &ledger{t: t}
	l.write(db, 8, 0)
	for range 3 {
		time.Sleep(700 * time.Millisecond)
		p.stop()
		p.start()
	}
	l.stop()
	v := l.settled(t, hook)
	t.Logf("%+v", v)
	if v.lost+v.reordered+v.phantom+v.duplicates+v.changed != 0 || v.committed < 1000 {
		t.Errorf("%+v, want nothing lost, reordered, invented or repeated", v)
	}
}

// TestKill kills the daemon at random moments: 20 times, in its long form 200 times.
func TestKill(t *testing.T) {
	kills := 20
	if os.Getenv("WALTRIGGER_TEST_SOAK") == "1" {
		kills = 200
	}
	db, hook := newDatabase(t), newReceiver(t)
	p := startDaemon(t, db.url, loopback)
	p.create(fmt.Sprintf(ledgerTrigger, hook.URL))
	l := &ledger{t: t}
	l.write(db, 8, 2*time.Millisecond)
	for range kills {
		time.Sleep(time.Duration(50+rand.IntN(700)) * time.Millisecond)
		p.kill()
		p.launch()
	}
	l.stop()
	v := l.settled(t, hook)
	t.Logf("%d kills: %+v", kills, v)
	if v.lost+v.reordered+v.phantom+v.changed != 0 || v.committed < 1000 {
		t.Errorf("%+v, want nothing lost, reordered or invented, and ids that stay", v)
	}
}

// TestRestartWithinATransaction stops the daemon inside a large transaction.
func TestRestartWithinATransaction(t *testing.T) {
	db, hook := newDatabase(t), newReceiver(t)
	p := startDaemon(t, db.url, loopback)
	p.create(fmt.Sprintf(ledgerTrigger, hook.URL))
	l := &ledger{t: t, commits: map[string]bool{}}
	db.exec("INSERT INTO ledger (k, seq) SELECT i % 50, i FROM generate_series(1, 60000) i")
	for i := 1; i <= 60000; i++ {
		l.commits[fmt.Sprintf("%d %d", i%50, i)] = true
	}
	for len(hook.requests()) < 5000 {
		time.Sleep(5 * time.Millisecond)
	}
	p.stop()
	if n := len(hook.requests()); n == 60000 {
		t.Errorf("stopped too late to prove anything")
	}
	p.start()
	v := l.settled(t, hook)
	t.Logf("%+v", v)
	if v.lost+v.reordered+v.phantom+v.duplicates+v.changed != 0 {
		t.Errorf("%+v, want nothing lost, reordered, invented or repeated", v)
	}
}
