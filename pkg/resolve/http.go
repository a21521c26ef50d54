package resolve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

// HTTP is a request whose answer is the value, or holds it (Config.Pointer).
type HTTP struct {
	URL     string            `koanf:"url" secret:"true"` // its query may be one
	Method  string            `koanf:"method"`            // GET (the default) or POST
	Headers map[string]string `koanf:"headers" secret:"true"`
	Body    string            `koanf:"body" secret:"true"`
}

const maxAnswer = 1 << 20 // bytes

func (h *HTTP) given() bool        { return h.URL != "" || h.Method != "" || h.Headers != nil || h.Body != "" }
func (h *HTTP) ttl() time.Duration { return usualTTL }

func (h *HTTP) check(k *checker) {
	checkURL(k, "http.url", h.URL)
	if !legal(h.Method, http.MethodGet, http.MethodPost) {
		k.add("http.method", "must be GET or POST")
	}
	if h.Body != "" && h.Method != http.MethodPost {
		k.add("http.body", "needs method: POST")
	}
	for _, name := range slices.Sorted(maps.Keys(h.Headers)) {
		switch v := h.Headers[name]; {
		case !httpguts.ValidHeaderFieldName(name):
			k.add("http.headers."+name, "is no legal header name")
		case !httpguts.ValidHeaderFieldValue(v):
			k.add("http.headers."+name, "holds a line break or another control character")
		case references(v):
			k.add("http.headers."+name, "%s", noReferences)
		}
	}
}

const noReferences = "names a dynamic value, which a dynamic value cannot; write ${NAME} or ${file:/path}"

// checkURL refuses what would be sent elsewhere than it seems. Errors never repeat it.
func checkURL(k *checker, key, text string) {
	u, err := url.Parse(text)
	switch {
	case text == "":
		k.add(key, "is required")
	case err != nil:
		k.add(key, "is no URL")
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Hostname() == "":
		k.add(key, "must begin with http:// or https:// and a host")
	case u.User != nil:
		k.add(key, "holds a user name or password; give them in a header")
	case u.Fragment != "":
		k.add(key, "holds a fragment (#…), which is never sent")
	case references(text):
		k.add(key, "%s", noReferences)
	}
}

func (h *HTTP) fetcher(env Env) fetcher { return &request{*h, newClient(env, h.URL)} }

type request struct {
	HTTP
	client *http.Client
}

// newClient makes a client for one address of the configuration. It follows nothing,
// asks no proxy and keeps no connection.
func newClient(env Env, text string) *http.Client {
	dial := (&net.Dialer{}).DialContext
	if u, err := url.Parse(text); err == nil && env.Dial != nil {
		port := u.Port()
		if port == "" {
			port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
		}
		dial = env.Dial(net.JoinHostPort(u.Hostname(), port))
	}
	return &http.Client{
		Transport: &http.Transport{
			DialContext: dial, DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: 64 << 10,
			TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (r *request) fetch(ctx context.Context) (string, time.Time, error) {
	method := r.Method
	if method == "" {
		method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(ctx, method, r.URL, strings.NewReader(r.Body))
	if err != nil {
		return "", time.Time{}, errors.New("the request cannot be made")
	}
	for name, v := range r.Headers {
		if req.Header.Set(name, v); strings.EqualFold(name, "Host") {
			req.Host = v
		}
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return "", time.Time{}, failure(err)
	}
	defer resp.Body.Close()
	if err := checkStatus(resp.StatusCode); err != nil {
		return "", time.Time{}, err
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return "", time.Time{}, failure(err)
	}
	if len(b) > maxAnswer {
		return "", time.Time{}, errors.New("the answer is larger than 1 MiB")
	}
	return withoutNewline(b), time.Time{}, nil
}

func checkStatus(code int) error {
	switch {
	case code >= 300 && code < 400:
		return fmt.Errorf("the answer is %d, a redirect, which is not followed", code)
	case code < 200 || code > 299:
		return fmt.Errorf("the answer is %d", code)
	}
	return nil
}

// failure words why there is no answer. Errors of net/http repeat the URL, and what came
// instead of an answer; either may hold a secret.
func failure(err error) error {
	var (
		op      *net.OpError
		refused interface{ Blocked() bool }
		cert    *tls.CertificateVerificationError
		alert   tls.AlertError
	)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("there was no answer in time: %w", context.DeadlineExceeded)
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.As(err, &refused):
		return refused.(error)
	case errors.As(err, &op):
		return op
	case errors.As(err, &cert):
		return cert
	case errors.As(err, &alert):
		return alert
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the connection ended before the answer did")
	}
	return errors.New("what was answered is no proper HTTP, or no TLS")
}
