package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/waltrigger/waltrigger/pkg/source"
)

// Publish implements source.Catalog. A server's log has the changes of all its tables:
// what is published is what the decoder decodes. What must be known of the tables is read
// from the catalog now and from then on taken from the log; a table that is missing is
// decoded from the statement on that makes it.
func (s *Source) Publish(ctx context.Context, tables []source.TableName) (missing []source.TableName, err error) {
	s.publishM.Lock()
	defer s.publishM.Unlock()
	tables = slices.Clone(tables)
	var refusals []error
	err = s.admin.do(ctx, func(c *sql.Conn) error {
		srv, err := s.server(ctx, c)
		if err != nil {
			return err
		}
		if srv.lower {
			for i, t := range tables {
				tables[i] = source.TableName{Schema: strings.ToLower(t.Schema), Name: strings.ToLower(t.Name)}
			}
		}
		tables, refusals, err = s.refuse(ctx, c, srv, tables)
		if err != nil {
			return err
		}
		missing, err = s.want(ctx, c, srv, tables)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("publish tables: %w", refused(err))
	}
	return missing, errors.Join(refusals...)
}

// refuse takes out the tables whose changes are not in the log.
func (s *Source) refuse(ctx context.Context, c *sql.Conn, srv *server, tables []source.TableName) (left []source.TableName, refusals []error, err error) {
	end, err := readEnd(ctx, c, srv)
	if err != nil {
		return nil, nil, err
	}
	views := map[source.TableName]bool{}
	if len(tables) > 0 {
		list, args := in(schemas(tables))
		err = each(ctx, c, "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE TABLE_TYPE LIKE '%VIEW' AND TABLE_SCHEMA IN "+list, args, func(scan func(...any) error) error {
			var t source.TableName
			err := scan(&t.Schema, &t.Name)
			views[t] = true
			return err
		})
		if err != nil {
			return nil, nil, err
		}
	}
	for _, t := range tables {
		no := func(reason, mend string) {
			refusals = append(refusals, &source.TableError{Table: t, Reason: reason, Mend: mend})
		}
		switch {
		case views[t]:
			no("it is a view, whose changes are not in the log", "name the table itself")
		case end.only != "" && !slices.Contains(strings.Split(end.only, ","), t.Schema), slices.Contains(strings.Split(end.except, ","), t.Schema):
			no("the server leaves its database out of the log (binlog_do_db, binlog_ignore_db)", "change that in the server's configuration")
		default:
			left = append(left, t)
		}
	}
	return left, refusals, nil
}

func schemas(tables []source.TableName) []string {
	set := map[string]bool{}
	for _, t := range tables {
		set[t.Schema] = true
	}
	return slices.Sorted(maps.Keys(set))
}

// want makes tables wanted. The catalog is read twice, with the end of the log in
// between, and must say the same both times: then it holds at that end.
func (s *Source) want(ctx context.Context, c *sql.Conn, srv *server, tables []source.TableName) (missing []source.TableName, err error) {
	unknown := s.history.missing(tables)
	fresh := slices.DeleteFunc(schemas(unknown), s.history.follows)
	var single []source.TableName
	for _, t := range unknown {
		if !slices.Contains(fresh, t.Schema) {
			single = append(single, t)
		}
	}
	for range 5 {
		before, err := s.catalog(ctx, c, srv, fresh, single)
		if err != nil {
			return nil, err
		}
		seq, err := s.endOfLog(ctx, c)
		if err != nil {
			return nil, err
		}
		if err := s.settleDDL(ctx, c, unknown, before); err != nil {
			return nil, err
		}
		found, err := s.catalog(ctx, c, srv, fresh, single)
		if err != nil {
			return nil, err
		}
		if !maps.EqualFunc(before, found, (*definition).equal) {
			continue
		}
		charsets, err := readCharsets(ctx, c, fresh)
		if err != nil {
			return nil, err
		}
		if err := s.history.publish(ctx, tables, found, charsets, seq); err != nil {
			return nil, err
		}
		return s.history.missing(tables), nil
	}
	return nil, errors.New("the tables keep changing")
}

// catalog reads the tables of whole schemas and single ones.
func (s *Source) catalog(ctx context.Context, c *sql.Conn, srv *server, whole []string, single []source.TableName) (map[source.TableName]*definition, error) {
	out, err := readDefinitions(ctx, c, srv, whole, nil)
	if err != nil || len(single) == 0 {
		return out, err
	}
	var names []string
	for _, t := range single {
		names = append(names, t.Name)
	}
	more, err := readDefinitions(ctx, c, srv, schemas(single), names)
	for _, t := range single {
		if d := more[t]; d != nil {
			out[t] = d
		}
	}
	return out, err
}

// settleDDL waits until a statement that is changing one of tables is done: it is in the
// log a moment before the catalog shows it, and holds a lock until then that a query of
// the table waits for.
func (s *Source) settleDDL(ctx context.Context, c *sql.Conn, tables []source.TableName, found map[source.TableName]*definition) error {
	for _, t := range tables {
		if found[t] == nil {
			continue
		}
		var one int
		err := c.QueryRowContext(ctx, "SELECT 1 FROM "+quoted(t)+" LIMIT 0").Scan(&one)
		if err != nil && !errors.Is(err, sql.ErrNoRows) && number(err) != errNoTable {
			return fmt.Errorf("query table %s: %w", t, err)
		}
	}
	return nil
}
