package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/waltrigger/waltrigger/pkg/source"
)

// LoadSource gives what was saved for a source, and whether anything was.
func (s *Store) LoadSource(ctx context.Context, name string) (source.State, bool, error) {
	var st source.State
	err := s.read.QueryRowContext(ctx, `SELECT identity, end_position, tx_position, tx_done FROM sources WHERE name = ?`, name).
		Scan(&st.Identity, &st.Mark.End, &st.Mark.Tx, &st.Mark.Done)
	if errors.Is(err, sql.ErrNoRows) {
		return source.State{}, false, nil
	}
	if err != nil {
		return source.State{}, false, fmt.Errorf("load source %s: %w", name, err)
	}
	return st, true, nil
}

// SaveSource saves how far a source has been handled. Once it returned nil, st survives
// a crash: only then may the source's log be acknowledged.
func (s *Store) SaveSource(ctx context.Context, name string, st source.State) error {
	if err := s.gone(); err != nil {
		return fmt.Errorf("save source %s: %w", name, err)
	}
	_, err := s.write.ExecContext(ctx, `INSERT INTO sources (name, identity, end_position, tx_position, tx_done) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (name) DO UPDATE SET identity = excluded.identity, end_position = excluded.end_position,
			tx_position = excluded.tx_position, tx_done = excluded.tx_done`,
		name, st.Identity, string(st.Mark.End), string(st.Mark.Tx), st.Mark.Done)
	if err != nil {
		return fmt.Errorf("save source %s: %w", name, err)
	}
	return nil
}

// DropSource forgets a source.
func (s *Store) DropSource(ctx context.Context, name string) error {
	if _, err := s.write.ExecContext(ctx, `DELETE FROM sources WHERE name = ?`, name); err != nil {
		return fmt.Errorf("drop source %s: %w", name, err)
	}
	return nil
}
