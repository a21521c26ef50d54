package mysql

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-mysql-org/go-mysql/replication"
)

// What replication has no names for.
const (
	eventRand         = replication.EventType(13)
	eventUserVar      = replication.EventType(14)
	eventStartEncrypt = replication.MARIADB_START_ENCRYPTION_EVENT
	flagIgnorable     = 0x80 // of an event: who does not know it may go on without it
	flagArtificial    = 0x20 // made by the server for us: it is in no file
	gtidStandalone    = 1    // MariaDB's flags of a group: it is one statement
	gtidTransactional = 4    // it holds nothing that a rollback would leave
	gtidPreparedXA    = 64   // it is an XA transaction that is only prepared
	modeANSIQuotes    = 1 << 2
	modeNoBackslash   = 1 << 20
	statusSQLMode     = 1
	statusCharset     = 4
)

// groupStart is what the first event of a group says.
type groupStart struct {
	name      gtid
	named     bool // name is there
	committed time.Time
	flags     byte // MariaDB
}

// decodeStart reads a GTID event of either product; header is that of the event.
func decodeStart(h *replication.EventHeader, b []byte) (groupStart, error) {
	s := groupStart{committed: time.Unix(int64(h.Timestamp), 0).UTC()}
	if h.EventType == replication.MARIADB_GTID_EVENT {
		if len(b) < 13 {
			return s, fmt.Errorf("decode GTID: event is cut short")
		}
		s.named, s.flags = true, b[12]
		s.name = gtid{mariadb: true, server: h.ServerID, sequence: binary.LittleEndian.Uint64(b), domain: binary.LittleEndian.Uint32(b[8:])}
		return s, nil
	}
	var e replication.GTIDEvent
	if h.EventType == replication.GTID_TAGGED_LOG_EVENT {
		var err error
		if e, err = decodeTagged(b); err != nil {
			return s, fmt.Errorf("decode GTID: %w", err)
		}
	} else {
		if len(b) < 25 {
			return s, fmt.Errorf("decode GTID: event is cut short")
		}
		if err := e.Decode(b); err != nil {
			return s, fmt.Errorf("decode GTID: %w", err)
		}
	}
	if at := e.OriginalCommitTime(); !at.IsZero() { // the same on every server
		s.committed = at.UTC()
	}
	if h.EventType != replication.ANONYMOUS_GTID_EVENT {
		s.named = true
		s.name = gtid{tag: e.Tag.String(), gno: e.GNO}
		copy(s.name.sid[:], e.SID)
	}
	return s, nil
}

// decodeTagged reads a name with a tag. The library panics on an event that is cut short.
func decodeTagged(b []byte) (e replication.GTIDEvent, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("event is cut short")
		}
	}()
	var tagged replication.GtidTaggedLogEvent
	err = tagged.Decode(b)
	return tagged.GTIDEvent, err
}

// query is a statement in the log.
type query struct {
	schema  string // the default one
	text    []byte
	mode    uint64 // sql_mode, as far as it matters to reading the text
	charset uint16 // collation of the client's text
}

func decodeQuery(h *replication.EventHeader, b []byte) (query, error) {
	var q query
	c := cursor{b: b}
	c.take(8)
	schema := int(c.byte())
	c.take(2)
	status := cursor{b: c.take(int(c.uint16()))}
	q.schema = string(c.take(schema))
	c.take(1)
	if c.bad {
		return q, fmt.Errorf("decode statement: event is cut short")
	}
	q.text = c.b
	if h.EventType == replication.MARIADB_QUERY_COMPRESSED_EVENT {
		var err error
		if q.text, err = uncompressedEvent(c.b); err != nil {
			return q, fmt.Errorf("decode statement: %w", err)
		}
	}
	q.status(&status)
	return q, nil
}

// status reads the two variables that matter, which come early.
func (q *query) status(c *cursor) {
	for len(c.b) > 0 && !c.bad {
		switch c.byte() {
		case 0: // flags
			c.take(4)
		case statusSQLMode:
			q.mode = c.uint64()
		case 3: // auto increment
			c.take(4)
		case statusCharset:
			q.charset = c.uint16()
			return
		case 6, 5: // catalog, time zone
			c.take(int(c.byte()))
		default:
			return
		}
	}
}

// xid names an XA transaction as the log's statements do: X'7831',X'79',7.
func decodeXAPrepare(b []byte) (xid string, onePhase bool, err error) {
	c := cursor{b: b}
	onePhase = c.byte() != 0
	format, first, second := c.uint32(), int(c.uint32()), int(c.uint32())
	gtrid, bqual := c.take(first), c.take(second)
	if c.bad {
		return "", false, fmt.Errorf("decode XA PREPARE: event is cut short")
	}
	return fmt.Sprintf("X'%s',X'%s',%d", hex.EncodeToString(gtrid), hex.EncodeToString(bqual), format), onePhase, nil
}

// xaOutcome reads XA COMMIT and XA ROLLBACK.
func xaOutcome(statement []byte) (xid string, commit, ok bool) {
	words := bytes.Fields(statement)
	if len(words) < 3 || !bytes.EqualFold(words[0], []byte("XA")) {
		return "", false, false
	}
	commit = bytes.EqualFold(words[1], []byte("COMMIT"))
	if !commit && !bytes.EqualFold(words[1], []byte("ROLLBACK")) {
		return "", false, false
	}
	return strings.ReplaceAll(strings.ToLower(string(bytes.Join(words[2:], nil))), "x'", "X'"), commit, true
}
