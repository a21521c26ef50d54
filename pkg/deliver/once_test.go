package deliver

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

func TestOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := deliverer(t, DefaultConfig(), nil)
		r := &receiver{}
		r.kind = sink.Kind{Name: "memory", Open: func(context.Context, map[string]any, sink.Env) (sink.Sink, error) { return r, nil }}
		headers := []sink.Header{{Name: "A", Value: "1"}}
		m := &sink.Message{ID: "m", Headers: headers[:1:1]}
		var got []sink.Header
		r.answer = func(m *sink.Message) error { got = m.Headers; return nil }
		if err := d.Once(t.Context(), r, m, nil, sink.Header{Name: "B", Value: "2"}); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, []sink.Header{{Name: "A", Value: "1"}, {Name: "B", Value: "2"}}) || len(headers) != 1 {
			t.Errorf("headers %v", got)
		}
		refused := errors.New("no")
		r.answer = func(*sink.Message) error { return refused }
		var e *sink.Error
		if err := d.Once(t.Context(), r, m, nil); !errors.As(err, &e) || !errors.Is(err, refused) || r.attempts != 2 {
			t.Errorf("%v after %d attempts", err, r.attempts)
		}
		r.answer = func(*sink.Message) error { return context.Cause(t.Context()) }
		r.delay = func() time.Duration { return time.Hour }
		began := time.Now()
		go func() {
			time.Sleep(10 * time.Second)
			d.Close() // ends the attempt, and waits for it
			if !r.closed {
				t.Error("the sink is open")
			}
		}()
		_ = d.Once(t.Context(), r, m, nil)
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("the attempt took %v", took)
		}
		synctest.Wait()
		if err := d.Once(t.Context(), r, m, nil); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}
