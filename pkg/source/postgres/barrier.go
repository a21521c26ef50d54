package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waltrigger/waltrigger/pkg/source"
)

// holder is a transaction that held a write lock when Barrier was called. While it
// runs it is known by its virtual transaction; once prepared, only by its xid.
type holder struct {
	virtual string
	xids    []string // as text; it may still get one, but then has written nothing yet
	next    uint64   // on a standby, instead: all transactions of the primary before this one
}

// writeLocks are the lock modes of statements that write rows.
const writeLocks = `('RowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')`

var holdersQuery = `
with l as materialized (select * from pg_catalog.pg_locks where granted and pid is distinct from pg_catalog.pg_backend_pid()),
wanted as (
  select c.oid from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where (n.nspname, c.relname) in (select s, t from unnest($1::text[], $2::text[]) w(s, t))),
tree as (select t.relid as oid from wanted, lateral ` + fmt.Sprintf(below, "wanted.oid") + ` t)
select l.virtualtransaction, array(select x.transactionid::text from l x where x.locktype = 'transactionid' and x.virtualtransaction = l.virtualtransaction)
from l where l.locktype = 'relation' and l.relation in (select oid from tree) and l.mode in ` + writeLocks + `
  and l.database = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())
group by l.virtualtransaction`

// openQuery finds those still open, and describes them without what they run.
const openQuery = `
with l as materialized (select * from pg_catalog.pg_locks where granted)
select distinct l.virtualtransaction, '', 'pid ' || l.pid || coalesce(' (' || nullif(concat_ws(', ', nullif(a.application_name, ''), 'user ' || a.usename, a.state,
  'since ' || to_char(a.xact_start, 'YYYY-MM-DD HH24:MI:SS"Z"')), '') || ')', '')
from l left join pg_catalog.pg_stat_activity a on a.pid = l.pid
where l.locktype = 'virtualxid' and l.virtualtransaction = any($1::text[])
union all
select '', p.transaction::text, 'prepared transaction ' || quote_literal(p.gid) || ' (user ' || p.owner || ', since ' || to_char(p.prepared, 'YYYY-MM-DD HH24:MI:SS"Z"') || ')'
from pg_catalog.pg_prepared_xacts p where p.transaction::text = any($2::text[])
order by 3`

// Barrier implements source.Catalog. It asks the lock table again and again, up to
// four times a second; it holds no lock and no transaction while it waits.
func (s *Source) Barrier(ctx context.Context, tables []source.TableName, waiting func(blockers string)) (seq uint64, err error) {
	var holders []holder
	var standby bool
	err = s.admin.do(ctx, func(ctx context.Context, c *pgx.Conn) error {
		if err := c.QueryRow(ctx, "select pg_catalog.pg_is_in_recovery()").Scan(&standby); err != nil {
			return err
		}
		if standby {
			holders, err = readRunning(ctx, c)
		} else {
			holders, err = readHolders(ctx, c, tables)
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("read locks: %w", err)
	}
	look := readOpen
	if standby {
		look = stillRunning
	}
	last := ""
	for wait := 5 * time.Millisecond; len(holders) > 0; wait = min(2*wait, 250*time.Millisecond) {
		var blockers []string
		err = s.admin.do(ctx, func(ctx context.Context, c *pgx.Conn) error {
			holders, blockers, err = look(ctx, c, holders)
			return err
		})
		if err != nil {
			return 0, fmt.Errorf("read locks: %w", err)
		}
		if len(holders) == 0 {
			break
		}
		if text := strings.Join(blockers, "; "); text != last && waiting != nil {
			last = text
			waiting(text)
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(wait):
		}
	}
	var at string
	err = s.admin.do(ctx, func(ctx context.Context, c *pgx.Conn) error {
		return c.QueryRow(ctx, "select "+insertEnd+"::text").Scan(&at)
	})
	if err != nil {
		return 0, fmt.Errorf("read end of log: %w", err)
	}
	l, err := parseLSN(at)
	return uint64(l), err
}

// readRunning gives one holder for all of the primary's transactions that were writing
// when the standby was as it is now: it knows nothing of their locks, and the oldest one
// only. What the primary has committed and the standby has not replayed yet counts as
// committed later.
func readRunning(ctx context.Context, c *pgx.Conn) ([]holder, error) {
	oldest, next, err := readSnapshot(ctx, c)
	if err != nil || oldest >= next {
		return nil, err
	}
	return []holder{{next: next}}, nil
}

// stillRunning returns holders if one of the transactions has not ended on the standby.
func stillRunning(ctx context.Context, c *pgx.Conn, holders []holder) (open []holder, blockers []string, err error) {
	oldest, _, err := readSnapshot(ctx, c)
	if err != nil || oldest >= holders[0].next {
		return nil, nil, err
	}
	return holders, []string{fmt.Sprintf("transaction %d of the primary", oldest)}, nil
}

func readSnapshot(ctx context.Context, c *pgx.Conn) (oldest, next uint64, err error) {
	err = c.QueryRow(ctx, "select pg_catalog.pg_snapshot_xmin(s)::text::bigint, pg_catalog.pg_snapshot_xmax(s)::text::bigint from pg_catalog.pg_current_snapshot() s").Scan(&oldest, &next)
	return oldest, next, err
}

func readHolders(ctx context.Context, c *pgx.Conn, tables []source.TableName) ([]holder, error) {
	schemas, names := split(tables)
	rows, err := c.Query(ctx, holdersQuery, schemas, names)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (h holder, err error) {
		err = row.Scan(&h.virtual, &h.xids)
		return h, err
	})
}

// readOpen returns those of holders that have not ended. A transaction that is being
// prepared gives up its virtual id and shows again under its xid; one look may fall in
// between, so a holder must be gone from two.
func readOpen(ctx context.Context, c *pgx.Conn, holders []holder) (open []holder, blockers []string, err error) {
	open, blockers, err = lookOpen(ctx, c, holders)
	if err != nil || len(open) == len(holders) {
		return open, blockers, err
	}
	again, more, err := lookOpen(ctx, c, holders)
	for _, h := range again {
		if !slices.ContainsFunc(open, func(o holder) bool { return o.virtual == h.virtual }) {
			open, blockers = append(open, h), more
		}
	}
	return open, blockers, err
}

func lookOpen(ctx context.Context, c *pgx.Conn, holders []holder) (open []holder, blockers []string, err error) {
	virtual, xids := []string{}, []string{}
	for _, h := range holders {
		virtual, xids = append(virtual, h.virtual), append(xids, h.xids...)
	}
	rows, err := c.Query(ctx, openQuery, virtual, xids)
	if err != nil {
		return nil, nil, err
	}
	var v, x, text string
	var seen []string
	_, err = pgx.ForEachRow(rows, []any{&v, &x, &text}, func() error {
		seen = append(seen, v, x)
		blockers = append(blockers, text)
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	for _, h := range holders {
		if slices.Contains(seen, h.virtual) || slices.ContainsFunc(h.xids, func(x string) bool { return slices.Contains(seen, x) }) {
			open = append(open, h)
		}
	}
	return open, blockers, nil
}
