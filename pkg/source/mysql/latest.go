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
	err := s.with(ctx, s.rows, s.shapes, table, func(c *sql.Conn, _ *server, sh *rowShape) error {
		out.Table = sh.table
		return sh.read(ctx, c, sh.latest(), nil, &out)
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
