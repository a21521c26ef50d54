package sinktest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

// soon is how long a Send may take to return after its context ended.
const soon = 2 * time.Second

func cancelledBefore(t *testing.T, s *suite) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	checkClass(t, s.sendCtx(ctx, t, s.message("a", "1")), sink.Unavailable)
	s.mustSend(t, s.message("warm", "1"))
	checkClass(t, s.sendCtx(ctx, t, s.message("a", "1")), sink.Unavailable)
	if got := s.received(t); len(got) != 1 {
		t.Errorf("%d messages arrived, want the one that was sent", len(got))
	}
}

// interrupted sends to a network that swallows answers until ctx ends, and checks that
// what is sent afterwards does not arrive before it.
func interrupted(t *testing.T, s *suite, ctx context.Context, ended func() time.Time) {
	t.Helper()
	s.mustSend(t, s.message("warm", "1"))
	a, b := s.message("k", "1"), s.message("k", "1")
	s.net.Stall()
	errs := s.sendCtx(ctx, t, a)
	if late := time.Since(ended()); late > soon {
		t.Errorf("returned %v after the context had ended", late)
	}
	checkClass(t, errs, sink.Unavailable)
	s.net.Heal()
	s.mustSend(t, a)
	s.mustSend(t, b)
	s.checkOrder(t, map[string][]string{"k": {a.ID, b.ID}})
}

func deadline(t *testing.T, s *suite) {
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	interrupted(t, s, ctx, func() time.Time { d, _ := ctx.Deadline(); return d })
}

func cancelled(t *testing.T, s *suite) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	at := time.Now().Add(500 * time.Millisecond)
	timer := time.AfterFunc(time.Until(at), cancel)
	defer timer.Stop()
	interrupted(t, s, ctx, func() time.Time { return at })
}

// brokenConnections breaks all connections again and again, sends again what was not
// accepted, and expects no loss and the right order.
func brokenConnections(t *testing.T, s *suite) {
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(3 * time.Millisecond)
		defer tick.Stop()
		for range 40 {
			select {
			case <-stop:
				return
			case <-tick.C:
				s.net.Break()
			}
		}
	}()
	s.deliver(t, 10, s.each(300))
	close(stop)
	<-done
}

// deliver sends keys × each messages until all are accepted, as deliver would, and
// checks what arrived.
func (s *suite) deliver(t *testing.T, keys, each int) {
	t.Helper()
	sent := map[string][]string{}
	lanes := make([][]*sink.Message, keys)
	for k := range keys {
		for range each {
			m := s.message(fmt.Sprint(k), `{"x":1}`)
			lanes[k] = append(lanes[k], m)
			sent[string(m.Key)] = append(sent[string(m.Key)], m.ID)
		}
	}
	limit := time.Now().Add(30 * time.Second)
	for left := keys * each; left > 0; {
		if time.Now().After(limit) {
			t.Fatalf("%d messages are not accepted after 30 s", left)
		}
		batch := s.next(lanes)
		failed := map[string]bool{}
		accepted := map[string]bool{}
		for i, err := range s.sendAll(t, batch) {
			key := string(batch[i].Key)
			switch {
			case err != nil:
				failed[key] = true
			case failed[key]:
				t.Errorf("%s was accepted after a message of its key had failed", batch[i].ID)
			default:
				accepted[batch[i].ID] = true
				left--
			}
		}
		for k, lane := range lanes {
			for len(lane) > 0 && accepted[lane[0].ID] {
				lane = lane[1:]
			}
			lanes[k] = lane
		}
	}
	s.checkOrder(t, sent)
}

// next gives what may be sent together: the first of each lane, or several of each if
// the kind keeps their order.
func (s *suite) next(lanes [][]*sink.Message) []*sink.Message {
	each := 1
	if s.Kind.Pipelined {
		each = 5
	}
	var batch []*sink.Message
	for i := range each {
		for _, lane := range lanes {
			if i < len(lane) {
				batch = append(batch, lane[i])
			}
		}
	}
	return batch
}

func refused(t *testing.T, s *suite) {
	s.net.Refuse()
	checkClass(t, s.send(t, s.message("a", "1")), sink.Unavailable)
	s.net.Heal()
	s.mustSend(t, s.message("b", "1"))
	s.net.Refuse()
	s.net.Break()
	checkClass(t, s.send(t, s.message("c", "1")), sink.Unavailable)
	s.net.Heal()
	s.mustSend(t, s.message("d", "1"))
}

func blocked(t *testing.T, s *suite) {
	s.net.Block()
	errs := s.send(t, s.message("a", "1"))
	checkClass(t, errs, sink.Blocked)
	s.net.Heal()
	s.mustSend(t, s.message("b", "1"))
}

// restart restarts the receiver while messages are sent.
func restart(t *testing.T, s *suite) {
	if s.Harness.Restart == nil {
		t.Log("this receiver cannot be restarted")
		return
	}
	before := s.message("k", "1")
	s.mustSend(t, before)
	during := s.message("k", "1")
	s.Harness.Restart(t, func() {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		checkClass(t, s.sendCtx(ctx, t, during), sink.Unavailable)
	})
	limit := time.Now().Add(30 * time.Second)
	for {
		errs := s.send(t, during)
		if errs[0] == nil {
			break
		}
		if time.Now().After(limit) {
			t.Fatalf("not accepted after the restart: %v", errs[0])
		}
	}
	s.checkOrder(t, map[string][]string{"k": {before.ID, during.ID}})
}

func closeUnused(*testing.T, *suite) {}
