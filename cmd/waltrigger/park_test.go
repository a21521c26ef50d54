package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestParkingKeepsUp parks what one statement changes faster than a destination that is
// down is found to be so, and sends it all once that is back. The long form wants 20,000
// deliveries a second to be parked, and 10,000 to be sent.
func TestParkingKeepsUp(t *testing.T) {
	db, hook := newDatabase(t), newFaulty(t)
	n := soak(20_000, 400_000)
	p := startDaemon(t, db.url, loopback+"delivery: {park: {after: 0s}}\n")
	p.create(strings.Replace(fmt.Sprintf(ledgerTrigger, hook.URL), `"url"`, `"batch":100,"url"`, 1))
	hook.set(true)
	db.exec("INSERT INTO ledger (k, seq) VALUES (-1, 1)")
	waitFor(t, "seen to be down", func() bool { return parkedSum(p) == 1 })
	l := newLedger(t)
	for i := 1; i <= n; i++ {
		l.commits[fmt.Sprintf("%d %d insert", i%1000, i)] = true
	}
	l.commits["-1 1 insert"] = true
	db.exec("INSERT INTO ledger (k, seq) SELECT i % 1000, i FROM generate_series(1, $1::int) i", n)
	began := time.Now()
	waitLong(t, 2*time.Minute, "all parked", func() bool { return parkedSum(p) == n+1 })
	in := float64(n) / time.Since(began).Seconds()
	hook.set(false)
	v := l.settled(t, hook)
	got := hook.arrivals()
	out := float64(n) / got[len(got)-1].at.Sub(got[0].at).Seconds()
	t.Logf("%d deliveries: %.0f a second parked, %.0f a second sent; %+v", n, in, out, v)
	if v.wrong()+v.duplicates != 0 {
		t.Error("want nothing lost, reordered, invented or repeated")
	}
	if soak(false, true) && (in < 20_000 || out < 10_000) {
		t.Error("that is too slow")
	}
}
