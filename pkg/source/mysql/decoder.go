package mysql

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

const (
	batchChanges = 256
	batchBytes   = 128 << 10
	valueSlab    = 2048 // values allocated at once
	settleEvery  = time.Second
)

// decoder turns the events of a binary log into changes. It outlives connections: it
// remembers what was decoded, so that a group that the server sends again goes on where
// it broke off. One goroutine.
//
// A group is what the log has of a transaction or statement: it begins with its name
// (GTID) and stands in the log as a whole, since it is written there at the commit. A
// row change is told by the group's name and its place among all rows of the group,
// those of tables that nobody wants included: so the place does not depend on who wants
// what.
type decoder struct {
	name    string // of the source
	history *history
	clock   *clock
	notes   source.Notes
	log     *slog.Logger
	// flush hands over the batch; it is called whenever that is full.
	flush func(ctx context.Context) error
	// look asks the catalog for a table as it is now. certain says that no statement in
	// the log from at on changes it.
	look func(ctx context.Context, t source.TableName, at groupPlace) (def *definition, certain bool, err error)
	// reread reads the group at a place of the log once more.
	reread func(ctx context.Context, at groupPlace, read *executed, handle func(*replication.EventHeader, []byte) error) error

	server   *server
	shaper   shaper
	values   values
	checksum bool
	resumed  bool // the first group of this connection has begun
	byPlace  bool // this connection reads from a file and position
	byName   bool // the next one must ask by GTIDs
	file     string
	pos      uint64 // of the next event
	cache    map[uint64]*cached
	maps     map[uint64]*cached // of this group

	batch source.Batch
	bytes int
	slab  []change.Value

	group   group
	ordinal uint32          // row changes of the group so far
	emitted uint32          // the last of them that was sent
	skip    uint32          // leading row changes of it that were sent before
	resume  change.Position // of a group that was cut off
	done    uint32          // row changes of that which were sent
	again   *change.Tx      // it, if it was begun by this decoder

	end      place  // behind the last group that was read as a whole
	sent     uint64 // Seq up to which everything was handed over, or is in the batch
	settled  time.Time
	pending  map[string]string // notes to be saved before anything more is handed over
	prepared map[string]*prepared

	unseen uint64
	events *atomic.Uint64
	shared *progress
}

// progress is what others may see of a decoder. Any goroutine.
type progress struct {
	mu     sync.Mutex
	set    *executed // begun, at least in part; nil where groups have no names
	seq    uint64    // of the last group that was begun
	end    place
	unseen uint64
	tables map[source.TableName]bool // of unseen
}

// group is the one that is being read.
type group struct {
	open     bool
	begun    bool // BEGIN was seen, or need not be
	place    groupPlace
	start    groupStart
	seq      uint64
	shapeSeq uint64 // as of which its tables are
	tx       *change.Tx
	xa       *prepared // its rows are held until the outcome is known
	strict   bool      // nothing in it can be undone
	hold
}

// groupPlace is where a group can be found again.
type groupPlace struct {
	Server string `json:"server"`
	File   string `json:"file"`
	Pos    uint64 `json:"pos"`
	GTID   string `json:"gtid,omitempty"`
	Before string `json:"before,omitempty"` // MariaDB: the place before it
}

// cached is a table map with the shape made of it.
type cached struct {
	*tableMap
	sh         *shape // nil: its rows are skipped
	generation uint64
	from, to   uint64 // Seq of the groups for which it holds
}

func newDecoder(name string, from change.Mark, h *history, c *clock, notes source.Notes, log *slog.Logger) (*decoder, error) {
	d := &decoder{
		name: name, history: h, clock: c, notes: notes, log: log, resume: from.Tx, done: from.Done, pending: map[string]string{}, prepared: map[string]*prepared{},
		shared: &progress{tables: map[source.TableName]bool{}}, settled: time.Now(), cache: map[uint64]*cached{},
	}
	var err error
	if d.end, err = parsePlace(from.End); err != nil {
		return nil, err
	}
	d.sent = d.end.seq
	d.publish()
	return d, nil
}

// publish shows others how far the log was read.
func (d *decoder) publish() {
	p := d.shared
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end = place{file: d.end.file, pos: d.end.pos, seq: d.end.seq}
	if d.end.set != nil {
		p.set = d.end.set.clone()
	}
	p.seq = d.end.seq
}

// connect prepares for a new connection to s.
func (d *decoder) connect(s *server, cs *charsets) {
	if d.server == nil || d.server.identity != s.identity {
		d.values.charsets = cs
		d.shaper = shaper{mariadb: s.mariadb, charsets: cs, known: map[source.TableName]*change.Table{}}
	}
	d.server, d.shaper.identity = s, s.rowImage()
	d.checksum, d.resumed = false, false
	d.cache, d.maps = map[uint64]*cached{}, nil
	if d.group.open {
		if n := max(d.emitted, d.skip); n > 0 {
			d.resume, d.done, d.again = d.group.position(), n, d.group.tx
		}
		d.group = group{}
	}
	d.file, d.pos = d.end.file, d.end.pos
}

// full says that the batch should be handed over before more is decoded.
func (d *decoder) full() bool { return len(d.batch) >= batchChanges || d.bytes >= batchBytes }

// take returns the batch and starts another.
func (d *decoder) take() source.Batch {
	b := d.batch
	d.batch, d.bytes = nil, 0
	return b
}

// settle adds the position up to which the log holds nothing for us as a lone Commit,
// once in a while; true says that the while is over.
func (d *decoder) settle(now time.Time) bool {
	if now.Sub(d.settled) < settleEvery {
		return false
	}
	d.settled = now
	if !d.group.open && d.end.seq != d.sent {
		d.sent = d.end.seq
		d.add(change.Change{Op: change.Commit, Tx: &change.Tx{Seq: d.end.seq, End: d.end.position(), Committed: now}}, 0)
	}
	return true
}

func (d *decoder) add(c change.Change, size int) {
	if d.batch == nil {
		d.batch = make(source.Batch, 0, 16)
	}
	d.batch = append(d.batch, c)
	d.bytes += size
}

// event decodes one event as the server sent it.
func (d *decoder) event(ctx context.Context, e *replication.BinlogEvent) error {
	h := e.Header
	body := e.RawData[replication.EventHeaderSize:]
	if f, ok := e.Event.(*replication.FormatDescriptionEvent); ok {
		d.checksum = f.ChecksumAlgorithm == replication.BINLOG_CHECKSUM_ALG_CRC32
		return d.begunFile(ctx, h)
	}
	if d.checksum && len(body) >= replication.BinlogChecksumLength {
		body = body[:len(body)-replication.BinlogChecksumLength]
	}
	if r, ok := e.Event.(*replication.RotateEvent); ok {
		d.file, d.pos = string(r.NextLogName), r.Position
		if h.Flags&flagArtificial != 0 && !d.resumed {
			return d.clock.connected(ctx, d.server.identity, d.file, d.end.seq)
		}
		return nil
	}
	start := d.pos
	d.pos = next(d.pos, h)
	if err := d.decode(ctx, h, body, start); err != nil {
		return err
	}
	if d.full() {
		return d.flush(ctx)
	}
	return nil
}

// lost says that changes are missing.
func (d *decoder) lost(format string, args ...any) error { return lost(d.name, format, args...) }

func lost(name, format string, args ...any) error {
	return source.PositionLost(name, fmt.Sprintf(format, args...))
}

// next is the position behind an event. Those in the middle of a group may not tell;
// what is made for us is in no file.
func next(pos uint64, h *replication.EventHeader) uint64 {
	switch {
	case h.Flags&flagArtificial != 0 || h.EventType == replication.HEARTBEAT_EVENT || h.EventType == replication.HEARTBEAT_LOG_EVENT_V2:
		return pos
	case h.LogPos == 0:
		return pos + uint64(h.EventSize)
	}
	at := pos&^0xffffffff | uint64(h.LogPos) // it has 32 bits
	if at < pos {
		at += 1 << 32
	}
	return at
}

// begunFile takes the event with which each file begins.
func (d *decoder) begunFile(ctx context.Context, h *replication.EventHeader) error {
	if d.group.open && d.resumed {
		return source.PermanentError{Err: fmt.Errorf("read log: file %s begins inside a group", d.file)}
	}
	other, err := d.clock.opened(ctx, d.file, h.Timestamp, !d.byPlace)
	switch {
	case !other:
		return err
	case d.server.named:
		d.byName = true
		return fmt.Errorf("file %s of the log is another one than was read, looking for the place by GTIDs", d.file)
	}
	return d.lost("file %s of the log is another one than was read: the log was reset", d.file)
}

// decode takes an event of the log or of a compressed part of it; start is where it
// stands, or where that part does.
func (d *decoder) decode(ctx context.Context, h *replication.EventHeader, b []byte, start uint64) error {
	switch h.EventType {
	case replication.GTID_EVENT, replication.ANONYMOUS_GTID_EVENT, replication.GTID_TAGGED_LOG_EVENT, replication.MARIADB_GTID_EVENT:
		return d.begin(h, b, start)
	case replication.TABLE_MAP_EVENT, replication.WRITE_ROWS_EVENTv1, replication.WRITE_ROWS_EVENTv2, replication.MARIADB_WRITE_ROWS_COMPRESSED_EVENT_V1,
		replication.UPDATE_ROWS_EVENTv1, replication.UPDATE_ROWS_EVENTv2, replication.MARIADB_UPDATE_ROWS_COMPRESSED_EVENT_V1, replication.PARTIAL_UPDATE_ROWS_EVENT,
		replication.DELETE_ROWS_EVENTv1, replication.DELETE_ROWS_EVENTv2, replication.MARIADB_DELETE_ROWS_COMPRESSED_EVENT_V1:
		if !d.group.open {
			return source.PermanentError{Err: fmt.Errorf("read log: rows outside of a group at %s:%d", d.file, start)}
		}
		if d.group.xa != nil {
			d.group.xa.keep(h, b)
			return nil
		}
		return d.rowsOf(ctx, h, b)
	case replication.XID_EVENT:
		return d.commit(ctx)
	case replication.QUERY_EVENT, replication.MARIADB_QUERY_COMPRESSED_EVENT:
		return d.query(ctx, h, b)
	case replication.XA_PREPARE_LOG_EVENT:
		return d.prepare(ctx, b)
	case replication.TRANSACTION_PAYLOAD_EVENT:
		return d.payload(ctx, b, start)
	case replication.EXECUTE_LOAD_QUERY_EVENT:
		d.missed(nil)
		return nil
	case replication.INCIDENT_EVENT:
		return d.lost("the server has noted at %s:%d that its log lacks changes (incident)", d.file, start)
	case replication.STOP_EVENT, replication.PREVIOUS_GTIDS_EVENT, replication.HEARTBEAT_EVENT, replication.HEARTBEAT_LOG_EVENT_V2, replication.IGNORABLE_EVENT,
		replication.ROWS_QUERY_EVENT, replication.INTVAR_EVENT, eventRand, eventUserVar, replication.BEGIN_LOAD_QUERY_EVENT, replication.APPEND_BLOCK_EVENT,
		replication.DELETE_FILE_EVENT, replication.TRANSACTION_CONTEXT_EVENT, replication.VIEW_CHANGE_EVENT, replication.MARIADB_ANNOTATE_ROWS_EVENT,
		replication.MARIADB_BINLOG_CHECKPOINT_EVENT, replication.MARIADB_GTID_LIST_EVENT, eventStartEncrypt:
		return nil
	}
	if h.Flags&flagIgnorable != 0 {
		return nil
	}
	// Never passed over: it could hold rows.
	return &source.HaltError{
		State: source.Misconfigured, Reason: fmt.Sprintf("the log has an event of type %d at %s:%d, which this version does not know", h.EventType, d.file, start),
		Mend: "upgrade waltrigger, or turn off what makes the server write it",
	}
}
