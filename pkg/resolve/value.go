package resolve

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// failureTTL keeps a provider that fails from being asked once for each delivery.
	failureTTL = time.Second
	maxAgain   = 30 * time.Second
	// A token is not used in the last moments of its own time: it has a way to go.
	endMargin = 10 * time.Second
)

// value is a declared value with what was last fetched of it.
type value struct {
	name      string
	fetcher   fetcher
	pointer   pointer
	ttl       time.Duration // 0 = for ever
	given     bool          // ttl is the operator's, and holds for values of a longer time of their own
	maxAge    time.Duration
	timeout   time.Duration
	hosts     []string
	inPayload bool
	multiline bool

	fetched, failures atomic.Uint64

	last atomic.Pointer[fetched]
	mu   sync.Mutex
	call *call // the one under way, nil = none
}

// newValue makes a value of a declaration that was checked.
func newValue(name string, c Config, env Env) *value {
	v := &value{name: name, ttl: c.TTL, given: c.TTL > 0, maxAge: c.MaxAge, timeout: c.Timeout, inPayload: c.AllowInPayload, multiline: c.Multiline}
	for _, p := range c.providers() {
		if p.given() {
			v.fetcher = p.fetcher(env)
			if !v.given {
				v.ttl = p.ttl()
			}
		}
	}
	v.pointer, _ = parsePointer(c.Pointer)
	if v.maxAge == 0 {
		v.maxAge = 2 * v.ttl
	}
	if v.timeout == 0 {
		v.timeout = defaultTimeout
	}
	for _, h := range c.Hosts {
		v.hosts = append(v.hosts, canonicalHost(h))
	}
	return v
}

// fetched is the outcome of a fetch.
//
//	│ refresh: the next use starts a fetch   │ stale: the next use waits for one,
//	▼                                        ▼ unless the last one failed
//	──────────────────────────────────────────────────────────────▶ expires: never used again
//
// Zero times = never.
type fetched struct {
	value                   string
	err                     error
	refresh, stale, expires time.Time
	failing                 bool // the fetch after this one failed
}

// call is a fetch under way.
type call struct {
	done chan struct{}
	got  *fetched // set before done is closed
}

// cached gives what may be used without waiting, and starts a fetch if it is time; nil =
// there is nothing.
func (v *value) cached(r *Resolver) *fetched {
	f := v.last.Load()
	if f == nil || f.expires.IsZero() {
		return f
	}
	now := time.Now()
	if !now.Before(f.expires) || !now.Before(f.stale) && !f.failing {
		return nil
	}
	if f.err == nil && now.After(f.refresh) {
		v.start(r)
	}
	return f
}

func (v *value) get(ctx context.Context, r *Resolver) (string, error) {
	f := v.cached(r)
	if f == nil {
		c := v.start(r)
		select {
		case <-c.done:
			f = c.got
		case <-ctx.Done():
			return "", &Error{Name: v.name, Code: CodeFetch, Err: fmt.Errorf("it is still being fetched: %w", ctx.Err())}
		}
	}
	return f.value, f.err
}

// start begins a fetch, or joins the one under way.
func (v *value) start(r *Resolver) *call {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.call != nil {
		return v.call
	}
	c := &call{done: make(chan struct{})}
	v.call = c
	r.wg.Go(func() {
		c.got = v.outlive(v.fetch(r.ctx), r)
		v.last.Store(c.got)
		v.mu.Lock()
		v.call = nil
		v.mu.Unlock()
		close(c.done)
	})
	return c
}

// outlive lets a value that may still be used stand in for a failed fetch.
func (v *value) outlive(got *fetched, r *Resolver) *fetched {
	old := v.last.Load()
	failed := old != nil && (old.err != nil || old.failing)
	if got.err == nil {
		v.fetched.Add(1)
		if failed {
			r.log.Info("dynamic value can be fetched again", "value", v.name)
		}
		return got
	}
	v.failures.Add(1)
	if !failed && r.ctx.Err() == nil {
		r.log.Warn("dynamic value cannot be fetched", "value", v.name, "err", got.err)
	}
	now := time.Now()
	if old == nil || old.err != nil || !now.Before(old.expires) {
		return got
	}
	kept := *old
	kept.failing = true
	kept.refresh = now.Add(min(max(v.ttl/20, failureTTL), maxAgain))
	return &kept
}

// fetch asks the provider, which may hang, panic or answer nonsense.
func (v *value) fetch(ctx context.Context) (f *fetched) {
	ctx, cancel := context.WithTimeout(ctx, v.timeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			f = v.failed(CodeFetch, errors.New("the provider panicked")) // what it panicked with may hold the value
		}
	}()
	s, ends, err := v.fetcher.fetch(ctx)
	if err != nil {
		return v.failed(CodeFetch, err)
	}
	if v.pointer != nil {
		if s, err = v.pointer.find(s); err != nil {
			return v.failed(CodeInvalid, err)
		}
	}
	if err := checkValue(s, v.multiline); err != nil {
		return v.failed(CodeInvalid, err)
	}
	return v.timed(s, ends)
}

// timed says how long s may be used. ends is when it ends by itself, zero = not known.
func (v *value) timed(s string, ends time.Time) *fetched {
	ttl, maxAge := v.ttl, v.maxAge
	now := time.Now()
	if !ends.IsZero() {
		life := ends.Sub(now)
		if life <= 0 {
			return v.failed(CodeInvalid, errors.New("the value has ended already"))
		}
		life -= min(endMargin, life/10)
		if !v.given || life < ttl {
			ttl = life
		}
		maxAge = life
	}
	f := &fetched{value: s}
	if ttl > 0 {
		f.refresh, f.stale, f.expires = now.Add(ttl-ttl/5), now.Add(ttl), now.Add(maxAge)
	}
	return f
}

func (v *value) failed(code string, err error) *fetched {
	until := time.Now().Add(failureTTL)
	return &fetched{err: &Error{Name: v.name, Code: code, Err: err}, stale: until, expires: until}
}
