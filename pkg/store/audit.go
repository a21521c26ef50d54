package store

import (
	"context"
	"errors"
	"time"
)

// AuditEntry says who changed what, and when.
type AuditEntry struct {
	ID      int64
	At      time.Time
	Token   string // name; "" = there are no tokens
	Verb    string
	Object  string
	Detail  string
	Request string // id
}

// auditMost is how many entries are kept.
const auditMost = 10_000

// Note adds an entry, with the time and an id. The oldest go.
func (s *Store) Note(ctx context.Context, e AuditEntry) error {
	return s.transact(ctx, "note who changed what", func(tx *transaction) error {
		id, err := tx.insert(ctx, "id", `INSERT INTO audit (at, token, verb, object, detail, request) VALUES (?, ?, ?, ?, ?, ?)`,
			micros(s.now()), e.Token, e.Verb, e.Object, e.Detail, e.Request)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM audit WHERE id <= ?`, id-auditMost)
		return err
	})
}

// Audit lists entries before the one with an id (0 = all), the latest first.
func (s *Store) Audit(ctx context.Context, before int64, limit int) ([]AuditEntry, error) {
	var out []AuditEntry
	err := s.view(ctx, "list who changed what", func(tx *transaction) error {
		rows, err := tx.QueryContext(ctx, `SELECT id, at, token, verb, object, detail, request FROM audit WHERE id < ? OR ? = 0 ORDER BY id DESC LIMIT ?`, before, before, limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var e AuditEntry
			var at int64
			if err := rows.Scan(&e.ID, &at, &e.Token, &e.Verb, &e.Object, &e.Detail, &e.Request); err != nil {
				return err
			}
			e.At = fromMicros(at)
			out = append(out, e)
		}
		return errors.Join(rows.Err(), rows.Close())
	})
	return out, err
}
