package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

// Part asks for some rows that a table has already to be sent.
type Part struct {
	source.Scan
	Job      string  // is part of the events' ids
	Triggers []int64 // for which they are
	// Hold says why the rows cannot be sent under v. It is asked before they are read, and
	// again when they take their place in the log.
	Hold func(v *View) error
}

// ErrChanged says that more of a table changed while rows of it were read than is kept
// account of. The same part may succeed the next time, and a smaller one sooner.
var ErrChanged = errApart

// ErrEnded says that the pipeline has ended: what became of a part is not known.
var ErrEnded = errors.New("the source is not read any more")

// errNoScan is of a source that offers no Scanner.
var errNoScan = errors.New("rows of this source cannot be read")

// filling is a Part under way.
type filling struct {
	window
	Part
	account account
	placed  chan error // once its rows are enqueued, or cannot be
}

// account is the ledger of a part's deliveries.
type account struct {
	ledger  *Ledger // of the log: what stops it stops this one
	pending atomic.Int64
	done    chan struct{}
}

// Done implements deliver.Ledger.
func (a *account) Done(uint64) {
	if a.pending.Add(-1) == 0 {
		close(a.done)
	}
}

// Stopped implements deliver.Ledger.
func (a *account) Stopped() bool { return a.ledger.Stopped() }

// told is what the goroutine that matches is told of a filling: that it begins, its rows,
// up to where in the log they may show it, or that it is given up.
type told struct {
	*filling
	rows  *source.RowSet
	until uint64
	over  bool
}

// Backfill reads a part of a table, has its rows take their place in the log and waits
// until they are delivered or parked. A part whose deliveries were begun when ctx ends is
// waited for until Run returns. One at a time. Errors are those of Hold and Scan,
// ErrChanged and ErrEnded.
func (p *Pipeline) Backfill(ctx context.Context, part Part) (rows int, next []string, err error) {
	scanner, ok := p.src.(source.Scanner)
	if !ok {
		return 0, nil, errNoScan
	}
	if err := part.Hold(p.view.Load()); err != nil {
		return 0, nil, err
	}
	f := &filling{window: window{table: part.Table}, Part: part, placed: make(chan error, 1)}
	f.account.ledger, f.account.done = p.ledger, make(chan struct{})
	f.account.pending.Store(1) // until all are enqueued
	if err := p.tell(ctx, told{filling: f}); err != nil {
		return 0, nil, err
	}
	rows, next, err = p.scan(ctx, scanner, f)
	if err != nil {
		return 0, nil, errors.Join(err, p.tell(context.WithoutCancel(ctx), told{filling: f, over: true}))
	}
	select {
	case err = <-f.placed:
	case <-p.matched:
		select {
		case err = <-f.placed:
		default:
			err = ErrEnded
		}
	}
	if err != nil {
		return 0, nil, err
	}
	select {
	case <-f.account.done:
	case <-p.ended:
		select {
		case <-f.account.done:
		default:
			return 0, nil, ErrEnded
		}
	}
	p.m.backfilled.Add(float64(rows))
	return rows, next, nil
}

// scan reads the rows of f, and finds out up to where they may show the log.
func (p *Pipeline) scan(ctx context.Context, scanner source.Scanner, f *filling) (rows int, next []string, err error) {
	got, err := scanner.Scan(ctx, f.Scan)
	if err != nil {
		return 0, nil, err
	}
	rows, until := len(got.Rows), got.Until
	if err := p.tell(ctx, told{filling: f, rows: &got.RowSet}); err != nil {
		return 0, nil, err
	}
	last, err := scanner.Reached(ctx, until)
	if err != nil {
		return 0, nil, err
	}
	return rows, got.Next, p.tell(ctx, told{filling: f, until: min(until, last+1)})
}

// tell has the goroutine that matches take in something between two transactions.
func (p *Pipeline) tell(ctx context.Context, t told) error {
	select {
	case p.parts <- t:
		return nil
	case <-p.matched:
		return ErrEnded
	case <-ctx.Done():
		return ctx.Err()
	}
}

// listen is where to be told from, as long as no transaction is looked at in part: of one
// that is, rows may show the whole.
func (p *Pipeline) listen() <-chan told {
	if p.within {
		return nil
	}
	return p.parts
}

// take takes in what tell was called with.
func (p *Pipeline) take(ctx context.Context, t told) error {
	switch {
	case t.over:
		p.filling = nil
	case t.rows != nil:
		t.fill(*t.rows)
	case t.until != 0:
		t.filling.until = t.until
	default:
		p.filling = t.filling
	}
	if err := p.awaitStore(ctx); err != nil {
		return err
	}
	_, err := p.place(ctx)
	return err
}

// pass notes that c was looked at. It reports whether rows took their place behind it.
func (p *Pipeline) pass(ctx context.Context, c *change.Change) (bool, error) {
	if p.within = c.Op != change.Commit; p.within {
		if p.filling != nil {
			p.filling.see(c)
		}
		return false, nil
	}
	p.through = max(p.through, c.Tx.Seq)
	return p.place(ctx)
}

// place enqueues the rows of a filling that is due.
func (p *Pipeline) place(ctx context.Context) (bool, error) {
	f := p.filling
	if f == nil || !f.due(p.through) {
		return false, nil
	}
	p.filling = nil
	err := f.failed
	if err == nil {
		v := p.view.Load()
		p.adopt(v)
		err = f.Hold(v)
	}
	if err != nil {
		f.placed <- err
		return true, nil
	}
	if err := p.read(ctx, f); err != nil {
		return true, err
	}
	f.account.Done(0)
	f.placed <- nil
	return true, nil
}

// read enqueues what the rows of f fire. Once something is enqueued the rest follows, even
// when ctx ends: a part that is not done is sent again after the next start.
func (p *Pipeline) read(ctx context.Context, f *filling) error {
	table, rows := f.part.table, f.rows()
	changes := make(source.Batch, len(rows))
	now := time.Now().UTC().Truncate(time.Microsecond)
	for i, row := range rows {
		tx := &change.Tx{Position: f.position(table, row), Seq: p.through, Committed: now}
		changes[i] = change.Change{Op: change.Read, Ordinal: 1, Tx: tx, Table: table, After: row}
	}
	p.r.only = f.Triggers
	defer func() { p.r.only = nil }()
	pl := p.plan(table)
	if pl == nil { // Hold knows of a trigger of the table, perhaps not of this signal
		return nil
	}
	begun, hard := false, context.WithoutCancel(ctx)
	for len(changes) > 0 {
		some := changes[:min(maxAhead, len(changes))]
		changes = changes[len(some):]
		looking := ctx
		if begun {
			looking = hard
		}
		if err := p.lookAhead(looking, some); err != nil {
			return err
		}
		for i := range some {
			var err error
			if begun, err = p.readOne(ctx, pl, &some[i], &f.account, begun); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *Pipeline) readOne(ctx context.Context, pl *plan, c *change.Change, a *account, begun bool) (bool, error) {
	if ctx.Err() != nil && !begun {
		return false, ctx.Err()
	}
	hits, n := p.r.match(pl, c)
	a.pending.Add(int64(n))
	p.m.events.Add(float64(len(hits)))
	for _, h := range hits {
		var err error
		if begun, err = p.fire(ctx, pl, h, c, a, 0, begun); err != nil {
			return begun, err
		}
	}
	return begun, nil
}

// position stands in the place of a commit's. A key may be long, or may not leave.
func (f *filling) position(t *change.Table, row []change.Value) change.Position {
	sum := sha256.Sum256([]byte(t.Schema + "\x00" + t.Name + "\x00" + keyOf(row, t.Key, nil)))
	return change.Position("backfill-" + f.Job + "-" + hex.EncodeToString(sum[:12]))
}

// concerns reports whether s fires for changes where c is in the log. The rows of a part
// are for some triggers, and newer than what these were activated for.
func (r *renderer) concerns(s *step, c *change.Change) bool {
	if c.Op == change.Read {
		return s.From != math.MaxUint64 && slices.Contains(r.only, s.Trigger.Trigger.ID)
	}
	return c.Tx.Seq >= s.From
}
