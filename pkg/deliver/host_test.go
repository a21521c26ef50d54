package deliver

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

// TestHostThatIsDown is probed by one of its destinations, and all go on once it answers.
// A destination that fails for itself holds up no other.
func TestHostThatIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		down.Store(true)
		d := deliverer(t, DefaultConfig(), newMemory())
		done := &doneSet{n: map[uint64]int{}}
		var all []*receiver
		var queues []*Destination
		for i := range 20 {
			r := &receiver{kind: sink.Kind{Name: fmt.Sprint("k", i), MaxBatch: 1}, host: "http://h:1"}
			r.answer = func(*sink.Message) error {
				switch {
				case down.Load():
					return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
				case i == 7:
					return &sink.Error{Class: sink.Unavailable, Code: "http_500", Err: context.DeadlineExceeded}
				}
				return nil
			}
			r.kind.Open = func(context.Context, map[string]any, sink.Env) (sink.Sink, error) { return r, nil }
			all, queues = append(all, r), append(queues, d.Destination(fmt.Sprint("d", i), r))
		}
		attempts := func() (n int) {
			for _, r := range all {
				r.mu.Lock()
				n += r.attempts
				r.mu.Unlock()
			}
			return n
		}
		one := func() {
			for i, q := range queues {
				enqueue(t, done, q, []job{{id: fmt.Sprint(i, time.Now()), keys: []uint64{1}}})
			}
		}
		one()
		time.Sleep(time.Minute)
		before := attempts()
		for range 60 {
			one()
			time.Sleep(time.Second)
		}
		for i, q := range queues {
			if !q.status().Failing {
				t.Errorf("destination %d does not fail: %+v", i, q.status())
			}
		}
		if n := attempts() - before; n < 9 || n > 20 {
			t.Errorf("%d attempts in a minute, want those of one prober", n)
		}
		if n := done.count(0); n != 61*len(queues) { // entries are numbered anew by each call of enqueue
			t.Errorf("%d done, want all to be parked", n)
		}
		if n := queues[3].status(); n.Waiting > 1 {
			t.Errorf("%d wait in memory", n.Waiting)
		}
		down.Store(false)
		time.Sleep(20 * time.Second)
		for i, r := range all {
			if n := len(r.got()); (n == 61) != (i != 7) {
				t.Errorf("destination %d got %d of 61", i, n)
			}
		}
		d.Drain(context.Background())
		d.Close()
	})
}
