package pipeline

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/maphash"
	"strings"
	"time"

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
	seed  maphash.Seed
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
	var h maphash.Hash
	h.SetSeed(p.seed)
	h.WriteString(p.name)
	h.WriteByte(0)
	h.WriteString(t.Schema)
	h.WriteByte(0)
	h.WriteString(t.Name)
	pl := &plan{name: []byte(t.Schema + "." + t.Name), table: h.Sum64() | 1, seed: p.seed}
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
		dl := &deliver.Delivery{Ledger: p.ledger, Entry: entry}
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
			p.later(dl, h.step, c, d, failure)
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

// order gives a delivery its key and lanes.
func (p *Pipeline) order(dl *deliver.Delivery, pl *plan, t *trigger.Compiled, c *change.Change) error {
	switch {
	case t.Trigger.Ordering == trigger.OrderNone:
		return nil
	case t.Trigger.Ordering == trigger.OrderSource:
		dl.NLane, dl.Lanes[0] = 1, 1
		dl.Message.Key = []byte(p.name) // one key, or a broker spreads them over its partitions
		return nil
	case t.OrderingKey != nil:
		return p.orderByTemplate(dl, pl, t, c)
	}
	dl.Table = pl.table
	if c.Op == change.Truncate || !keyKnown(c.Table, c.Row()) { // all rows, or it may be any
		dl.Message.Key, dl.Barrier = pl.name, true
		return nil
	}
	dl.NLane = 1
	if len(c.Table.Key) == 0 {
		dl.Message.Key, dl.Lanes[0] = pl.name, pl.table
		return nil
	}
	dl.Message.Key = appendKey(make([]byte, 0, 24), c.Table, c.Row())
	dl.Lanes[0] = pl.hash(pl.table, dl.Message.Key)
	if c.Op == change.Update && c.Before != nil && keyDiffers(c) {
		if !keyKnown(c.Table, c.Before) {
			dl.NLane, dl.Barrier = 0, true
			return nil
		}
		var buf [64]byte
		dl.NLane, dl.Lanes[1] = 2, pl.hash(pl.table, appendKey(buf[:0], c.Table, c.Before))
	}
	return nil
}

// anyTable stands for the tables of a trigger with an ordering key: the same key means
// the same lane in all of them.
const anyTable = 1

func (p *Pipeline) orderByTemplate(dl *deliver.Delivery, pl *plan, t *trigger.Compiled, c *change.Change) error {
	dl.Table = anyTable
	if c.Op == change.Truncate {
		dl.Message.Key, dl.Barrier = pl.name, true
		return nil
	}
	key, err := t.OrderingKey.Append(nil, &p.r.event)
	dl.Message.Key = key
	dl.NLane, dl.Lanes[0] = 1, pl.hash(anyTable, key)
	if err != nil || c.Op != change.Update || c.Image != change.ImageFull {
		return err
	}
	old := *c
	old.After = c.Before
	p.r.event.Change = &old
	before, err := t.OrderingKey.Append(nil, &p.r.event)
	p.r.event.Change = c
	if err == nil && string(before) != string(key) {
		dl.NLane, dl.Lanes[1] = 2, pl.hash(anyTable, before)
	}
	return err
}

// keyKnown reports whether the log holds the whole key of row.
func keyKnown(t *change.Table, row []change.Value) bool {
	for _, k := range t.Key {
		if row[k].Kind == change.Missing {
			return false
		}
	}
	return true
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

// hash makes a lane of a key, within a table.
func (pl *plan) hash(table uint64, key []byte) uint64 {
	var b [96]byte
	buf := binary.LittleEndian.AppendUint64(b[:0], table)
	return maphash.Bytes(pl.seed, append(buf, key...))
}

// later makes dl render again, with the trigger as it is by then.
func (p *Pipeline) later(dl *deliver.Delivery, s *step, c *change.Change, d *trigger.Destination, cause error) {
	kept := *c // a copy of its own, or each one kept holds a whole batch
	kept.Before, kept.After = clone(c.Before), clone(c.After)
	dl.Weight = weight(kept.Before) + weight(kept.After)
	var tried *payload.Renderer // tells versions of the trigger apart
	tries := 0
	dl.Late = func(ctx context.Context, dl *deliver.Delivery) (send bool, err error) {
		if tries++; tries == 1 { // it failed a moment ago
			return false, cause
		}
		t, dest := p.current(s, d)
		if t.Broken != nil {
			return false, t.Broken
		}
		// What failed for reasons of its own fails again: to try at each attempt could
		// keep a processor busy.
		if t.Payload == tried && tries%10 != 0 {
			return false, cause
		}
		ctx, cancel := context.WithTimeout(ctx, lateLookup)
		defer cancel()
		rows := newLookup(p.relations, p.m)
		if err := rows.read(ctx, []need{{&kept, t.Relations, references(t, kept.Table)}}); err != nil {
			return false, err
		}
		e := payload.Event{Source: p.name, Kind: s.Kind, ContentType: s.ContentType, Change: &kept, Related: rows, Follows: len(t.Relations) > 0}
		if send, err = renderLate(dl, t, dest, &e); err != nil {
			tried, cause = t.Payload, err
		}
		return send, err
	}
}

// lateLookup bounds what one delivery asks of the database: it holds up a sender.
const lateLookup = 3 * time.Second

func renderLate(dl *deliver.Delivery, t *trigger.Compiled, d *trigger.Destination, e *payload.Event) (send bool, err error) {
	if t.Condition != nil {
		if fires, err := t.Condition.Eval(e); !fires {
			return false, err
		}
	}
	m := &dl.Message
	if m.Body, m.ContentType, err = t.Payload.Append(nil, e); err != nil {
		return false, err
	}
	if t.OrderingKey != nil && dl.Table == anyTable && !dl.Barrier {
		if m.Key, err = t.OrderingKey.Append(nil, e); err != nil {
			return false, err
		}
	}
	dl.Rendered, err = d.Render(e)
	return true, err
}

func clone(row []change.Value) []change.Value {
	if row == nil {
		return nil
	}
	out := make([]change.Value, len(row))
	for i, v := range row {
		out[i] = change.Value{Kind: v.Kind, Text: strings.Clone(v.Text)}
	}
	return out
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
