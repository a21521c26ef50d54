package postgres

import (
	"fmt"
	"strings"

	"github.com/waltrigger/waltrigger/pkg/source"
)

// muteLeaves are the partitions of relation c whose rows are in no log.
var muteLeaves = `array(select pg_catalog.format('%I.%I', ln.nspname, l.relname) from ` + belowC + ` t join pg_catalog.pg_class l on l.oid = t.relid
  join pg_catalog.pg_namespace ln on ln.oid = l.relnamespace where l.oid <> c.oid and (l.relkind not in ('r', 'p') or l.relkind = 'r' and l.relpersistence <> 'p') order by t.level, l.oid)`

// cut is true where publication @pub carries not all of relation c: %[1]s is prqual or prattrs.
const cut = `exists(select from pg_catalog.pg_publication_rel r where r.prrelid = c.oid and r.prpubid = @pub and pg_catalog.to_jsonb(r)->>'%[1]s' is not null)`

// remarks say what of a table that can be published does not come, or comes otherwise
// than somebody would think.
func (s *Source) remarks(p *publication, t tableState) []source.Finding {
	var out []source.Finding
	add := func(text, mend string) {
		out = append(out, source.Finding{Level: source.LevelWarn, Text: fmt.Sprintf("table %s: %s", t.name, text), Mend: mend})
	}
	anew := "ALTER PUBLICATION " + s.quotedPublication() + " DROP TABLE " + t.quoted() + "; ALTER PUBLICATION " + s.quotedPublication() + " ADD TABLE ONLY " + t.quoted() + ";"
	if n := len(t.mute); n > 0 {
		names := strings.Join(t.mute[:min(n, 5)], ", ")
		if n > 5 {
			names += fmt.Sprintf(" and %d more", n-5)
		}
		add("changes of rows in its partitions "+names+" are not in the log: these are unlogged or foreign tables", "ALTER TABLE … SET LOGGED; for what is unlogged")
	}
	if t.where {
		add("publication "+s.cfg.Publication+" carries only the rows that match its WHERE: an update by which a row comes to match is an insert, and one by which it ceases to is a delete", anew)
	}
	if t.list {
		add("publication "+s.cfg.Publication+" carries only the columns that it lists: events lack the others", anew)
	}
	if t.computed && p.version < generatedVersion {
		add(fmt.Sprintf("its replica identity has a generated column, which the log of PostgreSQL %d does not hold: events have no key, or not all of it", p.version/10000), "make the key of other columns, or upgrade to PostgreSQL 18")
	}
	return out
}

// remark logs what there is to say of a table that is published, once.
func (s *Source) remark(p *publication, t tableState) {
	text := ""
	for _, f := range s.remarks(p, t) {
		text += f.Text + "; "
	}
	if s.remarked[t.oid] == text {
		return
	}
	if s.remarked == nil {
		s.remarked = map[uint32]string{}
	}
	if s.remarked[t.oid] = text; text != "" {
		s.log.Warn("not all of a published table comes as one would think", "detail", strings.TrimSuffix(text, "; "))
	}
}
