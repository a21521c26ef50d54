package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

// lookupTimeout bounds how long the reader of the log waits for the catalog.
const lookupTimeout = 5 * time.Second

// systemSchemas hold no tables of an application.
const systemSchemas = `('mysql', 'information_schema', 'performance_schema', 'sys')`

// baseTables are those whose changes are in the log.
const baseTables = `t.TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED') AND t.TABLE_SCHEMA NOT IN ` + systemSchemas

// in makes a list of placeholders of names, and their arguments.
func in(names []string) (string, []any) {
	args := make([]any, len(names))
	for i, n := range names {
		args[i] = n
	}
	return "(" + strings.TrimSuffix(strings.Repeat("?, ", len(names)), ", ") + ")", args
}

// readDefinitions reads the tables of schemas, all or only those named.
func readDefinitions(ctx context.Context, c *sql.Conn, s *server, schemas, tables []string) (map[source.TableName]*definition, error) {
	out := map[source.TableName]*definition{}
	if len(schemas) == 0 {
		return out, nil
	}
	list, args := in(schemas)
	where := " AND t.TABLE_SCHEMA IN " + list
	if tables != nil {
		list, more := in(tables)
		where, args = where+" AND t.TABLE_NAME IN "+list, append(args, more...)
	}
	var t source.TableName
	err := each(ctx, c, "SELECT t.TABLE_SCHEMA, t.TABLE_NAME, COALESCE(t.TABLE_COLLATION, '') FROM information_schema.TABLES t WHERE "+baseTables+where, args,
		func(scan func(...any) error) error {
			var collation string
			err := scan(&t.Schema, &t.Name, &collation)
			out[t] = &definition{Charset: collationCharset(collation)}
			return err
		})
	if err != nil {
		return nil, fmt.Errorf("read tables: %w", err)
	}
	checked, err := readJSONChecks(ctx, c, s, where, args)
	if err != nil {
		return nil, err
	}
	err = each(ctx, c, `SELECT t.TABLE_SCHEMA, t.TABLE_NAME, t.COLUMN_NAME, t.COLUMN_TYPE, COALESCE(t.CHARACTER_SET_NAME, '')
		FROM information_schema.COLUMNS t WHERE t.TABLE_SCHEMA NOT IN `+systemSchemas+where+` ORDER BY t.TABLE_SCHEMA, t.TABLE_NAME, t.ORDINAL_POSITION`, args,
		func(scan func(...any) error) error {
			var col columnDef
			err := scan(&t.Schema, &t.Name, &col.Name, &col.Type, &col.Charset)
			if d := out[t]; d != nil {
				col.JSON = checked[[3]string{t.Schema, t.Name, col.Name}]
				d.Columns = append(d.Columns, col)
			}
			return err
		})
	if err != nil {
		return nil, fmt.Errorf("read columns: %w", err)
	}
	err = each(ctx, c, `SELECT t.TABLE_SCHEMA, t.TABLE_NAME, t.COLUMN_NAME FROM information_schema.STATISTICS t
		WHERE t.INDEX_NAME = 'PRIMARY'`+where+` ORDER BY t.TABLE_SCHEMA, t.TABLE_NAME, t.SEQ_IN_INDEX`, args,
		func(scan func(...any) error) error {
			var name string
			err := scan(&t.Schema, &t.Name, &name)
			if d := out[t]; d != nil {
				d.Key = append(d.Key, name)
			}
			return err
		})
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	return out, nil
}

// readJSONChecks finds the columns of MariaDB that are JSON: text with a check that says
// so is all that remains of the type.
func readJSONChecks(ctx context.Context, c *sql.Conn, s *server, where string, args []any) (map[[3]string]bool, error) {
	out := map[[3]string]bool{}
	if !s.mariadb {
		return out, nil
	}
	where = strings.Replace(where, "t.TABLE_SCHEMA", "t.CONSTRAINT_SCHEMA", 1)
	err := each(ctx, c, `SELECT t.CONSTRAINT_SCHEMA, t.TABLE_NAME, t.CONSTRAINT_NAME, t.CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS t
		WHERE t.LEVEL = 'Column'`+where, args, func(scan func(...any) error) error {
		var schema, table, column, clause string
		err := scan(&schema, &table, &column, &clause)
		if clause == "json_valid("+quote(column)+")" {
			out[[3]string{schema, table, column}] = true
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read checks: %w", err)
	}
	return out, nil
}

// readCharsets reads the default character sets of databases.
func readCharsets(ctx context.Context, c *sql.Conn, schemas []string) (map[string]string, error) {
	out := map[string]string{}
	if len(schemas) == 0 {
		return out, nil
	}
	list, args := in(schemas)
	err := each(ctx, c, "SELECT SCHEMA_NAME, DEFAULT_CHARACTER_SET_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME IN "+list, args, func(scan func(...any) error) error {
		var name, charset string
		err := scan(&name, &charset)
		out[name] = charset
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read databases: %w", err)
	}
	return out, nil
}

// readCollations reads the collations of a table's columns, "" of those without.
func readCollations(ctx context.Context, c *sql.Conn, t source.TableName) ([]string, error) {
	var out []string
	err := each(ctx, c, `SELECT COALESCE(COLLATION_NAME, '') FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION`,
		[]any{t.Schema, t.Name}, func(scan func(...any) error) error {
			var name string
			err := scan(&name)
			out = append(out, name)
			return err
		})
	if err != nil {
		return nil, fmt.Errorf("read collations: %w", err)
	}
	return out, nil
}

func quote(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

func quoted(t source.TableName) string { return quote(t.Schema) + "." + quote(t.Name) }

// Tables implements source.Catalog.
func (s *Source) Tables(ctx context.Context) ([]source.TableInfo, error) {
	var out []source.TableInfo
	err := s.admin.do(ctx, func(c *sql.Conn) error {
		srv, err := s.server(ctx, c)
		if err != nil {
			return err
		}
		out, err = s.readTables(ctx, c, srv)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	return out, nil
}

// Missing implements source.Missing.
func (s *Source) Missing(ctx context.Context, tables []source.TableName) ([]source.TableName, error) {
	there := map[source.TableName]bool{}
	err := s.admin.do(ctx, func(c *sql.Conn) error {
		asked := map[string]bool{}
		for _, t := range tables {
			if asked[t.Schema] {
				continue
			}
			asked[t.Schema] = true
			err := each(ctx, c, "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = ?", []any{t.Schema}, func(scan func(...any) error) error {
				found := source.TableName{Schema: t.Schema}
				err := scan(&found.Name)
				there[found] = true
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for tables: %w", err)
	}
	return slices.DeleteFunc(slices.Clone(tables), func(t source.TableName) bool { return there[t] }), nil
}

func (s *Source) readTables(ctx context.Context, c *sql.Conn, srv *server) ([]source.TableInfo, error) {
	at := map[source.TableName]int{}
	var out []source.TableInfo
	err := each(ctx, c, `SELECT t.TABLE_SCHEMA, t.TABLE_NAME, t.CREATE_OPTIONS LIKE '%partitioned%' FROM information_schema.TABLES t WHERE `+baseTables, nil,
		func(scan func(...any) error) error {
			t := source.TableInfo{IdentityUsable: true, Identity: srv.rowImage(), WholeOldRow: "SET GLOBAL binlog_row_image = 'FULL'"}
			var partitioned sql.NullBool
			err := scan(&t.Schema, &t.Name, &partitioned)
			t.InSearchPath, t.Partitioned = t.Schema == s.connector.db, partitioned.Bool
			out = append(out, t)
			return err
		})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(out, func(a, b source.TableInfo) int {
		if c := strings.Compare(a.Schema, b.Schema); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	for i, t := range out {
		at[t.TableName] = i
	}
	var t source.TableName
	err = each(ctx, c, `SELECT t.TABLE_SCHEMA, t.TABLE_NAME, t.COLUMN_NAME, t.COLUMN_TYPE, t.IS_NULLABLE = 'NO', COALESCE(t.COLLATION_NAME, '')
		FROM information_schema.COLUMNS t WHERE t.TABLE_SCHEMA NOT IN `+systemSchemas+` ORDER BY t.TABLE_SCHEMA, t.TABLE_NAME, t.ORDINAL_POSITION`, nil,
		func(scan func(...any) error) error {
			var col source.ColumnInfo
			var collation string
			err := scan(&t.Schema, &t.Name, &col.Name, &col.Type, &col.NotNull, &collation)
			col.Equal = equality(columnDef{Type: col.Type}, collation)
			if i, ok := at[t]; ok {
				out[i].Columns = append(out[i].Columns, col)
			}
			return err
		})
	if err != nil {
		return nil, err
	}
	if err := readKeys(ctx, c, out, at); err != nil {
		return nil, err
	}
	for i := range out {
		out[i].OldColumns = oldColumns(&out[i])
	}
	return out, readIndexes(ctx, c, out, at)
}

// oldColumns are those of which the log holds the old values: all, or the primary key if
// there is one.
func oldColumns(t *source.TableInfo) []string {
	if t.Identity != change.IdentityFull && len(t.PrimaryKey) > 0 {
		return t.PrimaryKey
	}
	names := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		names[i] = c.Name
	}
	return names
}

// readIndexes says of each foreign key by which indexes its rows are found.
func readIndexes(ctx context.Context, c *sql.Conn, out []source.TableInfo, at map[source.TableName]int) error {
	type index struct {
		unique  bool
		columns []string
	}
	indexes := map[source.TableName]map[string]*index{}
	err := each(ctx, c, `SELECT t.TABLE_SCHEMA, t.TABLE_NAME, t.INDEX_NAME, t.NON_UNIQUE = 0 AND t.SUB_PART IS NULL, COALESCE(t.COLUMN_NAME, '')
		FROM information_schema.STATISTICS t WHERE t.TABLE_SCHEMA NOT IN `+systemSchemas+` ORDER BY t.TABLE_SCHEMA, t.TABLE_NAME, t.INDEX_NAME, t.SEQ_IN_INDEX`, nil,
		func(scan func(...any) error) error {
			var t source.TableName
			var name, column string
			var unique bool
			if err := scan(&t.Schema, &t.Name, &name, &unique, &column); err != nil {
				return err
			}
			i, ok := at[t]
			if !ok || len(out[i].ForeignKeys) == 0 {
				return nil
			}
			if indexes[t] == nil {
				indexes[t] = map[string]*index{}
			}
			x := indexes[t][name]
			if x == nil {
				x = &index{unique: true}
				indexes[t][name] = x
			}
			x.unique, x.columns = x.unique && unique, append(x.columns, column)
			return nil
		})
	if err != nil {
		return fmt.Errorf("read indexes: %w", err)
	}
	for i := range out {
		for n := range out[i].ForeignKeys {
			k := &out[i].ForeignKeys[n]
			for _, x := range indexes[out[i].TableName] {
				k.Indexed = k.Indexed || len(x.columns) >= len(k.Columns) && same(x.columns[:len(k.Columns)], k.Columns)
				k.Unique = k.Unique || x.unique && len(x.columns) <= len(k.Columns) && subset(x.columns, k.Columns)
			}
		}
	}
	return nil
}

// same reports whether two lists without repetitions have the same names.
func same(a, b []string) bool { return len(a) == len(b) && subset(a, b) }

func subset(a, b []string) bool {
	return !slices.ContainsFunc(a, func(name string) bool { return !slices.Contains(b, name) })
}

// readKeys reads primary and foreign keys.
func readKeys(ctx context.Context, c *sql.Conn, out []source.TableInfo, at map[source.TableName]int) error {
	return each(ctx, c, `SELECT t.TABLE_SCHEMA, t.TABLE_NAME, t.CONSTRAINT_NAME, t.COLUMN_NAME, COALESCE(t.REFERENCED_TABLE_SCHEMA, ''), COALESCE(t.REFERENCED_TABLE_NAME, ''),
			COALESCE(t.REFERENCED_COLUMN_NAME, '')
		FROM information_schema.KEY_COLUMN_USAGE t WHERE t.TABLE_SCHEMA NOT IN `+systemSchemas+` AND (t.CONSTRAINT_NAME = 'PRIMARY' OR t.REFERENCED_TABLE_NAME IS NOT NULL)
		ORDER BY t.TABLE_SCHEMA, t.TABLE_NAME, t.CONSTRAINT_NAME, t.ORDINAL_POSITION`, nil, func(scan func(...any) error) error {
		var t, ref source.TableName
		var name, column, refColumn string
		if err := scan(&t.Schema, &t.Name, &name, &column, &ref.Schema, &ref.Name, &refColumn); err != nil {
			return err
		}
		i, ok := at[t]
		if !ok {
			return nil
		}
		if ref.Name == "" {
			out[i].PrimaryKey = append(out[i].PrimaryKey, column)
			return nil
		}
		keys := out[i].ForeignKeys
		if n := len(keys); n == 0 || keys[n-1].Name != name {
			out[i].ForeignKeys = append(keys, source.ForeignKey{Name: name, RefTable: ref})
		}
		k := &out[i].ForeignKeys[len(out[i].ForeignKeys)-1]
		k.Columns, k.RefColumns = append(k.Columns, column), append(k.RefColumns, refColumn)
		return nil
	})
}

// rowImage says how much of the old row the log holds by default.
func (s *server) rowImage() change.Identity {
	if s.vars["binlog_row_image"] == "FULL" {
		return change.IdentityFull
	}
	return change.IdentityDefault
}
