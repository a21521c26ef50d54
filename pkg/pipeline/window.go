package pipeline

import (
	"slices"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

// window is the stretch of the log in which a part of a table is read and takes its place.
//
//	log:   … t1 | t2 t3 t4 | t5 t6 | t7 …
//	            ├ recorded ┼ applied ┤
//	            open       │         └ due: all that the rows may show has been looked at
//	                       └ the rows came: t3 and later ones are applied, t2 is shown
//
// The rows are then as the table was between t6 and t7, and are enqueued there: behind
// every change that they show, and before every other one. It belongs to the goroutine
// that matches.
type window struct {
	table    source.TableName
	recorded []change.Change
	bytes    int
	part     *part  // nil: not read yet
	until    uint64 // 0: not known yet
	failed   error
}

// A part whose window holds more changes of its table is read once more.
const (
	maxRecorded      = 16384
	maxRecordedBytes = 8 << 20
)

// see takes in a change that is being looked at.
func (w *window) see(c *change.Change) {
	switch {
	case w.failed != nil || c.Table.Name != w.table.Name || c.Table.Schema != w.table.Schema:
	case w.part != nil:
		w.failed = w.part.apply(c)
	case len(w.recorded) >= maxRecorded || w.bytes >= maxRecordedBytes:
		w.failed, w.recorded = errApart, nil
	default:
		w.recorded = append(w.recorded, *c)
		w.bytes += size(w.recorded[len(w.recorded)-1:])
	}
}

// fill takes the rows that were read.
func (w *window) fill(s source.RowSet) {
	w.part = newPart(s)
	recorded := w.recorded
	w.recorded = nil
	for i := range recorded {
		if w.failed == nil && recorded[i].Tx.Seq >= s.Seq {
			w.failed = w.part.apply(&recorded[i])
		}
	}
}

// due reports whether the rows, or the error, can be had now that all up to a Tx.Seq was
// looked at.
func (w *window) due(through uint64) bool {
	return w.part != nil && (w.failed != nil || w.until > 0 && through+1 >= w.until)
}

// rows are those of the part that are there.
func (w *window) rows() [][]change.Value {
	return slices.DeleteFunc(w.part.rows, func(row []change.Value) bool { return row == nil })
}
