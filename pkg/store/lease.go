package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/deliver"
	"github.com/waltrigger/waltrigger/pkg/source"
)

// Lease says who may read a source and send for it. A holder shows that it lives by
// changing Beat; nobody's clock is in it, so none has to be right.
type Lease struct {
	Source  string
	Holder  string          // unlike that of any other time that anybody held it; "" = nobody holds it
	Epoch   int64           // grows with each holder
	Beat    int64           // grows with each sign of life
	Applied int64           // the Version that the holder has in force
	End     change.Position // how far the source is done
}

// ErrTaken says that a lease is somebody else's.
var ErrTaken = deliver.ErrTaken

// Leases gives all leases, ordered by source, and makes those of sources that have none.
func (s *Store) Leases(ctx context.Context, sources []string) ([]Lease, error) {
	out, err := s.leases(ctx)
	if err != nil {
		return nil, err
	}
	missing := slices.DeleteFunc(slices.Clone(sources), func(name string) bool {
		return slices.ContainsFunc(out, func(l Lease) bool { return l.Source == name })
	})
	if len(missing) == 0 {
		return out, nil
	}
	err = s.transact(ctx, "make leases", func(tx *transaction) error {
		for _, name := range missing {
			_, err := tx.ExecContext(ctx, `INSERT INTO sources (name, identity, end_position, tx_position, tx_done) VALUES (?, '', '', '', 0)`, name)
			if err != nil {
				return err // another instance made it: the next call sees it
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s.leases(ctx)
}

func (s *Store) leases(ctx context.Context) ([]Lease, error) {
	var out []Lease
	err := s.ask(ctx, "read leases", func(ctx context.Context) error {
		rows, err := s.read.QueryContext(ctx, `SELECT name, holder, epoch, beat, applied, end_position FROM sources`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var l Lease
			if err := rows.Scan(&l.Source, &l.Holder, &l.Epoch, &l.Beat, &l.Applied, &l.End); err != nil {
				return err
			}
			out = append(out, l)
		}
		return rows.Err()
	})
	slices.SortFunc(out, func(a, b Lease) int { return strings.Compare(a.Source, b.Source) })
	return out, err
}

// TakeLeases makes holder the holder of all of was, or of none and ErrTaken if one of
// them is not as it was any more. Sources are in their order.
func (s *Store) TakeLeases(ctx context.Context, holder string, was []Lease) error {
	return s.transact(ctx, "take leases", func(tx *transaction) error {
		for _, l := range was {
			res, err := tx.ExecContext(ctx, `UPDATE sources SET holder = ?, epoch = epoch + 1, beat = beat + 1, applied = 0
				WHERE name = ? AND holder = ? AND epoch = ? AND beat = ?`, holder, l.Source, l.Holder, l.Epoch, l.Beat)
			if err != nil {
				return err
			}
			if n, err := res.RowsAffected(); err != nil || n != 1 {
				return errors.Join(ErrTaken, err)
			}
		}
		return nil
	})
}

// RenewLeases is a sign of life of holder, who holds n leases, and says which version of
// the triggers it has in force. ErrTaken says that it does not hold so many any more.
func (s *Store) RenewLeases(ctx context.Context, holder string, n int, applied int64) error {
	has, err := s.exec(ctx, "renew leases", `UPDATE sources SET beat = beat + 1, applied = ? WHERE holder = ?`, applied, holder)
	if err == nil && has != int64(n) {
		err = fmt.Errorf("renew leases: %w", ErrTaken)
	}
	return err
}

// ReleaseLeases gives back all that holder holds.
func (s *Store) ReleaseLeases(ctx context.Context, holder string) error {
	_, err := s.exec(ctx, "release leases", `UPDATE sources SET holder = '', beat = beat + 1 WHERE holder = ?`, holder)
	return err
}

// Held is a Store as the active instance uses it: what another one may do in its place
// fails with ErrTaken, and is not done, once another one has taken its leases.
type Held struct {
	*Store
	holder string
}

// Held gives the store to the holder of leases; "" = nobody else can be the active one.
func (s *Store) Held(holder string) *Held { return &Held{s, holder} }

// SaveSource is that of Store. It is a transaction although it has one statement: one
// that reaches the server late, on a connection that was given up, is not committed, and
// so does not set back what was saved since.
func (h *Held) SaveSource(ctx context.Context, name string, st source.State) error {
	if h.holder == "" {
		return h.Store.SaveSource(ctx, name, st)
	}
	return h.transact(ctx, "save source "+name, func(tx *transaction) error {
		res, err := tx.ExecContext(ctx, `UPDATE sources SET identity = ?, end_position = ?, tx_position = ?, tx_done = ? WHERE name = ? AND holder = ?`,
			st.Identity, string(st.Mark.End), string(st.Mark.Tx), st.Mark.Done, name, h.holder)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n != 1 {
			return errors.Join(ErrTaken, err)
		}
		return nil
	})
}

// SaveNotes is that of Store.
func (h *Held) SaveNotes(ctx context.Context, src string, changed map[string]string) error {
	save := saveNotes(ctx, src, changed)
	return h.transact(ctx, "save notes of source "+src, func(tx *transaction) error {
		if err := save(tx); err != nil {
			return err
		}
		return h.proveSource(ctx, tx, src)
	})
}

// Settle is that of Store.
func (h *Held) Settle(ctx context.Context, c *deliver.Changes) error {
	return h.transact(ctx, "settle deliveries", func(tx *transaction) error {
		if err := h.settle(ctx, tx, c); err != nil {
			return err
		}
		return h.prove(ctx, tx)
	})
}

// Amend is that of Store.
func (h *Held) Amend(ctx context.Context, r *deliver.Request) (out *deliver.Outcome, err error) {
	err = h.transact(ctx, "change deliveries", func(tx *transaction) error {
		if out, err = amendDeliveries(ctx, tx, r); err != nil {
			return err
		}
		return h.prove(ctx, tx)
	})
	return out, err
}

// prove proves that the leases are still held, and keeps it so until tx ends. It comes
// last, so that signs of life need not wait for all that tx does.
func (h *Held) prove(ctx context.Context, tx *transaction) error {
	return h.proven(ctx, tx, `SELECT 1 FROM sources WHERE holder = ?`)
}

// proveSource is prove for the lease of one source.
func (h *Held) proveSource(ctx context.Context, tx *transaction, name string) error {
	return h.proven(ctx, tx, `SELECT 1 FROM sources WHERE holder = ? AND name = ?`, name)
}

func (h *Held) proven(ctx context.Context, tx *transaction, query string, more ...any) error {
	if h.holder == "" {
		return nil
	}
	if tx.d.rowLocks {
		query += ` FOR UPDATE`
	}
	var one int
	err := tx.QueryRowContext(ctx, query, append([]any{h.holder}, more...)...).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return ErrTaken
	}
	return err
}
