package trigger

import (
	"cmp"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/signal"
)

// Record is a trigger as the store keeps it.
type Record struct {
	Trigger     *Trigger
	Origin      Origin
	Revision    int64 // grows with each change of the trigger; an ETag
	Paused      Paused
	Warnings    []string
	Activations []Activation
	// Broken says why the trigger cannot render; nil = it can. It is no part of what is
	// stored: whoever runs the trigger knows it.
	Broken *Broken
}

// Paused says what becomes of what a trigger fires while it is paused.
type Paused string

// The ways of being paused. The empty one is not to be.
const (
	PausedKeep Paused = "keep" // it is parked, and sent once the trigger is resumed
	PausedDrop Paused = "drop" // it is as if the trigger were not active; what waits stays where it is
)

// Broken is a trigger that cannot render what comes of a table, or of any (Table "").
type Broken struct {
	Source, Schema, Table string
	Columns               []string        // which the table lost
	Position              change.Position // in the log, from where on it is so
	Reason                string          // in words, with what mends it
}

func (b *Broken) Error() string { return b.Reason }

// Origin says who keeps a trigger.
type Origin string

// Origins. The empty one is FromAPI.
const (
	FromAPI  Origin = "api"
	FromFile Origin = "file" // of the configuration's triggers; the API only reads it
)

// DependsOn gives the columns of a table on which the trigger depends, as far as that was
// known when it was stored.
func (r *Record) DependsOn(source, schema, table string) []string {
	for _, a := range r.Activations {
		if a.ContentType.Source == source && a.Schema == schema && a.Table == table {
			return a.Columns
		}
	}
	return nil
}

// State says how far an activation has come.
type State string

// States, in the order in which they are passed through.
const (
	Pending    State = "pending"    // nobody has asked the source yet
	Activating State = "activating" // the source was asked; older transactions are still open
	Active     State = "active"     // Seq is known
)

// Activation says from where on one signal of one content type fires a trigger. An
// edit gives those that it adds an activation of their own, and leaves the others.
type Activation struct {
	ContentType signal.ContentType // as in the trigger; Source filled in once it is known
	Signal      signal.Kind
	Schema      string // table; "" while it is not resolved
	Table       string
	Columns     []string // of the table, on which the trigger's templates and fields depend
	State       State
	Seq         uint64          // Active: transactions with this Tx.Seq or a higher one fire
	Position    change.Position // Active: where the log was then, for people
	Blocker     string          // not Active: who is waited for, or what stands in the way, in words
	Refused     bool            // not Active: its table cannot be published
}

// Equal reports whether nothing tells a from b.
func (a Activation) Equal(b Activation) bool {
	same := slices.Equal(a.Columns, b.Columns)
	a.Columns, b.Columns = nil, nil
	return same && reflect.DeepEqual(a, b)
}

// State says how far the trigger has come, by the activation that is furthest behind.
func (r *Record) State() string {
	switch {
	case !r.Trigger.Active:
		return StateInactive
	case r.Paused != "":
		return StatePaused
	case r.Broken != nil:
		return StateBroken
	}
	state := Active
	for _, a := range r.Activations {
		switch {
		case a.State == Activating:
			state = Activating
		case a.State == Pending && state == Active:
			state = Pending
		}
	}
	return string(state)
}

// States of a trigger beside those of its activations.
const (
	StateInactive = "inactive"
	StatePaused   = "paused"
	StateBroken   = "broken" // something that it names is not there
)

// destinations yields a pointer to each destination's id, with the JSON pointer of the
// destination, in the order webhooks, queues, actions.
func (t *Trigger) destinations() iter.Seq2[string, *string] {
	return func(yield func(string, *string) bool) {
		for i := range t.Webhooks {
			if !yield(fmt.Sprintf("/webhooks/%d", i), &t.Webhooks[i].ID) {
				return
			}
		}
		for i := range t.Queues {
			if !yield(fmt.Sprintf("/msg_broker_queues/%d", i), &t.Queues[i].ID) {
				return
			}
		}
		for i := range t.Actions {
			if !yield(fmt.Sprintf("/actions/%d", i), &t.Actions[i].ID) {
				return
			}
		}
	}
}

// DestinationIDs gives the ids of t's destinations and the pointers to them; "" is one
// that has none yet.
func (t *Trigger) DestinationIDs() iter.Seq2[string, *string] { return t.destinations() }

// Clone gives a copy that shares nothing that Inherit or the store change.
func (t *Trigger) Clone() *Trigger {
	c := *t
	c.Webhooks = append([]Webhook{}, t.Webhooks...)
	c.Queues = append([]Queue{}, t.Queues...)
	c.Actions = append([]Queue{}, t.Actions...)
	for i := range c.Webhooks {
		c.Webhooks[i].Headers = clone(c.Webhooks[i].Headers)
		c.Webhooks[i].Secret.Values = clone(c.Webhooks[i].Secret.Values)
	}
	for _, qs := range [][]Queue{c.Queues, c.Actions} {
		for i := range qs {
			qs[i].ConnDetails = clone(qs[i].ConnDetails)
			qs[i].Parameters = clone(qs[i].Parameters)
		}
	}
	return &c
}

// clone keeps nil apart from empty: one was not given, the other was.
func clone[S ~[]E, E any](s S) S {
	if s == nil {
		return nil
	}
	return append(S{}, s...)
}

// Query picks triggers. The zero Query picks all.
type Query struct {
	AfterID     int64 // only triggers with a higher id
	Limit       int   // at most so many; 0 = all
	Name        string
	Active      *bool
	Source      string
	ContentType string // app_label.model, case does not count
	Signal      string
	Mode        Mode
	State       string // as of Record.State; the store does not know it
}

// Match reports whether t is picked, Limit aside.
func (q Query) Match(t *Trigger) bool {
	if t.ID <= q.AfterID || q.Name != "" && q.Name != t.Name || q.Active != nil && *q.Active != t.Active {
		return false
	}
	if q.Mode != "" && q.Mode != cmp.Or(t.Mode, Live) {
		return false
	}
	if q.Signal != "" && !slices.ContainsFunc(t.ConfigSignals, func(c ConfigSignal) bool { return c.Signal.String() == q.Signal }) {
		return false
	}
	if q.Source == "" && q.ContentType == "" {
		return true
	}
	return slices.ContainsFunc(t.ContentTypes, func(c ContentType) bool {
		return (q.Source == "" || c.Source == q.Source) && (q.ContentType == "" || strings.EqualFold(c.Name().String(), q.ContentType))
	})
}
