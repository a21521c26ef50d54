package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// result is one measured peer.
type result struct {
	Peer     string  `json:"peer"`
	Grouping string  `json:"grouping"`
	Rep      int     `json:"rep"`
	Rows     int     `json:"rows"`
	Received int     `json:"received"`
	Dups     int     `json:"dups"`
	Back     int     `json:"out_of_order"`
	Strange  int     `json:"without_id"`
	PerSec   float64 `json:"events_per_s"`
	First    float64 `json:"start_to_first_s"`
	CPU      float64 `json:"cpu_s_per_100k"`
	HWM      float64 `json:"peak_rss_mb"`
	Anon     float64 `json:"peak_anon_mb"`
	Ratio    float64 `json:"ratio,omitempty"` // of events/s to the bare loop of the same run
	Queries  int     `json:"lookup_queries,omitempty"`
	HitRate  float64 `json:"lookup_hit_rate,omitempty"`
	Stale    int     `json:"stale,omitempty"` // related rows older than the event
	checked  bool    // order was there to be checked
}

// sound reports whether everything arrived, and in order.
func (r result) sound() bool {
	return r.Received == r.Rows && r.Strange == 0 && r.Stale == 0 && (!r.checked || r.Back == 0)
}

// runAll goes through the repetitions and prints the table.
func runAll(ctx context.Context, o options) error {
	dir, err := filepath.Abs(o.dir)
	if err != nil {
		return err
	}
	o.dir = dir
	if err := os.MkdirAll(o.dir, 0o755); err != nil {
		return err
	}
	out, err := os.OpenFile(filepath.Join(o.dir, "results.jsonl"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	var all []result
	for rep := 1; rep <= o.reps; rep++ {
		rs, err := runRep(ctx, o, rep)
		for _, r := range rs {
			if err := json.NewEncoder(out).Encode(r); err != nil {
				return err
			}
		}
		all = append(all, rs...)
		if err != nil {
			return err
		}
	}
	report(os.Stdout, all)
	for _, r := range all {
		if !r.sound() {
			return errors.New("something was lost or out of order; see the table")
		}
	}
	return nil
}

// runRep measures everything once, in a database of its own.
func runRep(ctx context.Context, o options, rep int) (rs []result, err error) {
	d, err := createDatabase(ctx, o.postgres, rep)
	if err != nil {
		return nil, fmt.Errorf("create the database: %w", err)
	}
	defer func() { err = errors.Join(err, d.drop()) }()
	rec := &recorder{}
	url, stop, err := rec.serve()
	if err != nil {
		return nil, err
	}
	defer stop()
	ids := int64(1)
	for _, g := range []struct {
		name string
		size int
	}{{"tx100", 100}, {"onetx", o.rows}, {"relations", 100}} {
		if !o.has("", g.name) && (!o.has("limits", "") || g.name != "tx100") {
			continue
		}
		got, err := runGrouping(ctx, o, rep, d, rec, url, g.name, g.size, &ids)
		rs = append(rs, got...)
		if err != nil {
			return rs, fmt.Errorf("%s: %w", g.name, err)
		}
	}
	return rs, nil
}

// runGrouping writes one backlog and lets every peer read it from its own slot.
func runGrouping(ctx context.Context, o options, rep int, d *database, rec *recorder, url, grouping string, size int, ids *int64) ([]result, error) {
	peers, err := o.peers(d, grouping, url)
	if err != nil {
		return nil, err
	}
	decodeSlot := d.slotName("decode-" + grouping)
	limits := o.has("limits", "") && grouping != "relations"
	if limits {
		if err := d.createSlot(ctx, decodeSlot); err != nil {
			return nil, err
		}
	}
	for _, p := range peers {
		if err := p.prepare(ctx, o, d, rec, ids); err != nil {
			return nil, fmt.Errorf("prepare %s: %w", p.name, err)
		}
	}
	from := *ids + 1000
	to := from + int64(o.rows) - 1
	*ids = to + 1
	fmt.Fprintf(os.Stderr, "bench: writing %d rows, %d a transaction\n", o.rows, size)
	insert := d.insert
	if grouping == "relations" {
		insert = d.insertRelated
	}
	if err := insert(ctx, from, to, size); err != nil {
		return nil, err
	}
	if _, err := d.conn.Exec(ctx, "CHECKPOINT"); err != nil {
		return nil, err
	}
	var rs []result
	if limits {
		got, err := measureLimits(ctx, o, d, rec, url, decodeSlot, grouping, rep)
		rs = append(rs, got...)
		if err != nil {
			return rs, err
		}
	}
	refs := map[string]float64{}
	for _, p := range peers {
		fmt.Fprintf(os.Stderr, "bench: %s %s\n", p.name, grouping)
		r, err := measure(ctx, o, p, rec, from, to)
		if err != nil {
			return rs, fmt.Errorf("%s: %w", p.name, err)
		}
		r.Grouping, r.Rep = grouping, rep
		if p.reference {
			refs[p.sink] = r.PerSec
		} else {
			r.Ratio = r.PerSec / refs[p.sink]
		}
		rs = append(rs, r)
		if grouping == "relations" && !p.reference {
			if r, err = measureLive(ctx, o, p, d, rec, size, ids); err != nil {
				return rs, fmt.Errorf("%s live: %w", p.name, err)
			}
			r.Grouping, r.Rep = "live", rep
			rs = append(rs, r)
		}
		if err := d.dropSlot(ctx, p.slot); err != nil {
			return rs, err
		}
	}
	return rs, nil
}

// measure lets one peer read the backlog.
func measure(ctx context.Context, o options, p peer, rec *recorder, from, to int64) (r result, err error) {
	rows := int(to - from + 1)
	rec.related = p.payload == related
	rec.expect(from, to)
	stop, err := p.receive(ctx, o, rec)
	if err != nil {
		return r, err
	}
	defer stop()
	proc, err := p.start(o)
	if err != nil {
		return r, err
	}
	return await(ctx, o, p, rec, proc, rows)
}

// measureLive writes rows while the product reads.
func measureLive(ctx context.Context, o options, p peer, d *database, rec *recorder, size int, ids *int64) (r result, err error) {
	from := *ids + 1000
	to := from + int64(o.rows) - 1
	*ids = to + 1
	rec.related = true
	rec.expect(from, to)
	stop, err := p.receive(ctx, o, rec)
	if err != nil {
		return r, err
	}
	defer stop()
	proc, err := p.start(o)
	if err != nil {
		return r, err
	}
	written := make(chan error, 1)
	go func() { written <- d.insertRelated(ctx, from, to, size) }()
	r, err = await(ctx, o, p, rec, proc, o.rows)
	return r, errors.Join(err, <-written)
}

// await waits until all rows are there, and says how it was.
func await(ctx context.Context, o options, p peer, rec *recorder, proc *process, rows int) (r result, err error) {
	if err := arrived(ctx, rec, proc, rows); err != nil {
		_, _ = proc.stop()
		return r, err
	}
	cpu, hwm := proc.cpu(), proc.status("VmHWM")
	// Whatever comes twice would come about now.
	select {
	case <-time.After(500 * time.Millisecond):
	case <-ctx.Done():
	}
	c := rec.counts()
	queries, hits, misses := lookups(ctx, p.ops)
	anon, err := proc.stop()
	r = result{
		Queries: queries, HitRate: hits / max(1, hits+misses), Stale: c.stale,
		Peer: p.name, Rows: rows, Received: c.unique, Dups: c.dups, Back: c.back, Strange: c.strange,
		HWM: hwm, Anon: anon, CPU: cpu / float64(max(1, c.unique)) * 1e5, checked: o.ordering == "customer" || !p.product,
	}
	if c.unique > 1 {
		r.PerSec = float64(c.unique) / c.done.Sub(c.first).Seconds()
		r.First = c.first.Sub(proc.started).Seconds()
	}
	return r, err
}

// arrived waits until n rows are there, the process ends, or nothing comes for 40 s.
func arrived(ctx context.Context, rec *recorder, proc *process, n int) error {
	last, at := -1, time.Now()
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for {
		c := rec.counts()
		if c.unique >= n {
			return nil
		}
		if c.unique > last {
			last, at = c.unique, time.Now()
		}
		if time.Since(at) > 40*time.Second {
			if c.unique == 0 {
				return errors.New("nothing arrived within 40 s")
			}
			return nil // the table says what is missing
		}
		if err := proc.ended(); err != nil {
			return err
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// probe inserts a row every 100 ms until one arrives.
func probe(ctx context.Context, d *database, rec *recorder, proc *process, ids *int64) error {
	rec.expect(*ids, *ids+999)
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	for range 900 {
		if err := d.insert(ctx, *ids, *ids, 1); err != nil {
			return err
		}
		*ids++
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if rec.counts().unique > 0 {
			return nil
		}
		if err := proc.ended(); err != nil {
			return err
		}
	}
	return errors.New("no row arrived within 90 s")
}

// measureLimits asks what the machine can do without any product.
func measureLimits(ctx context.Context, o options, d *database, rec *recorder, url, slot, grouping string, rep int) ([]result, error) {
	fmt.Fprintf(os.Stderr, "bench: limits %s\n", grouping)
	var rs []result
	add := func(name string, b []byte) error {
		var l limit
		if err := json.Unmarshal(b, &l); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		rs = append(rs, result{Peer: name, Grouping: grouping, Rep: rep, Rows: o.rows, Received: o.rows, PerSec: l.PerSecond, CPU: l.CPU, HWM: l.HWM})
		return nil
	}
	b, err := output(ctx, "decode", "-postgres", d.dsn, "-slot", slot, "-rows", fmt.Sprint(o.rows))
	if err == nil {
		err = add("decode", b)
	}
	if err != nil {
		return rs, err
	}
	if err := d.dropSlot(ctx, slot); err != nil || grouping != "tx100" {
		return rs, err
	}
	rec.expect(1, int64(o.rows))
	b, err = output(ctx, "post", "-url", url, "-workers", fmt.Sprint(o.workers), "-rows", fmt.Sprint(o.rows))
	if err != nil {
		return rs, err
	}
	return rs, add("post", b)
}

// lookups reads the product's counters of related rows.
func lookups(ctx context.Context, ops string) (queries int, hits, misses float64) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+ops+"/metrics", nil)
	if err != nil {
		return 0, 0, 0
	}
	resp, err := http.DefaultClient.Do(q)
	if err != nil {
		return 0, 0, 0
	}
	defer resp.Body.Close()
	for s := bufio.NewScanner(resp.Body); s.Scan(); {
		name, text, _ := strings.Cut(s.Text(), " ")
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			continue
		}
		switch name {
		case `waltrigger_lookups_total{source="bench"}`:
			queries = int(v)
		case `waltrigger_lookup_hits_total{source="bench"}`:
			hits = v
		case `waltrigger_lookup_misses_total{source="bench"}`:
			misses = v
		}
	}
	return queries, hits, misses
}
