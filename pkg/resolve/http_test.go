package resolve

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// secretServer answers at each path in another way.
func secretServer(t *testing.T) *httptest.Server {
	t.Helper()
	stop := make(chan struct{})
	body := func(s string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, s) }
	}
	raw := func(s string, reset bool) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			c, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			io.WriteString(c, s)
			if reset {
				c.(*net.TCPConn).SetLinger(0)
			}
			c.Close()
		}
	}
	mux := http.NewServeMux()
	for path, h := range map[string]http.HandlerFunc{
		"/token":  body("tok\n"),
		"/json":   body(`{"data": {"token": "tok", "n": 17, "on": true, "": {"a/b~": "odd"}}, "list": ["x", {"y": "z"}], "null": null}`),
		"/twice":  body(`{"a":1} {"a":2}`),
		"/empty":  body(""),
		"/crlf":   body("s3cret\r\nEvil: 1"),
		"/large":  body(strings.Repeat("s3cret", 200_000)),
		"/padded": body(`{"pad":"` + strings.Repeat("x", 1<<20-100) + `","token":"tok"}`),
		"/404":    func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "s3cret", http.StatusNotFound) },
		"/500":    func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "s3cret", http.StatusInternalServerError) },
		"/302": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/token")
			w.WriteHeader(http.StatusFound)
		},
		"/307": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/token")
			w.WriteHeader(http.StatusTemporaryRedirect)
		},
		"/hang":    func(_ http.ResponseWriter, r *http.Request) { <-stop },
		"/garbage": raw("s3cret s3cret s3cret\r\n\r\n", false),
		"/closed":  raw("", false),
		"/reset":   raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ns3cret", true),
		"/short":   raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ns3cret", false),
		"/headers": raw("HTTP/1.1 200 OK\r\nX: "+strings.Repeat("s3cret", 20_000)+"\r\n\r\ntok", false),
		"/drip": func(w http.ResponseWriter, _ *http.Request) {
			for {
				select {
				case <-stop:
					return
				case <-time.After(10 * time.Millisecond):
					io.WriteString(w, "s")
					w.(http.Flusher).Flush()
				}
			}
		},
		"/gzip": func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Accept-Encoding") != "" {
				t.Error("compression is asked for")
			}
			w.Header().Set("Content-Encoding", "gzip") // a bomb, were it unpacked
			var b bytes.Buffer
			z := gzip.NewWriter(&b)
			z.Write(make([]byte, 2<<20))
			z.Close()
			w.Write(b.Bytes())
		},
		"/echo": func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			io.WriteString(w, strings.Join([]string{r.Method, r.Host, r.Header.Get("X-Vault-Token"), r.URL.RawQuery, string(b)}, " "))
		},
	} {
		mux.HandleFunc(path, h)
	}
	s := httptest.NewServer(mux)
	t.Cleanup(func() { close(stop); s.Close() })
	return s
}

func TestHTTP(t *testing.T) {
	s := secretServer(t)
	address := strings.TrimPrefix(s.URL, "http://")
	tests := []struct {
		path, pointer string
		want, code    string
		text          string // in the error
	}{
		{"/token", "", "tok", "", ""},
		{"/json", "/data/token", "tok", "", ""},
		{"/json", "/data/n", "17", "", ""},
		{"/json", "/data/on", "true", "", ""},
		{"/json", "/data//a~1b~0", "odd", "", ""},
		{"/json", "/list/1/y", "z", "", ""},
		{"/json", "/list/01/y", "", CodeInvalid, "no /list/01"},
		{"/json", "/list/2", "", CodeInvalid, "no /list/2"},
		{"/json", "/data/none", "", CodeInvalid, "no /data/none"},
		{"/json", "/data/token/x", "", CodeInvalid, "no /data/token/x"},
		{"/json", "/data", "", CodeInvalid, "object or a list"},
		{"/json", "/null", "", CodeInvalid, "null"},
		{"/token", "/data", "", CodeInvalid, "no JSON"},
		{"/twice", "/a", "", CodeInvalid, "more than one"},
		{"/padded", "/token", "tok", "", ""},
		{"/empty", "", "", CodeInvalid, "empty"},
		{"/crlf", "", "", CodeInvalid, "line break"},
		{"/large", "", "", CodeFetch, "larger than 1 MiB"},
		{"/padded", "", "", CodeInvalid, "larger than 64 KiB"},
		{"/404", "", "", CodeFetch, "the answer is 404"},
		{"/500", "", "", CodeFetch, "the answer is 500"},
		{"/302", "", "", CodeFetch, "the answer is 302, a redirect"},
		{"/307", "", "", CodeFetch, "the answer is 307, a redirect"},
		{"/hang", "", "", CodeFetch, "no answer in time"},
		{"/drip", "", "", CodeFetch, "no answer in time"},
		{"/garbage", "", "", CodeFetch, "no proper HTTP"},
		{"/closed", "", "", CodeFetch, "connection ended"},
		{"/reset", "", "", CodeFetch, "connection reset"},
		{"/short", "", "", CodeFetch, "connection ended"},
		{"/headers", "", "", CodeFetch, "no proper HTTP"},
		{"/gzip", "", "", CodeInvalid, ""},
	}
	for _, tt := range tests {
		t.Run(strings.TrimPrefix(tt.path, "/")+tt.pointer, func(t *testing.T) {
			t.Parallel()
			c := Config{HTTP: HTTP{URL: s.URL + tt.path + "?key=s3cret"}, Pointer: tt.pointer}
			if tt.text == "no answer in time" {
				c.Timeout = 200 * time.Millisecond
			}
			r := newResolver(t, map[string]Config{"a.b": c})
			got, err := r.Resolve(t.Context(), "a.b")
			checkError(t, err, tt.code)
			if got != tt.want {
				t.Fatalf("value %.80q, want %.80q", got, tt.want)
			}
			if err != nil && (!strings.Contains(err.Error(), tt.text) || !strings.Contains(err.Error(), "dynamic value a.b: ") || strings.Contains(err.Error(), "s3cret")) {
				t.Fatalf("error %v, want one about %q", err, tt.text)
			}
		})
	}
	t.Run("request", func(t *testing.T) {
		t.Setenv("HTTP_PROXY", "http://127.0.0.1:1") // not looked at
		r := newResolver(t, map[string]Config{
			"get":  {HTTP: HTTP{URL: s.URL + "/echo?a=b%20c", Headers: map[string]string{"x-vault-token": "v", "Host": "vault.internal"}}},
			"post": {HTTP: HTTP{URL: s.URL + "/echo", Method: "POST", Body: `{"role":"r"}`}},
		})
		for name, want := range map[string]string{"get": "GET vault.internal v a=b%20c ", "post": "POST " + address + `   {"role":"r"}`} {
			if got, err := r.Resolve(t.Context(), name); got != want || err != nil {
				t.Errorf("got %q, %v, want %q", got, err, want)
			}
		}
	})
}

func TestHTTPIsDialledByTheGuard(t *testing.T) {
	s := secretServer(t)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	var allowed []string
	var dials atomic.Int32
	env := Env{Dial: func(addresses ...string) func(context.Context, string, string) (net.Conn, error) {
		allowed = append(allowed, addresses...)
		return func(ctx context.Context, network, address string) (net.Conn, error) {
			dials.Add(1)
			if address != addresses[0] {
				return nil, &blocked{}
			}
			return (&net.Dialer{}).DialContext(ctx, network, u.Host)
		}
	}}
	r, err := New(map[string]Config{
		"a": {HTTP: HTTP{URL: "http://vault.internal/token"}}, "b": {HTTP: HTTP{URL: "https://vault.internal"}},
		"c": {HTTP: HTTP{URL: "https://[::1]:8200/x"}}, "d": {OAuth2: OAuth2{TokenURL: "https://idp.internal/token", ClientID: "x", ClientSecret: "y"}},
	}, env)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got := strings.Join(allowed, " "); got != "vault.internal:80 vault.internal:443 [::1]:8200 idp.internal:443" {
		t.Errorf("allowed %s", got)
	}
	if v, err := r.Resolve(t.Context(), "a"); v != "tok" || err != nil || dials.Load() != 1 {
		t.Errorf("got %q, %v after %d dials", v, err, dials.Load())
	}
	_, err = r.Resolve(t.Context(), "b") // plain HTTP is spoken there
	checkError(t, err, CodeFetch)
	env.Dial = func(...string) func(context.Context, string, string) (net.Conn, error) {
		return func(context.Context, string, string) (net.Conn, error) { return nil, &blocked{} }
	}
	r, err = New(map[string]Config{"a": {HTTP: HTTP{URL: s.URL}}}, env)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	_, err = r.Resolve(t.Context(), "a")
	checkError(t, err, CodeFetch)
	if refusal := (*blocked)(nil); !errors.As(err, &refusal) {
		t.Errorf("error %v, want the guard's", err)
	}
}

type blocked struct{}

func (*blocked) Error() string { return "address not allowed" }
func (*blocked) Blocked() bool { return true }

func TestHTTPTrustsNobodyUnknown(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "tok") }))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	r := newResolver(t, map[string]Config{"a": {HTTP: HTTP{URL: s.URL}}, "b": {OAuth2: OAuth2{TokenURL: s.URL, ClientID: "x", ClientSecret: "y"}}})
	for _, name := range []string{"a", "b"} {
		_, err := r.Resolve(t.Context(), name)
		checkError(t, err, CodeFetch)
		if !strings.Contains(err.Error(), "certificate") {
			t.Errorf("error %v", err)
		}
	}
}
