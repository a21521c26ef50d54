package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/waltrigger/waltrigger/pkg/source"
)

const (
	valueTimeout = 30 * time.Second // unless ctx ends before
	valueMessage = 1 << 20          // bytes of a message of the server's, errors included
)

// Value implements source.Catalog. It has a connection of its own for each call: these
// are rare, and a slow query holds up nobody.
func (s *Source) Value(ctx context.Context, query string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, valueTimeout)
	defer cancel()
	until, _ := ctx.Deadline()
	cfg, err := s.connector.config(map[string]string{
		"default_transaction_read_only": "on", "lock_timeout": "3s",
		"statement_timeout": strconv.FormatInt(max(time.Until(until).Milliseconds(), 1), 10), // the server does not notice that ctx ended
	})
	if err != nil {
		return "", err
	}
	cfg.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		f := pgproto3.NewFrontend(r, w)
		f.SetMaxBodyLen(valueMessage)
		return f
	}
	conn, err := pgconn.ConnectConfig(ctx, &cfg.Config)
	if err != nil {
		return "", fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }() // whatever it says, nothing is left to be said
	v, err := single(conn.ExecParams(ctx, query, nil, nil, nil, nil))
	return v, valueError(err)
}

// single reads one row of one column. It does not read on after a second row: the
// connection is closed anyway.
func single(r *pgconn.ResultReader) (string, error) {
	if !r.NextRow() {
		_, err := r.Close()
		if err == nil {
			err = errors.New("the query gives no row")
		}
		return "", err
	}
	if n := len(r.Values()); n != 1 {
		return "", fmt.Errorf("the query gives %d columns, not one", n)
	}
	if r.Values()[0] == nil {
		return "", errors.New("the query gives null")
	}
	if len(r.Values()[0]) > source.MaxValue {
		return "", errors.New("the query gives more than 64 KiB")
	}
	v := string(r.Values()[0])
	if r.NextRow() {
		return "", errors.New("the query gives more than one row")
	}
	_, err := r.Close()
	return v, err
}

// plainClasses are those of SQLSTATE whose messages name objects, privileges and
// settings, and never repeat values: transaction state, authorization, catalog, syntax or
// access, resources, object state, intervention.
var plainClasses = []string{"25", "28", "3D", "42", "53", "55", "57"}

func valueError(err error) error {
	var (
		pe    *pgconn.PgError
		large *pgproto3.ExceededMaxBodyLenErr
	)
	switch {
	case errors.As(err, &large):
		return errors.New("the query gives more than 64 KiB")
	case !errors.As(err, &pe):
		return err
	case len(pe.Code) == 5 && slices.Contains(plainClasses, pe.Code[:2]):
		return fmt.Errorf("%s (SQLSTATE %s)", pe.Message, pe.Code)
	}
	return fmt.Errorf("the query failed (SQLSTATE %s)", pe.Code) // its message may repeat a value
}
