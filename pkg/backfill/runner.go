package backfill

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/time/rate"

	"github.com/waltrigger/waltrigger/pkg/source"
)

// Store keeps the jobs.
type Store interface {
	// Open gives the jobs of a source that are not over, in the order in which they were
	// made.
	Open(ctx context.Context, source string) ([]Job, error)
	// Wish reads what is wanted of a job now. A job that is no more is cancelled.
	Wish(ctx context.Context, id string) (Wish, error)
	SaveProgress(ctx context.Context, id string, p Progress) error
}

// Part asks for a part of a table to be sent.
type Part struct {
	Job      string
	Triggers []int64
	source.Scan
}

// Sent says what became of a part.
type Sent struct {
	Rows int      // read, and delivered as far as they concern the triggers
	Next []string // source.Scanned.Next
}

// Sender sends rows.
type Sender interface {
	// Send reads a part, puts its rows in between the changes of the log, and returns once
	// they are delivered or parked. It ends early only with ctx; a part that is under way
	// then is finished first if that can be. Errors: ErrAgain, *HoldError, *source.TableError
	// (the table cannot be read), others pass.
	Send(ctx context.Context, p Part) (Sent, error)
	// Size is source.Scanner.Size.
	Size(ctx context.Context, t source.TableName) (int64, error)
}

// ErrAgain says that so much of the table changed while a part was read that it has to be
// read once more, better a smaller one.
var ErrAgain = errors.New("the table changed too much while rows of it were read")

// HoldError says what a job waits for.
type HoldError struct {
	Why  string
	Over bool // for ever: there is nobody any more to send to
}

func (e *HoldError) Error() string { return e.Why }

const (
	lookEvery = time.Second // for new jobs, and for what is wanted of those that wait
	minPart   = 16
	firstPart = 100
	maxPart   = 2000
	maxBytes  = 4 << 20 // of a part
	// A part should take so long: what is committed meanwhile waits behind its rows, where
	// destinations are slow.
	shortPart = 250 * time.Millisecond
	longPart  = time.Second
	maxWait   = 10 * time.Second // between two attempts
)

// Runner works through the jobs of one source, one after the other.
type Runner struct {
	Source string
	Store  Store
	Sender Sender
	Log    *slog.Logger
	// Kick, if not nil, says that there is a new job, or another wish.
	Kick <-chan struct{}
	// Over, if not nil, is told how each job ended.
	Over func(State)
}

// Run runs jobs until ctx ends.
func (r *Runner) Run(ctx context.Context) {
	said := ""
	for ctx.Err() == nil {
		jobs, err := r.Store.Open(ctx, r.Source)
		if err == nil {
			err = r.turn(ctx, jobs)
		}
		if err != nil && ctx.Err() == nil && err.Error() != said {
			r.Log.Warn("backfill: trying again", "source", r.Source, "err", err)
			said = err.Error()
		}
		if err == nil {
			said = ""
		}
		r.wait(ctx, lookEvery)
	}
}

func (r *Runner) wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-r.Kick:
	case <-t.C:
	}
}

// turn works on the first job that can be worked on.
func (r *Runner) turn(ctx context.Context, jobs []Job) error {
	if err := r.tend(ctx, jobs, ""); err != nil {
		return err
	}
	for i := range jobs {
		if j := &jobs[i]; j.Wish == Run && !j.State.Over() {
			return r.job(ctx, j)
		}
	}
	return nil
}

// tend does what is wanted of the jobs that are not worked on: all but one.
func (r *Runner) tend(ctx context.Context, jobs []Job, but string) error {
	for i := range jobs {
		j := &jobs[i]
		if j.ID == but {
			continue
		}
		state := j.State
		switch {
		case j.Wish == Cancel:
			if err := r.end(ctx, j, Cancelled, ""); err != nil {
				return err
			}
			continue
		case j.Wish == Pause:
			state = Paused
		case but != "":
			state = Queued
		}
		if state != j.State {
			j.State, j.Detail = state, ""
			if err := r.Store.SaveProgress(ctx, j.ID, j.Progress); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *Runner) end(ctx context.Context, j *Job, s State, detail string) error {
	j.State, j.Detail, j.Finished = s, detail, time.Now()
	if err := r.Store.SaveProgress(ctx, j.ID, j.Progress); err != nil {
		return err
	}
	r.Log.Info("backfill is over", "source", r.Source, "backfill", j.ID, "state", string(s), "rows", j.Rows(), "detail", detail)
	if r.Over != nil {
		r.Over(s)
	}
	return nil
}

// job works on j until it is over, something else is wanted, or ctx ends.
func (r *Runner) job(ctx context.Context, j *Job) error {
	if j.State != Running || j.Started.IsZero() {
		r.Log.Info("backfill begins", "source", r.Source, "backfill", j.ID, "rows", j.Rows())
	}
	if j.Started.IsZero() {
		j.Started = time.Now()
	}
	j.State, j.Detail = Running, ""
	if err := r.Store.SaveProgress(ctx, j.ID, j.Progress); err != nil {
		return err
	}
	w := worker{Runner: r, job: j, limit: firstPart, last: time.Now()}
	if j.MaxRate > 0 {
		w.rate = rate.NewLimiter(rate.Limit(j.MaxRate), maxPart)
		w.rate.AllowN(time.Now(), maxPart) // no burst at the beginning
	}
	for i := range j.Tables {
		if t := &j.Tables[i]; !t.Over {
			if stop, err := w.table(ctx, t); stop || err != nil {
				return err
			}
		}
	}
	failed := ""
	for i := range j.Tables {
		if t := &j.Tables[i]; t.Error != "" && failed == "" {
			failed = fmt.Sprintf("%s: %s", t.TableName, t.Error)
		}
	}
	if failed != "" {
		return r.end(ctx, j, Failed, failed)
	}
	return r.end(ctx, j, Done, "")
}
