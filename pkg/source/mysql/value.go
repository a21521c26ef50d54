package mysql

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"net/netip"
	"strconv"
	"unsafe"

	"github.com/waltrigger/waltrigger/pkg/change"
)

// class says how the bytes of a column become a change.Value; TYPES.md is the table.
type class uint8

const (
	classUnknown class = iota
	classInt
	classBool // tinyint(1)
	classYear
	classFloat
	classDouble
	classDecimal
	classBit
	classBitBool // bit(1)
	classDate
	classTime
	classDateTime
	classTimestamp
	classOldTime // the types from before MySQL 5.6
	classOldDateTime
	classOldTimestamp
	classText
	classBytes
	classBinary // padded to its length with zeros, which the log leaves out
	classEnum
	classSet
	classJSON     // MySQL's binary form
	classJSONText // MariaDB: text that is checked to be JSON
	classGeometry
	classVector
	classUUID
	classInet6
	classInet4
)

// column is what decoding must know of a column. Immutable once in use.
type column struct {
	wireType
	class    class
	unsigned bool
	size     int      // classBinary: bytes
	cs       *charset // classText, and of labels
	labels   []string // enum, set: UTF-8
}

// arena holds the texts of many values. Its memory is filled once, front to back, and
// never written again.
type arena struct{ buf []byte }

const arenaChunk = 8 << 10

// begin gives an empty slice to append up to n bytes to.
func (a *arena) begin(n int) []byte {
	if cap(a.buf)-len(a.buf) < n {
		a.buf = make([]byte, 0, max(arenaChunk, n))
	}
	return a.buf[len(a.buf):]
}

// end makes a text of what was appended.
func (a *arena) end(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if n := len(a.buf) + len(b); n <= cap(a.buf) && &a.buf[:n][len(a.buf)] == &b[0] { // else it grew beyond n, elsewhere
		a.buf = a.buf[:n]
	}
	return unsafe.String(&b[0], len(b))
}

// value decodes one value. raw is without the length that stands before it; its memory
// is not written again.
func (d *values) value(ctx context.Context, c *column, raw []byte) (change.Value, error) {
	switch c.class {
	case classInt:
		return d.integer(c, raw), nil
	case classText:
		s, err := d.charsets.text(ctx, c.cs, raw)
		return change.Value{Kind: change.String, Text: s}, err
	case classBytes:
		return change.Value{Kind: change.Bytes, Text: text(raw)}, nil
	case classBinary:
		return change.Value{Kind: change.Bytes, Text: text(padded(raw, c.size))}, nil
	case classJSON:
		b, err := appendJSONBinary(make([]byte, 0, 2*len(raw)), raw)
		return change.Value{Kind: change.JSON, Text: text(b)}, err
	case classJSONText:
		s, err := d.charsets.text(ctx, c.cs, raw)
		return jsonText(s), err
	}
	kind, dst := change.String, d.begin(64)
	switch c.class {
	case classBool:
		switch {
		case raw[0] == 0:
			return change.Value{Kind: change.Bool, Text: "false"}, nil
		case raw[0] == 1:
			return change.Value{Kind: change.Bool, Text: "true"}, nil
		}
		return d.integer(c, raw), nil
	case classBitBool:
		if raw[0] == 0 {
			return change.Value{Kind: change.Bool, Text: "false"}, nil
		}
		return change.Value{Kind: change.Bool, Text: "true"}, nil
	case classYear:
		kind = change.Int
		year := int64(raw[0])
		if year != 0 {
			year += 1900
		}
		dst = strconv.AppendInt(dst, year, 10)
	case classFloat:
		kind, dst = change.Float, appendFloat(dst, float64(math.Float32frombits(binary.LittleEndian.Uint32(raw))), 32)
	case classDouble:
		kind, dst = change.Float, appendFloat(dst, math.Float64frombits(binary.LittleEndian.Uint64(raw)), 64)
	case classDecimal:
		kind, dst = change.Decimal, appendDecimal(d.begin(96), raw, int(c.meta>>8), int(c.meta&0xff))
	case classBit:
		dst = appendBits(dst, big(raw), int(c.meta>>8)*8+int(c.meta&0xff))
	case classDate:
		kind, dst = change.Date, appendDate(dst, int(little(raw)))
	case classTime:
		kind, dst = change.Time, appendTime2(dst, raw)
	case classDateTime:
		kind, dst = change.DateTime, appendDateTime2(dst, raw)
	case classTimestamp:
		kind, dst = change.Timestamp, appendTimestamp(dst, binary.BigEndian.Uint32(raw), fraction(raw[4:]))
	case classOldTime, classOldDateTime, classOldTimestamp:
		kind, dst = appendOld(dst, c.class, raw)
	case classEnum:
		return change.Value{Kind: change.String, Text: label(c.labels, int(little(raw)))}, nil
	case classSet:
		kind, dst = change.Array, appendSet(dst, c.labels, little(raw))
	case classGeometry:
		dst = appendGeometry(d.begin(2*len(raw)+16), raw)
	case classVector:
		kind, dst = change.Array, appendVector(d.begin(8*len(raw)), raw)
	case classUUID:
		kind, dst = change.UUID, dst[:36]
		encodeUUID(dst, padded(raw, 16))
	case classInet6:
		dst = appendInet6(dst, padded(raw, 16))
	case classInet4:
		dst = netip.AddrFrom4([4]byte(padded(raw, 4))).AppendTo(dst)
	}
	return change.Value{Kind: kind, Text: d.end(dst)}, nil
}

// values decodes the values of one source. It belongs to one goroutine.
type values struct {
	arena
	charsets *charsets
}

// small are the texts of the numbers that come most often.
var small = func() (out [1000]string) {
	for i := range out {
		out[i] = strconv.Itoa(i)
	}
	return out
}()

func (d *values) integer(c *column, raw []byte) change.Value {
	n := little(raw)
	if !c.unsigned {
		shift := uint(64 - 8*len(raw))
		n = uint64(int64(n<<shift) >> shift)
	}
	if n < uint64(len(small)) {
		return change.Value{Kind: change.Int, Text: small[n]}
	}
	dst := d.begin(20)
	if c.unsigned {
		dst = strconv.AppendUint(dst, n, 10)
	} else {
		dst = strconv.AppendInt(dst, int64(n), 10)
	}
	return change.Value{Kind: change.Int, Text: d.end(dst)}
}

// jsonText is JSON as it was stored. A check makes sure that it is JSON, but a session
// may have turned checks off.
func jsonText(s string) change.Value {
	if !json.Valid([]byte(s)) {
		return change.Value{Kind: change.String, Text: s}
	}
	return change.Value{Kind: change.JSON, Text: s}
}

// padded is raw with zeros up to size.
func padded(raw []byte, size int) []byte {
	if len(raw) >= size {
		return raw
	}
	return append(raw[:len(raw):len(raw)], make([]byte, size-len(raw))...)
}

// label is the text of an enum; 0 is what a server stores for a text that is none.
func label(labels []string, n int) string {
	if n < 1 || n > len(labels) {
		return ""
	}
	return labels[n-1]
}

func appendSet(dst []byte, labels []string, bits uint64) []byte {
	dst = append(dst, '[')
	for i, l := range labels {
		if bits&(1<<i) == 0 {
			continue
		}
		if dst[len(dst)-1] != '[' {
			dst = append(dst, ',')
		}
		dst = change.AppendString(dst, l)
	}
	return append(dst, ']')
}

func appendBits(dst []byte, v uint64, n int) []byte {
	for n--; n >= 0; n-- {
		dst = append(dst, '0'+byte(v>>n&1))
	}
	return dst
}

// appendFloat prints the shortest number that reads back as the same, in the form that
// PostgreSQL gives it.
func appendFloat(dst []byte, f float64, bits int) []byte {
	limit := 15
	if bits == 32 {
		limit = 6
	}
	n := len(dst)
	dst = strconv.AppendFloat(dst, f, 'e', -1, bits)
	at := len(dst) - 1
	for at > n && dst[at] != 'e' {
		at--
	}
	exp, err := strconv.Atoi(string(dst[at+1:]))
	if err != nil || exp < -4 || exp >= limit {
		return dst
	}
	return strconv.AppendFloat(dst[:n], f, 'f', -1, bits)
}

// appendGeometry prints a geometry as PostGIS does: extended well-known binary in
// hexadecimal. MySQL stores the number of the reference system before a plain one.
func appendGeometry(dst, raw []byte) []byte {
	if len(raw) < 9 {
		return appendUpperHex(dst, raw)
	}
	srid, wkb := raw[:4], raw[4:]
	if binary.LittleEndian.Uint32(srid) == 0 {
		return appendUpperHex(dst, wkb)
	}
	const hasSRID = 0x20000000
	var head [9]byte
	copy(head[:], wkb[:5])
	if wkb[0] == 1 {
		binary.LittleEndian.PutUint32(head[1:], binary.LittleEndian.Uint32(wkb[1:])|hasSRID)
		copy(head[5:], srid)
	} else {
		binary.BigEndian.PutUint32(head[1:], binary.BigEndian.Uint32(wkb[1:])|hasSRID)
		binary.BigEndian.PutUint32(head[5:], binary.LittleEndian.Uint32(srid))
	}
	return appendUpperHex(appendUpperHex(dst, head[:]), wkb[5:])
}

func appendUpperHex(dst, b []byte) []byte {
	n := len(dst)
	dst = hex.AppendEncode(dst, b)
	for i := n; i < len(dst); i++ {
		if dst[i] >= 'a' {
			dst[i] -= 'a' - 'A'
		}
	}
	return dst
}

// appendVector prints an array of 4-byte floats.
func appendVector(dst, raw []byte) []byte {
	dst = append(dst, '[')
	for ; len(raw) >= 4; raw = raw[4:] {
		if dst[len(dst)-1] != '[' {
			dst = append(dst, ',')
		}
		dst = appendFloat(dst, float64(math.Float32frombits(binary.LittleEndian.Uint32(raw))), 32)
	}
	return append(dst, ']')
}

// appendInet6 prints an address as MariaDB does: the longest run of zeros left out, be it
// a single one, and what holds an IPv4 address with that at its end.
func appendInet6(dst, raw []byte) []byte {
	var words [8]uint16
	gap, size := -1, 0
	for i, run := 0, 0; i < 8; i++ {
		words[i] = binary.BigEndian.Uint16(raw[2*i:])
		if run++; words[i] != 0 {
			run = 0
		}
		if run > size {
			gap, size = i-run+1, run
		}
	}
	for i := 0; i < 8; i++ {
		switch {
		case i == gap:
			if i == 0 {
				dst = append(dst, ':')
			}
			dst = append(dst, ':')
			i += size - 1
		case i == 6 && gap == 0 && (size == 6 || size == 5 && words[5] == 0xffff):
			return netip.AddrFrom4([4]byte(raw[12:])).AppendTo(dst)
		default:
			dst = strconv.AppendUint(dst, uint64(words[i]), 16)
			if i < 7 {
				dst = append(dst, ':')
			}
		}
	}
	return dst
}
