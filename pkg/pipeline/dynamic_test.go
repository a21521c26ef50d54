package pipeline

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waltrigger/waltrigger/pkg/resolve"
)

// withValues gives the bench dynamic values that ask fetches: tok, which bodies may name,
// and bound, which goes to good.example.com only.
func (b *bench) withValues(t *testing.T, ask func(ctx context.Context) (string, error)) {
	t.Helper()
	get := resolve.SQL{Source: "shop", Query: "x"}
	r, err := resolve.New(map[string]resolve.Config{
		"tok":   {SQL: get, TTL: 10 * time.Minute, AllowInPayload: true},
		"bound": {Literal: "b0und", Hosts: []string{"good.example.com"}, AllowInPayload: true},
	}, resolve.Env{SQL: func(ctx context.Context, _, _ string) (string, error) { return ask(ctx) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	b.compiler.Resolver = r
}

// TestValueInBody has bodies name a value that takes its time, fails, hangs, and in the
// end is there: what needs it waits, in order, and what does not goes on.
func TestValueInBody(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		var calls atomic.Int32
		var up atomic.Bool
		b.withValues(t, func(ctx context.Context) (string, error) {
			n := calls.Add(1)
			switch {
			case !up.Load() && n%2 == 0:
				<-ctx.Done()
				return "", ctx.Err()
			case !up.Load():
				return "", errors.New("down")
			}
			time.Sleep(5 * time.Second)
			return "t0k", nil
		})
		b.use(hook("w", "{{ tok }} {{ instance.id }}.{{ instance.n }}"), hook("v", "{{ instance.id }}.{{ instance.n }}"))
		b.log.batches <- transaction(1, insert("1", "1", "null"), insert("2", "1", "null"), update(values("1", "1", "null"), values("1", "2", "null")))
		b.log.batches <- transaction(2, update(values("1", "2", "null"), values("1", "3", "null")))
		synctest.Wait()
		wantInAnyOrder(t, b.receiver, "1.1", "2.1", "1.2", "1.3")
		time.Sleep(time.Hour)
		wantInAnyOrder(t, b.receiver, "1.1", "2.1", "1.2", "1.3")
		if b.InFlight() != 4 {
			t.Fatalf("%d in flight, want 4", b.InFlight())
		}
		b.log.batches <- transaction(3, insert("3", "1", "null")) // the other destination goes on
		synctest.Wait()
		if got := b.receiver.bodies(); !slices.Contains(got, "3.1") {
			t.Errorf("received %q", got)
		}
		up.Store(true)
		time.Sleep(5 * time.Minute)
		var row1 []string
		for _, s := range b.receiver.bodies() {
			if strings.HasPrefix(s, "t0k 1.") {
				row1 = append(row1, s)
			}
		}
		if !slices.Equal(row1, []string{"t0k 1.1", "t0k 1.2", "t0k 1.3"}) || b.InFlight() != 0 {
			t.Errorf("row 1 is %q, %d in flight", row1, b.InFlight())
		}
		// Now it is known, and nothing waits any more.
		b.receiver.set(func() { b.receiver.got = nil })
		b.log.batches <- transaction(4, insert("4", "1", "null"))
		synctest.Wait()
		wantInAnyOrder(t, b.receiver, "t0k 4.1", "4.1")
	})
}

// TestBoundValueInBody: a destination that may not be sent the body gets nothing, and the
// others do.
func TestBoundValueInBody(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.withValues(t, nil)
		two := strings.Replace(hook("good", "{{ bound }} {{ instance.id }}"), "https://example.com/", "https://good.example.com/", 1)
		two = strings.Replace(two, `"webhooks":[`, `"webhooks":[{"id":"evil","url":"https://evil.example.com/"},`, 1)
		b.use(two)
		b.log.batches <- transaction(1, insert("1", "1", "null"))
		time.Sleep(time.Hour)
		wantBodies(t, b.receiver, "b0und 1")
		if ids := b.receiver.ids(); len(ids) != 1 || !strings.HasSuffix(ids[0], "_good") || b.InFlight() != 1 {
			t.Errorf("received %q, %d in flight", ids, b.InFlight())
		}
		for _, s := range b.deliver.Status() {
			if s.ID == "evil" && !strings.Contains(s.Err, "bound to other hosts") {
				t.Errorf("status %+v", s)
			}
		}
		b.use(strings.Replace(two, "evil.example.com", "good.example.com", 1)) // mended
		time.Sleep(5 * time.Minute)
		wantBodies(t, b.receiver, "b0und 1", "b0und 1")
	})
}
