package store

import (
	"context"
	"errors"
	"time"

	"github.com/waltrigger/waltrigger/pkg/deliver"
)

// Amend implements deliver.Store.
func (s *Store) Amend(ctx context.Context, r *deliver.Request) (out *deliver.Outcome, err error) {
	err = s.transact(ctx, "change deliveries", func(tx *transaction) error {
		out, err = amendDeliveries(ctx, tx, r)
		return err
	})
	return out, err
}

func amendDeliveries(ctx context.Context, tx *transaction, r *deliver.Request) (*deliver.Outcome, error) {
	a := &amending{Request: r, tx: tx, at: map[string]int{}}
	if err := a.pick(ctx); err != nil {
		return nil, err
	}
	if err := a.change(ctx); err != nil {
		return nil, err
	}
	for i := range a.out.Amended {
		one := &a.out.Amended[i]
		row := tx.QueryRowContext(ctx, `SELECT count(*) FROM deliveries WHERE destination = ? AND state = 0`, one.Destination)
		if err := row.Scan(&one.Parked); err != nil {
			return nil, err
		}
	}
	return &a.out, nil
}

// amending is a Request under way.
type amending struct {
	*deliver.Request
	tx  *transaction
	at  map[string]int // place of a destination in out.Amended
	ids []any          // of those to be changed
	out deliver.Outcome
}

// picked is what of a delivery decides on what is done to it.
type picked struct {
	id, size, committed int64
	destination         string
	state               deliver.State
	bare, hasEvent      bool
}

// pick reads the deliveries, and sorts out those that stay as they are.
func (a *amending) pick(ctx context.Context) error {
	condition, args := where(&a.Filter)
	rows, err := a.tx.QueryContext(ctx, `SELECT id, size, committed_at, destination, state, bare, event IS NOT NULL FROM deliveries`+condition, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var p picked
		if err := rows.Scan(&p.id, &p.size, &p.committed, &p.destination, &p.state, &p.bare, &p.hasEvent); err != nil {
			return err
		}
		a.out.Picked++
		a.out.Last = deliver.Mark{ID: uint64(p.id), At: fromMicros(p.committed)}
		a.take(&p)
	}
	return errors.Join(rows.Err(), rows.Close())
}

func (a *amending) take(p *picked) {
	switch {
	case a.Do == deliver.Skip && p.state != deliver.Parked:
		return
	case a.Do == deliver.Retry && a.Known != nil && !a.Known(p.destination):
		a.out.Homeless++
		return
	case a.Do == deliver.Retry && p.bare:
		a.out.Bare++
		return
	case a.Do == deliver.Retry && a.Anew && !p.hasEvent:
		a.out.Unrendered++
		return
	}
	n, ok := a.at[p.destination]
	if !ok {
		n = len(a.out.Amended)
		a.at[p.destination] = n
		a.out.Amended = append(a.out.Amended, deliver.Amended{Destination: p.destination})
	}
	one := &a.out.Amended[n]
	a.out.Changed++
	a.ids = append(a.ids, p.id)
	one.Bytes[p.state] -= p.size
	switch a.Do {
	case deliver.Retry:
		one.Bytes[deliver.Parked] += p.size
	case deliver.Skip:
		one.Bytes[deliver.Dead] += p.size
	}
	if p.state == deliver.Parked && a.Do != deliver.Retry {
		one.Left = append(one.Left, uint64(p.id))
	}
}

func (a *amending) change(ctx context.Context) error {
	for i, ids := range chunks(a.ids, 500) {
		var err error
		switch in := list(len(ids)); a.Do {
		case deliver.Retry:
			err = a.retry(ctx, ids, a.From.Add(time.Duration(500*i)*a.Every))
		case deliver.Skip:
			more := ""
			if a.Strip {
				more = stripped
			}
			_, err = a.tx.ExecContext(ctx, `UPDATE deliveries SET state = 1, failure = 'skipped', code = 'skipped', error = 'somebody skipped it', failed_at = ?`+more+` WHERE id IN `+in,
				append([]any{micros(a.Now)}, ids...)...)
		case deliver.Erase:
			_, err = a.tx.ExecContext(ctx, `DELETE FROM deliveries WHERE id IN `+in, ids...)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// retry parks deliveries, the first to be tried at from.
func (a *amending) retry(ctx context.Context, ids []any, from time.Time) error {
	query := `UPDATE deliveries SET parked_at = CASE WHEN state = 2 THEN ? ELSE parked_at END, state = 0, sent_at = 0, refusals = 0, next_at = ?`
	if a.Anew {
		query += `, unrendered = 1`
	}
	query += ` WHERE id IN `
	now := micros(a.Now)
	if a.Every == 0 {
		next := int64(0)
		if from.After(a.Now) {
			next = micros(from)
		}
		_, err := a.tx.ExecContext(ctx, query+list(len(ids)), append([]any{now, next}, ids...)...)
		return err
	}
	for i, id := range ids {
		if _, err := a.tx.ExecContext(ctx, query+`(?)`, now, micros(from.Add(time.Duration(i)*a.Every)), id); err != nil {
			return err
		}
	}
	return nil
}
