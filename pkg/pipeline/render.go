package pipeline

import (
	"context"
	"encoding/binary"
	"hash/maphash"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/deliver"
	"github.com/waltrigger/waltrigger/pkg/payload"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// plan is what the changes of a table fire under one view.
type plan struct {
	byOp  [change.Commit][]step
	table uint64 // hash of the table's name
	seed  maphash.Seed
	name  change.Position
}

// step is one signal for one trigger.
type step struct {
	trigger.Match
	model  string
	queues []*deliver.Destination // as in Trigger.Destinations
}

func (p *Pipeline) newPlan(v *View, t *change.Table) *plan {
	m := v.Set.Table(p.name, t.Schema, t.Name)
	if m == nil {
		return nil
	}
	var h maphash.Hash
	h.SetSeed(p.seed)
	h.WriteString(p.name)
	h.WriteByte(0)
	h.WriteString(t.Schema)
	h.WriteByte(0)
	h.WriteString(t.Name)
	pl := &plan{table: h.Sum64() | 1, seed: p.seed}
	for op := range pl.byOp {
		for _, match := range m.For(change.Op(op)) {
			s := step{Match: match, model: match.ContentType.String()}
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

// renderer holds what one goroutine needs again and again.
type renderer struct {
	event payload.Event
	hits  []hit
	body  []byte
	id    []byte
}

// hit is a step that a change fires. err says that its condition could not be told.
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
		h := hit{step: s}
		if s.Trigger.Condition != nil {
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
}

// fire renders h once and enqueues a delivery for each of its destinations.
func (p *Pipeline) fire(ctx context.Context, pl *plan, h hit, c *change.Change, entry uint64) error {
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
		dl := &deliver.Delivery{Ledger: p.ledger, Entry: entry}
		m := &dl.Message
		m.ID = string(append(r.id, d.ID...))
		m.Body, m.ContentType = body, contentType
		m.Signal, m.Model, m.Committed = h.Kind.String(), h.model, c.Tx.Committed
		keyErr := p.order(dl, pl, h.Trigger, d, c)
		if err == nil {
			dl.Rendered, err = d.Render(&r.event)
		}
		if failure := firstError(err, keyErr); failure != nil {
			p.m.renderErrors.Inc()
			dl.Late = p.late(h.step, c, d, failure)
		}
		if err := h.queues[i].Enqueue(ctx, dl); err != nil {
			return err
		}
	}
	return nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// order gives a delivery its key and lanes.
func (p *Pipeline) order(dl *deliver.Delivery, pl *plan, t *trigger.Compiled, d *trigger.Destination, c *change.Change) error {
	m := &dl.Message
	switch t.Trigger.Ordering {
	case trigger.OrderNone:
		return nil
	case trigger.OrderSource:
		dl.NLane, dl.Lanes[0] = 1, 1
		return nil
	}
	dl.Table = pl.table
	if c.Op == change.Truncate {
		dl.Barrier = true
		return nil
	}
	dl.NLane = 1
	if t.OrderingKey != nil {
		key, err := t.OrderingKey.Append(nil, &p.r.event)
		m.Key, dl.Lanes[0] = key, pl.hash(key)
		return err
	}
	row := c.Row()
	if len(c.Table.Key) == 0 {
		dl.Lanes[0] = pl.table
		return nil
	}
	m.Key = appendKey(make([]byte, 0, 24), c.Table, row)
	dl.Lanes[0] = pl.hash(m.Key)
	if c.Op == change.Update && c.Before != nil && keyDiffers(c) {
		var buf [64]byte
		dl.NLane, dl.Lanes[1] = 2, pl.hash(appendKey(buf[:0], c.Table, c.Before))
	}
	return nil
}

func keyDiffers(c *change.Change) bool {
	for _, k := range c.Table.Key {
		if c.Before[k].Kind != change.Missing && c.Before[k] != c.After[k] {
			return true
		}
	}
	return false
}

// appendKey appends the text of a row's key: of one column its plain text, of several
// a JSON array.
func appendKey(dst []byte, t *change.Table, row []change.Value) []byte {
	if len(t.Key) == 1 {
		return append(dst, row[t.Key[0]].Text...)
	}
	for i, k := range t.Key {
		dst = append(dst, "[,"[min(i, 1)])
		dst = row[k].AppendJSON(dst)
	}
	return append(dst, ']')
}

// hash makes a lane of a key, within the table.
func (pl *plan) hash(key []byte) uint64 {
	var b [96]byte
	buf := binary.LittleEndian.AppendUint64(b[:0], pl.table)
	return maphash.Bytes(pl.seed, append(buf, key...))
}

// late renders again, with the trigger as it is by then.
func (p *Pipeline) late(s *step, c *change.Change, d *trigger.Destination, cause error) func(*deliver.Delivery) (bool, error) {
	kept := *c // the batch is reused; rows and table are not
	related := p.related
	first := true
	return func(dl *deliver.Delivery) (bool, error) {
		if first { // it failed a moment ago
			first = false
			return false, cause
		}
		t, dest := p.current(s, d)
		e := payload.Event{Source: p.name, Kind: s.Kind, ContentType: s.ContentType, Change: &kept, Related: related}
		if t.Condition != nil {
			if fires, err := t.Condition.Eval(&e); !fires {
				return false, err
			}
		}
		m := &dl.Message
		var err error
		if m.Body, m.ContentType, err = t.Payload.Append(nil, &e); err != nil {
			return false, err
		}
		dl.Rendered, err = dest.Render(&e)
		return true, err
	}
}

// current gives the trigger and the destination as they are now.
func (p *Pipeline) current(s *step, d *trigger.Destination) (*trigger.Compiled, *trigger.Destination) {
	for _, t := range p.view.Load().Set.Triggers() {
		if t.Trigger.ID != s.Trigger.Trigger.ID {
			continue
		}
		for _, now := range t.Destinations {
			if now.ID == d.ID {
				return t, now
			}
		}
	}
	return s.Trigger, d
}
