package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"

	driver "github.com/go-sql-driver/mysql"
)

var mysqlSchema = []string{
	"CREATE TABLE customer (id bigint AUTO_INCREMENT PRIMARY KEY, name text NOT NULL, email text NOT NULL)",
	"CREATE TABLE product (id bigint AUTO_INCREMENT PRIMARY KEY, title text NOT NULL, price decimal(12,2) NOT NULL)",
	`CREATE TABLE sale (id bigint AUTO_INCREMENT PRIMARY KEY, customer_id bigint NOT NULL, product_id bigint NOT NULL, quantity int NOT NULL,
  created_at datetime(6) NOT NULL DEFAULT current_timestamp(6), price decimal(12,2) NOT NULL,
  FOREIGN KEY (customer_id) REFERENCES customer (id), FOREIGN KEY (product_id) REFERENCES product (id))`,
	"INSERT INTO customer (name, email) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) SELECT concat('Customer ', i), concat('c', i, '@example.com') FROM n",
	"INSERT INTO product (title, price) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) SELECT concat('Product ', i), i FROM n",
}

// mysql is a database of one repetition.
type mysql struct {
	url, name string
	db        *sql.DB // of one connection
	marks     map[string]string
}

func createMySQL(ctx context.Context, admin string, rep int) (*mysql, error) {
	u, err := url.Parse(admin)
	if err != nil {
		return nil, fmt.Errorf("read -mysql: %w", err)
	}
	m := &mysql{name: fmt.Sprintf("bench_mysql_%d_%d", os.Getpid(), rep), marks: map[string]string{}}
	cfg := driver.NewConfig()
	cfg.User, cfg.Net, cfg.Addr = u.User.Username(), "tcp", u.Host
	cfg.Passwd, _ = u.User.Password()
	c, err := driver.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	m.db = sql.OpenDB(c)
	m.db.SetMaxOpenConns(1)
	u.Path = "/" + m.name
	m.url = u.String()
	for _, q := range append([]string{"CREATE DATABASE " + m.name, "USE " + m.name, "SET SESSION /*!80000 cte_max_recursion_depth */ /*M! max_recursive_iterations */ = 20000000"}, mysqlSchema...) {
		if _, err := m.db.ExecContext(ctx, q); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", q, err), m.db.Close())
		}
	}
	return m, nil
}

func (m *mysql) drop() error {
	_, err := m.db.Exec("DROP DATABASE " + m.name)
	return errors.Join(err, m.db.Close())
}

func (m *mysql) id() string { return m.name }

func (m *mysql) schema() string { return m.name }

func (m *mysql) source(string) string { return fmt.Sprintf("{name: bench, url: %q}", m.url) }

// mark remembers where the log ends.
func (m *mysql) mark(ctx context.Context, name string) error {
	rows, err := m.db.QueryContext(ctx, "SHOW BINARY LOGS")
	if err != nil {
		return err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	var file, size string
	to := make([]any, len(columns))
	for i := range to {
		to[i] = new(any)
	}
	to[0], to[1] = &file, &size
	for rows.Next() {
		if err := rows.Scan(to...); err != nil {
			return err
		}
	}
	m.marks[name] = file + ":" + size
	return rows.Err()
}

func (m *mysql) forget(_ context.Context, name string) error {
	delete(m.marks, name)
	return nil
}

func (m *mysql) reading(name string) []string {
	return []string{"-mysql", m.url, "-from", m.marks[name]}
}

func (m *mysql) insert(ctx context.Context, from, to int64, group int) error {
	const q = `INSERT INTO sale (id, customer_id, product_id, quantity, price)
WITH RECURSIVE n (i) AS (SELECT CAST(? AS SIGNED) UNION ALL SELECT i + 1 FROM n WHERE i < ?)
SELECT i, i % 1000 + 1, i % 997 + 1, i % 7 + 1, (i % 10000) / 100 FROM n`
	for at := from; at <= to; at += int64(group) {
		if _, err := m.db.ExecContext(ctx, q, at, min(to, at+int64(group)-1)); err != nil {
			return fmt.Errorf("insert sales: %w", err)
		}
	}
	return nil
}

func (m *mysql) settle(context.Context) error { return nil }
