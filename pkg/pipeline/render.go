package pipeline

import (
	"context"
	"errors"

	"github.com/cespare/xxhash/v2"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/deliver"
	"github.com/waltrigger/waltrigger/pkg/payload"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// plan is what the changes of a table fire under one view.
type plan struct {
	byOp  [change.Commit][]step
	name  []byte // of the table, schema.name: the key of what has no other
	table uint64 // hash of it, not 0
}

// step is one signal for one trigger.
type step struct {
	trigger.Match
	model      string
	queues     []*deliver.Destination // as in Trigger.Destinations
	references []string               // relations that its templates name
}

// follows reports whether the database has to be asked before s can be rendered.
func (s *step) follows() bool { return len(s.Trigger.Relations) > 0 || len(s.references) > 0 }

func (p *Pipeline) newPlan(v *View, t *change.Table) *plan {
	m := v.Set.Table(p.name, t.Schema, t.Name)
	if m == nil {
		return nil
	}
	pl := &plan{name: []byte(t.Schema + "." + t.Name), table: xxhash.Sum64String(p.name+"\x00"+t.Schema+"\x00"+t.Name) | 1}
	for op := range pl.byOp {
		for _, match := range m.For(change.Op(op)) {
			s := step{Match: match, model: match.ContentType.String(), references: references(match.Trigger, t)}
			for _, d := range match.Trigger.Destinations {
				s.queues = append(s.queues, v.Queues[d])
			}
			if len(s.queues) > 0 {
				pl.byOp[op] = append(pl.byOp[op], s)
			}
		}
	}
	return pl
}

// references are the names that t's templates read of a row of table and that are no
// columns: relations, if anything.
func references(t *trigger.Compiled, table *change.Table) []string {
	var out []string
	for _, name := range t.Names {
		if name != "pk" && table.Lookup(name) < 0 {
			out = append(out, name)
		}
	}
	return out
}

// renderer holds what one goroutine needs again and again.
type renderer struct {
	event   payload.Event
	lookErr error // why what follows relations cannot be rendered now
	hits    []hit
	body    []byte
	id      []byte
}

// hit is a step that a change fires. err says that it cannot be rendered, or whether it
// fires cannot be told.
type hit struct {
	*step
	err error
}

// match gives the steps that c fires, and the number of their deliveries.
func (r *renderer) match(pl *plan, c *change.Change) (hits []hit, deliveries int) {
	r.hits = r.hits[:0]
	steps := pl.byOp[c.Op]
	for i := range steps {
		s := &steps[i]
		if c.Tx.Seq < s.From {
			continue
		}
		h := hit{step: s, err: s.Trigger.Broken}
		if r.lookErr != nil && s.follows() && h.err == nil {
			h.err = r.lookErr
		}
		if s.Trigger.Condition != nil && h.err == nil {
			var fires bool
			r.set(s, c)
			if fires, h.err = s.Trigger.Condition.Eval(&r.event); !fires && h.err == nil {
				continue
			}
		}
		r.hits = append(r.hits, h)
		deliveries += len(s.queues)
	}
	return r.hits, deliveries
}

func (r *renderer) set(s *step, c *change.Change) {
	r.event.Kind, r.event.ContentType, r.event.Change = s.Kind, s.ContentType, c
	r.event.Follows = len(s.Trigger.Relations) > 0
}

// fire renders h once and enqueues a delivery for each of its destinations. begun: a
// delivery of c is enqueued already, and so the others follow even when ctx ends.
func (p *Pipeline) fire(ctx context.Context, pl *plan, h hit, c *change.Change, entry uint64, begun bool) (bool, error) {
	r := &p.r
	r.set(h.step, c)
	r.id = append(r.event.AppendID(r.id[:0]), '_')
	contentType, err := "", h.err
	if err == nil {
		r.body, contentType, err = h.Trigger.Payload.Append(r.body[:0], &r.event)
	}
	var body []byte
	if err == nil {
		body = append(make([]byte, 0, len(r.body)), r.body...)
	}
	for i, d := range h.Trigger.Destinations {
		dl := &deliver.Delivery{Ledger: p.ledger, Entry: entry, Source: p.name}
		m := &dl.Message
		m.ID = string(append(r.id, d.ID...))
		m.Body, m.ContentType = body, contentType
		m.Signal, m.Model, m.Committed = h.Kind.String(), h.model, c.Tx.Committed
		failure := errors.Join(err, p.order(dl, pl, h.Trigger, c))
		if failure == nil {
			dl.Rendered, failure = d.Render(&r.event)
		}
		if failure != nil {
			p.m.renderErrors.Inc()
			dl.Event = keep(&r.event)
		}
		enqueueErr := h.queues[i].Enqueue(ctx, dl)
		if enqueueErr != nil && begun {
			enqueueErr = h.queues[i].Push(dl)
		}
		if enqueueErr != nil {
			return begun, enqueueErr
		}
		begun = true
	}
	return begun, nil
}
