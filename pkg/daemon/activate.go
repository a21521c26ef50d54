package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/waltrigger/waltrigger/pkg/api"
	"github.com/waltrigger/waltrigger/pkg/failpoint"
	"github.com/waltrigger/waltrigger/pkg/source"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// activation is the work of making a trigger fire: its tables are published, and then
// it is waited until every transaction that may have written before that has ended.
// What is committed from the place in the log where that is so fires.
type activation struct {
	revision int64
	awaited  bool // by a call to this instance
	cancel   context.CancelFunc
	done     chan struct{} // closed once it succeeded or failed for good
	err      error         // set before done is closed
	blocker  chan string   // the latest description of what is waited for
}

// activate starts the activation of what of r is not active yet, and waits for it for
// a while if the caller asked for that. The record returned says how far it came.
func (s *triggers) activate(ctx context.Context, r trigger.Record, o api.WriteOptions) (trigger.Record, error) {
	if !s.needs(r) {
		return r, nil
	}
	a := s.begin(r.Trigger.ID, r.Revision, o.Wait)
	if !o.Wait {
		return r, nil
	}
	if a == nil {
		return s.activatedElsewhere(ctx, r)
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
			return s.activeEverywhere(ctx, r.Trigger.ID)
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
	return refused(r, trigger.Activation{Schema: table.Table.Schema, Table: table.Table.Name}, table.Error())
}

// refused says that the table of a cannot be published, where r names it.
func refused(r trigger.Record, a trigger.Activation, why string) error {
	at := "/content_types"
	for i, c := range r.Trigger.ContentTypes {
		for _, of := range r.Activations {
			if of.ContentType.AppLabel == c.AppLabel && of.ContentType.ModelName == c.ModelName && of.Schema == a.Schema && of.Table == a.Table {
				at = fmt.Sprintf("/content_types/%d", i)
			}
		}
	}
	return &trigger.InvalidError{Problems: []trigger.Problem{{Pointer: at, Code: trigger.CodeNotAllowed, Detail: why}}}
}

// activatedElsewhere waits until the active instance has activated r, has refused it, or
// takes longer than a call may.
func (s *triggers) activatedElsewhere(ctx context.Context, r trigger.Record) (trigger.Record, error) {
	timeout := time.After(activationWait)
	for {
		now, err := s.store.Trigger(ctx, r.Trigger.ID)
		if err != nil || now.Revision != r.Revision {
			return now, err
		}
		if err := refusedElsewhere(now); err != nil {
			return r, err
		}
		if !s.needs(now) {
			return s.activeEverywhere(ctx, r.Trigger.ID)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-timeout:
			return s.markActivating(ctx, r, "the active instance")
		case <-ctx.Done():
			return s.markActivating(context.WithoutCancel(ctx), r, "the active instance")
		}
	}
}

// activeEverywhere waits until a trigger that is stored as active is so where it is read
// and sent for.
func (s *triggers) activeEverywhere(ctx context.Context, id int64) (trigger.Record, error) {
	r, err := s.store.Trigger(ctx, id)
	if errors.Is(err, trigger.ErrNotFound) {
		return r, err
	}
	if err == nil {
		err = s.catchUp(ctx) // what is shown goes by what is in force here
	}
	if err == nil { // the version of what was read, or a later one
		err = s.leader.settled(ctx, s.loaded.Load())
	}
	if err != nil {
		return r, &lateError{err}
	}
	return r, nil
}

// refusedElsewhere is refusal of what the active instance has stored.
func refusedElsewhere(r trigger.Record) error {
	for _, a := range r.Activations {
		if a.Refused {
			return refused(r, a, a.Blocker)
		}
	}
	return nil
}

// needs reports whether this instance's sources have something to activate for r.
func (s *triggers) needs(r trigger.Record) bool {
	fires := r.Trigger.Active && r.Paused != trigger.PausedDrop
	return fires && slices.ContainsFunc(r.Activations, func(a trigger.Activation) bool {
		return a.State != trigger.Active && a.Table != "" && s.sources.byName(a.ContentType.Source) != nil
	})
}

// markActivating stores what an activation waits for, and gives the record as it is now.
func (s *triggers) markActivating(ctx context.Context, r trigger.Record, blocker string) (trigger.Record, error) {
	err := s.store.UpdateActivations(ctx, r.Trigger.ID, r.Revision, func(as []trigger.Activation) []trigger.Activation {
		for i := range as {
			if a := &as[i]; a.State == trigger.Pending && a.Table != "" {
				a.State = trigger.Activating
				a.Blocker = cmp.Or(a.Blocker, blocker)
			}
		}
		return as
	})
	if nilIfGone(err) != nil {
		return r, err
	}
	return s.store.Trigger(ctx, r.Trigger.ID)
}

// begin starts an activation in the background, in the place of one that is under way
// for the same trigger; nil if another instance is active, which does. once: a source
// that cannot be asked ends it, else it is tried again.
func (s *triggers) begin(id, revision int64, once bool) *activation {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deliver == nil || s.term.Err() != nil {
		return nil
	}
	ctx, cancel := context.WithCancel(s.term)
	a := &activation{revision: revision, awaited: once, cancel: cancel, done: make(chan struct{}), blocker: make(chan string, 1)}
	if was := s.active[id]; was != nil {
		was.cancel()
	}
	s.active[id] = a
	s.wg.Go(func() { s.activation(ctx, id, a, once) })
	return a
}

// activation is what begin runs.
func (s *triggers) activation(ctx context.Context, id int64, a *activation, once bool) {
	defer a.cancel()
	b := backoff.NewExponentialBackOff()
	b.MaxInterval = 10 * time.Second
	said := ""
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := s.activateNow(ctx, id, a)
		if err != nil && once {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(b), backoff.WithMaxElapsedTime(0), backoff.WithNotify(func(err error, _ time.Duration) {
		if err.Error() != said { // once, not at every attempt
			said = err.Error()
			s.log.Warn("activate trigger: trying again", "trigger", id, "err", err)
			s.note(ctx, id, a.revision, err.Error(), err)
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
			s.resume(ctx, id) // a replaced trigger stays stored: go on without the caller
		}
	}
}

// note stores what an activation waits for, or why it fails (err, else nil), for those
// who see it from another instance.
func (s *triggers) note(ctx context.Context, id, revision int64, blocker string, err error) {
	table := (*source.TableError)(nil)
	refused := errors.As(err, &table)
	err = s.store.UpdateActivations(ctx, id, revision, func(as []trigger.Activation) []trigger.Activation {
		for i := range as {
			a := &as[i]
			concerned := !refused || a.Schema == table.Table.Schema && a.Table == table.Table.Name
			if a.State != trigger.Active && a.Table != "" && concerned {
				a.State, a.Blocker, a.Refused = trigger.Activating, blocker, refused
			}
		}
		return as
	})
	if nilIfGone(err) != nil && ctx.Err() == nil {
		s.log.Warn("note why a trigger is not active", "trigger", id, "err", err)
	}
}

// resume activates a stored trigger that is not active yet, without a caller.
func (s *triggers) resume(ctx context.Context, id int64) {
	time.AfterFunc(time.Second, func() {
		if ctx.Err() != nil {
			return
		}
		r, err := s.store.Trigger(ctx, id)
		if err == nil && s.needs(r) {
			s.begin(id, r.Revision, false)
		}
	})
}

// activateNow makes one attempt.
func (s *triggers) activateNow(ctx context.Context, id int64, a *activation) error {
	r, err := s.store.Trigger(ctx, id)
	if err != nil || r.Revision != a.revision {
		return nilIfGone(err) // deleted, or changed: then its new revision is activated
	}
	tables := map[string][]source.TableName{}
	for _, act := range r.Activations {
		if src := act.ContentType.Source; act.State != trigger.Active && act.Table != "" && s.sources.byName(src) != nil {
			tables[src] = append(tables[src], source.TableName{Schema: act.Schema, Name: act.Table})
		}
	}
	seqs := map[string]uint64{}
	for src, names := range tables {
		t := s.sources.byName(src)
		if !t.isPrepared() {
			a.report("source " + src + " is being taken up")
		}
		if err := t.publish(ctx); concerns(err, names) {
			return fmt.Errorf("publish tables of %s: %w", src, err)
		}
		failpoint.Hit("daemon.published")
		seqs[src], err = t.source().Barrier(ctx, names, func(blockers string) {
			if a.report(blockers); !a.awaited {
				s.note(ctx, id, a.revision, blockers, nil)
			}
		})
		if err != nil {
			return fmt.Errorf("wait for open transactions of %s: %w", src, err)
		}
	}
	return s.activated(ctx, r, tables, seqs)
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
func (s *triggers) activated(ctx context.Context, r trigger.Record, tables map[string][]source.TableName, seqs map[string]uint64) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	err := s.store.UpdateActivations(ctx, r.Trigger.ID, r.Revision, func(as []trigger.Activation) []trigger.Activation {
		for i := range as {
			a := &as[i]
			src := a.ContentType.Source
			waited := slices.Contains(tables[src], source.TableName{Schema: a.Schema, Name: a.Table}) // others were resolved meanwhile
			if waited && a.State != trigger.Active {
				a.State, a.Seq, a.Blocker, a.Refused = trigger.Active, seqs[src], "", false
			}
		}
		return as
	})
	if err != nil {
		return nilIfGone(err)
	}
	s.log.Info("trigger is active", "trigger", r.Trigger.ID, "name", r.Trigger.Name)
	return s.reload(ctx)
}

func nilIfGone(err error) error {
	if errors.Is(err, trigger.ErrNotFound) || errors.Is(err, trigger.ErrStale) {
		return nil
	}
	return err
}
