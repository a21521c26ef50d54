package daemon

import (
	"context"
	"slices"
	"time"

	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// lateEvery is how often tables are looked for that were not there, or could not be
// asked for, when their trigger was stored.
const lateEvery = 2 * time.Second

// lookForTables activates triggers whose tables became known after they were stored,
// until ctx ends.
func (s *triggers) lookForTables(ctx context.Context) error {
	tick := time.NewTicker(lateEvery)
	defer tick.Stop()
	for {
		for _, c := range s.current().Set.Triggers() {
			if !s.leads() { // who does looks for them
				break
			}
			if c.Trigger.Active && slices.ContainsFunc(c.Activations, unresolved) {
				if err := s.resolveLate(ctx, c.Trigger.ID); err != nil && ctx.Err() == nil {
					s.log.Warn("look for the tables of a trigger", "trigger", c.Trigger.ID, "err", err)
				}
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func unresolved(a trigger.Activation) bool { return a.Table == "" }

// resolveLate looks for the tables of one trigger. What would have been refused had the
// source been asked in time keeps it from being activated, and is shown as its blocker.
func (s *triggers) resolveLate(ctx context.Context, id int64) error {
	r, err := s.store.Trigger(ctx, id)
	if err != nil {
		return nilIfGone(err)
	}
	t := r.Trigger.Clone()
	v := trigger.Validate(ctx, t, s.env)
	next := s.depends(t, activations(t, v.Tables, &r))
	if len(v.Problems) > 0 {
		next = blocked(r.Activations, v.Problems[0])
	}
	if slices.EqualFunc(next, r.Activations, trigger.Activation.Equal) {
		return nil
	}
	if len(v.Problems) > 0 {
		s.log.Error("trigger cannot be activated", "trigger", id, "name", t.Name, "at", v.Problems[0].Pointer, "problem", v.Problems[0].Detail)
	}
	s.writing.Lock()
	err = s.store.UpdateActivations(ctx, id, r.Revision, func(now []trigger.Activation) []trigger.Activation {
		for i := range min(len(now), len(next)) { // what became active meanwhile stays so
			if now[i].State == trigger.Active {
				now[i].Columns = next[i].Columns
				continue
			}
			now[i] = next[i]
		}
		return now
	})
	if err == nil {
		err = s.reload(ctx)
	}
	s.writing.Unlock()
	if err != nil {
		return nilIfGone(err)
	}
	s.resumeAll()
	return nil
}

// blocked says at each activation without a table what stands in its way.
func blocked(as []trigger.Activation, p trigger.Problem) []trigger.Activation {
	out := slices.Clone(as)
	for i := range out {
		if unresolved(out[i]) {
			out[i].Blocker = p.Pointer + ": " + p.Detail
		}
	}
	return out
}
