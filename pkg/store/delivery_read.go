package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"strings"

	"github.com/waltrigger/waltrigger/pkg/deliver"
)

// Summary implements deliver.Store.
func (s *Store) Summary(ctx context.Context) ([]deliver.Summary, error) {
	var out []deliver.Summary
	err := s.view(ctx, "sum up deliveries", func(tx *transaction) error {
		rows, err := tx.QueryContext(ctx, `SELECT destination, count(*), sum(size), max(id), min(committed_at) FROM deliveries WHERE dead = 0 GROUP BY destination ORDER BY destination`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var d deliver.Summary
			var last, oldest int64
			if err := rows.Scan(&d.Destination, &d.Deliveries, &d.Bytes, &last, &oldest); err != nil {
				return err
			}
			d.LastID, d.Oldest = uint64(last), fromMicros(oldest)
			out = append(out, d)
		}
		return errors.Join(rows.Err(), rows.Close())
	})
	return out, err
}

// Places implements deliver.Store.
func (s *Store) Places(ctx context.Context, destination string, after uint64, limit int) ([]deliver.Place, error) {
	var out []deliver.Place
	err := s.view(ctx, "look at parked deliveries", func(tx *transaction) error {
		rows, err := tx.QueryContext(ctx, `SELECT id, source, lanes, lane1, lane2, of_table, barrier, refusals, next_at FROM deliveries
			WHERE destination = ? AND dead = 0 AND id > ? ORDER BY id LIMIT ?`, destination, int64(after), limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var p deliver.Place
			var id, lane1, lane2, table, next int64
			if err := rows.Scan(&id, &p.Source, &p.NLane, &lane1, &lane2, &table, &p.Barrier, &p.Refusals, &next); err != nil {
				return err
			}
			p.ID, p.Lanes, p.Table, p.NextAt = uint64(id), [2]uint64{uint64(lane1), uint64(lane2)}, uint64(table), fromMicros(next)
			out = append(out, p)
		}
		return errors.Join(rows.Err(), rows.Close())
	})
	return out, err
}

// Load implements deliver.Store.
func (s *Store) Load(ctx context.Context, ids []uint64) ([]*deliver.Delivery, error) {
	alive := false
	var out []*deliver.Delivery
	for _, some := range chunks(ids, 500) {
		ds, err := s.List(ctx, &deliver.Filter{IDs: some, Dead: &alive})
		if err != nil {
			return nil, err
		}
		out = append(out, ds...)
	}
	return out, nil
}

// List implements deliver.Store.
func (s *Store) List(ctx context.Context, f *deliver.Filter) ([]*deliver.Delivery, error) {
	columns := strings.Join(deliveryColumns, ", ")
	if f.Brief {
		columns = strings.Replace(columns, "sealed, rendered, body, event", "'', '', '', NULL", 1)
	}
	condition, args := where(f)
	query := `SELECT ` + columns + ` FROM deliveries` + condition + ` ORDER BY id`
	if f.Limit > 0 {
		query, args = query+` LIMIT ?`, append(args, f.Limit)
	}
	var out []*deliver.Delivery
	err := s.view(ctx, "list deliveries", func(tx *transaction) error {
		rows, err := tx.QueryContext(ctx, query, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			d, err := s.scanDelivery(rows)
			if err != nil {
				return err
			}
			out = append(out, d)
		}
		return errors.Join(rows.Err(), rows.Close())
	})
	return out, err
}

func (s *Store) scanDelivery(rows *sql.Rows) (*deliver.Delivery, error) {
	d := &deliver.Delivery{}
	var id, lane1, lane2, table, next, parked, failed, committed, hash, size int64
	var tried string
	var b sealedBody
	m := &d.Message
	err := rows.Scan(&id, &d.Destination, &d.Trigger, &d.Source, &d.Dead, &d.NLane, &lane1, &lane2, &table, &d.Barrier,
		&d.Refusals, &next, &d.Attempts, &parked, &failed, &d.Class, &d.Code, &d.Error, &tried,
		&m.ID, &m.Signal, &m.Model, &committed, &m.ContentType, &m.Key, &hash, &size,
		&b.sealed, &b.rendered, &b.body, &b.event)
	if err != nil {
		return nil, err
	}
	d.ID, d.Lanes, d.Table = uint64(id), [2]uint64{uint64(lane1), uint64(lane2)}, uint64(table)
	d.NextAt, d.ParkedAt, d.FailedAt, m.Committed = fromMicros(next), fromMicros(parked), fromMicros(failed), fromMicros(committed)
	if tried != "" {
		if err := json.Unmarshal([]byte(tried), &d.Tries); err != nil {
			return nil, damaged("delivery %d: read its attempts: %w", id, err)
		}
	}
	return d, s.openBody(d, b)
}

// where makes f a condition.
func where(f *deliver.Filter) (string, []any) {
	var parts []string
	var args []any
	add := func(condition string, more ...any) {
		parts, args = append(parts, condition), append(args, more...)
	}
	if f.IDs != nil {
		if len(f.IDs) == 0 {
			add("1 = 0")
		} else {
			add("id IN "+list(len(f.IDs)), numbers(f.IDs)...)
		}
	}
	if f.After > 0 {
		add("id > ?", int64(f.After))
	}
	if f.Dead != nil {
		add("dead = ?", flag(*f.Dead))
	}
	for _, c := range []struct{ column, value string }{{"destination", f.Destination}, {"source", f.Source}, {"failure", f.Class}, {"code", f.Code}} {
		if c.value != "" {
			add(c.column+" = ?", c.value)
		}
	}
	if f.Trigger > 0 {
		add("trigger_id = ?", f.Trigger)
	}
	if f.Key != nil {
		add("key_hash = ? AND ordering_key = ?", keyHash(*f.Key), []byte(*f.Key))
	}
	if len(parts) == 0 {
		return "", nil
	}
	return " WHERE " + strings.Join(parts, " AND "), args
}
