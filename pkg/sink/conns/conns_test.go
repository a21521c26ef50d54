package conns

import (
	"context"
	"errors"
	"net"
	"runtime"
	"testing"
)

func pipes(t *testing.T) *Set {
	return New(func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		t.Cleanup(func() { here.Close(); there.Close() })
		return here, nil
	})
}

// TestEndOutlastsNothing ends a context between Begin and End: what it closes must not be
// the connections of the next Begin.
func TestEndOutlastsNothing(t *testing.T) {
	s := pipes(t)
	for range 2000 {
		ending, cancel := context.WithCancel(t.Context())
		if err := s.Begin(ending); err != nil {
			t.Fatal(err)
		}
		cancel()
		s.End()
		if err := s.Begin(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Dial(t.Context(), "tcp", "x:1", nil); err != nil {
			t.Fatal(err)
		}
		runtime.Gosched()
		if len(s.open) != 1 {
			t.Fatal("the connection was closed by a context that had ended before")
		}
		s.CloseAll()
		s.End()
	}
}

// TestBeginAfterTheEnd begins with a context that has ended: a client must not come to
// write to a connection that is about to be closed.
func TestBeginAfterTheEnd(t *testing.T) {
	s := pipes(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Begin(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := s.Dial(t.Context(), "tcp", "x:1", nil); !errors.Is(err, errIdle) {
		t.Errorf("dialled: %v", err)
	}
}
