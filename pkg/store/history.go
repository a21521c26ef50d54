package store

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"time"

	"github.com/waltrigger/waltrigger/pkg/deliver"
)

// KeepHistory implements deliver.Store.
func (s *Store) KeepHistory(ctx context.Context, keep bool) error {
	return s.transact(ctx, "begin the history", func(tx *transaction) error {
		query, args := `DELETE FROM history`, []any(nil)
		if keep {
			query, args = tx.d.insertNew("history", []string{"one", "since"}, 1), []any{1, micros(s.now())}
		}
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	})
}

// HistorySince tells from which commit on all that was sent is kept. False: nothing is.
func (s *Store) HistorySince(ctx context.Context) (since time.Time, kept bool, err error) {
	err = s.view(ctx, "look at the history", func(tx *transaction) error {
		var at int64
		err := tx.QueryRowContext(ctx, `SELECT since FROM history`).Scan(&at)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		since, kept = fromMicros(at), err == nil
		return err
	})
	return since, kept, err
}

// Size implements deliver.Store.
func (s *Store) Size(ctx context.Context, state deliver.State) (n int64, err error) {
	err = s.view(ctx, "measure deliveries", func(tx *transaction) error {
		return tx.QueryRowContext(ctx, `SELECT COALESCE(sum(size), 0) FROM deliveries WHERE state = `+strconv.Itoa(int(state))).Scan(&n)
	})
	return n, err
}

// Count counts the deliveries in a state of each of some destinations.
func (s *Store) Count(ctx context.Context, state deliver.State, destinations []string) (map[string]int, error) {
	out := make(map[string]int, len(destinations))
	err := s.view(ctx, "count deliveries", func(tx *transaction) error {
		for _, id := range destinations {
			var n int
			row := tx.QueryRowContext(ctx, `SELECT count(*) FROM deliveries WHERE destination = ? AND state = `+strconv.Itoa(int(state)), id)
			if err := row.Scan(&n); err != nil {
				return err
			}
			out[id] = n
		}
		return nil
	})
	return out, err
}

// expireAtOnce bounds what one transaction removes.
const expireAtOnce = 5000

// Expire implements deliver.Store.
func (s *Store) Expire(ctx context.Context, state deliver.State, then time.Time, excess int64) (out deliver.Expired, err error) {
	err = s.transact(ctx, "remove deliveries", func(tx *transaction) error {
		old, latest, err := expired(ctx, tx, state, then, excess, &out)
		if err != nil {
			return err
		}
		for _, ids := range chunks(old, 500) {
			if _, err := tx.ExecContext(ctx, `DELETE FROM deliveries WHERE id IN `+list(len(ids)), numbers(ids)...); err != nil {
				return err
			}
		}
		if state == deliver.Sent && len(old) > 0 { // the history begins behind what is removed
			_, err = tx.ExecContext(ctx, `UPDATE history SET since = ? WHERE since < ?`, latest+1, latest+1)
		}
		return err
	})
	return out, err
}

// expired lists what is to be removed, and the time of the last commit among them.
func expired(ctx context.Context, tx *transaction, state deliver.State, then time.Time, excess int64, out *deliver.Expired) (ids []uint64, latest int64, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT id, size, CASE WHEN state = 2 THEN sent_at ELSE failed_at END, committed_at FROM deliveries
		WHERE state = `+strconv.Itoa(int(state))+` ORDER BY sent_at, failed_at LIMIT ?`, expireAtOnce)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	*out = deliver.Expired{}
	for rows.Next() {
		var id, size, over, committed int64
		if err := rows.Scan(&id, &size, &over, &committed); err != nil {
			return nil, 0, err
		}
		if over >= micros(then) && out.Bytes >= excess {
			break
		}
		out.Bytes += size
		ids, latest = append(ids, uint64(id)), max(latest, committed)
	}
	out.Deliveries, out.More = len(ids), len(ids) == expireAtOnce
	return ids, latest, errors.Join(rows.Err(), rows.Close())
}
