package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/sink/sinktest"
)

func newSink(t *testing.T, config *tls.Config) (*Sink, *sinktest.Net) {
	t.Helper()
	n := sinktest.NewNet()
	s := open(sink.Env{Dial: n.Dial, Version: "1.2.3"}, config)
	t.Cleanup(func() {
		s.Close()
		if n.Open() != 0 {
			t.Errorf("%d connections are open after Close", n.Open())
		}
	})
	return s, n
}

func message(url string) *sink.Message {
	return &sink.Message{
		ID: "shop_1_1_post_save_d1", Body: []byte(`{"a":1}`), ContentType: "application/json",
		Params: map[string]string{"url": url, "http_method": "POST"},
	}
}

func send(t *testing.T, s *Sink, m *sink.Message) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if errs := s.Send(ctx, []*sink.Message{m}); errs != nil {
		return errs[0]
	}
	return nil
}

func checkError(t *testing.T, err error, class sink.Class, code string) *sink.Error {
	t.Helper()
	var e *sink.Error
	if !errors.As(err, &e) || e.Class != class || e.Code != code {
		t.Fatalf("error %v, want %s %s", err, class, code)
	}
	return e
}

func TestRequest(t *testing.T) {
	r := sinktest.NewReceiver(t)
	s, _ := newSink(t, nil)
	for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", ""} {
		m := message(r.URL + "/a%20b/ü?x=1&y={z}#frag")
		m.Params["http_method"] = method
		m.Headers = []sink.Header{{Name: "X-Own", Value: "v"}, {Name: "aUTHORIZATION", Value: "Bearer x"}}
		if err := send(t, s, m); err != nil {
			t.Fatal(err)
		}
		got := r.Requests()[len(r.Requests())-1]
		if method == "" {
			method = "POST"
		}
		if got.Method != method || got.Target != "/a%20b/%C3%BC?x=1&y={z}" || "http://"+got.Host != r.URL || string(got.Body) != `{"a":1}` {
			t.Errorf("%s: got %s %s at %s with %q", method, got.Method, got.Target, got.Host, got.Body)
		}
		want := map[string]string{
			"Webhook-Id": m.ID, "Content-Type": "application/json", "User-Agent": "waltrigger/1.2.3", "Accept": "*/*", "X-Own": "v", "Authorization": "Bearer x",
			"Content-Length": "7",
		}
		for name, v := range want {
			if got.Header.Get(name) != v {
				t.Errorf("%s: header %s is %q, want %q", method, name, got.Header.Get(name), v)
			}
		}
		if n, err := strconv.ParseInt(got.Header.Get("Webhook-Timestamp"), 10, 64); err != nil || time.Since(time.Unix(n, 0)).Abs() > time.Minute {
			t.Errorf("webhook-timestamp %q", got.Header.Get("Webhook-Timestamp"))
		}
		if !regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-01$`).MatchString(got.Header.Get("Traceparent")) {
			t.Errorf("traceparent %q", got.Header.Get("Traceparent"))
		}
	}
	if r.Connections() != 1 {
		t.Errorf("%d connections for requests one after the other", r.Connections())
	}
}

func TestOwnHeadersReplaceDefaults(t *testing.T) {
	r := sinktest.NewReceiver(t)
	s, _ := newSink(t, nil)
	m := message(r.URL)
	own := map[string]string{"content-type": "text/csv", "user-agent": "me", "accept": "text/plain", "traceparent": "00-11111111111111111111111111111111-2222222222222222-00"}
	for name, v := range own {
		m.Headers = append(m.Headers, sink.Header{Name: name, Value: v})
	}
	if err := send(t, s, m); err != nil {
		t.Fatal(err)
	}
	got := r.Requests()[0]
	for name, v := range own {
		if all := got.Header.Values(name); !slices.Equal(all, []string{v}) {
			t.Errorf("header %s is %q, want %q", name, all, v)
		}
	}
	if got.Target != "/" {
		t.Errorf("target %q", got.Target)
	}
}

func TestOutcome(t *testing.T) {
	date := time.Now().Add(90 * time.Second).UTC().Format(http.TimeFormat)
	past := time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat)
	tests := []struct {
		status int
		header map[string]string
		class  sink.Class
		code   string // "" = accepted
		after  time.Duration
		text   string
	}{
		{200, nil, 0, "", 0, ""},
		{201, nil, 0, "", 0, ""},
		{202, nil, 0, "", 0, ""},
		{204, nil, 0, "", 0, ""},
		{299, nil, 0, "", 0, ""},
		{301, map[string]string{"Location": "https://s3cret@other.example/s3cret?k=s3cret"}, sink.Rejected, "redirect_refused", 0, "https://other.example"},
		{302, map[string]string{"Location": "http://169.254.169.254/latest"}, sink.Rejected, "redirect_refused", 0, "http://169.254.169.254"},
		{307, map[string]string{"Location": "/hook/"}, sink.Rejected, "redirect_refused", 0, "with / at the end"},
		{308, map[string]string{"Location": "/elsewhere"}, sink.Rejected, "redirect_refused", 0, "another path"},
		{308, map[string]string{"Location": "::"}, sink.Rejected, "redirect_refused", 0, "no URL"},
		{303, nil, sink.Rejected, "redirect_refused", 0, "names no target"},
		{304, nil, sink.Rejected, "redirect_refused", 0, ""},
		{400, nil, sink.Rejected, "http_400", 0, "400 Bad Request"},
		{401, nil, sink.Rejected, "http_401", 0, ""},
		{404, nil, sink.Rejected, "http_404", 0, ""},
		{422, map[string]string{"Retry-After": "5"}, sink.Rejected, "http_422", 0, ""},
		{410, nil, sink.Gone, "http_410", 0, ""},
		{408, nil, sink.Unavailable, "http_408", 0, ""},
		{425, nil, sink.Unavailable, "http_425", 0, ""},
		{429, map[string]string{"Retry-After": "7"}, sink.Unavailable, "http_429", 7 * time.Second, ""},
		{429, map[string]string{"Retry-After": "x"}, sink.Unavailable, "http_429", 0, ""},
		{429, map[string]string{"Retry-After": "-1"}, sink.Unavailable, "http_429", 0, ""},
		{429, map[string]string{"Retry-After": "99999999999"}, sink.Unavailable, "http_429", 0, ""},
		{429, map[string]string{"Retry-After": "4000000000"}, sink.Unavailable, "http_429", 24 * time.Hour, ""},
		{503, map[string]string{"Retry-After": date}, sink.Unavailable, "http_503", 90 * time.Second, ""},
		{503, map[string]string{"Retry-After": past}, sink.Unavailable, "http_503", 0, ""},
		{500, nil, sink.Unavailable, "http_500", 0, ""},
		{599, nil, sink.Unavailable, "http_599", 0, ""},
	}
	r := sinktest.NewReceiver(t)
	s, _ := newSink(t, nil)
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.status, tt.header), func(t *testing.T) {
			r.Fault(func(int, *http.Request) sinktest.Fault {
				return sinktest.Fault{Status: tt.status, Header: tt.header, Body: nil}
			})
			m := message(r.URL + "/hook?token=s3cret")
			m.Headers = []sink.Header{{Name: "Authorization", Value: "s3cret"}}
			err := send(t, s, m)
			if tt.code == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			e := checkError(t, err, tt.class, tt.code)
			if (e.RetryAfter - tt.after).Abs() > 3*time.Second {
				t.Errorf("retry after %v, want %v", e.RetryAfter, tt.after)
			}
			if strings.Contains(err.Error(), "s3cret") || !strings.Contains(err.Error(), tt.text) || !strings.Contains(err.Error(), r.URL) {
				t.Errorf("error %q, want one about %q", err, tt.text)
			}
		})
	}
	if n := r.Connections(); n != 1 {
		t.Errorf("%d connections, want one: no answer spoils it", n)
	}
	if n := len(r.Requests()); n != len(tests) {
		t.Errorf("%d requests for %d messages", n, len(tests))
	}
}

// Answers that keep the connection, and answers that do not.
func TestAnswers(t *testing.T) {
	big := strings.Repeat("x", 70<<10)
	tests := []struct {
		name  string
		fault sinktest.Fault
		code  string // "" = accepted
		keeps bool
	}{
		{"body", sinktest.Fault{Body: []byte(strings.Repeat("x", 60<<10))}, "", true},
		{"large body", sinktest.Fault{Body: []byte(big)}, "", false},
		{"chunked", sinktest.Fault{Raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", KeepRaw: true}, "", true},
		{"chunked with trailer", sinktest.Fault{Raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n", KeepRaw: true}, "", true},
		{"endless", sinktest.Fault{Raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1000\r\n"+strings.Repeat("x", 4096)+"\r\n", 20), KeepRaw: true}, "", false},
		{"bad chunk", sinktest.Fault{Raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", KeepRaw: true}, "", false},
		{"body that does not come", sinktest.Fault{Raw: "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", KeepRaw: true}, "", false},
		{"body until the end", sinktest.Fault{Raw: "HTTP/1.0 200 OK\r\n\r\nabc"}, "", false},
		{"close", sinktest.Fault{Raw: "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"}, "", false},
		{"more than was asked for", sinktest.Fault{Raw: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 500 x\r\n\r\n", KeepRaw: true}, "", false},
		{"no content with length", sinktest.Fault{Raw: "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", KeepRaw: true}, "", true},
		{"informational first", sinktest.Fault{Raw: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", KeepRaw: true}, "", true},
		{"informational flood", sinktest.Fault{Raw: strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 1000)}, "response_invalid", false},
		{"switching protocols", sinktest.Fault{Raw: "HTTP/1.1 101 Switching Protocols\r\n\r\n"}, "response_invalid", false},
		{"large head", sinktest.Fault{Raw: "HTTP/1.1 200 OK\r\nX: " + big + "\r\n\r\n"}, "response_invalid", false},
		{"no HTTP", sinktest.Fault{Raw: "SSH-2.0-OpenSSH_9.6 s3cret\r\n\r\n"}, "response_invalid", false},
		{"HTTP/2", sinktest.Fault{Raw: "\x00\x00\x12\x04\x00\x00\x00\x00\x00\r\n\r\n"}, "response_invalid", false},
		{"cut off", sinktest.Fault{Raw: "HTTP/1.1 200 OK\r\nContent-Le"}, sink.CodeReset, false},
		{"reset", sinktest.Fault{Reset: true}, sink.CodeReset, false},
		{"reset before the body", sinktest.Fault{Early: true}, sink.CodeReset, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := sinktest.NewReceiver(t)
			s, n := newSink(t, nil)
			r.Fault(func(int, *http.Request) sinktest.Fault { return tt.fault })
			err := send(t, s, message(r.URL))
			if tt.code == "" && err != nil {
				t.Fatal(err)
			}
			if tt.code != "" {
				checkError(t, err, sink.Unavailable, tt.code)
				if strings.Contains(err.Error(), "s3cret") {
					t.Error(err)
				}
			}
			if kept := n.Open() == 1; kept != tt.keeps {
				t.Errorf("connection kept: %v, want %v", kept, tt.keeps)
			}
			if reqs := len(r.Requests()); reqs > 1 {
				t.Errorf("sent %d times", reqs)
			}
		})
	}
}

func TestEarlyAnswerToLargeBody(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // answers after the first bytes and reads no more
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		b := make([]byte, 100)
		if _, err := c.Read(b); err == nil {
			fmt.Fprint(c, "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
			_ = c.(*net.TCPConn).CloseWrite()
			for err == nil {
				_, err = c.Read(b)
			}
		}
	}()
	defer func() { l.Close(); <-done }()
	s, _ := newSink(t, nil)
	m := message("http://" + l.Addr().String())
	m.Body = make([]byte, 8<<20)
	checkError(t, send(t, s, m), sink.Rejected, "http_413")
}

func TestTimeouts(t *testing.T) {
	r := sinktest.NewReceiver(t)
	for _, f := range []sinktest.Fault{
		{Hang: true}, {Delay: 3 * time.Second}, {Raw: "HTTP/1.1 200 OK\r\nX: ", KeepRaw: true}, {Raw: "HTTP/1.1 100 Continue\r\n\r\n", KeepRaw: true},
	} {
		r.Fault(func(int, *http.Request) sinktest.Fault { return f })
		for _, body := range []int{10, 4 << 20} {
			s, _ := newSink(t, nil)
			m := message(r.URL)
			m.Body = make([]byte, body)
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			began := time.Now()
			errs := s.Send(ctx, []*sink.Message{m})
			cancel()
			if errs == nil {
				t.Fatal("accepted")
			}
			checkError(t, errs[0], sink.Unavailable, sink.CodeTimeout)
			if d := time.Since(began); d > 2*time.Second {
				t.Errorf("%+v: took %v", f, d)
			}
		}
	}
}

// A slow answer is waited for beyond the first look.
func TestSlowAnswer(t *testing.T) {
	r := sinktest.NewReceiver(t)
	r.Fault(func(int, *http.Request) sinktest.Fault { return sinktest.Fault{Delay: 3 * patience} })
	s, _ := newSink(t, nil)
	for range 3 {
		if err := send(t, s, message(r.URL)); err != nil {
			t.Fatal(err)
		}
	}
	if r.Connections() != 1 {
		t.Errorf("%d connections", r.Connections())
	}
}

func TestStaleConnection(t *testing.T) {
	r := sinktest.NewReceiver(t)
	s, _ := newSink(t, nil)
	if err := send(t, s, message(r.URL)); err != nil {
		t.Fatal(err)
	}
	r.CloseIdle()
	s.pool.mu.Lock()
	for _, list := range s.pool.hosts {
		for _, c := range *list {
			c.since = time.Now().Add(-time.Second)
		}
	}
	s.pool.mu.Unlock()
	if err := send(t, s, message(r.URL)); err != nil {
		t.Fatalf("a connection that the receiver had closed while idle: %v", err)
	}
	if n := len(r.Requests()); n != 2 {
		t.Errorf("%d requests", n)
	}
	// One that breaks in full use is a failure, and the message is not sent again.
	r.Fault(func(int, *http.Request) sinktest.Fault { return sinktest.Fault{Reset: true} })
	checkError(t, send(t, s, message(r.URL)), sink.Unavailable, sink.CodeReset)
	if n := len(r.Requests()); n != 3 {
		t.Errorf("%d requests", n)
	}
}

// TestLostWay: after a request without an answer the other idle connections, over which as
// little may come through, are not tried one by one.
func TestLostWay(t *testing.T) {
	r := sinktest.NewReceiver(t)
	s, n := newSink(t, nil)
	var wg sync.WaitGroup
	r.Fault(func(int, *http.Request) sinktest.Fault { return sinktest.Fault{Delay: 100 * time.Millisecond} })
	for range 3 {
		wg.Go(func() {
			if err := send(t, s, message(r.URL)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n.Open() != 3 {
		t.Fatalf("%d connections", n.Open())
	}
	n.Stall()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	checkError(t, s.Send(ctx, []*sink.Message{message(r.URL)})[0], sink.Unavailable, sink.CodeTimeout)
	if n.Open() != 0 {
		t.Errorf("%d connections are kept", n.Open())
	}
	n.Heal()
	if err := send(t, s, message(r.URL)); err != nil {
		t.Fatal(err)
	}
}

func TestSweep(t *testing.T) {
	r := sinktest.NewReceiver(t)
	s, n := newSink(t, nil)
	if err := send(t, s, message(r.URL)); err != nil {
		t.Fatal(err)
	}
	s.pool.clean()
	if n.Open() != 1 {
		t.Fatal("a fresh connection was closed")
	}
	for _, list := range s.pool.hosts {
		(*list)[0].since = time.Now().Add(-idleTime)
	}
	s.pool.clean()
	if n.Open() != 0 || s.pool.sweep != nil || len(s.pool.hosts) != 0 {
		t.Fatal("an old connection is still there")
	}
	if err := send(t, s, message(r.URL)); err != nil {
		t.Fatal(err)
	}
}

func TestTLS(t *testing.T) {
	r := sinktest.NewTLSReceiver(t)
	s, _ := newSink(t, r.TLS())
	for range 3 {
		if err := send(t, s, message(r.URL)); err != nil {
			t.Fatal(err)
		}
	}
	if r.Connections() != 1 {
		t.Errorf("%d connections", r.Connections())
	}
	stranger, _ := newSink(t, nil)
	checkError(t, send(t, stranger, message(r.URL)), sink.Unavailable, sink.CodeTLS)
	named, _ := newSink(t, r.TLS())
	checkError(t, send(t, named, message(strings.Replace(r.URL, "127.0.0.1", "localhost", 1))), sink.Unavailable, sink.CodeTLS)
	plain := sinktest.NewReceiver(t)
	checkError(t, send(t, s, message(strings.Replace(plain.URL, "http:", "https:", 1))), sink.Unavailable, sink.CodeTLS)
	old := sinktest.NewTLSReceiver(t)
	config := old.TLS()
	config.MaxVersion = tls.VersionTLS11
	tooOld, _ := newSink(t, config)
	checkError(t, send(t, tooOld, message(old.URL)), sink.Unavailable, sink.CodeTLS)
}

func TestNothingListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	s, _ := newSink(t, nil)
	checkError(t, send(t, s, message("http://"+address+"/s3cret")), sink.Unavailable, sink.CodeRefused)
	err = send(t, s, message("http://nobody.invalid/s3cret"))
	if e := sink.Classify(err); e.Class != sink.Unavailable || e.Code != sink.CodeDNS && e.Code != sink.CodeTimeout {
		t.Errorf("error %v", err)
	}
	if strings.Contains(err.Error(), "s3cret") {
		t.Error(err)
	}
}

func TestMessagesThatCannotBeSent(t *testing.T) {
	r := sinktest.NewReceiver(t)
	s, _ := newSink(t, nil)
	many := make([]sink.Header, 65)
	for i := range many {
		many[i] = sink.Header{Name: fmt.Sprintf("X-%d", i)}
	}
	tests := []struct {
		name string
		edit func(m *sink.Message)
		code string
	}{
		{"CRLF in value", func(m *sink.Message) { m.Headers = []sink.Header{{Name: "X", Value: "s3cret\r\nEvil: 1"}} }, "header_invalid"},
		{"LF in value", func(m *sink.Message) { m.Headers = []sink.Header{{Name: "X", Value: "a\nb"}} }, "header_invalid"},
		{"NUL in value", func(m *sink.Message) { m.Headers = []sink.Header{{Name: "X", Value: "a\x00"}} }, "header_invalid"},
		{"DEL in value", func(m *sink.Message) { m.Headers = []sink.Header{{Name: "X", Value: "a\x7f"}} }, "header_invalid"},
		{"space in name", func(m *sink.Message) { m.Headers = []sink.Header{{Name: "X A", Value: "a"}} }, "header_invalid"},
		{"empty name", func(m *sink.Message) { m.Headers = []sink.Header{{Name: "", Value: "a"}} }, "header_invalid"},
		{"line break in name", func(m *sink.Message) { m.Headers = []sink.Header{{Name: "X\r\n", Value: "a"}} }, "header_invalid"},
		{"reserved", func(m *sink.Message) { m.Headers = []sink.Header{{Name: "tRANSFER-eNCODING", Value: "chunked"}} }, "header_invalid"},
		{"reserved prefix", func(m *sink.Message) { m.Headers = []sink.Header{{Name: "WebHook-Signature", Value: "v1"}} }, "header_invalid"},
		{"too many", func(m *sink.Message) { m.Headers = many }, "header_invalid"},
		{"too large", func(m *sink.Message) { m.Headers = []sink.Header{{Name: "X", Value: strings.Repeat("x", 17<<10)}} }, "header_invalid"},
		{"id", func(m *sink.Message) { m.ID = "a\r\nb" }, "header_invalid"},
		{"no URL", func(m *sink.Message) { m.Params = nil }, "url_invalid"},
		{"scheme", func(m *sink.Message) { m.Params["url"] = "ftp://s3cret/" }, "url_invalid"},
		{"line break in URL", func(m *sink.Message) { m.Params["url"] += "/\r\ns3cret" }, "url_invalid"},
		{"space in URL", func(m *sink.Message) { m.Params["url"] += "/a b" }, "url_invalid"},
		{"userinfo", func(m *sink.Message) { m.Params["url"] = "http://u:s3cret@h/" }, "url_invalid"},
		{"fullwidth", func(m *sink.Message) { m.Params["url"] = "http://１２７.0.0.1/" }, "url_invalid"},
		{"long URL", func(m *sink.Message) { m.Params["url"] += "/" + strings.Repeat("x", 9000) }, "url_invalid"},
		{"method", func(m *sink.Message) { m.Params["http_method"] = "POST / HTTP/1.1\r\n" }, "method_invalid"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := message(r.URL)
			tt.edit(m)
			err := send(t, s, m)
			checkError(t, err, sink.Permanent, tt.code)
			if strings.Contains(err.Error(), "s3cret") {
				t.Error(err)
			}
		})
	}
	if n := len(r.Requests()); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}

func TestTargets(t *testing.T) {
	tests := []struct{ url, address, host, path, name string }{
		{"http://Example.COM", "example.com:80", "example.com", "/", "http://example.com"},
		{"https://example.com:443/a", "example.com:443", "example.com", "/a", "https://example.com"},
		{"https://example.com:8443?q", "example.com:8443", "example.com:8443", "/?q", "https://example.com:8443"},
		{"http://[::1]/", "[::1]:80", "[::1]", "/", "http://[::1]"},
		{"http://[2001:DB8::1]:81/", "[2001:db8::1]:81", "[2001:db8::1]:81", "/", "http://[2001:db8::1]:81"},
	}
	for _, tt := range tests {
		got, err := parseTarget(tt.url)
		if err != nil {
			t.Errorf("%s: %v", tt.url, err)
			continue
		}
		if got.address != tt.address || got.host != tt.host || got.path != tt.path || got.String() != tt.name {
			t.Errorf("%s: %+v", tt.url, got)
		}
	}
	s, _ := newSink(t, nil)
	for i := range 2 * maxTargets {
		if _, err := s.target(fmt.Sprintf("http://h/%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.targets) > maxTargets {
		t.Errorf("%d URLs are kept", len(s.targets))
	}
}
