package mysql

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

// recorded is an event that holds rows, as a server wrote it.
type recorded struct {
	mariadb  bool
	kind     replication.EventType
	tableMap []byte
	rows     []byte
}

func recordedEvents(tb testing.TB) []recorded {
	tb.Helper()
	data, err := os.ReadFile("../../../testdata/types/mysql.events")
	if err != nil {
		tb.Fatal(err)
	}
	var out []recorded
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		var e recorded
		var hexes [2]string
		if _, err := fmt.Sscan(lines.Text(), &e.mariadb, &e.kind, &hexes[0], &hexes[1]); err != nil {
			tb.Fatal(err)
		}
		e.tableMap, _ = hex.DecodeString(hexes[0])
		e.rows, _ = hex.DecodeString(hexes[1])
		out = append(out, e)
	}
	return out
}

func testCharsets() *charsets {
	cs := newCharsets(nil)
	for id, name := range map[uint64]string{8: "latin1", 45: "utf8mb4", 63: "binary", 255: "utf8mb4", 2304: "utf8mb4"} {
		cs.byID[id] = name
	}
	return cs
}

// decodeRecorded decodes all rows, and goes over them: both must agree where they end.
func decodeRecorded(e recorded) (rows [][]change.Value, err error) {
	m, err := decodeTableMap(e.tableMap, e.mariadb)
	if err != nil {
		return nil, err
	}
	cs := testCharsets()
	d := &decoder{shaper: shaper{mariadb: e.mariadb, charsets: cs, known: map[source.TableName]*change.Table{}}}
	d.values.charsets = cs
	sh, err := d.shaper.shape(m, nil)
	if err != nil {
		return nil, err
	}
	ev, err := decodeRows(e.kind, m, e.rows)
	if err != nil {
		return nil, err
	}
	for b := ev.rows; len(b) > 0; {
		skipped, ok := ev.skip(b)
		c, rest, err := d.row(context.Background(), sh, ev, b)
		if err != nil {
			return rows, err
		}
		if !ok || len(skipped) != len(rest) {
			return rows, fmt.Errorf("decoding leaves %d bytes, going over the row %d, %v", len(rest), len(skipped), ok)
		}
		rows, b = append(rows, c.After), rest
	}
	return rows, nil
}

// TestRecordedEvents decodes what servers wrote, and every way in which that may be cut
// short or damaged: that is an error, or another row, and never a panic.
func TestRecordedEvents(t *testing.T) {
	events := recordedEvents(t)
	if len(events) < 7 {
		t.Fatalf("%d events", len(events))
	}
	for n, e := range events {
		rows, err := decodeRecorded(e)
		if err != nil || len(rows) == 0 {
			t.Fatalf("event %d: %d rows, %v", n, len(rows), err)
		}
		for i := range e.tableMap {
			damaged := e
			damaged.tableMap = e.tableMap[:i]
			_, _ = decodeRecorded(damaged) // the end is a list of which none needs to be there
		}
		for i := range e.rows {
			damaged := e
			damaged.rows = e.rows[:i]
			if got, err := decodeRecorded(damaged); err == nil && len(got) >= len(rows) {
				t.Errorf("event %d with %d bytes of its rows gives %d rows", n, i, len(got))
			}
		}
		for i := range 8 * (len(e.tableMap) + len(e.rows)) {
			damaged := recorded{mariadb: e.mariadb, kind: e.kind, tableMap: bytes.Clone(e.tableMap), rows: bytes.Clone(e.rows)}
			if at := i / 8; at < len(e.tableMap) {
				damaged.tableMap[at] ^= 1 << (i % 8)
			} else {
				damaged.rows[at-len(e.tableMap)] ^= 1 << (i % 8)
			}
			_, _ = decodeRecorded(damaged)
		}
	}
}

func FuzzRows(f *testing.F) {
	for _, e := range recordedEvents(f) {
		f.Add(e.mariadb, byte(e.kind), e.tableMap, e.rows)
	}
	f.Fuzz(func(_ *testing.T, mariadb bool, kind byte, tableMap, rows []byte) {
		e := recorded{mariadb: mariadb, kind: replication.EventType(kind), tableMap: tableMap, rows: rows}
		if _, _, ok := rowsKind(e.kind); ok {
			_, _ = decodeRecorded(e)
		}
	})
}

// FuzzEvents: what is not rows.
func FuzzEvents(f *testing.F) {
	for _, seed := range []string{
		"00000000000000000000000000000000000000000000000000", "01020304", "0200000000000000000000000000000000000000000000000000000000000000000002",
	} {
		b, err := hex.DecodeString(seed)
		if err != nil {
			f.Fatal(err)
		}
		for _, kind := range []replication.EventType{
			replication.GTID_EVENT, replication.GTID_TAGGED_LOG_EVENT, replication.MARIADB_GTID_EVENT, replication.QUERY_EVENT,
			replication.MARIADB_QUERY_COMPRESSED_EVENT, replication.XA_PREPARE_LOG_EVENT, replication.TRANSACTION_PAYLOAD_EVENT,
		} {
			f.Add(byte(kind), b)
		}
	}
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		h := &replication.EventHeader{EventType: replication.EventType(kind)}
		switch h.EventType {
		case replication.GTID_EVENT, replication.ANONYMOUS_GTID_EVENT, replication.GTID_TAGGED_LOG_EVENT, replication.MARIADB_GTID_EVENT:
			if s, err := decodeStart(h, b); err == nil && s.named {
				if again, err := parseGTID(s.name.String()); err != nil || again != s.name {
					t.Errorf("%+v is read back as %+v, %v", s.name, again, err)
				}
			}
		case replication.QUERY_EVENT, replication.MARIADB_QUERY_COMPRESSED_EVENT:
			_, _ = decodeQuery(h, b)
		case replication.XA_PREPARE_LOG_EVENT:
			_, _, _ = decodeXAPrepare(b)
		case replication.TRANSACTION_PAYLOAD_EVENT:
			_ = expand(b, func(*replication.EventHeader, []byte) error { return nil })
		}
	})
}

// FuzzStatement: reading a statement ends, whatever it is.
func FuzzStatement(f *testing.F) {
	for _, sql := range []string{
		"create table `a`.b (id int unsigned not null auto_increment, c varchar(20) character set latin1 default 'x', primary key (id, c)) /*!50100 partition by hash (id) */",
		"alter table t add column (a int, b enum('x','y')) first, drop b, change c d json after e, rename to f.g, modify x set('a''b') -- end",
		"rename table a to b, `c` to d.`e`", "drop table if exists a, b.c", "create table a like b", "create temporary table x (a int)", "create or replace table t select 1",
		"/*M!100101 alter */ table /*!99999 x */ t add y int # z", "drop database `x`", "alter table t rename column a to b, add constraint foreign key (a) references b (c)",
	} {
		f.Add(sql, false)
		f.Add(sql, true)
	}
	f.Fuzz(func(_ *testing.T, sql string, mariadb bool) {
		d := dialect{mariadb: mariadb, version: 90704, lower: mariadb}
		p := &parser{tokens: lex(sql, d), d: d, schema: "s", defaults: func(string) string { return "utf8mb4" }}
		_, _ = p.parse()
	})
}

// FuzzJSON: what is printed of a document is JSON, whatever is in it.
func FuzzJSON(f *testing.F) {
	f.Add([]byte{0x00, 0x01, 0x00, 0x0c, 0x00, 0x0b, 0x00, 0x01, 0x00, 0x05, 0x07, 0x00, 'a'})
	f.Add([]byte{0x04, 0x00})
	f.Add([]byte{0x0b, 1, 2, 3, 4, 5, 6, 7, 8})
	f.Add([]byte{0x0f, 12, 8, 1, 2, 3, 4, 5, 6, 7, 8})
	f.Fuzz(func(t *testing.T, b []byte) {
		out, err := appendJSONBinary(nil, b)
		if len(out) > 1<<24 { // the same bytes may be named many times
			t.Skip()
		}
		if err == nil && utf8.Valid(b) && !json.Valid(out) {
			t.Errorf("%x gives %s", b, out)
		}
	})
}

// TestUnknownEvents: nothing that could hold rows is passed over.
func TestUnknownEvents(t *testing.T) {
	for _, tt := range []struct {
		kind  replication.EventType
		flags uint16
		state string // of the HaltError; "" = none
		ok    bool
	}{
		{replication.EventType(250), 0, source.Misconfigured, false},
		{replication.EventType(250), flagIgnorable, "", true},
		{replication.INCIDENT_EVENT, 0, source.ResyncRequired, false},
		{replication.INCIDENT_EVENT, flagIgnorable, source.ResyncRequired, false},
		{replication.HEARTBEAT_EVENT, 0, "", true},
		{replication.WRITE_ROWS_EVENTv2, 0, "", false},
		{replication.XID_EVENT, 0, "", false},
		{replication.QUERY_EVENT, 0, "", false},
		{replication.MARIADB_START_ENCRYPTION_EVENT, 0, "", true},
	} {
		d := &decoder{name: "shop", file: "binlog.000001", server: &server{}}
		err := d.decode(context.Background(), &replication.EventHeader{EventType: tt.kind, Flags: tt.flags}, make([]byte, 40), 4)
		halt := (*source.HaltError)(nil)
		switch {
		case tt.ok != (err == nil), errors.As(err, &halt) != (tt.state != ""):
			t.Errorf("type %d with flags %d: %v", tt.kind, tt.flags, err)
		case halt != nil && (halt.State != tt.state || !strings.Contains(halt.Reason, "binlog.000001:4")):
			t.Errorf("type %d with flags %d: %v", tt.kind, tt.flags, err)
		case err != nil && halt == nil && !errors.As(err, new(source.PermanentError)):
			t.Errorf("type %d with flags %d would be tried again: %v", tt.kind, tt.flags, err)
		}
	}
}
