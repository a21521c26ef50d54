// Package daemon wires the parts into the program that runs: it knows all of them, and
// starts and stops them in order.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/waltrigger/waltrigger/config"
	"github.com/waltrigger/waltrigger/pkg/api"
	"github.com/waltrigger/waltrigger/pkg/backfill"
	"github.com/waltrigger/waltrigger/pkg/deliver"
	"github.com/waltrigger/waltrigger/pkg/payload"
	"github.com/waltrigger/waltrigger/pkg/pipeline"
	"github.com/waltrigger/waltrigger/pkg/related"
	"github.com/waltrigger/waltrigger/pkg/source"
	"github.com/waltrigger/waltrigger/pkg/store"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// Run runs the daemon until ctx ends, and stops it in order: first the API, then the
// sources; what was taken on is delivered, how far that is is saved and acknowledged.
func Run(ctx context.Context, cfg *config.Config, version string, log *slog.Logger) (err error) {
	d := &daemon{cfg: cfg, log: log, version: version}
	// Stops run in reverse order, whether everything started or not.
	defer func() {
		if clean := d.stop(); clean && err == nil {
			log.Info("stopped")
		}
	}()
	if err := d.build(ctx); err != nil {
		return err
	}
	return d.serve(ctx)
}

type daemon struct {
	cfg     *config.Config
	log     *slog.Logger
	version string
	stops   []namedStop

	registry *prometheus.Registry
	store    *store.Store
	surround *surroundings
	leader   *leader
	metrics  *deliver.Metrics
	tests    *deliver.Deliverer
	serving  atomic.Pointer[deliver.Deliverer] // of the term, while there is one
	sources  *sources
	triggers *triggers
	admin    *api.Server
	ops      *api.Server
}

type namedStop struct {
	name string
	stop func() error
}

func (d *daemon) onStop(name string, stop func() error) {
	d.stops = append(d.stops, namedStop{name, stop})
}

func (d *daemon) stop() (clean bool) {
	clean = true
	for i := len(d.stops) - 1; i >= 0; i-- {
		if err := d.stops[i].stop(); err != nil {
			d.log.Error("stop", "part", d.stops[i].name, "err", err)
			clean = false
		}
	}
	return clean
}

// build makes the parts, the ones that others need first.
func (d *daemon) build(ctx context.Context) error {
	d.registry = prometheus.NewRegistry()
	d.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	var err error
	if d.store, err = store.Open(ctx, string(d.cfg.Store.URL), d.log, d.cfg.Store.Keys()...); err != nil {
		return err
	}
	d.onStop("store", d.store.Close)
	if d.surround, err = newSurroundings(d.cfg, d.ask, d.log); err != nil {
		return err
	}
	d.surround.version = d.version
	d.registry.MustRegister(d.surround.shadow)
	d.onStop("dynamic values", func() error { d.surround.resolver.Close(); return nil })
	d.metrics = deliver.NewMetrics(d.registry)
	if d.tests, err = deliver.New(ctx, d.cfg.Deliver(), nil, d.metrics, d.log); err != nil {
		return err
	}
	d.onStop("tests of triggers", func() error { d.tests.Close(); return nil })
	if err := d.openSources(); err != nil {
		return err
	}
	d.leader = newLeader(d.store, d.sources.names(), d.log)
	return d.openTriggers(ctx)
}

// openSources makes the sources; nothing is connected yet.
func (d *daemon) openSources() error {
	metrics, over := pipeline.NewMetrics(d.registry), newBackfillsOver(d.registry)
	d.sources = &sources{hidden: d.surround.hidden}
	d.registry.MustRegister(sourceMetrics(d.status), valueMetrics(d.surround.resolver.Status))
	for _, c := range d.cfg.Sources {
		n := notesOf(c.Name, nil)
		open := func() (source.Source, error) { return openSource(c, n, d.log) }
		src, err := open()
		if err != nil {
			return err
		}
		t := &tail{
			name: c.Name, open: open, src: src, notes: n, content: c.Tables(), cfg: d.pipelineConfig(c),
			metrics: metrics, log: d.log, prepared: make(chan struct{}), tried: make(chan struct{}), backfillKick: make(chan struct{}, 1),
		}
		for _, s := range []backfill.State{backfill.Done, backfill.Failed, backfill.Cancelled} {
			over.WithLabelValues(c.Name, string(s)) // counts from 0 on
		}
		t.backfillOver = func(s backfill.State) { over.WithLabelValues(t.name, string(s)).Inc() }
		tables := func(ctx context.Context) ([]source.TableInfo, error) { return t.source().Tables(ctx) }
		t.neighbours = newNeighbours(c.Name, related.NewCatalog(tables, c.Relations, c.Models(), d.log.With("source", c.Name)))
		d.onStop("source "+c.Name, func() error { return t.source().Close() })
		d.sources.tails = append(d.sources.tails, t)
	}
	return nil
}

func (d *daemon) openTriggers(ctx context.Context) error {
	c := d.surround.compiler()
	d.triggers = &triggers{
		store: d.store, compiler: c, sources: d.sources, leader: d.leader, tests: d.tests, log: d.log, secret: d.surround.secret, shadow: d.surround.shadow,
		compiled: map[int64]*trigger.Compiled{}, active: map[int64]*activation{},
	}
	for _, t := range d.sources.all() {
		t.wanted, t.ready, t.fewer, t.firing, t.fires, t.rewind = d.triggers.wanted, d.triggers.resumeAll, d.triggers.fewer, d.triggers.firing, d.triggers.fires, d.triggers.rewind
	}
	checking := *c
	checking.CheckPath = d.sources.checkPath
	d.triggers.env = d.surround.env(d.sources, &checking)
	d.triggers.writing.Lock()
	defer d.triggers.writing.Unlock()
	if err := d.triggers.reload(ctx); err != nil {
		return fmt.Errorf("load triggers: %w", err)
	}
	d.triggers.warnPaused()
	return nil
}

// serve runs the parts until ctx ends or one of them fails.
func (d *daemon) serve(ctx context.Context) error {
	if err := d.listen(ctx); err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { d.lead(gctx); return nil })
	g.Go(d.ops.Serve)
	// The first calls find sources that can be asked, if they can be at all.
	d.awaitSources(gctx)
	g.Go(func() error { return d.triggers.follow(gctx) })
	g.Go(func() error { return d.triggers.lookForTables(gctx) })
	g.Go(func() error { return (&files{cfg: d.cfg, triggers: d.triggers}).watch(gctx) })
	g.Go(d.admin.Serve)
	releaseStartup()
	d.log.Info("ready", "version", d.version, "admin", d.admin.Addr().String(), "ops", d.ops.Addr().String())
	g.Go(func() error {
		<-gctx.Done()
		d.log.Info("stopping")
		return d.shutdown()
	})
	if err := g.Wait(); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// lead does what one instance alone may do, whenever that is this one, until ctx ends.
func (d *daemon) lead(ctx context.Context) {
	for {
		t, err := d.leader.acquire(ctx, d.sources.standBy)
		if err != nil {
			return
		}
		d.term(t)
		t.stop()
	}
}

// term runs the sources until t ends, and lets go of everything in order.
func (d *daemon) term(t *term) {
	held := d.store.Held(t.holder)
	dv := d.deliverer(t.ctx, held)
	if dv == nil {
		return
	}
	defer dv.Close()
	d.serving.Store(dv)
	defer d.serving.Store(nil)
	if !d.triggers.serve(t.ctx, dv) {
		return
	}
	var wg sync.WaitGroup
	if d.leader != nil {
		wg.Go(func() { d.answer(t.ctx, dv) })
	}
	for _, tail := range d.sources.all() {
		wg.Go(func() { tail.run(t.ctx, held, dv) })
	}
	wg.Wait()
	d.triggers.rest()
	for _, tail := range d.sources.all() {
		if err := tail.renew(); err != nil && !errors.Is(context.Cause(t.ctx), pipeline.ErrSuperseded) {
			d.log.Error("close source", "source", tail.name, "err", err)
		}
	}
}

// deliverer makes that of a term, as soon as the store can be read; nil if ctx ends first.
func (d *daemon) deliverer(ctx context.Context, held *store.Held) *deliver.Deliverer {
	cfg := d.cfg.Deliver()
	cfg.Render = d.sources.render
	if d.leader != nil {
		cfg.MaySend = d.leader.maySend
	}
	for ctx.Err() == nil {
		dv, err := deliver.New(ctx, cfg, held, d.metrics, d.log)
		if err == nil {
			return dv
		}
		d.log.Error("take up what is parked: trying again", "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	return nil
}

func (d *daemon) shutdown() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return errors.Join(d.admin.Shutdown(ctx), d.ops.Shutdown(ctx))
}

// awaitSources waits until each source was tried once, a few seconds at most.
func (d *daemon) awaitSources(ctx context.Context) {
	patience := time.After(3 * time.Second)
	for _, t := range d.sources.all() {
		select {
		case <-t.tried:
		case <-patience:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (d *daemon) listen(ctx context.Context) error {
	var err error
	d.admin, err = api.New(d.cfg.API(), api.Deps{
		Triggers: d.triggers, Deliveries: d.deliveries(), Audit: audit{d.triggers}, Previewer: d.triggers, Backfills: &backfills{d.triggers, d.sources, d.store}, Secret: d.triggers.secret, Sources: d.described, ContentTypes: d.sources.contentTypes,
		Brokers: d.surround.brokers(), DynamicValues: d.surround.resolver.Names(), Log: d.log, Metrics: d.registry,
	})
	if err != nil {
		return err
	}
	d.ops = api.NewOps(d.cfg.Ops.Listen, d.ready, d.registry, d.log)
	if err := d.admin.Listen(ctx); err != nil {
		return fmt.Errorf("admin.listen: %w", err)
	}
	if err := d.ops.Listen(ctx); err != nil {
		return errors.Join(fmt.Errorf("ops.listen: %w", err), d.shutdown())
	}
	d.surround.own(d.admin.Addr(), d.ops.Addr())
	return nil
}

// status describes the sources.
func (d *daemon) status(context.Context) []api.Source {
	out := []api.Source{}
	for _, t := range d.sources.all() {
		lease, active := d.leader.of(t.name)
		out = append(out, t.status(lease, active))
	}
	return out
}

// described is status with the gaps that the store knows of.
func (d *daemon) described(ctx context.Context) []api.Source {
	out := d.status(ctx)
	for i := range out {
		gaps, err := d.store.Gaps(ctx, out[i].Name, shownGaps)
		if err != nil {
			d.log.Warn("list gaps", "source", out[i].Name, "err", err)
		}
		for _, g := range gaps {
			shown := api.Gap{Kind: g.Kind, After: string(g.After), Before: string(g.Before), Reason: g.Reason, Noticed: g.Noticed}
			if g.Table.Name != "" {
				shown.Table = g.Table.String()
			}
			out[i].Gaps = append(out[i].Gaps, shown)
		}
	}
	return out
}

// ready says what readiness consists of: the store. A source's trouble is shown and
// does not count, since a restart would not mend it.
func (d *daemon) ready(ctx context.Context) []api.Ready {
	check := api.Ready{Name: "store", OK: true}
	if err := d.store.Writable(ctx); err != nil {
		check.OK, check.Detail = false, err.Error()
	} else if dv := d.serving.Load(); dv != nil && dv.StoreTrouble() != "" {
		check.OK, check.Detail = false, "it takes no deliveries: "+dv.StoreTrouble()
	}
	out := []api.Ready{check}
	for _, s := range d.status(ctx) {
		detail := s.State
		if s.Detail != "" {
			detail += ": " + s.Detail
		}
		out = append(out, api.Ready{Name: "source " + s.Name, OK: s.State == streaming || s.State == standby, Detail: detail, Informative: true})
	}
	return out
}

func (d *daemon) pipelineConfig(s config.Source) pipeline.Config {
	c := pipeline.DefaultConfig()
	c.Hidden = d.surround.hidden
	c.Origin = payload.Origin{Connector: "postgresql", Version: d.version}
	switch {
	case !s.IsMySQL():
		c.Origin.Database = s.Postgres().Database()
	case strings.HasPrefix(string(s.URL), "mariadb:"):
		c.Origin.Connector = "mariadb"
	default:
		c.Origin.Connector = "mysql"
	}
	c.Window, c.RelatedBytes = d.cfg.Delivery.Window, int(d.cfg.Delivery.RelatedBytes)
	c.Grace = d.cfg.Delivery.ShutdownGrace.Std()
	c.KeepRows = d.cfg.Delivery.KeepRows
	return c
}
