package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"time"

	driversql "github.com/go-sql-driver/mysql"

	"github.com/waltrigger/waltrigger/pkg/source"
)

const (
	valueTimeout = 30 * time.Second // unless ctx ends before
	valueAnswer  = 1 << 20          // bytes that a server may send, all in all
)

var errLarge = errors.New("the query gives more than 64 KiB")

// Value implements source.Catalog. It has a connection of its own for each call: these
// are rare, and a slow query holds up nobody.
func (s *Source) Value(ctx context.Context, query string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, valueTimeout)
	defer cancel()
	if err := onlyReads(query); err != nil {
		return "", err
	}
	over := &atomic.Bool{}
	con, err := newConnector(s.connector.address, func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := s.connector.dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &bounded{Conn: c, left: valueAnswer, over: over}, nil
	})
	if err != nil {
		return "", err
	}
	db := sql.OpenDB(con)
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err != nil {
		return "", valueError(err, false)
	}
	defer conn.Close()
	until, _ := ctx.Deadline()
	ms := max(time.Until(until).Milliseconds(), 1) // the server does not notice that ctx ended
	limits := fmt.Sprintf("SET sql_select_limit = 2, innodb_lock_wait_timeout = 3 /*!50708 , max_execution_time = %d */ /*M!100101 , max_statement_time = %f */", ms, float64(ms)/1000)
	if _, err := conn.ExecContext(ctx, limits); err != nil {
		return "", valueError(err, false)
	}
	v, err := single(ctx, conn, query)
	return v, valueError(err, over.Load())
}

// onlyReads refuses what gives no row, before it can do anything: settings and calls are
// not bound by the session's being read-only.
func onlyReads(query string) error {
	tokens := lex(query, dialect{})
	for len(tokens) > 0 && tokens[0].symbol('(') {
		tokens = tokens[1:]
	}
	switch {
	case len(tokens) == 0:
		return errors.New("the query gives no row")
	case !tokens[0].is("SELECT", "WITH", "VALUES", "TABLE", "SHOW"):
		return errors.New("the query must be a SELECT, WITH, VALUES, TABLE or SHOW")
	}
	return nil
}

// single reads one row of one column.
func single(ctx context.Context, conn *sql.Conn, query string) (string, error) {
	rows, err := conn.QueryContext(ctx, query)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return "", err
	}
	if len(columns) == 0 || !rows.Next() {
		if err := rows.Err(); err != nil {
			return "", err
		}
		return "", errors.New("the query gives no row")
	}
	if len(columns) != 1 {
		return "", fmt.Errorf("the query gives %d columns, not one", len(columns))
	}
	var v sql.RawBytes
	if err := rows.Scan(&v); err != nil {
		return "", err
	}
	if v == nil {
		return "", errors.New("the query gives null")
	}
	if len(v) > source.MaxValue {
		return "", errLarge
	}
	out := string(v)
	if rows.Next() {
		return "", errors.New("the query gives more than one row")
	}
	return out, rows.Err()
}

// bounded is a connection over which only so much may come.
type bounded struct {
	net.Conn
	left int
	over *atomic.Bool
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		b.over.Store(true)
		return 0, errLarge
	}
	n, err := b.Conn.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// plainErrors are those whose messages name objects, privileges and settings, and never
// repeat values: access, catalog, syntax, locks, time and resources.
var plainErrors = []uint16{
	1040, 1044, 1045, 1049, 1053, 1054, 1064, 1142, 1143, 1146, 1203, 1205, 1213, 1222, 1226, 1227, 1305, 1317, 1370, 1792, 1969, 3024, 4019,
}

func valueError(err error, over bool) error {
	var me *driversql.MySQLError
	switch {
	case over:
		return errLarge
	case !errors.As(err, &me):
		return err
	case slices.Contains(plainErrors, me.Number):
		return fmt.Errorf("%s (error %d)", me.Message, me.Number)
	}
	return fmt.Errorf("the query failed (error %d)", me.Number) // its message may repeat a value
}
