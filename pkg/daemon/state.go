package daemon

import (
	"slices"

	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// shown is a record as it may be shown.
func (s *triggers) shown(r trigger.Record, err error) (trigger.Record, error) {
	if err == nil {
		s.inForce(&r)
	}
	return r, s.told(err)
}

// inForce says in r what holds of it at this moment: what keeps it from rendering, and of
// its activations that none is active before it is in force, or without its table. Who
// sees that a trigger is active may rely on it.
func (s *triggers) inForce(r *trigger.Record) {
	if !r.Trigger.Active {
		return
	}
	s.mu.Lock()
	c := s.compiled[r.Trigger.ID]
	s.mu.Unlock()
	if c == nil || c.Revision != r.Revision {
		return
	}
	r.Activations = slices.Clone(r.Activations)
	for i := range r.Activations {
		a := &r.Activations[i]
		if a.State == trigger.Active && !slices.ContainsFunc(c.Activations, a.Equal) {
			a.State = trigger.Pending
		}
		if t := s.sources.byName(a.ContentType.Source); t != nil && a.State == trigger.Active && t.isGone(*a) {
			a.State, a.Blocker = trigger.Pending, goneSaid
		}
	}
	if c.Broken != nil {
		r.Broken = &trigger.Broken{Reason: c.Broken.Error()}
		return
	}
	for _, t := range s.sources.all() {
		if b := t.broken(r.Trigger.ID, r.Revision); b != nil {
			r.Broken = b
			return
		}
	}
}
