package store

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// Call is what an instance asks of the active one.
type Call struct {
	ID   int64
	Body string
}

// Ask adds a call, which the active instance finds. Who asked removes it.
func (s *Store) Ask(ctx context.Context, body string) (id int64, err error) {
	err = s.transact(ctx, "ask the active instance", func(tx *transaction) error {
		id, err = tx.insert(ctx, "id", `INSERT INTO calls (asked_at, body) VALUES (?, ?)`, micros(s.now()), body)
		return err
	})
	return id, err
}

// Calls gives the calls without an answer, the first first. Those that nobody waits for
// any more are removed.
func (s *Store) Calls(ctx context.Context) ([]Call, error) {
	var out []Call
	old := false
	err := s.ask(ctx, "look for calls", func(ctx context.Context) error {
		rows, err := s.read.QueryContext(ctx, `SELECT id, asked_at, body, answer IS NULL FROM calls ORDER BY id`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var c Call
			var asked int64
			var open bool
			if err := rows.Scan(&c.ID, &asked, &c.Body, &open); err != nil {
				return err
			}
			if s.now().Sub(fromMicros(asked)) > callTime {
				old = true
			} else if open {
				out = append(out, c)
			}
		}
		return rows.Err()
	})
	if err == nil && old {
		_, err = s.exec(ctx, "forget calls", `DELETE FROM calls WHERE asked_at < ?`, micros(s.now().Add(-callTime)))
	}
	return out, err
}

// callTime is much longer than anybody waits for an answer.
const callTime = 10 * time.Minute

// Answer answers a call.
func (s *Store) Answer(ctx context.Context, id int64, answer string) error {
	_, err := s.exec(ctx, "answer call", `UPDATE calls SET answer = ? WHERE id = ?`, answer, id)
	return err
}

// AnswerTo gives the answer to a call, "" as long as there is none.
func (s *Store) AnswerTo(ctx context.Context, id int64) (string, error) {
	var answer sql.NullString
	err := s.ask(ctx, "look for an answer", func(ctx context.Context) error {
		err := s.read.QueryRowContext(ctx, `SELECT answer FROM calls WHERE id = ?`, id).Scan(&answer)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	return answer.String, err
}

// ForgetCall removes a call, answered or not.
func (s *Store) ForgetCall(ctx context.Context, id int64) error {
	_, err := s.exec(ctx, "forget call", `DELETE FROM calls WHERE id = ?`, id)
	return err
}
