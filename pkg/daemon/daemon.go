// Package daemon wires the parts into the program that runs: it knows all of them, and
// starts and stops them in order.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/waltrigger/waltrigger/config"
	"github.com/waltrigger/waltrigger/pkg/api"
	"github.com/waltrigger/waltrigger/pkg/deliver"
	"github.com/waltrigger/waltrigger/pkg/payload"
	"github.com/waltrigger/waltrigger/pkg/pipeline"
	"github.com/waltrigger/waltrigger/pkg/source/postgres"
	"github.com/waltrigger/waltrigger/pkg/store"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// Run runs the daemon until ctx ends, and stops it in order: first the API, then the
// sources; what was taken on is delivered, how far that is is saved and acknowledged.
func Run(ctx context.Context, cfg *config.Config, version string, log *slog.Logger) error {
	d := &daemon{cfg: cfg, log: log, version: version}
	// Stops run in reverse order, whether everything started or not.
	defer d.stop()
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
	deliver  *deliver.Deliverer
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

func (d *daemon) stop() {
	for i := len(d.stops) - 1; i >= 0; i-- {
		if err := d.stops[i].stop(); err != nil {
			d.log.Error("stop", "part", d.stops[i].name, "err", err)
		}
	}
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
	d.registry.MustRegister(d.surround.shadow)
	d.onStop("dynamic values", func() error { d.surround.resolver.Close(); return nil })
	delivering := d.cfg.Deliver()
	delivering.Render = func(ctx context.Context, dl *deliver.Delivery) (bool, error) { return d.sources.render(ctx, dl) }
	if d.deliver, err = deliver.New(ctx, delivering, d.store, deliver.NewMetrics(d.registry), d.log); err != nil {
		return err
	}
	d.onStop("deliveries", func() error { d.deliver.Close(); return nil })
	if err := d.openSources(); err != nil {
		return err
	}
	return d.openTriggers(ctx)
}

// openSources makes the sources; nothing is connected yet.
func (d *daemon) openSources() error {
	metrics := pipeline.NewMetrics(d.registry)
	d.sources = &sources{hidden: d.surround.hidden}
	d.registry.MustRegister(sourceMetrics(d.status), valueMetrics(d.surround.resolver.Status))
	for _, c := range d.cfg.Sources {
		src, err := postgres.New(c.Postgres(), nil, d.log)
		if err != nil {
			return err
		}
		d.onStop("source "+c.Name, src.Close)
		d.sources.tails = append(d.sources.tails, &tail{
			name: c.Name, src: src, content: c.Tables(), store: d.store, deliver: d.deliver, cfg: d.pipelineConfig(c),
			metrics: metrics, log: d.log, prepared: make(chan struct{}), tried: make(chan struct{}),
		})
	}
	return nil
}

func (d *daemon) openTriggers(ctx context.Context) error {
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c := d.surround.compiler()
	d.triggers = &triggers{
		store: d.store, compiler: c, sources: d.sources, deliver: d.deliver, log: d.log, ctx: background, secret: d.surround.secret, shadow: d.surround.shadow,
		compiled: map[int64]*trigger.Compiled{}, active: map[int64]*activation{},
	}
	for _, t := range d.sources.all() {
		t.wanted = d.triggers.wanted
	}
	d.onStop("activations", func() error {
		cancel()
		d.triggers.wg.Wait()
		return nil
	})
	checking := *c
	checking.CheckPath = d.sources.checkPath
	d.triggers.env = d.surround.env(d.sources, &checking)
	d.triggers.writing.Lock()
	defer d.triggers.writing.Unlock()
	if err := d.triggers.reload(ctx); err != nil {
		return fmt.Errorf("load triggers: %w", err)
	}
	return nil
}

// serve runs the parts until ctx ends or one of them fails.
func (d *daemon) serve(ctx context.Context) error {
	if err := d.listen(ctx); err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	for _, t := range d.sources.all() {
		g.Go(func() error { return t.run(gctx) })
	}
	g.Go(d.ops.Serve)
	// The first calls find sources that can be asked, if they can be at all.
	d.awaitSources(gctx)
	d.triggers.begun()
	g.Go(func() error { return d.triggers.lookForTables(gctx) })
	g.Go(func() error { return (&files{cfg: d.cfg, triggers: d.triggers}).watch(gctx) })
	g.Go(d.admin.Serve)
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
		Triggers: d.triggers, Previewer: d.triggers, Secret: d.triggers.secret, Sources: d.status, ContentTypes: d.sources.contentTypes,
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
		s := t.src.Status()
		if halt := t.halted.Load(); halt != nil {
			s.State, s.Detail = halt.State, halt.Reason+"; "+halt.Mend
		}
		if why := t.stalled(); why != "" {
			s.Detail = strings.TrimPrefix(s.Detail+"; "+why, "; ")
		}
		out = append(out, api.Source{
			Name: t.name, State: s.State, Detail: s.Detail, Received: string(s.Received),
			Acked: string(s.Acked), LagBytes: s.LagBytes, Events: s.Events, Reconnects: s.Reconnects,
		})
	}
	return out
}

// ready says what readiness consists of: the store. A source's trouble is shown and
// does not count, since a restart would not mend it.
func (d *daemon) ready(ctx context.Context) []api.Ready {
	check := api.Ready{Name: "store", OK: true}
	if err := d.store.Writable(ctx); err != nil {
		check.OK, check.Detail = false, err.Error()
	}
	out := []api.Ready{check}
	for _, s := range d.status(ctx) {
		detail := s.State
		if s.Detail != "" {
			detail += ": " + s.Detail
		}
		out = append(out, api.Ready{Name: "source " + s.Name, OK: s.State == streaming, Detail: detail, Informative: true})
	}
	return out
}

func (d *daemon) pipelineConfig(s config.Source) pipeline.Config {
	c := pipeline.DefaultConfig()
	c.Hidden = d.surround.hidden
	c.Origin = payload.Origin{Connector: "postgresql", Version: d.version, Database: s.Postgres().Database()}
	c.Window = d.cfg.Delivery.Window
	c.Grace = d.cfg.Delivery.ShutdownGrace.Std()
	return c
}
