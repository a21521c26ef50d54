package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

// ownMark is the comment by which a publication is known to be ours in mode auto.
const ownMark = "managed by waltrigger"

// publication is what the catalog says of ours.
type publication struct {
	version   int // of the server
	oid       uint32
	inserts   uint32 // the second one's oid, for tables of which only inserts can be published; 0 = there is none
	all       bool   // FOR ALL TABLES
	schemas   bool   // FOR TABLES IN SCHEMA, of one that is ours to alter
	changes   bool   // publishes updates or deletes: identities matter
	lacks     []change.Op
	viaRoot   bool // partitions' changes come under the name of the table at the root
	generated bool // publishes stored generated columns
	mine      bool // owned by us and marked
	alterable bool
}

func quote(names ...string) string { return pgx.Identifier(names).Sanitize() }

func (s *Source) quotedPublication() string { return quote(s.cfg.Publication) }

// insertsName is the name of the publication for tables of which only inserts can be
// published.
func (s *Source) insertsName() string {
	const suffix = "_inserts"
	name := s.cfg.Publication
	if len(name) > 63-len(suffix) {
		name = strings.ToValidUTF8(name[:63-len(suffix)], "")
	}
	return name + suffix
}

// publicationNames are those that the stream asks for.
func (s *Source) publicationNames(p *publication) []string {
	if p == nil || p.inserts == 0 {
		return []string{s.cfg.Publication}
	}
	return []string{s.cfg.Publication, s.insertsName()}
}

func (s *Source) readPublication(ctx context.Context, c *pgx.Conn) (*publication, error) {
	var p publication
	var standby, insert, update, del, truncate bool
	err := c.QueryRow(ctx, `
select oid, coalesce((select i.oid from pg_catalog.pg_publication i where i.pubname = $3 and pg_catalog.obj_description(i.oid, 'pg_publication') = $2), 0),
       puballtables, pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot, coalesce(to_jsonb(p)->>'pubgencols', 'n') in ('s', 'true'),
       pg_catalog.pg_get_userbyid(pubowner) = current_user and coalesce(pg_catalog.obj_description(oid, 'pg_publication'), '') = $2, pg_catalog.pg_is_in_recovery(), current_setting('server_version_num')::int
from pg_catalog.pg_publication p where pubname = $1`, s.cfg.Publication, ownMark, s.insertsName()).
		Scan(&p.oid, &p.inserts, &p.all, &insert, &update, &del, &truncate, &p.viaRoot, &p.generated, &p.mine, &standby, &p.version)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read publication: %w", err)
	}
	for op, has := range map[change.Op]bool{change.Insert: insert, change.Update: update, change.Delete: del, change.Truncate: truncate} {
		if !has {
			p.lacks = append(p.lacks, op)
		}
	}
	p.changes = update || del
	p.alterable = !standby && (s.cfg.PublicationMode == ModeManaged || (s.cfg.PublicationMode == ModeAuto && p.mine))
	if !p.alterable {
		p.inserts = 0
	}
	if p.alterable && p.version >= schemasVersion {
		if err := c.QueryRow(ctx, "select exists(select from pg_catalog.pg_publication_namespace where pnpubid = $1)", p.oid).Scan(&p.schemas); err != nil {
			return nil, fmt.Errorf("read publication: %w", err)
		}
	}
	return &p, nil
}

// unmanageable says why p, which is ours to alter, cannot be managed: a table without
// usable replica identity could not be taken out of it.
func (s *Source) unmanageable(p *publication) error {
	what, mend := "FOR ALL TABLES", "set publication_mode: existing, or name another publication"
	switch {
	case p == nil || !p.alterable || !p.all && !p.schemas:
		return nil
	case p.schemas:
		what, mend = "FOR TABLES IN SCHEMA", "ALTER PUBLICATION "+s.quotedPublication()+" DROP TABLES IN SCHEMA …; or "+mend
	}
	return &source.HaltError{State: source.Misconfigured, Reason: fmt.Sprintf("publication %s is %s, which cannot be managed", s.cfg.Publication, what), Mend: mend}
}

// ensurePublication returns the publication, creating it without tables if the mode
// allows. It must exist before the slot does: a slot decodes each change with the
// catalog as it was then. So the second one is only made, and asked for, with a new slot,
// and nil stands for one that is gone.
func (s *Source) ensurePublication(ctx context.Context, c *pgx.Conn, slot bool) (*publication, error) {
	p, err := s.readPublication(ctx, c)
	if err == nil {
		err = s.unmanageable(p)
	}
	if err != nil || slot || p != nil && (p.inserts != 0 || !p.alterable) {
		return p, err
	}
	if p == nil && s.cfg.PublicationMode == ModeExisting {
		return nil, &source.HaltError{
			State: source.Misconfigured, Reason: "publication " + s.cfg.Publication + " does not exist",
			Mend: "CREATE PUBLICATION " + s.quotedPublication() + " FOR TABLE … WITH (publish_via_partition_root = true);",
		}
	}
	for name, publish := range map[string]string{s.cfg.Publication: "insert, update, delete, truncate", s.insertsName(): "insert, truncate"} {
		if err := s.createPublication(ctx, c, name, publish); err != nil {
			return nil, err
		}
	}
	if p, err = s.readPublication(ctx, c); err == nil && p == nil {
		err = fmt.Errorf("publication %s was dropped just now", s.cfg.Publication)
	}
	return p, err
}

// publicationGone is what to do about a publication that the slot was made with. Made
// anew it is of no use: what was written before is decoded without it, which PostgreSQL 18
// does with a mere warning, leaving all of it out.
func (s *Source) publicationGone() error {
	halt := source.PositionLost(s.cfg.Name, "publication "+s.cfg.Publication+" does not exist, or did not for a while: what was written without it is not in the log")
	if s.cfg.PublicationMode == ModeExisting {
		halt.Mend = "CREATE PUBLICATION " + s.quotedPublication() + " FOR TABLE … WITH (publish_via_partition_root = true); " + halt.Mend
	}
	return halt
}

// createPublication creates one without tables, unless it exists.
func (s *Source) createPublication(ctx context.Context, c *pgx.Conn, name, publish string) error {
	var version int
	var exists bool
	if err := c.QueryRow(ctx, "select current_setting('server_version_num')::int, exists(select from pg_catalog.pg_publication where pubname = $1)", name).Scan(&version, &exists); err != nil {
		return fmt.Errorf("read version: %w", err)
	}
	if exists {
		return nil
	}
	create := "CREATE PUBLICATION " + quote(name) + " WITH (publish = " + literal(publish) + ", publish_via_partition_root = true"
	if version >= generatedVersion {
		create += ", publish_generated_columns = stored"
	}
	create += ")"
	err := pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, create); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "COMMENT ON PUBLICATION "+quote(name)+" IS "+literal(ownMark))
		return err
	})
	switch sqlState(err) {
	case "42710": // somebody was faster
		return nil
	case "25006": // a standby, or a role that only reads
		return &source.HaltError{State: source.Misconfigured, Reason: err.Error(), Mend: "on the primary, as the owner of the tables: CREATE PUBLICATION " + s.quotedPublication() + " FOR TABLE … WITH (publish_via_partition_root = true); and publication_mode: existing"}
	case "42501":
		return &source.HaltError{State: source.Misconfigured, Reason: err.Error(), Mend: "GRANT CREATE ON DATABASE … TO …; or as the tables' owner: " + create + "; and publication_mode: existing"}
	}
	if err != nil {
		return fmt.Errorf("create publication: %w", err)
	}
	s.log.Info("created publication", "publication", name)
	return nil
}
