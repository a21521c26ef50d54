package daemon

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waltrigger/waltrigger/pkg/source"
)

// stateful is a source that is as it is told to be.
type stateful struct {
	source.Source
	status atomic.Pointer[source.Status]
}

func (s *stateful) Status() source.Status { return *s.status.Load() }

// TestAwaitPrepared: who needs a source that is being taken up waits for it, and hears at
// once of what stands in its way.
func TestAwaitPrepared(t *testing.T) {
	connecting := source.Status{State: source.Connecting}
	for name, c := range map[string]struct {
		then func(*tail, *stateful)
		want string
	}{
		"prepared": {func(t *tail, _ *stateful) { close(t.prepared) }, ""},
		"refused": {func(_ *tail, s *stateful) {
			s.status.Store(&source.Status{State: source.Connecting, Detail: "no route"})
		}, "source shop is not ready: no route"},
		"stopped": {func(_ *tail, s *stateful) { s.status.Store(&source.Status{State: "stopped"}) }, "source shop is not ready: stopped"},
		"halted": {func(t *tail, _ *stateful) {
			t.halted.Store(&source.HaltError{State: "error", Reason: "the slot is lost", Mend: "resync"})
		}, "the slot is lost"},
		"nothing": {func(*tail, *stateful) {}, context.DeadlineExceeded.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := &stateful{}
				src.status.Store(&connecting)
				tail := &tail{name: "shop", src: src, prepared: make(chan struct{})}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				time.AfterFunc(10*time.Second, func() { c.then(tail, src) })
				began := time.Now()
				err := tail.awaitPrepared(ctx)
				if took := time.Since(began); took < 10*time.Second || name != "nothing" && took > 11*time.Second {
					t.Errorf("took %v", took)
				}
				if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
					t.Errorf("error %v, want %q", err, c.want)
				}
			})
		})
	}
}
