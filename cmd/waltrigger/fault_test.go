package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// faulty is a receiver that fails at random, in every way that a receiver can: the
// chances are of a thousand requests.
type faulty struct {
	*receiver
	refuse, fail, reset, late, throttle int

	mu       sync.Mutex
	accepted []request // what it has answered with success, in order
	down     bool
}

func newFaulty(t *testing.T) *faulty {
	t.Helper()
	f := &faulty{receiver: newReceiver(t), refuse: 5, fail: 30, reset: 20, late: 1, throttle: 2}
	f.setAnswer(f.respond)
	return f
}

func (f *faulty) respond(w http.ResponseWriter, r request) {
	f.mu.Lock()
	down := f.down
	f.mu.Unlock()
	if down {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	n := rand.IntN(1000)
	hit := func(chance int) bool { n -= chance; return n < 0 && n >= -chance }
	switch {
	case hit(f.refuse):
		w.WriteHeader(http.StatusBadRequest)
	case hit(f.fail):
		w.WriteHeader(http.StatusBadGateway)
	case hit(f.reset): // taken in, and the answer is lost
		if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
			c.Close()
		}
	case hit(f.throttle):
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
	case hit(f.late):
		time.Sleep(1500 * time.Millisecond) // longer than the trigger allows
	default:
		f.mu.Lock()
		f.accepted = append(f.accepted, r)
		f.mu.Unlock()
	}
}

func (f *faulty) set(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
}

// requests are those that it has answered with success.
func (f *faulty) requests() []request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.accepted)
}

// TestKillUnderFaults kills the daemon again and again while one receiver fails at
// random, another one goes down and comes back, and a third one is well: 10 times, in its
// long form 200 times.
func TestKillUnderFaults(t *testing.T) {
	kills := 10
	if os.Getenv("WALTRIGGER_TEST_SOAK") == "1" {
		kills = 200
	}
	db, well, flaky, dying := newDatabase(t), newReceiver(t), newFaulty(t), newFaulty(t)
	p := startDaemon(t, db.url, loopback+"delivery: {queue: 200, park: {after: 1s}}\n")
	limits := `"timeout_secs":1,"retry":{"delays_secs":[0.2,0.4,0.8],"max_attempts":100}`
	for _, url := range []string{well.URL, flaky.URL, dying.URL} {
		body := fmt.Sprintf(ledgerTrigger, url)
		p.create(strings.Replace(body, `"url"`, limits+`,"url"`, 1))
	}
	l := &ledger{t: t}
	l.write(db, 24, 10*time.Millisecond)
	for i := range kills {
		dying.set(i%4 < 2)
		time.Sleep(time.Duration(100+rand.IntN(900)) * time.Millisecond)
		p.kill()
		p.launch()
	}
	dying.set(false)
	l.stop()
	for name, r := range map[string]interface{ requests() []request }{"well": well, "flaky": flaky, "dying": dying} {
		v := l.settled(t, r)
		t.Logf("%s, %d kills: %+v", name, kills, v)
		if v.lost+v.reordered+v.phantom+v.changed != 0 || v.committed < 1000 {
			t.Errorf("%s: %+v, want nothing lost, reordered or invented, and ids that stay", name, v)
		}
	}
	waitFor(t, "nothing parked", func() bool {
		m := p.metrics()
		return strings.Count(m, "waltrigger_parked_deliveries{") == 3 && !parkedSome.MatchString(m)
	})
}

var parkedSome = regexp.MustCompile(`waltrigger_parked_deliveries\{[^}]*\} [1-9]`)
