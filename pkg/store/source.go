package store

import (
	"context"
	"database/sql"
	"errors"

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

// DropSource forgets a source, and its gaps.
func (s *Store) DropSource(ctx context.Context, name string) error {
	return s.transact(ctx, "drop source "+name, func(tx *transaction) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM gaps WHERE source = ?`, name); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM sources WHERE name = ?`, name)
		return err
	})
}
