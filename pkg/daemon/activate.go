package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/waltrigger/waltrigger/pkg/api"
	"github.com/waltrigger/waltrigger/pkg/source"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// activation is the work of making a trigger fire: its tables are published, and then
// it is waited until every transaction that may have written before that has ended.
// What is committed from the place in the log where that is so fires.
type activation struct {
	cancel  context.CancelFunc
	done    chan struct{} // closed once it succeeded or failed for good
	err     error         // set before done is closed
	blocker chan string   // the latest description of what is waited for
}

// activate starts the activation of what of r is not active yet, and waits for it for
// a while if the caller asked for that. The record returned says how far it came.
func (s *triggers) activate(ctx context.Context, r trigger.Record, o api.WriteOptions) (trigger.Record, error) {
	if !needsActivation(r) {
		return r, nil
	}
	a := s.begin(r.Trigger.ID, r.Revision, o.Wait)
	if !o.Wait {
		return r, nil
	}
	timeout := time.NewTimer(activationWait)
	defer timeout.Stop()
	blocker := ""
	for {
		select {
		case <-a.done:
			if a.err != nil {
				return r, refusal(r, a.err)
			}
			return s.store.Trigger(ctx, r.Trigger.ID)
		case blocker = <-a.blocker:
		case <-timeout.C:
			return s.markActivating(ctx, r, blocker)
		case <-ctx.Done():
			return s.markActivating(context.WithoutCancel(ctx), r, blocker)
		}
	}
}

// refusal makes of the error of an activation the answer to its caller: what is wrong
// with a table is his to know, everything else may be right a little later.
func refusal(r trigger.Record, err error) error {
	table := (*source.TableError)(nil)
	if !errors.As(err, &table) {
		return unavailable(err)
	}
	at := "/content_types"
	for i, c := range r.Trigger.ContentTypes {
		for _, a := range r.Activations {
			if a.ContentType.AppLabel == c.AppLabel && a.ContentType.ModelName == c.ModelName && a.Schema == table.Table.Schema && a.Table == table.Table.Name {
				at = fmt.Sprintf("/content_types/%d", i)
			}
		}
	}
	return &trigger.InvalidError{Problems: []trigger.Problem{{Pointer: at, Code: trigger.CodeNotAllowed, Detail: table.Error()}}}
}

func needsActivation(r trigger.Record) bool {
	if !r.Trigger.Active {
		return false
	}
	for _, a := range r.Activations {
		if a.State != trigger.Active && a.Table != "" {
			return true
		}
	}
	return false
}

func (s *triggers) markActivating(ctx context.Context, r trigger.Record, blocker string) (trigger.Record, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	now, err := s.store.Trigger(ctx, r.Trigger.ID)
	if err != nil || now.Revision != r.Revision {
		return now, err
	}
	for i := range now.Activations {
		if a := &now.Activations[i]; a.State == trigger.Pending && a.Table != "" {
			a.State, a.Blocker = trigger.Activating, blocker
		}
	}
	if err := s.store.SaveActivations(ctx, now.Trigger.ID, now.Revision, now.Activations); err != nil {
		return now, err
	}
	return now, nil
}

// begin starts an activation in the background, in the place of one that is under way
// for the same trigger. once: a source that cannot be asked ends it, else it is tried
// again.
func (s *triggers) begin(id, revision int64, once bool) *activation {
	ctx, cancel := context.WithCancel(s.ctx)
	a := &activation{cancel: cancel, done: make(chan struct{}), blocker: make(chan string, 1)}
	s.mu.Lock()
	if was := s.active[id]; was != nil {
		was.cancel()
	}
	s.active[id] = a
	s.mu.Unlock()
	s.wg.Go(func() {
		defer cancel()
		b := backoff.NewExponentialBackOff()
		b.MaxInterval = 10 * time.Second
		said := ""
		_, err := backoff.Retry(ctx, func() (struct{}, error) {
			err := s.activateNow(ctx, id, revision, a)
			if err != nil && once {
				err = backoff.Permanent(err)
			}
			return struct{}{}, err
		}, backoff.WithBackOff(b), backoff.WithMaxElapsedTime(0), backoff.WithNotify(func(err error, _ time.Duration) {
			if err.Error() != said { // once, not at every attempt
				said = err.Error()
				s.log.Warn("activate trigger: trying again", "trigger", id, "err", err)
			}
		}))
		a.err = err
		close(a.done)
		s.mu.Lock()
		if s.active[id] == a {
			delete(s.active, id)
		}
		s.mu.Unlock()
		if err != nil && once && ctx.Err() == nil {
			if _, missing := s.store.Trigger(ctx, id); missing == nil {
				s.resume(id) // a replaced trigger stays stored: go on without the caller
			}
		}
	})
	return a
}

// resume activates a stored trigger that is not active yet, without a caller.
func (s *triggers) resume(id int64) {
	time.AfterFunc(time.Second, func() {
		if s.ctx.Err() != nil {
			return
		}
		r, err := s.store.Trigger(s.ctx, id)
		if err == nil && needsActivation(r) {
			s.begin(id, r.Revision, false)
		}
	})
}

// activateNow makes one attempt.
func (s *triggers) activateNow(ctx context.Context, id, revision int64, a *activation) error {
	r, err := s.store.Trigger(ctx, id)
	if err != nil || r.Revision != revision {
		return nilIfGone(err) // deleted, or changed: then its new revision is activated
	}
	tables := map[string][]source.TableName{}
	for _, act := range r.Activations {
		if act.State != trigger.Active && act.Table != "" {
			src := act.ContentType.Source
			tables[src] = append(tables[src], source.TableName{Schema: act.Schema, Name: act.Table})
		}
	}
	seqs := map[string]uint64{}
	for src, names := range tables {
		t := s.sources.byName(src)
		if t == nil {
			return fmt.Errorf("source %s is not configured any more", src)
		}
		if err := t.publish(ctx); concerns(err, names) {
			return fmt.Errorf("publish tables of %s: %w", src, err)
		}
		seqs[src], err = t.src.Barrier(ctx, names, a.report)
		if err != nil {
			return fmt.Errorf("wait for open transactions of %s: %w", src, err)
		}
	}
	return s.activated(ctx, id, revision, tables, seqs)
}

// concerns reports whether an error of publish stands in the way of these tables:
// refusals of other tables do not.
func concerns(err error, names []source.TableName) bool {
	if err == nil {
		return false
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok { // each of the joined ones is asked
		return slices.ContainsFunc(many.Unwrap(), func(e error) bool { return concerns(e, names) })
	}
	if t := (*source.TableError)(nil); errors.As(err, &t) {
		return slices.Contains(names, t.Table)
	}
	return true
}

// report passes on what is waited for; only the latest counts.
func (a *activation) report(blocker string) {
	for {
		select {
		case a.blocker <- blocker:
			return
		default:
		}
		select {
		case <-a.blocker:
		default:
		}
	}
}

// activated stores that what was waited for is active, and puts it in force.
func (s *triggers) activated(ctx context.Context, id, revision int64, tables map[string][]source.TableName, seqs map[string]uint64) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	r, err := s.store.Trigger(ctx, id)
	if err != nil {
		return nilIfGone(err)
	}
	for i := range r.Activations {
		a := &r.Activations[i]
		src := a.ContentType.Source
		waited := slices.Contains(tables[src], source.TableName{Schema: a.Schema, Name: a.Table}) // others were resolved meanwhile
		if waited && a.State != trigger.Active {
			a.State, a.Seq, a.Blocker = trigger.Active, seqs[src], ""
		}
	}
	if err := s.store.SaveActivations(ctx, id, revision, r.Activations); err != nil {
		return nilIfGone(err)
	}
	s.log.Info("trigger is active", "trigger", id, "name", r.Trigger.Name)
	return s.reload(ctx)
}

func nilIfGone(err error) error {
	if errors.Is(err, trigger.ErrNotFound) || errors.Is(err, trigger.ErrStale) {
		return nil
	}
	return err
}
