// Package webhook sends each message as one HTTP/1.1 request. One sink serves all
// webhooks of the daemon: it keeps idle connections for each host.
//
//	Send ── target (URL, parsed once) ── connection: idle one, or dialled and TLS
//	     ── one write: head and body ── status ── body read to its end if short
//	     ── connection back to the idle ones
//
// Requests are written and connections kept by this package, responses are parsed by
// fasthttp. net/http needs about twice the CPU for a request and allocates 57 times,
// this 4 times, the context included (BenchmarkSend); fasthttp's own client is as fast
// but knows no contexts, and sends again what it thinks fit.
package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

// Kind is the kind of webhooks. Each message has the parameters url and http_method, and
// perhaps secret: signing secrets, separated by spaces.
var Kind = sink.Kind{
	Name:     "webhook",
	MaxBatch: 1,
	Params:   []sink.Param{{Name: "url", Required: true, Secret: true}, {Name: "http_method"}, {Name: "secret", Secret: true}, {Name: ParamBatch}},
	Check:    check,
	Open: func(_ context.Context, _ map[string]any, env sink.Env) (sink.Sink, error) {
		return open(env, nil), nil
	},
}

// ParamBatch is the parameter that has bodies sent as JSON arrays, of one or more.
const ParamBatch = "batch"

// maxTime bounds a request whose context has no deadline.
const maxTime = 30 * time.Second

// Sink sends webhooks. Safe for concurrent use.
type Sink struct {
	pool  *pool
	agent string

	mu      sync.RWMutex
	targets map[string]*target // by URL
	signers map[string]*signer // by secrets
}

// maxTargets bounds the caches of parsed URLs, which are many if a row takes part in them,
// and of signers.
const maxTargets = 4096

// open returns a Sink; config is nil outside of tests.
func open(env sink.Env, config *tls.Config) *Sink {
	version := env.Version
	if version == "" {
		version = "dev"
	}
	if config == nil {
		config = &tls.Config{}
	}
	config.MinVersion = tls.VersionTLS12
	config.ClientSessionCache = tls.NewLRUClientSessionCache(256)
	return &Sink{pool: newPool(env.Dial, config), agent: "waltrigger/" + version, targets: map[string]*target{}, signers: map[string]*signer{}}
}

// Send sends msgs one after the other, or several in one request if they say so.
func (s *Sink) Send(ctx context.Context, msgs []*sink.Message) []error {
	if len(msgs) > 0 && msgs[0].Params[ParamBatch] != "" {
		return s.sendBatches(ctx, msgs)
	}
	var errs []error
	for i, m := range msgs {
		if err := s.send(ctx, m, ""); err != nil {
			if errs == nil {
				errs = make([]error, len(msgs))
			}
			errs[i] = err
		}
	}
	return errs
}

// Close closes all connections.
func (s *Sink) Close() error {
	s.pool.close()
	return nil
}

// send gives *sink.Error. events are the ids of the messages that m was put together of.
func (s *Sink) send(ctx context.Context, m *sink.Message, events string) error {
	t, err := s.target(m.Params["url"])
	if err != nil {
		return &sink.Error{Class: sink.Permanent, Code: "url_invalid", Err: err}
	}
	method := m.Params["http_method"]
	if method == "" {
		method = http.MethodPost
	}
	if !legalMethod(method) {
		return &sink.Error{Class: sink.Permanent, Code: "method_invalid", Err: fmt.Errorf("%q is no method for webhooks", method)}
	}
	if badByte(m.ID) >= 0 || badByte(events) >= 0 || badByte(m.ContentType) >= 0 {
		return &sink.Error{Class: sink.Permanent, Code: "header_invalid", Err: errors.New("the message's id or content type holds a control character")}
	}
	if err := checkHeaders(m.Headers); err != nil {
		return &sink.Error{Class: sink.Permanent, Code: "header_invalid", Err: err}
	}
	sg, err := s.signer(m.Params["secret"])
	if err != nil { // of a dynamic value
		return &sink.Error{Class: sink.Misconfigured, Code: "secret_invalid", Err: fmt.Errorf("signing secret: %w", err)}
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(maxTime)
	}
	r, err := s.pool.do(ctx, &request{t, method, s.agent, m, sg, events}, deadline)
	if err != nil {
		return s.failed(ctx, t, err)
	}
	return outcome(t, r)
}

// failed classifies what kept a response from coming.
func (s *Sink) failed(ctx context.Context, t *target, err error) error {
	if ctx.Err() != nil {
		err = ctx.Err() // the connection was closed because of it
	}
	e := *sink.Classify(err)
	var bad *responseError
	if errors.As(err, &bad) {
		e.Code = "response_invalid"
	}
	e.Err = fmt.Errorf("%s: %w", t, e.Err)
	return &e
}

// target returns the parsed form of raw.
func (s *Sink) target(raw string) (*target, error) {
	s.mu.RLock()
	t := s.targets[raw]
	s.mu.RUnlock()
	if t != nil {
		return t, nil
	}
	t, err := parseTarget(raw)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.targets) >= maxTargets {
		clear(s.targets)
	}
	s.targets[raw] = t
	return t, nil
}

// target is where a URL leads.
type target struct {
	secure  bool
	host    string // as in the Host header
	address string // host:port to dial
	server  string // name in the certificate
	path    string // and query
}

// String names the target without path and query, which may hold secrets.
func (t *target) String() string {
	if t.secure {
		return "https://" + t.host
	}
	return "http://" + t.host
}

func parseTarget(raw string) (*target, error) {
	u, err := parseURL(raw)
	if err != nil {
		return nil, err
	}
	t := &target{secure: u.Scheme == "https", server: u.Hostname(), path: u.RequestURI()}
	port := u.Port()
	standard := "80"
	if t.secure {
		standard = "443"
	}
	name := strings.ToLower(t.server)
	if strings.Contains(name, ":") {
		name = "[" + name + "]"
	}
	if port == "" {
		port = standard
	}
	t.address = name + ":" + port
	t.host = t.address
	if port == standard {
		t.host = name
	}
	t.server = strings.TrimSuffix(strings.ToLower(t.server), ".")
	return t, nil
}

// parseURL parses a URL that is complete; its errors do not repeat it.
func parseURL(raw string) (*url.URL, error) {
	if raw == "" {
		return nil, errors.New("the URL is empty")
	}
	if len(raw) > maxURL {
		return nil, fmt.Errorf("the URL is longer than %d bytes", maxURL)
	}
	if i := strings.IndexFunc(raw, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\\' }); i >= 0 {
		return nil, fmt.Errorf("the URL holds a space, control character or backslash at byte %d", i)
	}
	u, err := url.Parse(raw)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return nil, fmt.Errorf("the URL does not parse: %w", err)
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("the URL must begin with http:// or https://")
	case u.Hostname() == "":
		return nil, errors.New("the URL has no host")
	case u.User != nil:
		return nil, errors.New("the URL holds a user name or password; send it in a header")
	case strings.IndexFunc(u.Host, func(r rune) bool { return r >= 0x80 }) >= 0:
		return nil, errors.New("the host holds characters beyond ASCII; write it in its ASCII form (xn--…)")
	}
	return u, nil
}
