package pipeline

import (
	"context"
	"errors"
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
)

// scanned is what a Scan answers.
type scanned struct {
	source.Scanned
	err error
}

func (l *log) Scan(ctx context.Context, _ source.Scan) (source.Scanned, error) {
	select {
	case s := <-l.scans:
		return s.Scanned, s.err
	case <-ctx.Done():
		return source.Scanned{}, ctx.Err()
	}
}

func (l *log) Reached(ctx context.Context, _ uint64) (uint64, error) {
	select {
	case seq := <-l.ends:
		return seq, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (l *log) Size(context.Context, source.TableName) (int64, error) { return -1, nil }

// shows are rows of sale that show all up to a transaction, and nothing behind another.
func shows(all, nothing int, rows ...[]change.Value) scanned {
	s := scanned{}
	s.Table, s.Rows, s.Seq, s.Until = sale, rows, uint64(all)*10+1, uint64(nothing)*10+1
	return s
}

// filled is what a Backfill returned.
type filled struct {
	rows int
	err  error
}

// fill begins a backfill of sale for some triggers.
func (b *bench) fill(ctx context.Context, hold error, triggers ...int64) <-chan filled {
	out := make(chan filled, 1)
	part := Part{Job: "job", Triggers: triggers, Hold: func(*View) error { return hold }, Scan: source.Scan{Table: source.TableName{Schema: "public", Name: "sale"}, Limit: 100}}
	go func() {
		rows, _, err := b.Backfill(ctx, part)
		out <- filled{rows, err}
	}()
	return out
}

// TestBackfill puts rows between transactions, as they are there.
func TestBackfill(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.use(hook("w", "{{ operation }} {{ instance.id }}.{{ instance.n }}", `"ordering":"source"`), hook("other", "{{ operation }} is not for it"))
		b.log.batches <- transaction(1, insert("1", "1", "null"))
		synctest.Wait()
		done := b.fill(t.Context(), nil, 1)
		synctest.Wait()
		b.log.batches <- transaction(2, update(values("2", "0", "null"), values("2", "1", "null")), insert("9", "1", "null"))
		synctest.Wait()
		// It shows the first transaction, and perhaps more, up to the third.
		b.log.scans <- shows(1, 3, values("1", "1", "null"), values("2", "0", "null"), values("3", "0", "null"), values("4", "0", "null"))
		synctest.Wait()
		b.log.batches <- transaction(3, remove("3", "0", "null"), update(values("2", "1", "null"), values("2", "2", "null")))
		synctest.Wait()
		select {
		case got := <-done:
			t.Fatalf("done before it is known what the rows show: %+v", got)
		default:
		}
		b.log.ends <- 30
		if got := <-done; got.err != nil || got.rows != 4 {
			t.Errorf("got %+v", got)
		}
		b.log.batches <- transaction(4, update(values("4", "0", "null"), values("4", "1", "null")))
		time.Sleep(2 * time.Second)
		var got []string
		for _, body := range b.receiver.bodies() {
			if !strings.Contains(body, "not for it") {
				got = append(got, body)
			}
		}
		want := []string{"insert 1.1", "update 2.1", "insert 9.1", "delete 3.0", "update 2.2", "read 1.1", "read 2.2", "read 4.0", "update 4.1"}
		if !slices.Equal(got, want) {
			t.Errorf("received %q\n    want %q", got, want)
		}
		if slices.Contains(b.receiver.bodies(), "read is not for it") {
			t.Error("a trigger fired for which it is not")
		}
		ids := map[string]bool{}
		for _, id := range b.receiver.ids() {
			ids[id] = true
		}
		if len(ids) != len(b.receiver.ids()) {
			t.Errorf("ids %q", b.receiver.ids())
		}
	})
}

// TestBackfillWaitsForAnEnd: rows that may show a transaction as a whole do not come into
// its middle, and are not read there.
func TestBackfillWaitsForAnEnd(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.use(hook("w", "{{ operation }} {{ instance.id }}.{{ instance.n }}", `"ordering":"source"`))
		all := transaction(1, insert("1", "1", "null"), insert("2", "1", "null"), remove("1", "1", "null"))
		b.log.batches <- all[:1]
		synctest.Wait()
		done := b.fill(t.Context(), nil, 1)
		synctest.Wait()
		select {
		case b.log.scans <- shows(0, 0):
			t.Fatal("read in the middle of a transaction")
		default:
		}
		b.log.batches <- all[1:]
		b.log.scans <- shows(1, 2, values("2", "1", "null"))
		more := transaction(2, update(values("2", "1", "null"), values("2", "2", "null")), update(values("2", "2", "null"), values("2", "3", "null")))
		synctest.Wait()
		b.log.batches <- more[:1]
		synctest.Wait()
		b.log.ends <- 10
		time.Sleep(time.Second)
		b.log.batches <- more[1:]
		if got := <-done; got.err != nil {
			t.Error(got.err)
		}
		time.Sleep(2 * time.Second)
		wantBodies(t, b.receiver, "insert 1.1", "insert 2.1", "delete 1.1", "update 2.2", "update 2.3", "read 2.3")
	})
}

// TestBackfillWaitsForDeliveries: a part is done when its rows are delivered.
func TestBackfillWaitsForDeliveries(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.receiver.set(func() {
			b.receiver.answer = func(*sink.Message) error {
				return &sink.Error{Class: sink.Unavailable, Code: "down", Err: errors.New("down")}
			}
		})
		done := b.fill(t.Context(), nil, 1)
		b.log.scans <- shows(0, 0, values("1", "1", "null"), values("2", "1", "null"))
		b.log.ends <- 0
		time.Sleep(10 * time.Second)
		select {
		case got := <-done:
			t.Errorf("done without a delivery: %+v", got)
		default:
		}
		b.receiver.set(func() { b.receiver.answer = nil })
		if got := <-done; got.err != nil || got.rows != 2 {
			t.Errorf("got %+v", got)
		}
		wantInAnyOrder(t, b.receiver, "read 1.1", "read 2.1")
	})
}

// TestBackfillFails: whatever stands in the way, the log goes on, and so does the next part.
func TestBackfillFails(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		held := errors.New("held")
		if got := <-b.fill(t.Context(), held, 1); !errors.Is(got.err, held) {
			t.Errorf("held: %+v", got)
		}
		done := b.fill(t.Context(), nil, 1)
		b.log.scans <- scanned{err: held}
		if got := <-done; !errors.Is(got.err, held) {
			t.Errorf("cannot be read: %+v", got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done = b.fill(ctx, nil, 1)
		synctest.Wait()
		cancel()
		if got := <-done; !errors.Is(got.err, context.Canceled) {
			t.Errorf("given up: %+v", got)
		}
		done = b.fill(t.Context(), nil, 1)
		synctest.Wait()
		var many []change.Change
		for range maxRecorded + 1 {
			many = append(many, update(values("1", "1", "null"), values("1", "1", "null")))
		}
		b.log.batches <- transaction(1, many...)
		time.Sleep(time.Minute)
		b.log.scans <- shows(0, 1, values("1", "1", "null"))
		b.log.ends <- 10
		if got := <-done; !errors.Is(got.err, ErrChanged) {
			t.Errorf("too many changes: %+v", got)
		}
		// The trigger is held back just before the rows take their place.
		asked := 0
		part := Part{Job: "job", Triggers: []int64{1}, Scan: source.Scan{Table: source.TableName{Schema: "public", Name: "sale"}}, Hold: func(*View) error {
			if asked++; asked > 1 {
				return held
			}
			return nil
		}}
		result := make(chan error)
		go func() {
			_, _, err := b.Backfill(t.Context(), part)
			result <- err
		}()
		b.log.scans <- shows(1, 1, values("1", "1", "null"))
		b.log.ends <- 10
		if err := <-result; !errors.Is(err, held) {
			t.Errorf("held at last: %v", err)
		}
		b.log.batches <- transaction(2, insert("5", "1", "null"))
		time.Sleep(2 * time.Second)
		if got := b.receiver.bodies(); got[len(got)-1] != "insert 5.1" || strings.Contains(strings.Join(got, " "), "read") {
			t.Errorf("received %d, the last %q", len(got), got[len(got)-1])
		}
	})
}

// TestBackfillEnds: of a part under way at the end, it is known whether it was delivered.
func TestBackfillEnds(t *testing.T) {
	for _, delivered := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, DefaultConfig(), deliver.DefaultConfig(), change.Mark{End: "start"})
			b.use(hook("w", "{{ operation }} {{ instance.id }}"))
			if b.receiver.delay = time.Second; !delivered {
				b.receiver.answer = func(*sink.Message) error {
					return &sink.Error{Class: sink.Unavailable, Code: "down", Err: errors.New("down")}
				}
			}
			b.start()
			ctx, cancel := context.WithCancel(t.Context())
			done := b.fill(ctx, nil, 1)
			b.log.scans <- shows(0, 0, values("1", "1", "null"))
			b.log.ends <- 0
			synctest.Wait()
			cancel()
			if err := b.end(); err != nil {
				t.Error(err)
			}
			if got := <-done; delivered != (got.err == nil) || !delivered && !errors.Is(got.err, ErrEnded) {
				t.Errorf("delivered %v: %+v", delivered, got)
			}
			if got := <-b.fill(t.Context(), nil, 1); !errors.Is(got.err, ErrEnded) {
				t.Errorf("after the end: %+v", got)
			}
		})
	}
}

// TestBackfillEndsWhole: a stop while the rows of a part are enqueued finishes the part.
func TestBackfillEndsWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := deliver.DefaultConfig()
		cfg.Queue, cfg.MaxInFlight = 4, 1
		b := newBench(t, DefaultConfig(), cfg, change.Mark{End: "start"})
		b.use(hook("w", "{{ operation }} {{ instance.id }}"))
		b.receiver.delay = 10 * time.Millisecond
		b.start()
		done := b.fill(t.Context(), nil, 1)
		var rows [][]change.Value
		for i := range 300 {
			rows = append(rows, values(strconv.Itoa(i), "1", "null"))
		}
		b.log.scans <- shows(0, 0, rows...)
		b.log.ends <- 0
		time.Sleep(100 * time.Millisecond)
		if err := b.end(); err != nil {
			t.Error(err)
		}
		if got := <-done; got.err != nil || got.rows != 300 || len(b.receiver.ids()) != 300 {
			t.Errorf("got %+v, received %d", got, len(b.receiver.ids()))
		}
	})
}
