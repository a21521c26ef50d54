package mysql

import (
	"slices"
	"strings"

	"github.com/waltrigger/waltrigger/pkg/source"
)

// alteration is an ALTER TABLE at work. Its changes name columns as they were called
// before all of them (CHANGE a b …, CHANGE b a … exchanges two), but places as they are
// called after.
type alteration struct {
	p       *parser
	charset string
	columns []altered
	key     []string // as the columns were called, unless new
	newKey  bool
	renamed *source.TableName
}

type altered struct {
	columnDef
	was string // "" of a new column
}

// applyTo applies the changes of an ALTER TABLE to base. A change that is there already
// is passed over: the catalog may have been read a moment after it was made. renamed is
// the table's new name; it is known without a base, too.
func (p *parser) applyTo(base *definition) (d *definition, renamed *source.TableName, err error) {
	a := &alteration{p: p}
	if base != nil {
		a.charset, a.key = base.Charset, slices.Clone(base.Key)
		for _, c := range base.Columns {
			a.columns = append(a.columns, altered{c, c.Name})
		}
	}
	for len(p.tokens) > 0 {
		if err := a.change(); err != nil {
			return nil, a.renamed, err
		}
		p.skip()
		p.symbol(',')
		p.symbol(')')
	}
	if base == nil {
		return nil, a.renamed, nil
	}
	return a.result(), a.renamed, nil
}

func (a *alteration) result() *definition {
	d := &definition{Charset: a.charset, Key: a.key}
	for _, c := range a.columns {
		d.Columns = append(d.Columns, c.columnDef)
	}
	if a.newKey {
		return d
	}
	for i, k := range d.Key {
		if at := a.find(k); at >= 0 {
			d.Key[i] = a.columns[at].Name
		}
	}
	return d
}

// find gives the column that was called so before; else one that is called so now.
func (a *alteration) find(name string) int {
	i := slices.IndexFunc(a.columns, func(c altered) bool { return strings.EqualFold(c.was, name) })
	if i < 0 {
		i = a.findNew(name)
	}
	return i
}

func (a *alteration) findNew(name string) int {
	return slices.IndexFunc(a.columns, func(c altered) bool { return strings.EqualFold(c.Name, name) })
}

func (a *alteration) change() error {
	p := a.p
	switch {
	case p.word("ADD"):
		return a.add()
	case p.word("DROP"):
		return a.drop()
	case p.word("MODIFY"):
		p.word("COLUMN")
		a.ifExists()
		name, ok := p.name()
		if !ok {
			return errDDL
		}
		return a.replace(name, name)
	case p.word("CHANGE"):
		p.word("COLUMN")
		a.ifExists()
		old, ok1 := p.name()
		name, ok2 := p.name()
		if !ok1 || !ok2 {
			return errDDL
		}
		return a.replace(old, name)
	case p.word("RENAME"):
		return a.rename()
	case p.word("CONVERT"):
		p.word("TO")
		if cs, ok := p.charsetOption(); ok {
			for more := true; more; {
				var next string
				if next, more = p.charsetOption(); more {
					cs = moreExact(cs, next)
				}
			}
			return a.convert(cs)
		}
	case p.peek().is("DEFAULT", "CHARACTER", "CHARSET", "COLLATE"):
		p.word("DEFAULT")
		for {
			cs, ok := p.charsetOption()
			if !ok {
				return nil
			}
			a.charset = moreExact(a.charset, cs)
		}
	}
	return nil
}

func (a *alteration) ifExists() {
	if a.p.word("IF") {
		a.p.word("NOT")
		a.p.word("EXISTS")
	}
}

func (a *alteration) add() error {
	p := a.p
	if p.peek().is("PARTITION", "SYSTEM") {
		return nil
	}
	d := &definition{}
	if p.keyItem(d) {
		if d.Key != nil {
			a.setKey(d.Key)
		}
		return nil
	}
	p.word("COLUMN")
	a.ifExists()
	if !p.symbol('(') {
		return a.addOne()
	}
	for {
		if err := a.addOne(); err != nil {
			return err
		}
		if !p.symbol(',') {
			p.symbol(')')
			return nil
		}
	}
}

func (a *alteration) setKey(key []string) { a.key, a.newKey = key, true }

func (a *alteration) addOne() error {
	name, ok := a.p.name()
	if !ok {
		return errDDL
	}
	c, at, err := a.p.column(name, a.charset)
	if err != nil {
		return err
	}
	if a.findNew(name) < 0 {
		a.insert(altered{columnDef: c}, at)
	}
	if at.primary {
		a.setKey([]string{name})
	}
	return nil
}

// insert puts a column in its place.
func (a *alteration) insert(c altered, at spot) {
	to := len(a.columns)
	switch {
	case at.first:
		to = 0
	case at.after != "":
		if i := a.findNew(at.after); i >= 0 {
			to = i + 1
		}
	}
	a.columns = slices.Insert(a.columns, to, c)
}

func (a *alteration) drop() error {
	p := a.p
	switch {
	case p.word("PRIMARY"):
		p.word("KEY")
		a.setKey(nil)
		return nil
	case p.peek().is("INDEX", "KEY", "FOREIGN", "CONSTRAINT", "CHECK", "PARTITION", "SYSTEM") || p.peek().is("PERIOD") && p.at(1).is("FOR"):
		return nil
	}
	p.word("COLUMN")
	a.ifExists()
	name, ok := p.name()
	if !ok {
		return errDDL
	}
	if i := a.find(name); i >= 0 {
		a.columns = slices.Delete(a.columns, i, i+1)
	}
	a.key = slices.DeleteFunc(a.key, func(k string) bool { return strings.EqualFold(k, name) })
	return nil
}

// replace is MODIFY and CHANGE.
func (a *alteration) replace(old, name string) error {
	c, at, err := a.p.column(name, a.charset)
	if err != nil {
		return err
	}
	i := a.find(old)
	if i < 0 {
		i = a.findNew(name)
	}
	if i < 0 {
		return nil
	}
	a.columns[i].columnDef = c
	if at.first || at.after != "" {
		moved := a.columns[i]
		a.columns = slices.Delete(a.columns, i, i+1)
		a.insert(moved, at)
	}
	if at.primary {
		a.setKey([]string{name})
	}
	return nil
}

func (a *alteration) rename() error {
	p := a.p
	switch {
	case p.word("COLUMN"):
		a.ifExists()
		old, ok1 := p.name()
		to := p.word("TO")
		name, ok2 := p.name()
		if !ok1 || !to || !ok2 {
			return errDDL
		}
		if i := a.find(old); i >= 0 {
			a.columns[i].Name = name
		}
		return nil
	case p.peek().is("INDEX", "KEY"):
		return nil
	}
	p.word("TO", "AS")
	p.symbol('=')
	t, err := p.table()
	a.renamed = &t
	return err
}

// convert is CONVERT TO CHARACTER SET: of the table and of every text column. The servers
// do not convert labels properly: their bytes are taken for the new set's, or lost.
func (a *alteration) convert(cs string) error {
	if cs == "" {
		return nil
	}
	a.charset = cs
	for i := range a.columns {
		c := &a.columns[i]
		if c.Charset == "" || c.Charset == cs {
			continue
		}
		t := parseType(c.Type)
		if binaries[t.base] == "" && !ascii([]byte(c.Type)) {
			return errLabels
		}
		c.Charset = cs
		if bin := binaries[t.base]; cs == "binary" && bin != "" {
			c.Type, c.Charset = strings.Replace(c.Type, t.base, bin, 1), ""
		}
	}
	return nil
}
