package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/waltrigger/waltrigger/pkg/source"
)

// carriedQuery makes the words of Carried. A table's rows can change without the log
// saying so when it is exchanged for another one, rewritten (ALTER TABLE, also TRUNCATE of
// a partition), gets partitions or loses them, or leaves the publication for a while:
// all of that shows in rows of the catalog. The start of the session is that of another
// server too. What row level security or a publication's filter hides cannot be told
// from what is not there, nor can rows that are in no log. Tables
// that are published by their schema are not asked for.
var carriedQuery = `
select coalesce((select pg_catalog.md5(concat_ws(' ', (select backend_start from pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid())),
    p.oid, p.xmin, r.oid, r.xmin, c.oid, c.xmin,
    (select pg_catalog.string_agg(concat_ws(' ', a.attname, a.atttypid, a.attisdropped, a.xmin), ',' order by a.attnum) from pg_catalog.pg_attribute a where a.attrelid = c.oid),
    (select pg_catalog.string_agg(concat_ws(' ', l.oid, l.relfilenode), ',' order by l.oid) from ` + belowC + ` t join pg_catalog.pg_class l on l.oid = t.relid)))
  from pg_catalog.pg_publication p, pg_catalog.pg_class c left join pg_catalog.pg_publication_rel r on r.prrelid = c.oid
    and r.prpubid = (select oid from pg_catalog.pg_publication where pubname = @publication)
  where p.pubname = @publication and p.pubinsert and p.pubupdate and p.pubdelete and p.pubtruncate
    and c.relnamespace = (select oid from pg_catalog.pg_namespace where nspname = w.s) and c.relname = w.t
    and c.relkind in ('r', 'p') and c.relpersistence = 'p' and not c.relispartition and not c.relrowsecurity and (c.relkind = 'r' or p.pubviaroot)
    and not exists(select from ` + belowC + ` t join pg_catalog.pg_class l on l.oid = t.relid
      where l.relpersistence <> 'p' or l.relrowsecurity or l.relkind not in ('r', 'p'))
    and case when r.oid is not null then pg_catalog.to_jsonb(r)->>'prqual' is null and pg_catalog.to_jsonb(r)->>'prattrs' is null
      else p.puballtables end), '')
from unnest(@schemas::text[], @tables::text[]) with ordinality w(s, t, n) order by w.n`

// Carried implements source.Catalog.
func (s *Source) Carried(ctx context.Context, tables []source.TableName) ([]string, error) {
	schemas, names := split(tables)
	var out []string
	err := s.admin.do(ctx, func(ctx context.Context, c *pgx.Conn) error {
		rows, err := c.Query(ctx, carriedQuery, pgx.NamedArgs{"publication": s.cfg.Publication, "schemas": schemas, "tables": names})
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look at published tables: %w", err)
	}
	return out, nil
}
