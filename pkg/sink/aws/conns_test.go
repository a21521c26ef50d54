package aws

import (
	"context"
	"errors"
	"net"
	"testing"
)

func TestConnsCloseEndsConnectionsAndDials(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	waits := make(chan struct{})
	c := newConns(func(ctx context.Context, _, address string) (net.Conn, error) {
		if address == "open" {
			return ours, nil
		}
		close(waits)
		<-ctx.Done()
		return nil, ctx.Err()
	})
	if _, err := c.Dial(t.Context(), "tcp", "open"); err != nil {
		t.Fatal(err)
	}
	failed := make(chan error)
	go func() {
		_, err := c.Dial(context.Background(), "tcp", "hangs")
		failed <- err
	}()
	<-waits
	closed := make(chan struct{})
	go func() {
		c.Close()
		close(closed)
	}()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("the dial ended with %v", err)
	}
	<-closed
	if _, err := theirs.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is still open")
	}
	if _, err := c.Dial(t.Context(), "tcp", "open"); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a dial after Close ended with %v", err)
	}
}

func TestConnsForgetWhatIsClosed(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	c := newConns(func(context.Context, string, string) (net.Conn, error) { return ours, nil })
	nc, err := c.Dial(t.Context(), "tcp", "x")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Close(); err != nil || len(c.open) != 0 {
		t.Errorf("%d connections are known after Close (%v)", len(c.open), err)
	}
	c.Close()
}
