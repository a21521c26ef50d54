package pipeline

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"github.com/cespare/xxhash/v2"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/deliver"
	"github.com/waltrigger/waltrigger/pkg/payload"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// order gives a delivery its key and lanes.
func (r *renderer) order(dl *deliver.Delivery, pl *plan, h *hit) error {
	t, c := h.Trigger, h.c
	switch {
	case t.Trigger.Ordering == trigger.OrderNone:
		return nil
	case t.Trigger.Ordering == trigger.OrderSource:
		dl.NLane, dl.Lanes[0] = 1, 1
		dl.Message.Key = []byte(r.event.Source) // one key, or a broker spreads them over its partitions
		return nil
	case t.OrderingKey != nil:
		return r.orderByTemplate(dl, pl, h)
	}
	dl.Table = pl.table
	if c.Op == change.Truncate || !keyKnown(c.Table, c.Row()) { // all rows, or it may be any
		dl.Message.Key, dl.Barrier = pl.name, true
		return nil
	}
	dl.NLane = 1
	if len(c.Table.Key) == 0 {
		dl.Message.Key, dl.Lanes[0] = pl.name, pl.table
		return nil
	}
	if dl.Message.Key = dl.Row.Key; dl.Message.Key == nil {
		dl.Message.Key = payload.AppendKey(make([]byte, 0, 24), c.Table, c.Row())
	}
	dl.Lanes[0] = lane(pl.table, dl.Message.Key)
	if pl.hiddenKey { // the broker needs one that is the same for the same row
		sum := sha256.Sum256(append(append([]byte(nil), pl.name...), dl.Message.Key...))
		dl.Message.Key = hex.AppendEncode(nil, sum[:16])
	}
	switch {
	case c.Op != change.Update || c.Before == nil:
	case !keyKnown(c.Table, c.Before): // it may have been any
		dl.NLane, dl.Barrier = 0, true
	case keyDiffers(c):
		var buf [64]byte
		dl.NLane, dl.Lanes[1] = 2, lane(pl.table, payload.AppendKey(buf[:0], c.Table, c.Before))
	}
	return nil
}

// rowOf names the row that c is about, as far as its key is known and may leave.
func (pl *plan) rowOf(c *change.Change) deliver.Row {
	row := deliver.Row{Table: pl.row}
	if c.Op != change.Truncate && len(c.Table.Key) > 0 && !pl.hiddenKey && keyKnown(c.Table, c.Row()) {
		row.Key = payload.AppendKey(make([]byte, 0, 24), c.Table, c.Row())
	}
	return row
}

// anyTable stands for the tables of a trigger with an ordering key: the same key means
// the same lane in all of them.
const anyTable = 1

func (r *renderer) orderByTemplate(dl *deliver.Delivery, pl *plan, h *hit) error {
	t, c := h.Trigger, h.c
	dl.Table = anyTable
	if c.Op == change.Truncate || h.err != nil && !tellsKey(t, c) { // it may be any key
		dl.Message.Key, dl.Barrier = pl.name, true
		return nil
	}
	key, err := t.OrderingKey.Append(nil, &r.event)
	if err != nil {
		dl.Message.Key, dl.Barrier = pl.name, true
		return err
	}
	dl.Message.Key = key
	dl.NLane, dl.Lanes[0] = 1, lane(anyTable, key)
	if c.Op != change.Update || c.Image != change.ImageFull {
		return err
	}
	old := *c
	old.After = c.Before
	r.event.Change = &old
	before, err := t.OrderingKey.Append(nil, &r.event)
	r.event.Change = c
	if err == nil && string(before) != string(key) {
		dl.NLane, dl.Lanes[1] = 2, lane(anyTable, before)
	}
	return err
}

// tellsKey reports whether the ordering key can be told from what c holds, although its
// event cannot be rendered yet.
func tellsKey(t *trigger.Compiled, c *change.Change) bool {
	for _, p := range t.KeyPaths {
		switch p.Names[0] {
		case "instance", "before", "after":
		default:
			continue
		}
		if len(p.Names) != 2 {
			return false
		}
		if p.Names[1] == "pk" {
			if !keyKnown(c.Table, c.Row()) {
				return false
			}
			continue
		}
		if i := c.Table.Lookup(p.Names[1]); i < 0 || c.Row()[i].Kind == change.Missing {
			return false
		}
	}
	return true
}

// keyKnown reports whether the log holds the whole key of row.
func keyKnown(t *change.Table, row []change.Value) bool {
	for _, k := range t.Key {
		if row[k].Kind == change.Missing {
			return false
		}
	}
	return true
}

func keyDiffers(c *change.Change) bool {
	for _, k := range c.Table.Key {
		if c.Before[k] != c.After[k] {
			return true
		}
	}
	return false
}

// lane makes a lane of a key within a table. It is the same in every run: the store keeps
// lanes.
func lane(table uint64, key []byte) uint64 {
	var b [96]byte
	buf := binary.LittleEndian.AppendUint64(b[:0], table)
	return xxhash.Sum64(append(buf, key...))
}
