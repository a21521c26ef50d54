package daemon

import (
	"context"
	"strings"

	"github.com/waltrigger/waltrigger/pkg/api"
	"github.com/waltrigger/waltrigger/pkg/deliver"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

func (s *deliveries) Destinations(ctx context.Context, id int64) ([]api.Destination, error) {
	if id != 0 {
		if _, err := s.store.Trigger(ctx, id); err != nil {
			return nil, s.triggers.told(err)
		}
	}
	var out []api.Destination
	var ids []string
	reply, err := s.ask(ctx, call{Status: true})
	if err != nil {
		return nil, s.triggers.told(err)
	}
	at := map[string]deliver.Status{}
	for _, st := range reply.Status {
		at[st.ID] = st
	}
	for _, c := range s.triggers.current().Set.Triggers() {
		if id != 0 && c.Trigger.ID != id {
			continue
		}
		for _, d := range destinationsOf(c) {
			describe(&d, at[d.ID])
			out, ids = append(out, d), append(ids, d.ID)
		}
	}
	dead, err := s.store.Count(ctx, deliver.Dead, ids)
	if err != nil {
		return nil, s.triggers.told(err)
	}
	for i := range out {
		d := &out[i]
		if d.Dead = dead[d.ID]; d.Parked == 0 {
			continue
		}
		first, err := s.store.List(ctx, &deliver.Filter{Destination: d.ID, States: []deliver.State{deliver.Parked}, Limit: 1, Brief: true})
		if err != nil {
			return nil, s.triggers.told(err)
		}
		if len(first) > 0 {
			d.Oldest = maybe(first[0].Message.Committed)
		}
	}
	return out, nil
}

// destinationsOf names the destinations of a trigger.
func destinationsOf(c *trigger.Compiled) []api.Destination {
	t := c.Trigger
	var out []api.Destination
	add := func(id, list, target string) {
		d := api.Destination{ID: id, Trigger: t.ID, TriggerName: t.Name, List: list, Target: target}
		for _, compiled := range c.Destinations {
			if compiled.ID == id {
				d.Type = compiled.Kind().Name
			}
		}
		out = append(out, d)
	}
	for _, w := range t.Webhooks {
		add(w.ID, "webhooks", origin(w.URL))
	}
	for _, q := range t.Queues {
		add(q.ID, "msg_broker_queues", q.Name)
	}
	for _, q := range t.Actions {
		add(q.ID, "actions", q.Name)
	}
	return out
}

// origin cuts off path and query, which may hold a secret, or what is of a row.
func origin(url string) string {
	scheme, rest, _ := strings.Cut(url, "://")
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		rest = rest[:i]
	}
	return scheme + "://" + rest
}

// describe adds how d is.
func describe(d *api.Destination, st deliver.Status) {
	d.State, d.Waiting, d.InFlight, d.Parked = api.DestinationOK, st.Waiting, st.InFlight, st.Parked
	d.Failures, d.RetryAt, d.Error = st.Failures, maybe(st.RetryAt), st.Err
	switch {
	case st.Paused:
		d.State = api.DestinationPaused
	case st.Held:
		d.State, d.RetryAt = api.DestinationHeld, nil
	case st.Failing:
		d.State = api.DestinationFailing
	}
}

func (s *deliveries) RetryNow(ctx context.Context, id string) (api.Destination, error) {
	reply, err := s.ask(ctx, call{Status: true})
	if err != nil {
		return api.Destination{}, s.triggers.told(err)
	}
	of := int64(0)
	for _, st := range reply.Status {
		switch {
		case st.ID != id:
		case st.Paused:
			return api.Destination{}, &api.RefusedError{Code: "paused", Detail: "its trigger is paused: resume that"}
		default:
			of = st.Trigger
		}
	}
	if of != 0 {
		reply, err = s.ask(ctx, call{RetryNow: id})
	}
	switch {
	case err != nil:
		return api.Destination{}, s.triggers.told(err)
	case !reply.Found:
		return api.Destination{}, api.ErrNoDestination
	}
	all, err := s.Destinations(ctx, of)
	if err != nil {
		return api.Destination{}, err
	}
	for _, d := range all {
		if d.ID == id {
			return d, nil
		}
	}
	return api.Destination{}, api.ErrNoDestination
}
