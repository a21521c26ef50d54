package store

import (
	"context"
	"errors"
	"time"

	"github.com/waltrigger/waltrigger/pkg/deliver"
)

// Amend implements deliver.Store.
func (s *Store) Amend(ctx context.Context, f *deliver.Filter, a deliver.Amendment, now time.Time, every time.Duration) (out []deliver.Amended, err error) {
	err = s.transact(ctx, "change deliveries", func(tx *transaction) error {
		out, err = amendDeliveries(ctx, tx, f, a, now, every)
		return err
	})
	return out, err
}

func amendDeliveries(ctx context.Context, tx *transaction, f *deliver.Filter, a deliver.Amendment, now time.Time, every time.Duration) ([]deliver.Amended, error) {
	picked, err := pick(ctx, tx, f)
	if err != nil {
		return nil, err
	}
	var out []deliver.Amended
	at := map[string]int{}
	for i, p := range picked {
		n, ok := at[p.destination]
		if !ok {
			n = len(out)
			at[p.destination] = n
			out = append(out, deliver.Amended{Destination: p.destination})
		}
		out[n].Deliveries++
		switch {
		case a == deliver.Retry && p.dead:
			out[n].Bytes += p.size
		case a != deliver.Retry && !p.dead:
			out[n].Bytes -= p.size
		}
		if every > 0 && a == deliver.Retry {
			next := now.Add(time.Duration(i) * every)
			if _, err := tx.ExecContext(ctx, retryDeliveries+`(?)`, micros(next), p.id); err != nil {
				return nil, err
			}
		}
	}
	if every == 0 || a != deliver.Retry {
		if err := amend(ctx, tx, picked, a, now); err != nil {
			return nil, err
		}
	}
	for i := range out {
		row := tx.QueryRowContext(ctx, `SELECT count(*) FROM deliveries WHERE destination = ? AND dead = 0`, out[i].Destination)
		if err := row.Scan(&out[i].Parked); err != nil {
			return nil, err
		}
	}
	return out, nil
}

const retryDeliveries = `UPDATE deliveries SET dead = 0, refusals = 0, next_at = ? WHERE id IN `

func amend(ctx context.Context, tx *transaction, picked []pickedDelivery, a deliver.Amendment, now time.Time) error {
	for _, some := range chunks(picked, 500) {
		ids := make([]any, len(some))
		for i, p := range some {
			ids[i] = p.id
		}
		var err error
		switch in := list(len(ids)); a {
		case deliver.Retry:
			_, err = tx.ExecContext(ctx, retryDeliveries+in, append([]any{0}, ids...)...)
		case deliver.Skip:
			_, err = tx.ExecContext(ctx, `UPDATE deliveries SET dead = 1, failure = 'skipped', code = 'skipped', error = 'somebody skipped it', failed_at = ? WHERE dead = 0 AND id IN `+in,
				append([]any{micros(now)}, ids...)...)
		case deliver.Erase:
			_, err = tx.ExecContext(ctx, `DELETE FROM deliveries WHERE id IN `+in, ids...)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

type pickedDelivery struct {
	id, size    int64
	destination string
	dead        bool
}

func pick(ctx context.Context, tx *transaction, f *deliver.Filter) ([]pickedDelivery, error) {
	condition, args := where(f)
	query := `SELECT id, size, destination, dead FROM deliveries` + condition + ` ORDER BY id`
	if f.Limit > 0 {
		query, args = query+` LIMIT ?`, append(args, f.Limit)
	}
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []pickedDelivery
	for rows.Next() {
		var p pickedDelivery
		if err := rows.Scan(&p.id, &p.size, &p.destination, &p.dead); err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, errors.Join(rows.Err(), rows.Close())
}

// expireAtOnce bounds what one transaction removes.
const expireAtOnce = 5000

// Expire implements deliver.Store.
func (s *Store) Expire(ctx context.Context, then time.Time, maxBytes int64) (removed int, err error) {
	err = s.transact(ctx, "remove dead deliveries", func(tx *transaction) error {
		removed = 0
		var bytes int64
		if err := tx.QueryRowContext(ctx, `SELECT COALESCE(sum(size), 0) FROM deliveries WHERE dead = 1`).Scan(&bytes); err != nil {
			return err
		}
		rows, err := tx.QueryContext(ctx, `SELECT id, size, failed_at FROM deliveries WHERE dead = 1 ORDER BY failed_at LIMIT ?`, expireAtOnce)
		if err != nil {
			return err
		}
		defer rows.Close()
		var old []uint64
		for rows.Next() {
			var id, size, failed int64
			if err := rows.Scan(&id, &size, &failed); err != nil {
				return err
			}
			if failed >= micros(then) && (maxBytes == 0 || bytes <= maxBytes) {
				break
			}
			bytes -= size
			old = append(old, uint64(id))
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return err
		}
		for _, ids := range chunks(old, 500) {
			if _, err := tx.ExecContext(ctx, `DELETE FROM deliveries WHERE id IN `+list(len(ids)), numbers(ids)...); err != nil {
				return err
			}
		}
		removed = len(old)
		return nil
	})
	return removed, err
}
