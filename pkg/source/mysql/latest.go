package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/waltrigger/waltrigger/pkg/source"
)

var _ source.Latest = (*Source)(nil)

// Latest implements source.Latest.
func (s *Source) Latest(ctx context.Context, table source.TableName) (source.RowSet, error) {
	out := source.RowSet{}
	err := s.rows.do(ctx, func(c *sql.Conn) error {
		srv, err := s.knownServer(ctx, c)
		if err != nil {
			return err
		}
		sh, err := s.shapes.of(ctx, c, srv, table)
		if err != nil {
			return err
		}
		out.Table = sh.table
		if err = sh.read(ctx, c, sh.latest(), nil, &out); err != nil {
			delete(s.shapes, table) // perhaps it changed just now
		}
		return err
	})
	if err != nil {
		return source.RowSet{}, fmt.Errorf("read the latest row of %s: %w", table, err)
	}
	return out, nil
}

// latest builds the query for one row, by the index of the primary key.
func (sh *rowShape) latest() string {
	return "SELECT " + sh.list() + sh.from() + sh.order(" DESC") + " LIMIT 1"
}

// order is that of the primary key, if there is one.
func (sh *rowShape) order(way string) string {
	if len(sh.def.Key) == 0 {
		return ""
	}
	var order []string
	for _, name := range sh.def.Key {
		order = append(order, quote(name)+way)
	}
	return " ORDER BY " + strings.Join(order, ", ")
}
