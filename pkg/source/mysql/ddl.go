package mysql

import (
	"errors"
	"fmt"
	"strings"

	"github.com/waltrigger/waltrigger/pkg/source"
)

// statement is what a statement in the log does, as far as that matters to tables.
type statement struct {
	verb verb
	// The tables it names: those of DROP, TRUNCATE and a write; of RENAME the old and
	// the new name in turn; else the one table.
	tables []source.TableName
	// CREATE TABLE
	definition  *definition
	like        source.TableName
	ifNotExists bool
	// ALTER TABLE: from the first change on.
	changes *parser
	// CREATE, ALTER and DROP DATABASE
	database, charset string
}

type verb uint8

const (
	verbOther verb = iota
	verbCreate
	verbCreateLike
	verbAlter
	verbRename
	verbDrop
	verbTruncate
	verbDatabase
	verbDropDatabase
	verbWrite // a statement that changed rows which the log does not hold
)

var (
	errDDL    = errors.New("the statement that made it so is not understood")
	errLabels = errors.New("the labels of its enum or set were converted to another character set")
)

// parser reads the tokens of one statement.
type parser struct {
	tokens []token
	d      dialect
	schema string // the default one
	// defaults gives the character set of a database.
	defaults func(schema string) string
}

func (p *parser) peek() token {
	if len(p.tokens) == 0 {
		return token{}
	}
	return p.tokens[0]
}

func (p *parser) at(i int) token {
	if i >= len(p.tokens) {
		return token{}
	}
	return p.tokens[i]
}

func (p *parser) next() token {
	t := p.peek()
	if len(p.tokens) > 0 {
		p.tokens = p.tokens[1:]
	}
	return t
}

// word takes the next token if it is one of words.
func (p *parser) word(words ...string) bool {
	if p.peek().is(words...) {
		p.next()
		return true
	}
	return false
}

func (p *parser) symbol(c byte) bool {
	if p.peek().symbol(c) {
		p.next()
		return true
	}
	return false
}

// group skips what stands in parentheses, if it does.
func (p *parser) group() {
	if !p.symbol('(') {
		return
	}
	for depth := 1; depth > 0 && len(p.tokens) > 0; {
		switch t := p.next(); {
		case t.symbol('('):
			depth++
		case t.symbol(')'):
			depth--
		}
	}
}

// name takes a name, quoted or not.
func (p *parser) name() (string, bool) {
	t := p.peek()
	if t.kind != tokenWord && t.kind != tokenName {
		return "", false
	}
	p.next()
	return t.text, true
}

// table takes [schema.]name.
func (p *parser) table() (source.TableName, error) {
	first, ok := p.name()
	if !ok {
		return source.TableName{}, errDDL
	}
	t := source.TableName{Schema: p.schema, Name: first}
	if p.symbol('.') {
		second, ok := p.name()
		if !ok {
			return t, errDDL
		}
		t = source.TableName{Schema: first, Name: second}
	}
	if p.d.lower {
		t.Schema, t.Name = strings.ToLower(t.Schema), strings.ToLower(t.Name)
	}
	return t, nil
}

func (p *parser) tables() ([]source.TableName, error) {
	var out []source.TableName
	for {
		t, err := p.table()
		if err != nil {
			return out, err
		}
		out = append(out, t)
		if !p.symbol(',') {
			return out, nil
		}
	}
}

// parse reads a statement. The tables that it names are there even if it is not
// understood, as far as they could be read.
func (p *parser) parse() (statement, error) {
	switch {
	case p.word("CREATE"):
		return p.create()
	case p.word("ALTER"):
		return p.alter()
	case p.word("DROP"):
		return p.drop()
	case p.word("RENAME"):
		return p.rename()
	case p.word("TRUNCATE"):
		p.word("TABLE")
		t, err := p.tables()
		return statement{verb: verbTruncate, tables: t}, err
	case p.peek().is("INSERT", "UPDATE", "DELETE", "REPLACE", "LOAD", "WITH"):
		return p.write(), nil
	}
	return statement{}, nil
}

// write finds the table of a statement that changes rows, as well as that is possible.
func (p *parser) write() statement {
	s := statement{verb: verbWrite}
	update := p.peek().is("UPDATE")
	for p.next(); len(p.tokens) > 0; p.next() {
		if p.peek().is("LOW_PRIORITY", "HIGH_PRIORITY", "DELAYED", "IGNORE", "QUICK") {
			continue
		}
		if update || p.word("INTO", "FROM", "TABLE") || p.peek().kind == tokenName {
			if t, err := p.table(); err == nil {
				s.tables = append(s.tables, t)
			}
			break
		}
	}
	return s
}

func (p *parser) create() (statement, error) {
	if p.word("OR") {
		p.next() // REPLACE
	}
	switch {
	case p.word("DATABASE", "SCHEMA"):
		return p.createDatabase(verbDatabase)
	case p.word("TABLE"):
	default: // TEMPORARY TABLE, which is not in the log, and everything else
		return statement{}, nil
	}
	s := statement{verb: verbCreate}
	if p.word("IF") {
		p.next()
		p.next()
		s.ifNotExists = true
	}
	t, err := p.table()
	s.tables = []source.TableName{t}
	if err != nil {
		return s, err
	}
	like := p.word("LIKE")
	if !like && p.peek().symbol('(') && p.at(1).is("LIKE") {
		p.next()
		p.next()
		like = true
	}
	if like {
		s.verb = verbCreateLike
		s.like, err = p.table()
		return s, err
	}
	s.definition, err = p.body(t)
	return s, err
}

// body reads what a CREATE TABLE says in parentheses, and behind them.
func (p *parser) body(t source.TableName) (*definition, error) {
	if !p.symbol('(') {
		return nil, errDDL
	}
	// The table's character set stands at the end, and columns need it.
	d := &definition{Charset: p.tableCharset(t.Schema)}
	for {
		if err := p.item(d); err != nil {
			return nil, err
		}
		if p.symbol(')') {
			break
		}
		if !p.symbol(',') {
			return nil, errDDL
		}
	}
	for len(p.tokens) > 0 {
		if p.peek().is("SELECT") || p.peek().is("AS") && p.at(1).is("SELECT", "WITH") {
			return nil, errDDL // its columns are those of the query
		}
		p.group()
		p.next()
	}
	return d, nil
}

// tableCharset looks ahead for the character set among the options of a table.
func (p *parser) tableCharset(schema string) string {
	ahead := parser{tokens: p.tokens}
	for depth := 0; len(ahead.tokens) > 0; {
		switch t := ahead.next(); {
		case t.symbol('('):
			depth++
		case t.symbol(')'):
			depth--
		}
		if depth < 0 {
			break
		}
	}
	found := ""
	for len(ahead.tokens) > 0 {
		if cs, ok := ahead.charsetOption(); ok {
			found = moreExact(found, cs)
			continue
		}
		ahead.group()
		ahead.next()
	}
	if found == "" {
		return p.defaults(schema)
	}
	return found
}

// charsetOption takes CHARACTER SET x or COLLATE y, with or without a sign between.
func (p *parser) charsetOption() (string, bool) {
	collate := false
	switch {
	case p.peek().is("CHARSET"):
		p.next()
	case p.peek().is("CHARACTER", "CHAR") && p.at(1).is("SET"):
		p.next()
		p.next()
	case p.peek().is("COLLATE"):
		p.next()
		collate = true
	default:
		return "", false
	}
	p.symbol('=')
	name := strings.ToLower(p.next().text)
	if collate {
		return collationCharset(name), true
	}
	return charsetName(name), true
}

func charsetName(name string) string {
	switch name {
	case "utf8":
		return "utf8mb3"
	case "default":
		return ""
	}
	return name
}

// collationCharset is the character set of a collation, whose name begins with it; ""
// of those of MariaDB that go with several.
func collationCharset(name string) string {
	cs, _, _ := strings.Cut(name, "_")
	if cs == "uca1400" || cs == "default" {
		return ""
	}
	return charsetName(cs)
}

func moreExact(old, new string) string {
	if new == "" {
		return old
	}
	return new
}

func (p *parser) createDatabase(v verb) (statement, error) {
	if p.word("IF") {
		for p.word("NOT", "EXISTS") {
		}
	}
	s := statement{verb: v, database: p.schema}
	if t := p.peek(); t.kind == tokenName || t.kind == tokenWord && !t.is("DEFAULT", "CHARACTER", "CHARSET", "COLLATE", "ENCRYPTION", "READ", "COMMENT") {
		s.database = p.next().text
	}
	if p.d.lower {
		s.database = strings.ToLower(s.database)
	}
	for len(p.tokens) > 0 {
		if cs, ok := p.charsetOption(); ok {
			s.charset = moreExact(s.charset, cs)
			continue
		}
		p.next()
	}
	return s, nil
}

func (p *parser) drop() (statement, error) {
	switch {
	case p.word("DATABASE", "SCHEMA"):
		s, err := p.createDatabase(verbDropDatabase)
		return s, err
	case p.word("TABLE", "TABLES"):
		if p.word("IF") {
			p.next()
		}
		t, err := p.tables()
		return statement{verb: verbDrop, tables: t}, err
	}
	return statement{}, nil
}

func (p *parser) rename() (statement, error) {
	if !p.word("TABLE", "TABLES") {
		return statement{}, nil
	}
	s := statement{verb: verbRename}
	for {
		if p.word("IF") {
			p.next()
		}
		from, err := p.table()
		if err != nil {
			return s, err
		}
		if p.word("WAIT") {
			p.next()
		}
		p.word("NOWAIT")
		if !p.word("TO") {
			return s, errDDL
		}
		to, err := p.table()
		if err != nil {
			return s, err
		}
		s.tables = append(s.tables, from, to)
		if !p.symbol(',') {
			return s, nil
		}
	}
}

func (p *parser) alter() (statement, error) {
	for p.word("ONLINE", "OFFLINE", "IGNORE") {
	}
	if p.word("DATABASE", "SCHEMA") {
		return p.createDatabase(verbDatabase)
	}
	if !p.word("TABLE") {
		return statement{}, nil
	}
	if p.word("IF") {
		p.next()
	}
	t, err := p.table()
	if err != nil {
		return statement{verb: verbAlter}, err
	}
	if p.word("WAIT") {
		p.next()
	}
	p.word("NOWAIT")
	return statement{verb: verbAlter, tables: []source.TableName{t}, changes: p}, nil
}

func (s statement) String() string { return fmt.Sprintf("%v", s.tables) }
