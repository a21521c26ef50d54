package pipeline

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/deliver"
	"github.com/waltrigger/waltrigger/pkg/related"
	"github.com/waltrigger/waltrigger/pkg/resolve"
	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/source"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// log is a source whose log the test writes, and the store of its position.
type log struct {
	source.Source // what a pipeline does not call

	batches chan source.Batch
	fail    chan error // ends Run

	mu     sync.Mutex
	sent   int // batches taken by the pipeline
	from   change.Mark
	events []string // saved, acked: in the order in which it happened
	saved  change.Mark
	broken bool // the store takes nothing
	tables []source.TableInfo
	rows   map[string][][]change.Value // by table
	seq    uint64                      // of Rows
	until  uint64                      // the same
	away   bool                        // the database does not answer
	denied string                      // the table that may not be read
	asked  int                         // calls of Rows
	table  *change.Table               // of rows
	shapes map[string]*change.Table    // of single tables, instead
	scans  chan scanned                // answers of Scan
	ends   chan uint64                 // answers of Reached
}

func newLog() *log {
	return &log{batches: make(chan source.Batch, 1000), fail: make(chan error, 1), rows: map[string][][]change.Value{}, scans: make(chan scanned), ends: make(chan uint64)}
}

func (l *log) Run(ctx context.Context, from change.Mark, out chan<- source.Batch) error {
	l.mu.Lock()
	l.from = from
	l.mu.Unlock()
	for {
		select {
		case b := <-l.batches:
			select {
			case out <- b:
				l.mu.Lock()
				l.sent++
				l.mu.Unlock()
			case <-ctx.Done():
				return nil
			}
		case err := <-l.fail:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

func (l *log) Ack(p change.Position) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, "ack "+string(p))
}

func (l *log) SaveSource(_ context.Context, _ string, s source.State) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken {
		return errors.New("disk full")
	}
	l.saved = s.Mark
	l.events = append(l.events, "save "+string(s.Mark.End))
	return nil
}

func (l *log) Tables(context.Context) ([]source.TableInfo, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.away {
		return nil, errors.New("connection refused")
	}
	return l.tables, nil
}

func (l *log) Rows(_ context.Context, q source.Query) (source.RowSet, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked++
	if l.away {
		return source.RowSet{}, errors.New("connection refused")
	}
	if l.denied == q.Table.String() {
		return source.RowSet{}, denied{}
	}
	set := source.RowSet{Table: cmp.Or(l.shapes[q.Table.String()], l.table), Seq: l.seq, Until: l.until}
	for _, row := range l.rows[q.Table.String()] {
		key := make([]string, len(q.Columns))
		for i, c := range q.Columns {
			key[i] = row[set.Table.Lookup(c)].Text
		}
		if slices.ContainsFunc(q.Keys, func(k []string) bool { return slices.Equal(k, key) }) {
			set.Rows = append(set.Rows, row)
		}
	}
	return set, nil
}

func (l *log) Counts(ctx context.Context, q source.Query) (source.CountSet, error) {
	rows, err := l.Rows(ctx, q)
	set := source.CountSet{Counts: make([]int64, len(q.Keys)), Seq: rows.Seq, Until: rows.Until}
	for i, key := range q.Keys {
		for _, row := range rows.Rows {
			if row[rows.Table.Lookup(q.Columns[0])].Text == key[0] {
				set.Counts[i]++
			}
		}
	}
	return set, err
}

// denied is how PostgreSQL answers who may not read a table.
type denied struct{}

func (denied) Error() string    { return "permission denied (SQLSTATE 42501)" }
func (denied) SQLState() string { return "42501" }

// mark is the one saved last.
func (l *log) mark() change.Mark {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.saved
}

// calls are what was saved and acknowledged, in the order in which it happened.
func (l *log) calls() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.events)
}

func (l *log) set(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

// receiver is a sink in memory.
type receiver struct {
	mu     sync.Mutex
	got    []string // "id body" of what was accepted
	keys   []string
	answer func(m *sink.Message) error // nil = accepted
	delay  time.Duration
}

func (r *receiver) Send(ctx context.Context, msgs []*sink.Message) []error {
	if r.delay > 0 {
		select {
		case <-time.After(r.delay):
		case <-ctx.Done():
			return sink.All(len(msgs), ctx.Err())
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	errs := make([]error, len(msgs))
	for i, m := range msgs {
		if r.answer != nil {
			if errs[i] = r.answer(m); errs[i] != nil {
				continue
			}
		}
		body := string(m.Body)
		for _, h := range m.Headers {
			body += " " + h.Name + "=" + h.Value
		}
		r.got = append(r.got, m.ID+" "+body)
		r.keys = append(r.keys, string(m.Key))
	}
	return errs
}

func (r *receiver) Close() error { return nil }

func (r *receiver) set(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

// ids gives the ids of what was accepted.
func (r *receiver) ids() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]string, len(r.got))
	for i, g := range r.got {
		out[i], _, _ = strings.Cut(g, " ")
	}
	return out
}

// bodies gives what came after the id.
func (r *receiver) bodies() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]string, len(r.got))
	for i, g := range r.got {
		_, out[i], _ = strings.Cut(g, " ")
	}
	return out
}

// bench is a pipeline with all that it needs.
type bench struct {
	*Pipeline
	t        testing.TB
	log      *log
	receiver *receiver
	deliver  *deliver.Deliverer
	compiler *trigger.Compiler
	leases   *related.Leases
	stop     context.CancelFunc
	done     chan error
	revision int64 // of the triggers in force
}

func newBench(t testing.TB, cfg Config, dcfg deliver.Config, from change.Mark) *bench {
	t.Helper()
	b := &bench{t: t, log: newLog(), receiver: &receiver{}}
	quiet := slog.New(slog.DiscardHandler)
	registry := prometheus.NewRegistry()
	dcfg.Render = func(ctx context.Context, d *deliver.Delivery) (bool, error) { return b.Render(ctx, d) }
	var err error
	if b.deliver, err = deliver.New(t.Context(), dcfg, nil, deliver.NewMetrics(registry), quiet); err != nil {
		t.Fatal(err)
	}
	resolver, err := resolve.New(nil, resolve.Env{})
	if err != nil {
		t.Fatal(err)
	}
	b.compiler = &trigger.Compiler{
		Resolver: resolver, Env: func(string, map[string]any) sink.Env { return sink.Env{} }, MaxWebhookTimeout: 30 * time.Second,
		Webhook: &sink.Kind{Name: "memory", MaxBatch: 1, Open: func(context.Context, map[string]any, sink.Env) (sink.Sink, error) { return b.receiver, nil }},
	}
	b.leases = related.NewLeases()
	rel := Relations{Catalog: related.NewCatalog(b.log.Tables, nil, nil, quiet), Leases: b.leases}
	b.Pipeline = New("shop", cfg, b.log, rel, source.State{Mark: from}, b.log, b.deliver, NewMetrics(registry), quiet)
	return b
}

// use compiles triggers, given as API bodies, and puts them in force.
func (b *bench) use(bodies ...string) {
	b.t.Helper()
	b.revision++
	v := &View{Queues: map[*trigger.Destination]*deliver.Destination{}}
	var all []*trigger.Compiled
	known := map[string]bool{}
	for i, body := range bodies {
		tr, problems := trigger.Decode([]byte(body))
		if len(problems) > 0 {
			b.t.Fatalf("trigger %s: %v", body, problems)
		}
		tr.ID = int64(i + 1)
		record := &trigger.Record{Trigger: tr, Revision: b.revision}
		for _, ct := range tr.ContentTypes {
			for _, cs := range tr.ConfigSignals {
				name := ct.Name()
				name.Source = "shop"
				record.Activations = append(record.Activations, trigger.Activation{ContentType: name, Signal: cs.Signal, Schema: "public", Table: ct.ModelName, State: trigger.Active})
			}
		}
		c, _ := b.compiler.Compile(record)
		for i := range record.Activations {
			a := &record.Activations[i]
			for _, name := range append(c.Names, tr.Fields...) {
				if i := sale.Lookup(name); i >= 0 && a.Table == sale.Name {
					a.Columns = append(a.Columns, sale.Columns[i].Name)
				}
			}
		}
		all = append(all, c)
		for _, d := range c.Destinations {
			v.Queues[d] = b.deliver.Destination(d.ID, d)
			known[d.ID] = true
		}
	}
	v.Set = trigger.NewSet(all)
	b.deliver.Keep(func(id string) bool { return known[id] })
	b.Use(v)
}

// whyBroken is what keeps a trigger as it is now from rendering.
func (b *bench) whyBroken(id int64) *trigger.Broken { return b.Broken(id, b.revision) }

func (b *bench) start() {
	ctx, cancel := context.WithCancel(context.Background())
	b.stop, b.done = cancel, make(chan error, 1)
	go func() { b.done <- b.Run(ctx) }()
}

// end stops the pipeline and returns what Run returned.
func (b *bench) end() error {
	b.stop()
	err := <-b.done
	b.deliver.Close()
	return err
}

// hook is a trigger for saves and deletes of sale; fields are added.
func hook(id, payload string, fields ...string) string {
	s := `{"config_signals":[{"signal":"post_save"},{"signal":"post_delete"},{"signal":"truncate"}],"content_types":[{"app_label":"x","model_name":"sale"}],` +
		`"webhooks":[{"id":"` + id + `","url":"https://example.com/"}],"payload":` + strconv.Quote(payload)
	for _, f := range fields {
		s += "," + f
	}
	return s + "}"
}

var sale = change.NewTable("public", "sale", []change.Column{{Name: "id", Identity: true}, {Name: "n"}, {Name: "customer_id"}}, []int{0}, true, change.IdentityFull)

func value(s string) change.Value {
	switch s {
	case "-":
		return change.Value{}
	case "null":
		return change.Value{Kind: change.Null}
	}
	return change.Value{Kind: change.Int, Text: s}
}

func values(s ...string) []change.Value {
	out := make([]change.Value, len(s))
	for i := range s {
		out[i] = value(s[i])
	}
	return out
}

// transaction gives changes their transaction, ordinals and Commit.
func transaction(n int, changes ...change.Change) source.Batch {
	x := tx(n)
	x.Seq = uint64(n) * 10
	for i := range changes {
		changes[i].Tx, changes[i].Ordinal = x, uint32(i+1)
		if changes[i].Table == nil {
			changes[i].Table = sale
		}
	}
	return append(changes, change.Change{Op: change.Commit, Tx: x})
}

func insert(v ...string) change.Change { return change.Change{Op: change.Insert, After: values(v...)} }

func update(before, after []change.Value) change.Change {
	return change.Change{Op: change.Update, Image: change.ImageFull, Before: before, After: after}
}

func remove(v ...string) change.Change {
	return change.Change{Op: change.Delete, Image: change.ImageFull, Before: values(v...)}
}

func wantBodies(t *testing.T, r *receiver, want ...string) {
	t.Helper()
	if got := r.bodies(); !slices.Equal(got, want) {
		t.Errorf("received %q\n    want %q", got, want)
	}
}

// wantInAnyOrder is wantBodies for rows that are in no order to each other.
func wantInAnyOrder(t *testing.T, r *receiver, want ...string) {
	t.Helper()
	got := r.bodies()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("received %q\n    want %q", got, want)
	}
}

// run is a test in a bubble of its own time, with a pipeline that has started.
func run(t *testing.T, f func(t *testing.T, b *bench)) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, DefaultConfig(), deliver.DefaultConfig(), change.Mark{End: "start"})
		b.use(hook("w", "{{ operation }} {{ instance.id }}.{{ instance.n }}"))
		b.start()
		defer func() {
			if err := b.end(); err != nil {
				t.Error(err)
			}
		}()
		f(t, b)
	})
}
