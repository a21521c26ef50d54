package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// soak gives long in the long form of a test, which takes minutes and prints figures, else
// short.
func soak[T any](short, long T) T {
	if os.Getenv("WALTRIGGER_TEST_SOAK") == "1" {
		return long
	}
	return short
}

// faulty is a receiver that fails at random, in every way that a receiver can: the
// chances are of ten thousand requests.
type faulty struct {
	*httptest.Server
	refuse, fail, reset, late, throttle int

	mu       sync.Mutex
	accepted []arrival // what it has answered with success, in order
	took     []time.Duration
	down     bool
}

// newFaulty gives one that fails not at all.
func newFaulty(t *testing.T) *faulty {
	t.Helper()
	f := &faulty{}
	f.Server = httptest.NewServer(http.HandlerFunc(f.answer))
	t.Cleanup(f.Close)
	return f
}

func newFlaky(t *testing.T) *faulty {
	t.Helper()
	f := newFaulty(t)
	f.refuse, f.fail, f.reset, f.late, f.throttle = 20, 100, 100, 5, 1
	return f
}

func (f *faulty) answer(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the daemon was killed
	}
	n := rand.IntN(10_000)
	hit := func(chance int) bool { n -= chance; return n < 0 && n >= -chance }
	switch {
	case f.isDown():
		w.WriteHeader(http.StatusServiceUnavailable)
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
		time.Sleep(1500 * time.Millisecond) // longer than the trigger allows, or else it is lost
	default:
		f.take(r, body)
	}
}

// take notes what r brings, one event or a batch of them.
func (f *faulty) take(r *http.Request, body []byte) {
	bodies, ids := []string{string(body)}, []string{r.Header.Get("Webhook-Id")}
	if list := r.Header.Get("Webhook-Batch-Ids"); list != "" {
		ids = strings.Split(list, ",")
		bodies = make([]string, len(ids))
		if err := json.Unmarshal(body, &bodies); err != nil || len(bodies) != len(ids) {
			bodies, ids = []string{"no batch: " + string(body)}, []string{list}
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range bodies {
		f.accepted = append(f.accepted, arrival{bodies[i], ids[i], time.Now()})
	}
	f.clock(r)
}

func (f *faulty) isDown() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.down
}

func (f *faulty) set(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
}

func (f *faulty) arrivals() []arrival {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.accepted)
}

// elsewhere are the fail points that this load does not come to, with their tests.
var elsewhere = map[string]string{
	"store.migrated": "TestKillInMigration", "daemon.stored": "TestKillInActivation", "daemon.published": "TestKillInActivation", "daemon.leased": "TestKillWithLease",
}

// often are those to which it comes with each delivery or batch, and not once a second.
var often = map[string]int{"pipeline.read": 50, "pipeline.enqueued": 1000, "deliver.sent": 500, "deliver.settled": 500, "deliver.writing": 10, "deliver.written": 10, "store.parked": 10, "store.done": 5, "deliver.loaded": 5}

// holds are the fail points before something becomes durable, with time enough for what
// follows it to be done too early: the position is saved, and the log acknowledged, each
// second.
var holds = map[string]time.Duration{"deliver.writing": 2500 * time.Millisecond, "pipeline.save": 1500 * time.Millisecond}

// TestKillUnderFaults kills the daemon at each of its fail points, and at random moments,
// while 2,000 changes a second are made, one receiver fails at random, another one goes
// down and comes back, and a third one is well. In its long form it kills it 200 times.
func TestKillUnderFaults(t *testing.T) {
	points := slices.DeleteFunc(failPoints(t), func(p string) bool { return elsewhere[p] != "" })
	rounds := soak(len(points)+5, 200)
	db, well, flaky, dying := newDatabase(t), newFaulty(t), newFlaky(t), newFlaky(t)
	const window, queue = 4096, 200
	p := startDaemon(t, db.url, fmt.Sprintf("%sdelivery: {queue: %d, window: %d, park: {after: 1s, slow: 1}}\n", loopback, queue, window))
	limits := `"timeout_secs":1,"retry":{"delays_secs":[0.2,0.4,0.8],"max_attempts":100}`
	for _, url := range []string{well.URL, flaky.URL, dying.URL} {
		body := strings.Replace(fmt.Sprintf(ledgerTrigger, url), `"url"`, limits+`,"url"`, 1)
		if url == flaky.URL { // this one goes by the row's key, which changes
			body = strings.Replace(body, `,"ordering_key":"{{ instance.k }}"`, "", 1)
		}
		p.create(body)
	}
	l := newLedger(t)
	l.write(db, 8, 2000)
	var kills []time.Time
	p.kill()
	for i := range rounds {
		dying.set(i%4 < 2)
		if i%2 == 0 || i < len(points) {
			point := points[i/2%len(points)]
			if i < len(points) {
				point = points[i]
			}
			p.launchToFail(point, 1+rand.IntN(max(often[point], 3)), holds[point])
			p.killed(point)
		} else {
			p.launch()
			time.Sleep(time.Duration(100+rand.IntN(1400)) * time.Millisecond)
			p.kill()
		}
		kills = append(kills, time.Now())
	}
	dying.set(false)
	p.start()
	l.stop()
	for name, r := range map[string]*faulty{"well": well, "flaky": flaky, "dying": dying} {
		v := l.settled(t, r)
		most := slices.Max(repeats(r.arrivals(), kills))
		t.Logf("%s, %d kills, %d fail points: %+v, at most %d duplicates after a kill", name, rounds, len(points), v, most)
		if v.wrong() != 0 || v.committed < 1000 {
			t.Errorf("%s: %+v, want nothing lost, reordered or invented, and ids that stay", name, v)
		}
		// What is parked comes later than after the next kill: there, only the sum tells.
		if name == "well" && most > window || v.duplicates > rounds*(window+queue) {
			t.Errorf("%s: %d duplicates, %d after one kill, want at most the window of %d for each", name, v.duplicates, most, window)
		}
	}
	waitFor(t, "nothing parked", func() bool {
		m := p.metrics()
		return strings.Count(m, "waltrigger_parked_deliveries{") == 3 && !parkedSome.MatchString(m)
	})
}

// killRepeatedly kills a daemon that has one trigger, of which hook hears, 20 times under
// load, in the long form 200 times: at fail points and at random moments.
func killRepeatedly(t *testing.T, p *process, db ledgerDatabase, hook *receiver) {
	t.Helper()
	points := []string{"pipeline.read", "pipeline.enqueued", "deliver.sent", "pipeline.save", "pipeline.saved"}
	rounds := soak(20, 200)
	l := newLedger(t)
	l.write(db, 8, 2000)
	for i := range rounds {
		p.kill()
		if point := points[i/2%len(points)]; i%2 == 0 {
			p.launchToFail(point, 1+rand.IntN(max(often[point], 3)), holds[point])
			p.killed(point)
		}
		p.launch()
		time.Sleep(time.Duration(50+rand.IntN(700)) * time.Millisecond)
	}
	l.stop()
	v := l.settled(t, hook)
	t.Logf("%d kills: %+v", rounds, v)
	if v.wrong() != 0 || v.committed < 1000 {
		t.Errorf("%+v, want nothing lost, reordered or invented, and ids that stay", v)
	}
}

var parkedSome = regexp.MustCompile(`waltrigger_parked_deliveries\{[^}]*\} [1-9]`)
