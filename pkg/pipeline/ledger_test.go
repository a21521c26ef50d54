package pipeline

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/waltrigger/waltrigger/pkg/change"
)

func tx(n int) *change.Tx {
	return &change.Tx{Position: change.Position(fmt.Sprintf("tx%d", n)), End: change.Position(fmt.Sprintf("end%d", n))}
}

func open(t *testing.T, l *Ledger, x *change.Tx, ordinal uint32, deliveries int) uint64 {
	t.Helper()
	n, err := l.Open(context.Background(), x, ordinal, deliveries)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func wantMark(t *testing.T, l *Ledger, want change.Mark) {
	t.Helper()
	if got, _, _ := l.Mark(); got != want {
		t.Errorf("mark %+v, want %+v", got, want)
	}
}

func TestLedgerMovesOverAnUnbrokenPrefixOnly(t *testing.T) {
	l := NewLedger(change.Mark{End: "start"}, 16)
	a, b := tx(1), tx(2)
	a1, a2 := open(t, l, a, 1, 2), open(t, l, a, 5, 1)
	if err := l.Commit(context.Background(), a); err != nil {
		t.Fatal(err)
	}
	b1 := open(t, l, b, 1, 1)
	wantMark(t, l, change.Mark{End: "start"})

	l.Done(b1)
	l.Done(a2)
	l.Done(a1)
	wantMark(t, l, change.Mark{End: "start"}) // a1 has one delivery left
	l.Done(a1)
	wantMark(t, l, change.Mark{End: "end1", Tx: "tx2", Done: 1})
	if err := l.Commit(context.Background(), b); err != nil {
		t.Fatal(err)
	}
	wantMark(t, l, change.Mark{End: "end2"})
	if n := l.InFlight(); n != 0 {
		t.Errorf("%d events in flight, want 0", n)
	}
}

func TestLedgerMarksPartOfATransaction(t *testing.T) {
	l := NewLedger(change.Mark{End: "start"}, 16)
	x := tx(1)
	first := open(t, l, x, 3, 1)
	open(t, l, x, 9, 0)
	wantMark(t, l, change.Mark{End: "start"})
	l.Done(first)
	wantMark(t, l, change.Mark{End: "start", Tx: "tx1", Done: 9})
}

func TestLedgerWaitsWhenTheWindowIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLedger(change.Mark{}, 2)
		x := tx(1)
		first := open(t, l, x, 1, 1)
		open(t, l, x, 2, 1)
		opened := make(chan uint64)
		go func() {
			n, _ := l.Open(context.Background(), x, 3, 1)
			opened <- n
		}()
		synctest.Wait()
		select {
		case <-opened:
			t.Fatal("opened beyond the window")
		default:
		}
		l.Done(first)
		synctest.Wait()
		select {
		case <-opened:
			t.Fatal("opened before what is done was saved: after a crash more than the window would come again")
		case <-l.Due():
		}
		_, _, upTo := l.Mark()
		l.Saved(upTo)
		if n := <-opened; n != 2 {
			t.Errorf("entry %d, want 2", n)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if _, err := l.Open(ctx, x, 4, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("full window: %v, want a deadline error", err)
		}
	})
}

// TestLedgerNeverPassesAnUndoneDelivery checks the mark against a plain model, for any
// order in which deliveries end.
func TestLedgerNeverPassesAnUndoneDelivery(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := NewLedger(change.Mark{End: "start"}, 512)
		type item struct {
			n    uint64
			left int
			mark change.Mark // the mark once this item is passed
		}
		var items []*item
		end := change.Position("start")
		for i := range rapid.IntRange(1, 20).Draw(t, "transactions") {
			x := tx(i)
			for o := range rapid.IntRange(0, 5).Draw(t, "rows") {
				k := rapid.IntRange(0, 3).Draw(t, "deliveries")
				n, _ := l.Open(context.Background(), x, uint32(o+1), k)
				items = append(items, &item{n, k, change.Mark{End: end, Tx: x.Position, Done: uint32(o + 1)}})
			}
			_ = l.Commit(context.Background(), x)
			end = x.End
			items = append(items, &item{mark: change.Mark{End: end}})
		}
		for {
			want := change.Mark{End: "start"}
			var open []*item
			for _, it := range items {
				if it.left > 0 {
					open = append(open, it)
				} else if len(open) == 0 {
					want = it.mark
				}
			}
			if got, _, _ := l.Mark(); got != want {
				t.Fatalf("mark %+v, want %+v", got, want)
			}
			if len(open) == 0 {
				return
			}
			it := open[rapid.IntRange(0, len(open)-1).Draw(t, "done")]
			it.left--
			l.Done(it.n)
		}
	})
}

func BenchmarkLedger(b *testing.B) {
	l := NewLedger(change.Mark{}, 65536)
	x := tx(1)
	for b.Loop() {
		n, _ := l.Open(context.Background(), x, 1, 1)
		l.Done(n)
		select {
		case <-l.Due():
			_, _, upTo := l.Mark()
			l.Saved(upTo)
		default:
		}
	}
}

// TestLedgerPassesWhatConcernsNobody: changes without deliveries take no room, saved or not.
func TestLedgerPassesWhatConcernsNobody(t *testing.T) {
	l := NewLedger(change.Mark{}, 2)
	for i := range 10 {
		open(t, l, tx(i), 1, 0)
		if err := l.Commit(t.Context(), tx(i)); err != nil {
			t.Fatal(err)
		}
	}
	wantMark(t, l, change.Mark{End: "end9"})
	held := open(t, l, tx(10), 1, 1)
	for i := range 10 {
		if err := l.Commit(t.Context(), tx(10+i)); err != nil {
			t.Fatal(err)
		}
	}
	l.Done(held)
	wantMark(t, l, change.Mark{End: "end19"})
}
