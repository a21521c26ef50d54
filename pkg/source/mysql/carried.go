package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"hash/fnv"
	"regexp"

	"github.com/waltrigger/waltrigger/pkg/source"
)

// counter is the part of a table's statement that inserting changes.
var counter = regexp.MustCompile(` AUTO_INCREMENT=\d+`)

// Carried implements source.Catalog. The log has what every statement does to a wanted
// table, but for the changes that its foreign keys make. Statements that change a table
// itself (ALTER, DROP and CREATE, of partitions) may exchange its rows: each that is read
// of the log makes another word, and what the catalog shows of the table does so at once.
// What a session writes with sql_log_bin=0 cannot be told.
func (s *Source) Carried(ctx context.Context, tables []source.TableName) ([]string, error) {
	out := make([]string, len(tables))
	err := s.admin.do(ctx, func(c *sql.Conn) error {
		srv, err := s.knownServer(ctx, c)
		if err != nil {
			return err
		}
		for i, t := range tables {
			if out[i], err = s.word(ctx, c, srv, t); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look at logged tables: %w", refused(err))
	}
	return out, nil
}

func (s *Source) word(ctx context.Context, c *sql.Conn, srv *server, t source.TableName) (string, error) {
	touched, wanted := s.history.touches(t)
	if !wanted || s.clock.server() != srv.identity {
		return "", nil
	}
	var name, statement string
	if err := c.QueryRowContext(ctx, "SHOW CREATE TABLE "+quoted(t)).Scan(&name, &statement); err != nil {
		if n := number(err); n == errNoTable || n == errNoDatabase || n == errTableDenied {
			return "", nil
		}
		return "", err
	}
	if srv.cascading() && len(cascades(statement)) > 0 {
		return "", nil
	}
	var made sql.NullString
	if err := c.QueryRowContext(ctx, "SELECT CREATE_TIME FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?", t.Schema, t.Name).Scan(&made); err != nil {
		return "", err
	}
	h := fnv.New128a()
	fmt.Fprintf(h, "%s %d %s %s", srv.identity, touched, made.String, counter.ReplaceAllString(statement, ""))
	return fmt.Sprintf("%x", h.Sum(nil)), nil
}
