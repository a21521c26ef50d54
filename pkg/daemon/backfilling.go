package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/waltrigger/waltrigger/pkg/backfill"
	"github.com/waltrigger/waltrigger/pkg/pipeline"
	"github.com/waltrigger/waltrigger/pkg/source"
	"github.com/waltrigger/waltrigger/pkg/store"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// kickBackfill has it looked at once at what is wanted of backfills.
func (t *tail) kickBackfill() {
	select {
	case t.backfillKick <- struct{}{}:
	default:
	}
}

// backfill works through the backfills of the source for a term. Those of a source that
// waits for an operator can still be paused and cancelled.
func (t *tail) backfill(ctx context.Context, held *store.Held) {
	for ctx.Err() == nil && t.running() == nil && t.halted.Load() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
	r := backfill.Runner{Source: t.name, Store: held, Sender: sender{t}, Log: t.log, Kick: t.backfillKick, Over: t.backfillOver}
	r.Run(ctx)
}

// sender implements backfill.Sender.
type sender struct{ *tail }

func (s sender) Send(ctx context.Context, part backfill.Part) (out backfill.Sent, err error) {
	p := s.running()
	if p == nil || s.halted.Load() != nil {
		return out, s.notReady()
	}
	out.Rows, out.Next, err = p.Backfill(ctx, pipeline.Part{
		Scan: part.Scan, Job: part.Job, Triggers: part.Triggers,
		Hold: func(v *pipeline.View) error { return s.hold(v, part) },
	})
	if errors.Is(err, pipeline.ErrChanged) {
		err = backfill.ErrAgain
	}
	return out, err
}

func (s sender) Size(ctx context.Context, table source.TableName) (int64, error) {
	scanner, ok := s.source().(source.Scanner)
	if !ok {
		return -1, nil
	}
	return scanner.Size(ctx, table)
}

// hold says what a part waits for under v: all of its triggers that name the table must be
// able to fire, and their destinations to take something. What is read for a destination
// that fails would fill the store instead.
func (s sender) hold(v *pipeline.View, part backfill.Part) error {
	found, named := false, false
	for _, c := range v.Set.Triggers() {
		if !slices.Contains(part.Triggers, c.Trigger.ID) {
			continue
		}
		found = true
		names := false
		for _, a := range c.Activations {
			if a.ContentType.Source != s.name || a.Schema != part.Table.Schema || a.Table != part.Table.Name || !saves(a) {
				continue
			}
			if names = true; a.State != trigger.Active && c.Trigger.Active {
				return &backfill.HoldError{Why: fmt.Sprintf("trigger %d is not active yet for table %s", c.Trigger.ID, part.Table)}
			}
		}
		if !names {
			continue
		}
		named = true
		if why := s.trouble(v, c); why != "" {
			return &backfill.HoldError{Why: why}
		}
	}
	switch {
	case !found:
		return &backfill.HoldError{Why: "there is no trigger any more for which it could send", Over: true}
	case !named:
		return &source.TableError{Table: part.Table, Reason: "no trigger of the backfill names it any more", Mend: "start another backfill"}
	}
	return nil
}

// trouble says why nothing can be sent for c now.
func (s sender) trouble(v *pipeline.View, c *trigger.Compiled) string {
	switch {
	case !c.Trigger.Active:
		return fmt.Sprintf("trigger %d is not active", c.Trigger.ID)
	case c.Paused != "":
		return fmt.Sprintf("trigger %d is paused", c.Trigger.ID)
	case c.Broken != nil:
		return fmt.Sprintf("trigger %d cannot be rendered: %s", c.Trigger.ID, c.Broken)
	}
	if b := s.broken(c.Trigger.ID, c.Revision); b != nil {
		return fmt.Sprintf("trigger %d cannot be rendered: %s", c.Trigger.ID, b.Reason)
	}
	for _, d := range c.Destinations {
		if q := v.Queues[d]; q != nil {
			if why := q.Trouble(); why != "" {
				return fmt.Sprintf("destination %s of trigger %d: %s", d.ID, c.Trigger.ID, why)
			}
		}
	}
	return ""
}
