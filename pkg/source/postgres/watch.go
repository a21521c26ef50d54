package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waltrigger/waltrigger/pkg/source"
)

const (
	watchEvery   = 5 * time.Second
	watchTimeout = 20 * time.Second
)

// suspect asks the watch to look at once.
func (s *Source) suspect() {
	select {
	case s.recheck <- struct{}{}:
	default:
	}
}

// watch looks after what may change beside us while the stream runs: tables that lose
// their replica identity are taken out of the publication before the application's
// writes suffer longer, late and recreated tables join it, and the stream lets go of a
// server that is shutting down, which would otherwise wait for our acknowledgements.
func (s *Source) watch(ctx context.Context, kick chan<- error) {
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-s.recheck:
		}
		err := s.look(ctx)
		halt := (*source.HaltError)(nil)
		switch {
		case err == nil || ctx.Err() != nil:
		case errors.Is(err, errPromoted), errors.As(err, &halt) && halt.State == source.ResyncRequired:
			select {
			case kick <- err:
			default:
			}
		case sqlState(err) == "57P01": // our session was ended: by somebody, or by a shutdown, which the next attempt tells
			s.suspect()
		case sqlState(err) == "57P03": // shutting down
			select {
			case kick <- fmt.Errorf("let go of a server that is shutting down: %w", err):
			default:
			}
		default:
			s.log.Warn("watching the catalog failed", "error", err)
		}
	}
}

// errPromoted makes the stream begin anew, to learn on which timeline the log goes on.
var errPromoted = errors.New("the standby became a primary")

// look is one turn of the watch.
func (s *Source) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	return s.admin.do(ctx, func(ctx context.Context, c *pgx.Conn) error {
		var tip, snap string
		var standby bool
		if err := c.QueryRow(ctx, "select "+logEnd+"::text, "+snapshotText+", pg_catalog.pg_is_in_recovery()").Scan(&tip, &snap, &standby); err != nil {
			return fmt.Errorf("read end of log: %w", err)
		}
		if known := s.server.Load(); known != nil && known.standby && !standby {
			return errPromoted
		}
		if _, err := s.sent.shownBy(snap, 0); err != nil {
			return err
		}
		if l, err := parseLSN(tip); err == nil {
			raise(&s.tip, uint64(l))
		}
		slot, err := readSlot(ctx, c, s.cfg.Slot)
		if err != nil {
			return err
		}
		strain, err := s.strain(ctx, c, slot, oldAge)
		if err != nil {
			return err
		}
		s.mu.Lock()
		want, wanted := slices.Clone(s.want), s.wanted
		s.mu.Unlock()
		if !wanted {
			s.setHarm(strain)
			return nil
		}
		return s.protect(ctx, c, want, strain)
	})
}

const (
	muchLog = 1 << 30     // bytes: so much may be held back by what is none of ours
	oldAge  = time.Minute // of a transaction that is open for long
)

// strain says what is alarming about the log that the server keeps for us.
func (s *Source) strain(ctx context.Context, c *pgx.Conn, slot *slotInfo, age time.Duration) (string, error) {
	if slot == nil {
		return "", nil
	}
	s.retained.Store(uint64(max(slot.RetainedBytes, 0)))
	var found []string
	if slot.SafeBytes >= 0 && slot.SafeBytes < slot.RetainedBytes/3 {
		found = append(found, fmt.Sprintf("the server gives up the slot, and with it what is not read, once it has written %d MiB more of log (max_slot_wal_keep_size)", slot.SafeBytes>>20))
	}
	if slot.RetainedBytes-int64(s.Status().LagBytes) > muchLog {
		who, err := oldestWriter(ctx, c, age)
		if err != nil {
			return "", err
		}
		if who != "" {
			found = append(found, fmt.Sprintf("%d MiB of log are held back by %s", slot.RetainedBytes>>20, who))
		}
	}
	return strings.Join(found, "; "), nil
}

// oldestWriter describes the transaction that has been open for longest of those that
// write, "" if none has for so long. Until it ends, no slot lets go of its log.
func oldestWriter(ctx context.Context, c *pgx.Conn, age time.Duration) (string, error) {
	var who string
	err := c.QueryRow(ctx, `
select who from (
  select xact_start as since, 'an open transaction: pid ' || pid || ' (' || concat_ws(', ', nullif(application_name, ''), 'user ' || usename, state, 'since ' || to_char(xact_start, 'YYYY-MM-DD HH24:MI:SS"Z"')) || ')' as who
  from pg_catalog.pg_stat_activity where backend_xid is not null
  union all select prepared, 'a prepared transaction that was forgotten: ROLLBACK PREPARED ' || quote_literal(gid) || '; or COMMIT PREPARED (user ' || owner || ', database ' || database || ', since ' || to_char(prepared, 'YYYY-MM-DD HH24:MI:SS"Z"') || ')'
  from pg_catalog.pg_prepared_xacts) x where since < now() - make_interval(secs => $1) order by since limit 1`, age.Seconds()).Scan(&who)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look for old transactions: %w", err)
	}
	return who, nil
}

// protect compares the publication with what is wanted and safe. harm is said as well.
func (s *Source) protect(ctx context.Context, c *pgx.Conn, want []source.TableName, harm ...string) error {
	p, err := s.readPublication(ctx, c)
	if err != nil {
		return err
	}
	if p == nil {
		return s.publicationGone()
	}
	states, err := s.readNamed(ctx, c, p, want)
	if err != nil {
		return err
	}
	wanted, found := map[uint32]bool{}, map[source.TableName]bool{}
	for _, t := range states {
		wanted[t.oid], found[t.name] = true, true
	}
	harm = slices.DeleteFunc(harm, func(text string) bool { return text == "" })
	if err := s.unmanageable(p); err != nil { // since we began; what can be taken out still is
		harm = append(harm, err.Error())
	}
	for _, name := range want {
		if !found[name] {
			harm = append(harm, "table "+name.String()+" does not exist")
		}
	}
	var late, fewer []tableState
	for _, t := range states {
		refusal := s.refuse(p, t, wanted)
		less := s.insertOnly(p, t)
		if refusal == nil {
			s.remark(p, t)
		}
		switch {
		case p.alterable && p.changes && t.member && !t.usable:
			if less && !t.inserts { // first, so that no insert is lost
				if _, err := s.addTables(ctx, c, p, s.insertsName(), []tableState{t}); err != nil {
					return err
				}
			}
			stays, err := s.takeOut(ctx, c, s.cfg.Publication, t)
			if err != nil {
				return err
			}
			if stays != "" {
				harm = append(harm, stays)
				continue
			}
			s.log.Error("published table lost its replica identity and was taken out of the publication, its updates and deletes are not seen", "table", t.name.String(), "inserts", less)
			harm = append(harm, fmt.Sprintf("table %s lost its replica identity: its updates and deletes are not in the log any more; mend with: %s", t.name, t.whole))
		case refusal != nil:
			harm = append(harm, refusal.Error())
		case !p.alterable:
		case less && !t.inserts:
			fewer = append(fewer, t)
		case !less && !t.member:
			late = append(late, t)
		}
	}
	for _, to := range []struct {
		publication string
		tables      []tableState
	}{{s.cfg.Publication, late}, {s.insertsName(), fewer}} {
		refusals, err := s.addTables(ctx, c, p, to.publication, to.tables)
		if err != nil {
			return err
		}
		for _, r := range refusals {
			harm = append(harm, r.Error())
		}
		for _, t := range to.tables {
			s.log.Warn("table appeared or can be published again; changes made before are not seen", "table", t.name.String(), "publication", to.publication)
			if t.inserts && t.usable {
				if err := s.drop(ctx, c, s.insertsName(), t); err != nil {
					return err
				}
			}
		}
	}
	if p.alterable {
		stay, err := s.dropUnwatched(ctx, c, p, states)
		if err != nil {
			return err
		}
		harm = append(harm, stay...)
	}
	s.setHarm(strings.Join(harm, "; "))
	return nil
}

// takeOut says if the server does not let t out of the publication, as while a VACUUM
// locks it: that must not keep others in.
func (s *Source) takeOut(ctx context.Context, c *pgx.Conn, publication string, t tableState) (stays string, err error) {
	if err = s.drop(ctx, c, publication, t); sqlState(err) == "" {
		return "", err
	}
	return fmt.Sprintf("%v: the application's UPDATE and DELETE of it fail while it has no replica identity; mend with: %s", err, t.whole), nil
}

// dropUnwatched takes out what nobody wants any more and what would do harm one day, since
// nobody watches it: tables that go by another name now, and those without a usable replica
// identity. Others stay until Publish: they may have been added by a successor of ours.
func (s *Source) dropUnwatched(ctx context.Context, c *pgx.Conn, p *publication, watched []tableState) (stay []string, err error) {
	members, err := s.readTables(ctx, c, p, memberTables, pgx.NamedArgs{})
	if err != nil {
		return nil, err
	}
	for _, t := range members {
		if slices.ContainsFunc(watched, func(w tableState) bool { return w.oid == t.oid }) {
			continue
		}
		old, known := s.watched[t.oid]
		renamed := known && old != t.name
		text := ""
		if t.member && (renamed || p.changes && !t.usable) {
			text, err = s.takeOut(ctx, c, s.cfg.Publication, t)
		}
		if err == nil && text == "" && t.inserts && renamed {
			text, err = s.takeOut(ctx, c, s.insertsName(), t)
		}
		if err != nil {
			return nil, err
		}
		switch {
		case text != "":
			stay = append(stay, text)
		case renamed:
			s.log.Warn("published table was renamed: no trigger names it any more, its changes are not seen", "table", t.name.String(), "before", old.String())
		}
	}
	if len(stay) == 0 { // else what was renamed is tried again
		s.remember(watched)
	}
	return stay, nil
}

func (s *Source) remember(watched []tableState) {
	s.watched = map[uint32]source.TableName{}
	for _, t := range watched {
		s.watched[t.oid] = t.name
	}
}

func (s *Source) setHarm(text string) {
	s.mu.Lock()
	changed := s.harm != text
	s.harm = text
	s.mu.Unlock()
	if changed && text != "" {
		s.log.Error("publication needs attention", "detail", text)
	}
}
