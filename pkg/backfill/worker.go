package backfill

import (
	"context"
	"errors"
	"time"

	"golang.org/x/time/rate"

	"github.com/waltrigger/waltrigger/pkg/source"
)

// worker works on one job.
type worker struct {
	*Runner
	job    *Job
	limit  int           // rows of the next part
	last   time.Time     // when a part ended
	tended time.Time     // when the other jobs were looked at
	rate   *rate.Limiter // nil: none
}

// table sends the rows of one table. stop: something else is wanted, or ctx ended.
func (w *worker) table(ctx context.Context, t *Table) (stop bool, err error) {
	wait := time.Duration(0)
	for ctx.Err() == nil {
		wish, err := w.wish(ctx)
		if err != nil || wish != Run {
			return true, err
		}
		sent, err := w.send(ctx, t)
		if err == nil {
			if err := w.save(ctx, t, sent); err != nil || t.Over {
				return false, err
			}
			w.pace(ctx, sent.Rows)
			wait = 0
			continue
		}
		hold := (*HoldError)(nil)
		if errors.As(err, &hold) && hold.Over {
			return true, w.end(ctx, w.job, Cancelled, hold.Why)
		}
		if err := w.failed(ctx, t, err); err != nil || t.Over {
			return false, err
		}
		wait = min(max(2*wait, 50*time.Millisecond), maxWait)
		if hold != nil {
			wait = min(wait, lookEvery)
		}
		w.wait(ctx, wait)
	}
	return true, nil
}

// send sends the next part of a table.
func (w *worker) send(ctx context.Context, t *Table) (Sent, error) {
	if t.After == nil {
		if n, err := w.Sender.Size(ctx, t.TableName); err == nil {
			t.Size = n
		}
	}
	limit := w.limit
	if w.rate != nil { // not more than a second of it at once
		limit = max(min(limit, int(w.job.MaxRate)), 1)
	}
	began := time.Now()
	sent, err := w.Sender.Send(ctx, Part{w.job.ID, w.job.Triggers, source.Scan{Table: t.TableName, After: t.After, Limit: limit, Bytes: maxBytes}})
	if err == nil {
		w.adapt(time.Since(began), limit, sent)
	}
	return sent, err
}

// failed takes in why a part was not sent: it is tried again, unless the table is over.
func (w *worker) failed(ctx context.Context, t *Table, err error) error {
	table := (*source.TableError)(nil)
	switch {
	case ctx.Err() != nil:
		return nil
	case errors.Is(err, ErrAgain):
		w.limit = max(w.limit/2, minPart)
		w.Log.Debug("backfill reads rows once more", "source", w.Source, "backfill", w.job.ID, "table", t.String(), "rows", w.limit)
		return nil
	case errors.As(err, &table):
		t.Over, t.Error = true, table.Error()
		w.Log.Error("backfill cannot read a table to its end", "source", w.Source, "backfill", w.job.ID, "table", t.String(), "rows", t.Rows, "err", err)
		return w.Store.SaveProgress(ctx, w.job.ID, w.job.Progress)
	}
	return w.say(ctx, err.Error())
}

// wish reads what is wanted of the job, and once a second of the others.
func (w *worker) wish(ctx context.Context) (Wish, error) {
	if time.Since(w.tended) > lookEvery {
		w.tended = time.Now()
		jobs, err := w.Store.Open(ctx, w.Source)
		if err == nil {
			err = w.tend(ctx, jobs, w.job.ID)
		}
		if err != nil {
			return "", err
		}
	}
	return w.Store.Wish(ctx, w.job.ID)
}

// save keeps that a part is done. Until that succeeded the part would be sent again, so it
// is done also when ctx has ended.
func (w *worker) save(ctx context.Context, t *Table, s Sent) error {
	t.After, t.Rows, t.Over = s.Next, t.Rows+int64(s.Rows), s.Next == nil
	w.job.Detail = ""
	now := time.Now()
	if passed := now.Sub(w.last).Seconds(); passed > 0 {
		const weight = 0.1
		w.job.Rate += weight * (float64(s.Rows)/passed - w.job.Rate)
	}
	w.last = now
	return w.Store.SaveProgress(context.WithoutCancel(ctx), w.job.ID, w.job.Progress)
}

// say shows what the job waits for.
func (w *worker) say(ctx context.Context, detail string) error {
	if w.job.Detail == detail {
		return nil
	}
	w.Log.Warn("backfill waits", "source", w.Source, "backfill", w.job.ID, "why", detail)
	w.job.Detail = detail
	return w.Store.SaveProgress(ctx, w.job.ID, w.job.Progress)
}

// adapt makes the next part larger or smaller by what became of one of limit rows.
func (w *worker) adapt(took time.Duration, limit int, s Sent) {
	switch {
	case s.Next != nil && s.Rows < limit: // they are large, and the rest was read in vain
		w.limit = max(s.Rows, minPart)
	case took > longPart:
		w.limit = max(w.limit/2, minPart)
	case took < shortPart && s.Rows == limit:
		w.limit = min(w.limit*2, maxPart)
	}
}

// pace keeps to the rate.
func (w *worker) pace(ctx context.Context, rows int) {
	if w.rate != nil && rows > 0 {
		_ = w.rate.WaitN(ctx, min(rows, maxPart)) // its end is seen by the caller
	}
}
