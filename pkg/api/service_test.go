package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/waltrigger/waltrigger/pkg/api"
	"github.com/waltrigger/waltrigger/pkg/egress"
	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/sink/webhook"
	"github.com/waltrigger/waltrigger/pkg/store"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// service keeps triggers in a real store and validates them for real; only the
// database and the brokers are made up.
type service struct {
	store   *store.Store
	env     trigger.Env
	down    bool                       // the source cannot be asked
	blocker string                     // activation hangs on it
	broken  map[string]*trigger.Broken // by name
	race    func()                     // runs once, before a write
}

func (s *service) List(ctx context.Context, q trigger.Query) ([]trigger.Record, error) {
	out, err := s.store.Triggers(ctx, q)
	for i := range out {
		out[i].Broken = s.broken[out[i].Trigger.Name]
	}
	return slices.DeleteFunc(out, func(r trigger.Record) bool { return q.State != "" && q.State != r.State() }), err
}

func (s *service) Get(ctx context.Context, id int64) (trigger.Record, error) {
	return s.store.Trigger(ctx, id)
}

func (s *service) ByName(ctx context.Context, name string) (trigger.Record, error) {
	return s.store.TriggerByName(ctx, name)
}

func (s *service) Check(ctx context.Context, id int64, t *trigger.Trigger) []trigger.Problem {
	old, err := s.store.Trigger(ctx, id)
	if err != nil {
		old.Trigger = nil
	}
	return trigger.Join(trigger.Inherit(t, old.Trigger), trigger.Validate(ctx, t, s.env).Problems)
}

func (s *service) Create(ctx context.Context, t *trigger.Trigger, o api.WriteOptions) (trigger.Record, error) {
	s.raced()
	rec, err := s.checked(ctx, t, nil, o)
	if err != nil {
		return rec, err
	}
	return rec, s.store.CreateTrigger(ctx, &rec)
}

func (s *service) Replace(ctx context.Context, id int64, t *trigger.Trigger, o api.WriteOptions) (trigger.Record, error) {
	s.raced()
	old, err := s.store.Trigger(ctx, id)
	if err != nil {
		return old, err
	}
	t.ID = id
	rec, err := s.checked(ctx, t, old.Trigger, o)
	if err != nil {
		return rec, err
	}
	return rec, s.store.UpdateTrigger(ctx, &rec, o.IfRevision)
}

func (s *service) Pause(ctx context.Context, id int64, mode trigger.Paused, o api.WriteOptions) (trigger.Record, error) {
	rec, err := s.store.Trigger(ctx, id)
	if err != nil || rec.Paused == mode {
		return rec, err
	}
	if mode == trigger.PausedDrop && s.down {
		return rec, &api.RefusedError{Code: "parking_off", Detail: "nothing is parked"}
	}
	rec.Paused = mode
	return rec, s.store.PauseTrigger(ctx, &rec, o.IfRevision)
}

func (s *service) raced() {
	if f := s.race; f != nil {
		s.race = nil
		f()
	}
}

func (s *service) checked(ctx context.Context, t, old *trigger.Trigger, o api.WriteOptions) (trigger.Record, error) {
	problems := trigger.Inherit(t, old)
	v := trigger.Validate(ctx, t, s.env)
	if problems = trigger.Join(problems, v.Problems); len(problems) > 0 {
		return trigger.Record{}, &trigger.InvalidError{Problems: problems}
	}
	if v.Unavailable != nil && o.Wait {
		return trigger.Record{}, &api.UnavailableError{Code: "source_unavailable", Detail: "the source cannot be asked", RetryAfter: 5 * time.Second}
	}
	rec := trigger.Record{Trigger: t, Warnings: v.Warnings}
	for i, c := range t.ContentTypes {
		for _, sig := range t.ConfigSignals {
			a := trigger.Activation{ContentType: c.Name(), Signal: sig.Signal, Schema: v.Tables[i].Schema, Table: v.Tables[i].Name, State: trigger.Active, Seq: 7, Position: "0/7"}
			switch {
			case v.Tables[i] == trigger.Table{}:
				a.State, a.Seq, a.Position = trigger.Pending, 0, ""
			case s.blocker != "":
				a.State, a.Seq, a.Position, a.Blocker = trigger.Activating, 0, "", s.blocker
			}
			rec.Activations = append(rec.Activations, a)
		}
	}
	return rec, nil
}

func (s *service) Delete(ctx context.Context, id, ifRevision int64) error {
	s.raced()
	return s.store.DeleteTrigger(ctx, id, ifRevision)
}

func (s *service) resolve(_ context.Context, c trigger.ContentType) (trigger.Table, error) {
	if s.down {
		return trigger.Table{}, fmt.Errorf("%w: shop: connection refused to db-internal-7", trigger.ErrUnavailable)
	}
	for _, m := range []string{"customer", "product", "sale"} {
		if c.AppLabel == "myapp" && strings.EqualFold(c.ModelName, m) {
			return trigger.Table{Source: "shop", Schema: "public", Name: "myapp_" + m}, nil
		}
	}
	return trigger.Table{}, fmt.Errorf("%w; the nearest is myapp.Sale", trigger.ErrNoTable)
}

// kafkaKind is a broker as the configuration of these tests has it.
var kafkaKind = sink.Kind{
	Name: "kafka",
	Conn: []sink.Param{{Name: "bootstrap_servers", Required: true}, {Name: "sasl_password", Secret: true}}, Params: []sink.Param{{Name: "topic", Required: true}},
	Check: func(_, params map[string]any) []sink.Problem {
		if params["topic"] == nil {
			return []sink.Problem{{Field: "parameters/topic", Code: "required", Detail: "is required"}}
		}
		return nil
	},
}

// previewer answers with what it was asked.
type previewer struct{ service *service }

func (p previewer) answer(id int64, s *trigger.Sample) (api.Preview, error) {
	if id != 0 {
		if _, err := p.service.store.Trigger(context.Background(), id); err != nil {
			return api.Preview{}, err
		}
	}
	request := api.PreviewRequest{At: "/webhooks/0", Kind: "webhook", ID: "x", Headers: map[string]string{"A": "b"}, Result: &api.TestResult{Status: "accepted"}}
	return api.Preview{
		Matched: true, Reason: fmt.Sprintf("%s %d %d %v", s.Operation, len(s.After), len(s.Key), s.Latest),
		Sample: api.PreviewSample{From: "given"}, Events: []api.PreviewEvent{{Signal: "post_save", Requests: []api.PreviewRequest{request}}},
	}, nil
}

func (p previewer) PreviewNew(_ context.Context, t *trigger.Trigger, s *trigger.Sample) (api.Preview, error) {
	out, err := p.answer(0, s)
	out.Reason += " " + t.Name
	return out, err
}

func (p previewer) Preview(_ context.Context, id int64, s *trigger.Sample) (api.Preview, error) {
	return p.answer(id, s)
}

func (p previewer) Test(_ context.Context, id int64, s *trigger.Sample) (api.Preview, error) {
	return p.answer(id, s)
}

func (p previewer) Shadow(_ context.Context, id int64) ([]api.ShadowMessage, error) {
	_, err := p.answer(id, &trigger.Sample{})
	return []api.ShadowMessage{{At: time.Now(), Destination: "d1", ID: "x", Signal: "post_save", Headers: map[string]string{}}}, err
}

type server struct {
	t       *testing.T
	service *service
	kept    *kept
	http    *httptest.Server
	token   string
}

func newServer(t *testing.T, tokens ...api.Token) *server {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	st, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "x.db"), log)
	if err != nil {
		t.Fatal(err)
	}
	svc, deliveries := &service{store: st}, newKept()
	guard, err := egress.New(egress.Policy{})
	if err != nil {
		t.Fatal(err)
	}
	find := func(names ...string) func(string) (trigger.Endpoint, bool) {
		return func(name string) (trigger.Endpoint, bool) {
			for _, n := range names {
				if n == name {
					return trigger.Endpoint{Kind: kafkaKind, Conn: map[string]any{"bootstrap_servers": "k:9092"}, Params: map[string]any{"topic": "t"}}, true
				}
			}
			return trigger.Endpoint{Kind: kafkaKind}, name == "open-broker"
		}
	}
	svc.env = trigger.Env{
		Resolve:             svc.resolve,
		CheckURL:            guard.CheckURL,
		Webhook:             webhook.Kind,
		Broker:              find("my-msg-broker-config", "my-other-msg-broker-config"),
		Action:              find("fn"),
		AllowedContentTypes: []string{"myapp.*", "future.*"},
		MaxWebhookTimeout:   30 * time.Second,
	}
	deps := api.Deps{
		Triggers: svc, Deliveries: deliveries, Audit: noted{st}, Previewer: previewer{svc}, Log: log, Metrics: prometheus.NewRegistry(),
		Secret:  func(_, _, _, param string) bool { return param == "sasl_password" },
		Sources: func(context.Context) []api.Source { return []api.Source{{Name: "shop", State: "streaming"}} },
		ContentTypes: func(_ context.Context, source string) ([]api.ContentType, error) {
			switch source {
			case "", "shop":
				return []api.ContentType{{Source: "shop", AppLabel: "myapp", ModelName: "sale", Schema: "public", Table: "myapp_sale", Columns: []string{"id"}, Key: []string{"id"}}}, nil
			case "broken":
				return nil, errors.New("pq: password for secret-user")
			}
			return nil, trigger.ErrNotFound
		},
		Brokers:       []api.Broker{{Name: "my-msg-broker-config", Type: "kafka", List: "msg_broker_queues"}},
		DynamicValues: []string{"myapp.utils.get_token"},
	}
	srv, err := api.New(api.Config{Listen: "127.0.0.1:0", Tokens: tokens}, deps)
	if err != nil {
		t.Fatal(err)
	}
	hs := httptest.NewServer(srv.Handler())
	t.Cleanup(func() {
		hs.Close()
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return &server{t: t, service: svc, kept: deliveries, http: hs}
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

// do sends a request with a JSON body, headers as "Name: value".
func (s *server) do(method, path, body string, headers ...string) answer {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.http.URL+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if s.token != "" {
		r.Header.Set("Authorization", "Bearer "+s.token)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		switch {
		case value == "":
			r.Header.Del(name)
		case name == "Host":
			r.Host = value
		case name == "Authorization+":
			r.Header.Add("Authorization", value)
		default:
			r.Header.Set(name, value)
		}
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if res.Header.Get("X-Request-Id") == "" {
		s.t.Errorf("%s %s: no request id", method, path)
	}
	keepsContract(s.t, r, res, b)
	return answer{res.StatusCode, res.Header, b}
}

// want fails unless the answer has this status, and returns its body.
func (s *server) want(status int, a answer) map[string]any {
	s.t.Helper()
	if a.status != status {
		s.t.Fatalf("got %d %s, want %d", a.status, a.body, status)
	}
	if a.status >= 400 && a.header.Get("Content-Type") != "application/problem+json" {
		s.t.Errorf("an error of type %q", a.header.Get("Content-Type"))
	}
	if len(a.body) == 0 || a.body[0] != '{' {
		return nil
	}
	var v map[string]any
	d := json.NewDecoder(bytes.NewReader(a.body))
	if err := d.Decode(&v); err != nil {
		s.t.Fatalf("%s: %v", a.body, err)
	}
	return v
}

// problems gives "pointer code" of each error of an answer.
func (a answer) problems(t *testing.T) string {
	t.Helper()
	var p struct {
		Errors []trigger.Problem
		Code   string
	}
	if err := json.Unmarshal(a.body, &p); err != nil {
		t.Fatalf("%s: %v", a.body, err)
	}
	out := []string{}
	for _, e := range p.Errors {
		out = append(out, e.Pointer+" "+e.Code)
	}
	if len(out) == 0 {
		return p.Code
	}
	return strings.Join(out, ";")
}
