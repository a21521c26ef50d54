package source

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// States of a Status or a HaltError that others go by.
const (
	Connecting     = "connecting"      // on its way to its server: without Detail, for the first time
	ResyncRequired = "resync_required" // what was read last does not lead on
	Misconfigured  = "misconfigured"   // an operator can mend it beside the daemon
)

// Link is how a source stands with its server, and the way to it. Any goroutine.
type Link struct {
	log     *slog.Logger
	longest time.Duration

	mu            sync.Mutex
	state, detail string
}

// NewLink makes a link that is not there yet. Between two attempts to connect it waits
// for longest at most.
func NewLink(log *slog.Logger, longest time.Duration) *Link {
	return &Link{log: log, longest: longest, state: Connecting}
}

// State gives a Status's State and Detail.
func (l *Link) State() (state, detail string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state, l.detail
}

// Set says how it stands now.
func (l *Link) Set(state, detail string) {
	l.mu.Lock()
	l.state, l.detail = state, detail
	l.mu.Unlock()
}

// Ended says that err has ended it.
func (l *Link) Ended(err error) {
	var halt *HaltError
	switch {
	case errors.As(err, &halt):
		l.Set(halt.State, halt.Reason+"; "+halt.Mend)
	case errors.Is(err, context.Canceled):
		l.Set("stopped", "")
	default:
		l.Set("error", err.Error())
	}
}

// PermanentError ends Run: reading the same log again would fail in the same way.
type PermanentError struct{ Err error }

func (e PermanentError) Error() string { return e.Err.Error() }
func (e PermanentError) Unwrap() error { return e.Err }

// StoreError is a failure of the store, which is not the server's: not tried again.
type StoreError struct{ Err error }

func (e StoreError) Error() string { return e.Err.Error() }
func (e StoreError) Unwrap() error { return e.Err }

// LostError marks the loss of a connection that had worked for a while.
type LostError struct{ Err error }

func (e LostError) Error() string { return e.Err.Error() }
func (e LostError) Unwrap() error { return e.Err }

// final reports whether another attempt would end as this one.
func final(err error) bool {
	var halt *HaltError
	var permanent PermanentError
	var store StoreError
	var rewound *RewoundError
	return errors.As(err, &halt) || errors.As(err, &permanent) || errors.As(err, &store) || errors.As(err, &rewound)
}

// Retry calls f until it succeeds, ctx ends or it fails for good. Waits grow from 0.1 s,
// with jitter, and start anew after a connection that worked. judge may choose another
// wait after a failure, or have err end it.
func (l *Link) Retry(ctx context.Context, f func() error, judge func(err error, wait time.Duration) (time.Duration, error)) error {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = 100*time.Millisecond, l.longest
	var last string
	for {
		err := f()
		if err == nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		if final(err) {
			return err
		}
		var lost LostError
		if errors.As(err, &lost) {
			wait.Reset()
		}
		d, end := judge(err, wait.NextBackOff())
		if end != nil {
			return end
		}
		if text := err.Error(); text != last { // once, not at every attempt
			last = text
			l.log.Warn("source is not connected, trying again", "error", err, "wait", d.Round(time.Millisecond).String())
		}
		l.Set(Connecting, err.Error())
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(d):
		}
	}
}

// Prepare has prepare try until the server can be reached.
func (l *Link) Prepare(ctx context.Context, prepare func() (State, error), judge func(err error, wait time.Duration) (time.Duration, error)) (State, error) {
	var out State
	err := l.Retry(ctx, func() (err error) {
		out, err = prepare()
		return err
	}, judge)
	if err != nil {
		l.Ended(err)
	}
	return out, err
}
