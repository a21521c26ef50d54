package store

import (
	"context"
	"time"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

// Kinds of a Gap.
const (
	GapSkipped = "skipped" // by an operator's decision: not sent
	GapRewound = "rewound" // sent, and then lost by the database
	GapTable   = "table"   // changes of one table that were not in the log: not sent
)

// Gap is a part of a source's log for which what was sent is not what the database holds.
type Gap struct {
	Source  string
	Kind    string
	Table   source.TableName // of GapTable
	After   change.Position  // "" = not known
	Before  change.Position
	Reason  string
	Noticed time.Time // set by the store
}

const insertGap = `INSERT INTO gaps (source, kind, table_schema, table_name, after_position, before_position, reason, noticed_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`

func (s *Store) gapArgs(g Gap) []any {
	return []any{g.Source, g.Kind, g.Table.Schema, g.Table.Name, string(g.After), string(g.Before), g.Reason, micros(s.now())}
}

// AddGap keeps a record of g.
func (s *Store) AddGap(ctx context.Context, g Gap) error {
	_, err := s.exec(ctx, "record a gap", insertGap, s.gapArgs(g)...)
	return err
}

// Gaps gives the gaps of a source, the latest first, at most so many.
func (s *Store) Gaps(ctx context.Context, name string, limit int) ([]Gap, error) {
	var out []Gap
	err := s.ask(ctx, "list gaps", func(ctx context.Context) error {
		rows, err := s.read.QueryContext(ctx, `SELECT source, kind, table_schema, table_name, after_position, before_position, reason, noticed_at
			FROM gaps WHERE source = ? ORDER BY id DESC LIMIT ?`, name, limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var g Gap
			var noticed int64
			if err := rows.Scan(&g.Source, &g.Kind, &g.Table.Schema, &g.Table.Name, &g.After, &g.Before, &g.Reason, &noticed); err != nil {
				return err
			}
			g.Noticed = time.UnixMicro(noticed).UTC()
			out = append(out, g)
		}
		return rows.Err()
	})
	return out, err
}

// Skip saves that a source goes on from st, and the gap that this leaves, both or none.
func (h *Held) Skip(ctx context.Context, st source.State, g Gap) error {
	return h.transact(ctx, "skip a part of source "+g.Source, func(tx *transaction) error {
		_, err := tx.ExecContext(ctx, tx.d.upsert("sources", "name", sourceColumns...), sourceArgs(g.Source, st)...)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, insertGap, h.gapArgs(g)...); err != nil {
			return err
		}
		return h.prove(ctx, tx)
	})
}
