package deliver

import (
	"math/rand/v2"
	"time"
)

// Backoff is the schedule of retries.
//
// A destination that cannot be reached is tried again after First, then twice as long
// each time: by default after 0.25, 0.5, 1, 2, 4, 5, 5 … seconds, each up to a fifth
// shorter or longer. Once it has failed Trip times in a row without a success between,
// one delivery probes it, after the same delays, at most Probe (5 s) apart, and Max (60 s)
// after Patient (120) probes, about ten minutes.
//
// A single delivery that is refused is tried again by Schedule: by default after 5 s,
// 5 min, 30 min, 2, 5, 10, 14, 20 and 24 h, about 75 hours in all, and is dead then.
type Backoff struct {
	First, Probe, Max time.Duration
	Trip, Patient     int
	Schedule          []time.Duration
}

// DefaultBackoff holds the defaults. The schedule is that of Standard Webhooks 1.0.0.
var DefaultBackoff = Backoff{
	First: 250 * time.Millisecond, Probe: 5 * time.Second, Max: time.Minute, Trip: 5, Patient: 120,
	Schedule: []time.Duration{
		5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour,
		10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
	},
}

// after returns the delay before the retry that follows the n-th failure, n from 1.
func (b Backoff) after(n int, limit time.Duration) time.Duration {
	d := b.First
	for ; n > 1 && d < limit; n-- {
		d *= 2
	}
	return jitter(min(d, limit))
}

// probe returns the delay before a destination is tried that failed n times in a row.
func (b Backoff) probe(n int) time.Duration {
	if n > b.Trip+b.Patient {
		return jitter(b.Max)
	}
	return b.after(n, b.Probe)
}

// retry returns the delay before a delivery is tried again that was refused n times, n
// from 1; false if it was tried for the last time.
func retry(schedule []time.Duration, n int) (time.Duration, bool) {
	if n > len(schedule) {
		return 0, false
	}
	return jitter(schedule[n-1]), true
}

// jitter makes d up to a fifth shorter or longer.
func jitter(d time.Duration) time.Duration { return d - d/5 + rand.N(2*d/5+1) }
