package pipeline

import (
	"context"
	"strings"
	"time"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/deliver"
	"github.com/waltrigger/waltrigger/pkg/payload"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

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
