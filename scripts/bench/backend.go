package main

import (
	"context"
	"strings"
)

// backend is a database of one repetition, of one product.
type backend interface {
	// id is part of all names of the repetition.
	id() string
	// mark remembers a place in the log under a name, from which a bare loop reads.
	mark(ctx context.Context, name string) error
	// forget drops what was made for a reader.
	forget(ctx context.Context, name string) error
	// reading gives the flags with which a bare loop reads from a mark.
	reading(name string) []string
	// insert writes the sales [from, to], group rows a transaction.
	insert(ctx context.Context, from, to int64, group int) error
	// settle lets the server finish what inserting left to do.
	settle(ctx context.Context) error
	// source is the entry of the product's configuration, and schema where its table is.
	source(name string) string
	schema() string
	drop() error
}

// relating is a backend whose sales have related rows that are renamed in between.
type relating interface {
	insertRelated(ctx context.Context, from, to int64, group int) error
}

// markName is unique per repetition and peer: slots belong to the whole server.
func markName(d backend, peer string) string {
	return d.id() + "_" + strings.ReplaceAll(peer, "-", "_")
}

// create makes the database of a repetition.
func (o *options) create(ctx context.Context, product string, rep int) (backend, error) {
	if product == "mysql" {
		return createMySQL(ctx, o.mysql, rep)
	}
	return createPostgres(ctx, o.postgres, rep)
}
