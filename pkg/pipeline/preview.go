package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/deliver"
	"github.com/waltrigger/waltrigger/pkg/payload"
	"github.com/waltrigger/waltrigger/pkg/related"
	"github.com/waltrigger/waltrigger/pkg/signal"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// Preview is what a signal of a change makes a trigger do.
type Preview struct {
	Signal   signal.Kind
	ID       string // of the event
	Matched  bool
	Reason   string // why not
	Messages []Rendered
}

// Rendered is a delivery as it is rendered for a destination, without what is resolved at
// each attempt. It belongs to no ledger.
type Rendered struct {
	Destination *trigger.Destination
	Delivery    *deliver.Delivery
	Err         error // it cannot be rendered: it would wait
	// Body is the body with the dynamic values that it names, where the message has their
	// names alone; nil = it is as it is. Any goroutine.
	Body func(ctx context.Context) (body []byte, contentType string, err error)
}

// Preview renders what a change would make t do, and sends nothing. The database is asked
// as it would be. It is for a change that somebody made up, whatever t's activation says.
// Any goroutine.
func (p *Pipeline) Preview(ctx context.Context, t *trigger.Compiled, name signal.ContentType, c *change.Change) []Preview {
	var out []Preview
	for kind := range signal.Kinds {
		if signal.Of(c.Op).Has(kind) && t.Trigger.Signals().Has(kind) {
			out = append(out, p.preview(ctx, trigger.Match{
				Trigger: t, Kind: kind, ContentType: name, Columns: t.DependsOn(p.name, c.Table.Schema, c.Table.Name),
			}, c))
		}
	}
	return out
}

// previewLookup bounds what a preview asks of the database.
const previewLookup = 5 * time.Second

func (p *Pipeline) preview(ctx context.Context, m trigger.Match, c *change.Change) Preview {
	ctx, cancel := context.WithTimeout(ctx, previewLookup)
	defer cancel()
	r := p.newRenderer(related.NewLookup(p.src, p.catalog, related.NewLeases(), 0, p.m.related()))
	s := p.newStep(m, c.Table)
	h := hit{step: &s, c: c}
	if c.Row() != nil && (s.related.Asks() || r.fetches(&s, c)) {
		r.lookErr = r.ask(ctx, []event{{&s, c}})
	}
	out := Preview{Signal: m.Kind, Matched: r.fires(&h)}
	r.set(&h)
	out.ID = string(r.event.AppendID(nil))
	if !out.Matched {
		out.Reason = r.whyNot(&h)
		return out
	}
	pl := &plan{name: []byte(c.Table.Schema + "." + c.Table.Name), table: anyTable, hiddenKey: p.cfg.Hidden.HidesKey(c.Table)}
	var rendering sync.Mutex
	for _, d := range m.Trigger.Destinations {
		one, dynamic := r.render(pl, &h, d, out.ID)
		if dynamic {
			one.Body = func(ctx context.Context) ([]byte, string, error) {
				rendering.Lock()
				defer rendering.Unlock()
				return m.Trigger.FetchBody(ctx, nil, &r.event)
			}
		}
		out.Messages = append(out.Messages, one)
	}
	return out
}

// render renders h for one destination. dynamic: the body names dynamic values.
func (r *renderer) render(pl *plan, h *hit, d *trigger.Destination, id string) (out Rendered, dynamic bool) {
	dl := &deliver.Delivery{}
	m := &dl.Message
	m.ID, m.Signal, m.Model, m.Committed = id+"_"+d.ID, h.Kind.String(), h.model, h.c.Tx.Committed
	if h.err != nil {
		return Rendered{Destination: d, Delivery: dl, Err: h.err}, false
	}
	var errs [3]error
	m.Body, m.ContentType, dynamic, errs[0] = h.Trigger.ShowBody(nil, &r.event)
	errs[1] = r.order(dl, pl, h)
	dl.Rendered, errs[2] = d.Render(&r.event)
	return Rendered{Destination: d, Delivery: dl, Err: errors.Join(errs[:]...)}, dynamic
}

// whyNot says why h does not fire.
func (r *renderer) whyNot(h *hit) string {
	c := h.c
	if h.check != nil && h.check.filters() && c.Op == change.Update && c.Image == change.ImageFull && !r.differs(h.check, c) {
		changed, _ := (&payload.Event{Change: c}).Changed()
		what := "nothing"
		if len(changed) > 0 {
			what = strings.Join(changed, ", ")
		}
		return fmt.Sprintf("the update changed %s, and none of fields: %s", what, strings.Join(h.Trigger.Trigger.Fields, ", "))
	}
	return "the condition is false"
}
