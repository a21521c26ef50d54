package mysql

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

// begin starts a group.
func (d *decoder) begin(h *replication.EventHeader, b []byte, start uint64) error {
	if d.group.open {
		return source.PermanentError{Err: fmt.Errorf("read log: a group begins at %s:%d inside another one", d.file, start)}
	}
	if h.LogPos != 0 { // exactly, whatever was in between
		start = d.pos - uint64(h.EventSize)
	}
	s, err := decodeStart(h, b)
	if err != nil {
		return source.PermanentError{Err: err}
	}
	seq := d.clock.seq(d.file, start)
	if seq <= d.end.seq {
		return d.lost("the log goes back at %s:%d, it was reset", d.file, start)
	}
	d.resumed, d.byName = true, false
	d.group = group{open: true, start: s, seq: seq, shapeSeq: seq, place: groupPlace{Server: d.server.identity, File: d.file, Pos: start}}
	g := &d.group
	if s.named {
		g.place.GTID = s.name.String()
		if d.server.mariadb && d.end.set != nil {
			g.place.Before = d.end.set.String()
		}
	}
	g.strict = true // MySQL with GTIDs refuses to mix what can be rolled back with what cannot
	if d.server.mariadb {
		g.strict = s.flags&gtidTransactional != 0
		g.begun = s.flags&gtidStandalone == 0
		g.holding = !g.strict && g.begun
		if s.flags&gtidPreparedXA != 0 {
			d.holdXA()
		}
	} else if !s.named {
		g.strict = false
	}
	d.ordinal, d.emitted, d.skip = 0, 0, 0
	if d.resume != "" && d.resume == g.position() {
		d.skip, d.resume = d.done, ""
		g.tx, d.again = d.again, nil
	}
	d.maps = map[uint64]*cached{}
	p := d.shared
	p.mu.Lock()
	p.seq = seq
	if p.set != nil && s.named {
		p.set.add(s.name)
	}
	p.mu.Unlock()
	return nil
}

// position names the group in event ids: by its GTID, else by the number of its file and
// where in that it begins.
func (g *group) position() change.Position {
	if g.start.named {
		return g.start.name.position()
	}
	return change.Position(fmt.Sprintf("%06d-%d", fileNumber(g.place.File), g.place.Pos))
}

// transaction gives the group's transaction; made when the first of its rows is sent.
func (g *group) transaction() *change.Tx {
	if g.tx == nil {
		g.tx = &change.Tx{Position: g.position(), Seq: g.seq, Committed: g.start.committed, ID: g.place.GTID}
		if g.tx.ID == "" {
			g.tx.ID = fmt.Sprintf("%s:%d", g.place.File, g.place.Pos)
		}
	}
	return g.tx
}

// query takes a statement.
func (d *decoder) query(ctx context.Context, h *replication.EventHeader, b []byte) error {
	q, err := decodeQuery(h, b)
	if err != nil {
		return source.PermanentError{Err: err}
	}
	g := &d.group
	if !g.open {
		return source.PermanentError{Err: fmt.Errorf("read log: a statement outside of a group before %s:%d", d.file, d.pos)}
	}
	switch {
	case string(q.text) == "BEGIN":
		g.begun = true
		return nil
	case string(q.text) == "COMMIT":
		return d.commit(ctx)
	case string(q.text) == "ROLLBACK":
		return d.rollback()
	case bytes.HasPrefix(q.text, []byte("XA ")):
		return d.xaStatement(ctx, q)
	}
	switch name, kind := savepointName(q.text); kind {
	case markSavepoint:
		g.mark(name, d.ordinal)
		g.holding = g.holding || !g.strict && !g.scanned
		return nil
	case markRollback:
		return d.rollbackTo(name)
	}
	if err := d.statement(ctx, q); err != nil {
		return err
	}
	if !g.begun { // it is the whole group
		return d.commit(ctx)
	}
	return nil
}

// statement takes a statement that is more than a bracket around rows.
func (d *decoder) statement(ctx context.Context, q query) error {
	s, parseErr, err := d.parse(ctx, q)
	if err != nil {
		return err
	}
	switch s.verb {
	case verbOther:
		return nil
	case verbWrite:
		d.missed(s.tables)
		return nil
	case verbTruncate:
		for _, t := range s.tables {
			if err := d.truncate(ctx, t); err != nil {
				return err
			}
		}
		return nil
	}
	if parseErr != nil {
		d.log.Warn("a statement that changes tables is not understood", "tables", s.String(), "place", d.group.place.File, "position", d.group.place.Pos)
	}
	return d.history.apply(ctx, s, parseErr, d.group.seq)
}

// parse reads a statement. parseErr says that it is not understood.
func (d *decoder) parse(ctx context.Context, q query) (s statement, parseErr, err error) {
	sql, err := d.sql(ctx, q)
	if err != nil {
		return s, nil, err
	}
	dialect := d.server.dialect()
	dialect.ansiQuotes, dialect.noBackslash = q.mode&modeANSIQuotes != 0, q.mode&modeNoBackslash != 0
	p := &parser{tokens: lex(sql, dialect), d: dialect, schema: q.schema}
	if dialect.lower {
		p.schema = strings.ToLower(q.schema)
	}
	p.defaults = func(schema string) string { return d.history.charset(schema, d.server.charset) }
	s, parseErr = p.parse()
	return s, parseErr, nil
}

// sql is the text of a statement in UTF-8.
func (d *decoder) sql(ctx context.Context, q query) (string, error) {
	name := d.values.charsets.byID[uint64(q.charset)]
	cs := d.values.charsets.get(name)
	if q.charset == 0 || name == "" || cs == nil || ascii(q.text) {
		return text(q.text), nil
	}
	return d.values.charsets.text(ctx, cs, q.text)
}

func ascii(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

// truncate takes a TRUNCATE of one table.
func (d *decoder) truncate(ctx context.Context, t source.TableName) error {
	d.ordinal++
	if d.ordinal <= d.skip || !d.history.wanted(t) {
		return nil
	}
	v, _, ok := d.history.at(t, d.group.seq)
	if !ok {
		return nil
	}
	return d.emit(ctx, change.Change{Op: change.Truncate, Table: d.shaper.tableOf(t, v.Def)}, 64)
}

// missed notes a statement whose rows are not in the log.
func (d *decoder) missed(tables []source.TableName) {
	d.unseen++
	p := d.shared
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unseen = d.unseen
	if len(tables) == 0 {
		tables = []source.TableName{{}}
	}
	for _, t := range tables {
		if p.tables[t] || len(p.tables) > 1000 {
			continue
		}
		p.tables[t] = true
		d.log.Error("a statement changed rows and the log does not say which: they fire nothing. A session has set binlog_format",
			"table", t.String(), "place", d.group.place.File, "position", d.group.place.Pos)
	}
}

// commit ends the group.
func (d *decoder) commit(ctx context.Context) error {
	g := &d.group
	if !g.open {
		return source.PermanentError{Err: fmt.Errorf("read log: a commit outside of a group before %s:%d", d.file, d.pos)}
	}
	if g.holding {
		if err := d.release(ctx); err != nil {
			return err
		}
	}
	return d.finish()
}

// finish closes the group: the log may be read on from behind it.
func (d *decoder) finish() error {
	g := &d.group
	g.open = false
	d.end.file, d.end.pos, d.end.seq = d.file, d.pos, g.seq
	if g.start.named && d.end.set != nil {
		d.end.set.add(g.start.name)
	}
	tx := g.tx
	d.maps, g.hold, g.tx = nil, hold{}, nil
	d.shared.mu.Lock()
	d.shared.end = place{file: d.end.file, pos: d.end.pos, seq: d.end.seq}
	d.shared.mu.Unlock()
	if tx == nil { // nothing of ours: only a position
		return nil
	}
	tx.End = d.end.position()
	d.sent = d.end.seq
	d.add(change.Change{Op: change.Commit, Tx: tx}, 0)
	return nil
}

// emit sends a row change, or holds it while it may still be undone.
func (d *decoder) emit(ctx context.Context, c change.Change, size int) error {
	g := &d.group
	c.Ordinal = d.ordinal
	if g.wasUndone(d.ordinal) {
		return nil
	}
	if g.holding {
		return d.keep(ctx, c, size)
	}
	return d.send(ctx, c, size)
}

func (d *decoder) send(ctx context.Context, c change.Change, size int) error {
	c.Tx = d.group.transaction()
	d.emitted = c.Ordinal
	d.events.Add(1)
	d.add(c, size)
	if d.full() {
		return d.flush(ctx)
	}
	return nil
}

// rowsOf takes a table map or rows.
func (d *decoder) rowsOf(ctx context.Context, h *replication.EventHeader, b []byte) error {
	if h.EventType == replication.TABLE_MAP_EVENT {
		return d.tableMap(b)
	}
	id, ok := rowsTable(b)
	if !ok {
		return source.PermanentError{Err: fmt.Errorf("decode rows: event is cut short")}
	}
	c := d.maps[id]
	if c == nil {
		if id == 0xffffff { // only marks the end of a statement
			return nil
		}
		return source.PermanentError{Err: fmt.Errorf("decode rows: nothing describes table %d at %s:%d", id, d.file, d.pos)}
	}
	e, err := decodeRows(h.EventType, c.tableMap, b)
	if err != nil {
		return source.PermanentError{Err: err}
	}
	return d.rows(ctx, c, e)
}

// rows takes the rows of an event one by one.
func (d *decoder) rows(ctx context.Context, c *cached, e *rowsEvent) error {
	if err := d.reshape(ctx, c); err != nil {
		return err
	}
	for rest, lone := e.rows, e.lone(); len(rest) > 0 || lone; lone = false {
		d.ordinal++
		if c.sh == nil || d.ordinal <= d.skip {
			var ok bool
			if rest, ok = e.skip(rest); !ok {
				if c.sh != nil {
					return source.PermanentError{Err: fmt.Errorf("decode rows of %s: %w", c.name, errShort)}
				}
				break // of a type that is not known: all of them count as one
			}
			continue
		}
		before := len(rest)
		ch, left, err := d.row(ctx, c.sh, e, rest)
		if err != nil {
			if err = fmt.Errorf("decode rows of %s: %w", c.name, err); errors.As(err, new(unansweredError)) {
				return err
			}
			return source.PermanentError{Err: err}
		}
		rest = left
		if err := d.emit(ctx, ch, before-len(rest)); err != nil {
			return err
		}
	}
	return nil
}

// row decodes one change.
func (d *decoder) row(ctx context.Context, sh *shape, e *rowsEvent, b []byte) (c change.Change, rest []byte, err error) {
	c = change.Change{Op: e.op, Table: sh.table}
	row, b, err := d.image(ctx, sh, e, e.before, e.held[0], nil, nil, b)
	if err != nil {
		return c, nil, err
	}
	if e.op == change.Insert {
		c.After = row
		return c, b, nil
	}
	c.Before, c.Image = row, change.ImageKeyOnly
	if e.held[0] == len(sh.columns) {
		c.Image = change.ImageFull
	}
	if e.op == change.Delete {
		return c, b, nil
	}
	parts, b, ok := e.partialHead(b)
	if !ok {
		return c, nil, errShort
	}
	c.After, b, err = d.image(ctx, sh, e, e.after, e.held[1], parts, c.Before, b)
	return c, b, err
}

// tableMap takes the description of the rows that follow.
func (d *decoder) tableMap(b []byte) error {
	if len(b) < 6 {
		return source.PermanentError{Err: fmt.Errorf("decode table map: event is cut short")}
	}
	id := little(b[:6])
	c := d.cache[id]
	if c == nil || !c.same(b[6:]) {
		m, err := decodeTableMap(b, d.server.mariadb)
		if err != nil {
			return source.PermanentError{Err: err}
		}
		if len(d.cache) > 10000 { // of tables that were dropped or altered
			d.cache = map[uint64]*cached{}
		}
		c = &cached{tableMap: m, to: 0}
		d.cache[id] = c
	}
	d.maps[id] = c
	return nil
}

// reshape makes sure that c has the shape of its table as it was at the group's place.
func (d *decoder) reshape(ctx context.Context, c *cached) error {
	seq := d.group.shapeSeq
	generation := d.history.generation.Load()
	if c.generation == generation && seq >= c.from && seq < c.to {
		return nil
	}
	c.sh, c.generation, c.from, c.to = nil, generation, seq, math.MaxUint64
	if !d.history.wanted(c.name) {
		return nil
	}
	v, until, known := d.history.at(c.name, seq)
	c.to = until
	if !known { // it is wanted from a later place on
		return nil
	}
	def := v.Def
	if !def.fits(c.tableMap) {
		var err error
		if def, err = d.mend(ctx, c, v, seq); err != nil {
			c.to = 0
			return err
		}
	}
	sh, err := d.shaper.shape(c.tableMap, def)
	if err != nil {
		c.to = 0
		return d.unreadable(c.name, err.Error())
	}
	c.sh = sh
	return nil
}

// mend finds a definition for rows that do not fit what is known of their table: a
// change was made that the log does not have, or that is not understood. The log itself
// may tell; else the catalog's will do if it fits and nothing behind here changes the
// table.
func (d *decoder) mend(ctx context.Context, c *cached, v version, seq uint64) (*definition, error) {
	why := v.Unknown
	if why == "" {
		why = "its rows do not fit what the log's statements or the catalog say of it"
	}
	now, certain, err := d.look(ctx, c.name, d.group.place)
	switch {
	case err != nil:
		return nil, fmt.Errorf("look up table %s: %w", c.name, err)
	case now.fits(c.tableMap) && certain:
		d.log.Warn("a table is not as the log's statements make it; its columns are taken from the catalog", "table", c.name.String(), "reason", why)
		return now, d.history.correct(ctx, c.name, now, seq+1)
	case c.extra.full() && !d.server.mariadb:
		return nil, nil
	case c.extra.full() && now.fits(c.tableMap): // it tells the types that look like others
		return now, nil
	}
	return nil, d.unreadable(c.name, why)
}

// unreadable ends reading at rows that could only be read wrongly.
func (d *decoder) unreadable(t source.TableName, why string) error {
	return &source.HaltError{
		State: source.Misconfigured, Reason: fmt.Sprintf("rows of table %s at %s:%d cannot be read: %s", t, d.group.place.File, d.group.place.Pos, why),
		Mend: "delete the triggers on the table, or `waltrigger source resync " + d.name + " --accept-gap`; SET GLOBAL binlog_row_metadata = 'FULL' makes the log say what columns are called",
	}
}
