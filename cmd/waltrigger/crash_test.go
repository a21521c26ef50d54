package main

import (
	"fmt"
	"testing"
	"time"
)

func TestCleanRestartLosesAndRepeatsNothing(t *testing.T) {
	db, hook := newDatabase(t), newReceiver(t)
	p := startDaemon(t, db.url, loopback)
	p.create(fmt.Sprintf(ledgerTrigger, hook.URL))
	l := newLedger(t)
	l.write(db, 8, 4000)
	for range 3 {
		time.Sleep(700 * time.Millisecond)
		p.stop()
		p.start()
	}
	l.stop()
	v := l.settled(t, hook)
	t.Logf("%+v", v)
	if v.wrong()+v.duplicates != 0 || v.committed < 1000 {
		t.Errorf("%+v, want nothing lost, reordered, invented or repeated", v)
	}
}

// TestRestartWithinATransaction stops the daemon inside a large transaction.
func TestRestartWithinATransaction(t *testing.T) {
	db, hook := newDatabase(t), newReceiver(t)
	p := startDaemon(t, db.url, loopback)
	p.create(fmt.Sprintf(ledgerTrigger, hook.URL))
	l := newLedger(t)
	db.exec("INSERT INTO ledger (k, seq) SELECT i % 50, i FROM generate_series(1, 60000) i")
	for i := 1; i <= 60000; i++ {
		l.commits[fmt.Sprintf("%d %d insert", i%50, i)] = true
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
	if v.wrong()+v.duplicates != 0 {
		t.Errorf("%+v, want nothing lost, reordered, invented or repeated", v)
	}
}
