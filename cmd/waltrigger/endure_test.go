package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// usage is what a process has of what must not grow.
type usage struct{ kilobytes, goroutines, descriptors int }

var (
	resident   = regexp.MustCompile(`(?m)^VmRSS:\s+(\d+) kB`)
	goroutines = regexp.MustCompile(`(?m)^go_goroutines (\d+)`)
)

func (p *process) usage() usage {
	p.t.Helper()
	of := fmt.Sprintf("/proc/%d/", p.cmd.Process.Pid)
	status, err := os.ReadFile(of + "status")
	if err != nil {
		p.t.Fatal(err)
	}
	files, err := os.ReadDir(of + "fd")
	if err != nil {
		p.t.Fatal(err)
	}
	number := func(r *regexp.Regexp, text string) int {
		n, err := strconv.Atoi(r.FindStringSubmatch(text)[1])
		if err != nil {
			p.t.Fatal(err)
		}
		return n
	}
	return usage{number(resident, string(status)), number(goroutines, p.metrics()), len(files)}
}

// medians are those of each of the three.
func medians(all []usage) usage {
	of := func(f func(usage) int) int {
		var list []int
		for _, u := range all {
			list = append(list, f(u))
		}
		slices.Sort(list)
		return list[len(list)/2]
	}
	return usage{of(func(u usage) int { return u.kilobytes }), of(func(u usage) int { return u.goroutines }), of(func(u usage) int { return u.descriptors })}
}

// destinations tells what the daemon says of them.
func (p *process) destinations() any {
	p.t.Helper()
	_, out, _ := p.call(http.MethodGet, "/api/destinations", "")
	return out["list"]
}

// TestEndurance has the daemon meet one fault after the other on all sides, in its long
// form for half an hour: memory, goroutines and descriptors do not grow.
func TestEndurance(t *testing.T) {
	db, well, flaky, dying := newDatabase(t), newFaulty(t), newFlaky(t), newFlaky(t)
	toDatabase, through := newProxy(t, db)
	toWell := newProxyTo(t, well.Listener.Addr().String())
	toStore, kept := newProxy(t, db)
	lines := []*proxy{toDatabase, toWell, toStore}
	for _, line := range lines {
		line.up()
	}
	p := newDaemon(t, through, loopback+"delivery: {queue: 1000, park: {after: 2s}}\n")
	p.rewrite("sqlite:"+filepath.Join(p.dir, "store.db"), kept+"&schema=wt")
	p.start()
	limits := `"timeout_secs":1,"retry":{"delays_secs":[0.2,0.4,0.8],"max_attempts":100}`
	for _, url := range []string{"http://" + toWell.Listen, flaky.URL, dying.URL} {
		p.create(strings.Replace(fmt.Sprintf(ledgerTrigger, url), `"url"`, limits+`,"url"`, 1))
	}
	l := newLedger(t)
	l.write(db, 8, soak(200, 500))
	lasts := soak(12*time.Second, 30*time.Minute)
	began := time.Now()
	var samples []usage
	for i := 0; time.Since(began) < lasts; i++ {
		line, f := lines[rand.IntN(len(lines))], faults[rand.IntN(len(faults))]
		dying.set(i%4 < 2)
		f.begin(line)
		time.Sleep(soak(200*time.Millisecond, time.Duration(rand.IntN(20))*time.Second))
		f.heal(line)
		for range soak(1, 4) { // it recovers, and is measured
			time.Sleep(soak(time.Second, 5*time.Second))
			samples = append(samples, p.usage())
		}
	}
	dying.set(false)
	l.stop()
	for name, r := range map[string]*faulty{"well": well, "flaky": flaky, "dying": dying} {
		v := l.settled(t, r)
		t.Logf("%s: %+v", name, v)
		if v.wrong() != 0 || v.committed < 500 {
			t.Errorf("%s: %+v, want nothing lost, reordered or invented, and ids that stay; waits: %v", name, v, p.destinations())
		}
	}
	third := len(samples) / 3
	first, last := medians(samples[:third]), medians(samples[len(samples)-third:])
	t.Logf("%s, %d samples; medians of the first and of the last third: resident %.1f and %.1f MB, goroutines %d and %d, descriptors %d and %d", time.Since(began).Round(time.Second), len(samples),
		float64(first.kilobytes)/1e3, float64(last.kilobytes)/1e3, first.goroutines, last.goroutines, first.descriptors, last.descriptors)
	// A tenth, and what differs from fault to fault; in the short form, what a daemon takes
	// until it has met each.
	grown := func(first, last, more int) bool { return last > first+first/10+more }
	if grown(first.kilobytes, last.kilobytes, soak(64_000, 10_000)) || grown(first.goroutines, last.goroutines, soak(400, 150)) || grown(first.descriptors, last.descriptors, soak(400, 150)) {
		t.Error("it grows")
	}
}
