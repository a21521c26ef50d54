package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

const schema = `
CREATE TABLE country (id bigserial PRIMARY KEY, name text NOT NULL);
CREATE TABLE region (id bigserial PRIMARY KEY, name text NOT NULL, country_id bigint NOT NULL REFERENCES country);
CREATE TABLE customer (id bigserial PRIMARY KEY, name text NOT NULL, email text NOT NULL, region_id bigint NOT NULL REFERENCES region);
CREATE TABLE product (id bigserial PRIMARY KEY, title text NOT NULL, price numeric(12,2) NOT NULL);
CREATE TABLE sale (id bigserial PRIMARY KEY, customer_id bigint NOT NULL REFERENCES customer,
  product_id bigint NOT NULL REFERENCES product, quantity int NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(), price numeric(12,2) NOT NULL);
INSERT INTO country (name) SELECT 'v0' FROM generate_series(1, 10);
INSERT INTO region (name, country_id) SELECT 'Region '||i, i % 10 + 1 FROM generate_series(1, 100) i;
INSERT INTO customer (name, email, region_id) SELECT 'Customer '||i, 'c'||i||'@example.com', i % 100 + 1 FROM generate_series(1, 1000) i;
INSERT INTO product (title, price) SELECT 'Product '||i, i FROM generate_series(1, 1000) i;
CREATE PUBLICATION ` + publication + ` FOR TABLE sale;`

// database is a database of one repetition.
type database struct {
	admin, name, dsn string
	conn             *pgx.Conn
}

func createDatabase(ctx context.Context, admin string, rep int) (*database, error) {
	u, err := url.Parse(admin)
	if err != nil {
		return nil, fmt.Errorf("read -postgres: %w", err)
	}
	d := &database{admin: admin, name: fmt.Sprintf("bench_%d_%d", os.Getpid(), rep)}
	c, err := pgx.Connect(ctx, admin)
	if err != nil {
		return nil, err
	}
	defer c.Close(ctx)
	if _, err := c.Exec(ctx, "CREATE DATABASE "+d.name); err != nil {
		return nil, err
	}
	u.Path = "/" + d.name
	if u.RawQuery == "" {
		u.RawQuery = "sslmode=disable"
	}
	d.dsn = u.String()
	if d.conn, err = pgx.Connect(ctx, d.dsn); err != nil {
		return nil, err
	}
	_, err = d.conn.Exec(ctx, schema)
	return d, err
}

// drop removes the database and its slots, whatever happened.
func (d *database) drop() error {
	ctx := context.Background()
	if d.conn != nil {
		d.conn.Close(ctx)
	}
	c, err := pgx.Connect(ctx, d.admin)
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	_, err = c.Exec(ctx, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = $1 AND NOT active", d.name)
	if err != nil {
		return err
	}
	_, err = c.Exec(ctx, "DROP DATABASE "+d.name+" WITH (FORCE)")
	return err
}

func (d *database) createSlot(ctx context.Context, name string) error {
	_, err := d.conn.Exec(ctx, "SELECT pg_create_logical_replication_slot($1, 'pgoutput')", name)
	return err
}

// dropSlot waits for the server to notice that the slot's reader is gone.
func (d *database) dropSlot(ctx context.Context, name string) error {
	const q = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1"
	var err error
	for range 100 {
		if _, err = d.conn.Exec(ctx, q, name); err == nil {
			return nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return err
}

// insert writes the sales [from, to], group rows a transaction.
func (d *database) insert(ctx context.Context, from, to int64, group int) error {
	const q = `INSERT INTO sale (id, customer_id, product_id, quantity, price)
SELECT i, i % 1000 + 1, i % 997 + 1, i % 7 + 1, (i % 10000) / 100.0 FROM generate_series($1::bigint, $2::bigint) i`
	for at := from; at <= to; at += int64(group) {
		if _, err := d.conn.Exec(ctx, q, at, min(to, at+int64(group)-1)); err != nil {
			return fmt.Errorf("insert sales: %w", err)
		}
	}
	return nil
}

// edition is the version of the countries' names that a sale finds, or a later one: they
// get another name at every editions-th row.
func edition(id int64) int { return int(id / editions) }

const editions = 10_000

// insertRelated writes the sales [from, to] and gives the countries another name in
// between.
func (d *database) insertRelated(ctx context.Context, from, to int64, group int) error {
	for at := from; at <= to; {
		next := min(to, (at/editions+1)*editions-1)
		if _, err := d.conn.Exec(ctx, "UPDATE country SET name = $1", fmt.Sprintf("v%d", edition(at))); err != nil {
			return fmt.Errorf("rename countries: %w", err)
		}
		if err := d.insert(ctx, at, next, group); err != nil {
			return err
		}
		at = next + 1
	}
	return nil
}

// slotName is unique per repetition and peer: slots belong to the whole server.
func (d *database) slotName(peer string) string {
	return d.name + "_" + strings.ReplaceAll(peer, "-", "_")
}
