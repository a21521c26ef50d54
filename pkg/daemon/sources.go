package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/waltrigger/waltrigger/pkg/deliver"
	"github.com/waltrigger/waltrigger/pkg/payload"
	"github.com/waltrigger/waltrigger/pkg/pipeline"
	"github.com/waltrigger/waltrigger/pkg/source"
	"github.com/waltrigger/waltrigger/pkg/store"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// sources are the configured sources, in their order.
type sources struct {
	tails  []*tail
	hidden *payload.Hidden
}

func (s *sources) all() []*tail { return s.tails }

func (s *sources) byName(name string) *tail {
	for _, t := range s.tails {
		if t.name == name {
			return t
		}
	}
	return nil
}

// render renders a delivery that could not be rendered in its turn.
func (s *sources) render(ctx context.Context, dl *deliver.Delivery) (send bool, err error) {
	t := s.byName(dl.Source)
	if t == nil {
		return false, fmt.Errorf("the configuration has no source %s any more", dl.Source)
	}
	t.mu.Lock()
	p := t.pipe
	t.mu.Unlock()
	if p == nil {
		return false, t.notReady()
	}
	return p.Render(ctx, dl)
}

// ask has a source answer a query of the configuration's.
func (d *daemon) ask(ctx context.Context, src, query string) (string, error) {
	t := d.sources.byName(src)
	if t == nil {
		return "", fmt.Errorf("there is no source %s", src)
	}
	v, err := t.src.Value(ctx, query)
	if err != nil {
		return "", fmt.Errorf("source %s: %w", src, err)
	}
	return v, nil
}

// tail runs one source through one pipeline, from its preparation to its end.
type tail struct {
	name    string
	src     source.Source
	content map[string]source.TableName // explicit content types, by lower-case app_label.model
	store   *store.Store
	deliver *deliver.Deliverer
	cfg     pipeline.Config
	metrics *pipeline.Metrics
	wanted  func(src string) []source.TableName // the tables that triggers need now
	log     *slog.Logger

	prepared chan struct{} // closed once the source is prepared
	tried    chan struct{} // closed once the first attempt to prepare it ended
	halted   atomic.Pointer[source.HaltError]
	publishM sync.Mutex

	mu     sync.Mutex
	pipe   *pipeline.Pipeline
	view   *pipeline.View
	tables []source.TableInfo
	asked  time.Time
}

// use puts a view in force, now or once the pipeline runs.
func (t *tail) use(v *pipeline.View) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.view = v
	if t.pipe != nil {
		t.pipe.Use(v)
	}
}

// run tails the source until ctx ends. A source that an operator has to mend stops and
// says so; the daemon goes on.
func (t *tail) run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	state, err := t.prepare(ctx)
	if err == nil {
		close(t.prepared)
		wg.Go(func() { t.publishLogged(ctx) }) // tables may have been exchanged while the daemon was down
		err = t.pipeline(state).Run(ctx)
	}
	if err == nil || ctx.Err() != nil {
		return nil
	}
	halt := &source.HaltError{State: "error", Reason: err.Error(), Mend: "the log says more"}
	errors.As(err, &halt)
	t.halt(&source.HaltError{State: halt.State, Reason: halt.Reason, Mend: halt.Mend + "; then start waltrigger again"})
	return nil
}

// halt shows why the source does not go on, and logs it if it is new.
func (t *tail) halt(h *source.HaltError) {
	if was := t.halted.Swap(h); was == nil || was.Error() != h.Error() {
		t.log.Error("source stopped: it needs a hand", "source", t.name, "state", h.State, "reason", h.Reason, "mend", h.Mend)
	}
}

// misconfigured is the state of a source that an operator can mend beside the daemon:
// it is looked at again every so many seconds.
const (
	misconfigured      = "misconfigured"
	misconfiguredAgain = 5
)

// prepare makes the source ready, as often as it takes.
func (t *tail) prepare(ctx context.Context) (source.State, error) {
	first := sync.OnceFunc(func() { close(t.tried) })
	defer first()
	b := backoff.NewExponentialBackOff()
	b.MaxInterval = 5 * time.Second
	return backoff.Retry(ctx, func() (source.State, error) {
		defer first()
		state, err := t.prepareOnce(ctx)
		if halt := (*source.HaltError)(nil); errors.As(err, &halt) {
			if halt.State != misconfigured {
				return state, backoff.Permanent(err)
			}
			t.halt(halt)
			return state, backoff.RetryAfter(misconfiguredAgain)
		}
		if err == nil {
			t.halted.Store(nil)
		}
		return state, err
	}, backoff.WithBackOff(b), backoff.WithMaxElapsedTime(0), backoff.WithNotify(func(err error, wait time.Duration) {
		if later := (*backoff.RetryAfterError)(nil); !errors.As(err, &later) { // that one is said
			t.log.Warn("prepare source: trying again", "source", t.name, "wait", wait.Round(time.Millisecond).String(), "err", err)
		}
	}))
}

func (t *tail) prepareOnce(ctx context.Context) (source.State, error) {
	saved, _, err := t.store.LoadSource(ctx, t.name)
	if err != nil {
		return saved, err
	}
	return t.src.Prepare(ctx, saved, func(s source.State) error { return t.store.SaveSource(ctx, t.name, s) })
}

func (t *tail) pipeline(state source.State) *pipeline.Pipeline {
	p := pipeline.New(t.name, t.cfg, t.src, state, t.store, t.deliver, t.metrics, t.log)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pipe = p
	if t.view != nil {
		p.Use(t.view)
	}
	return p
}

// stalled says why nothing is read because of the daemon itself, "" if that is not so.
func (t *tail) stalled() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pipe != nil && t.pipe.Stalled() {
		return "the store does not take the position"
	}
	return ""
}

// running is the pipeline, nil before the source is prepared.
func (t *tail) running() *pipeline.Pipeline {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.pipe
}

// broken says why a revision of a trigger cannot render what comes of this source.
func (t *tail) broken(id, revision int64) *trigger.Broken {
	p := t.running()
	if p == nil {
		return nil
	}
	return p.Broken(id, revision)
}

// publishLogged publishes without anybody who waits for the answer.
func (t *tail) publishLogged(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := t.publish(ctx); err != nil && ctx.Err() == nil {
		t.log.Warn("publish tables", "source", t.name, "err", err)
	}
}

// publish makes the log carry the tables that are wanted, asked at the last moment.
func (t *tail) publish(ctx context.Context) error {
	select {
	case <-t.prepared:
	default:
		return t.notReady()
	}
	t.publishM.Lock()
	defer t.publishM.Unlock()
	missing, err := t.src.Publish(ctx, t.wanted(t.name))
	for _, m := range missing {
		t.log.Warn("table is not there yet", "source", t.name, "table", m.String())
	}
	return err
}

func (t *tail) notReady() error {
	if halt := t.halted.Load(); halt != nil {
		return halt
	}
	return fmt.Errorf("source %s is not ready: %s", t.name, t.src.Status().Detail)
}

// fresh is how long a look at the catalog serves the calls that follow.
const fresh = time.Second

// catalog lists the tables of the source, as they are now or were a moment ago.
func (t *tail) catalog(ctx context.Context) ([]source.TableInfo, error) {
	t.mu.Lock()
	tables, asked := t.tables, t.asked
	t.mu.Unlock()
	if time.Since(asked) < fresh {
		return tables, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	tables, err := t.src.Tables(ctx)
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", t.name, err)
	}
	t.mu.Lock()
	t.tables, t.asked = tables, time.Now()
	t.mu.Unlock()
	return tables, nil
}
