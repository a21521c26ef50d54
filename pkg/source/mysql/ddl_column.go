package mysql

import (
	"slices"
	"strconv"
	"strings"
)

// item reads one item of a CREATE TABLE, a column or a key.
func (p *parser) item(d *definition) error {
	if p.keyItem(d) {
		return nil
	}
	name, ok := p.name()
	if !ok {
		return errDDL
	}
	c, place, err := p.column(name, d.Charset)
	if err != nil {
		return err
	}
	d.Columns = append(d.Columns, c)
	if place.primary {
		d.Key = []string{name}
	}
	return nil
}

// keyItem takes a key or another constraint; false if it is a column.
func (p *parser) keyItem(d *definition) bool {
	t := p.peek()
	switch {
	case t.is("CONSTRAINT"):
		p.next()
		if t := p.peek(); t.kind == tokenName || !t.is("PRIMARY", "UNIQUE", "FOREIGN", "CHECK") {
			p.next()
		}
	case t.is("PRIMARY", "UNIQUE", "INDEX", "KEY", "FULLTEXT", "SPATIAL", "FOREIGN", "CHECK"):
	case t.is("PERIOD") && p.at(1).is("FOR"):
	case t.is("VECTOR") && p.at(1).is("INDEX", "KEY"):
	default:
		return false
	}
	if p.word("PRIMARY") {
		d.Key = p.keyColumns()
	}
	p.skip()
	return true
}

// keyColumns reads the columns of a primary key, behind PRIMARY.
func (p *parser) keyColumns() []string {
	for len(p.tokens) > 0 && !p.peek().symbol('(') { // KEY, a name, USING BTREE
		p.next()
	}
	p.symbol('(')
	var out []string
	for len(p.tokens) > 0 && !p.symbol(')') {
		if name, ok := p.name(); ok {
			out = append(out, name)
			p.group() // the length of a prefix
			p.word("ASC", "DESC")
		} else {
			p.next()
		}
	}
	return out
}

// skip goes to the comma or parenthesis that ends an item.
func (p *parser) skip() {
	for len(p.tokens) > 0 && !p.peek().symbol(',') && !p.peek().symbol(')') {
		if p.peek().symbol('(') {
			p.group()
		} else {
			p.next()
		}
	}
}

// spot is what a column's definition says beside the column.
type spot struct {
	primary bool
	first   bool
	after   string
}

// types that go by several names.
var synonyms = map[string]string{
	"integer": "int", "int4": "int", "int1": "tinyint", "int2": "smallint", "int3": "mediumint", "middleint": "mediumint", "int8": "bigint",
	"dec": "decimal", "numeric": "decimal", "fixed": "decimal", "number": "decimal", "float4": "float", "float8": "double", "real": "double",
	"character": "char", "nchar": "char", "varcharacter": "varchar", "nvarchar": "varchar", "varchar2": "varchar", "raw": "varbinary", "clob": "longtext",
	"geomcollection": "geometrycollection",
}

// binaries are the types that text types become with the character set binary.
var binaries = map[string]string{
	"char": "binary", "varchar": "varbinary", "tinytext": "tinyblob", "text": "blob", "mediumtext": "mediumblob", "longtext": "longblob",
}

func textual(base string) bool { return binaries[base] != "" || base == "enum" || base == "set" }

// column reads a column's definition, behind its name.
func (p *parser) column(name, charset string) (columnDef, spot, error) {
	c := columnDef{Name: name}
	var place spot
	t, explicit, err := p.columnType()
	if err != nil {
		return c, place, err
	}
	unsigned, zerofill := t.unsigned, false
	json := t.base == "json" && p.d.mariadb
	if json {
		t.base, explicit = "longtext", "utf8mb4"
	}
	for len(p.tokens) > 0 && !p.peek().symbol(',') && !p.peek().symbol(')') {
		if cs, ok := p.charsetOption(); ok {
			explicit = moreExact(explicit, cs)
			continue
		}
		switch tok := p.next(); {
		case tok.symbol('('):
			p.tokens = append([]token{tok}, p.tokens...)
			p.group()
		case tok.is("UNSIGNED"):
			unsigned = true
		case tok.is("ZEROFILL"):
			unsigned, zerofill = true, true
		case tok.is("ASCII"):
			explicit = "latin1"
		case tok.is("UNICODE"):
			explicit = "ucs2"
		case tok.is("BYTE"):
			explicit = "binary"
		case tok.is("UNIQUE"):
			p.word("KEY")
		case tok.is("PRIMARY"):
			p.word("KEY")
			place.primary = true
		case tok.is("KEY"):
			place.primary = true
		case tok.is("CHECK"):
			json = json || p.d.mariadb && p.checksJSON(name)
		case tok.is("FIRST"):
			place.first = true
		case tok.is("AFTER"):
			place.after = p.next().text
		}
	}
	if textual(t.base) {
		c.Charset = moreExact(charset, explicit)
		if c.Charset == "binary" && binaries[t.base] != "" {
			t.base, c.Charset = binaries[t.base], ""
		}
	}
	c.Type, c.JSON = t.text(unsigned, zerofill), json
	return c, place, nil
}

// checksJSON reports whether the check that follows is json_valid(name).
func (p *parser) checksJSON(name string) bool {
	return p.at(0).symbol('(') && p.at(1).is("json_valid") && p.at(2).symbol('(') && strings.EqualFold(p.at(3).text, name) && p.at(4).symbol(')') && p.at(5).symbol(')')
}

// columnType reads a type with what belongs to it. explicit is a character set that the
// type itself names.
func (p *parser) columnType() (t columnType, explicit string, err error) {
	first := p.next()
	if first.kind != tokenWord {
		return t, "", errDDL
	}
	base := strings.ToLower(first.text)
	national := base == "nchar" || base == "nvarchar"
	if base == "national" {
		national, base = true, strings.ToLower(p.next().text)
	}
	if s := synonyms[base]; s != "" {
		base = s
	}
	switch {
	case base == "long":
		base = "mediumtext"
		if p.word("VARBINARY") {
			base = "mediumblob"
		} else {
			p.word("VARCHAR", "CHAR")
			p.word("VARYING")
		}
	case base == "char" && p.word("VARYING"):
		base = "varchar"
	case base == "double":
		p.word("PRECISION")
	}
	if national {
		explicit = "utf8mb3"
	}
	t.base = base
	if p.symbol('(') {
		for len(p.tokens) > 0 && !p.symbol(')') {
			if tok := p.next(); !tok.symbol(',') {
				t.args = append(t.args, tok.text)
			}
		}
	}
	switch base {
	case "bool", "boolean":
		t = columnType{base: "tinyint", args: []string{"1"}}
	case "serial":
		t = columnType{base: "bigint", unsigned: true}
	case "float":
		if len(t.args) == 1 {
			if n, _ := strconv.Atoi(t.args[0]); n > 24 {
				t.base = "double"
			}
			t.args = nil
		}
	case "decimal":
		t.args = append(t.args, []string{"10", "0"}[min(len(t.args), 2):]...)
	case "bit":
		if len(t.args) == 0 {
			t.args = []string{"1"}
		}
	}
	if kinds[t.base] == nil {
		return t, "", errDDL
	}
	return t, explicit, nil
}

// text is the type as the catalog shows it.
func (t columnType) text(unsigned, zerofill bool) string {
	s := t.base
	args := t.args
	switch t.base {
	case "time", "datetime", "timestamp":
		if len(args) > 0 && args[0] == "0" {
			args = nil
		}
	case "enum", "set":
		args = slices.Clone(args)
		for i, a := range args {
			args[i] = "'" + strings.ReplaceAll(strings.TrimRight(a, " "), "'", "''") + "'"
		}
	case "tinytext", "text", "mediumtext", "longtext", "tinyblob", "blob", "mediumblob", "longblob", "year":
		args = nil
	}
	if len(args) > 0 {
		s += "(" + strings.Join(args, ",") + ")"
	}
	if unsigned {
		s += " unsigned"
	}
	if zerofill {
		s += " zerofill"
	}
	return s
}
