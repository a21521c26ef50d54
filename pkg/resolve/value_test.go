package resolve

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// fake is a provider that counts and can be told what to do.
type fake struct {
	calls atomic.Int32
	do    func(ctx context.Context, call int) (string, error)
	ends  time.Time
}

func (f *fake) fetch(ctx context.Context) (string, time.Time, error) {
	v, err := f.do(ctx, int(f.calls.Add(1)))
	return v, f.ends, err
}

func withFake(f *fake, ttl time.Duration) *Resolver {
	ctx, cancel := context.WithCancel(context.Background())
	v := &value{name: "v", fetcher: f, ttl: ttl, given: ttl > 0, maxAge: 2 * ttl, timeout: defaultTimeout, inPayload: true}
	return &Resolver{ctx: ctx, cancel: cancel, log: slog.New(slog.DiscardHandler), values: map[string]*value{"v": v}, names: []string{"v"}}
}

func TestOneFetchForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{do: func(context.Context, int) (string, error) { time.Sleep(time.Second); return "x", nil }}
		r := withFake(f, time.Minute)
		defer r.Close()
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if v, err := r.Resolve(t.Context(), "v"); v != "x" || err != nil {
					t.Errorf("got %q, %v", v, err)
				}
			})
		}
		wg.Wait()
		if n := f.calls.Load(); n != 1 {
			t.Fatalf("%d fetches", n)
		}
	})
}

// step is a use of a value some time after the one before.
type step struct {
	after time.Duration
	want  string // the value, or the error's text
	calls int32  // fetches begun, those of this use included
}

func walk(t *testing.T, f *fake, r *Resolver, steps []step) {
	t.Helper()
	for i, s := range steps {
		time.Sleep(s.after)
		got, err := r.Resolve(t.Context(), "v")
		synctest.Wait() // for what goes on in the background
		if err != nil {
			got = err.Error()
		}
		if got != s.want || f.calls.Load() != s.calls {
			t.Fatalf("step %d, after %v: %q with %d fetches, want %q with %d", i, s.after, got, f.calls.Load(), s.want, s.calls)
		}
	}
}

// scripted fails the calls that are named, and gives v1, v2 and so on else.
func scripted(failing ...int) *fake {
	return &fake{do: func(_ context.Context, call int) (string, error) {
		if slices.Contains(failing, call) {
			return "", errors.New("down")
		}
		return fmt.Sprint("v", call), nil
	}}
}

const down = "dynamic value v: down"

func TestRefreshBeforeExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := scripted(2)
		r := withFake(f, 100*time.Second)
		defer r.Close()
		walk(t, f, r, []step{
			{0, "v1", 1},
			{79 * time.Second, "v1", 1},
			{2 * time.Second, "v1", 2}, // refreshed, in vain
			{4 * time.Second, "v1", 2}, // not asked again at once
			{2 * time.Second, "v1", 3}, // again, in the background
			{0, "v3", 3},
			{101 * time.Second, "v4", 4}, // nobody used it for its last fifth: waited for
		})
	})
}

func TestStaleWhileRefreshingFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := scripted(2, 3, 4, 5, 6, 7)
		r := withFake(f, 100*time.Second)
		defer r.Close()
		walk(t, f, r, []step{
			{0, "v1", 1},
			{90 * time.Second, "v1", 2},        // fails
			{20 * time.Second, "v1", 3},        // 110 s old and used, as the refresh failed
			{time.Second, "v1", 3},             // but not asked for at each use
			{80 * time.Second, "v1", 4},        // 191 s old
			{8 * time.Second, "v1", 5},         // 199 s old
			{2 * time.Second, down, 6},         // older than max_age
			{500 * time.Millisecond, down, 6},  // remembered for a second
			{600 * time.Millisecond, down, 7},  // asked again
			{1100 * time.Millisecond, "v8", 8}, // there it is
			{99 * time.Second, "v8", 9},
			{0, "v9", 9}, // and all is as before
		})
	})
	synctest.Test(t, func(t *testing.T) { // idle until it is past its end: waits, and falls back
		f := scripted(2, 3)
		r := withFake(f, 100*time.Second)
		defer r.Close()
		walk(t, f, r, []step{{0, "v1", 1}, {150 * time.Second, "v1", 2}, {51 * time.Second, down, 3}})
	})
}

// TestOwnEnd: a token is not used beyond its end, whatever ttl and max_age say.
func TestOwnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := scripted(2)
		r := withFake(f, time.Hour)
		defer r.Close()
		f.ends = time.Now().Add(200 * time.Second) // 190 without the margin
		walk(t, f, r, []step{{0, "v1", 1}, {151 * time.Second, "v1", 1}, {2 * time.Second, "v1", 2}, {36 * time.Second, "v1", 3}, {time.Second, "v3", 3}})
	})
	synctest.Test(t, func(t *testing.T) {
		f := scripted(2)
		r := withFake(f, time.Hour)
		defer r.Close()
		f.ends = time.Now().Add(200 * time.Second)
		walk(t, f, r, []step{{0, "v1", 1}, {191 * time.Second, down, 2}})
		f.ends = time.Now().Add(time.Second)
		walk(t, f, r, []step{{2 * time.Second, "dynamic value v: the value has ended already", 3}})
	})
	synctest.Test(t, func(t *testing.T) { // a ttl of the operator's may be shorter than the token's time
		f := scripted()
		r := withFake(f, time.Minute)
		defer r.Close()
		f.ends = time.Now().Add(time.Hour)
		walk(t, f, r, []step{{0, "v1", 1}, {61 * time.Second, "v2", 2}})
		r.values["v"].given = false // the default is not
		walk(t, f, r, []step{{61 * time.Second, "v3", 3}, {20 * time.Minute, "v3", 3}})
	})
}

func TestCached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := scripted(2)
		r := withFake(f, 100*time.Second)
		defer r.Close()
		for _, s := range []struct {
			after time.Duration
			want  string
			calls int32
		}{
			{0, "", 1}, // begun
			{0, "v1", 1},
			{90 * time.Second, "v1", 2}, // begun in the background, in vain
			{60 * time.Second, "v1", 3}, // stale, and the last fetch failed
			{0, "v3", 3},
			{150 * time.Second, "", 4}, // too old, and nothing says that it cannot be had
			{0, "v4", 4},
		} {
			time.Sleep(s.after)
			got, ok := r.CachedForBody("v")
			synctest.Wait()
			if got != s.want || ok != (s.want != "") || f.calls.Load() != s.calls {
				t.Fatalf("after %v: %q %v with %d fetches, want %q with %d", s.after, got, ok, f.calls.Load(), s.want, s.calls)
			}
		}
		if _, ok := r.CachedForBody("other"); ok {
			t.Error("a value that is not declared")
		}
	})
}

// TestStorm has many goroutines use a value whose provider is slow and fails now and
// then: never is there more than one fetch, nobody waits beyond his deadline, and what
// is used is never older than max_age.
func TestStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int32
		f := &fake{}
		f.do = func(_ context.Context, call int) (string, error) {
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
			time.Sleep(time.Duration(call%7) * time.Second)
			if call%3 == 0 {
				return "", errors.New("down")
			}
			return time.Now().Format(time.RFC3339Nano), nil
		}
		r := withFake(f, 10*time.Second)
		defer r.Close()
		var wg sync.WaitGroup
		var good, bad atomic.Int32
		for i := range 50 {
			wg.Go(func() {
				for range 500 {
					time.Sleep(time.Duration(i+1) * 17 * time.Millisecond)
					began := time.Now()
					ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
					v, err := r.Resolve(ctx, "v")
					cancel()
					if took := time.Since(began); took > 2*time.Second {
						t.Errorf("waited %v", took)
					}
					if err != nil {
						bad.Add(1)
						continue
					}
					good.Add(1)
					at, err := time.Parse(time.RFC3339Nano, v)
					if age := began.Sub(at); err != nil || age > 20*time.Second {
						t.Errorf("%s is %v old, %v", v, age, err)
					}
				}
			})
		}
		wg.Wait()
		if most.Load() != 1 || good.Load() == 0 || bad.Load() == 0 {
			t.Errorf("%d fetches at once, %d good, %d bad", most.Load(), good.Load(), bad.Load())
		}
		if s := r.Status()[0]; s.Fetched == 0 || s.Failures == 0 || s.Fetched+s.Failures != uint64(f.calls.Load()) {
			t.Errorf("status %+v of %d calls", s, f.calls.Load())
		}
	})
}

// TestLogOfFailures: one line when a value cannot be fetched, one when it can again.
func TestLogOfFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := scripted(1, 2, 4, 5)
		r := withFake(f, 10*time.Second)
		defer r.Close()
		var log bytes.Buffer
		r.log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}))
		for range 60 {
			_, _ = r.Resolve(t.Context(), "v")
			time.Sleep(time.Second)
		}
		const bad, good = `level=WARN msg="dynamic value cannot be fetched" value=v err="dynamic value v: down"` + "\n", `level=INFO msg="dynamic value can be fetched again" value=v` + "\n"
		if log.String() != bad+good+bad+good {
			t.Errorf("logged\n%s", log.String())
		}
	})
}

func TestProviderHangsOrPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{do: func(ctx context.Context, call int) (string, error) {
			if call == 1 {
				<-ctx.Done()
				return "", ctx.Err()
			}
			panic("s3cret")
		}}
		r := withFake(f, time.Minute)
		defer r.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := r.Resolve(ctx, "v")
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("error %v, want the caller's deadline", err)
		}
		checkError(t, err, CodeFetch)
		time.Sleep(20 * time.Second)
		_, err = r.Resolve(t.Context(), "v")
		checkError(t, err, CodeFetch)
		if strings.Contains(err.Error(), "s3cret") {
			t.Fatal(err)
		}
	})
}

func TestCloseEndsFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{do: func(ctx context.Context, _ int) (string, error) { <-ctx.Done(); return "", ctx.Err() }}
		r := withFake(f, time.Minute)
		done := make(chan error)
		go func() { _, err := r.Resolve(t.Context(), "v"); done <- err }()
		synctest.Wait()
		r.Close()
		checkError(t, <-done, CodeFetch)
	})
}
