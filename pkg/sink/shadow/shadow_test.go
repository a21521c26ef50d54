package shadow

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

func open(t *testing.T, r *Records, id string) sink.Sink {
	t.Helper()
	s, err := r.Kind().Open(t.Context(), map[string]any{"destination": id}, sink.Env{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func message(id, body string) *sink.Message {
	return &sink.Message{ID: id, Key: []byte("k"), Body: []byte(body), Headers: []sink.Header{{Name: "A", Value: "b"}}, Params: map[string]string{"url": "u"}}
}

// counted gives the metric by destination.
func counted(t *testing.T, r *Records) map[string]float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(r)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			out[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
		}
	}
	return out
}

func TestKeepsTheLastMessages(t *testing.T) {
	r := New()
	a, b := open(t, r, "a"), open(t, r, "b")
	for i := range maxMessages + 5 {
		if errs := a.Send(t.Context(), []*sink.Message{message(fmt.Sprint(i), "x")}); errs != nil {
			t.Fatal(errs)
		}
	}
	m := message("long", strings.Repeat("y", maxBody+1))
	if errs := b.Send(t.Context(), []*sink.Message{m}); errs != nil {
		t.Fatal(errs)
	}
	m.Body[0], m.Params["url"], m.Headers[0].Value = 'z', "changed", "changed"
	got := r.Of("a")
	if len(got) != maxMessages || got[0].ID != fmt.Sprint(maxMessages+4) || got[maxMessages-1].ID != "5" {
		t.Errorf("%d kept, %s to %s", len(got), got[0].ID, got[len(got)-1].ID)
	}
	if got := r.Of("b"); len(got) != 1 || len(got[0].Body) != maxBody || got[0].Size != maxBody+1 || got[0].Body[0] != 'y' || got[0].Params["url"] != "u" || got[0].Headers[0].Value != "b" || got[0].At.IsZero() {
		t.Errorf("kept %+v", got)
	}
	if n := counted(t, r); n["a"] != maxMessages+5 || n["b"] != 1 {
		t.Errorf("%v counted", n)
	}
	r.Keep(func(id string) bool { return id == "b" })
	if len(r.Of("a")) != 0 || len(r.Of("b")) != 1 || len(counted(t, r)) != 1 || r.bytes != maxBody {
		t.Errorf("%d bytes are left", r.bytes)
	}
}

func TestIsBounded(t *testing.T) {
	r := New()
	body := strings.Repeat("x", maxBody)
	for i := range 2 * maxBytes / maxBody / maxMessages {
		s := open(t, r, fmt.Sprint(i))
		for range maxMessages {
			s.Send(t.Context(), []*sink.Message{message("m", body)})
		}
	}
	if r.bytes > maxBytes || r.bytes < maxBytes/2 {
		t.Errorf("%d bytes", r.bytes)
	}
}

func TestAtOnce(t *testing.T) {
	r := New()
	s := open(t, r, "a")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				s.Send(context.Background(), []*sink.Message{message("m", "x")})
				r.Of("a")
			}
			r.Keep(func(string) bool { return true })
		})
	}
	wg.Wait()
	if len(r.Of("a")) != maxMessages {
		t.Errorf("%d kept", len(r.Of("a")))
	}
}
