package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/deliver"
	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/source"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

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
		wantInAnyOrder(t, b.receiver, "2", "3")
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
		wantInAnyOrder(t, b.receiver, "0", "1", "2")
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
// TestSuperseded: what was begun is not waited for, and nothing is saved any more.
func TestSuperseded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, DefaultConfig(), deliver.DefaultConfig(), change.Mark{End: "start"})
		b.use(hook("w", "{{ instance.id }}"))
		b.receiver.delay = 10 * time.Second
		ctx, end := context.WithCancelCause(context.Background())
		done := make(chan error, 1)
		go func() { done <- b.Run(ctx) }()
		for i := range 9 {
			b.log.batches <- transaction(i+1, insert(strconv.Itoa(i), "0", "null"))
		}
		time.Sleep(9500 * time.Millisecond)
		end(ErrSuperseded)
		began := time.Now()
		if err := <-done; err != nil || time.Since(began) > 0 {
			t.Errorf("ended with %v after %s", err, time.Since(began))
		}
		time.Sleep(time.Minute)
		if calls := b.log.calls(); len(calls) > 0 {
			t.Errorf("saved after the end: %q", calls)
		}
		b.deliver.Close()
	})
}

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
