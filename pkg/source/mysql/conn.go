package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"sync"
	"time"

	"github.com/go-mysql-org/go-mysql/client"
	gomysql "github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"
	driversql "github.com/go-sql-driver/mysql"

	"github.com/waltrigger/waltrigger/pkg/source"
)

const (
	connectTimeout   = 10 * time.Second
	statementTimeout = 15 * time.Second
	appName          = "waltrigger"
)

// DialFunc opens the connections of a source.
type DialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// session is what every connection for queries begins with: nothing is written, values
// print the same whatever the server's settings, and no lock of the application is waited
// for longer than a moment. The comments are code to one of the two products each.
const session = `SET time_zone = '+00:00', sql_mode = '', lock_wait_timeout = 3
  /*!50708 , max_execution_time = 15000 */ /*M!100101 , max_statement_time = 15 */`

// connector opens connections of the two kinds.
type connector struct {
	address
	dial     DialFunc
	raw      driver.Connector
	patience time.Duration
}

func newConnector(a address, dial DialFunc) (*connector, error) {
	if dial == nil {
		dial = (&net.Dialer{Timeout: connectTimeout}).DialContext
	}
	cfg := driversql.NewConfig()
	cfg.User, cfg.Passwd, cfg.Net, cfg.Addr, cfg.DBName = a.user, a.password, "tcp", a.host, a.db
	cfg.Timeout, cfg.ReadTimeout, cfg.WriteTimeout = connectTimeout, 2*statementTimeout, connectTimeout
	cfg.DialFunc, cfg.TLS = dial, a.tls
	cfg.AllowFallbackToPlaintext = a.preferred
	cfg.ConnectionAttributes = "program_name:" + appName
	cfg.Logger = &driversql.NopLogger{} // errors come back as such
	cfg.Collation = "utf8mb4_bin"       // of what we send; results come in utf8mb4 with it
	raw, err := driversql.NewConnector(cfg)
	if err != nil {
		return nil, fmt.Errorf("read url: %w", err)
	}
	return &connector{address: a, dial: dial, raw: raw, patience: silence}, nil
}

// Connect implements driver.Connector.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.raw.Connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	for _, q := range []string{session, "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"} {
		if _, err := conn.(driver.ExecerContext).ExecContext(ctx, q, nil); err != nil {
			_ = conn.Close()
			return nil, fmt.Errorf("prepare connection: %w", err)
		}
	}
	return conn, nil
}

// Driver implements driver.Connector.
func (c *connector) Driver() driver.Driver { return c.raw.Driver() }

// shared is one SQL connection for many callers, opened when it is first needed and
// again when it broke. Each use is short.
type shared struct{ db *sql.DB }

func newShared(c *connector) *shared {
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(1)
	db.SetMaxIdleConns(1)
	return &shared{db}
}

// do runs f with the connection. f must not keep it.
func (s *shared) do(ctx context.Context, f func(*sql.Conn) error) error {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return f(conn)
}

func (s *shared) close() { _ = s.db.Close() }

// each calls scan for every row of a query.
func each(ctx context.Context, c *sql.Conn, query string, args []any, scan func(scan func(...any) error) error) error {
	rows, err := c.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// number returns the server's number for an error, 0 if the server did not answer with
// one.
func number(err error) uint16 {
	var a *driversql.MySQLError
	var b *gomysql.MyError
	switch {
	case errors.As(err, &a):
		return a.Number
	case errors.As(err, &b):
		return b.Code
	}
	return 0
}

// Numbers of errors, the same in both products.
const (
	errAccessDenied    = 1045
	errDatabaseDenied  = 1044
	errNoDatabase      = 1049
	errTooMany         = 1040
	errTableDenied     = 1142
	errColumnDenied    = 1143
	errPrivilege       = 1227
	errReadingLog      = 1236 // every reason that a server has for not sending its log
	errUnknownVariable = 1193
	errNoTable         = 1146
	errNoColumn        = 1054
)

// refusal is an answer that says what is wrong with the question, or with who asks. The
// SQLSTATE that the server gives it is also that of limits which end by themselves.
type refusal struct{ error }

// SQLState tells source.Lasting.
func (refusal) SQLState() string { return "42000" }

func (r refusal) Unwrap() error { return r.error }

// stated marks what is a refusal.
func stated(err error) error {
	switch number(err) {
	case errAccessDenied, errDatabaseDenied, errTableDenied, errColumnDenied, errPrivilege, errNoDatabase, errNoTable, errNoColumn:
		return refusal{err}
	}
	return err
}

// silence is how long a server may send nothing; it is asked for a sign of life six times
// in that time.
const silence = 12 * time.Second

// wire is the connection over which the log comes. It owns its deadlines: the time that
// passes while nobody takes changes does not count.
type wire struct {
	net.Conn
	patience time.Duration
	// idle is called before each read that may have to wait, that is when all that has
	// arrived was looked at.
	idle func() error
	lost error // what the last read failed with
}

func (w *wire) Read(p []byte) (n int, err error) {
	if err = w.idle(); err == nil {
		_ = w.Conn.SetReadDeadline(time.Now().Add(w.patience))
		n, err = w.Conn.Read(p)
	}
	w.lost = err
	return n, err
}

func (w *wire) Write(p []byte) (int, error) {
	_ = w.Conn.SetWriteDeadline(time.Now().Add(connectTimeout))
	return w.Conn.Write(p)
}

// SetReadDeadline does nothing: the deadlines are the wire's own.
func (w *wire) SetReadDeadline(time.Time) error { return nil }

// dump is one connection over which a server sends its log.
type dump struct {
	syncer *replication.BinlogSyncer
	handle func(*replication.BinlogEvent) error
	idle   func() error
	failed error // what handle or idle returned
	inside bool  // the server let the user in

	mu    sync.Mutex
	wires []*wire
	ended bool
}

// dumpOptions say who reads and what is done with what comes. handle is called for each
// event and idle before waiting for more, both by one goroutine.
type dumpOptions struct {
	id      uint32
	mariadb bool
	tls     bool
	prepare func(*client.Conn) error // called with the connection, before it asks for the log
	handle  func(*replication.BinlogEvent) error
	idle    func() error
}

func (c *connector) newDump(o dumpOptions) *dump {
	d := &dump{handle: o.handle, idle: o.idle}
	cfg := replication.BinlogSyncerConfig{
		ServerID: o.id, Flavor: gomysql.MySQLFlavor, Host: c.host, User: c.user, Password: c.password,
		RawModeEnabled: true, VerifyChecksum: true, DisableRetrySync: true, DiscardGTIDSet: true, HeartbeatPeriod: c.patience / 6,
		Dialer: d.dialer(c.dial, c.patience), Logger: slog.New(slog.DiscardHandler), SynchronousEventHandler: d, EventCacheCount: 1,
		Option: func(conn *client.Conn) error {
			d.inside = true
			// The server would end a connection that takes nothing for a minute.
			if _, err := conn.Execute("SET SESSION net_write_timeout = 31536000"); err != nil {
				return fmt.Errorf("prepare connection: %w", err)
			}
			return o.prepare(conn)
		},
	}
	if o.mariadb {
		cfg.Flavor = gomysql.MariaDBFlavor
	}
	if o.tls {
		cfg.TLSConfig = c.tls
	}
	d.syncer = replication.NewBinlogSyncer(cfg)
	return d
}

// HandleEvent implements replication.EventHandler.
func (d *dump) HandleEvent(e *replication.BinlogEvent) error {
	if d.failed == nil {
		d.failed = d.handle(e)
	}
	return d.failed
}

func (d *dump) beforeRead() error {
	if d.failed == nil && d.idle != nil {
		d.failed = d.idle()
	}
	return d.failed
}

// dialer keeps hold of the connections. Once the dump has ended it opens none: the
// library would, only to end the one that is closed already.
func (d *dump) dialer(dial DialFunc, patience time.Duration) client.Dialer {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		d.mu.Lock()
		ended := d.ended
		d.mu.Unlock()
		if ended {
			return nil, net.ErrClosed
		}
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		w := &wire{Conn: conn, patience: patience, idle: d.beforeRead}
		d.mu.Lock()
		d.wires = append(d.wires, w)
		d.mu.Unlock()
		return w, nil
	}
}

// cut ends the connection at once; any goroutine.
func (d *dump) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended = true
	for _, w := range d.wires {
		_ = w.Close()
	}
}

// run reads from behind set, or from file and pos if that is nil, until ctx ends, the
// connection fails, or handle or idle does. Neither is called after it returned.
func (d *dump) run(ctx context.Context, set gomysql.GTIDSet, file string, pos uint64) error {
	defer d.syncer.Close()
	defer d.cut()
	defer context.AfterFunc(ctx, d.cut)()
	var stream *replication.BinlogStreamer
	var err error
	if set != nil {
		stream, err = d.syncer.StartSyncGTID(set)
	} else {
		if pos > math.MaxUint32 {
			d.handle, pos = passOver(pos, d.handle), fileStart
		}
		stream, err = d.syncer.StartSync(gomysql.Position{Name: file, Pos: uint32(pos)})
	}
	if err == nil {
		_, err = stream.GetEvent(ctx) // handle takes the events: what comes here is the end
		d.cut()
		d.syncer.Close()
	}
	switch {
	case d.failed != nil:
		return d.failed
	case d.inside && number(err) == errAccessDenied: // the number of a wrong password, too
		return &source.HaltError{State: source.Misconfigured, Reason: "the user may not read the log", Mend: "GRANT REPLICATION SLAVE ON *.* TO it; waltrigger check --grants prints the SQL"}
	case number(err) == 0 && len(d.wires) > 0 && d.wires[0].lost != nil: // as it was, not as the library tells it
		return d.wires[0].lost
	}
	return err
}
