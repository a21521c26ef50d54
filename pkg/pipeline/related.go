package pipeline

import (
	"context"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/related"
	"github.com/waltrigger/waltrigger/pkg/source"
)

const (
	// lookupPatience is how long the log waits for a database that does not answer.
	// Then the events that need it wait by themselves, and the others go on.
	lookupPatience = 10 * time.Second
	// maxAhead is for how many changes related rows are read at once: each may need
	// related.MaxRows of them.
	maxAhead = 256
	// maxHeld, in changes, maxHeldBytes and heldFor bound how much of a transaction waits
	// for its end.
	maxHeld      = 1024
	maxHeldBytes = 1 << 20
	heldFor      = 50 * time.Millisecond
)

// whole splits what was read behind the last transaction that is complete. The rest is
// to come before it is looked at, if relations are followed from it: what is known of
// related rows counts for transactions that are known to their end. One that is too
// large, or whose end does not come (late), is looked at as it comes.
func (p *Pipeline) whole(b source.Batch, late bool) (now, held source.Batch) {
	at := len(b)
	for at > 0 && b[at-1].Op != change.Commit {
		at--
	}
	rest := b[at:]
	if len(rest) == 0 || rest[0].Tx == p.parted {
		return b, nil
	}
	if !late && len(rest) <= maxHeld && size(rest) <= maxHeldBytes && p.follows(rest) {
		return b[:at], rest
	}
	p.parted = rest[0].Tx
	return b, nil
}

// size is about how many bytes of values changes hold.
func size(changes []change.Change) int {
	n := 0
	for i := range changes {
		for _, row := range [2][]change.Value{changes[i].Before, changes[i].After} {
			for _, v := range row {
				n += len(v.Text)
			}
		}
	}
	return n
}

// follows reports whether relations are followed from one of changes.
func (p *Pipeline) follows(changes []change.Change) bool {
	p.adopt(p.view.Load())
	for i := range changes {
		c := &changes[i]
		pl := p.plan(c.Table)
		if pl == nil {
			continue
		}
		for j := range pl.byOp[c.Op] {
			if pl.byOp[c.Op][j].related.Follows() {
				return true
			}
		}
	}
	return false
}

// through is the Tx.Seq up to which b, which is looked at as a whole, tells all; 0 if it
// holds the end of no transaction.
func through(b source.Batch) uint64 {
	for i := len(b) - 1; i >= 0; i-- {
		if b[i].Op == change.Commit {
			return b[i].Tx.Seq
		}
	}
	return 0
}

// lookAhead reads the rows that the events of a batch refer to, and those of which the
// log does not hold what they name. A database that cannot be asked is waited for, but
// not for ever: then p.r.lookErr is set, and what needs it is rendered later.
func (p *Pipeline) lookAhead(ctx context.Context, batch source.Batch) error {
	p.r.fetched = nil
	events := p.events[:0]
	for i := range batch {
		c := &batch[i]
		if c.Op == change.Commit || c.Row() == nil {
			continue
		}
		pl := p.plan(c.Table)
		if pl == nil || !pl.asks[c.Op] {
			continue
		}
		steps := pl.byOp[c.Op]
		for j := range steps {
			s := &steps[j]
			if p.r.concerns(s, c) && (s.related.Asks() || p.r.fetches(s, c)) {
				events = append(events, event{s, c})
			}
		}
	}
	p.events = events
	if len(events) == 0 {
		return nil
	}
	wait := backoff.WithMaxElapsedTime(lookupPatience)
	if p.r.lookErr != nil {
		wait = backoff.WithMaxTries(1) // it was waited for already
	}
	b := backoff.NewExponentialBackOff()
	b.MaxInterval = time.Second
	_, err := backoff.Retry(ctx, func() (struct{}, error) { return struct{}{}, once(p.r.ask(ctx, events)) }, wait, backoff.WithBackOff(b),
		backoff.WithNotify(func(err error, wait time.Duration) {
			p.log.Warn("trying again", "source", p.name, "wait", wait, "err", err)
		}))
	p.r.lookErr = err
	for _, refused := range p.r.rows.Refused() {
		p.log.Warn("related rows cannot be read, what needs them waits", "source", p.name, "table", refused.Table.String(), "err", refused.Err)
	}
	return ctx.Err()
}

// once makes of an error that would only come again one that is not tried again.
func once(err error) error {
	if source.Lasting(err) {
		return backoff.Permanent(err)
	}
	return err
}

// event is a change for which the database has to be asked before a step can be
// rendered.
type event struct {
	s *step
	c *change.Change
}

// ask asks the database for all that events need: the names of relations, rows that the
// log does not hold whole, and the rows that they refer to.
func (r *renderer) ask(ctx context.Context, events []event) error {
	needs := r.wants[:0]
	for _, e := range events {
		if e.s.related.Asks() {
			needs = append(needs, related.Need{Plan: e.s.related, Change: e.c})
		}
	}
	r.wants = needs
	if err := r.rows.Learn(ctx, needs); err != nil {
		return err
	}
	if err := r.fetchWhole(ctx, events); err != nil {
		return err
	}
	needs = needs[:0]
	for _, e := range events {
		if !e.s.related.Follows() {
			continue
		}
		h := hit{step: e.s, c: e.c}
		if row := r.fetched[e.c]; row != nil {
			r.patch(&h, row)
		}
		needs = append(needs, related.Need{Plan: e.s.related, Change: withoutHidden(h.c, r.event.Hidden.Of(h.c.Table))})
	}
	return r.rows.Read(ctx, needs)
}

// withoutHidden gives c without the values that may not leave: nothing is looked up by
// them.
func withoutHidden(c *change.Change, mask []bool) *change.Change {
	if mask == nil {
		return c
	}
	out := *c
	out.Before, out.After = slices.Clone(c.Before), slices.Clone(c.After)
	for i, hidden := range mask {
		for _, row := range [2][]change.Value{out.Before, out.After} {
			if hidden && row != nil {
				row[i] = change.Value{}
			}
		}
	}
	return &out
}
