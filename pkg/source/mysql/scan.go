package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

var _ source.Scanner = (*Source)(nil)

// handedOver is the end of what was read of the log, all of it having been handed over: an
// open group lies behind it.
func (d *decoder) handedOver() uint64 {
	if d.group.open {
		return d.clock.seq(d.end.file, d.end.pos)
	}
	return d.clock.seq(d.file, d.pos)
}

// errBusyRows says that rows are being changed just now.
const errBusyRows = 3572

// Scan implements source.Scanner. The values are made exactly as those of the log. The
// place of a row is the text of its key.
func (s *Source) Scan(ctx context.Context, q source.Scan) (out source.Scanned, err error) {
	err = s.with(ctx, s.scans, s.scanned, q.Table, func(c *sql.Conn, srv *server, sh *rowShape) error {
		query, args, err := sh.scan(q)
		if err != nil {
			return err
		}
		out.Table = sh.table
		cut := false
		take := func(lock string) error {
			stmt, err := c.PrepareContext(ctx, query+lock)
			if err != nil {
				return err
			}
			defer stmt.Close()
			cut, err = sh.some(ctx, stmt, args, q.Bytes, &out.RowSet)
			return err
		}
		if srv.mariadb {
			out.Seq, out.Until, err = s.askMariaDB(ctx, c, srv, func() error { return take("") })
		} else {
			out.Seq, out.Until, err = s.askForScan(ctx, c, srv, take)
		}
		if err == nil && out.Seq == 0 {
			err = errors.New("another server than this one is being read")
		}
		if err != nil {
			return unreadable(q.Table, err)
		}
		if cut || len(out.Rows) == q.Limit {
			out.Next = sh.next(out.Rows[len(out.Rows)-1])
		}
		return nil
	})
	if err != nil {
		return source.Scanned{}, fmt.Errorf("read rows of %s: %w", q.Table, err)
	}
	return out, nil
}

// askForScan is askMySQL for all servers. One without GTIDs has no word for whether it has
// committed what was read of its log. But a transaction holds its locks until then: so the
// rows are read with locks, which nobody is waited for and which end with the query.
func (s *Source) askForScan(ctx context.Context, c *sql.Conn, srv *server, take func(lock string) error) (seq, until uint64, err error) {
	newest, set := s.newest()
	if set != "" && srv.named {
		return s.askMySQL(ctx, c, srv, func() error { return take("") })
	}
	// Without locks on the gaps between the rows. It holds for one transaction.
	if _, err := c.ExecContext(ctx, "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"); err != nil {
		return 0, 0, err
	}
	if err := take(" FOR SHARE NOWAIT"); err != nil {
		return 0, 0, err
	}
	end, err := readEnd(ctx, c, srv)
	if err != nil || s.clock.server() != srv.identity {
		return 0, 0, err
	}
	return newest + 1, s.clock.seq(end.file, end.pos), nil
}

// scan builds the query for a part of a table.
func (sh *rowShape) scan(q source.Scan) (query string, args []any, err error) {
	if len(sh.def.Key) == 0 {
		return "", nil, &source.TableError{Table: q.Table, Reason: "it has no primary key, by which its rows could be read in parts", Mend: fmt.Sprintf("ALTER TABLE %s ADD PRIMARY KEY (…);", quoted(q.Table))}
	}
	at, err := sh.places(sh.def.Key)
	if err != nil {
		return "", nil, err
	}
	exprs := make([]string, len(at))
	for n, i := range at {
		switch exprs[n] = quote(sh.def.Key[n]); sh.cols[i].class {
		case classEnum: // it is ordered by its labels' numbers, and compared with text by these
			exprs[n] += " + 0"
		case classSet:
			return "", nil, &source.TableError{Table: q.Table, Reason: "its primary key has a column of type SET, by which its rows cannot be read in parts", Mend: "use another key"}
		}
	}
	texts, err := q.Texts(sh.def.Key)
	if err != nil {
		return "", nil, err
	}
	where := ""
	if texts != nil {
		places := make([]any, len(at))
		for n, i := range at {
			if places[n], err = sh.cols[i].bound(texts[n]); err != nil {
				return "", nil, fmt.Errorf("column %q: %w", sh.def.Key[n], err)
			}
		}
		var either []string
		for n := range at {
			cond := ""
			for m := range n {
				cond += exprs[m] + " = " + sh.mark(at[m]) + " AND "
			}
			either = append(either, cond+exprs[n]+" > "+sh.mark(at[n]))
			args = append(args, places[:n+1]...)
		}
		where = " WHERE " + strings.Join(either, " OR ")
	}
	return "SELECT " + sh.list() + sh.from() + where + " ORDER BY " + strings.Join(exprs, ", ") + " LIMIT " + strconv.Itoa(q.Limit), args, nil
}

// bound is what the column is compared with to find what follows a value of that text.
func (c *column) bound(text string) (any, error) {
	switch c.class {
	case classFloat: // as it is stored: not the number that the text is
		f, err := strconv.ParseFloat(text, 32)
		return f, err
	case classEnum:
		return int64(slices.Index(c.labels, text) + 1), nil
	}
	return c.argument(text)
}

// next is the place of a row.
func (sh *rowShape) next(row []change.Value) []string {
	texts := make([]string, len(sh.def.Key))
	for n, name := range sh.def.Key {
		texts[n] = row[sh.table.Lookup(name)].Text
	}
	return source.ScanPlace(sh.def.Key, texts)
}

// unreadable makes of the refusals of a server that will not pass what a caller is told.
func unreadable(t source.TableName, err error) error {
	switch number(err) {
	case errTableDenied, errColumnDenied:
		return &source.TableError{Table: t, Reason: "its rows may not be read: " + err.Error(), Mend: fmt.Sprintf("GRANT SELECT ON %s TO the user of the source's url;", quoted(t))}
	case errBusyRows:
		return errors.New("rows are being changed just now")
	}
	return err
}

// Reached implements source.Scanner. The server sends its log as soon as it is written.
func (s *Source) Reached(ctx context.Context, until uint64) (seq uint64, err error) {
	return s.handed.Wait(ctx, until, func() {})
}

// Size implements source.Scanner.
func (s *Source) Size(ctx context.Context, table source.TableName) (int64, error) {
	var n sql.NullInt64
	err := s.scans.do(ctx, func(c *sql.Conn) error {
		return c.QueryRowContext(ctx, "SELECT TABLE_ROWS FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?", table.Schema, table.Name).Scan(&n)
	})
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return -1, nil
	case err != nil:
		return -1, fmt.Errorf("estimate rows of %s: %w", table, err)
	case !n.Valid:
		return -1, nil
	}
	return n.Int64, nil
}
