package mysql

import (
	"bytes"
	"fmt"

	"github.com/waltrigger/waltrigger/pkg/source"
)

// Types of columns on the wire.
const (
	wireTiny        = 1
	wireShort       = 2
	wireLong        = 3
	wireFloat       = 4
	wireDouble      = 5
	wireNull        = 6
	wireTimestamp   = 7 // the last four of the old ones: without fractions
	wireLongLong    = 8
	wireInt24       = 9
	wireDate        = 10
	wireTime        = 11
	wireDateTime    = 12
	wireYear        = 13
	wireVarchar     = 15
	wireBit         = 16
	wireTimestamp2  = 17
	wireDateTime2   = 18
	wireTime2       = 19
	wireBlobComp    = 140 // MariaDB: COMPRESSED
	wireVarcharComp = 141
	wireVector      = 242
	wireJSON        = 245
	wireDecimal     = 246
	wireEnum        = 247
	wireSet         = 248
	wireBlob        = 252
	wireVarString   = 253
	wireString      = 254
	wireGeometry    = 255
)

// wireType is a column as a table map describes it. Of a CHAR, ENUM or SET, which come
// as the same, kind is what it is.
type wireType struct {
	kind byte
	meta uint16 // length, precision or digits, as the kind has it
}

// tableMap says how the rows that follow it are laid out.
type tableMap struct {
	id    uint64
	name  source.TableName
	types []wireType
	nulls []byte // which columns may be null
	extra metadata
	body  []byte // what it was read from, without the number: the same for the same shape
}

// metadata is what a server adds: nothing, the default of MariaDB (NO_LOG); signs and
// character sets, that of MySQL (MINIMAL); or all (FULL).
type metadata struct {
	signs     []byte
	charsets  []uint64 // collations of the character columns, one each; nil: not there
	names     []string
	enums     [][]string
	sets      [][]string
	setChars  []uint64 // collations of the enum and set columns
	key       []int
	defaulted []uint64 // as sent: a default, then pairs of column and collation
	setDef    []uint64
}

func (m *metadata) full() bool { return m.names != nil }

func decodeTableMap(b []byte, mariadb bool) (*tableMap, error) {
	c := cursor{b: b}
	t := &tableMap{id: c.tableID()}
	t.body = c.b
	c.take(2)
	t.name.Schema, t.name.Name = c.name(), c.name()
	columns := c.take(c.packed())
	meta := cursor{b: c.take(c.packed())}
	t.nulls = c.take((len(columns) + 7) / 8)
	t.types = make([]wireType, len(columns))
	for i, kind := range columns {
		t.types[i] = readType(kind, &meta)
	}
	if c.bad || meta.bad {
		return nil, fmt.Errorf("decode table map of %s: event is cut short or malformed", t.name)
	}
	for len(c.b) > 0 && !c.bad {
		field := c.byte()
		t.extra.read(field, cursor{b: c.take(c.packed())})
	}
	if c.bad || t.extra.full() && len(t.extra.names) != len(columns) {
		return nil, fmt.Errorf("decode table map of %s: event is cut short or malformed", t.name)
	}
	t.extra.spread(t.types, mariadb)
	return t, nil
}

func readType(kind byte, meta *cursor) wireType {
	switch kind {
	case wireString:
		// The type, in which two bits of a long CHAR's length are hidden, and the length.
		hi, lo := meta.byte(), meta.byte()
		w := wireType{kind: hi, meta: uint16(lo)}
		if hi&0x30 != 0x30 {
			w = wireType{kind: hi | 0x30, meta: uint16(lo) | uint16(hi&0x30^0x30)<<4}
		}
		if w.kind != wireString && w.kind != wireEnum && w.kind != wireSet {
			meta.bad = true
		}
		return w
	case wireDecimal:
		digits, scale := meta.byte(), meta.byte()
		if digits > 65 || scale > digits {
			meta.bad = true
		}
		return wireType{kind, uint16(digits)<<8 | uint16(scale)}
	case wireVarchar, wireVarString, wireBit, wireVarcharComp:
		return wireType{kind, meta.uint16()}
	case wireTime2, wireDateTime2, wireTimestamp2:
		digits := meta.byte()
		if digits > 6 {
			meta.bad = true
		}
		return wireType{kind, uint16(digits)}
	case wireBlob, wireBlobComp, wireDouble, wireFloat, wireGeometry, wireVector, wireJSON:
		return wireType{kind, uint16(meta.byte())}
	}
	return wireType{kind: kind}
}

func (m *metadata) read(field byte, c cursor) {
	switch field {
	case 1:
		m.signs = c.b
	case 2:
		m.defaulted = numbers(&c)
	case 3:
		m.charsets = numbers(&c)
	case 4:
		for len(c.b) > 0 {
			m.names = append(m.names, string(c.take(int(c.byte()))))
		}
	case 5:
		m.sets = labels(&c)
	case 6:
		m.enums = labels(&c)
	case 8:
		for _, n := range numbers(&c) {
			m.key = append(m.key, int(n))
		}
	case 9: // with the length of each prefix
		for i, n := range numbers(&c) {
			if i%2 == 0 {
				m.key = append(m.key, int(n))
			}
		}
	case 10:
		m.setDef = numbers(&c)
	case 11:
		m.setChars = numbers(&c)
	}
}

func numbers(c *cursor) []uint64 {
	var out []uint64
	for len(c.b) > 0 && !c.bad {
		out = append(out, uint64(c.packed()))
	}
	return out
}

func labels(c *cursor) [][]string {
	out := [][]string{}
	for len(c.b) > 0 && !c.bad {
		var list []string
		for n := c.packed(); n > 0 && !c.bad; n-- {
			list = append(list, string(c.take(c.packed())))
		}
		out = append(out, list)
	}
	return out
}

// spread turns the short form of the collations, a default and exceptions, into one for
// each column of the kind.
func (m *metadata) spread(types []wireType, mariadb bool) {
	texts, choices := 0, 0
	for _, t := range types {
		switch {
		case t.character(mariadb):
			texts++
		case t.kind == wireEnum || t.kind == wireSet:
			choices++
		}
	}
	m.charsets = spread(m.charsets, m.defaulted, texts)
	m.setChars = spread(m.setChars, m.setDef, choices)
}

func spread(list, short []uint64, n int) []uint64 {
	if len(list) == n && n > 0 || len(short)%2 == 0 {
		return list
	}
	list = make([]uint64, n)
	for i := range list {
		list[i] = short[0]
	}
	for i := 1; i+1 < len(short); i += 2 {
		if at := short[i]; at < uint64(n) {
			list[at] = short[i+1]
		}
	}
	return list
}

// character reports whether the server counts the type among those with a character set.
func (t wireType) character(mariadb bool) bool {
	switch t.kind {
	case wireString, wireVarString, wireVarchar, wireBlob, wireBlobComp, wireVarcharComp:
		return true
	case wireGeometry:
		return mariadb
	}
	return false
}

// numeric reports whether the server sends a sign for the type.
func (t wireType) numeric() bool {
	switch t.kind {
	case wireTiny, wireShort, wireInt24, wireLong, wireLongLong, wireDecimal, wireFloat, wireDouble, wireYear:
		return true
	}
	return false
}

// same reports whether both describe the same table in the same shape.
func (t *tableMap) same(body []byte) bool { return bytes.Equal(t.body, body) }
