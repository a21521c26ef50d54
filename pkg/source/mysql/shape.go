package mysql

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

// shape is what decoding a row of one table needs.
type shape struct {
	table   *change.Table
	columns []column // of table.Columns
}

var errNoNames = errors.New("neither the log nor the history of the table says what its columns are called")

// shaper makes shapes. It belongs to one goroutine.
type shaper struct {
	mariadb  bool
	identity change.Identity
	charsets *charsets
	known    map[source.TableName]*change.Table
}

// shape joins what the log says of a table with its definition, which is nil or fits. Of
// what both say, the log's is taken.
func (b *shaper) shape(m *tableMap, def *definition) (*shape, error) {
	if def == nil && !m.extra.full() {
		return nil, errNoNames
	}
	sh := &shape{columns: make([]column, len(m.types))}
	columns := make([]change.Column, len(m.types))
	texts, numbers, enums, sets, choices := 0, 0, 0, 0, 0
	for i, w := range m.types {
		col := column{wireType: w}
		var d columnDef
		if def != nil {
			d = def.Columns[i]
		}
		t := parseType(d.Type)
		col.unsigned = t.unsigned
		charset := d.Charset
		if d.Type != "" && charset == "" && w.character(b.mariadb) {
			charset = "binary"
		}
		if w.numeric() {
			if numbers/8 < len(m.extra.signs) {
				col.unsigned = m.extra.signs[numbers/8]&(0x80>>(numbers%8)) != 0
			}
			numbers++
		}
		if w.character(b.mariadb) {
			charset = b.collation(m.extra.charsets, texts, charset)
			texts++
		}
		if w.kind == wireEnum || w.kind == wireSet {
			charset = b.collation(m.extra.setChars, choices, charset)
			choices++
		}
		switch w.kind {
		case wireEnum:
			col.labels = t.args
			if enums < len(m.extra.enums) && def == nil {
				col.labels = m.extra.enums[enums]
			}
			enums++
		case wireSet:
			col.labels = t.args
			if sets < len(m.extra.sets) && def == nil {
				col.labels = m.extra.sets[sets]
			}
			sets++
		}
		b.classify(&col, t, d, charset)
		if col.class == classUnknown {
			return nil, fmt.Errorf("column %d has type %d, which is not known", i+1, w.kind)
		}
		name, typ := d.Name, d.Type
		if m.extra.full() {
			name = m.extra.names[i]
		}
		if typ == "" {
			typ = col.class.String()
		}
		columns[i] = change.Column{Name: name, Type: typ}
		sh.columns[i] = col
	}
	key := m.extra.key
	if def != nil {
		key = def.key()
	}
	sh.table = b.table(m.name, columns, key)
	return sh, nil
}

// collation gives the character set of the nth column that has one.
func (b *shaper) collation(list []uint64, n int, otherwise string) string {
	if n >= len(list) {
		return otherwise
	}
	if name := b.charsets.byID[list[n]]; name != "" {
		return name
	}
	return otherwise
}

// table makes a table, or finds the one made before if it is the same.
func (b *shaper) table(name source.TableName, columns []change.Column, key []int) *change.Table {
	key = slices.DeleteFunc(slices.Clone(key), func(i int) bool { return i >= len(columns) })
	slices.Sort(key)
	for i := range columns {
		columns[i].Identity = b.identity == change.IdentityFull || slices.Contains(key, i)
	}
	t := change.NewTable(name.Schema, name.Name, columns, key, len(key) > 0, b.identity)
	if old := b.known[name]; old != nil && sameTable(old, t) {
		return old
	}
	b.known[name] = t
	return t
}

// tableOf makes the table of a definition, where there is no row.
func (b *shaper) tableOf(name source.TableName, def *definition) *change.Table {
	if def == nil {
		if old := b.known[name]; old != nil {
			return old
		}
		return b.table(name, nil, nil)
	}
	columns := make([]change.Column, len(def.Columns))
	for i, c := range def.Columns {
		columns[i] = change.Column{Name: c.Name, Type: c.Type}
	}
	return b.table(name, columns, def.key())
}

func sameTable(a, b *change.Table) bool {
	return a.Schema == b.Schema && a.Name == b.Name && a.Identity == b.Identity && slices.Equal(a.Key, b.Key) && slices.Equal(a.Columns, b.Columns)
}

// classify says how a column is decoded. t and d are its definition, if there is one.
func (b *shaper) classify(c *column, t columnType, d columnDef, charset string) {
	switch c.kind {
	case wireTiny, wireShort, wireInt24, wireLong, wireLongLong:
		c.class = classInt
		if c.kind == wireTiny && !c.unsigned && d.Type == "tinyint(1)" {
			c.class = classBool
		}
	case wireYear:
		c.class = classYear
	case wireFloat:
		c.class = classFloat
	case wireDouble:
		c.class = classDouble
	case wireDecimal:
		c.class = classDecimal
	case wireBit:
		c.class = classBit
		if c.meta == 1 {
			c.class = classBitBool
		}
	case wireDate:
		c.class = classDate
	case wireTime2:
		c.class = classTime
	case wireDateTime2:
		c.class = classDateTime
	case wireTimestamp2:
		c.class = classTimestamp
	case wireTime, wireDateTime, wireTimestamp:
		c.class = classOldTime + class(slices.Index([]byte{wireTime, wireDateTime, wireTimestamp}, c.kind))
	case wireEnum:
		c.class = classEnum
	case wireSet:
		c.class = classSet
	case wireJSON:
		c.class = classJSON
	case wireGeometry:
		c.class = classGeometry
	case wireVector:
		c.class = classVector
	case wireVarchar, wireVarString, wireVarcharComp, wireBlob, wireBlobComp, wireString:
		b.classifyText(c, t, d, charset)
	}
}

// classifyText tells text from bytes, and from the types of MariaDB that look like bytes.
func (b *shaper) classifyText(c *column, t columnType, d columnDef, charset string) {
	switch t.base {
	case "uuid":
		c.class = classUUID
		return
	case "inet6":
		c.class = classInet6
		return
	case "inet4":
		c.class = classInet4
		return
	case "vector":
		c.class = classVector
		return
	}
	c.cs = b.charsets.get(charset)
	switch {
	case c.cs == nil && c.kind == wireString:
		c.class, c.size = classBinary, int(c.meta)
	case c.cs == nil:
		c.class = classBytes
	case d.JSON:
		c.class = classJSONText
	default:
		c.class = classText
	}
}

// String names a class, for columns of which nothing else is known.
func (c class) String() string {
	names := [...]string{
		"unknown", "int", "tinyint(1)", "year", "float", "double", "decimal", "bit", "bit(1)", "date", "time", "datetime", "timestamp",
		"time", "datetime", "timestamp", "text", "blob", "binary", "enum", "set", "json", "json", "geometry", "vector", "uuid", "inet6", "inet4",
	}
	if int(c) < len(names) {
		return names[c]
	}
	return strconv.Itoa(int(c))
}
