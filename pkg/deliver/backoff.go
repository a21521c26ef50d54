package deliver

import (
	"math/rand/v2"
	"time"
)

// Backoff is the schedule of retries.
//
// A delivery that is refused is tried again after First, then twice as long each time,
// at most Max: by default after 0.25, 0.5, 1, 2, 4 … 60 seconds, each up to a fifth
// shorter or longer. A destination that fails Trip times in a row without a success
// between is probed by one delivery after the same delays, at most Probe (5 s) apart.
type Backoff struct {
	First, Max, Probe time.Duration
	Trip              int
}

// DefaultBackoff holds the defaults.
var DefaultBackoff = Backoff{First: 250 * time.Millisecond, Max: time.Minute, Probe: 5 * time.Second, Trip: 5}

// after returns the delay before the retry that follows the n-th failure, n from 1.
func (b Backoff) after(n int, limit time.Duration) time.Duration {
	d := b.First
	for ; n > 1 && d < limit; n-- {
		d *= 2
	}
	d = min(d, limit)
	return d - d/5 + rand.N(2*d/5+1)
}
