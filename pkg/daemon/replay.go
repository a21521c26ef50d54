package daemon

import (
	"context"
	"fmt"
	"time"

	"github.com/waltrigger/waltrigger/pkg/api"
	"github.com/waltrigger/waltrigger/pkg/deliver"
)

func (s *deliveries) History(ctx context.Context, f api.DeliveryFilter) ([]api.Delivery, error) {
	if _, err := s.since(ctx, f.Trigger); err != nil {
		return nil, err
	}
	f.Status, f.Newest = api.StatusSent, true
	return s.List(ctx, f)
}

// since tells from which commit on what was sent for a trigger is kept.
func (s *deliveries) since(ctx context.Context, id int64) (time.Time, error) {
	if _, err := s.store.Trigger(ctx, id); err != nil {
		return time.Time{}, s.triggers.told(err)
	}
	since, kept, err := s.store.HistorySince(ctx)
	if err == nil && !kept {
		err = &api.RefusedError{Code: "no_history", Detail: "what was delivered is not kept: history.keep of the configuration is 0"}
	}
	return since, s.triggers.told(err)
}

func (s *deliveries) Replay(ctx context.Context, a api.Amendment) (api.Amended, error) {
	since, err := s.since(ctx, a.Filter.Trigger)
	if err != nil {
		return api.Amended{}, err
	}
	r := deliver.Request{Filter: filter(&a.Filter), Anew: a.Current, Rate: a.MaxRate, From: a.From}
	f := &r.Filter
	f.States, f.ByTime = []deliver.State{deliver.Sent}, true
	if f.To.IsZero() {
		f.To = time.Now()
	}
	switch {
	case s.bodies != deliver.AllBodies:
		return api.Amended{}, &api.RefusedError{Code: "body_not_kept", Detail: "what was delivered is kept without its bodies: delivery.bodies is not all"}
	case f.From.Before(since):
		return api.Amended{}, s.notKept(ctx, a.Filter.Trigger, since)
	}
	out, err := s.amend(ctx, r)
	return amended(out), err
}

// notKept refuses to replay what is not kept whole.
func (s *deliveries) notKept(ctx context.Context, id int64, since time.Time) error {
	e := &api.RefusedError{Code: "not_kept", Detail: fmt.Sprintf("nothing was replayed: what was delivered is kept whole from %s on, and from is before that", since.Format(time.RFC3339Nano)), Earliest: since}
	first, err := s.store.List(ctx, &deliver.Filter{Trigger: id, States: []deliver.State{deliver.Sent}, ByTime: true, From: since, Limit: 1, Brief: true})
	if err != nil {
		return s.triggers.told(err)
	}
	if len(first) > 0 {
		e.Detail += "; the first of this trigger is " + first[0].Message.ID
	}
	return e
}
