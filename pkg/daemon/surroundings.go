package daemon

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"

	"github.com/waltrigger/waltrigger/config"
	"github.com/waltrigger/waltrigger/pkg/api"
	"github.com/waltrigger/waltrigger/pkg/egress"
	"github.com/waltrigger/waltrigger/pkg/payload"
	"github.com/waltrigger/waltrigger/pkg/resolve"
	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/sink/all"
	"github.com/waltrigger/waltrigger/pkg/sink/shadow"
	"github.com/waltrigger/waltrigger/pkg/template"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// surroundings are what the operator's configuration gives to triggers: brokers and
// actions, dynamic values, and where may be connected to.
type surroundings struct {
	cfg      *config.Config
	guard    *egress.Guard
	resolver *resolve.Resolver
	webhook  sink.Kind
	patterns trigger.URLPatterns
	hidden   *payload.Hidden
	format   payload.Format // of triggers that name none
	shadow   *shadow.Records
	version  string // that peers are told
	brokerOf map[string]trigger.Endpoint
	actionOf map[string]trigger.Endpoint
	log      *slog.Logger
}

// newSurroundings makes them; ask is how dynamic values ask a source.
func newSurroundings(cfg *config.Config, ask func(ctx context.Context, src, query string) (string, error), log *slog.Logger) (*surroundings, error) {
	s := &surroundings{cfg: cfg, log: log}
	var err error
	if s.guard, err = egress.New(cfg.Egress); err != nil {
		return nil, err
	}
	env := resolve.Env{Reserved: reserved, Dial: s.guard.Operator, SQL: ask, Log: log}
	if s.resolver, err = resolve.New(cfg.DynamicValues, env); err != nil {
		return nil, err
	}
	if s.patterns, err = trigger.CompileURLPatterns(cfg.Settings.AllowedWebhookURLs); err != nil {
		return nil, err
	}
	if s.hidden, err = payload.NewHidden(cfg.Settings.HiddenColumns); err != nil {
		return nil, err
	}
	if s.format, err = payload.ParseFormat(cfg.Settings.PayloadFormat); err != nil {
		return nil, err
	}
	s.shadow = shadow.New()
	s.webhook, _ = all.Find("webhook")
	s.brokerOf = endpoints(cfg.Brokers)
	s.actionOf = endpoints(cfg.Actions)
	return s, nil
}

func reserved(first string) bool { return slices.Contains(payload.Names, first) }

func endpoints(from map[string]config.Broker) map[string]trigger.Endpoint {
	out := map[string]trigger.Endpoint{}
	for name, b := range from {
		kind, _ := all.Find(b.BrokerType)
		out[name] = trigger.Endpoint{Kind: kind, Conn: b.ConnDetails, Params: b.Params}
	}
	return out
}

// sinkEnv gives a sink the way to its addresses: those that the operator wrote, or that
// his dynamic values give, wherever they lead; those of webhooks, and what a trigger
// fills in, only if the guard lets anybody there. conn is resolved.
func (s *surroundings) sinkEnv(endpoint string, conn map[string]any) sink.Env {
	list, name, _ := strings.Cut(endpoint, "/")
	e, ok := s.brokerOf[name]
	if list == "actions" {
		e, ok = s.actionOf[name]
	}
	if !ok {
		return sink.Env{Dial: s.guard.Dial, Log: s.log, Version: s.version}
	}
	var written []string
	if e.Kind.Addresses != nil {
		own := map[string]any{}
		for name := range e.Conn {
			own[name] = conn[name]
		}
		written = e.Kind.Addresses(own)
	}
	return sink.Env{Dial: s.guard.Operator(written...), Log: s.log, Version: s.version}
}

// own denies the daemon's own listeners to triggers.
func (s *surroundings) own(addrs ...net.Addr) {
	for _, a := range addrs {
		if tcp, ok := a.(*net.TCPAddr); ok {
			s.guard.AddOwnListener(tcp.AddrPort())
		}
	}
}

func find(in map[string]trigger.Endpoint) func(string) (trigger.Endpoint, bool) {
	return func(name string) (trigger.Endpoint, bool) {
		e, ok := in[name]
		return e, ok
	}
}

// compiler compiles triggers without asking a source.
func (s *surroundings) compiler() *trigger.Compiler {
	set := s.cfg.Settings
	kind := s.shadow.Kind()
	return &trigger.Compiler{
		DefaultFormat: s.format, Shadow: &kind,
		Templates: template.Options{}, Resolver: s.resolver, Webhook: &s.webhook,
		Broker: find(s.brokerOf), Action: find(s.actionOf), Env: s.sinkEnv,
		MaxWebhookTimeout: set.MaxWebhookTimeout.Std(), MaxBrokerTimeout: set.MaxBrokerTimeout.Std(), MaxActionTimeout: set.MaxActionTimeout.Std(),
		Schedule: s.cfg.Deliver().Backoff.Schedule, Parks: s.cfg.Delivery.Park.MaxBytes > 0,
	}
}

// env is what a trigger is validated against when it is saved.
func (s *surroundings) env(sources *sources, c *trigger.Compiler) trigger.Env {
	return trigger.Env{
		Webhook: s.webhook, CheckURL: s.guard.CheckURL, AllowedURLs: s.patterns, AllowedContentTypes: s.cfg.Settings.AllowedContentTypes,
		Broker: c.Broker, Action: c.Action,
		BrokerNames: slices.Sorted(maps.Keys(s.brokerOf)), ActionNames: slices.Sorted(maps.Keys(s.actionOf)),
		Resolve: sources.resolve,
		Compile: func(t *trigger.Trigger) ([]trigger.Problem, []string) {
			compiled, problems := c.Compile(&trigger.Record{Trigger: t})
			return problems, slices.Concat(compiled.Doubts, sources.doubts(compiled), sources.slow(compiled))
		},
		MaxWebhookTimeout: c.MaxWebhookTimeout, MaxBrokerTimeout: c.MaxBrokerTimeout, MaxActionTimeout: c.MaxActionTimeout,
	}
}

// secret implements trigger.SecretParam by what the kinds say of their details.
func (s *surroundings) secret(list, name, group, param string) bool {
	in := s.brokerOf
	if list == "actions" {
		in = s.actionOf
	}
	kind := in[name].Kind
	params := kind.Params
	if group == "conn_details" {
		params = kind.Conn
	}
	i := slices.IndexFunc(params, func(p sink.Param) bool { return p.Name == param })
	if i < 0 {
		return trigger.SecretHeader(param)
	}
	return params[i].Secret
}

// brokers lists brokers and actions for the API.
func (s *surroundings) brokers() []api.Broker {
	out := []api.Broker{}
	for list, in := range map[string]map[string]trigger.Endpoint{"msg_broker_queues": s.brokerOf, "actions": s.actionOf} {
		for name, e := range in {
			out = append(out, api.Broker{Name: name, Type: e.Kind.Name, List: list})
		}
	}
	slices.SortFunc(out, func(a, b api.Broker) int { return strings.Compare(a.Name+a.List, b.Name+b.List) })
	return out
}
