package daemon

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/waltrigger/waltrigger/pkg/api"
	"github.com/waltrigger/waltrigger/pkg/deliver"
	"github.com/waltrigger/waltrigger/pkg/resolve"
	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/store"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// deliveries shows and changes the deliveries that are kept. It implements api.Deliveries.
type deliveries struct {
	triggers *triggers
	store    *store.Store
	bodies   deliver.Bodies
}

func (d *daemon) deliveries() *deliveries {
	return &deliveries{triggers: d.triggers, store: d.store, bodies: d.cfg.Deliver().Bodies}
}

var states = map[string]deliver.State{api.StatusParked: deliver.Parked, api.StatusDead: deliver.Dead, api.StatusSent: deliver.Sent}

// filter is f for the store.
func filter(f *api.DeliveryFilter) deliver.Filter {
	out := deliver.Filter{
		IDs: f.IDs, Destination: f.Destination, Trigger: f.Trigger, Source: f.Source, Table: f.Table, Key: f.Key, Class: f.Class, Code: f.Code,
		From: f.From, To: f.To, ByTime: f.Newest, Newest: f.Newest, After: deliver.Mark{ID: f.After.ID, At: f.After.At}, Limit: f.Limit,
	}
	if f.Status != "" {
		out.States = []deliver.State{states[f.Status]}
	}
	return out
}

func (s *deliveries) List(ctx context.Context, f api.DeliveryFilter) ([]api.Delivery, error) {
	query := filter(&f)
	query.Brief = true
	ds, err := s.store.List(ctx, &query)
	if err != nil {
		return nil, s.triggers.told(err)
	}
	out := make([]api.Delivery, len(ds))
	for i, d := range ds {
		out[i] = show(d)
	}
	return out, nil
}

func (s *deliveries) Get(ctx context.Context, id uint64) (api.Delivery, error) {
	ds, err := s.store.List(ctx, &deliver.Filter{IDs: []uint64{id}, States: anyState})
	if err != nil {
		return api.Delivery{}, s.triggers.told(err)
	}
	if len(ds) == 0 {
		return api.Delivery{}, api.ErrNoDelivery
	}
	d := ds[0]
	out := show(d)
	out.Details = &api.Details{
		Attempts: []api.Attempt{}, Rendered: d.Event == nil, BodyKept: !d.Bare, RowKept: d.Event != nil || d.Origin != nil,
		Content: &api.Content{BodyType: d.Message.ContentType, Headers: []api.Header{}},
	}
	for _, t := range d.Tries {
		out.Details.Attempts = append(out.Details.Attempts, api.Attempt(t))
	}
	out.SetBody(d.Message.Body, utf8.Valid(d.Message.Body))
	for _, h := range d.Rendered {
		out.Headers = append(out.Headers, api.Header{Name: h.Name, Value: s.shown(d, h)})
	}
	return out, nil
}

var anyState = []deliver.State{deliver.Parked, deliver.Dead, deliver.Sent}

// show is what of d lists show.
func show(d *deliver.Delivery) api.Delivery {
	m := &d.Message
	out := api.Delivery{
		ID: d.ID, MessageID: m.ID, Trigger: d.Trigger, Destination: d.Destination, Source: d.Source, Signal: m.Signal, ContentType: m.Model,
		Table: d.Row.Table, Key: text(d.Row.Key), OrderingKey: text(m.Key), CommittedAt: m.Committed,
		ParkedAt: maybe(d.ParkedAt), FailedAt: maybe(d.FailedAt), NextAt: maybe(d.NextAt), SentAt: maybe(d.SentAt),
		Failures: d.Attempts, Class: d.Class, Code: d.Code, Error: d.Error,
	}
	for name, state := range states {
		if state == d.State {
			out.Status = name
		}
	}
	return out
}

func maybe(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func text(b []byte) string { return strings.ToValidUTF8(string(b), "\uFFFD") }

// shown is what is shown of a header that the row took part in: dynamic values by their
// names, and nothing that goes by the name of a secret, since what its author wrote around
// the row's part may be one.
func (s *deliveries) shown(d *deliver.Delivery, h sink.Header) string {
	if s.secret(d, h.Name) {
		return trigger.Redacted
	}
	return text([]byte(resolve.Names(h.Value)))
}

func (s *deliveries) secret(d *deliver.Delivery, name string) bool {
	for _, c := range s.triggers.current().Set.Triggers() {
		if c.Trigger.ID != d.Trigger {
			continue
		}
		for list, queues := range map[string][]trigger.Queue{"msg_broker_queues": c.Trigger.Queues, "actions": c.Trigger.Actions} {
			for _, q := range queues {
				if q.ID == d.Destination {
					return s.triggers.secret(list, q.Name, "parameters", name)
				}
			}
		}
	}
	return trigger.SecretHeader(name)
}

func (s *deliveries) Amend(ctx context.Context, a api.Amendment) (api.Amended, error) {
	r := deliver.Request{Filter: filter(&a.Filter), Anew: a.Current, Rate: a.MaxRate, From: a.From}
	switch f := &r.Filter; {
	case a.One != 0:
		f.IDs, f.States = []uint64{a.One}, anyState
	case len(f.States) > 0:
	case a.Verb == api.VerbSkip:
		f.States = []deliver.State{deliver.Parked}
	case a.Verb == api.VerbErase:
		f.States = anyState
	}
	switch a.Verb {
	case api.VerbSkip:
		r.Do = deliver.Skip
	case api.VerbErase:
		r.Do = deliver.Erase
	}
	out, err := s.amend(ctx, r)
	if err == nil && a.One != 0 && out.Changed == 0 {
		err = s.unchanged(ctx, a, out)
	}
	return amended(out), err
}

func (s *deliveries) amend(ctx context.Context, r deliver.Request) (deliver.Outcome, error) {
	reply, err := s.ask(ctx, call{Amend: &r})
	out := reply.Outcome
	switch {
	case errors.Is(err, deliver.ErrNoStore):
		return out, &api.RefusedError{Code: "parking_off", Detail: "the configuration parks nothing (delivery.park.max_bytes is 0), so nothing can be sent once more"}
	case errors.Is(err, deliver.ErrClosed):
		return out, errStopping
	}
	return out, s.triggers.told(err)
}

func amended(out deliver.Outcome) api.Amended {
	a := api.Amended{Deliveries: out.Changed, Left: api.Left{Body: out.Bare, Row: out.Unrendered, Destination: out.Homeless}, From: out.From}
	if out.More {
		a.More = &api.Place{ID: out.Last.ID, At: out.Last.At}
	}
	return a
}

// unchanged says why the one delivery that was asked for stays as it is.
func (s *deliveries) unchanged(ctx context.Context, a api.Amendment, out deliver.Outcome) error {
	switch {
	case out.Homeless > 0:
		return &api.RefusedError{Code: "destination_deleted", Detail: "its destination, or its trigger, was deleted: there is nowhere to send it"}
	case out.Bare > 0:
		return &api.RefusedError{Code: "body_not_kept", Detail: "what it says is not kept any more (delivery.bodies), so it cannot be sent once more"}
	case out.Unrendered > 0:
		return &api.RefusedError{Code: "row_not_kept", Detail: "the row that it was rendered from is not kept: without delivery.keep_rows only what could not be rendered in its turn can be rendered by the trigger as it is now; what it says is fixed, retry it as it is"}
	}
	d, err := s.Get(ctx, a.One)
	if err != nil {
		return err
	}
	return &api.RefusedError{Code: "not_parked", Detail: "it is " + d.Status + ": only what is parked can be skipped"}
}
