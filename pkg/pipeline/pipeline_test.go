package pipeline

import (
	"context"
	"errors"
	"fmt"
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
	away   bool                        // the database does not answer
	asked  int                         // calls of Rows
	table  *change.Table               // of rows
}

func newLog() *log {
	return &log{batches: make(chan source.Batch, 1000), fail: make(chan error, 1), rows: map[string][][]change.Value{}}
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

func (l *log) Rows(_ context.Context, t source.TableName, columns []string, keys [][]string) (source.RowSet, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked++
	if l.away {
		return source.RowSet{}, errors.New("connection refused")
	}
	set := source.RowSet{Table: l.table, Seq: l.seq}
	for _, row := range l.rows[t.String()] {
		key := make([]string, len(columns))
		for i, c := range columns {
			key[i] = row[l.table.Lookup(c)].Text
		}
		if slices.ContainsFunc(keys, func(k []string) bool { return slices.Equal(k, key) }) {
			set.Rows = append(set.Rows, row)
		}
	}
	return set, nil
}

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
	stop     context.CancelFunc
	done     chan error
}

func newBench(t testing.TB, cfg Config, dcfg deliver.Config, from change.Mark) *bench {
	t.Helper()
	b := &bench{t: t, log: newLog(), receiver: &receiver{}}
	quiet := slog.New(slog.DiscardHandler)
	registry := prometheus.NewRegistry()
	b.deliver = deliver.New(dcfg, deliver.NewMetrics(registry), quiet)
	resolver, err := resolve.New(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	b.compiler = &trigger.Compiler{
		Resolver: resolver, Env: func(string, map[string]any) sink.Env { return sink.Env{} }, MaxWebhookTimeout: 30 * time.Second,
		Webhook: &sink.Kind{Name: "memory", MaxBatch: 1, Open: func(context.Context, map[string]any, sink.Env) (sink.Sink, error) { return b.receiver, nil }},
	}
	b.Pipeline = New("shop", cfg, b.log, source.State{Mark: from}, b.log, b.deliver, NewMetrics(registry), quiet)
	return b
}

// use compiles triggers, given as API bodies, and puts them in force.
func (b *bench) use(bodies ...string) {
	b.t.Helper()
	v := &View{Queues: map[*trigger.Destination]*deliver.Destination{}}
	var all []*trigger.Compiled
	known := map[string]bool{}
	for i, body := range bodies {
		tr, problems := trigger.Decode([]byte(body))
		if len(problems) > 0 {
			b.t.Fatalf("trigger %s: %v", body, problems)
		}
		tr.ID = int64(i + 1)
		record := &trigger.Record{Trigger: tr}
		for _, ct := range tr.ContentTypes {
			for _, cs := range tr.ConfigSignals {
				name := ct.Name()
				name.Source = "shop"
				record.Activations = append(record.Activations, trigger.Activation{ContentType: name, Signal: cs.Signal, Schema: "public", Table: ct.ModelName, State: trigger.Active})
			}
		}
		c, _ := b.compiler.Compile(record)
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

func TestEndToEnd(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		other := change.NewTable("public", "other", sale.Columns, []int{0}, true, change.IdentityDefault)
		b.log.batches <- transaction(1, insert("1", "1", "null"), update(values("1", "1", "null"), values("1", "2", "null")))
		b.log.batches <- transaction(2, change.Change{Op: change.Insert, Table: other, After: values("9", "9", "9")})
		b.log.batches <- transaction(3, remove("1", "2", "null"), change.Change{Op: change.Truncate})
		time.Sleep(2 * time.Second)
		wantBodies(t, b.receiver, "insert 1.1", "update 1.2", "delete 1.2", "truncate .")
		if got := b.receiver.ids()[0]; got != "shop_tx1_1_post_save_w" {
			t.Errorf("id of the first: %s", got)
		}
		if b.InFlight() != 0 {
			t.Errorf("%d in flight", b.InFlight())
		}
		// The source may only forget what the store has.
		if want := []string{"save end3", "ack end3"}; !slices.Equal(b.log.calls(), want) {
			t.Errorf("events %v, want %v", b.log.calls(), want)
		}
	})
}

func TestActivationByTransaction(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.use(hook("w", "{{ instance.id }}"))
		v := *b.view.Load()
		c := v.Set.Triggers()[0]
		for i := range c.Activations {
			c.Activations[i].Seq = 20
		}
		v.Set = trigger.NewSet([]*trigger.Compiled{c})
		b.Use(&v)
		for i := 1; i <= 3; i++ {
			b.log.batches <- transaction(i, insert(strconv.Itoa(i), "0", "null"))
		}
		time.Sleep(2 * time.Second)
		wantBodies(t, b.receiver, "2", "3")
	})
}

// TestHugeUnmatchedTransaction saves how far it was looked at, so that it is not read
// again from its start.
func TestHugeUnmatchedTransaction(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		other := change.NewTable("public", "other", sale.Columns, []int{0}, true, change.IdentityDefault)
		var rows []change.Change
		for range 1000 {
			rows = append(rows, change.Change{Op: change.Insert, Table: other, After: values("1", "1", "1")})
		}
		all := transaction(1, rows...)
		b.log.batches <- all[:400]
		b.log.batches <- all[400:800]
		time.Sleep(2 * time.Second)
		if want := (change.Mark{End: "start", Tx: "tx1", Done: 800}); b.log.mark() != want {
			t.Errorf("saved %+v, want %+v", b.log.mark(), want)
		}
	})
}

// TestBackPressure lets a dead destination stop the reading, with bounded memory, and
// a stop end at once all the same.
func TestBackPressure(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Config, *deliver.Config)
	}{
		{"queue", func(_ *Config, d *deliver.Config) { d.Queue = 10 }},
		{"bytes", func(_ *Config, d *deliver.Config) { d.QueueBytes = 100 }},
		{"window", func(c *Config, _ *deliver.Config) { c.Window = 16 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg, dcfg := DefaultConfig(), deliver.DefaultConfig()
				c.change(&cfg, &dcfg)
				b := newBench(t, cfg, dcfg, change.Mark{End: "start"})
				b.use(hook("w", "{{ instance.id|rjust:10 }}"))
				b.receiver.answer = func(*sink.Message) error { return errors.New("down") }
				b.start()
				for i := range 100 {
					b.log.batches <- transaction(i+1, insert(strconv.Itoa(i), "0", "null"))
				}
				time.Sleep(time.Hour)
				b.log.mu.Lock()
				if b.log.sent > 16+cfg.Batches+2 {
					t.Errorf("%d transactions were read", b.log.sent)
				}
				b.log.mu.Unlock()
				began := time.Now()
				if err := b.end(); err != nil {
					t.Error(err)
				}
				if took := time.Since(began); took > time.Second {
					t.Errorf("stop took %v", took)
				}
				if b.log.mark().End != "" {
					t.Errorf("saved %+v, but nothing is delivered", b.log.mark())
				}
			})
		})
	}
}

// TestStopInMidBatch stops at any time, starts again from what was saved, and finds
// everything delivered exactly once and in order.
func TestStopInMidBatch(t *testing.T) {
	for ms := 5; ms < 400; ms += 23 {
		t.Run(fmt.Sprint(ms), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var all []source.Batch
				for i := range 20 {
					var rows []change.Change
					for j := range 10 {
						rows = append(rows, insert(strconv.Itoa(j), strconv.Itoa(i), "null"))
					}
					all = append(all, transaction(i+1, rows...))
				}
				r := &receiver{delay: 7 * time.Millisecond}
				from := change.Mark{End: "start"}
				for range 2 {
					dcfg := deliver.DefaultConfig()
					dcfg.MaxInFlight, dcfg.Queue = 8, 12
					b := newBench(t, DefaultConfig(), dcfg, from)
					b.receiver = r
					b.use(hook("a", "{{ instance.id }} {{ instance.n }}"), hook("b", "{{ instance.id }} {{ instance.n }}"))
					for _, x := range after(all, from) {
						b.log.batches <- x
					}
					b.start()
					time.Sleep(time.Duration(ms) * time.Millisecond)
					if from.End != "start" || from.Tx != "" {
						time.Sleep(time.Minute)
					}
					if err := b.end(); err != nil {
						t.Error(err)
					}
					from = b.log.mark()
				}
				if ms > 10 && len(r.got) != 400 {
					t.Errorf("%d received, want 400", len(r.got))
				}
				seen := map[string]bool{}
				last := map[string]int{}
				for _, g := range r.got {
					id, body, _ := strings.Cut(g, " ")
					if seen[id] {
						t.Errorf("%s was sent twice", id)
					}
					seen[id] = true
					row, n, _ := strings.Cut(body, " ")
					lane := id[len(id)-1:] + row
					if i, _ := strconv.Atoi(n); i < last[lane] {
						t.Errorf("%s came after %d", id, last[lane])
					} else {
						last[lane] = i
					}
				}
			})
		})
	}
}

// after gives what a source sends from mark on.
func after(all []source.Batch, mark change.Mark) []source.Batch {
	i := slices.IndexFunc(all, func(b source.Batch) bool { return b[0].Tx.End == mark.End }) + 1
	rest := slices.Clone(all[i:])
	if mark.Tx != "" {
		rest[0] = rest[0][mark.Done:]
	}
	return rest
}

func TestNothingIsSentAfterTheLastMark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, DefaultConfig(), deliver.DefaultConfig(), change.Mark{End: "start"})
		b.use(hook("w", "{{ instance.id }}"))
		b.receiver.answer = func(*sink.Message) error {
			return &sink.Error{Class: sink.Rejected, Code: "http_400", Err: errors.New("400")}
		}
		b.start()
		b.log.batches <- transaction(1, insert("1", "0", "null"))
		time.Sleep(time.Second)
		b.stop()
		if err := <-b.done; err != nil {
			t.Error(err)
		}
		b.receiver.set(func() { b.receiver.answer = nil })
		time.Sleep(time.Hour) // the other sources of a daemon may still be stopping
		b.deliver.Close()
		if got := b.receiver.bodies(); len(got) != 0 {
			t.Errorf("%v was sent, but will be sent again", got)
		}
	})
}

// TestStopBetweenTwoDestinations stops while a change is enqueued for one destination
// and waits for room at the other: it is enqueued for both, at once.
func TestStopBetweenTwoDestinations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dcfg := deliver.DefaultConfig()
		dcfg.Queue = 2
		b := newBench(t, DefaultConfig(), dcfg, change.Mark{End: "start"})
		b.use(hook("a", "{{ instance.id }}"), hook("b", "{{ instance.id }}"))
		b.receiver.answer = func(m *sink.Message) error {
			if strings.HasSuffix(m.ID, "_b") {
				return errors.New("down")
			}
			return nil
		}
		b.start()
		for i := range 9 {
			b.log.batches <- transaction(i+1, insert(strconv.Itoa(i), "0", "null"))
		}
		time.Sleep(time.Minute)
		wantBodies(t, b.receiver, "0", "1", "2")
		began := time.Now()
		b.stop()
		if err := <-b.done; err != nil || time.Since(began) > time.Second {
			t.Errorf("stop: %v after %v", err, time.Since(began))
		}
		for _, s := range b.deliver.Status() {
			if want := map[string]int{"a": 0, "b": 3}[s.ID]; s.Waiting != want {
				t.Errorf("%d wait for %s, want %d", s.Waiting, s.ID, want)
			}
		}
		b.deliver.Close()
	})
}

func TestGraceEndsAStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, DefaultConfig(), deliver.DefaultConfig(), change.Mark{End: "start"})
		b.use(hook("w", "{{ instance.id }}"))
		b.receiver.delay = 10 * time.Second
		b.start()
		for i := range 5 {
			b.log.batches <- transaction(i+1, insert("1", "0", "null"))
		}
		time.Sleep(time.Second)
		began := time.Now()
		if err := b.end(); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != b.cfg.Grace {
			t.Errorf("stop took %v, want the grace of %v", took, b.cfg.Grace)
		}
		if b.log.mark().End != "end2" {
			t.Errorf("saved %+v, want end2", b.log.mark())
		}
	})
}

// TestSourceThatEnds delivers what was read, retries included, before Run returns.
func TestSourceThatEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, DefaultConfig(), deliver.DefaultConfig(), change.Mark{End: "start"})
		b.use(hook("w", "{{ instance.id }}"))
		until := time.Now().Add(time.Minute)
		b.receiver.answer = func(*sink.Message) error {
			if time.Now().Before(until) {
				return errors.New("down")
			}
			return nil
		}
		b.start()
		for i := range 4 {
			b.log.batches <- transaction(i+1, insert(strconv.Itoa(i), "0", "null"))
		}
		synctest.Wait()
		halt := &source.HaltError{State: "resync_required"}
		b.log.fail <- halt
		if err := <-b.done; !errors.Is(err, halt) {
			t.Errorf("run: %v", err)
		}
		b.stop()
		b.deliver.Close()
		if got := b.receiver.bodies(); len(got) != 4 || b.log.mark().End != "end4" {
			t.Errorf("received %v, saved %+v", got, b.log.mark())
		}
	})
}

func TestStoreThatTakesNothing(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.log.set(func() { b.log.broken = true })
		b.log.batches <- transaction(1, insert("1", "0", "null"))
		time.Sleep(3 * time.Second)
		if !b.Stalled() {
			t.Error("not stalled")
		}
		b.log.batches <- transaction(2, insert("2", "0", "null"))
		time.Sleep(time.Minute)
		wantBodies(t, b.receiver, "insert 1.0")
		if len(b.log.calls()) != 0 {
			t.Errorf("%v, but nothing was saved", b.log.calls())
		}
		b.log.set(func() { b.log.broken = false })
		time.Sleep(3 * time.Second)
		wantBodies(t, b.receiver, "insert 1.0", "insert 2.0")
		if b.Stalled() || b.log.mark().End != "end2" {
			t.Errorf("stalled %v, saved %+v", b.Stalled(), b.log.mark())
		}
	})
}

func TestStoreBrokenAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, DefaultConfig(), deliver.DefaultConfig(), change.Mark{End: "start"})
		b.use(hook("w", "x"))
		b.start()
		b.log.batches <- transaction(1, insert("1", "0", "null"))
		synctest.Wait()
		b.log.set(func() { b.log.broken = true })
		if err := b.end(); err == nil || !strings.Contains(err.Error(), "disk full") {
			t.Errorf("run: %v", err)
		}
	})
}

// TestUnmatchedTransactionsDoNotFillTheWindow lets one delivery wait while the log goes
// on with tables of no interest.
func TestUnmatchedTransactionsDoNotFillTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := DefaultConfig()
		cfg.Window = 8
		b := newBench(t, cfg, deliver.DefaultConfig(), change.Mark{End: "start"})
		b.use(hook("w", "{{ instance.id }}"))
		b.receiver.answer = func(m *sink.Message) error {
			if string(m.Body) == "1" {
				return &sink.Error{Class: sink.Rejected, Code: "http_400", Err: errors.New("400")}
			}
			return nil
		}
		b.start()
		b.log.batches <- transaction(1, insert("1", "0", "null"))
		other := change.NewTable("public", "other", sale.Columns, []int{0}, true, change.IdentityDefault)
		for i := 2; i < 900; i++ {
			b.log.batches <- transaction(i, change.Change{Op: change.Insert, Table: other, After: values("9", "9", "9")})
		}
		b.log.batches <- transaction(900, insert("2", "0", "null"))
		time.Sleep(time.Minute)
		wantBodies(t, b.receiver, "2")
		b.receiver.set(func() { b.receiver.answer = nil })
		time.Sleep(5 * time.Minute)
		wantBodies(t, b.receiver, "2", "1")
		if b.log.mark().End != "end900" {
			t.Errorf("saved %+v, want end900", b.log.mark())
		}
		if err := b.end(); err != nil {
			t.Error(err)
		}
	})
}
