package sinktest

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

// Secret is part of the secrets in connection details of tests. No error may show it.
const Secret = "s3cret"

// Env is that of a sink that may connect to all.
func Env() sink.Env {
	return sink.Env{Dial: (&net.Dialer{}).DialContext, Log: slog.New(slog.DiscardHandler), Version: "test"}
}

// Message is about a row with the key id.
func Message(id string, params map[string]string) *sink.Message {
	return &sink.Message{
		ID: id, Key: []byte(id), Body: []byte(`{"id":"` + id + `"}`), ContentType: "application/json", Params: params,
		Signal: "post_save", Model: "myapp.Sale", Committed: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
}

// Open gives a sink that is closed with the test.
func Open(t testing.TB, k sink.Kind, conn map[string]any) sink.Sink {
	t.Helper()
	s, err := k.Open(t.Context(), conn, Env())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// patience is how long a Send of a few messages may take.
const patience = 20 * time.Second

// Send gives an error, or nil, for each message.
func Send(t testing.TB, s sink.Sink, msgs ...*sink.Message) []error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	errs := s.Send(ctx, msgs)
	if errs == nil {
		return make([]error, len(msgs))
	}
	for _, err := range errs {
		showsNoSecret(t, err)
	}
	return errs
}

// SendOnce is Send by a sink of its own, which may be refused.
func SendOnce(t testing.TB, k sink.Kind, conn map[string]any, msgs ...*sink.Message) []error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := k.Open(ctx, conn, Env())
	if err != nil {
		showsNoSecret(t, err)
		return sink.All(len(msgs), err)
	}
	defer s.Close()
	return Send(t, s, msgs...)
}

// Expect expects an error of a class and a code.
func Expect(t testing.TB, err error, class sink.Class, code string) {
	t.Helper()
	if err == nil {
		t.Error("accepted")
		return
	}
	if e := sink.Classify(err); e.Class != class || e.Code != code {
		t.Errorf("%s %s: %v; want %s %s", e.Class, e.Code, err, class, code)
	}
	showsNoSecret(t, err)
}

func showsNoSecret(t testing.TB, err error) {
	t.Helper()
	if err != nil && (strings.Contains(err.Error(), Secret) || strings.Contains(err.Error(), "Bearer ")) {
		t.Errorf("the error shows a secret: %v", err)
	}
}
