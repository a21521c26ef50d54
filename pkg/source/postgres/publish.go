package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

// AllowInsertOnly implements source.InsertOnly.
func (s *Source) AllowInsertOnly(tables []source.TableName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fewer = slices.Clone(tables)
}

// Publish implements source.Catalog. A table that cannot be published without harm, or
// that we may not publish, is left out and reported as a *source.TableError, one for
// each, joined. Any other error means that the server could not be asked.
func (s *Source) Publish(ctx context.Context, tables []source.TableName) (missing []source.TableName, err error) {
	s.mu.Lock()
	s.want, s.wanted = slices.Clone(tables), true
	s.mu.Unlock()
	var refusals []error
	err = s.admin.do(ctx, func(ctx context.Context, c *pgx.Conn) error {
		slot, err := readSlot(ctx, c, s.cfg.Slot)
		if err != nil {
			return err
		}
		p, err := s.ensurePublication(ctx, c, slot != nil)
		if err == nil && p == nil {
			err = s.publicationGone()
		}
		if err != nil {
			return err
		}
		missing, refusals, err = s.align(ctx, c, p, tables)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("publish tables: %w", err)
	}
	return missing, errors.Join(refusals...)
}

// align makes the publications hold tables, and nothing else.
func (s *Source) align(ctx context.Context, c *pgx.Conn, p *publication, tables []source.TableName) (missing []source.TableName, refusals []error, err error) {
	states, err := s.readNamed(ctx, c, p, tables)
	if err != nil {
		return nil, nil, err
	}
	found := map[source.TableName]bool{}
	wanted := map[uint32]bool{}
	for _, t := range states {
		found[t.name], wanted[t.oid] = true, true
	}
	for _, name := range tables {
		if !found[name] && !slices.Contains(missing, name) {
			missing = append(missing, name)
		}
	}
	var add, fewer []tableState
	for _, t := range states {
		refusal := s.refuse(p, t, wanted)
		if refusal == nil {
			s.remark(p, t)
		}
		switch {
		case refusal != nil:
			refusals = append(refusals, refusal)
		case !p.alterable:
		case s.insertOnly(p, t):
			if !t.inserts {
				fewer = append(fewer, t)
			}
		case !t.member:
			add = append(add, t)
		}
	}
	if !p.alterable {
		return missing, refusals, nil
	}
	for _, to := range []struct {
		publication string
		tables      []tableState
	}{{s.cfg.Publication, add}, {s.insertsName(), fewer}} {
		more, err := s.addTables(ctx, c, p, to.publication, to.tables)
		if err != nil {
			return nil, nil, err
		}
		refusals = append(refusals, more...)
	}
	// After that, so that what goes from one publication to the other is always in one.
	members, err := s.readTables(ctx, c, p, memberTables, pgx.NamedArgs{})
	if err != nil {
		return nil, nil, err
	}
	for _, t := range members {
		if t.member && (!wanted[t.oid] || p.changes && !t.usable) {
			err = s.drop(ctx, c, s.cfg.Publication, t)
		}
		if err == nil && t.inserts && (!wanted[t.oid] || t.member && t.usable || !t.usable && !s.insertOnly(p, t)) {
			err = s.drop(ctx, c, s.insertsName(), t)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	s.remember(states)
	return missing, refusals, nil
}

func (s *Source) drop(ctx context.Context, c *pgx.Conn, publication string, t tableState) error {
	if _, err := c.Exec(ctx, "ALTER PUBLICATION "+quote(publication)+" DROP TABLE ONLY "+t.quoted()); err != nil && sqlState(err) != "42704" {
		return fmt.Errorf("take table %s out of publication: %w", t.name, err)
	}
	s.log.Info("table left the publication", "table", t.name.String(), "publication", publication)
	return nil
}

// addTables adds tables one by one: to hold a lock on one while waiting for that of
// another is half of a deadlock.
func (s *Source) addTables(ctx context.Context, c *pgx.Conn, p *publication, publication string, tables []tableState) (refusals []error, err error) {
	for _, t := range tables {
		err := s.addSafely(ctx, c, p, publication, t)
		var refusal *source.TableError
		switch {
		case errors.As(err, &refusal):
			refusals = append(refusals, refusal)
		case err != nil && sqlState(err) == "":
			return refusals, err
		case err != nil:
			refusals = append(refusals, &source.TableError{
				Table: t.name, Reason: err.Error(),
				Mend: "ALTER PUBLICATION " + quote(publication) + " ADD TABLE ONLY " + t.quoted() + "; as the owner of the table and of the publication",
			})
		}
	}
	return refusals, nil
}

// addSafely adds t and looks at its identity again before it commits: the lock that ALTER
// PUBLICATION takes keeps it from changing in between.
func (s *Source) addSafely(ctx context.Context, c *pgx.Conn, p *publication, publication string, t tableState) error {
	var at string
	err := pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "ALTER PUBLICATION "+quote(publication)+" ADD TABLE ONLY "+t.quoted()); err != nil {
			if sqlState(err) == "42710" { // a member already
				return nil
			}
			return err
		}
		states, err := s.readNamed(ctx, c, p, []source.TableName{t.name})
		if err != nil {
			return err
		}
		for _, now := range states {
			if refusal := s.refuse(p, now, nil); refusal != nil {
				return refusal
			}
			if publication == s.cfg.Publication && p.changes && !now.usable { // it may have become one for inserts alone
				return &source.TableError{Table: t.name, Reason: "it lost its replica identity just now", Mend: now.whole}
			}
		}
		return tx.QueryRow(ctx, "select "+insertEnd+"::text").Scan(&at)
	})
	if err != nil && !errors.Is(err, pgx.ErrTxCommitRollback) {
		return err
	}
	s.log.Info("table joined the publication", "table", t.name.String(), "publication", publication)
	if !t.member && !t.inserts {
		s.joined(t.name, at)
	}
	return nil
}

// OnJoin implements source.Joiner.
func (s *Source) OnJoin(f func(table source.TableName, before change.Position)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.join = f
}

// joined tells that what was committed before that position is not in the log for t.
func (s *Source) joined(t source.TableName, before string) {
	s.mu.Lock()
	f := s.join
	s.mu.Unlock()
	if f != nil && before != "" {
		f(t, change.Position(before))
	}
}
