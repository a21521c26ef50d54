package storetest

import (
	"bytes"
	"net"
	neturl "net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// line stands between a store and its server.
type line struct {
	t       *testing.T
	address string
	target  string

	mu    sync.Mutex
	lis   net.Listener
	conns map[net.Conn]bool
	cut   bool
	delay time.Duration // of what is sent to the server
	wg    sync.WaitGroup
}

// newLine gives a line to the server of url that is up.
func newLine(t *testing.T, url string) *line {
	t.Helper()
	u, err := neturl.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	l := &line{t: t, address: "127.0.0.1:0", target: u.Host, conns: map[net.Conn]bool{}}
	l.up()
	l.address = l.lis.Addr().String()
	t.Cleanup(func() {
		l.down()
		l.wg.Wait()
	})
	return l
}

func (l *line) up() {
	l.t.Helper()
	lis, err := net.Listen("tcp", l.address)
	if err != nil {
		l.t.Fatal(err)
	}
	l.mu.Lock()
	l.lis = lis
	l.mu.Unlock()
	l.wg.Go(func() {
		for {
			c, err := lis.Accept()
			if err != nil {
				return
			}
			l.wg.Go(func() { l.pass(c) })
		}
	})
}

// down refuses connections and breaks those that there are.
func (l *line) down() {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.lis.Close()
	for c := range l.conns {
		_ = c.Close()
	}
}

// cutAtCommit breaks the next connection that commits, once the server has answered.
func (l *line) cutAtCommit() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = true
}

// late has what clients send from now on reach the server that much later, also if they
// have hung up by then.
func (l *line) late(by time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delay = by
}

func (l *line) wait() {
	l.mu.Lock()
	by := l.delay
	l.mu.Unlock()
	time.Sleep(by)
}

// cutting reports whether what is sent, in clear, is the commit that is waited for.
func (l *line) cutting(sent []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.cut || !bytes.HasSuffix(bytes.TrimRight(bytes.ToLower(sent), "\x00"), []byte("commit")) {
		return false
	}
	l.cut = false
	return true
}

func (l *line) pass(client net.Conn) {
	server, err := net.Dial("tcp", l.target)
	if err != nil {
		_ = client.Close()
		return
	}
	l.mu.Lock()
	l.conns[client], l.conns[server] = true, true
	l.mu.Unlock()
	var cut atomic.Bool // the next answer is swallowed
	var wg sync.WaitGroup
	wg.Go(func() {
		defer server.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := client.Read(buf)
			if l.cutting(buf[:n]) {
				cut.Store(true)
			}
			l.wait()
			if _, werr := server.Write(buf[:n]); err != nil || werr != nil {
				return
			}
		}
	})
	wg.Go(func() {
		defer client.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := server.Read(buf)
			if cut.Load() || err != nil {
				return
			}
			if _, err := client.Write(buf[:n]); err != nil {
				return
			}
		}
	})
	wg.Wait()
	l.mu.Lock()
	delete(l.conns, client)
	delete(l.conns, server)
	l.mu.Unlock()
}
