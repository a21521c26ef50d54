// Package sinktest is the suite that every kind of destination passes, against a real
// receiver and over a network that fails on demand.
package sinktest

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

// Received is a message as the receiver has it.
type Received struct {
	ID, Key, ContentType string
	Body                 []byte
	Headers              map[string]string // names in lower case
}

// Harness says how a kind is tested.
type Harness struct {
	Kind   sink.Kind
	Conn   map[string]any
	Params map[string]string // of every message
	// Received reads back what the receiver has got so far, in the order of each key.
	Received func(t *testing.T) []Received
	// Key is false if the receiver does not see ordering keys; Received gives "".
	Key bool
	// Restart stops the receiver, calls down while it is away, and starts it again. Nil
	// if the receiver cannot be restarted.
	Restart func(t *testing.T, down func())
	// Secrets are parts of Conn and Params that no error may show.
	Secrets []string
	// MaxBody is the largest body that must arrive, in bytes.
	MaxBody int
	// Refused tells the bodies that the kind cannot carry: they fail as Permanent. Nil if
	// it carries all.
	Refused func(body []byte) bool
	// Each is how many messages of a key are sent to a receiver that is slow; 0 = many.
	Each int
	// FilledHeaders is set if headers without a value have no form and are left out.
	FilledHeaders bool
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	tests := []struct {
		name string
		run  func(t *testing.T, s *suite)
	}{
		{"Bodies", bodies},
		{"Headers", headers},
		{"Order", order},
		{"CancelledBefore", cancelledBefore},
		{"Deadline", deadline},
		{"Cancelled", cancelled},
		{"BrokenConnections", brokenConnections},
		{"Refused", refused},
		{"Blocked", blocked},
		{"Restart", restart},
		{"CloseUnused", closeUnused},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, newSuite(t, h)) })
	}
}

// each is how many messages of a key are sent, which is many unless that takes too long.
func (s *suite) each(many int) int {
	if s.Each > 0 {
		return s.Each
	}
	return many
}

// suite is one test's sink and network.
type suite struct {
	Harness
	net  *Net
	sink sink.Sink
	id   string // begins all ids and keys of this test
	seq  int
}

func newSuite(t *testing.T, h Harness) *suite {
	t.Helper()
	s := &suite{Harness: h, net: NewNet(), id: fmt.Sprintf("t%d", time.Now().UnixNano())}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var err error
	s.sink, err = h.Kind.Open(ctx, h.Conn, sink.Env{Dial: s.net.Dial, Log: slog.New(slog.DiscardHandler), Version: "test"})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		s.net.Heal()
		if err := s.sink.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if n := s.net.Open(); n != 0 {
			t.Errorf("%d connections are open after Close", n)
		}
	})
	return s
}

// message makes the next message of a key.
func (s *suite) message(key, body string) *sink.Message {
	s.seq++
	return &sink.Message{
		ID: fmt.Sprintf("%s_%06d", s.id, s.seq), Key: []byte(s.id + key), Body: []byte(body), ContentType: "application/json",
		Params: s.Params, Signal: "post_save", Model: "myapp.Sale", Committed: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC),
	}
}

// send sends with a time-out of 10 s and checks the form of the answer.
func (s *suite) send(t *testing.T, msgs ...*sink.Message) []error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return s.sendCtx(ctx, t, msgs...)
}

func (s *suite) sendCtx(ctx context.Context, t *testing.T, msgs ...*sink.Message) []error {
	t.Helper()
	errs := s.sink.Send(ctx, msgs)
	if errs == nil {
		return make([]error, len(msgs))
	}
	if len(errs) != len(msgs) {
		t.Fatalf("%d errors for %d messages", len(errs), len(msgs))
	}
	for _, err := range errs {
		s.checkSecrets(t, err)
	}
	return errs
}

func (s *suite) checkSecrets(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	for _, secret := range s.Secrets {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the error shows a secret: %v", err)
		}
	}
}

func (s *suite) mustSend(t *testing.T, msgs ...*sink.Message) {
	t.Helper()
	for i, err := range s.send(t, msgs...) {
		if err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
	}
}

// received gives what arrived of this test.
func (s *suite) received(t *testing.T) []Received {
	t.Helper()
	var mine []Received
	for _, r := range s.Received(t) {
		if strings.HasPrefix(r.ID, s.id) {
			mine = append(mine, r)
		}
	}
	return mine
}

// checkClass expects all errors to be of class.
func checkClass(t *testing.T, errs []error, class sink.Class) {
	t.Helper()
	for i, err := range errs {
		if err == nil {
			t.Errorf("message %d: accepted", i)
		} else if c := sink.Classify(err).Class; c != class {
			t.Errorf("message %d: class %s of %v, want %s", i, c, err, class)
		}
	}
}

func bodies(t *testing.T, s *suite) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	want := map[string][]byte{}
	for i, b := range [][]byte{
		[]byte(`{"id":1}`), every, {}, nil, []byte("\x00"), []byte("O'Brien \"<&>\" \u2028 🎉\r\n\r\n"), bytes.Repeat([]byte("x"), s.MaxBody),
	} {
		m := s.message(fmt.Sprint(i), "")
		m.Body = b
		if s.Refused != nil && s.Refused(b) {
			checkClass(t, s.send(t, m), sink.Permanent)
			continue
		}
		s.mustSend(t, m)
		want[m.ID] = b
	}
	for _, r := range s.received(t) {
		if b, ok := want[r.ID]; !ok || !bytes.Equal(b, r.Body) {
			t.Errorf("%s: body of %d bytes, want %d", r.ID, len(r.Body), len(b))
		}
		delete(want, r.ID)
	}
	if len(want) > 0 {
		t.Errorf("%d messages did not arrive, or arrived twice", len(want))
	}
}

func headers(t *testing.T, s *suite) {
	m := s.message("k", `{"a":1}`)
	m.Headers = []sink.Header{{Name: "X-Own", Value: "Müller; a=b"}, {Name: "x-empty", Value: ""}}
	s.mustSend(t, m)
	got := s.received(t)
	if len(got) != 1 {
		t.Fatalf("%d messages arrived", len(got))
	}
	if v := got[0].Headers["x-own"]; v != "Müller; a=b" {
		t.Errorf("x-own is %q", v)
	}
	if v, ok := got[0].Headers["x-empty"]; v != "" || ok == s.FilledHeaders {
		t.Errorf("x-empty is %q, %v", v, ok)
	}
	if got[0].ContentType != "application/json" {
		t.Errorf("content type %q", got[0].ContentType)
	}
	if s.Key && got[0].Key != string(m.Key) {
		t.Errorf("key %q", got[0].Key)
	}
}

// order sends 20 keys as deliver does, and checks the order of each.
func order(t *testing.T, s *suite) {
	const keys = 20
	each := s.each(50)
	sent := map[string][]string{}
	var lanes [][]*sink.Message
	for k := range keys {
		var lane []*sink.Message
		for range each {
			m := s.message(fmt.Sprint(k), `{"x":1}`)
			lane = append(lane, m)
			sent[string(m.Key)] = append(sent[string(m.Key)], m.ID)
		}
		lanes = append(lanes, lane)
	}
	for _, batch := range s.schedule(lanes) {
		s.mustSendAll(t, batch)
	}
	s.checkOrder(t, sent)
}

// schedule makes of lanes what is sent one after the other; each entry holds what may
// be under way together.
func (s *suite) schedule(lanes [][]*sink.Message) [][]*sink.Message {
	var out [][]*sink.Message
	if s.Kind.Pipelined {
		var all []*sink.Message
		for i := range lanes[0] {
			for _, lane := range lanes {
				all = append(all, lane[i])
			}
		}
		for n := max(s.Kind.MaxBatch, 1); len(all) > 0; all = all[min(n, len(all)):] {
			out = append(out, all[:min(n, len(all))])
		}
		return out
	}
	for i := range lanes[0] {
		var batch []*sink.Message
		for _, lane := range lanes {
			batch = append(batch, lane[i])
		}
		out = append(out, batch)
	}
	return out
}

func (s *suite) mustSendAll(t *testing.T, batch []*sink.Message) {
	t.Helper()
	for i, err := range s.sendAll(t, batch) {
		if err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
	}
}

// sendAll sends batch as the kind wants it: at once, or in parallel.
func (s *suite) sendAll(t *testing.T, batch []*sink.Message) []error {
	t.Helper()
	if s.Kind.Ordered {
		return s.send(t, batch...)
	}
	errs := make([]error, len(batch))
	var wg sync.WaitGroup
	for i, m := range batch {
		wg.Go(func() { errs[i] = s.send(t, m)[0] })
	}
	wg.Wait()
	return errs
}

// checkOrder expects that of each key all messages arrived, first in this order;
// repetitions may follow.
func (s *suite) checkOrder(t *testing.T, sent map[string][]string) {
	t.Helper()
	keyOf := map[string]string{}
	for key, ids := range sent {
		for _, id := range ids {
			keyOf[id] = key
		}
	}
	first := map[string][]string{}
	seen := map[string]bool{}
	for _, r := range s.received(t) {
		if key, ok := keyOf[r.ID]; ok && !seen[r.ID] {
			seen[r.ID] = true
			first[key] = append(first[key], r.ID)
		}
	}
	for key, ids := range sent {
		if got := first[key]; fmt.Sprint(got) != fmt.Sprint(ids) {
			t.Errorf("key %s: %d arrived as %v, want %d: %v", key, len(got), got, len(ids), ids)
		}
	}
}
