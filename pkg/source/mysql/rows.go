package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/waltrigger/waltrigger/pkg/source"
)

// Rows implements source.Catalog. The values are made exactly as those of the log.
func (s *Source) Rows(ctx context.Context, q source.Query) (source.RowSet, error) {
	out := source.RowSet{Of: []int{}}
	var err error
	out.Seq, out.Until, err = s.consult(ctx, q, func(c *sql.Conn, sh *rowShape, at []int) error {
		out.Table = sh.table
		return sh.take(ctx, c, q, at, &out)
	})
	if err != nil {
		return source.RowSet{}, fmt.Errorf("read rows of %s: %w", q.Table, err)
	}
	return out, nil
}

// Counts implements source.Catalog.
func (s *Source) Counts(ctx context.Context, q source.Query) (source.CountSet, error) {
	out := source.CountSet{Counts: make([]int64, len(q.Keys))}
	var err error
	out.Seq, out.Until, err = s.consult(ctx, q, func(c *sql.Conn, sh *rowShape, at []int) error {
		return sh.each(ctx, c, "SELECT COUNT(*)"+sh.from()+" WHERE "+sh.matching(at, 1), q.Keys, at, func(k int, stmt *sql.Stmt, args []any) error {
			return stmt.QueryRowContext(ctx, args...).Scan(&out.Counts[k])
		})
	})
	if err != nil {
		return source.CountSet{}, fmt.Errorf("count rows of %s: %w", q.Table, err)
	}
	return out, nil
}

// consult lets take ask for rows of q.Table when it is known what queries show by then.
func (s *Source) consult(ctx context.Context, q source.Query, take func(c *sql.Conn, sh *rowShape, at []int) error) (seq, until uint64, err error) {
	if len(q.Keys) == 0 || len(q.Columns) == 0 {
		return 0, 0, errors.New("no keys")
	}
	err = s.with(ctx, s.rows, s.shapes, q.Table, func(c *sql.Conn, srv *server, sh *rowShape) error {
		at, err := sh.places(q.Columns)
		if err != nil {
			return err
		}
		ask := s.askMySQL
		if srv.mariadb {
			ask = s.askMariaDB
		}
		seq, until, err = ask(ctx, c, srv, func() error { return take(c, sh, at) })
		return err
	})
	return seq, until, err
}

// newest is the Seq of the last group that was read of the log, and the names of all
// that were; 0 where nothing is being read.
func (s *Source) newest() (seq uint64, set string) {
	s.mu.Lock()
	p := s.progress
	s.mu.Unlock()
	if p == nil {
		return 0, ""
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.set != nil {
		set = p.set.String()
	}
	return p.seq, set
}

var errUnseen = errors.New("a transaction that is in the log cannot be seen yet: does its commit wait for a replica?")

// askMariaDB reads in a transaction that sees just what the log has up to a place that
// the server tells. What is in the log is visible a moment later, once the storage engine
// has committed it: until then it is asked again.
func (s *Source) askMariaDB(ctx context.Context, c *sql.Conn, srv *server, take func() error) (seq, until uint64, err error) {
	newest, _ := s.newest()
	for deadline := time.Now().Add(unseenFor); ; {
		if _, err := c.ExecContext(ctx, "START TRANSACTION WITH CONSISTENT SNAPSHOT"); err != nil {
			return 0, 0, err
		}
		seq, err = s.snapshotSeq(ctx, c, srv)
		seen := seq == 0 || seq > newest
		if err == nil && seen {
			err = take()
		}
		if _, e := c.ExecContext(context.WithoutCancel(ctx), "COMMIT"); err == nil {
			err = e
		}
		if err != nil || seen {
			return seq, seq, err
		}
		if time.Now().After(deadline) {
			return 0, 0, errUnseen
		}
		select {
		case <-ctx.Done():
			return 0, 0, ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}

// snapshotSeq asks which place in the log the open transaction sees; 0 if that is another
// log than the one that is read.
func (s *Source) snapshotSeq(ctx context.Context, c *sql.Conn, srv *server) (seq uint64, err error) {
	var file string
	var pos uint64
	err = each(ctx, c, "SHOW STATUS LIKE 'binlog_snapshot_%'", nil, func(scan func(...any) error) error {
		var name, value string
		err := scan(&name, &value)
		switch strings.ToLower(name) {
		case "binlog_snapshot_file":
			file = value
		case "binlog_snapshot_position":
			pos, err = strconv.ParseUint(value, 10, 64)
		}
		return err
	})
	if err != nil || file == "" || s.clock.server() != srv.identity {
		return 0, err
	}
	return s.clock.seq(file, pos), nil
}

// askMySQL waits until the server has committed all that was read of its log, and asks
// for the end of the log last: nothing behind that was visible. A server without GTIDs
// has no word for the former, and its answers promise nothing.
func (s *Source) askMySQL(ctx context.Context, c *sql.Conn, srv *server, take func() error) (seq, until uint64, err error) {
	newest, set := s.newest()
	if set != "" && srv.named {
		var timedOut sql.NullInt64
		if err := c.QueryRowContext(ctx, "SELECT WAIT_FOR_EXECUTED_GTID_SET(?, ?)", set, unseenFor.Seconds()).Scan(&timedOut); err != nil {
			return 0, 0, err
		}
		if !timedOut.Valid || timedOut.Int64 != 0 {
			return 0, 0, errUnseen
		}
		seq = newest + 1
	}
	if err := take(); err != nil {
		return 0, 0, err
	}
	end, err := readEnd(ctx, c, srv)
	if err != nil || seq == 0 || s.clock.server() != srv.identity {
		return 0, 0, err
	}
	return seq, s.clock.seq(end.file, end.pos), nil
}

// take reads the rows of q. Those of many keys are read in one query where texts tell
// which key a row belongs to: no two of them are equal for the database, or at most one
// row of the table has such a key. The others are asked for one by one, and so are keys
// that are equal to that of a row without being the same text.
func (sh *rowShape) take(ctx context.Context, c *sql.Conn, q source.Query, at []int, out *source.RowSet) error {
	single := make([]int, len(q.Keys)) // places of keys
	for k := range single {
		single[k] = k
	}
	exact := sh.exact(at)
	if q.Limit <= 0 && (exact || sh.unique(at)) {
		rest, err := sh.together(ctx, c, q.Keys, at, out)
		if err != nil || exact {
			return err
		}
		single = rest
	}
	query := "SELECT " + sh.list() + sh.from() + " WHERE " + sh.matching(at, 1)
	if q.First {
		query += sh.order("")
	}
	if q.Limit > 0 {
		query += " LIMIT " + strconv.Itoa(q.Limit)
	}
	keys := make([][]string, len(single))
	for i, k := range single {
		keys[i] = q.Keys[k]
	}
	return sh.each(ctx, c, query, keys, at, func(k int, stmt *sql.Stmt, args []any) error {
		if err := sh.rows(ctx, stmt, args, out); err != nil {
			return err
		}
		for len(out.Of) < len(out.Rows) {
			out.Of = append(out.Of, single[k])
		}
		return nil
	})
}

// together reads the rows whose columns at have the very texts of keys, and returns the
// places of the keys that no row has.
func (sh *rowShape) together(ctx context.Context, c *sql.Conn, keys [][]string, at []int, out *source.RowSet) (rest []int, err error) {
	places := make(map[string]int, len(keys))
	for k, key := range keys {
		places[joined(key)] = k
	}
	found := make([]bool, len(keys))
	for chunk := range slices.Chunk(keys, max(1, maxParams/len(at))) {
		args, err := sh.arguments(at, chunk)
		if err != nil {
			return nil, err
		}
		got := source.RowSet{}
		if err := sh.read(ctx, c, "SELECT "+sh.list()+sh.from()+" WHERE "+sh.matching(at, len(chunk)), args, &got); err != nil {
			return nil, err
		}
		key := make([]string, len(at))
		for _, row := range got.Rows {
			for n, i := range at {
				key[n] = row[i].Text
			}
			if k, ok := places[joined(key)]; ok {
				found[k] = true
				out.Rows, out.Of = append(out.Rows, row), append(out.Of, k)
			}
		}
	}
	for k, ok := range found {
		if !ok {
			rest = append(rest, k)
		}
	}
	return rest, nil
}

// joined makes one text of several, another one of others.
func joined(key []string) string {
	b := make([]byte, 0, 64)
	for _, text := range key {
		b = append(strconv.AppendInt(b, int64(len(text)), 10), ':')
		b = append(b, text...)
	}
	return string(b)
}

// each runs a query once for each key.
func (sh *rowShape) each(ctx context.Context, c *sql.Conn, query string, keys [][]string, at []int, f func(k int, stmt *sql.Stmt, args []any) error) error {
	if len(keys) == 0 {
		return nil
	}
	stmt, err := c.PrepareContext(ctx, query)
	if err != nil {
		return err
	}
	defer stmt.Close()
	for k := range keys {
		args, err := sh.arguments(at, keys[k:k+1])
		if err != nil {
			return err
		}
		if err := f(k, stmt, args); err != nil {
			return err
		}
	}
	return nil
}

// exact reports whether values of the columns at are equal only if their texts are.
func (sh *rowShape) exact(at []int) bool {
	return !slices.ContainsFunc(at, func(i int) bool { return equality(sh.def.Columns[i], sh.collations[i]) == "" })
}

// unique reports whether no two rows agree in the columns at.
func (sh *rowShape) unique(at []int) bool {
	return len(sh.table.Key) > 0 && !slices.ContainsFunc(sh.table.Key, func(i int) bool { return !slices.Contains(at, i) })
}

// equality is a source.ColumnInfo's Equal.
func equality(d columnDef, collation string) string {
	switch t := parseType(d.Type); t.base {
	case "tinyint":
		if d.Type == "tinyint(1)" {
			return "" // some are true and false, others numbers
		}
		return "int"
	case "smallint", "mediumint", "int", "bigint":
		return "int"
	case "date", "datetime", "timestamp", "uuid", "varbinary":
		return t.base
	case "char", "varchar":
		// Others ignore case, accents or trailing spaces.
		if strings.HasSuffix(collation, "_0900_bin") || strings.HasSuffix(collation, "_nopad_bin") {
			return "text"
		}
	}
	return ""
}
