package store

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/url"
	"os"
	"regexp"
	"strings"

	"github.com/go-sql-driver/mysql"
	"github.com/pressly/goose/v3"
)

// mysqlDialect is MySQL 8 or later, and MariaDB 10.6 or later.
var mysqlDialect = dialect{
	goose: goose.DialectMySQL, suffix: ".mysql.sql", shared: true, rowLocks: true, duplicateKey: true,
	view:   sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true},
	update: sql.TxOptions{Isolation: sql.LevelReadCommitted},
	answered: func(err error) bool {
		var me *mysql.MySQLError
		return errors.As(err, &me)
	},
}

const (
	unknownDatabase = 1049
	noPrivilege     = 1044
)

var databaseName = regexp.MustCompile(`^[A-Za-z0-9_$-]{1,64}$`)

// mysqlSettings are those of each session. A process that is stopped inside a
// transaction must not keep the others out; text that is too long is an error.
var mysqlSettings = map[string]string{
	"innodb_lock_wait_timeout": "5", "wait_timeout": "10", "sql_mode": "'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'",
}

// mysqlConfig reads mysql://user:password@host:port/database, with tls=false, true,
// skip-verify or preferred (the default), and tls_ca=FILE.
func mysqlConfig(text string) (*mysql.Config, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("the url is not proper: %w", withoutURL(err))
	}
	cfg := mysql.NewConfig()
	cfg.Net, cfg.Addr, cfg.User = "tcp", u.Host, u.User.Username()
	if u.Port() == "" {
		cfg.Addr = net.JoinHostPort(u.Hostname(), "3306")
	}
	cfg.Passwd, _ = u.User.Password()
	cfg.DBName = strings.TrimPrefix(u.Path, "/")
	switch {
	case u.Hostname() == "" || cfg.User == "":
		return nil, errors.New("the url names no user or no host; write mysql://user:password@host:3306/waltrigger")
	case !databaseName.MatchString(cfg.DBName):
		return nil, errors.New("the url names no database of waltrigger's own; write mysql://user:password@host:3306/waltrigger")
	}
	cfg.Timeout, cfg.Params, cfg.ConnectionAttributes = connectTimeout, mysqlSettings, "program_name:waltrigger store"
	cfg.Collation, cfg.Logger = "utf8mb4_bin", &mysql.NopLogger{} // errors are returned as well
	cfg.ClientFoundRows = true                                    // a row that is as it should be counts as updated
	return cfg, mysqlTLS(cfg, u.Query())
}

func mysqlTLS(cfg *mysql.Config, q url.Values) error {
	cfg.TLSConfig = "preferred"
	for name, values := range q {
		switch name {
		case "tls":
			cfg.TLSConfig = values[0]
		case "tls_ca":
		default:
			return fmt.Errorf("the url has the parameter %q; there are tls and tls_ca", name)
		}
	}
	switch cfg.TLSConfig {
	case "false", "true", "skip-verify", "preferred":
	default:
		return fmt.Errorf("tls=%s: want false, true, skip-verify or preferred", cfg.TLSConfig)
	}
	file := q.Get("tls_ca")
	if file == "" {
		return nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read tls_ca: %w", err)
	}
	host, _, err := net.SplitHostPort(cfg.Addr)
	if err != nil {
		return fmt.Errorf("read the address: %w", err)
	}
	cfg.TLS = &tls.Config{RootCAs: x509.NewCertPool(), ServerName: host, MinVersion: tls.VersionTLS12}
	if !cfg.TLS.RootCAs.AppendCertsFromPEM(pem) {
		return fmt.Errorf("tls_ca: %s holds no certificate in PEM form", file)
	}
	return nil
}

// openMySQL opens the database that url names, made if it is not there.
func (s *Store) openMySQL(ctx context.Context, url string) error {
	cfg, err := mysqlConfig(url)
	if err != nil {
		return err
	}
	if err := ensureDatabase(ctx, cfg); err != nil {
		return err
	}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return err
	}
	s.useServer(sql.OpenDB(connector), &mysqlDialect)
	name := fnv.New64()
	fmt.Fprint(name, cfg.DBName)
	return s.locked(ctx, func(conn *sql.Conn) error {
		if _, err := conn.ExecContext(ctx, `SET SESSION wait_timeout = 3600`); err != nil { // it idles while another session migrates
			return err
		}
		var got sql.NullInt64
		err := conn.QueryRowContext(ctx, `SELECT GET_LOCK(?, 60)`, fmt.Sprintf("waltrigger store %x", name.Sum64())).Scan(&got)
		if err == nil && got.Int64 != 1 {
			err = errors.New("it takes more than a minute")
		}
		return err
	}, func(conn *sql.Conn) error {
		if err := claimDatabase(ctx, conn, cfg.DBName); err != nil {
			return err
		}
		return migrate(ctx, s.write)
	})
}

// ensureDatabase makes the database if it is not there.
func ensureDatabase(ctx context.Context, cfg *mysql.Config) error {
	try := func(cfg *mysql.Config, f func(*sql.DB) error) error {
		connector, err := mysql.NewConnector(cfg)
		if err != nil {
			return err
		}
		db := sql.OpenDB(connector)
		return errors.Join(f(db), db.Close())
	}
	err := try(cfg, func(db *sql.DB) error { return db.PingContext(ctx) })
	var me *mysql.MySQLError
	if err == nil || !errors.As(err, &me) || me.Number != unknownDatabase && me.Number != noPrivilege {
		return err
	}
	create := "CREATE DATABASE IF NOT EXISTS `" + cfg.DBName + "` CHARACTER SET utf8mb4"
	without := cfg.Clone()
	without.DBName = ""
	err = try(without, func(db *sql.DB) error {
		_, err := db.ExecContext(ctx, create)
		return err
	})
	if err != nil {
		return fmt.Errorf("%w; let somebody who may do it: %s; GRANT ALL ON `%s`.* TO '%s';", err, create, cfg.DBName, cfg.User)
	}
	return nil
}

// claimDatabase refuses a database that holds something else.
func claimDatabase(ctx context.Context, conn *sql.Conn, name string) error {
	var ours, others int
	err := conn.QueryRowContext(ctx, `SELECT coalesce(sum(table_name = ?), 0), count(*) FROM information_schema.tables WHERE table_schema = ?`,
		versionTable, name).Scan(&ours, &others)
	if err != nil {
		return fmt.Errorf("read the database: %w", err)
	}
	if ours == 0 && others > 0 {
		return fmt.Errorf("the database %s holds tables of another program; name one of waltrigger's own", name)
	}
	return nil
}
