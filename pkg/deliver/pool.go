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
