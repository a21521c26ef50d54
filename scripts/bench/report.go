package main

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"text/tabwriter"
)

// report prints one line a peer and grouping: the median of the repetitions, by
// events/s. What was lost or out of order is added up over all of them.
func report(w io.Writer, all []result) {
	fmt.Fprintf(w, "\n%d CPUs, %s; ratio = events/s to the bare loop (ref-*) of the same run\n", runtime.NumCPU(), runtime.Version())
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "peer\tgrouping\tevents/s\tratio\tCPU s/100k\tpeak MB\tanon MB\tto first s\tlost\ttwice\tout of order\t")
	for _, rs := range group(all) {
		slices.SortFunc(rs, func(a, b result) int { return int(a.PerSec - b.PerSec) })
		m := rs[len(rs)/2]
		lost, dups, back := 0, 0, 0
		for _, r := range rs {
			lost += r.Rows - r.Received
			dups += r.Dups
			back += r.Back
		}
		order := fmt.Sprint(back)
		if !m.checked {
			order = "-"
		}
		fmt.Fprintf(t, "%s\t%s\t%.0f\t%s\t%.2f\t%.1f\t%s\t%s\t%d\t%d\t%s\t\n", m.Peer, m.Grouping, m.PerSec, number(m.Ratio), m.CPU,
			m.HWM, number(m.Anon), number(m.First), lost, dups, order)
	}
	t.Flush()
	if slices.ContainsFunc(all, func(r result) bool { return r.Queries > 0 }) {
		reportRelated(w, all)
	}
}

// reportRelated prints what the related rows of each run took.
func reportRelated(w io.Writer, all []result) {
	fmt.Fprintln(w, "\nrelated rows; ratio = events/s to the same run without them; stale = older than the event")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "peer\tgrouping\trun\tevents\tratio\tqueries\thit rate\tstale\t")
	for _, r := range all {
		if r.Queries > 0 {
			fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%s\t%d\t%.4f\t%d\t\n", r.Peer, r.Grouping, r.Rep, r.Received, number(r.Ratio), r.Queries, r.HitRate, r.Stale)
		}
	}
	t.Flush()
}

// group puts the repetitions of a peer and grouping together, in order of appearance.
func group(all []result) [][]result {
	var out [][]result
	for _, r := range all {
		i := slices.IndexFunc(out, func(g []result) bool { return g[0].Peer == r.Peer && g[0].Grouping == r.Grouping })
		if i < 0 {
			out = append(out, []result{r})
			continue
		}
		out[i] = append(out[i], r)
	}
	return out
}

func number(f float64) string {
	if f == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", f)
}
