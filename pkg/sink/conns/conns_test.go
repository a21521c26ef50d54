package conns

import (
	"context"
	"net"
	"runtime"
	"testing"
)

// TestEndOutlastsNothing begins with a context that has ended: what it closes must not be
// the connections of the next Begin.
func TestEndOutlastsNothing(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	s := New(func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		t.Cleanup(func() { here.Close(); there.Close() })
		return here, nil
	})
	for range 2000 {
		s.Begin(ended)
		s.End()
		s.Begin(t.Context())
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
