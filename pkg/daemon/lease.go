package daemon

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/waltrigger/waltrigger/pkg/failpoint"
	"github.com/waltrigger/waltrigger/pkg/pipeline"
	"github.com/waltrigger/waltrigger/pkg/store"
)

// leader lets one of several instances on a shared store be the active one. It takes the
// leases of all its sources at once, or of none.
//
// A holder writes a sign of life every leaseBeat. Its lease runs out leaseTTL after it
// began the last one that was stored: it begins to send nothing from then on, and goes
// on if nobody came in between. Another instance takes a lease that it has seen unchanged
// for leaseTTL, by a statement that fails if it has changed after all. Each measures
// that time by its own clock that only runs forward, and from the later end, so that
// the holder's time is over first; what time of day it is anywhere does not matter.
//
//	holder    ──beat────────────────beat──────✂ stopped ──── ✗ sends nothing more
//	                                ├──── leaseTTL ────────┤
//	standby   ─────look────look────────look────look────…────look─ takes it
//	                                    ├──── leaseTTL ────────┤
type leader struct {
	store   *store.Store
	sources []string
	name    string // of this instance
	log     *slog.Logger

	began   time.Time
	until   atomic.Int64 // since began; sending may begin before
	wall    atomic.Int64 // the same by the time of day
	applied atomic.Int64 // the version that is in force here
	kick    chan struct{}

	mu     sync.Mutex
	terms  int
	holder string           // while this instance is active
	epochs map[string]int64 // of its leases, by source
	seen   map[string]sighting
	looked time.Time
}

// sighting is a lease as it was seen last.
type sighting struct {
	store.Lease
	since time.Time // it has been so
}

const (
	leaseTTL   = 5 * time.Second
	leaseBeat  = time.Second
	leaseLook  = 500 * time.Millisecond
	leaseSlack = 250 * time.Millisecond // clocks do not run equally fast
	// leaseGrace is how long a holder whose lease ran out keeps what it has read: the
	// store may come back before anybody else does. Then it lets go of its sources.
	leaseGrace = 2 * time.Second
	// leaseGap: a standby that could not look for so long starts to measure anew. The
	// holder could not show itself either, as a rule.
	leaseGap = 2 * time.Second
)

// newLeader gives nil for a store that no other process can have open: a nil leader is
// always the active one.
func newLeader(s *store.Store, sources []string, log *slog.Logger) *leader {
	if !s.Shared() {
		return nil
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unnamed"
	}
	return &leader{
		store: s, sources: slices.Sorted(slices.Values(sources)), name: host + "/" + strings.ToLower(rand.Text()[:6]), log: log,
		began: time.Now(), kick: make(chan struct{}, 1), seen: map[string]sighting{},
	}
}

// maySend reports whether sending may begin now. The time of day is asked as well: the
// clock that only runs forward stands still while the machine sleeps.
func (l *leader) maySend() bool {
	if l == nil {
		return true
	}
	now := time.Now()
	return now.Sub(l.began) < time.Duration(l.until.Load()) && now.UnixNano() < l.wall.Load()
}

// extend lets sending begin until a while after began, when a sign of life that was
// stored was begun.
func (l *leader) extend(began time.Time) {
	end := began.Add(leaseTTL - leaseSlack)
	l.until.Store(int64(end.Sub(l.began)))
	l.wall.Store(end.UnixNano())
}

// term is the time for which this instance is active.
type term struct {
	ctx    context.Context // ends with it; cause pipeline.ErrSuperseded if another instance may be active
	holder string          // in the store; "" = nobody else can be
	stop   func()          // ends it in order
}

// acquire waits until this instance is active. It fails only when ctx ends. standing is
// called when it has to wait.
func (l *leader) acquire(ctx context.Context, standing func()) (*term, error) {
	if l == nil {
		return &term{ctx: ctx, stop: func() {}}, ctx.Err()
	}
	said := ""
	say := func(text string) {
		if said != text {
			said = text
			l.log.Info("standing by", "why", text)
		}
	}
	for ctx.Err() == nil {
		leases, err := l.look(ctx)
		by := ""
		if err == nil {
			leases = slices.DeleteFunc(leases, func(x store.Lease) bool { return !slices.Contains(l.sources, x.Source) })
			by = l.heldBy(leases)
		}
		if err == nil && by == "" {
			var t *term
			if t, err = l.take(ctx, leases); err == nil {
				return t, nil
			}
		}
		switch {
		case by != "":
			say(by + " is active")
		case err != nil && !errors.Is(err, store.ErrTaken) && ctx.Err() == nil:
			say("the leases cannot be had: " + err.Error())
		}
		standing()
		select {
		case <-ctx.Done():
		case <-time.After(leaseLook):
		}
	}
	return nil, ctx.Err()
}

// look reads the leases and notes since when each has been as it is.
func (l *leader) look(ctx context.Context) ([]store.Lease, error) {
	leases, err := l.store.Leases(ctx, l.sources)
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if err != nil || now.Sub(l.looked) > leaseGap {
		clear(l.seen)
	}
	l.looked = now
	for _, x := range leases {
		if was, ok := l.seen[x.Source]; !ok || was.Holder != x.Holder || was.Epoch != x.Epoch || was.Beat != x.Beat {
			l.seen[x.Source] = sighting{x, now}
		}
	}
	return leases, err
}

// heldBy names the instance that holds one of leases, "" if they can be taken.
func (l *leader) heldBy(leases []store.Lease) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, x := range leases {
		if !l.ended(x) {
			return instance(x.Holder)
		}
	}
	return ""
}

// ended reports whether nobody sends for a lease: it was given back, is of an earlier
// term of this instance's, or its holder showed no life; l.mu is held.
func (l *leader) ended(x store.Lease) bool {
	own := instance(x.Holder) == l.name && x.Holder != l.holder
	return x.Holder == "" || own || time.Since(l.seen[x.Source].since) > leaseTTL
}

// instance is the part of a holder's name that is the instance's.
func instance(holder string) string {
	name, _, _ := strings.Cut(holder, "#")
	return name
}

// take begins a term, if the leases are as they were seen.
func (l *leader) take(ctx context.Context, leases []store.Lease) (*term, error) {
	l.mu.Lock()
	l.terms++
	holder := fmt.Sprintf("%s#%d", l.name, l.terms)
	l.mu.Unlock()
	began := time.Now()
	if err := l.store.TakeLeases(ctx, holder, leases); err != nil {
		return nil, err
	}
	failpoint.Hit("daemon.leased")
	l.mu.Lock()
	defer l.mu.Unlock()
	l.holder, l.epochs = holder, map[string]int64{}
	l.extend(began)
	for _, x := range leases {
		l.epochs[x.Source] = x.Epoch + 1
		l.log.Info("this instance is active", "source", x.Source, "instance", l.name, "epoch", x.Epoch+1, "before", instance(x.Holder))
	}
	own, end := context.WithCancelCause(ctx)
	stop, kept := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(kept)
		l.keep(holder, began, stop, end)
	}()
	return &term{own, holder, func() {
		close(stop)
		<-kept
		end(nil)
		l.release(holder)
	}}, nil
}

// keep shows signs of life until stop is closed, also while what was begun is finished
// after the end of the term, or until another instance may be active.
func (l *leader) keep(holder string, last time.Time, stop <-chan struct{}, end context.CancelCauseFunc) {
	said := false
	for {
		began := time.Now()
		patience := leaseGap
		if left := leaseTTL + leaseGrace - began.Sub(last); left > 0 { // else it slept, and tries once
			patience = min(patience, left)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		err := l.store.RenewLeases(ctx, holder, len(l.sources), l.applied.Load())
		if err == nil {
			last = began
			l.extend(began)
			_, err = l.look(ctx)
		}
		cancel()
		switch {
		case errors.Is(err, store.ErrTaken):
			l.until.Store(0)
			l.log.Warn("another instance has become active: this one stands by", "instance", l.name)
			end(pipeline.ErrSuperseded)
			return
		case err != nil && time.Since(last) >= leaseTTL+leaseGrace:
			l.log.Error("the lease ran out and could not be renewed: letting go of the sources", "err", err)
			end(pipeline.ErrSuperseded)
			return
		case err != nil && !said:
			l.log.Warn("renew lease: trying again", "err", err)
		}
		said = err != nil
		wait := leaseBeat
		if err != nil {
			wait /= 4
		}
		select {
		case <-stop:
			return
		case <-l.kick:
		case <-time.After(wait):
		}
	}
}

// release gives the leases back, so that another instance need not wait.
func (l *leader) release(holder string) {
	l.until.Store(0)
	l.mu.Lock()
	l.holder = ""
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), leaseGap)
	defer cancel()
	if err := l.store.ReleaseLeases(ctx, holder); err != nil {
		l.log.Warn("give back leases: another instance takes over a little later", "err", err)
	}
}

// confirm says that a version is in force here: what is read, or will be, goes by it or
// a later one.
func (l *leader) confirm(version int64) {
	if l == nil {
		return
	}
	l.applied.Store(version)
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// errUnconfirmed: another instance is active and does not say that it goes by the change.
var errUnconfirmed = errors.New("the active instance has not confirmed it")

// settled waits until a version that is in force here is so wherever anybody reads: the
// holder of each lease goes by it, or has no lease any more, and whoever takes that next
// reads the store first.
func (l *leader) settled(ctx context.Context, version int64) error {
	if l == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*leaseTTL)
	defer cancel()
	for {
		leases, err := l.look(ctx)
		if err == nil {
			waits, over := l.behind(leases, version)
			// Taken off its holder, which could come back to life and go by what it knows.
			for _, x := range over {
				err = errors.Join(err, l.store.TakeLeases(ctx, "", []store.Lease{x}))
			}
			if !waits && err == nil {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return errors.Join(errUnconfirmed, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// behind sorts out the leases whose holders have an older version in force: whether
// there are some who may send, and those whose time is over.
func (l *leader) behind(leases []store.Lease, version int64) (waits bool, over []store.Lease) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, x := range leases {
		switch {
		case x.Holder == "" || x.Applied >= version || x.Holder == l.holder && l.maySend():
		case l.ended(x):
			over = append(over, x)
		default:
			waits = true
		}
	}
	return waits, over
}

// of gives the lease of a source as it was seen last, and whether this instance has it.
func (l *leader) of(source string) (x store.Lease, mine bool) {
	if l == nil {
		return x, true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.holder != "" {
		return store.Lease{Source: source, Holder: l.holder, Epoch: l.epochs[source]}, true
	}
	return l.seen[source].Lease, false
}
