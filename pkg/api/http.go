package api

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/waltrigger/waltrigger/pkg/trigger"
)

type api struct {
	Deps
	limits   limits
	metrics  *metrics
	inFlight chan struct{}
}

// request is what a handler gets to see.
type request struct {
	param  func(name string) string // of the path
	query  url.Values
	header http.Header
	body   []byte
}

// response is what a handler answers. body is JSON that is ready, a value to encode, or
// nil for none.
type response struct {
	status int
	header map[string]string
	body   any
}

// raw is a body of another type than JSON.
type raw struct {
	contentType string
	bytes       []byte
}

type handler func(ctx context.Context, r *request) (*response, error)

// bodyUse says which body a route takes.
type bodyUse uint8

const (
	noBody    bodyUse = iota
	jsonBody          // application/json
	patchBody         // the same or application/merge-patch+json
	maybeJSON         // none or application/json
)

// adapt is all that knows echo.
func (a *api) adapt(rt route) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if info := infoOf(r.Context()); info != nil {
			info.route = rt.path
			if rt.write && !info.admin {
				return &problem{Status: http.StatusForbidden, Code: "forbidden", Detail: "the token has the scope read; this needs admin"}
			}
		}
		body, err := readBody(r, rt.body)
		if err != nil {
			return err
		}
		param := func(name string) string {
			v := c.Param(name)
			if r.URL.RawPath == "" {
				return v
			}
			plain, err := url.PathUnescape(v) // routes are found by the path as it was sent
			if err != nil {
				return v
			}
			return plain
		}
		req := &request{param, c.QueryParams(), r.Header, body}
		res, err := rt.handle(r.Context(), req)
		if err != nil {
			return err
		}
		if rt.write && rt.method != http.MethodGet && a.Audit != nil {
			a.note(r.Context(), rt.method, r.URL.Path, req, res)
		}
		return send(c.Response(), res)
	}
}

func send(w http.ResponseWriter, res *response) error {
	var body []byte
	contentType := "application/json"
	switch b := res.body.(type) {
	case nil:
	case json.RawMessage:
		body = b
	case raw:
		body, contentType = b.bytes, b.contentType
	default:
		var err error
		if body, err = json.Marshal(b); err != nil {
			return fmt.Errorf("encode answer: %w", err)
		}
	}
	for k, v := range res.header {
		w.Header().Set(k, v)
	}
	if body != nil {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(res.status)
	w.Write(body) //nolint:errcheck // a client that has gone cannot be told
	return nil
}

func readBody(r *http.Request, use bodyUse) ([]byte, error) {
	if use == noBody {
		return nil, nil
	}
	tooLarge := &problem{
		Status: http.StatusRequestEntityTooLarge, Code: trigger.CodeTooLarge,
		Detail: fmt.Sprintf("the body has more than %d bytes", trigger.MaxBody),
	}
	if r.ContentLength > trigger.MaxBody {
		return nil, tooLarge
	}
	if use != maybeJSON || r.ContentLength != 0 {
		if err := checkContentType(r.Header, use); err != nil {
			return nil, err
		}
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, trigger.MaxBody+1))
	if err != nil {
		return nil, &problem{Status: http.StatusBadRequest, Code: "incomplete_body", Detail: "the body could not be read to its end"}
	}
	if len(body) > trigger.MaxBody {
		return nil, tooLarge
	}
	return body, nil
}

// checkContentType insists on a declared type: text/plain is what a page of another
// site can make a browser send without asking.
func checkContentType(h http.Header, use bodyUse) error {
	want := "application/json"
	media, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	ok := err == nil && len(h.Values("Content-Type")) == 1 && media == want
	if use == patchBody {
		ok = ok || err == nil && media == "application/merge-patch+json"
		want += " or application/merge-patch+json"
	}
	if ok && params["charset"] != "" && !strings.EqualFold(params["charset"], "utf-8") {
		ok = false
	}
	if !ok {
		return &problem{Status: http.StatusUnsupportedMediaType, Code: "unsupported_media_type", Detail: "the Content-Type must be " + want + ", in UTF-8"}
	}
	if e := h.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return &problem{Status: http.StatusUnsupportedMediaType, Code: "unsupported_media_type", Detail: "the body must be sent without Content-Encoding"}
	}
	return nil
}

// info is what is known about a request besides itself.
type info struct {
	id    string
	route string // path of the route; "" = none
	token string // name
	admin bool
}

type infoKey struct{}

func infoOf(ctx context.Context) *info {
	i, _ := ctx.Value(infoKey{}).(*info)
	return i
}

var requestID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// identify gives a request its id, measures and logs it, and turns a panic into a 500.
func (a *api) identify(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		i := &info{id: r.Header.Get("X-Request-Id")}
		if !requestID.MatchString(i.id) {
			var b [8]byte
			rand.Read(b[:]) // never fails
			i.id = hex.EncodeToString(b[:])
		}
		h := w.Header()
		h.Set("X-Request-Id", i.id)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		sw := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		ctx := context.WithValue(r.Context(), infoKey{}, i)
		defer func() {
			if p := recover(); p != nil {
				a.Log.ErrorContext(ctx, "panic in handler", "request_id", i.id, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
				a.answer(sw, i, &problem{Status: http.StatusInternalServerError, Code: "internal"})
			}
			took := time.Since(start)
			a.metrics.observe(i.route, r.Method, sw.status, took)
			a.Log.DebugContext(ctx, "request", "request_id", i.id, "method", r.Method, "route", i.route, "status", sw.status,
				"seconds", took.Seconds(), "token", i.token)
		}()
		next.ServeHTTP(sw, r.WithContext(ctx))
	})
}

type statusWriter struct {
	http.ResponseWriter
	status int
	wrote  bool
}

func (w *statusWriter) WriteHeader(status int) {
	if !w.wrote {
		w.wrote, w.status = true, status
		w.ResponseWriter.WriteHeader(status)
	}
}

func (w *statusWriter) Write(b []byte) (int, error) {
	w.wrote = true
	return w.ResponseWriter.Write(b)
}

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// bound answers 429 instead of piling up requests.
func (a *api) bound(next http.Handler) http.Handler {
	a.inFlight = make(chan struct{}, maxInFlight)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case a.inFlight <- struct{}{}:
			defer func() { <-a.inFlight }()
			next.ServeHTTP(w, r)
		default:
			a.answer(w, infoOf(r.Context()), &problem{
				Status: http.StatusTooManyRequests, Code: "too_many_requests", RetryAfter: time.Second,
				Detail: fmt.Sprintf("%d requests are being answered already", maxInFlight),
			})
		}
	})
}
