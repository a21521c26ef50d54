// Package api serves the admin API and the listener for probes and metrics. It reads
// and answers HTTP; what a trigger means is decided behind the interfaces of deps.go.
package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/net/netutil"
)

// Config says where the API listens and who may use it.
type Config struct {
	Listen string  // host:port
	Tokens []Token // none: everybody who reaches Listen may do everything, so it must be loopback
}

// Bounds of the listeners. A client that is slower or wants more is cut off.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 30 * time.Second
	writeTimeout      = 60 * time.Second // a write waits for its activation
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10
	maxConnections    = 512
	maxInFlight       = 128 // requests handled at once; more get 429
)

// CheckListen says whether an API with so many tokens may listen at an address, without
// asking the network.
func CheckListen(listen string, tokens int) error {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return fmt.Errorf("%q is not host:port", listen)
	}
	if tokens > 0 || loopback(host) {
		return nil
	}
	return fmt.Errorf("%q is reachable from other machines and there is no token: either listen on loopback (127.0.0.1:8080), or set a token under admin.tokens", listen)
}

func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// Server is a listener with what it serves.
type Server struct {
	http     http.Server
	listen   string
	open     bool // nobody is asked for a token
	listener net.Listener
}

// New makes the server of the admin API. Nothing is opened before Listen.
func New(cfg Config, deps Deps) (*Server, error) {
	if err := CheckListen(cfg.Listen, len(cfg.Tokens)); err != nil {
		return nil, fmt.Errorf("admin.listen: %w", err)
	}
	h, err := newHandler(cfg.Tokens, deps)
	if err != nil {
		return nil, err
	}
	s := newServer(cfg.Listen, h, deps.Log)
	s.open = len(cfg.Tokens) == 0
	return s, nil
}

func newServer(listen string, h http.Handler, log *slog.Logger) *Server {
	return &Server{listen: listen, http: http.Server{
		Handler:           h,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          stdlog.New(logWriter{log}, "", 0),
	}}
}

// logWriter takes what net/http has to say about connections; that is of interest only
// when looking for something.
type logWriter struct{ log *slog.Logger }

func (w logWriter) Write(b []byte) (int, error) {
	w.log.Debug("http server", "message", strings.TrimSpace(string(b)))
	return len(b), nil
}

// Handler is what the server serves, for tests.
func (s *Server) Handler() http.Handler { return s.http.Handler }

// Listen takes the address, so that one in use is an error at start-up.
func (s *Server) Listen(ctx context.Context) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", s.listen)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", s.listen, err)
	}
	if s.open && !l.Addr().(*net.TCPAddr).IP.IsLoopback() { // localhost may be anything to a resolver
		l.Close()
		return fmt.Errorf("listen on %s: %w", s.listen, CheckListen(l.Addr().String(), 0))
	}
	s.listener = netutil.LimitListener(l, maxConnections)
	return nil
}

// Addr is where the server listens, once Listen returned.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Serve answers until Shutdown; it then returns nil.
func (s *Server) Serve() error {
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", s.listen, err)
	}
	return nil
}

// Shutdown takes no new requests and waits for those that run until ctx ends; then it
// cuts them off.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if s.listener != nil {
		_ = s.listener.Close() // Serve may never have been called
	}
	if err != nil {
		return errors.Join(fmt.Errorf("shut down %s: %w", s.listen, err), s.http.Close())
	}
	return nil
}

// newHandler puts the routes behind what every request goes through, outermost first:
// identification and measuring, bounding, authentication, the trailing slash.
func newHandler(tokens []Token, deps Deps) (http.Handler, error) {
	a := &api{Deps: deps, limits: newLimits()}
	var err error
	if a.metrics, err = newMetrics(deps.Metrics); err != nil {
		return nil, err
	}
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.Logger.SetOutput(io.Discard)
	e.HTTPErrorHandler = a.fail
	for _, r := range a.routes() {
		e.Add(r.method, r.path, a.adapt(r))
		if r.method == http.MethodGet {
			e.Add(http.MethodHead, r.path, a.adapt(r))
		}
	}
	var h http.Handler = e
	h = trimSlash(h)
	h = a.authenticate(tokens, h)
	h = a.bound(h)
	return a.identify(h), nil
}

type route struct {
	method, path string
	handle       handler
	write        bool // needs the scope admin: it writes, sends, or shows what is in the database
	body         bodyUse
}

func (a *api) routes() []route {
	const triggers, one, byName = "/api/action-triggers", "/api/action-triggers/:id", "/api/action-triggers/by-name/:name"
	const backfills = "/api/backfills"
	const deliveries, delivery = "/api/deliveries", "/api/deliveries/:id"
	return []route{
		{http.MethodGet, triggers, a.listTriggers, false, noBody},
		{http.MethodPost, triggers, a.createTrigger, true, jsonBody},
		{http.MethodPut, triggers, a.replaceInBody, true, jsonBody},
		{http.MethodDelete, triggers, a.deleteNamed, true, maybeJSON},
		{http.MethodGet, one, a.getTrigger, false, noBody},
		{http.MethodPut, one, a.replaceTrigger, true, jsonBody},
		{http.MethodPatch, one, a.patchTrigger, true, patchBody},
		{http.MethodDelete, one, a.deleteTrigger, true, noBody},
		{http.MethodPost, triggers + "/preview", a.previewNew, true, jsonBody},
		{http.MethodPost, one + "/preview", a.previewStored, true, maybeJSON},
		{http.MethodPost, one + "/test", a.testStored, true, maybeJSON},
		{http.MethodGet, one + "/shadow", a.listShadow, true, noBody},
		{http.MethodGet, byName, a.getByName, false, noBody},
		{http.MethodPut, byName, a.putByName, true, jsonBody},
		{http.MethodPost, one + "/pause", a.pauseTrigger, true, maybeJSON},
		{http.MethodPost, one + "/resume", a.resumeTrigger, true, noBody},
		{http.MethodGet, one + "/history", a.listHistory, false, noBody},
		{http.MethodPost, one + "/replay", a.replayTrigger, true, jsonBody},
		{http.MethodPost, one + "/backfill", a.backfillTrigger, true, maybeJSON},
		{http.MethodPost, "/api/sources/:name/backfill", a.backfillSource, true, maybeJSON},
		{http.MethodGet, backfills, a.listBackfills, false, noBody},
		{http.MethodGet, backfills + "/:id", a.getBackfill, false, noBody},
		{http.MethodPost, backfills + "/:id/pause", a.changeBackfill(VerbPause), true, noBody},
		{http.MethodPost, backfills + "/:id/resume", a.changeBackfill(VerbResume), true, noBody},
		{http.MethodPost, backfills + "/:id/cancel", a.changeBackfill(VerbCancel), true, noBody},
		{http.MethodGet, deliveries, a.listDeliveries, false, noBody},
		{http.MethodPost, deliveries + "/retry", a.amendDeliveries(VerbRetry), true, jsonBody},
		{http.MethodPost, deliveries + "/skip", a.amendDeliveries(VerbSkip), true, jsonBody},
		{http.MethodPost, deliveries + "/erase", a.amendDeliveries(VerbErase), true, jsonBody},
		{http.MethodGet, delivery, a.getDelivery, false, noBody},
		{http.MethodDelete, delivery, a.eraseDelivery, true, noBody},
		{http.MethodPost, delivery + "/retry", a.retryDelivery, true, maybeJSON},
		{http.MethodPost, delivery + "/skip", a.skipDelivery, true, noBody},
		{http.MethodGet, "/api/destinations", a.listDestinations, false, noBody},
		{http.MethodPost, "/api/destinations/:id/retry-now", a.retryDestination, true, noBody},
		{http.MethodGet, "/api/audit", a.listAudit, true, noBody},
		{http.MethodGet, "/api/content-types", a.listContentTypes, false, noBody},
		{http.MethodGet, "/api/sources", a.listSources, false, noBody},
		{http.MethodGet, "/api/brokers", a.listBrokers, false, noBody},
		{http.MethodGet, "/api/dynamic-values", a.listDynamicValues, false, noBody},
		{http.MethodGet, "/api/openapi.yaml", a.openAPI, false, noBody},
	}
}

// trimSlash makes /path/ the same as /path, without a redirect: clients would turn a
// redirected POST into a GET.
func trimSlash(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u := *r.URL
		if u.RawPath == "" && len(u.Path) > 1 {
			u.Path = strings.TrimSuffix(u.Path, "/")
		} else if strings.HasSuffix(u.RawPath, "/") { // not %2F, which is part of a name
			u.RawPath, u.Path = strings.TrimSuffix(u.RawPath, "/"), strings.TrimSuffix(u.Path, "/")
		}
		r2 := *r
		r2.URL = &u
		next.ServeHTTP(w, &r2)
	})
}
