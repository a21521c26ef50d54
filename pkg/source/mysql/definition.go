package mysql

import (
	"slices"
	"strconv"
	"strings"
)

// definition is a table as its DDL makes it, as far as reading its rows needs that. It
// is never changed: a statement makes a new one.
type definition struct {
	Columns []columnDef `json:"columns"`
	Key     []string    `json:"key,omitempty"`     // of the primary key, in its order
	Charset string      `json:"charset,omitempty"` // of text columns that name none
}

// columnDef is one column. Type is what the catalog shows as the column's type, in lower
// case but for labels: int(11) unsigned, enum('a','b').
type columnDef struct {
	Name    string `json:"name"`
	Type    string `json:"type"`
	Charset string `json:"charset,omitempty"` // of text, "binary" of the bytes
	JSON    bool   `json:"json,omitempty"`    // MariaDB: text, checked to be JSON
}

func (d *definition) index(name string) int {
	return slices.IndexFunc(d.Columns, func(c columnDef) bool { return strings.EqualFold(c.Name, name) })
}

// key gives the places of the primary key's columns.
func (d *definition) key() []int {
	var out []int
	for _, k := range d.Key {
		if i := d.index(k); i >= 0 {
			out = append(out, i)
		}
	}
	return out
}

func (d *definition) equal(o *definition) bool {
	return (d == nil) == (o == nil) && (d == nil || d.Charset == o.Charset && slices.Equal(d.Key, o.Key) && slices.Equal(d.Columns, o.Columns))
}

// columnType is a type's text taken apart.
type columnType struct {
	base     string // int, varchar, enum …
	args     []string
	unsigned bool
}

// parseType reads the text of a type, with labels as they were written.
func parseType(text string) columnType {
	base, rest, ok := strings.Cut(text, "(")
	if !ok {
		words := strings.Fields(text)
		if len(words) == 0 {
			return columnType{}
		}
		return columnType{base: words[0], unsigned: slices.Contains(words[1:], "unsigned") || slices.Contains(words[1:], "zerofill")}
	}
	t := columnType{base: strings.TrimSpace(base)}
	for {
		rest = strings.TrimLeft(rest, " ,")
		switch {
		case rest == "":
			return t
		case rest[0] == ')':
			words := strings.Fields(rest[1:])
			t.unsigned = slices.Contains(words, "unsigned") || slices.Contains(words, "zerofill")
			return t
		case rest[0] == '\'':
			var arg string
			arg, rest = unquote(rest)
			t.args = append(t.args, arg)
		default:
			n := strings.IndexAny(rest, ",)")
			if n < 0 {
				n = len(rest)
			}
			t.args = append(t.args, strings.TrimSpace(rest[:n]))
			rest = rest[n:]
		}
	}
}

// unquote reads '…', in which a quote stands twice; the catalog escapes nothing else.
func unquote(s string) (text, rest string) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		if s[i] == '\'' {
			if i+1 == len(s) || s[i+1] != '\'' {
				return b.String(), s[i+1:]
			}
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String(), ""
}

// kinds are the wire types of each type of a definition.
var kinds = map[string][]byte{
	"tinyint": {wireTiny}, "smallint": {wireShort}, "mediumint": {wireInt24}, "int": {wireLong}, "bigint": {wireLongLong},
	"decimal": {wireDecimal}, "float": {wireFloat}, "double": {wireDouble}, "bit": {wireBit}, "year": {wireYear},
	"date": {wireDate}, "time": {wireTime2, wireTime}, "datetime": {wireDateTime2, wireDateTime}, "timestamp": {wireTimestamp2, wireTimestamp},
	"char": {wireString}, "binary": {wireString}, "varchar": {wireVarchar, wireVarString, wireVarcharComp}, "varbinary": {wireVarchar, wireVarString, wireVarcharComp},
	"tinytext": {wireBlob, wireBlobComp}, "text": {wireBlob, wireBlobComp}, "mediumtext": {wireBlob, wireBlobComp}, "longtext": {wireBlob, wireBlobComp},
	"tinyblob": {wireBlob, wireBlobComp}, "blob": {wireBlob, wireBlobComp}, "mediumblob": {wireBlob, wireBlobComp}, "longblob": {wireBlob, wireBlobComp},
	"json": {wireJSON}, "enum": {wireEnum}, "set": {wireSet}, "vector": {wireVector, wireVarchar, wireVarString},
	"geometry": {wireGeometry}, "point": {wireGeometry}, "linestring": {wireGeometry}, "polygon": {wireGeometry}, "multipoint": {wireGeometry},
	"multilinestring": {wireGeometry}, "multipolygon": {wireGeometry}, "geometrycollection": {wireGeometry}, "geomcollection": {wireGeometry},
	"uuid": {wireString}, "inet6": {wireString}, "inet4": {wireString},
}

// fits reports whether rows laid out as m says can be rows of d.
func (d *definition) fits(m *tableMap) bool {
	if d == nil || len(d.Columns) != len(m.types) {
		return false
	}
	for i, c := range d.Columns {
		if !c.fits(m.types[i]) || m.extra.full() && m.extra.names[i] != c.Name {
			return false
		}
	}
	return true
}

func (c columnDef) fits(w wireType) bool {
	t := parseType(c.Type)
	if !slices.Contains(kinds[t.base], w.kind) {
		return false
	}
	arg := func(i int) int {
		if i >= len(t.args) {
			return -1
		}
		n, _ := strconv.Atoi(t.args[i])
		return n
	}
	digits := max(arg(0), 0)
	switch w.kind {
	case wireDecimal:
		return arg(0) == int(w.meta>>8) && arg(1) == int(w.meta&0xff)
	case wireTime2, wireDateTime2, wireTimestamp2:
		return digits == int(w.meta)
	case wireBit:
		return arg(0) == int(w.meta>>8)*8+int(w.meta&0xff)
	case wireEnum:
		return int(w.meta) == 1+min(len(t.args)/256, 1)
	}
	return true
}
