package main

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/Shopify/toxiproxy/v2/stream"
	"github.com/Shopify/toxiproxy/v2/toxics"
	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"
)

// proxy is a Toxiproxy between the daemon and a server, so that one can be out of reach of
// the other alone.
type proxy struct {
	t *testing.T
	*toxiproxy.Proxy
	*line
}

var proxies = toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())

// newProxy gives a proxy that is down, and the URL of the database through it.
func newProxy(t *testing.T, db *database) (*proxy, string) {
	t.Helper()
	cfg, err := pgx.ParseConfig(db.url)
	if err != nil {
		t.Fatal(err)
	}
	target := fmt.Sprintf("%s:%d", cfg.Host, cfg.Port)
	p := newProxyTo(t, target)
	return p, strings.Replace(db.url, target, p.Listen, 1)
}

// newProxyTo gives a proxy to an address, which is down.
func newProxyTo(t *testing.T, target string) *proxy {
	t.Helper()
	address := freeAddress(t)
	p := &proxy{t: t, Proxy: toxiproxy.NewProxy(proxies, address, address, target)}
	toxics.Register(address, &line{})
	for _, direction := range []string{"upstream", "downstream"} {
		x, err := p.Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(`{"type":%q,"stream":%q}`, address, direction)))
		if err != nil {
			t.Fatal(err)
		}
		if p.line == nil {
			p.line = x.Toxic.(*line)
			p.state = &lineState{}
		}
		x.Toxic.(*line).state = p.state
	}
	t.Cleanup(p.Stop)
	return p
}

func (p *proxy) up() {
	p.t.Helper()
	if err := p.Start(); err != nil {
		p.t.Fatal(err)
	}
}

// down refuses connections and breaks those that there are.
func (p *proxy) down() { p.Stop() }

// reset has connections end at once.
func (p *proxy) reset() {
	p.t.Helper()
	for _, direction := range []string{"upstream", "downstream"} {
		if _, err := p.Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(`{"name":%q,"type":"reset_peer","stream":%[1]q}`, direction))); err != nil {
			p.t.Fatal(err)
		}
	}
}

func (p *proxy) resetNoMore() {
	p.t.Helper()
	for _, direction := range []string{"upstream", "downstream"} {
		if err := p.Toxics.RemoveToxic(context.Background(), direction); err != nil {
			p.t.Fatal(err)
		}
	}
}

// line is a toxic that lies over each connection of a proxy and can be told what to do.
// Toxiproxy's own ones end a connection when they are taken away, or can hang in doing so.
type line struct{ state *lineState }

type lineState struct {
	mode  atomic.Int32
	holes atomic.Int32 // so far
}

const (
	passes   int32 = iota
	hole           // drops what is sent; nothing ever passes through a connection of before or meanwhile
	trickles       // lets one byte a second through
)

func (l *line) blackHole() {
	l.state.holes.Add(1)
	l.state.mode.Store(hole)
}

func (l *line) trickle() { l.state.mode.Store(trickles) }

func (l *line) heal() {
	if l.state.mode.Swap(passes) == hole {
		l.state.holes.Add(1)
	}
}

// Pipe implements toxics.Toxic.
func (l *line) Pipe(stub *toxics.ToxicStub) {
	holes := l.state.holes.Load()
	for {
		select {
		case <-stub.Interrupt:
			return
		case c := <-stub.Input:
			if c == nil {
				stub.Close()
				return
			}
			for l.state.mode.Load() == trickles && len(c.Data) > 1 {
				first := &stream.StreamChunk{Data: c.Data[:1], Timestamp: c.Timestamp}
				c.Data = c.Data[1:]
				if !pass(stub, first) {
					return
				}
				for range 10 { // until it is healed
					if l.state.mode.Load() == trickles {
						time.Sleep(100 * time.Millisecond)
					}
				}
			}
			if l.state.holes.Load() == holes && !pass(stub, c) {
				return
			}
		}
	}
}

func pass(stub *toxics.ToxicStub, c *stream.StreamChunk) bool {
	select {
	case stub.Output <- c:
		return true
	case <-stub.Interrupt:
		return false
	}
}
