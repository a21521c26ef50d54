package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"slices"

	"github.com/waltrigger/waltrigger/pkg/backfill"
)

const backfillColumns = `id, source, trigger_ids, max_rate, wish, created_at, state, detail, tables, rate, started_at, finished_at`

// backfillsMost is how many jobs are kept, those that are not over included.
const backfillsMost = 1000

// AddBackfill adds a job, or gives the one that is in its way: of the same source, for one
// of its triggers, and not over.
func (s *Store) AddBackfill(ctx context.Context, j backfill.Job) (conflict *backfill.Job, err error) {
	triggers, err := json.Marshal(j.Triggers)
	if err != nil {
		return nil, err
	}
	tables, err := json.Marshal(j.Tables)
	if err != nil {
		return nil, err
	}
	err = s.update(ctx, "add a backfill", func(tx *transaction) error { // one after the other
		open, err := listBackfills(ctx, tx, `WHERE source = ? AND ended = 0 AND wish <> ? ORDER BY seq`, j.Source, string(backfill.Cancel))
		if err != nil {
			return err
		}
		for _, o := range open {
			if slices.ContainsFunc(o.Triggers, func(id int64) bool { return slices.Contains(j.Triggers, id) }) {
				conflict = &o
				return nil
			}
		}
		seq, err := tx.insert(ctx, "seq", `INSERT INTO backfills (`+backfillColumns+`, ended) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)`,
			j.ID, j.Source, string(triggers), j.MaxRate, string(j.Wish), micros(s.now()), string(j.State), j.Detail, string(tables), j.Rate, micros(j.Started), micros(j.Finished))
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM backfills WHERE ended = 1 AND seq <= ?`, seq-backfillsMost)
		return err
	})
	return conflict, err
}

// Backfills lists jobs, the latest first: of a source, or of all ("").
func (s *Store) Backfills(ctx context.Context, source string) (out []backfill.Job, err error) {
	err = s.view(ctx, "list backfills", func(tx *transaction) error {
		out, err = listBackfills(ctx, tx, `WHERE source = ? OR ? = '' ORDER BY seq DESC`, source, source)
		return err
	})
	return out, err
}

// Backfill gives one job, or backfill.ErrNotFound.
func (s *Store) Backfill(ctx context.Context, id string) (j backfill.Job, err error) {
	var all []backfill.Job
	err = s.view(ctx, "read a backfill", func(tx *transaction) error {
		all, err = listBackfills(ctx, tx, `WHERE id = ?`, id)
		return err
	})
	if err == nil && len(all) == 0 {
		err = backfill.ErrNotFound
	}
	if err != nil {
		return j, err
	}
	return all[0], nil
}

// Open implements backfill.Store.
func (s *Store) Open(ctx context.Context, source string) (out []backfill.Job, err error) {
	err = s.view(ctx, "list backfills", func(tx *transaction) error {
		out, err = listBackfills(ctx, tx, `WHERE source = ? AND ended = 0 ORDER BY seq`, source)
		return err
	})
	return out, err
}

func listBackfills(ctx context.Context, tx *transaction, where string, args ...any) ([]backfill.Job, error) {
	rows, err := tx.QueryContext(ctx, `SELECT `+backfillColumns+` FROM backfills `+where, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := []backfill.Job{}
	for rows.Next() {
		j, err := scanBackfill(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, j)
	}
	return out, errors.Join(rows.Err(), rows.Close())
}

func scanBackfill(rows *sql.Rows) (j backfill.Job, err error) {
	var triggers, tables string
	var created, started, finished int64
	if err := rows.Scan(&j.ID, &j.Source, &triggers, &j.MaxRate, &j.Wish, &created, &j.State, &j.Detail, &tables, &j.Rate, &started, &finished); err != nil {
		return j, err
	}
	if err := errors.Join(json.Unmarshal([]byte(triggers), &j.Triggers), json.Unmarshal([]byte(tables), &j.Tables)); err != nil {
		return j, damaged("backfill %s: %w", j.ID, err)
	}
	j.Created, j.Started, j.Finished = fromMicros(created), fromMicros(started), fromMicros(finished)
	return j, nil
}

// SetWish says what is wanted of a job. backfill.ErrOver: it is over.
func (s *Store) SetWish(ctx context.Context, id string, w backfill.Wish) error {
	n, err := s.exec(ctx, "change a backfill", `UPDATE backfills SET wish = ? WHERE id = ? AND ended = 0`, string(w), id)
	if err != nil || n > 0 {
		return err
	}
	if _, err := s.Backfill(ctx, id); err != nil {
		return err
	}
	return backfill.ErrOver
}

// Wish implements backfill.Store.
func (s *Store) Wish(ctx context.Context, id string) (w backfill.Wish, err error) {
	err = s.ask(ctx, "read a backfill", func(ctx context.Context) error {
		err := s.read.QueryRowContext(ctx, `SELECT wish FROM backfills WHERE id = ?`, id).Scan(&w)
		if errors.Is(err, sql.ErrNoRows) {
			w = backfill.Cancel
			return nil
		}
		return err
	})
	return w, err
}

// SaveProgress implements backfill.Store.
func (h *Held) SaveProgress(ctx context.Context, id string, p backfill.Progress) error {
	tables, err := json.Marshal(p.Tables)
	if err != nil {
		return err
	}
	ended := 0
	if p.State.Over() {
		ended = 1
	}
	return h.transact(ctx, "save a backfill", func(tx *transaction) error {
		_, err := tx.ExecContext(ctx, `UPDATE backfills SET state = ?, detail = ?, tables = ?, rate = ?, started_at = ?, finished_at = ?, ended = ? WHERE id = ?`,
			string(p.State), p.Detail, string(tables), p.Rate, micros(p.Started), micros(p.Finished), ended, id)
		if err != nil {
			return err
		}
		return h.prove(ctx, tx)
	})
}
