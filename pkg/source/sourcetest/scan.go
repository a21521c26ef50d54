package sourcetest

import (
	"context"
	"slices"
	"testing"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

// ScanAll reads a table in parts of so many rows.
func ScanAll(t *testing.T, s source.Scanner, table source.TableName, limit int) (rows [][]change.Value) {
	t.Helper()
	for _, part := range scanParts(t, s, source.Scan{Table: table, Limit: limit}) {
		rows = append(rows, part.Rows...)
	}
	return rows
}

func scanParts(t *testing.T, s source.Scanner, q source.Scan) (parts []source.Scanned) {
	t.Helper()
	for range 1000 {
		got, err := s.Scan(context.Background(), q)
		if err != nil {
			t.Fatal(err)
		}
		if got.Seq == 0 || got.Until == 0 || got.Of != nil || len(got.Rows) > q.Limit {
			t.Fatalf("got %+v", got)
		}
		parts = append(parts, got)
		if q.After = got.Next; got.Next == nil {
			return parts
		}
	}
	t.Fatalf("table %s has no end", q.Table)
	return nil
}

// ScanBytes reads a table of 30 rows of 100,000 bytes, which come in small parts.
func ScanBytes(t *testing.T, s source.Scanner, table source.TableName) {
	t.Helper()
	var sizes []int
	for _, part := range scanParts(t, s, source.Scan{Table: table, Limit: 100, Bytes: 1 << 20}) {
		sizes = append(sizes, len(part.Rows))
	}
	if !slices.Equal(sizes, []int{11, 11, 8}) {
		t.Errorf("parts of %v rows", sizes)
	}
}

// Drain takes what comes until the test ends.
func Drain(t *testing.T, out <-chan source.Batch) {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-out:
			case <-stop:
				return
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-done })
}
