package daemon

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/waltrigger/waltrigger/pkg/api"
	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/pipeline"
	"github.com/waltrigger/waltrigger/pkg/signal"
	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

const (
	maxShown = 1 << 20          // bytes of a body that are shown
	testTime = 45 * time.Second // for all destinations of a test
)

// PreviewNew shows what a trigger that is not stored would do. One that has the id of a
// stored one is looked at as if it were to replace that.
func (s *triggers) PreviewNew(ctx context.Context, t *trigger.Trigger, sample *trigger.Sample) (api.Preview, error) {
	var old *trigger.Trigger
	if t.ID != 0 {
		r, err := s.store.Trigger(ctx, t.ID)
		if err != nil {
			return api.Preview{}, s.told(err)
		}
		old = r.Trigger
	}
	problems := trigger.Inherit(t, old)
	v := trigger.Validate(ctx, t, s.env)
	if problems = trigger.Join(problems, v.Problems); len(problems) > 0 {
		for i := range problems {
			problems[i].Pointer = "/trigger" + problems[i].Pointer
		}
		return api.Preview{}, &trigger.InvalidError{Problems: problems}
	}
	if v.Unavailable != nil {
		return api.Preview{}, unavailable(v.Unavailable)
	}
	out, _, err := s.preview(ctx, trigger.Record{Trigger: t}, sample, "preview")
	out.Warnings = slices.Concat(v.Warnings, out.Warnings)
	return out, err
}

// Preview shows what a stored trigger would do.
func (s *triggers) Preview(ctx context.Context, id int64, sample *trigger.Sample) (api.Preview, error) {
	r, err := s.store.Trigger(ctx, id)
	if err != nil {
		return api.Preview{}, s.told(err)
	}
	out, _, err := s.preview(ctx, r, sample, "preview")
	return out, err
}

// preview renders, and gives beside what is shown what is to be sent, at the same places.
func (s *triggers) preview(ctx context.Context, r trigger.Record, sample *trigger.Sample, position string) (api.Preview, [][]pipeline.Rendered, error) {
	m, err := s.sources.makeUp(ctx, r.Trigger, sample, position)
	if err != nil {
		return api.Preview{}, nil, err
	}
	pipe := m.tail.preview(s.leads())
	if pipe == nil {
		return api.Preview{}, nil, unavailable(m.tail.notReady())
	}
	compiled, _ := s.compiler.Compile(&r)
	out := api.Preview{Warnings: m.warnings, Events: []api.PreviewEvent{}, Sample: api.PreviewSample{
		Source: m.name.Source, AppLabel: m.name.AppLabel, ModelName: m.name.ModelName, Schema: m.info.Schema, Table: m.info.Name, Operation: m.c.Op.String(), From: m.from,
	}}
	if !r.Trigger.Active {
		out.Warnings = append(out.Warnings, "the trigger is not active: it would not fire")
	}
	var places []string
	for at := range r.Trigger.DestinationIDs() {
		places = append(places, at)
	}
	var rendered [][]pipeline.Rendered
	for _, p := range pipe.Preview(ctx, compiled, m.name, m.c) {
		e := api.PreviewEvent{Signal: p.Signal.String(), ID: p.ID, Matched: p.Matched, Reason: p.Reason, Requests: []api.PreviewRequest{}}
		for i, msg := range p.Messages {
			e.Requests = append(e.Requests, shown(places[i], msg))
		}
		out.Matched = out.Matched || p.Matched
		out.Reason = p.Reason
		out.Events, rendered = append(out.Events, e), append(rendered, p.Messages)
	}
	if len(out.Events) == 0 {
		out.Reason = notRaised(r.Trigger, m.c.Op)
	}
	if out.Matched {
		out.Reason = ""
	}
	return out, rendered, nil
}

func notRaised(t *trigger.Trigger, op change.Op) string {
	var raised, wanted []string
	for k := range signal.Kinds {
		if signal.Of(op).Has(k) {
			raised = append(raised, k.String())
		}
		if t.Signals().Has(k) {
			wanted = append(wanted, k.String())
		}
	}
	return fmt.Sprintf("%s raises %s, and the trigger is for %s", op, strings.Join(raised, ", "), strings.Join(wanted, ", "))
}

// shown is a message as it may be seen.
func shown(at string, r pipeline.Rendered) api.PreviewRequest {
	m := r.Delivery.Message
	r.Destination.Show(&m, r.Delivery.Rendered)
	kind, name := r.Destination.Describe()
	out := api.PreviewRequest{
		At: at, Destination: r.Destination.ID, Kind: kind, Name: name, ID: m.ID, Key: string(m.Key),
		ContentType: m.ContentType, Bytes: len(m.Body), Headers: map[string]string{}, Parameters: m.Params,
	}
	if r.Err != nil {
		out.Error = r.Err.Error()
		return out
	}
	for _, h := range m.Headers {
		out.Headers[h.Name] = h.Value
	}
	if kind == "webhook" {
		out.Method, out.URL, out.Parameters = m.Params["http_method"], m.Params["url"], nil
	}
	body := m.Body
	if len(body) > maxShown {
		body, out.Truncated = body[:maxShown], true
	}
	out.Body = strings.ToValidUTF8(string(body), "\uFFFD")
	return out
}

// Test sends what Preview shows, once, and says what became of it.
func (s *triggers) Test(ctx context.Context, id int64, sample *trigger.Sample) (api.Preview, error) {
	r, err := s.store.Trigger(ctx, id)
	if err != nil {
		return api.Preview{}, s.told(err)
	}
	var b [8]byte
	rand.Read(b[:]) // never fails
	out, rendered, err := s.preview(ctx, r, sample, "test-"+hex.EncodeToString(b[:]))
	if err != nil {
		return out, err
	}
	ctx, cancel := context.WithTimeout(ctx, testTime)
	defer cancel()
	for i, messages := range rendered { // one signal after the other
		var g errgroup.Group
		for j, m := range messages {
			g.Go(func() error {
				out.Events[i].Requests[j].Result = s.send(ctx, r.Trigger, m)
				return nil
			})
		}
		_ = g.Wait() // each result says by itself what went wrong
	}
	return out, nil
}

// send makes one attempt. What the receiver answers is not repeated: who may try a trigger
// must not come to read what is behind an address.
func (s *triggers) send(ctx context.Context, t *trigger.Trigger, r pipeline.Rendered) *api.TestResult {
	switch {
	case r.Err != nil:
		return &api.TestResult{Status: "not_sent", Code: "render", Detail: r.Err.Error()}
	case t.Mode == trigger.Shadow:
		return &api.TestResult{Status: "not_sent", Code: "shadow", Detail: "the trigger is in mode shadow"}
	}
	m := r.Delivery.Message
	if r.Body != nil {
		var err error
		if m.Body, m.ContentType, err = r.Body(ctx); err != nil {
			return failed(err)
		}
	}
	err := s.tests.Once(ctx, r.Destination, &m, r.Delivery.Rendered, sink.Header{Name: sink.HeaderTest, Value: "true"})
	if err == nil {
		return &api.TestResult{Status: "accepted"}
	}
	return failed(err)
}

func failed(err error) *api.TestResult {
	var e *sink.Error
	if !errors.As(err, &e) {
		return &api.TestResult{Status: "failed", Detail: err.Error()}
	}
	return &api.TestResult{Status: "failed", Class: e.Class.String(), Code: e.Code, Detail: e.Error()}
}

// Shadow lists what the destinations of a trigger in mode shadow would have been sent
// last.
func (s *triggers) Shadow(ctx context.Context, id int64) ([]api.ShadowMessage, error) {
	r, err := s.store.Trigger(ctx, id)
	if err != nil {
		return nil, s.told(err)
	}
	if !s.leads() {
		return nil, unavailable(errors.New("what would have been sent is kept by the active instance: GET /api/sources names it"))
	}
	out := []api.ShadowMessage{}
	for _, d := range r.Trigger.DestinationIDs() {
		for _, m := range s.shadow.Of(*d) {
			one := api.ShadowMessage{
				At: m.At, Destination: *d, ID: m.ID, Signal: m.Signal, Key: string(m.Key), Method: m.Params["http_method"], URL: m.Params["url"], Headers: map[string]string{},
				Parameters: m.Params, ContentType: m.ContentType, Body: strings.ToValidUTF8(string(m.Body), "\uFFFD"), Bytes: m.Size, Truncated: m.Size > len(m.Body),
			}
			for _, h := range m.Headers {
				one.Headers[h.Name] = h.Value
			}
			if one.URL != "" {
				one.Parameters = nil
			}
			out = append(out, one)
		}
	}
	slices.SortStableFunc(out, func(a, b api.ShadowMessage) int { return b.At.Compare(a.At) })
	return out, nil
}
