package pipeline

import (
	"context"
	"errors"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/deliver"
	"github.com/waltrigger/waltrigger/pkg/failpoint"
	"github.com/waltrigger/waltrigger/pkg/payload"
	"github.com/waltrigger/waltrigger/pkg/related"
	"github.com/waltrigger/waltrigger/pkg/source"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// plan is what the changes of a table fire under one view.
type plan struct {
	byOp      [change.Commit][]step
	name      []byte              // of the table, schema.name: the key of what has no other
	row       string              // the same, to name rows by
	table     uint64              // hash of it, not 0
	hiddenKey bool                // the row's key may not leave
	asks      [change.Commit]bool // the database may have to be asked first
}

// step is one signal for one trigger.
type step struct {
	trigger.Match
	model      string
	queues     []*deliver.Destination // as in Trigger.Destinations
	references []string               // what its templates name of a row that is no column
	related    *related.Plan          // what its templates follow
	check      *check                 // nil: fires whatever the change holds
	strict     bool                   // a related table that lacks what templates name lost it
}

func (p *Pipeline) newPlan(v *View, t *change.Table) *plan {
	m := v.Set.Table(p.name, t.Schema, t.Name)
	if m == nil {
		return nil
	}
	pl := &plan{
		name: []byte(t.Schema + "." + t.Name), row: t.Schema + "." + t.Name, table: xxhash.Sum64String(p.name+"\x00"+t.Schema+"\x00"+t.Name) | 1, hiddenKey: p.cfg.Hidden.HidesKey(t),
	}
	for op := range pl.byOp {
		for _, match := range m.For(change.Op(op)) {
			s := p.newStep(match, t)
			for _, d := range match.Trigger.Destinations {
				s.queues = append(s.queues, v.Queues[d])
			}
			if len(s.queues) > 0 {
				pl.byOp[op] = append(pl.byOp[op], s)
				pl.asks[op] = pl.asks[op] || s.related.Asks() || s.check != nil && len(s.check.needs) > 0
			}
			if k := s.check; k == nil || k.can() && (!k.compares() || t.Identity == change.IdentityFull) {
				p.mended(match.Trigger, t)
			}
		}
	}
	return pl
}

func (p *Pipeline) newStep(m trigger.Match, t *change.Table) step {
	s := step{Match: m, model: m.ContentType.String(), references: references(m.Trigger, t)}
	if m.Trigger.Payload.Whole() && len(t.Columns) > 0 {
		s.references = append(s.references, t.Columns[0].Name) // so that foreign keys are known at all
	}
	k := newCheck(&m, t, p.cfg.Hidden)
	s.references = append(s.references, k.keys...)
	if !k.empty() || len(s.references) > 0 {
		s.check = k
	}
	paths := slices.Clone(m.Trigger.Relations)
	for _, name := range s.references {
		paths = append(paths, []string{name})
	}
	s.related = related.NewPlan(t, paths)
	// Of several content types, one is enough that has what a template names.
	of := m.Trigger.Trigger
	s.strict = len(of.ContentTypes) == 1 && !of.ContentTypes[0].AllowMissing && of.OnMissingColumn != trigger.Empty
	return s
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
	src     source.Catalog
	rows    *related.Lookup
	wants   []related.Need
	m       *sourceMetrics
	fetched fetched
	refused map[source.TableName]refusal // tables whose rows cannot be fetched
	lookErr error                        // why what the database has to be asked for cannot be rendered now
	only    []int64                      // triggers for which rows are read
	hits    []hit
	body    []byte
	id      []byte
}

// hit is a step that a change fires. err says that it cannot be rendered, or whether it
// fires cannot be told.
type hit struct {
	*step
	c       *change.Change // with the values that were fetched
	fetched []int          // columns
	err     error
}

// match gives the steps that c fires, and the number of their deliveries.
func (r *renderer) match(pl *plan, c *change.Change) (hits []hit, deliveries int) {
	r.hits = r.hits[:0]
	steps := pl.byOp[c.Op]
	for i := range steps {
		s := &steps[i]
		if !r.concerns(s, c) {
			continue
		}
		h := hit{step: s, c: c}
		if !r.fires(&h) {
			continue
		}
		r.hits = append(r.hits, h)
		deliveries += len(s.queues)
	}
	return r.hits, deliveries
}

// fires reports whether h's change fires its step.
func (r *renderer) fires(h *hit) bool {
	h.err = h.Trigger.Broken
	if r.lookErr != nil && h.related.Asks() && h.err == nil {
		h.err = r.lookErr
	}
	if h.check != nil && h.err == nil && !r.look(h) {
		return false
	}
	if h.Trigger.Condition == nil || h.err != nil {
		return true
	}
	r.set(h)
	fires, err := h.Trigger.Condition.Eval(&r.event)
	h.err = lost(h, err)
	return fires || err != nil
}

func (r *renderer) set(h *hit) {
	r.event.Kind, r.event.ContentType, r.event.Change, r.event.Fetched = h.Kind, h.ContentType, h.c, h.fetched
	r.event.Follows, r.event.Strict = len(h.Trigger.Relations) > 0, h.strict
}

// fire renders h once and enqueues a delivery for each of its destinations. begun: a
// delivery of c is enqueued already, and so the others follow even when ctx ends.
func (p *Pipeline) fire(ctx context.Context, pl *plan, h hit, c *change.Change, account deliver.Ledger, entry uint64, begun bool) (bool, error) {
	r := &p.r
	r.set(&h)
	r.id = append(r.event.AppendID(r.id[:0]), '_')
	contentType, err := "", h.err
	if err == nil {
		r.body, contentType, err = h.Trigger.AppendBody(r.body[:0], &r.event)
	}
	var body []byte
	if err == nil {
		body = append(make([]byte, 0, len(r.body)), r.body...)
	}
	row := pl.rowOf(h.c)
	var origin []byte
	if p.cfg.KeepRows {
		origin = keep(&r.event, c)
	}
	for i, d := range h.Trigger.Destinations {
		dl := &deliver.Delivery{Ledger: account, Entry: entry, Source: p.name, Row: row}
		m := &dl.Message
		m.ID = string(append(r.id, d.ID...))
		m.Body, m.ContentType = body, contentType
		m.Signal, m.Model, m.Committed = h.Kind.String(), h.model, c.Tx.Committed
		failure := errors.Join(err, r.order(dl, pl, &h))
		if failure == nil {
			dl.Rendered, failure = d.Render(&r.event)
		}
		if failure = lost(&h, failure); failure != nil {
			if !errors.Is(failure, trigger.ErrUnfetched) {
				p.m.renderErrors.Inc()
			}
			p.breaks(h.Trigger, c.Table, failure)
			dl.Event = keep(&r.event, c)
		} else {
			dl.Origin = origin
		}
		enqueueErr := h.queues[i].Enqueue(ctx, dl)
		if enqueueErr != nil && begun {
			enqueueErr = h.queues[i].Push(dl)
		}
		if enqueueErr != nil {
			return begun, enqueueErr
		}
		failpoint.Hit("pipeline.enqueued")
		begun = true
	}
	return begun, nil
}
