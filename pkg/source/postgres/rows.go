package postgres

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

// unseenFor is how long Rows waits for a commit that is in the log to become visible.
const unseenFor = 2 * time.Second

// Rows implements source.Catalog. The values are decoded exactly as those of the log.
func (s *Source) Rows(ctx context.Context, q source.Query) (source.RowSet, error) {
	out := source.RowSet{Of: []int{}}
	err := s.read(ctx, q, (*shape).selection, func(sh *shape, res *pgconn.Result, seq, until lsn) error {
		out.Table, out.Seq, out.Until = sh.table, uint64(seq), uint64(until)
		return sh.decode(res, &out)
	})
	if err != nil {
		return source.RowSet{}, fmt.Errorf("read rows of %s: %w", q.Table, err)
	}
	return out, nil
}

// Counts implements source.Catalog.
func (s *Source) Counts(ctx context.Context, q source.Query) (source.CountSet, error) {
	out := source.CountSet{Counts: make([]int64, len(q.Keys))}
	err := s.read(ctx, q, (*shape).counting, func(_ *shape, res *pgconn.Result, seq, until lsn) error {
		out.Seq, out.Until = uint64(seq), uint64(until)
		for _, raw := range res.Rows {
			of, err := number(raw[0])
			if err != nil {
				return err
			}
			if out.Counts[of], err = strconv.ParseInt(string(raw[1]), 10, 64); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return source.CountSet{}, fmt.Errorf("count rows of %s: %w", q.Table, err)
	}
	return out, nil
}

// number reads the place of a key, which the server counts from 1.
func number(text []byte) (int, error) {
	n, err := strconv.Atoi(string(text))
	return n - 1, err
}

// read runs the query that build makes of q, and hands over its answer.
func (s *Source) read(ctx context.Context, q source.Query, build func(*shape, source.Query) string, take func(sh *shape, res *pgconn.Result, seq, until lsn) error) error {
	if len(q.Keys) == 0 || len(q.Columns) == 0 {
		return errors.New("no keys")
	}
	return s.reader.conn.do(ctx, func(ctx context.Context, c *pgx.Conn) error {
		sh, err := s.reader.shape(ctx, c, q.Table)
		if err != nil {
			return err
		}
		params, err := sh.params(q)
		if err != nil {
			return err
		}
		res, seq, until, err := s.ask(ctx, c, build(sh, q), params, 0)
		if err != nil {
			delete(s.reader.shapes, q.Table) // perhaps it changed just now
			return err
		}
		return take(sh, res, seq, until)
	})
}

const (
	snapshotQuery = "select " + snapshotText
	tipQuery      = "select " + insertEnd + "::text"
)

// ask runs a query such that it shows what Run has sent by now. A commit is in the log a
// moment before the server lets others see it. So the query goes after one for a
// snapshot, and is asked again if that does not show all that was sent; it shows what
// the snapshot shows, and perhaps more, but nothing that is in the log behind until,
// which is asked for last. All three go in one round trip. Of the rows those are kept that
// have so many bytes together, or one more (0: all).
func (s *Source) ask(ctx context.Context, c *pgx.Conn, sql string, params [][]byte, most int) (res *pgconn.Result, seq, until lsn, err error) {
	for deadline := time.Now().Add(unseenFor); ; {
		newest := s.sent.newest()
		var b pgconn.Batch
		b.ExecParams(snapshotQuery, nil, nil, nil, nil)
		b.ExecParams(sql, params, nil, nil, nil)
		b.ExecParams(tipQuery, nil, nil, nil, nil)
		all, err := results(c.PgConn().ExecBatch(ctx, &b), most)
		if err != nil {
			return nil, 0, 0, err
		}
		if len(all) != 3 || len(all[0].Rows) != 1 || len(all[2].Rows) != 1 {
			return nil, 0, 0, errors.New("answer is not complete")
		}
		if until, err = parseLSN(string(all[2].Rows[0][0])); err != nil {
			return nil, 0, 0, err
		}
		seen, err := s.sent.shownBy(string(all[0].Rows[0][0]), newest)
		if seen || err != nil {
			return all[1], newest + 1, until, err
		}
		if time.Now().After(deadline) {
			return nil, 0, 0, errors.New("a transaction that is in the log cannot be seen yet: does its commit wait for a synchronous standby?")
		}
		select {
		case <-ctx.Done():
			return nil, 0, 0, ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}

// results reads all results to their ends, and keeps so many bytes of rows of each.
func results(m *pgconn.MultiResultReader, most int) ([]*pgconn.Result, error) {
	if most <= 0 {
		return m.ReadAll()
	}
	var out []*pgconn.Result
	for m.NextResult() {
		rr, res, size := m.ResultReader(), &pgconn.Result{}, 0
		for rr.NextRow() {
			if size >= most {
				continue
			}
			row := make([][]byte, len(rr.Values()))
			for i, v := range rr.Values() { // they are good until the next row
				row[i] = bytes.Clone(v)
				size += len(v)
			}
			res.Rows = append(res.Rows, row)
		}
		res.CommandTag, res.Err = rr.Close()
		out = append(out, res)
	}
	return out, m.Close()
}

func (sh *shape) decode(res *pgconn.Result, out *source.RowSet) error {
	for _, raw := range res.Rows {
		if len(raw) != len(sh.relation.types)+1 {
			return fmt.Errorf("row has %d columns, want %d", len(raw)-1, len(sh.relation.types))
		}
		of, err := number(raw[0])
		if err != nil {
			return err
		}
		row := make([]change.Value, len(raw)-1)
		for i, text := range raw[1:] {
			if text == nil {
				row[i].Kind = change.Null
			} else {
				row[i] = sh.relation.types[i].value(text) // text is a copy of its own
			}
		}
		out.Rows, out.Of = append(out.Rows, row), append(out.Of, of)
	}
	return nil
}

// params are the keys of q, one array a column.
func (sh *shape) params(q source.Query) ([][]byte, error) {
	var params [][]byte
	for n, name := range q.Columns {
		i := sh.table.Lookup(name)
		if i < 0 || sh.table.Columns[i].Name != name {
			return nil, source.NoColumnError(name)
		}
		array := []byte{'{'}
		for k, key := range q.Keys {
			if len(key) != len(q.Columns) {
				return nil, fmt.Errorf("key %d has %d values, want %d", k, len(key), len(q.Columns))
			}
			if k > 0 {
				array = append(array, ',')
			}
			var err error
			if array, err = sh.relation.types[i].appendKey(array, key[n]); err != nil {
				return nil, fmt.Errorf("column %q: %w", name, err)
			}
		}
		params = append(params, append(array, '}'))
	}
	return params, nil
}

// keyed is the FROM item of the keys, k, and the condition that puts them to rows of t.
func (sh *shape) keyed(q source.Query) (keys, on string) {
	var arrays, names, conds []string
	for n, name := range q.Columns {
		c := "c" + strconv.Itoa(n)
		arrays = append(arrays, fmt.Sprintf("$%d::%s[]", n+1, sh.casts[sh.table.Lookup(name)]))
		names = append(names, c)
		conds = append(conds, "t."+pgx.Identifier{name}.Sanitize()+" = k."+c)
	}
	return "unnest(" + strings.Join(arrays, ", ") + ") with ordinality k(" + strings.Join(names, ", ") + ", n)", strings.Join(conds, " and ")
}

// selection builds the query for rows: the number of the key, then the columns.
func (sh *shape) selection(q source.Query) string {
	keys, on := sh.keyed(q)
	columns, order := "", ""
	for _, c := range sh.table.Columns {
		columns += ", t." + pgx.Identifier{c.Name}.Sanitize()
	}
	if q.First {
		for _, k := range sh.table.Key {
			order += ", t." + pgx.Identifier{sh.table.Columns[k].Name}.Sanitize()
		}
		order = strings.Replace(order, ",", " order by", 1)
	}
	switch {
	case q.Limit <= 0:
		return "select k.n" + columns + " from " + keys + " join " + sh.from + " t on " + on
	case !sh.indexed(q.Columns): // read it once, not once a key
		n, i := sh.unused("#n"), sh.unused("#i")
		return "select t." + n + columns + " from (select k.n as " + n + ", t.*, row_number() over (partition by k.n" + order + ") as " + i + " from " +
			keys + " join " + sh.from + " t on " + on + ") t where t." + i + " <= " + strconv.Itoa(q.Limit)
	}
	rows := "select * from " + sh.from + " t where " + on
	if order != "" { // the fence keeps the planner from walking through the primary key instead
		rows = "select * from (" + rows + " offset 0) t" + order
	}
	return "select k.n" + columns + " from " + keys + " cross join lateral (" + rows + " limit " + strconv.Itoa(q.Limit) + ") t"
}

// unused is a name, quoted, that no column has.
func (sh *shape) unused(name string) string {
	for slices.ContainsFunc(sh.table.Columns, func(c change.Column) bool { return c.Name == name }) {
		name += "#"
	}
	return quote(name)
}

// counting builds the query for counts: the number of the key, then the count.
func (sh *shape) counting(q source.Query) string {
	keys, on := sh.keyed(q)
	return "select k.n, count(*) from " + keys + " join " + sh.from + " t on " + on + " group by k.n"
}

// appendKey appends the canonical text of a value of type t as an array element.
func (t *pgType) appendKey(dst []byte, text string) ([]byte, error) {
	switch t.class {
	case classArray, classComposite, classHstore, classVector:
		return dst, fmt.Errorf("rows cannot be looked up by %s", t.name)
	case classBytes:
		text = `\x` + hex.EncodeToString([]byte(text))
	}
	dst = append(dst, '"')
	for i := range len(text) {
		switch text[i] {
		case 0:
			return dst, errors.New("key holds a zero byte")
		case '"', '\\':
			dst = append(dst, '\\')
		}
		dst = append(dst, text[i])
	}
	return append(dst, '"'), nil
}
