package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

const (
	shapeFor  = 5 * time.Second // how long a table's columns are believed without asking
	unseenFor = 2 * time.Second // how long Rows waits for a commit that is in the log to become visible
	maxParams = 60000           // of a query
)

// rowShape is a table as the catalog has it, for Rows.
type rowShape struct {
	def        *definition
	table      *change.Table
	cols       []column
	collations []string // of the columns
	asked      time.Time
}

// knownServer is the server as it was asked last, or now.
func (s *Source) knownServer(ctx context.Context, c *sql.Conn) (*server, error) {
	if srv := s.known.Load(); srv != nil {
		return srv, nil
	}
	return s.server(ctx, c)
}

// rowShapes are those of a connection, which its turn guards.
type rowShapes map[source.TableName]*rowShape

func (s rowShapes) of(ctx context.Context, c *sql.Conn, srv *server, name source.TableName) (*rowShape, error) {
	old := s[name]
	if old != nil && time.Since(old.asked) < shapeFor {
		return old, nil
	}
	found, err := readDefinitions(ctx, c, srv, []string{name.Schema}, []string{name.Name})
	if err != nil {
		return nil, err
	}
	def := found[name]
	if def == nil {
		return nil, &source.TableError{Table: name, Reason: "it does not exist, or may not be read", Mend: "create it, or GRANT SELECT on it"}
	}
	b := shaper{mariadb: srv.mariadb, identity: srv.rowImage(), charsets: newCharsets(nil), known: map[source.TableName]*change.Table{}}
	if old != nil {
		b.known[name] = old.table
	}
	sh := &rowShape{def: def, table: b.tableOf(name, def), asked: time.Now()}
	for _, d := range def.Columns {
		sh.cols = append(sh.cols, b.selected(d))
	}
	if sh.collations, err = readCollations(ctx, c, name); err != nil {
		return nil, err
	}
	if len(sh.collations) != len(sh.cols) {
		return nil, errors.New("the table has changed just now")
	}
	s[name] = sh
	return sh, nil
}

// with calls f with a table as it is, on conn, whose turn guards shapes.
func (s *Source) with(ctx context.Context, conn *shared, shapes rowShapes, table source.TableName, f func(c *sql.Conn, srv *server, sh *rowShape) error) error {
	return stated(conn.do(ctx, func(c *sql.Conn) error {
		srv, err := s.knownServer(ctx, c)
		if err != nil {
			return err
		}
		sh, err := shapes.of(ctx, c, srv, table)
		if err != nil {
			return err
		}
		if err = f(c, srv, sh); err != nil {
			delete(shapes, table) // perhaps it changed just now
		}
		return err
	}))
}

// selected says how a column comes when it is selected.
func (b *shaper) selected(d columnDef) column {
	t := parseType(d.Type)
	c := column{unsigned: t.unsigned}
	if list := kinds[t.base]; len(list) > 0 {
		c.kind = list[0]
	}
	switch {
	case t.base == "bit" && len(t.args) > 0:
		n, _ := strconv.Atoi(t.args[0])
		c.meta = uint16(n/8)<<8 | uint16(n%8)
	case t.base == "json" && d.Charset == "" && b.mariadb:
		c.kind = wireBlob
	}
	c.labels = t.args
	charset := d.Charset
	if charset == "" {
		charset = "binary"
	}
	b.classify(&c, t, d, charset)
	return c
}

// places finds columns.
func (sh *rowShape) places(columns []string) ([]int, error) {
	at := make([]int, len(columns))
	for n, name := range columns {
		if at[n] = sh.table.Lookup(name); at[n] < 0 || sh.table.Columns[at[n]].Name != name {
			return nil, source.NoColumnError(name)
		}
	}
	return at, nil
}

// matching builds the condition that the columns at are one of n keys.
func (sh *rowShape) matching(at []int, n int) string {
	names, marks := make([]string, len(at)), make([]string, len(at))
	for k, i := range at {
		names[k], marks[k] = quote(sh.table.Columns[i].Name), sh.mark(i)
	}
	what, one := strings.Join(names, ", "), strings.Join(marks, ", ")
	if len(at) > 1 {
		what, one = "("+what+")", "("+one+")"
	}
	return what + " IN (" + strings.TrimSuffix(strings.Repeat(one+", ", n), ", ") + ")"
}

// arguments are what the columns at are compared with.
func (sh *rowShape) arguments(at []int, keys [][]string) ([]any, error) {
	var args []any
	for k, key := range keys {
		if len(key) != len(at) {
			return nil, fmt.Errorf("key %d has %d values, want %d", k, len(key), len(at))
		}
		for n, text := range key {
			arg, err := sh.cols[at[n]].argument(text)
			if err != nil {
				return nil, fmt.Errorf("column %q: %w", sh.table.Columns[at[n]].Name, err)
			}
			args = append(args, arg)
		}
	}
	return args, nil
}

func (sh *rowShape) from() string {
	return " FROM " + quoted(source.NameOf(sh.table))
}

// list names all columns.
func (sh *rowShape) list() string {
	var list []string
	for _, c := range sh.def.Columns {
		list = append(list, quote(c.Name))
	}
	return strings.Join(list, ", ")
}

// mark is the placeholder of a column's value. A decimal compared with text would be
// compared as a float.
func (sh *rowShape) mark(i int) string {
	if sh.cols[i].class == classDecimal {
		return "CAST(? AS " + strings.TrimSuffix(strings.TrimSuffix(sh.def.Columns[i].Type, " zerofill"), " unsigned") + ")"
	}
	return "?"
}

// argument turns the canonical text of a value into what the column is compared with.
func (c *column) argument(text string) (any, error) {
	switch c.class {
	case classInt, classBool, classYear:
		switch text {
		case "true":
			return int64(1), nil
		case "false":
			return int64(0), nil
		}
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return n, nil
		}
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return nil, errors.New("key is no number")
		}
		return n, nil
	case classFloat, classDouble:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, errors.New("key is no number")
		}
		return f, nil
	case classBit, classBitBool:
		n, err := strconv.ParseUint(strings.NewReplacer("true", "1", "false", "0").Replace(text), 2, 64)
		if err != nil {
			return nil, errors.New("key is no row of bits")
		}
		return n, nil
	case classBytes, classBinary:
		return []byte(text), nil
	case classDateTime, classTimestamp, classOldDateTime, classOldTimestamp:
		return strings.TrimSuffix(strings.Replace(text, "T", " ", 1), "Z"), nil
	case classDecimal, classText, classEnum, classUUID, classInet4, classInet6, classDate, classTime, classOldTime:
		return text, nil
	}
	return nil, fmt.Errorf("rows cannot be looked up by %s", c.class)
}

// read asks for rows of all columns.
func (sh *rowShape) read(ctx context.Context, c *sql.Conn, query string, args []any, out *source.RowSet) error {
	stmt, err := c.PrepareContext(ctx, query)
	if err != nil {
		return err
	}
	defer stmt.Close()
	return sh.rows(ctx, stmt, args, out)
}

// rows is some of all.
func (sh *rowShape) rows(ctx context.Context, stmt *sql.Stmt, args []any, out *source.RowSet) error {
	_, err := sh.some(ctx, stmt, args, 0, out)
	return err
}

// some takes the rows of a prepared statement, whose answer holds numbers as they are
// stored; printed, a float would have lost digits.
// Those are taken that have so many bytes together, or one more (0: all); cut: there were
// others.
func (sh *rowShape) some(ctx context.Context, stmt *sql.Stmt, args []any, most int, out *source.RowSet) (cut bool, err error) {
	rows, err := stmt.QueryContext(ctx, args...)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	got := make([]any, len(sh.cols))
	to := make([]any, len(sh.cols))
	for i := range to {
		to[i] = &got[i]
	}
	size := 0
	for rows.Next() {
		if most > 0 && size >= most {
			return true, nil
		}
		if err := rows.Scan(to...); err != nil {
			return false, err
		}
		row := make([]change.Value, len(sh.cols))
		for i := range sh.cols {
			row[i] = sh.cols[i].selectedValue(got[i])
			size += len(row[i].Text)
		}
		out.Rows = append(out.Rows, row)
	}
	return false, rows.Err()
}

// selectedValue makes of a column that was selected the value that the log gives.
func (c *column) selectedValue(v any) change.Value {
	var b []byte
	switch v := v.(type) {
	case nil:
		return change.Value{Kind: change.Null}
	case int64:
		return c.selectedInt(strconv.FormatInt(v, 10))
	case uint64:
		return c.selectedInt(strconv.FormatUint(v, 10))
	case float32:
		return change.Value{Kind: change.Float, Text: string(appendFloat(nil, float64(v), 32))}
	case float64:
		return change.Value{Kind: change.Float, Text: string(appendFloat(nil, v, 64))}
	case []byte:
		b = v
	case string:
		b = []byte(v)
	default:
		b = fmt.Append(nil, v)
	}
	s := string(b)
	switch c.class {
	case classInt, classBool, classYear:
		return c.selectedInt(s)
	case classDecimal:
		return change.Value{Kind: change.Decimal, Text: trimZeros(s)}
	case classBit:
		return change.Value{Kind: change.String, Text: string(appendBits(nil, big(b), int(c.meta>>8)*8+int(c.meta&0xff)))}
	case classBitBool:
		return change.Value{Kind: change.Bool, Text: strconv.FormatBool(big(b) != 0)}
	case classDate:
		return change.Value{Kind: change.Date, Text: s}
	case classTime, classOldTime:
		return change.Value{Kind: change.Time, Text: trimFraction(s)}
	case classDateTime, classOldDateTime:
		return change.Value{Kind: change.DateTime, Text: moment(trimFraction(s))}
	case classTimestamp, classOldTimestamp:
		s = trimFraction(s)
		if s != zeroTimestamp {
			s = moment(s) + "Z"
		}
		return change.Value{Kind: change.Timestamp, Text: s}
	case classBytes, classBinary:
		return change.Value{Kind: change.Bytes, Text: s}
	case classSet:
		return change.Value{Kind: change.Array, Text: string(appendSet(nil, c.labels, setBits(c.labels, s)))}
	case classJSON:
		return change.Value{Kind: change.JSON, Text: s}
	case classJSONText:
		return jsonText(s)
	case classGeometry:
		return change.Value{Kind: change.String, Text: string(appendGeometry(nil, b))}
	case classVector:
		return change.Value{Kind: change.Array, Text: string(appendVector(nil, b))}
	case classUUID:
		return change.Value{Kind: change.UUID, Text: s}
	}
	return change.Value{Kind: change.String, Text: s}
}

func (c *column) selectedInt(s string) change.Value {
	s = trimZeros(s)
	if c.class == classBool && (s == "0" || s == "1") {
		return change.Value{Kind: change.Bool, Text: strconv.FormatBool(s == "1")}
	}
	return change.Value{Kind: change.Int, Text: s}
}

// trimZeros takes away what ZEROFILL adds.
func trimZeros(s string) string {
	for len(s) > 1 && s[0] == '0' && s[1] != '.' {
		s = s[1:]
	}
	return s
}

// trimFraction ends a time with its last digit that counts.
func trimFraction(s string) string {
	if !strings.Contains(s, ".") {
		return s
	}
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

// moment puts the T of RFC 3339 between date and time, where there is such a date.
func moment(s string) string {
	if len(s) < 19 || s[:4] == "0000" || s[5:7] == "00" || s[8:10] == "00" {
		return s
	}
	return s[:10] + "T" + s[11:]
}

// setBits finds the bits of a set's labels, joined by commas.
func setBits(labels []string, s string) uint64 {
	var bits uint64
	for _, l := range strings.Split(s, ",") {
		for i, have := range labels {
			if have == l && l != "" {
				bits |= 1 << i
			}
		}
	}
	return bits
}
