package trigger

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

// Limits are how a destination is sent to, as far as the trigger says so.
type Limits struct {
	MaxInFlight int     `json:"max_in_flight,omitempty"` // requests under way at once
	RateLimit   float64 `json:"rate_limit,omitempty"`    // deliveries a second
	Retry       *Retry  `json:"retry,omitempty"`
}

// Retry is how a delivery is tried again that the destination refused.
type Retry struct {
	// DelaysSecs are the delays before each retry; nil = those of the configuration.
	DelaysSecs []float64 `json:"delays_secs,omitempty"`
	// MaxAttempts bounds the attempts, the first one included. More than there are delays
	// repeat the last one. 0 = as many as there are delays, and the first.
	MaxAttempts int `json:"max_attempts,omitempty"`
}

// Bounds of limits.
const (
	maxInFlight  = 1024
	maxRate      = 1e6
	maxAttempts  = 100
	maxDelays    = 50
	maxDelaySecs = 7 * 24 * 3600
	maxBatch     = 1000
)

// limitFields are the keys of Limits.
func (d *decoder) limitFields(l *Limits) []field {
	return []field{
		{name: "max_in_flight", nullable: true, read: func(n *node, p string) { d.count(n, p, &l.MaxInFlight, maxInFlight) }},
		{name: "rate_limit", nullable: true, read: func(n *node, p string) { d.number(n, p, &l.RateLimit, maxRate) }},
		{name: "retry", nullable: true, read: func(n *node, p string) {
			l.Retry = &Retry{}
			d.object(n, p, []field{
				{name: "delays_secs", nullable: true, read: func(n *node, p string) { d.delays(n, p, &l.Retry.DelaysSecs) }},
				{name: "max_attempts", nullable: true, read: func(n *node, p string) { d.count(n, p, &l.Retry.MaxAttempts, maxAttempts) }},
			})
		}},
	}
}

// count reads a whole number from 1 to limit.
func (d *decoder) count(n *node, ptr string, into *int, limit int) {
	if n.kind != kindNumber {
		d.add(ptr, CodeType, "is %s; a number is expected", n.kind)
		return
	}
	i, err := strconv.Atoi(n.str)
	if err != nil || i < 1 || i > limit {
		d.add(ptr, CodeRange, "must be a whole number from 1 to %d", limit)
		return
	}
	*into = i
}

// number reads a number above 0, at most limit.
func (d *decoder) number(n *node, ptr string, into *float64, limit float64) {
	if n.kind != kindNumber {
		d.add(ptr, CodeType, "is %s; a number is expected", n.kind)
		return
	}
	f, err := strconv.ParseFloat(n.str, 64)
	if err != nil || math.IsNaN(f) || f <= 0 || f > limit {
		d.add(ptr, CodeRange, "must be more than 0 and at most %g", limit)
		return
	}
	*into = f
}

func (d *decoder) delays(n *node, ptr string, into *[]float64) {
	items := d.list(n, ptr, false)
	if len(items) > maxDelays {
		d.add(ptr, CodeTooMany, "has more than %d items", maxDelays)
		return
	}
	*into = make([]float64, len(items))
	for i := range items {
		d.number(&items[i], fmt.Sprintf("%s/%d", ptr, i), &(*into)[i], maxDelaySecs)
	}
}

// compile gives the limits as whoever delivers wants them; schedule is the
// configuration's.
func (l *Limits) compile(schedule []time.Duration) sink.Limits {
	out := sink.Limits{MaxInFlight: l.MaxInFlight, Rate: l.RateLimit}
	r := l.Retry
	if r == nil || r.DelaysSecs == nil && r.MaxAttempts == 0 {
		return out
	}
	if r.DelaysSecs != nil {
		schedule = make([]time.Duration, len(r.DelaysSecs))
		for i, secs := range r.DelaysSecs {
			schedule[i] = time.Duration(secs * float64(time.Second))
		}
	}
	out.Schedule = append([]time.Duration{}, schedule...)
	if r.MaxAttempts == 0 {
		return out
	}
	for len(out.Schedule) > 0 && len(out.Schedule) < r.MaxAttempts-1 {
		out.Schedule = append(out.Schedule, out.Schedule[len(out.Schedule)-1])
	}
	out.Schedule = out.Schedule[:min(len(out.Schedule), r.MaxAttempts-1)]
	return out
}
