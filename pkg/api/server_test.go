package api_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/waltrigger/waltrigger/pkg/api"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

var queryAll trigger.Query

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("net/http.(*persistConn).readLoop"), // idle connections of the test's own client
		goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop"))
}

func TestTokens(t *testing.T) {
	s := newServer(t, api.NewToken("ci", "s3cret-admin", []string{api.ScopeAdmin}), api.NewToken("viewer", "s3cret-read", []string{api.ScopeRead}), api.NewToken("bare", "s3cret-bare", nil))
	for _, c := range []struct {
		name    string
		headers []string
		status  int
	}{
		{"none", nil, 401},
		{"blank", []string{"Authorization:  "}, 401},
		{"no token", []string{"Authorization: Bearer"}, 401},
		{"basic", []string{"Authorization: Basic s3cret-admin"}, 401},
		{"wrong", []string{"Authorization: Bearer s3cret-admim"}, 401},
		{"prefix", []string{"Authorization: Bearer s3cret-admi"}, 401},
		{"longer", []string{"Authorization: Bearer s3cret-admin1"}, 401},
		{"bare token", []string{"Authorization: s3cret-admin"}, 401},
		{"two headers", []string{"Authorization: Bearer s3cret-admin", "Authorization+: Bearer s3cret-read"}, 401},
		{"right", []string{"Authorization: Bearer s3cret-admin"}, 200},
		{"any case", []string{"Authorization: bEARER  s3cret-admin"}, 200},
		{"read", []string{"Authorization: Bearer s3cret-read"}, 200},
		{"any host", []string{"Authorization: Bearer s3cret-read", "Host: walt.example.com"}, 200},
		{"forwarded", []string{"X-Forwarded-For: 127.0.0.1", "X-Original-URL: /livez"}, 401},
	} {
		res := s.do("GET", collection, "", c.headers...)
		if res.status != c.status {
			t.Errorf("%s: got %d, want %d", c.name, res.status, c.status)
		}
		if c.status == 401 && !strings.HasPrefix(res.header.Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("%s: WWW-Authenticate %q", c.name, res.header.Get("WWW-Authenticate"))
		}
	}
	for _, path := range []string{"/", "/nothing", "/api/openapi.yaml", "//api//action-triggers", collection + "/%2e%2e", collection + "/1%2f"} {
		s.want(http.StatusUnauthorized, s.do("GET", path, ""))
	}
	for _, read := range []string{"s3cret-read", "s3cret-bare"} {
		s.token = read
		s.want(http.StatusForbidden, s.do("POST", collection, examples[0]))
		s.want(http.StatusForbidden, s.do("PUT", collection, examples[0]))
		s.want(http.StatusForbidden, s.do("PATCH", collection+"/1", `{}`))
		s.want(http.StatusForbidden, s.do("DELETE", collection+"/1", ""))
		s.want(http.StatusForbidden, s.do("POST", collection, examples[0], "X-HTTP-Method-Override: GET"))
	}
	s.token = "s3cret-admin"
	s.want(http.StatusCreated, s.do("POST", collection, examples[0]))
}

func TestWithoutTokensOnlyThisMachine(t *testing.T) {
	s := newServer(t)
	for header, status := range map[string]int{
		"Host: localhost:8080":           200,
		"Host: 127.0.0.1":                200,
		"Host: [::1]:80":                 200,
		"Host: rebound.example.com":      403,
		"Host: localhost.example.com:80": 403,
		"Sec-Fetch-Site: cross-site":     403,
		"Sec-Fetch-Site: same-site":      403,
		"Sec-Fetch-Site: same-origin":    200,
		"Sec-Fetch-Site: none":           200,
	} {
		if got := s.do("GET", collection, "", header).status; got != status {
			t.Errorf("%s: got %d, want %d", header, got, status)
		}
	}
	for _, ct := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""} {
		s.want(http.StatusUnsupportedMediaType, s.do("POST", collection, examples[0], "Content-Type: "+ct))
	}
}

func TestListenNeedsTokens(t *testing.T) {
	for listen, ok := range map[string]bool{
		"127.0.0.1:8080": true, "localhost:0": true, "[::1]:80": true, "[::ffff:127.0.0.1]:80": true, "127.9.9.9:1": true,
		":8080": false, "0.0.0.0:8080": false, "[::]:80": false, "10.0.0.1:80": false, "example.com:80": false, "8080": false, "": false,
	} {
		err := api.CheckListen(listen, 0)
		if (err == nil) != ok {
			t.Errorf("%q: %v", listen, err)
		}
		if err != nil && strings.Contains(listen, ":") && (!strings.Contains(err.Error(), "loopback") || !strings.Contains(err.Error(), "admin.tokens")) {
			t.Errorf("%q: %v names not both ways out", listen, err)
		}
		if _, err := api.New(api.Config{Listen: listen}, api.Deps{Log: slog.New(slog.DiscardHandler)}); (err == nil) != ok {
			t.Errorf("New %q: %v", listen, err)
		}
	}
	if err := api.CheckListen("0.0.0.0:8080", 1); err != nil {
		t.Error(err)
	}
}

func TestRequestID(t *testing.T) {
	s := newServer(t)
	for given, kept := range map[string]bool{"abc-1.2_3": true, strings.Repeat("x", 65): false, "a b": false, `"><script>`: false} {
		res := s.do("GET", collection, "", "X-Request-Id: "+given)
		if got := res.header.Get("X-Request-Id"); (got == given) != kept {
			t.Errorf("%q: got %q", given, got)
		}
	}
}

func TestPanicIsOneAnswer(t *testing.T) {
	s := newServer(t)
	s.service.race = func() { panic("secret state") }
	res := s.do("POST", collection, examples[0])
	s.want(http.StatusInternalServerError, res)
	if strings.Contains(string(res.body), "secret state") {
		t.Error("the answer tells about the inside")
	}
	s.want(http.StatusCreated, s.do("POST", collection, examples[0]))
}

func TestTooManyRequests(t *testing.T) {
	s := newServer(t)
	release := make(chan struct{})
	entered := make(chan struct{}, 200)
	defer close(release)
	s.service.env.CheckURL = func(string) error {
		entered <- struct{}{}
		<-release
		return nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan struct{})
	for range 128 {
		go func() {
			defer func() { done <- struct{}{} }()
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.http.URL+collection, strings.NewReader(examples[2]))
			if err != nil {
				t.Error(err)
				return
			}
			r.Header.Set("Content-Type", "application/json")
			if res, err := http.DefaultClient.Do(r); err == nil {
				res.Body.Close()
			}
		}()
	}
	for range 128 {
		<-entered
	}
	res := s.do("GET", collection, "")
	if s.want(http.StatusTooManyRequests, res); res.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	cancel()
	for range 128 {
		<-done
	}
}

func TestHugeBodies(t *testing.T) {
	s := newServer(t)
	for _, chunked := range []bool{false, true} {
		var body io.Reader = strings.NewReader(strings.Repeat(" ", 100<<20))
		if chunked {
			body = io.MultiReader(body) // hides the length
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.http.URL+collection, body)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Logf("cut off while sending, as it may be: %v", err)
			continue
		}
		res.Body.Close()
		if res.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("chunked %v: %d", chunked, res.StatusCode)
		}
	}
	s.want(http.StatusCreated, s.do("POST", collection, examples[0]))
}

func TestListenServeShutdown(t *testing.T) {
	s := newServer(t)
	srv, err := api.New(api.Config{Listen: "localhost:0"}, api.Deps{Triggers: s.service, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve() }()
	other := api.NewOps(srv.Addr().String(), nil, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err := other.Listen(t.Context()); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("an address in use: %v", err)
	}
	conn, err := net.Dial("tcp", srv.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /api/action-triggers HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n")
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || !strings.Contains(line, "400") {
		t.Errorf("two lengths: %q %v", line, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestOps(t *testing.T) {
	reg := prometheus.NewRegistry()
	reg.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "waltrigger_test"}))
	checks := []api.Ready{{Name: "store", OK: true}, {Name: "source shop", Detail: "connecting", Informative: true}}
	ops := api.NewOps("127.0.0.1:0", func(context.Context) []api.Ready { return checks }, reg, slog.New(slog.DiscardHandler))
	if err := ops.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- ops.Serve() }()
	get := func(path string) (int, string) {
		t.Helper()
		res, err := http.Get("http://" + ops.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var b bytes.Buffer
		if _, err := b.ReadFrom(res.Body); err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, b.String()
	}
	expect := func(path string, status int, part string) {
		t.Helper()
		if code, body := get(path); code != status || !strings.Contains(body, part) {
			t.Errorf("%s: got %d %s", path, code, body)
		}
	}
	expect("/livez", 200, "ok")
	expect("/readyz", 200, "ok")
	expect("/readyz?verbose", 200, `"source shop","ok":false,"detail":"connecting"`)
	expect("/metrics", 200, "waltrigger_test 0")
	expect("/debug/pprof/", 404, "")
	checks[0].OK = false
	expect("/readyz", 503, "not ready")
	expect("/livez", 200, "ok")
	if err := ops.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}
