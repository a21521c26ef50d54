// Package django imports the triggers of an installation of Django Action Triggers, the
// Python package, version 0.5.2. It says them in the API's words, and with each what a
// person has to look at because it cannot be the same outside of Django.
//
//	the package's tables ── Read ── Config ── Convert ── Trigger, its findings, and what
//	models.json, the tables ────────────────────┘         the configuration needs besides
package django

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
)

// DefaultPrefix is what the names of the package's tables begin with.
const DefaultPrefix = "action_triggers_"

// Config is what the package calls one: a trigger.
type Config struct {
	ID           int64
	Active       bool
	Payload      json.RawMessage // nil: null
	Signals      []string
	ContentTypes []ContentType
	Webhooks     []Webhook
	Queues       []Queue
	Actions      []Queue
}

// ContentType is a row of django_content_type.
type ContentType struct{ AppLabel, Model string }

func (c ContentType) label() string { return c.AppLabel + "." + c.Model }

// Webhook is a webhook of a config.
type Webhook struct {
	URL, Method string
	Headers     json.RawMessage
	Timeout     sql.NullFloat64
}

// Queue is a message broker queue or an action of a config.
type Queue struct {
	Name                    string
	ConnDetails, Parameters json.RawMessage
	Timeout                 sql.NullFloat64
}

// Read reads all configs, in the order of their ids, as they are at one moment. It
// writes nothing. quote is the database's quotation mark for names, " or `.
func Read(ctx context.Context, db *sql.DB, quote, prefix string) ([]Config, error) {
	if strings.ContainsAny(prefix, quote+"\x00") || len(prefix) > 40 {
		return nil, fmt.Errorf("read the package's tables: %q is no prefix of table names", prefix)
	}
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("read the package's tables: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // nothing was written
	r := reader{ctx: ctx, tx: tx, quote: quote, prefix: prefix, at: map[int64]int{}}
	r.configs()
	r.signals()
	r.contentTypes()
	r.webhooks()
	r.queues("message_broker_queue", func(c *Config) *[]Queue { return &c.Queues })
	r.queues("action", func(c *Config) *[]Queue { return &c.Actions })
	return r.out, r.err
}

// reader reads one table after the other, until one cannot be read.
type reader struct {
	ctx    context.Context
	tx     *sql.Tx
	quote  string
	prefix string
	out    []Config
	at     map[int64]int // place in out by id
	err    error
}

// name quotes the name of a table or column.
func (r *reader) name(s string) string { return r.quote + s + r.quote }

// each calls scan for the rows of a table of the package's; query has %s in the place
// of its name.
func (r *reader) each(table, query string, scan func(rows *sql.Rows) error) {
	if r.err != nil {
		return
	}
	table = r.prefix + table
	err := func() error {
		rows, err := r.tx.QueryContext(r.ctx, fmt.Sprintf(query, r.name(table)))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			if err := scan(rows); err != nil {
				return err
			}
		}
		return rows.Err()
	}()
	if err != nil {
		r.err = fmt.Errorf("read table %s: %w; do the names of the package's tables begin with %q, and is it version 0.5.2?", table, err, r.prefix)
	}
}

func (r *reader) configs() {
	r.each("config", "SELECT id, payload, active FROM %s ORDER BY id", func(rows *sql.Rows) error {
		var c Config
		var payload []byte
		if err := rows.Scan(&c.ID, &payload, &c.Active); err != nil {
			return err
		}
		c.Payload = document(payload)
		r.at[c.ID] = len(r.out)
		r.out = append(r.out, c)
		return nil
	})
}

// document is a JSON column; null is as good as nothing.
func document(b []byte) json.RawMessage {
	if len(b) == 0 || string(b) == "null" {
		return nil
	}
	return json.RawMessage(b)
}

// of finds the config of a row that belongs to one. Tables without foreign keys may have
// rows that belong to none.
func (r *reader) of(id int64) *Config {
	if i, ok := r.at[id]; ok {
		return &r.out[i]
	}
	return &Config{}
}

func (r *reader) signals() {
	query := "SELECT config_id, " + r.name("signal") + " FROM %s ORDER BY config_id, id"
	r.each("config_signal", query, func(rows *sql.Rows) error {
		var id int64
		var signal string
		if err := rows.Scan(&id, &signal); err != nil {
			return err
		}
		r.of(id).Signals = append(r.of(id).Signals, signal)
		return nil
	})
}

func (r *reader) contentTypes() {
	query := "SELECT c.config_id, t.app_label, t.model FROM %s c JOIN django_content_type t ON t.id = c.contenttype_id ORDER BY c.config_id, c.id"
	r.each("config_content_types", query, func(rows *sql.Rows) error {
		var id int64
		var c ContentType
		if err := rows.Scan(&id, &c.AppLabel, &c.Model); err != nil {
			return err
		}
		r.of(id).ContentTypes = append(r.of(id).ContentTypes, c)
		return nil
	})
}

func (r *reader) webhooks() {
	query := "SELECT config_id, url, http_method, headers, timeout_secs FROM %s ORDER BY config_id, id"
	r.each("webhook", query, func(rows *sql.Rows) error {
		var id int64
		var w Webhook
		var headers []byte
		if err := rows.Scan(&id, &w.URL, &w.Method, &headers, &w.Timeout); err != nil {
			return err
		}
		w.Headers = document(headers)
		r.of(id).Webhooks = append(r.of(id).Webhooks, w)
		return nil
	})
}

func (r *reader) queues(table string, list func(*Config) *[]Queue) {
	query := "SELECT config_id, name, conn_details, parameters, timeout_secs FROM %s ORDER BY config_id, id"
	r.each(table, query, func(rows *sql.Rows) error {
		var id int64
		var q Queue
		var conn, params []byte
		if err := rows.Scan(&id, &q.Name, &conn, &params, &q.Timeout); err != nil {
			return err
		}
		q.ConnDetails, q.Parameters = document(conn), document(params)
		into := list(r.of(id))
		*into = append(*into, q)
		return nil
	})
}
