package sinktest

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// Fault is what a Receiver does instead of answering 200. The zero Fault answers 200.
type Fault struct {
	Status  int               // another answer
	Header  map[string]string // of the answer
	Body    []byte            // of the answer
	Delay   time.Duration     // before the answer
	Hang    bool              // reads the request and never answers
	Reset   bool              // reads the request, keeps it, and resets the connection
	Early   bool              // resets the connection before it reads the body
	Raw     string            // is written in the place of an answer, then the connection is closed
	KeepRaw bool              // it stays open after Raw
}

// Receiver is a receiver of webhooks on loopback that fails on demand.
type Receiver struct {
	URL string

	server  *httptest.Server
	release chan struct{} // closed when it ends, for requests that hang

	mu    sync.Mutex
	fault func(n int, r *http.Request) Fault
	got   []Request
	conns map[string]bool // remote addresses
	n     int
}

// Request is one that was read to its end.
type Request struct {
	Method, Target, Host string
	Header               http.Header
	Body                 []byte
}

// NewReceiver starts one; it is stopped when the test ends.
func NewReceiver(t testing.TB) *Receiver { return newReceiver(t, false) }

// NewTLSReceiver starts one that speaks TLS; see TLS.
func NewTLSReceiver(t testing.TB) *Receiver { return newReceiver(t, true) }

func newReceiver(t testing.TB, secure bool) *Receiver {
	r := &Receiver{release: make(chan struct{}), conns: map[string]bool{}}
	r.server = httptest.NewUnstartedServer(r)
	r.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	if secure {
		r.server.StartTLS()
	} else {
		r.server.Start()
	}
	r.URL = r.server.URL
	t.Cleanup(func() {
		close(r.release)
		r.server.CloseClientConnections()
		r.server.Close()
	})
	return r
}

// Restart stops the receiver, calls down, and starts it again at the same address. For
// Harness; not for receivers that speak TLS.
func (r *Receiver) Restart(t *testing.T, down func()) {
	t.Helper()
	address := r.server.Listener.Addr().String()
	r.server.CloseClientConnections()
	r.server.Close()
	down()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	r.server = httptest.NewUnstartedServer(r)
	r.server.Listener.Close()
	r.server.Listener = l
	r.server.Start()
}

// TLS is a configuration that trusts the receiver.
func (r *Receiver) TLS() *tls.Config {
	return r.server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
}

// Fault sets what happens to the requests from now on; n counts them from 0. Nil: all
// are answered.
func (r *Receiver) Fault(f func(n int, r *http.Request) Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fault, r.n = f, 0
}

// Requests are those read so far, in the order in which they came.
func (r *Receiver) Requests() []Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Request(nil), r.got...)
}

// Connections counts those that carried a request.
func (r *Receiver) Connections() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.conns)
}

// CloseIdle closes all connections, as a receiver does that was idle for long.
func (r *Receiver) CloseIdle() { r.server.CloseClientConnections() }

// Received gives what was accepted, for Harness.
func (r *Receiver) Received(*testing.T) []Received {
	var out []Received
	for _, q := range r.Requests() {
		h := map[string]string{}
		for name, values := range q.Header {
			h[strings.ToLower(name)] = strings.Join(values, ", ")
		}
		out = append(out, Received{ID: h["webhook-id"], ContentType: h["content-type"], Body: q.Body, Headers: h})
	}
	return out
}

func (r *Receiver) next(req *http.Request) Fault {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns[req.RemoteAddr] = true
	if r.fault == nil {
		return Fault{}
	}
	r.n++
	return r.fault(r.n-1, req)
}

func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	f := r.next(req)
	if f.Early {
		hijack(w, true)
		return
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	r.mu.Lock()
	r.got = append(r.got, Request{req.Method, req.RequestURI, req.Host, req.Header, body})
	r.mu.Unlock()
	if f.Delay > 0 || f.Hang {
		var answer <-chan time.Time
		if !f.Hang {
			timer := time.NewTimer(f.Delay)
			defer timer.Stop()
			answer = timer.C
		}
		select {
		case <-answer:
		case <-req.Context().Done():
			return
		case <-r.release:
			return
		}
	}
	switch {
	case f.Reset:
		hijack(w, true)
	case f.Raw != "":
		r.raw(w, f)
	default:
		for name, v := range f.Header {
			w.Header().Set(name, v)
		}
		if f.Status != 0 {
			w.WriteHeader(f.Status)
		}
		_, _ = w.Write(f.Body) // nobody may be there any more
	}
}

// raw answers with bytes of the test's own.
func (r *Receiver) raw(w http.ResponseWriter, f Fault) {
	c := hijack(w, false)
	if c == nil {
		return
	}
	defer c.Close()
	if _, err := io.WriteString(c, f.Raw); err != nil || !f.KeepRaw {
		return
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = io.Copy(io.Discard, c)
	}()
	select {
	case <-gone:
	case <-r.release:
		c.Close()
		<-gone
	}
}

// hijack takes the connection over, and resets it if so asked.
func hijack(w http.ResponseWriter, reset bool) net.Conn {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil
	}
	if !reset {
		return c
	}
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	c.Close()
	return nil
}
