package main

import (
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// side is something that the daemon needs, with a line to it that a test can disturb.
type side struct {
	db   *database
	line *proxy
	p    *process
	got  arrivals
	acks bool // it is well once the log is acknowledged: nothing is delivered through the line
}

// sides are all that the daemon has connections to.
var sides = map[string]func(t *testing.T) *side{
	"database": func(t *testing.T) *side {
		db, hook := newDatabase(t), newFaulty(t)
		line, through := newProxy(t, db)
		line.up()
		s := &side{db: db, line: line, p: startDaemon(t, through, loopback), got: hook}
		s.p.create(fmt.Sprintf(ledgerTrigger, hook.URL))
		return s
	},
	"webhook": func(t *testing.T) *side {
		db, hook := newDatabase(t), newFaulty(t)
		line := newProxyTo(t, hook.Listener.Addr().String())
		line.up()
		s := &side{db: db, line: line, p: startDaemon(t, db.url, loopback), got: hook}
		s.p.create(strings.Replace(fmt.Sprintf(ledgerTrigger, "http://"+line.Listen), `"url"`, `"timeout_secs":5,"url"`, 1))
		return s
	},
	"store": func(t *testing.T) *side {
		db, hook := newDatabase(t), newFaulty(t)
		line, through := newProxy(t, db)
		line.up()
		s := &side{db: db, line: line, p: newDaemon(t, db.url, loopback), got: hook, acks: true}
		s.p.rewrite("sqlite:"+filepath.Join(s.p.dir, "store.db"), through+"&schema=wt")
		s.p.start()
		s.p.create(fmt.Sprintf(ledgerTrigger, hook.URL))
		return s
	},
	"kafka": func(t *testing.T) *side {
		db := newDatabase(t)
		behind := freeAddress(t)
		line := newProxyTo(t, behind)
		line.up()
		_, port, err := net.SplitHostPort(behind)
		if err != nil {
			t.Fatal(err)
		}
		broker := newKafka(t, port+":"+line.Listen)
		config := fmt.Sprintf("%ssettings: {max_broker_timeout: 5s}\nbrokers: {k: {broker_type: kafka, conn_details: {bootstrap_servers: %q}, params: {topic: ledger}}}\n", loopback, line.Listen)
		s := &side{db: db, line: line, p: startDaemon(t, db.url, config), got: consume(t, newConsumer(t, broker, "ledger"))}
		s.p.create(`{` + ledgerFires + `,"msg_broker_queues":[{"name":"k"}],` + ledgerSays + `,"ordering_key":"{{ instance.k }}"}`)
		return s
	},
}

// consumed are the messages of a topic.
type consumed struct {
	mu  sync.Mutex
	got []arrival
}

func consume(t *testing.T, c *consumer) *consumed {
	out := &consumed{}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for m := range c.Messages() {
			a := arrival{body: string(m.Value), at: time.Now()}
			for _, h := range m.Headers {
				if string(h.Key) == "webhook-id" {
					a.id = string(h.Value)
				}
			}
			out.mu.Lock()
			out.got = append(out.got, a)
			out.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		c.AsyncClose()
		<-ended
	})
	return out
}

func (c *consumed) arrivals() []arrival {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.got)
}

// faults are what can happen to a line.
var faults = []struct {
	name        string
	begin, heal func(*proxy)
}{
	{"refused", (*proxy).down, (*proxy).up},
	{"reset", (*proxy).reset, (*proxy).resetNoMore},
	{"black hole", func(p *proxy) { p.blackHole() }, func(p *proxy) { p.heal() }},
	{"1 byte/s", func(p *proxy) { p.trickle() }, func(p *proxy) { p.heal() }},
}

// TestNetwork disturbs the lines to all that the daemon needs, each in every way: for a
// moment, in the long form for half a minute. What is changed after the line has healed
// arrives soon, and nothing is lost.
func TestNetwork(t *testing.T) {
	for name, open := range sides {
		t.Run(name, func(t *testing.T) {
			if soak(true, false) { // the long form measures
				t.Parallel()
			}
			s := open(t)
			l := newLedger(t)
			l.write(s.db, 4, soak(200, 1000))
			for i, f := range faults {
				l.hear(t, s, -2*i-1) // it works
				f.begin(s.line)
				time.Sleep(soak(1500*time.Millisecond, 30*time.Second)) // the fault's length is what is tested
				f.heal(s.line)
				healed := time.Now()
				caughtUp := l.hear(t, s, -2*i-2)
				first := caughtUp
				if j := slices.IndexFunc(s.got.arrivals(), func(a arrival) bool { return a.at.After(healed) }); !s.acks && j >= 0 {
					first = s.got.arrivals()[j].at.Sub(healed)
				}
				t.Logf("%s, %s: recovered %s after the line had healed, caught up after %s", name, f.name, first.Round(10*time.Millisecond), caughtUp.Round(10*time.Millisecond))
				if first > soak(time.Minute, 15*time.Second) {
					t.Errorf("%s, %s: that is too late", name, f.name)
				}
			}
			l.stop()
			v := l.settled(t, s.got)
			t.Logf("%s: %+v", name, v)
			if v.wrong() != 0 || v.committed < 500 {
				t.Errorf("%+v, want nothing lost, reordered or invented, and ids that stay", v)
			}
		})
	}
}

// TestDatabaseRestarts stops the server itself and starts it again.
func TestDatabaseRestarts(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	db, hook := newDatabaseOn(t, server.run("dsn")), newFaulty(t)
	s := &side{db: db, p: startDaemon(t, db.url, loopback), got: hook}
	s.p.create(fmt.Sprintf(ledgerTrigger, hook.URL))
	l := newLedger(t)
	l.write(db, 4, soak(200, 1000))
	for i := range soak(2, 10) {
		l.hear(t, s, -2*i-1)
		server.run("stop")
		time.Sleep(time.Duration(i) * time.Second)
		server.run("start")
		since := time.Now()
		_ = db.Close(t.Context())
		db.Conn = db.connect()
		l.hear(t, s, -2*i-2)
		took := time.Since(since)
		t.Logf("restarted after %d s: recovered %s later", i, took.Round(10*time.Millisecond))
		if took > soak(time.Minute, 15*time.Second) {
			t.Error("that is too late")
		}
	}
	l.stop()
	v := l.settled(t, hook)
	t.Logf("%+v", v)
	if v.wrong() != 0 || v.committed < 50 {
		t.Errorf("%+v, want nothing lost, reordered or invented, and ids that stay", v)
	}
}

// hear makes a change of a row of its own and waits until it arrives.
func (l *ledger) hear(t *testing.T, s *side, k int) time.Duration {
	t.Helper()
	body, since := fmt.Sprintf("%d 1 insert", k), time.Now()
	l.mu.Lock()
	l.commits[body] = true
	l.mu.Unlock()
	s.db.exec("INSERT INTO ledger (id, k, seq) VALUES ($1, $2, 1)", k, k)
	after := s.db.text("SELECT pg_current_wal_lsn()::text")
	for deadline := since.Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		arrived := slices.ContainsFunc(s.got.arrivals(), func(a arrival) bool { return a.body == body })
		if arrived && (!s.acks || s.p.passed(s.db, after)) {
			return time.Since(since)
		}
		if time.Now().After(deadline) {
			t.Fatalf("what was changed %s ago has not come through", time.Since(since))
		}
	}
}
