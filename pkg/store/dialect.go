package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pressly/goose/v3"
)

// dialect is what differs between the databases, beside the migrations and the way in.
type dialect struct {
	goose  goose.Dialect
	suffix string // of its migrations
	shared bool   // other processes may have the store open
	// view is how a transaction sees one state of the store, update how it sees what
	// others have committed once it is its turn.
	view, update sql.TxOptions
	numbered     bool // arguments are $1, $2 …; queries are written with ?
	returning    bool // INSERT … RETURNING gives the number of a new row
	rowLocks     bool // SELECT … FOR UPDATE; else a transaction that writes is alone
	duplicateKey bool // ON DUPLICATE KEY UPDATE in the place of ON CONFLICT
	// answered reports whether err is the database's answer: what it refused was not
	// done. Else the connection broke, and after a commit nobody knows.
	answered func(err error) bool
}

// rebind writes query as the database wants it.
func (d *dialect) rebind(query string) string {
	if !d.numbered {
		return query
	}
	var b strings.Builder
	b.Grow(len(query) + 16)
	n := 0
	for {
		before, after, found := strings.Cut(query, "?")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		n++
		fmt.Fprintf(&b, "$%d", n)
		query = after
	}
}

// upsert is the statement that makes the row of that key have these columns. Its
// arguments are the key, then the columns.
func (d *dialect) upsert(table, key string, columns ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "INSERT INTO %s (%s, %s) VALUES (?%s)", table, key, strings.Join(columns, ", "), strings.Repeat(", ?", len(columns)))
	set, value := " ON CONFLICT ("+key+") DO UPDATE SET ", "excluded.%s"
	if d.duplicateKey {
		set, value = " ON DUPLICATE KEY UPDATE ", "VALUES(%s)"
	}
	for _, c := range columns {
		b.WriteString(set + c + " = " + fmt.Sprintf(value, c))
		set = ", "
	}
	return b.String()
}

// insertNew is the statement that inserts n rows; those whose key is there stay as they
// are.
func (d *dialect) insertNew(table string, columns []string, n int) string {
	row := list(len(columns))
	query := fmt.Sprintf("INSERT INTO %s (%s) VALUES %s%s", table, strings.Join(columns, ", "), row, strings.Repeat(", "+row, n-1))
	if d.duplicateKey {
		return query + fmt.Sprintf(" ON DUPLICATE KEY UPDATE %s = %s.%s", columns[0], table, columns[0])
	}
	return query + " ON CONFLICT DO NOTHING"
}

// updateEach is the statement that sets columns, of numbers and of texts, of n rows to
// values of their own; a condition on the table may follow. Its arguments are, for each
// row, the key, a number, and the values.
func (d *dialect) updateEach(table, key string, numbers, texts []string, n int) string {
	number, text := "CAST(? AS bigint)", "CAST(? AS text)"
	if d.duplicateKey { // MySQL
		number, text = "CAST(? AS signed)", "CAST(? AS char)"
	}
	row, names, set := []string{number}, []string{"column1 AS row_id"}, []string(nil)
	for i, c := range slices.Concat(numbers, texts) {
		value := number
		if i >= len(numbers) {
			value = text
		}
		row = append(row, value)
		names = append(names, fmt.Sprintf("column%d AS new_%s", i+2, c))
		set = append(set, fmt.Sprintf("%s = new_%[1]s", c))
	}
	found := fmt.Sprintf("%s.%s = v.row_id", table, key)
	if !d.duplicateKey {
		one := "(" + strings.Join(row, ", ") + ")"
		return fmt.Sprintf("UPDATE %s SET %s FROM (SELECT %s FROM (VALUES %s) AS given) AS v WHERE %s", table, strings.Join(set, ", "), strings.Join(names, ", "), one+strings.Repeat(", "+one, n-1), found)
	}
	for i, name := range names {
		_, as, _ := strings.Cut(name, " ")
		row[i] += " " + as
	}
	one := "SELECT " + strings.Join(row, ", ")
	return fmt.Sprintf("UPDATE %s JOIN (%s) AS v SET %s WHERE %s", table, one+strings.Repeat(" UNION ALL "+one, n-1), strings.Join(set, ", "), found)
}

// pool is a *sql.DB that takes queries with ? on every database.
type pool struct {
	*sql.DB
	d *dialect
}

// ExecContext is that of *sql.DB.
func (p *pool) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return p.DB.ExecContext(ctx, p.d.rebind(query), args...)
}

// QueryContext is that of *sql.DB.
func (p *pool) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return p.DB.QueryContext(ctx, p.d.rebind(query), args...)
}

// QueryRowContext is that of *sql.DB.
func (p *pool) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return p.DB.QueryRowContext(ctx, p.d.rebind(query), args...)
}

// transaction is a *sql.Tx that takes queries with ? on every database.
type transaction struct {
	*sql.Tx
	d *dialect
}

func (p *pool) begin(ctx context.Context, o *sql.TxOptions) (*transaction, error) {
	tx, err := p.BeginTx(ctx, o)
	if err != nil {
		return nil, err
	}
	return &transaction{tx, p.d}, nil
}

// ExecContext is that of *sql.Tx.
func (t *transaction) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return t.Tx.ExecContext(ctx, t.d.rebind(query), args...)
}

// QueryContext is that of *sql.Tx.
func (t *transaction) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return t.Tx.QueryContext(ctx, t.d.rebind(query), args...)
}

// QueryRowContext is that of *sql.Tx.
func (t *transaction) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return t.Tx.QueryRowContext(ctx, t.d.rebind(query), args...)
}

// insert inserts a row and gives the number that the database gave it in column.
func (t *transaction) insert(ctx context.Context, column, query string, args ...any) (number int64, err error) {
	if t.d.returning {
		err = t.QueryRowContext(ctx, query+" RETURNING "+column, args...).Scan(&number)
		return number, err
	}
	res, err := t.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return res.LastInsertId()
}

// ErrUnavailable says that the store cannot be used now; nothing was changed.
var ErrUnavailable = errors.New("the store cannot be used now")

// ErrInDoubt says that the connection broke while the store was committing: what was
// asked for may have been done.
var ErrInDoubt = errors.New("the connection to the store broke while it was committing: what was asked for may have been done")
