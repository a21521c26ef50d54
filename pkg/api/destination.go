package api

import (
	"context"
	"net/http"
	"time"
)

// States of destinations.
const (
	DestinationOK      = "ok"
	DestinationFailing = "failing" // is probed until it answers
	DestinationHeld    = "held"    // wants no more (410): not tried until somebody asks for it
	DestinationPaused  = "paused"
)

// Destination is a webhook, queue or action of a trigger, with what waits for it.
type Destination struct {
	ID          string     `json:"id"`
	Trigger     int64      `json:"trigger"`
	TriggerName string     `json:"trigger_name,omitempty"`
	List        string     `json:"list"` // webhooks, msg_broker_queues or actions
	Type        string     `json:"type"` // webhook, or the broker's
	Target      string     `json:"target"`
	State       string     `json:"state"`
	Waiting     int        `json:"waiting"`   // deliveries in memory, those under way included
	InFlight    int        `json:"in_flight"` // requests under way
	Parked      int        `json:"parked"`
	Dead        int        `json:"dead"`
	Oldest      *time.Time `json:"oldest_committed_at,omitempty"` // of what is parked
	Failures    int        `json:"failures"`                      // since the last success
	RetryAt     *time.Time `json:"retry_at,omitempty"`
	Error       string     `json:"error,omitempty"` // the last
}

func (a *api) listDestinations(ctx context.Context, r *request) (*response, error) {
	if err := onlyQuery(r.query, "trigger"); err != nil {
		return nil, err
	}
	id, err := triggerOf(r.query)
	if err != nil {
		return nil, err
	}
	ds, err := a.Deliveries.Destinations(ctx, id)
	return list(ds), err
}

func (a *api) retryDestination(ctx context.Context, r *request) (*response, error) {
	d, err := a.Deliveries.RetryNow(ctx, r.param("id"))
	return &response{status: http.StatusOK, body: d}, err
}
