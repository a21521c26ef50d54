package mysql

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/waltrigger/waltrigger/pkg/source"
)

// An XA transaction stands in the log when it is prepared, before anybody knows what
// becomes of it. Its rows are held until the log tells: small ones in memory; of all of
// them it is kept, in the source's notes, where they stand, to be read once more.

const (
	maxXA    = 256 << 10 // of one transaction, held in memory
	maxAllXA = 16 << 20
	noteXA   = "xa " // and the transaction's name
)

// prepared is an XA transaction whose outcome is not known, or is not saved yet.
type prepared struct {
	At groupPlace `json:"at"`
	// Seq is that of the group in which it was prepared.
	Seq uint64 `json:"seq"`
	// Decided is the Seq of the group with its outcome; 0: none was read.
	Decided uint64 `json:"decided,omitempty"`

	events []kept // nil: they are to be read again
	bytes  int
	whole  bool // events are all of them
}

// kept is an event that is held.
type kept struct {
	header replication.EventHeader
	body   []byte
}

func (p *prepared) keep(h *replication.EventHeader, b []byte) {
	if p.bytes += len(b); p.bytes > maxXA {
		p.events, p.whole = nil, false
		return
	}
	p.events = append(p.events, kept{*h, b})
}

// loadXA takes what was kept of XA transactions; floor is the Seq up to which all is
// done.
func (d *decoder) loadXA(notes map[string]string, floor uint64) error {
	for name, text := range notes {
		xid, ok := strings.CutPrefix(name, noteXA)
		if !ok {
			continue
		}
		var p prepared
		if err := json.Unmarshal([]byte(text), &p); err != nil {
			return fmt.Errorf("read note %q: %w", name, err)
		}
		if p.Decided != 0 && p.Decided <= floor {
			d.pending[name] = ""
			continue
		}
		d.prepared[xid] = &p
	}
	return nil
}

// note makes sure that p is saved before anything behind it is handed over.
func (d *decoder) note(xid string, p *prepared) error {
	text, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("write note: %w", err)
	}
	d.pending[noteXA+xid] = string(text)
	return nil
}

// settleXA forgets transactions whose outcome is done, below floor.
func (d *decoder) settleXA(floor uint64) {
	for xid, p := range d.prepared {
		if p.Decided != 0 && p.Decided <= floor {
			delete(d.prepared, xid)
			d.pending[noteXA+xid] = ""
		}
	}
}

// oldestXA is the Seq of the oldest group that may have to be read again.
func (d *decoder) oldestXA(floor uint64) uint64 {
	for _, p := range d.prepared {
		floor = min(floor, p.Seq)
	}
	return floor
}

// xaStatement takes XA START, XA END, XA COMMIT and XA ROLLBACK.
func (d *decoder) xaStatement(ctx context.Context, q query) error {
	g := &d.group
	xid, commit, outcome := xaOutcome(q.text)
	if !outcome {
		if strings.HasPrefix(string(q.text), "XA START") {
			g.begun = true
			d.holdXA()
		}
		return nil
	}
	p := d.prepared[xid]
	if p == nil {
		if commit {
			d.log.Error("an XA transaction was committed that was prepared before this source was first read: its rows fire nothing", "xid", xid)
			d.missed(nil)
		}
		return d.finish()
	}
	p.Decided = g.seq
	if err := d.note(xid, p); err != nil {
		return err
	}
	if commit {
		if err := d.replay(ctx, p); err != nil {
			return err
		}
	}
	p.events = nil
	return d.finish()
}

// holdXA makes the group one whose rows are held.
func (d *decoder) holdXA() {
	d.group.xa = &prepared{At: d.group.place, Seq: d.group.seq, whole: true}
	d.group.hold = hold{}
}

// prepare takes the end of a group that was prepared, or committed in one phase.
func (d *decoder) prepare(ctx context.Context, b []byte) error {
	g := &d.group
	xid, onePhase, err := decodeXAPrepare(b)
	if err != nil {
		return source.PermanentError{Err: err}
	}
	if !g.open || g.xa == nil {
		return source.PermanentError{Err: fmt.Errorf("read log: XA PREPARE without XA START before %s:%d", d.file, d.pos)}
	}
	p := g.xa
	g.xa = nil
	if onePhase {
		if err := d.replay(ctx, p); err != nil {
			return err
		}
		return d.finish()
	}
	all := p.bytes
	for _, o := range d.prepared {
		all += len(o.events) * 64
		for _, e := range o.events {
			all += len(e.body)
		}
	}
	if all > maxAllXA {
		p.events, p.whole = nil, false
	}
	d.prepared[xid] = p
	if err := d.note(xid, p); err != nil {
		return err
	}
	return d.finish()
}

// replay decodes the rows of a prepared transaction as those of the group that decides
// on it.
func (d *decoder) replay(ctx context.Context, p *prepared) error {
	g := &d.group
	g.shapeSeq = p.Seq
	if p.whole {
		for i := range p.events {
			if err := d.rowsOf(ctx, &p.events[i].header, p.events[i].body); err != nil {
				return err
			}
		}
		return nil
	}
	err := d.reread(ctx, p.At, d.end.set, func(h *replication.EventHeader, b []byte) error {
		if h.EventType == replication.XA_PREPARE_LOG_EVENT {
			return errEndOfGroup
		}
		if _, _, ok := rowsKind(h.EventType); ok || h.EventType == replication.TABLE_MAP_EVENT {
			return d.rowsOf(ctx, h, b)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read an XA transaction again: %w", err)
	}
	return nil
}
