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
	_, err := s.exec(ctx, "save source "+name, s.write.d.upsert("sources", "name", "identity", "end_position", "tx_position", "tx_done"),
		name, st.Identity, string(st.Mark.End), string(st.Mark.Tx), st.Mark.Done)
	return err
}

// DropSource forgets a source.
func (s *Store) DropSource(ctx context.Context, name string) error {
	_, err := s.exec(ctx, "drop source "+name, `DELETE FROM sources WHERE name = ?`, name)
	return err
}
