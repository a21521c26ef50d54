package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/go-mysql-org/go-mysql/client"
	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/waltrigger/waltrigger/pkg/source"
)

// Check implements source.Managed.
func (s *Source) Check(ctx context.Context, saved source.State) []source.Finding {
	c := &check{s: s, saved: saved}
	for _, step := range []func(context.Context, *sql.Conn) error{c.server, c.log, c.goesOn, c.history, c.replica, c.tables, c.cascades} {
		if err := s.admin.do(ctx, func(conn *sql.Conn) error { return step(ctx, conn) }); err != nil {
			c.fail(refused(err))
			return c.found
		}
	}
	return c.found
}

type check struct {
	s     *Source
	saved source.State
	srv   *server
	found []source.Finding
}

func (c *check) add(level, text, mend string) {
	c.found = append(c.found, source.Finding{Level: level, Text: text, Mend: mend})
}

func (c *check) fail(err error) {
	if halt := (*source.HaltError)(nil); errors.As(err, &halt) {
		reason := halt.Reason
		if halt.State == source.ResyncRequired {
			reason = "the position is lost (" + source.ResyncRequired + "): " + reason
		}
		c.add(source.LevelError, reason, halt.Mend)
		return
	}
	c.add(source.LevelError, err.Error(), reach(err))
}

func (c *check) server(ctx context.Context, conn *sql.Conn) error {
	srv, err := c.s.server(ctx, conn)
	if err != nil {
		return err
	}
	c.srv = srv
	if err := srv.check(); err != nil {
		return err
	}
	c.add(source.LevelOK, fmt.Sprintf("%s %s, the binary log holds rows", srv.product(), srv.text), "")
	return nil
}

// log proves that the log can be read, by reading its end.
func (c *check) log(ctx context.Context, conn *sql.Conn) error {
	end, err := readEnd(ctx, conn, c.srv)
	if err != nil {
		return err
	}
	if _, _, err := files(ctx, conn); err != nil {
		return err
	}
	if end.only != "" {
		c.add(source.LevelWarn, "the log has the changes of some databases only: "+end.only, "")
	}
	if end.except != "" {
		c.add(source.LevelWarn, "the log does not have the changes of some databases: "+end.except, "")
	}
	ctx, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	enough := errors.New("enough")
	d := c.s.connector.newDump(dumpOptions{
		id: anyReader(), mariadb: c.srv.mariadb, tls: c.srv.tls,
		prepare: func(conn *client.Conn) error { return sameServer(conn, c.srv) },
		handle: func(e *replication.BinlogEvent) error {
			if _, ok := e.Event.(*replication.FormatDescriptionEvent); ok {
				return enough
			}
			return nil
		},
	})
	if err := d.run(ctx, nil, end.file, end.pos); !errors.Is(err, enough) {
		return fmt.Errorf("read log: %w", err)
	}
	c.add(source.LevelOK, "the user may read the log", "")
	return nil
}

// goesOn looks whether the log can be read on from what was saved.
func (c *check) goesOn(ctx context.Context, conn *sql.Conn) error {
	if c.saved.Mark.End == "" {
		return nil
	}
	at, err := parsePlace(c.saved.Mark.End)
	if err != nil {
		err = lost(c.s.cfg.Name, "the saved position %s is none in a binary log: the source was another database", c.saved.Mark.End)
	} else {
		err = c.s.readable(ctx, conn, c.srv, at, c.saved.Identity)
	}
	halt := (*source.HaltError)(nil)
	switch behind := (*behindError)(nil); {
	case errors.As(err, &halt):
		c.fail(err) // what follows can be asked all the same
	case errors.As(err, &behind):
		c.add(source.LevelWarn, behind.text, "wait until it has caught up, or point the source back")
	default:
		return err
	}
	return nil
}

// history looks at what the log holds, and how long.
func (c *check) history(context.Context, *sql.Conn) error {
	v := c.srv.vars
	if image := v["binlog_row_image"]; image != "FULL" {
		c.add(source.LevelWarn, "binlog_row_image is "+image+": the log does not hold old rows as a whole, nor new ones after an update", "SET GLOBAL binlog_row_image = 'FULL'; (it writes more)")
	}
	if v["binlog_row_metadata"] == "FULL" {
		c.add(source.LevelOK, "the log says what columns are called (binlog_row_metadata)", "")
	} else {
		c.add(source.LevelOK, "the log does not say what columns are called: waltrigger reads the catalog once and follows the log's statements", "")
	}
	if o := v["binlog_row_value_options"]; o != "" {
		c.add(source.LevelWarn, "binlog_row_value_options is "+o+": the log holds differences of JSON documents, which are missing in events then", "SET GLOBAL binlog_row_value_options = '';")
	}
	if !c.srv.named {
		c.add(source.LevelWarn, "gtid_mode is "+v["gtid_mode"]+": the source cannot go on with another server after a fail-over, and related rows may be read a moment before the last changes of them can be seen", "turn on GTIDs")
	}
	if n, err := strconv.Atoi(v["binlog_expire_logs_seconds"]); err == nil && n > 0 && n < 86400 {
		c.add(source.LevelWarn, fmt.Sprintf("the log is kept for %s: a stop of the daemon that lasts longer loses changes", time.Duration(n)*time.Second), "SET GLOBAL binlog_expire_logs_seconds = 604800;")
	}
	if v["sync_binlog"] != "1" || v["innodb_flush_log_at_trx_commit"] != "1" {
		c.add(source.LevelWarn, "sync_binlog is "+v["sync_binlog"]+" and innodb_flush_log_at_trx_commit "+v["innodb_flush_log_at_trx_commit"]+
			": a crash of the server's machine can undo what was read", "set both to 1")
	}
	return nil
}

// replica looks whether changes come from another server and do not go into this one's
// log.
func (c *check) replica(ctx context.Context, conn *sql.Conn) error {
	logs := c.srv.vars["log_replica_updates"]
	if logs == "" {
		logs = c.srv.vars["log_slave_updates"]
	}
	query := "SHOW REPLICA STATUS"
	if !c.srv.mariadb && c.srv.version < 80022 {
		query = "SHOW SLAVE STATUS"
	}
	rows, err := conn.QueryContext(ctx, query)
	if err != nil {
		return nil //nolint:nilerr // the user needs not be allowed to ask
	}
	defer rows.Close()
	if !rows.Next() {
		return rows.Err()
	}
	if logs != "ON" {
		c.add(source.LevelError, "the server is a replica that does not log what it replicates", "start it with log_replica_updates=ON (MariaDB: log_slave_updates), or use the address of the primary")
		return nil
	}
	c.add(source.LevelWarn, "the server is a replica: changes are seen once it has applied them", "")
	return nil
}

func (c *check) tables(ctx context.Context, conn *sql.Conn) error {
	tables, err := c.s.readTables(ctx, conn, c.srv)
	if err != nil {
		return err
	}
	n := 0
	for _, t := range tables {
		if t.InSearchPath {
			n++
		}
	}
	if db := c.s.connector.db; db != "" && n == 0 {
		c.add(source.LevelWarn, "the user sees no table in database "+db, "GRANT SELECT ON "+quote(db)+".* TO …;")
	}
	return nil
}
