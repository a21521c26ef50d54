package postgres

import (
	"context"
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

var _ source.Scanner = (*Source)(nil)

// scanner answers Scan. It has a connection of its own: what is looked up for the log does
// not wait for it.
type scanner struct {
	*reader
	of    *change.Table // what about is about; guarded by the connection's turn
	about about
}

// about is what Scan has to know of a table besides its shape.
type about struct {
	key   []keyColumn // of the primary key, in the order of its index
	lacks []int       // columns that the log does not carry
	asked time.Time
}

// keyColumn is a column with the operators by which its index is ordered. The search path
// may lead to others, by which rows would be missed.
type keyColumn struct {
	column  int
	eq, gt  string
	builtin bool
}

// marker is written to the log where nothing else is: nobody hears of it, and it makes the
// server write what was committed without waiting for that.
const marker = `select pg_catalog.pg_logical_emit_message(true, 'waltrigger.marker', '')`

// handedOver is the end of what was handed over of all that d has read, 0 if that is not to
// be told.
func (d *decoder) handedOver() uint64 {
	if d.tx != nil || d.resume != nil || len(d.batch) > 0 {
		return 0
	}
	return uint64(max(d.progress, d.end.at))
}

// Scan implements source.Scanner. The values are decoded exactly as those of the log. The
// place of a row is the text of its key, as the server gives it and reads it again.
func (s *Source) Scan(ctx context.Context, q source.Scan) (out source.Scanned, err error) {
	err = s.scanner.conn.do(ctx, func(ctx context.Context, c *pgx.Conn) error {
		// Else rows that a policy hides would be missed without a word; here it is an error.
		if _, err := c.Exec(ctx, "set row_security = off; set synchronous_commit = local"); err != nil {
			return err
		}
		sh, err := s.scanner.shape(ctx, c, q.Table)
		if err != nil {
			return err
		}
		if !sh.table.KeyIsPrimary {
			return &source.TableError{Table: q.Table, Reason: "it has no primary key, by which its rows could be read in parts", Mend: fmt.Sprintf("ALTER TABLE %s ADD PRIMARY KEY (…);", q.Table)}
		}
		a, err := s.about(ctx, c, sh.table)
		if err != nil {
			return err
		}
		sql, params, err := sh.scan(q, a.key)
		if err != nil {
			return err
		}
		res, seq, until, err := s.ask(ctx, c, sql, params, q.Bytes)
		if err != nil {
			delete(s.scanner.shapes, q.Table) // perhaps it changed just now
			return unreadable(q.Table, err)
		}
		out.Table, out.Seq, out.Until, out.Next = sh.table, uint64(seq), uint64(until), sh.next(q, a.key, res)
		if err := sh.decode(res, &out.RowSet); err != nil {
			return err
		}
		for _, row := range out.Rows {
			for _, i := range a.lacks {
				row[i] = change.Value{}
			}
		}
		out.Of = nil
		return nil
	})
	if err != nil {
		return source.Scanned{}, fmt.Errorf("read rows of %s: %w", q.Table, err)
	}
	return out, nil
}

// scan builds the query for a part of a table: 1, as the number of a key, then the columns.
func (sh *shape) scan(q source.Scan, key []keyColumn) (sql string, params [][]byte, err error) {
	var list, order, places []string
	for _, c := range sh.table.Columns {
		list = append(list, "t."+pgx.Identifier{c.Name}.Sanitize())
	}
	for n, k := range key {
		order = append(order, list[k.column])
		places = append(places, fmt.Sprintf("$%d::%s", n+1, sh.casts[k.column]))
	}
	where := ""
	texts, err := q.Texts(sh.names(key))
	if err != nil {
		return "", nil, err
	}
	if texts != nil {
		for _, text := range texts {
			params = append(params, []byte(text))
		}
		where = " where " + behind(key, order, places)
	}
	return "select 1, " + strings.Join(list, ", ") + " from " + sh.from + " t" + where + " order by " + strings.Join(order, ", ") + " limit " + strconv.Itoa(q.Limit), params, nil
}

// behind is the condition of rows that follow a place.
func behind(key []keyColumn, order, places []string) string {
	if !slices.ContainsFunc(key, func(k keyColumn) bool { return !k.builtin }) {
		return "(" + strings.Join(order, ", ") + ") operator(pg_catalog.>) (" + strings.Join(places, ", ") + ")" // the index finds them
	}
	cond := ""
	for n := len(key) - 1; n >= 0; n-- {
		gt := order[n] + " " + key[n].gt + " " + places[n]
		if cond == "" {
			cond = gt
		} else {
			cond = "(" + gt + " or " + order[n] + " " + key[n].eq + " " + places[n] + " and " + cond + ")"
		}
	}
	return cond
}

// names are those of the columns of key.
func (sh *shape) names(key []keyColumn) []string {
	names := make([]string, len(key))
	for n, k := range key {
		names[n] = sh.table.Columns[k.column].Name
	}
	return names
}

// next is the place of the last row of res, nil if there are no more.
func (sh *shape) next(q source.Scan, key []keyColumn, res *pgconn.Result) []string {
	if n := int(res.CommandTag.RowsAffected()); n < q.Limit && n == len(res.Rows) {
		return nil
	}
	last := res.Rows[len(res.Rows)-1]
	texts := make([]string, len(key))
	for n, k := range key {
		texts[n] = string(last[k.column+1])
	}
	return source.ScanPlace(sh.names(key), texts)
}

// unreadable makes of the refusals of a server that will not pass what a caller is told.
func unreadable(t source.TableName, err error) error {
	var pe *pgconn.PgError
	if !errors.As(err, &pe) || pe.Code != "42501" {
		return err
	}
	mend := fmt.Sprintf("GRANT SELECT ON %s TO the role of the source's url;", t)
	if strings.Contains(pe.Message, "row-level security") || strings.Contains(pe.Routine, "row_security") {
		mend = "ALTER ROLE … BYPASSRLS, of the role of the source's url;"
	}
	return &source.TableError{Table: t, Reason: pe.Message, Mend: mend}
}

const namedTable = `(select r.oid from pg_catalog.pg_class r join pg_catalog.pg_namespace s on s.oid = r.relnamespace where s.nspname = $1 and r.relname = $2)`

// operatorOf is an operator of a key column's index, by its strategy: 3 is =, 5 is >.
const operatorOf = `(select pg_catalog.format('operator(%I.%s)', n.nspname, o.oprname) as op, n.nspname = 'pg_catalog' and o.oprname = '>' as builtin
  from pg_catalog.pg_opclass c join pg_catalog.pg_amop m on m.amopfamily = c.opcfamily and m.amoplefttype = c.opcintype and m.amoprighttype = c.opcintype
  join pg_catalog.pg_operator o on o.oid = m.amopopr join pg_catalog.pg_namespace n on n.oid = o.oprnamespace where c.oid = i.indclass[k.place] and m.amopstrategy = `

// aboutQuery marks the columns that the log does not carry, as columnsQuery and readTable
// do, and gives the place of each in the primary key, with the operators of its index.
const aboutQuery = `
with list as (select to_jsonb(r)->'prattrs' as attrs from pg_catalog.pg_publication_rel r join pg_catalog.pg_publication p on p.oid = r.prpubid
  where r.prrelid = ` + namedTable + ` and p.pubname = any($3) and to_jsonb(r)->>'prattrs' is not null limit 1)
select a.attname::text, a.attgenerated <> '' and not ($4::bool and a.attgenerated = 's') or coalesce(not list.attrs @> to_jsonb(a.attnum), false),
  coalesce(k.place, -1), coalesce(e.op, ''), coalesce(g.op, ''), coalesce(g.builtin, false)
from pg_catalog.pg_attribute a left join list on true left join pg_catalog.pg_index i on i.indrelid = a.attrelid and i.indisprimary
  left join lateral (select pg_catalog.array_position(i.indkey::int2[], a.attnum) as place) k on true
  left join lateral ` + operatorOf + `3) e on true left join lateral ` + operatorOf + `5) g on true
where a.attrelid = ` + namedTable + ` and a.attnum > 0 and not a.attisdropped order by 3`

func (s *Source) about(ctx context.Context, c *pgx.Conn, t *change.Table) (about, error) {
	if s.scanner.of == t && time.Since(s.scanner.about.asked) < shapeFor {
		return s.scanner.about, nil
	}
	out := about{asked: time.Now()}
	p, err := s.readPublication(ctx, c)
	if err != nil {
		return out, err
	}
	rows, err := c.Query(ctx, aboutQuery, t.Schema, t.Name, []string{s.cfg.Publication, s.insertsName()}, p != nil && p.generated)
	if err != nil {
		return out, err
	}
	var name string
	var lacks bool
	var place int
	var k keyColumn
	_, err = pgx.ForEachRow(rows, []any{&name, &lacks, &place, &k.eq, &k.gt, &k.builtin}, func() error {
		i := t.Lookup(name)
		if i < 0 || t.Columns[i].Name != name {
			return fmt.Errorf("column %q is new", name)
		}
		if lacks {
			out.lacks = append(out.lacks, i)
		}
		if place >= 0 {
			k.column = i
			out.key = append(out.key, k)
		}
		return nil
	})
	if err == nil && len(out.key) != len(t.Key) {
		err = errors.New("the primary key is a new one")
	}
	if err != nil {
		delete(s.scanner.shapes, source.NameOf(t))
		return out, err
	}
	s.scanner.of, s.scanner.about = t, out
	return out, nil
}

// Reached implements source.Scanner. A server that writes nothing sends nothing, and may
// keep the end of its log to itself for a while: it is then asked to write a marker, which
// changes no table.
func (s *Source) Reached(ctx context.Context, until uint64) (seq uint64, err error) {
	return s.handed.Wait(ctx, until, func() {
		err := s.scanner.conn.do(ctx, func(ctx context.Context, c *pgx.Conn) error {
			_, err := c.Exec(ctx, marker)
			return err
		})
		if err != nil && ctx.Err() == nil { // a standby cannot
			s.log.Debug("write a marker", "err", err)
		}
	})
}

// sizeQuery adds up what the server believes of a table and of its partitions.
var sizeQuery = `select sum(case when l.reltuples >= 0 then l.reltuples end)::bigint from ` + fmt.Sprintf(below, namedTable) + ` t
  join pg_catalog.pg_class l on l.oid = t.relid where l.relkind <> 'p'`

// Size implements source.Scanner.
func (s *Source) Size(ctx context.Context, table source.TableName) (int64, error) {
	var n *int64
	err := s.scanner.conn.do(ctx, func(ctx context.Context, c *pgx.Conn) error {
		return c.QueryRow(ctx, sizeQuery, table.Schema, table.Name).Scan(&n)
	})
	if err != nil {
		return -1, fmt.Errorf("estimate rows of %s: %w", table, err)
	}
	if n == nil {
		return -1, nil
	}
	return *n, nil
}
