package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/waltrigger/waltrigger/pkg/source"
)

var _ source.Latest = (*Source)(nil)

// Latest implements source.Latest.
func (s *Source) Latest(ctx context.Context, table source.TableName) (source.RowSet, error) {
	out := source.RowSet{}
	err := s.reader.conn.do(ctx, func(ctx context.Context, c *pgx.Conn) error {
		sh, err := s.reader.shape(ctx, c, table)
		if err != nil {
			return err
		}
		out.Table = sh.table
		res := c.PgConn().ExecParams(ctx, sh.latest(), nil, nil, nil, nil).Read()
		if res.Err == nil {
			return sh.decode(res, &out)
		}
		delete(s.reader.shapes, table) // perhaps it changed just now
		return res.Err
	})
	if err != nil {
		return source.RowSet{}, fmt.Errorf("read the latest row of %s: %w", table, err)
	}
	return out, nil
}

// latest builds the query for one row, by the index of the primary key.
func (sh *shape) latest() string {
	quoted := func(i int) string { return pgx.Identifier{sh.table.Columns[i].Name}.Sanitize() }
	list, order := []string{"1"}, []string(nil) // as of the first key of a query
	for i := range sh.table.Columns {
		list = append(list, quoted(i))
	}
	for _, k := range sh.table.Key {
		order = append(order, quoted(k)+" desc")
	}
	sql := "select " + strings.Join(list, ", ") + " from " + sh.from
	if len(order) > 0 {
		sql += " order by " + strings.Join(order, ", ")
	}
	return sql + " limit 1"
}
