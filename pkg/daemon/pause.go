package daemon

import (
	"context"
	"errors"
	"slices"

	"github.com/waltrigger/waltrigger/pkg/api"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

func (s *triggers) Pause(ctx context.Context, id int64, mode trigger.Paused, o api.WriteOptions) (trigger.Record, error) {
	if mode == trigger.PausedKeep && !s.compiler.Parks {
		return trigger.Record{}, &api.RefusedError{
			Code: "parking_off", Detail: "what a paused trigger fires cannot be kept, since nothing is parked (delivery.park.max_bytes is 0): pause it with mode drop, or deactivate it",
		}
	}
	for {
		r, err := s.pause(ctx, id, mode, o)
		if errors.Is(err, trigger.ErrStale) && o.IfRevision == 0 && ctx.Err() == nil {
			continue
		}
		return s.shown(r, err)
	}
}

func (s *triggers) pause(ctx context.Context, id int64, mode trigger.Paused, o api.WriteOptions) (trigger.Record, error) {
	was, err := s.store.Trigger(ctx, id)
	switch {
	case err != nil:
		return was, err
	case o.IfRevision != 0 && o.IfRevision != was.Revision:
		return was, trigger.ErrStale
	case was.Paused == mode:
		return was, nil
	}
	r := was
	r.Paused = mode
	if was.Paused == trigger.PausedDrop { // what was committed meanwhile does not fire
		r.Activations = slices.Clone(was.Activations)
		for i := range r.Activations {
			a := &r.Activations[i]
			a.State, a.Seq, a.Position, a.Blocker, a.Refused = trigger.Pending, 0, "", "", false
		}
	}
	if err := s.change(ctx, func() error { return s.store.PauseTrigger(ctx, &r, was.Revision) }); err != nil {
		return r, err
	}
	s.log.Info("trigger paused or resumed", "trigger", id, "name", r.Trigger.Name, "paused", string(mode))
	return s.stored(ctx, r, o), nil
}

// warnPaused says which triggers hold up the log, since the configuration has changed
// after they were paused.
func (s *triggers) warnPaused() {
	for _, c := range s.current().Set.Triggers() {
		if c.Paused == trigger.PausedKeep && !s.compiler.Parks {
			s.log.Error("paused trigger holds up the log: it keeps what it fires, and nothing is parked (delivery.park.max_bytes is 0); resume it, or pause it with mode drop", "trigger", c.Trigger.ID, "name", c.Trigger.Name)
		}
	}
}
