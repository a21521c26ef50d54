package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/waltrigger/waltrigger/pkg/source"
)

// The oldest versions that are known to work.
const (
	minMySQL   = 80000
	minMariaDB = 100600
)

// server is what a server says of itself.
type server struct {
	mariadb  bool
	version  int    // 90704, 101118
	text     string // of the version, for people
	identity string // which server it is
	named    bool   // its transactions have names (GTIDs)
	lower    bool   // names of tables and databases are in lower case
	tls      bool   // connections are encrypted
	vars     map[string]string
	charset  string // of databases that name none
}

func (s *server) product() string {
	if s.mariadb {
		return "MariaDB"
	}
	return "MySQL"
}

func (s *server) dialect() dialect {
	return dialect{mariadb: s.mariadb, version: s.version, lower: s.lower}
}

// settings are the variables that matter; a server has those of its product and version.
var settings = []string{
	"log_bin", "binlog_format", "binlog_row_image", "binlog_row_metadata", "binlog_row_value_options", "binlog_expire_logs_seconds",
	"gtid_mode", "server_uuid", "server_uid", "server_id", "hostname", "port", "lower_case_table_names", "character_set_server",
	"log_replica_updates", "log_slave_updates", "sync_binlog", "innodb_flush_log_at_trx_commit", "innodb_native_foreign_keys",
}

var versionNumber = regexp.MustCompile(`^(?:5\.5\.5-)?(\d+)\.(\d+)\.(\d+)`)

// readServer asks a server what it is.
func readServer(ctx context.Context, c *sql.Conn) (*server, error) {
	s := &server{vars: map[string]string{}}
	if err := c.QueryRowContext(ctx, "SELECT VERSION()").Scan(&s.text); err != nil {
		return nil, fmt.Errorf("inspect server: %w", err)
	}
	s.mariadb = strings.Contains(s.text, "MariaDB")
	if m := versionNumber.FindStringSubmatch(s.text); m != nil {
		for _, part := range m[1:] {
			n, _ := strconv.Atoi(part)
			s.version = s.version*100 + n
		}
	}
	list := "'" + strings.Join(settings, "','") + "'"
	err := each(ctx, c, "SHOW GLOBAL VARIABLES WHERE Variable_name IN ("+list+")", nil, func(scan func(...any) error) error {
		var name, value string
		err := scan(&name, &value)
		s.vars[strings.ToLower(name)] = value
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("inspect server: %w", err)
	}
	var name, version string
	if err := c.QueryRowContext(ctx, "SHOW SESSION STATUS LIKE 'Ssl_version'").Scan(&name, &version); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("inspect server: %w", err)
	}
	s.tls = version != ""
	s.named = s.mariadb || s.vars["gtid_mode"] == "ON"
	s.lower = s.vars["lower_case_table_names"] != "0"
	s.charset = s.vars["character_set_server"]
	s.identity = s.vars["server_uuid"]
	if s.mariadb { // it has no name of its own
		s.identity = fmt.Sprintf("%s@%s:%s", s.vars["server_id"], s.vars["hostname"], s.vars["port"])
	}
	return s, nil
}

// check refuses, with the way out, what can never be tailed.
func (s *server) check() error {
	halt := func(reason, mend string) error {
		return &source.HaltError{State: source.Misconfigured, Reason: reason, Mend: mend}
	}
	least, name := minMySQL, "8.0"
	if s.mariadb {
		least, name = minMariaDB, "10.6"
	}
	switch {
	case s.version < least:
		return halt(fmt.Sprintf("%s %s is older than %s", s.product(), s.text, name), "upgrade it")
	case s.vars["log_bin"] != "ON":
		return halt("the server keeps no binary log", "start it with log_bin=ON and a server_id")
	case s.vars["binlog_format"] != "ROW" && s.vars["binlog_format"] != "": // a version to come may have no other
		return halt("binlog_format is "+s.vars["binlog_format"]+": the log holds statements, which do not tell what rows they changed",
			"SET GLOBAL binlog_format = 'ROW'; and binlog_format=ROW in the server's configuration, and let the application connect anew")
	case s.vars["server_id"] == "0":
		return halt("server_id is 0: the server sends its log to nobody", "SET GLOBAL server_id = 1; and in its configuration")
	}
	return nil
}

// logEnd is where a server's log ends, and what it leaves out.
type logEnd struct {
	file         string
	pos          uint64
	executed     string
	only, except string // databases
}

// readEnd asks where the log ends. Everything that was acknowledged to anybody before the
// call lies before that; whatever commits after it, behind it.
func readEnd(ctx context.Context, c *sql.Conn, s *server) (logEnd, error) {
	var e logEnd
	query := "SHOW BINARY LOG STATUS"
	if s.mariadb || s.version < 80200 {
		query = "SHOW MASTER STATUS"
	}
	to := []any{&e.file, &e.pos, &e.only, &e.except, &e.executed}
	if s.mariadb {
		to = to[:4]
	}
	err := c.QueryRowContext(ctx, query).Scan(to...)
	if errors.Is(err, sql.ErrNoRows) {
		return e, &source.HaltError{State: source.Misconfigured, Reason: "the server keeps no binary log", Mend: "start it with log_bin=ON and a server_id"}
	}
	if err != nil {
		return e, fmt.Errorf("read end of log: %w", err)
	}
	return e, nil
}

// place is the end of the log as a place to read on from.
func (s *server) place(ctx context.Context, c *sql.Conn) (place, error) {
	e, err := readEnd(ctx, c, s)
	if err != nil {
		return place{}, err
	}
	p := place{file: e.file, pos: e.pos}
	switch {
	case s.mariadb:
		var gtids sql.NullString
		if err := c.QueryRowContext(ctx, "SELECT BINLOG_GTID_POS(?, ?)", e.file, e.pos).Scan(&gtids); err != nil {
			return p, fmt.Errorf("read end of log: %w", err)
		}
		if gtids.String == "" {
			gtids.String = "-"
		}
		p.set, err = parseExecuted(gtids.String)
	case s.named:
		p.set, err = parseExecuted(e.executed)
	}
	return p, err
}

// files lists the files of the log with their sizes.
func files(ctx context.Context, c *sql.Conn) (names []string, sizes []uint64, err error) {
	rows, err := c.QueryContext(ctx, "SHOW BINARY LOGS")
	if err != nil {
		return nil, nil, fmt.Errorf("list log files: %w", err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, nil, fmt.Errorf("list log files: %w", err)
	}
	for rows.Next() {
		var name string
		var size uint64
		to := make([]any, len(columns)) // a third says whether it is encrypted
		for i := range to {
			to[i] = new(any)
		}
		to[0], to[1] = &name, &size
		if err := rows.Scan(to...); err != nil {
			return nil, nil, fmt.Errorf("list log files: %w", err)
		}
		names, sizes = append(names, name), append(sizes, size)
	}
	if err := rows.Err(); err != nil {
		return nil, nil, fmt.Errorf("list log files: %w", err)
	}
	return names, sizes, nil
}

// refused turns a server's refusal into a HaltError where waiting cannot help.
func refused(err error) error {
	var text string
	switch number(err) {
	case errAccessDenied, errDatabaseDenied:
		text = "correct user and password in the source's url, or create the user: waltrigger check --grants prints the SQL"
	case errPrivilege, errTableDenied:
		text = "grant what is missing: waltrigger check --grants prints the SQL"
	case errNoDatabase:
		text = "correct the name of the database in the source's url"
	default:
		return err
	}
	return &source.HaltError{State: source.Misconfigured, Reason: rootText(err), Mend: text}
}

// rootText is what the server said.
func rootText(err error) string {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err.Error()
		}
		err = next
	}
}
