package store

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"slices"

	"github.com/waltrigger/waltrigger/pkg/source"
)

// LoadSource gives what was saved for a source, and whether anything was.
func (s *Store) LoadSource(ctx context.Context, name string) (source.State, bool, error) {
	var st source.State
	err := s.ask(ctx, "load source "+name, func(ctx context.Context) error {
		err := s.read.QueryRowContext(ctx, `SELECT identity, end_position, tx_position, tx_done FROM sources WHERE name = ?`, name).
			Scan(&st.Identity, &st.Mark.End, &st.Mark.Tx, &st.Mark.Done)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	return st, st.Identity != "" && err == nil, err
}

// SaveSource saves how far a source has been handled. Once it returned nil, st survives
// a crash: only then may the source's log be acknowledged.
func (s *Store) SaveSource(ctx context.Context, name string, st source.State) error {
	_, err := s.exec(ctx, "save source "+name, s.write.d.upsert("sources", "name", sourceColumns...), sourceArgs(name, st)...)
	return err
}

var sourceColumns = []string{"identity", "end_position", "tx_position", "tx_done"}

func sourceArgs(name string, st source.State) []any {
	return []any{name, st.Identity, string(st.Mark.End), string(st.Mark.Tx), st.Mark.Done}
}

// DropSource forgets a source, its notes, gaps and backfills included.
func (s *Store) DropSource(ctx context.Context, name string) error {
	return s.transact(ctx, "drop source "+name, func(tx *transaction) error {
		for _, of := range []string{"notes", "gaps", "backfills"} {
			if _, err := tx.ExecContext(ctx, `DELETE FROM `+of+` WHERE source = ?`, name); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM sources WHERE name = ?`, name)
		return err
	})
}

// LoadNotes gives the notes of a source by their names.
func (s *Store) LoadNotes(ctx context.Context, src string) (map[string]string, error) {
	out := map[string]string{}
	err := s.view(ctx, "load notes of source "+src, func(tx *transaction) error {
		rows, err := tx.QueryContext(ctx, `SELECT name, note FROM notes WHERE source = ?`, src)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var name, note string
			if err := rows.Scan(&name, &note); err != nil {
				return err
			}
			out[name] = note
		}
		return rows.Err()
	})
	return out, err
}

// SaveNotes sets notes of a source, all or none; an empty one is removed. Once it
// returned nil they survive a crash.
func (s *Store) SaveNotes(ctx context.Context, src string, changed map[string]string) error {
	return s.transact(ctx, "save notes of source "+src, saveNotes(ctx, src, changed))
}

func saveNotes(ctx context.Context, src string, changed map[string]string) func(*transaction) error {
	return func(tx *transaction) error {
		for _, name := range slices.Sorted(maps.Keys(changed)) {
			if _, err := tx.ExecContext(ctx, `DELETE FROM notes WHERE source = ? AND name = ?`, src, name); err != nil {
				return err
			}
			if changed[name] == "" {
				continue
			}
			if _, err := tx.ExecContext(ctx, `INSERT INTO notes (source, name, note) VALUES (?, ?, ?)`, src, name, changed[name]); err != nil {
				return err
			}
		}
		return nil
	}
}
