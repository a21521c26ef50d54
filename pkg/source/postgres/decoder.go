package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

const (
	batchChanges = 256
	batchBytes   = 128 << 10
	valueSlab    = 2048 // values allocated at once
)

// decoder turns pgoutput messages (protocol version 1, text) into changes. It
// outlives connections: it remembers what was decoded, so that a transaction the
// server sends again goes on where it broke off. One goroutine.
//
// What was decoded already is told by the transaction's commit position and the place
// of the change in it. The positions of rows cannot tell: rows of one statement share
// theirs, and those of concurrent transactions go backwards.
//
// A transaction is held until its end, or until it is too large for that: what its
// messages say (see logical) then counts for all of it, wherever they stand.
type decoder struct {
	relations *relations
	current   map[uint32]*relation // of this connection
	log       *slog.Logger
	suspect   func() // a published table has no usable replica identity
	rules     rules

	batch source.Batch
	bytes int
	begun []sentTx // begun since the last batch was taken
	slab  []change.Value

	tx      *change.Tx // being decoded; nil between transactions
	ordinal uint32     // row changes of tx so far
	size    int        // bytes of these
	skip    uint32     // leading row changes of tx that were sent before
	held    int        // where tx begins in batch, as long as it is not fixed
	fixed   bool       // changes of tx may have been sent: it is as it is
	mute    bool       // tx fires nothing
	resume  *change.Tx // was cut off
	line    uint32     // timeline of resume
	done    uint32     // row changes of resume that were sent
	sent    bool       // resume is fixed
	muted   bool       // resume fires nothing

	history  history // of the server
	end      place   // end of the last transaction (or lone position) sent
	progress lsn     // nothing of ours lies before it, and it has not been sent
	received lsn     // end of what the server has sent
	events   uint64
	skipped  uint64 // transactions that asked for it

	complained time.Time
}

func newDecoder(from change.Mark, rels *relations, r rules, suspect func(), log *slog.Logger) (*decoder, error) {
	end, tx, err := parseMark(from)
	if err != nil {
		return nil, err
	}
	d := &decoder{relations: rels, log: log, suspect: suspect, rules: r, history: history{current: end.line}, end: end, received: end.at}
	if from.Tx != "" {
		d.resume, d.line, d.done = &change.Tx{Position: from.Tx, Seq: uint64(tx.at)}, tx.line, from.Done
	}
	d.reset()
	return d, nil
}

// reset prepares for a new connection.
func (d *decoder) reset() {
	d.current = map[uint32]*relation{}
	if d.tx == nil {
		return
	}
	d.resume, d.line, d.done = d.tx, d.history.of(lsn(d.tx.Seq)).line, max(d.ordinal, d.skip)
	d.sent, d.muted = d.fixed, d.mute
	if !d.fixed || d.mute { // as if it had not begun
		d.drop()
		d.done, d.resume.Annotations = d.skip, ""
	}
	d.tx = nil
}

// cut is the place of the transaction that was cut off after changes of it were sent, zero
// if there is none.
func (d *decoder) cut() place {
	if d.resume == nil || d.done == 0 {
		return place{}
	}
	return place{lsn(d.resume.Seq), d.line}
}

// promoted takes note that what was read last from a standby was, behind the fork, what
// it wrote as a primary. The transactions keep the positions that they got.
func (d *decoder) promoted(h history) {
	d.end = h.end(d.end.at)
	if d.resume != nil {
		d.line = h.of(lsn(d.resume.Seq)).line
	}
}

// ready is how many changes can be handed over.
func (d *decoder) ready() int {
	if d.tx != nil && !d.fixed {
		return d.held
	}
	return len(d.batch)
}

// full says that the batch should be handed over before more is decoded.
func (d *decoder) full() bool {
	return (len(d.batch) >= batchChanges || d.bytes >= batchBytes) && d.ready() > 0
}

// take returns what is ready. What is held stays behind it in the same memory.
func (d *decoder) take() source.Batch {
	n := d.ready()
	b := d.batch[:n:n]
	if d.batch = d.batch[n:]; len(d.batch) == 0 {
		d.batch, d.bytes = nil, 0
	} else {
		d.bytes = d.size
	}
	d.held = 0
	return b
}

// drop takes the changes of tx out of the batch again.
func (d *decoder) drop() {
	d.events -= uint64(len(d.batch) - d.held)
	clear(d.batch[d.held:])
	d.batch = d.batch[:d.held]
}

// settle adds the position up to which the log holds nothing for us as a lone Commit.
func (d *decoder) settle() {
	if d.tx != nil || d.progress <= d.end.at {
		return
	}
	if d.resume != nil {
		if uint64(d.progress) <= d.resume.Seq {
			return
		}
		d.vanished(d.progress)
	}
	d.end = d.history.end(d.progress)
	d.add(change.Change{Op: change.Commit, Tx: &change.Tx{Seq: uint64(d.progress), End: d.end.position(), Committed: time.Now()}})
}

// vanished gives up waiting for the rest of a transaction: the server went past it.
func (d *decoder) vanished(at lsn) {
	d.log.Warn("transaction that was being read is not in the log any more", "position", d.resume.Position, "next", at.String())
	d.resume = nil
}

func (d *decoder) add(c change.Change) {
	if d.batch == nil {
		d.batch = make(source.Batch, 0, 16)
	}
	d.batch = append(d.batch, c)
}

// message decodes one message. Its body is used up: values point into it.
func (d *decoder) message(ctx context.Context, body []byte) error {
	if len(body) == 0 {
		return fmt.Errorf("decode message: empty")
	}
	typ := body[0]
	p := parser{b: body[1:]}
	var err error
	switch typ {
	case 'I', 'U', 'D':
		return d.row(ctx, typ, &p, len(body))
	case 'B':
		err = d.begin(&p)
	case 'C':
		err = d.commit(&p)
	case 'T':
		err = d.truncate(&p)
	case 'R':
		m := parseRelation(&p)
		if p.bad {
			break
		}
		if m.harmful() {
			d.suspect()
		}
		d.current[m.oid], err = d.relations.resolve(ctx, m)
	case 'M':
		d.logical(&p)
	case 'O':
		d.origin(&p)
	case 'Y': // name of a type, which the catalog gives with more
	default:
		// Never skipped: it could hold rows.
		return fmt.Errorf("decode message: type %q is not of protocol version 1", typ)
	}
	if err == nil && p.bad {
		err = fmt.Errorf("decode message: type %q is cut short", typ)
	}
	return err
}

const epoch = 946684800 // 2000-01-01, where PostgreSQL's clock starts

func (d *decoder) begin(p *parser) error {
	at, micros, xid := lsn(p.uint64()), int64(p.uint64()), p.uint32()
	if d.tx != nil {
		return fmt.Errorf("decode begin: transaction %s has not ended", d.tx.Position)
	}
	d.ordinal, d.skip, d.size = 0, 0, 0
	d.held, d.fixed, d.mute = len(d.batch), false, false
	here := d.history.of(at)
	if r := d.resume; r != nil {
		switch {
		case here == place{lsn(r.Seq), d.line}:
			d.tx, d.skip, d.fixed, d.mute, d.resume = r, d.done, d.sent, d.muted, nil
		case uint64(at) >= r.Seq:
			d.vanished(at)
		}
	}
	buf := here.append(make([]byte, 0, 48), '-')
	n := len(buf)
	buf = strconv.AppendUint(buf, uint64(xid), 10)
	if d.tx == nil {
		d.tx = &change.Tx{Position: change.Position(text(buf[:n])), Seq: uint64(at)}
	}
	d.begun = append(d.begun, sentTx{at, xid})
	if d.tx.Committed.IsZero() {
		d.tx.ID = text(buf[n:])
		d.tx.Committed = time.Unix(epoch+micros/1e6, micros%1e6*1e3).UTC()
	}
	return nil
}

func (d *decoder) commit(p *parser) error {
	p.byte()
	p.uint64()
	end := lsn(p.uint64())
	tx := d.tx
	if tx == nil {
		return fmt.Errorf("decode commit: no transaction")
	}
	d.tx = nil
	d.received = max(d.received, end)
	if d.ordinal == 0 || d.mute { // nothing of ours: only a position
		d.progress = end
		return nil
	}
	d.end, d.progress = d.history.end(end), end
	tx.End = d.end.position()
	d.add(change.Change{Op: change.Commit, Tx: tx})
	return nil
}

// alive takes the position of a keepalive. Inside a transaction it says nothing.
func (d *decoder) alive(end lsn) {
	d.received = max(d.received, end)
	if d.tx == nil && end > d.progress {
		d.progress = end
	}
}

// wants says that the next row change is to be sent and was not sent before.
func (d *decoder) wants() bool { return d.ordinal >= d.skip && !d.mute }

// next counts a row change of so many bytes.
func (d *decoder) next(size int) {
	d.ordinal++
	d.size += size
	if d.ordinal >= batchChanges || d.size >= batchBytes {
		d.fixed = true
	}
}

func (d *decoder) truncate(p *parser) error {
	n := int(p.uint32())
	p.byte() // CASCADE, RESTART IDENTITY: both are in the log as they are
	for i := 0; i < n && !p.bad; i++ {
		rel := d.current[p.uint32()]
		if d.tx == nil || rel == nil {
			return fmt.Errorf("decode truncate: unknown relation or no transaction")
		}
		wanted := d.wants()
		d.next(0)
		if wanted {
			d.events++
			d.add(change.Change{Op: change.Truncate, Ordinal: d.ordinal, Tx: d.tx, Table: rel.table})
		}
	}
	return nil
}

// row decodes an insert, update or delete: the hot path.
func (d *decoder) row(ctx context.Context, typ byte, p *parser, size int) error {
	rel := d.current[p.uint32()]
	if rel == nil || d.tx == nil {
		return fmt.Errorf("decode row: type %q without relation or transaction", typ)
	}
	if !d.wants() {
		d.next(size)
		return nil
	}
	// Before the row counts: if the catalog cannot be asked, the row comes again.
	if (rel.tree || rel.loose) && time.Since(rel.resolved) >= relationFor {
		var err error
		if rel, err = d.again(ctx, rel); err != nil {
			return err
		}
	}
	c := change.Change{Ordinal: d.ordinal + 1, Tx: d.tx}
	if err := d.fitting(ctx, rel, typ, p, &c); err != nil {
		return err
	}
	d.next(size)
	d.bytes += size
	d.events++
	d.add(c)
	return nil
}

// again resolves a relation that may have changed without a message.
func (d *decoder) again(ctx context.Context, rel *relation) (*relation, error) {
	oid := rel.message.oid
	rel, err := d.relations.resolve(ctx, rel.message)
	if err == nil {
		d.current[oid] = rel
	}
	return rel, err
}

// fitting is images; where a value does not fit its type it asks what that is now.
func (d *decoder) fitting(ctx context.Context, rel *relation, typ byte, p *parser, c *change.Change) error {
	if !rel.loose {
		return d.images(rel, typ, p, c)
	}
	second := parser{b: bytes.Clone(p.b)} // reading values writes to them
	unfit := &d.relations.types.unfit
	*unfit = false
	err := d.images(rel, typ, p, c)
	if err != nil || !*unfit || rel.settled {
		return err
	}
	if rel, err = d.again(ctx, rel); err != nil {
		return err
	}
	*unfit = false
	err = d.images(rel, typ, &second, c)
	rel.settled = *unfit
	return err
}

// images reads what a row change holds of the row.
func (d *decoder) images(rel *relation, typ byte, p *parser, c *change.Change) error {
	c.Table = rel.table
	part := p.byte()
	if part == 'K' || part == 'O' {
		c.Before = d.tuple(rel, p)
		c.Image = rel.image(part, c.Before)
		if typ == 'U' {
			part = p.byte()
		}
	}
	switch typ {
	case 'I':
		c.Op = change.Insert
	case 'U':
		c.Op = change.Update
	case 'D':
		c.Op = change.Delete
	}
	if typ != 'D' {
		if part != 'N' {
			return fmt.Errorf("decode row: type %q has part %q", typ, part)
		}
		c.After = d.tuple(rel, p)
		if c.Before != nil {
			for i := range c.After { // an unchanged TOAST value is in the old row, if anywhere
				if c.After[i].Kind == change.Missing && i < len(c.Before) {
					c.After[i] = c.Before[i]
				}
			}
		}
	} else if c.Before == nil {
		return fmt.Errorf("decode row: delete has part %q", part)
	}
	if p.bad {
		return fmt.Errorf("decode row: type %q of %s.%s is cut short or has other columns than its relation", typ, rel.table.Schema, rel.table.Name)
	}
	return nil
}

// image says how much of the old row before holds, and takes out what only seems to be
// in it: of a row that is not whole the server fills the other columns with NULL, which is
// not what they held.
//
// The part's letter follows the identity of the table under whose name the row comes,
// its content that of the partition where it was. So the row of a partition is whole only
// if all partitions promise it and it holds more than a key: they promise it since an
// unknown time.
func (rel *relation) image(part byte, before []change.Value) change.Image {
	if part == 'O' && (!rel.tree || rel.whole && rel.holdsMore(before)) {
		return change.ImageFull
	}
	for i := range before {
		if before[i].Kind == change.Null && (part == 'O' || !rel.table.Columns[i].Identity) {
			before[i].Kind = change.Missing
		}
	}
	return change.ImageKeyOnly
}

// holdsMore reports whether a row holds a value besides the key, or has no other columns.
func (rel *relation) holdsMore(row []change.Value) bool {
	if len(rel.types) <= len(rel.table.Key) {
		return true
	}
	for i, v := range row {
		if v.Kind != change.Null && v.Kind != change.Missing && !slices.Contains(rel.table.Key, i) {
			return true
		}
	}
	return false
}

// tuple decodes one row image.
func (d *decoder) tuple(rel *relation, p *parser) []change.Value {
	n := int(p.uint16())
	if p.bad || n != len(rel.types) {
		p.bad = true
		return nil
	}
	width := len(rel.table.Columns)
	if len(d.slab) < width {
		d.slab = make([]change.Value, max(valueSlab, width))
	}
	row := d.slab[:width:width]
	d.slab = d.slab[width:]
	if !rel.fill(row[:n], p) {
		p.bad = true
		return nil
	}
	for i := len(rel.at) - 1; i >= 0 && rel.at[i] != i; i-- { // apart, from the last one on
		row[rel.at[i]], row[i] = row[i], change.Value{}
	}
	if row == nil {
		row = []change.Value{}
	}
	return row
}

// fill reads the values that are sent.
func (rel *relation) fill(row []change.Value, p *parser) bool {
	b := p.b
	for i := range row {
		if len(b) == 0 {
			return false
		}
		kind := b[0]
		b = b[1:]
		switch kind {
		case 't':
			if len(b) < 4 {
				return false
			}
			size := int(binary.BigEndian.Uint32(b))
			if b = b[4:]; size > len(b) {
				return false
			}
			row[i] = rel.types[i].value(b[:size:size])
			b = b[size:]
		case 'n':
			row[i].Kind = change.Null
		case 'u': // Missing, the zero value
		default:
			return false
		}
	}
	p.b = b
	return true
}
