package main

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// clocked is a trigger on the ledger whose requests carry the time of the commit.
func clocked(url string) string {
	return strings.Replace(fmt.Sprintf(ledgerTrigger, url), `"url"`, `"headers":{"X-Committed":"{{ event.committed_at }}"},"url"`, 1)
}

// latencies are how long what was accepted took from the commit on, since this was asked
// last.
func (f *faulty) latencies() []time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.took
	f.took = nil
	return out
}

// percentile gives the n-th of 1,000 parts.
func percentile(all []time.Duration, n int) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[min(len(all)*n/1000, len(all)-1)]
}

// clock notes how long r took since the commit, if it says so; f.mu is held.
func (f *faulty) clock(r *http.Request) {
	if at, err := time.Parse(time.RFC3339Nano, r.Header.Get("X-Committed")); err == nil {
		f.took = append(f.took, time.Since(at))
	}
}

// TestDeadDestination has one of two destinations away for some seconds, in its long form
// for ten minutes, under 2,000 changes a second: the other one hears of them as soon as
// before, the log is acknowledged, and the first one gets all in order once it is back.
func TestDeadDestination(t *testing.T) {
	db, well, dying := newDatabase(t), newFaulty(t), newFaulty(t)
	line := newProxyTo(t, dying.Listener.Addr().String())
	line.up()
	p := startDaemon(t, db.url, fmt.Sprintf("%sdelivery: {park: {after: %s}}\n", loopback, soak("1s", "10s")))
	p.create(clocked(well.URL))
	p.create(fmt.Sprintf(ledgerTrigger, "http://"+line.Listen))
	l := newLedger(t)
	rate := soak(500, 2000)
	l.write(db, 8, rate)
	measure := func(d time.Duration) (took []time.Duration, lag int64) {
		time.Sleep(d / 10) // what has begun is not measured
		well.latencies()
		for until := time.Now().Add(d); time.Now().Before(until); {
			time.Sleep(500 * time.Millisecond)
			lag = max(lag, db.lag(p.slot))
		}
		return well.latencies(), lag
	}
	before, _ := measure(soak(2*time.Second, time.Minute))
	line.down()
	during, lag := measure(soak(5*time.Second, 10*time.Minute))
	waitFor(t, "parked", func() bool { return parkedSome.MatchString(p.metrics()) })
	parked := parkedSum(p)
	after := db.text(`SELECT pg_current_wal_lsn()::text`)
	waitFor(t, "acknowledged", func() bool { return p.passed(db, after) })
	line.up()
	back := time.Now()
	l.stop()
	w := l.settled(t, dying)
	got := dying.arrivals()
	drained := got[len(got)-1].at.Sub(back)
	v := l.settled(t, well)
	was, is := percentile(before, 990), percentile(during, 990)
	t.Logf("healthy, %d changes a second: p50 %s before, %s while the other one is dead; p99 %s before, %s (%+.1f %%)", rate,
		percentile(before, 500), percentile(during, 500), was, is, 100*(float64(is)/float64(was)-1))
	t.Logf("the slot lags by at most %.2f MB; of the dead one %d are parked, sent in %s: %.0f a second", float64(lag)/1e6, parked, drained.Round(100*time.Millisecond), float64(parked)/drained.Seconds())
	t.Logf("healthy: %+v; dead: %+v", v, w)
	// What was under way when the line was cut may have been taken, and comes again.
	if v.wrong()+v.duplicates+w.wrong() != 0 {
		t.Error("want nothing lost, reordered or invented, and nothing repeated where no answer was lost")
	}
	if lag > soak[int64](1<<30, 64<<20) { // other databases of the server write, too
		t.Errorf("the slot lags by %d bytes", lag)
	}
	if soak(false, true) && is > was*11/10 && is-was > time.Millisecond {
		t.Error("the healthy one waits for the dead one")
	}
}

// lag is how many bytes of the log a slot keeps from being acknowledged.
func (d *database) lag(slot string) (bytes int64) {
	d.t.Helper()
	if err := d.QueryRow(context.Background(), `SELECT (pg_current_wal_lsn() - confirmed_flush_lsn)::bigint FROM pg_replication_slots WHERE slot_name = $1`, slot).Scan(&bytes); err != nil {
		d.t.Fatal(err)
	}
	return bytes
}

var parkedCount = regexp.MustCompile(`waltrigger_parked_deliveries\{[^}]*\} (\S+)`)

// parkedSum is how many deliveries are parked.
func parkedSum(p *process) (n int) {
	for _, m := range parkedCount.FindAllStringSubmatch(p.metrics(), -1) {
		x, _ := strconv.ParseFloat(m[1], 64)
		n += int(x)
	}
	return n
}
