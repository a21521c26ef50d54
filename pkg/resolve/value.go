package resolve

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	fetchTimeout = 10 * time.Second
	// failureTTL keeps a provider that fails from being asked once for each delivery.
	failureTTL = time.Second
)

// value is a declared value with what was last fetched of it.
type value struct {
	name      string
	provider  provider
	ttl       time.Duration // 0 = for ever
	hosts     []string
	inPayload bool

	last atomic.Pointer[fetched]
	mu   sync.Mutex
	call *call // the one under way, nil = none
}

// fetched is the outcome of a fetch. After refresh a new one is started, at expires it
// is not used any more; zero times = never.
type fetched struct {
	value            string
	err              error
	refresh, expires time.Time
}

type call struct {
	done chan struct{}
	got  *fetched // set before done is closed
}

func (v *value) get(ctx context.Context, r *Resolver) (string, error) {
	if f := v.last.Load(); f != nil {
		if f.expires.IsZero() {
			return f.value, f.err
		}
		now := time.Now()
		if now.Before(f.expires) {
			if f.err == nil && now.After(f.refresh) {
				v.start(r)
			}
			return f.value, f.err
		}
	}
	c := v.start(r)
	select {
	case <-c.done:
		return c.got.value, c.got.err
	case <-ctx.Done():
		return "", &Error{Name: v.name, Code: CodeFetch, Err: ctx.Err()}
	}
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
		c.got = v.fetch(r.ctx)
		// A failed refresh does not take away what is still good: the old value is
		// used to its end, and the next caller after that waits for a new fetch.
		if old := v.last.Load(); c.got.err == nil || old == nil || old.err != nil || !time.Now().Before(old.expires) {
			v.last.Store(c.got)
		} else {
			kept := *old
			kept.refresh = time.Now().Add(failureTTL)
			v.last.Store(&kept)
		}
		v.mu.Lock()
		v.call = nil
		v.mu.Unlock()
		close(c.done)
	})
	return c
}

// fetch asks the provider, which may hang, panic or answer nonsense.
func (v *value) fetch(ctx context.Context) (f *fetched) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			f = v.failed(CodeFetch, errors.New("the provider panicked")) // what it panicked with may hold the value
		}
	}()
	s, err := v.provider.fetch(ctx)
	if err != nil {
		return v.failed(CodeFetch, err)
	}
	if err := checkValue(s); err != nil {
		return v.failed(CodeInvalid, err)
	}
	f = &fetched{value: s}
	if v.ttl > 0 {
		now := time.Now()
		f.refresh, f.expires = now.Add(v.ttl-v.ttl/5), now.Add(v.ttl)
	}
	return f
}

func (v *value) failed(code string, err error) *fetched {
	return &fetched{err: &Error{Name: v.name, Code: code, Err: err}, expires: time.Now().Add(failureTTL)}
}

// checkValue refuses what would end a header line. An empty secret is a mistake, and
// sending it would be taken for a wrong one.
func checkValue(s string) error {
	switch i := strings.IndexAny(s, "\r\n\x00"); {
	case s == "":
		return errors.New("the value is empty")
	case i < 0:
		return nil
	case s[i] == 0:
		return errors.New("the value holds a NUL character")
	default:
		return fmt.Errorf("the value holds a line break at byte %d of %d", i, len(s))
	}
}
