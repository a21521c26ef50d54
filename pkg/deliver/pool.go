package deliver

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

// idle is how long a sink stays open that nobody used.
const idle = 2 * time.Minute

// pool holds one open sink for each kind and set of connection details, shared by all
// destinations that have them.
type pool struct {
	mu    sync.Mutex
	sinks map[string]*pooled
	swept time.Time
}

type pooled struct {
	sink  sink.Sink
	uses  int
	used  time.Time
	ready chan struct{} // closed once sink or err is set
	err   error
	turn  chan struct{} // holds one while an ordered sink sends: it is promised one caller
}

// errHeld is no failure: Config.MaySend was false.
var errHeld = &sink.Error{Class: sink.Unavailable, Code: "held", Err: errors.New("nothing may be sent now")}

// send lets the sink send, if it may. Destinations that share an ordered sink take turns.
func (s *pooled) send(ctx context.Context, msgs []*sink.Message, may func() bool) []error {
	if s.turn != nil {
		select {
		case s.turn <- struct{}{}:
			defer func() { <-s.turn }()
		case <-ctx.Done():
			return sink.All(len(msgs), &sink.Error{
				Class: sink.Unavailable, Code: "busy",
				Err: errors.New("another destination of the same broker was sending all the time"),
			})
		}
	}
	if may != nil && !may() {
		return sink.All(len(msgs), errHeld)
	}
	return s.sink.Send(ctx, msgs)
}

func newPool() *pool { return &pool{sinks: map[string]*pooled{}, swept: time.Now()} }

// get returns the sink for key, opened if necessary; put gives it back.
func (p *pool) get(ctx context.Context, t Target, key string, conn map[string]any) (*pooled, error) {
	kind := t.Kind()
	if key == "" {
		key = kind.Name
	}
	p.mu.Lock()
	s, ok := p.sinks[key]
	if !ok {
		s = &pooled{ready: make(chan struct{})}
		if kind.Ordered {
			s.turn = make(chan struct{}, 1)
		}
		p.sinks[key] = s
	}
	s.uses++
	p.mu.Unlock()
	if !ok {
		s.sink, s.err = kind.Open(ctx, conn, t.Env(conn))
		if s.err != nil {
			p.mu.Lock()
			delete(p.sinks, key)
			p.mu.Unlock()
		}
		close(s.ready)
		return s, s.err
	}
	select {
	case <-s.ready: // as a rule; asking ctx costs it a channel
		return s, s.err
	default:
	}
	select {
	case <-s.ready:
		return s, s.err
	case <-ctx.Done():
		p.put(s)
		return nil, ctx.Err()
	}
}

// put gives s back, and closes what nobody used for a while.
func (p *pool) put(s *pooled) {
	now := time.Now()
	var old []sink.Sink
	p.mu.Lock()
	s.uses--
	s.used = now
	if now.Sub(p.swept) > idle {
		p.swept = now
		for key, o := range p.sinks {
			if o.uses == 0 && now.Sub(o.used) > idle && o.sink != nil {
				delete(p.sinks, key)
				old = append(old, o.sink)
			}
		}
	}
	p.mu.Unlock()
	for _, o := range old {
		_ = o.Close() // nothing of it is under way; what it says changes nothing
	}
}

// close closes all sinks. Nothing uses them any more.
func (p *pool) close(log *slog.Logger) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, s := range p.sinks {
		if s.sink != nil {
			errs = append(errs, s.sink.Close())
		}
	}
	if err := errors.Join(errs...); err != nil {
		log.Warn("close sinks", "err", err)
	}
}
