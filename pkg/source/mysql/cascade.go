package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"regexp"
	"strings"

	"github.com/waltrigger/waltrigger/pkg/source"
)

// cascading says whether changes that foreign keys make are left out of the log.
func (s *server) cascading() bool {
	return s.mariadb || s.version < 90600 || s.vars["innodb_native_foreign_keys"] == "ON"
}

// maxCascades is how many tables are named.
const maxCascades = 20

// cascades names the tables that foreign keys change without the log's knowing.
func (c *check) cascades(ctx context.Context, conn *sql.Conn) error {
	if !c.srv.cascading() {
		return nil
	}
	tables, err := c.s.readTables(ctx, conn, c.srv)
	if err != nil {
		return err
	}
	n := 0
	for _, t := range tables {
		if len(t.ForeignKeys) == 0 {
			continue
		}
		keys, err := cascadesOf(ctx, conn, t.TableName)
		if err != nil {
			return err
		}
		if len(keys) == 0 {
			continue
		}
		if n++; n <= maxCascades {
			c.add(source.LevelWarn, fmt.Sprintf("foreign keys change rows of %s by themselves, which the log does not hold, so that triggers do not see it: %s", t, strings.Join(keys, ", ")),
				"let the application change these rows (Django does), or use RESTRICT")
		}
	}
	if n > maxCascades {
		c.add(source.LevelWarn, fmt.Sprintf("and %d more tables like that", n-maxCascades), "")
	}
	return nil
}

var cascade = regexp.MustCompile("(?m)^ *CONSTRAINT (`(?:[^`]|``)+`) FOREIGN KEY .*?((?: ON (?:DELETE|UPDATE) (?:CASCADE|SET NULL|SET DEFAULT|RESTRICT|NO ACTION))+),?$")

// cascadesOf gives the foreign keys of a table that change its rows. MariaDB tells only
// those who may write what information_schema has of them, but anybody who may read the
// statement that made the table.
func cascadesOf(ctx context.Context, conn *sql.Conn, t source.TableName) ([]string, error) {
	var name, statement string
	if err := conn.QueryRowContext(ctx, "SHOW CREATE TABLE "+quoted(t)).Scan(&name, &statement); err != nil {
		return nil, fmt.Errorf("read foreign keys of %s: %w", t, err)
	}
	return cascades(statement), nil
}

// cascades are the foreign keys of a statement that change rows.
func cascades(statement string) (keys []string) {
	for _, m := range cascade.FindAllStringSubmatch(statement, -1) {
		if strings.Contains(m[2], "CASCADE") || strings.Contains(m[2], " SET ") {
			keys = append(keys, m[1]+m[2])
		}
	}
	return keys
}
