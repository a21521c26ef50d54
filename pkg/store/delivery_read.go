package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/waltrigger/waltrigger/pkg/deliver"
)

// Summary implements deliver.Store.
func (s *Store) Summary(ctx context.Context) ([]deliver.Summary, error) {
	var out []deliver.Summary
	err := s.view(ctx, "sum up deliveries", func(tx *transaction) error {
		rows, err := tx.QueryContext(ctx, `SELECT destination, count(*), sum(size), max(id), min(committed_at) FROM deliveries WHERE state = 0 GROUP BY destination ORDER BY destination`)
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
			WHERE destination = ? AND state = 0 AND id > ? ORDER BY id LIMIT ?`, destination, int64(after), limit)
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
	var out []*deliver.Delivery
	for _, some := range chunks(ids, 500) {
		ds, err := s.List(ctx, &deliver.Filter{IDs: some, States: []deliver.State{deliver.Parked}})
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
		columns = strings.Replace(columns, "sealed, content_sum, rendered, body, event", "'', 0, '', '', NULL", 1)
	}
	condition, args := where(f)
	var out []*deliver.Delivery
	err := s.view(ctx, "list deliveries", func(tx *transaction) error {
		rows, err := tx.QueryContext(ctx, `SELECT `+columns+` FROM deliveries`+condition, args...)
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
	var id, lane1, lane2, table, sent, next, parked, failed, committed, hash, size int64
	var tried string
	var unrendered bool
	var b sealedBody
	m := &d.Message
	err := rows.Scan(&id, &d.Destination, &d.Trigger, &d.Source, &d.State, &sent, &d.Bare, &d.Row.Table, &d.Row.Key, &d.NLane, &lane1, &lane2, &table, &d.Barrier,
		&d.Refusals, &next, &d.Attempts, &parked, &failed, &d.Class, &d.Code, &d.Error, &tried,
		&m.ID, &m.Signal, &m.Model, &committed, &m.ContentType, &m.Key, &hash, &size,
		&unrendered, &b.sealed, &b.sum, &b.rendered, &b.body, &b.event)
	if err != nil {
		return nil, err
	}
	d.ID, d.Lanes, d.Table = uint64(id), [2]uint64{uint64(lane1), uint64(lane2)}, uint64(table)
	d.SentAt = fromMicros(sent)
	d.NextAt, d.ParkedAt, d.FailedAt, m.Committed = fromMicros(next), fromMicros(parked), fromMicros(failed), fromMicros(committed)
	if tried != "" {
		if err := json.Unmarshal([]byte(tried), &d.Tries); err != nil {
			d.Damage = fmt.Errorf("read its attempts: %w", err)
		}
	}
	if err := s.openBody(d, b, unrendered); err != nil {
		d.Damage = err
	}
	return d, nil
}
