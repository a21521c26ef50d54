package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/waltrigger/waltrigger/pkg/api"
	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/related"
	"github.com/waltrigger/waltrigger/pkg/signal"
	"github.com/waltrigger/waltrigger/pkg/source"
	"github.com/waltrigger/waltrigger/pkg/template"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// resolve finds the table of a content type: an explicit entry of the source's
// content_types, else Django's table name in the search path, else schema and table.
func (s *sources) resolve(ctx context.Context, c trigger.ContentType) (trigger.Table, error) {
	if c.Source != "" && s.byName(c.Source) == nil {
		return trigger.Table{}, &trigger.Problem{Pointer: "/source", Code: trigger.CodeUnknown, Detail: fmt.Sprintf("the configuration has no source %q", c.Source)}
	}
	var found []trigger.Table
	var near []string
	for _, t := range s.tails {
		if c.Source != "" && c.Source != t.name {
			continue
		}
		tables, err := t.catalog(ctx)
		if err != nil {
			hint := ""
			if c.Source == "" && len(s.tails) > 1 {
				hint = "; name the source of " + c.Name().String() + " if it is another one"
			}
			return trigger.Table{}, fmt.Errorf("%w: %w%s", trigger.ErrUnavailable, err, hint)
		}
		if info, ok := t.find(tables, c); ok {
			if err := t.usable(info, c); err != nil {
				return trigger.Table{}, err
			}
			found = append(found, trigger.Table{Source: t.name, Schema: info.Schema, Name: info.Name})
		}
		near = append(near, names(tables)...)
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return trigger.Table{}, fmt.Errorf("%w%s", trigger.ErrNoTable, trigger.DidYouMean(c.Name().String(), near))
	}
	return trigger.Table{}, &trigger.Problem{
		Pointer: "/source", Code: trigger.CodeRequired,
		Detail: fmt.Sprintf("several sources have this table: name one of %s and %s", found[0].Source, found[1].Source),
	}
}

// find looks a content type up in the catalog of a source.
func (t *tail) find(tables []source.TableInfo, c trigger.ContentType) (source.TableInfo, bool) {
	by := func(match func(source.TableInfo) bool) (source.TableInfo, bool) {
		i := slices.IndexFunc(tables, match)
		if i < 0 {
			return source.TableInfo{}, false
		}
		return tables[i], true
	}
	if name, ok := t.content[strings.ToLower(c.Name().String())]; ok {
		return by(func(i source.TableInfo) bool { return i.TableName == name })
	}
	django := strings.ToLower(c.AppLabel + "_" + c.ModelName)
	if info, ok := by(func(i source.TableInfo) bool { return i.InSearchPath && i.Name == django }); ok {
		return info, true
	}
	if info, ok := by(func(i source.TableInfo) bool { return i.Schema == c.AppLabel && i.Name == c.ModelName }); ok {
		return info, true
	}
	return by(func(i source.TableInfo) bool { return i.Schema == c.AppLabel && strings.EqualFold(i.Name, c.ModelName) })
}

// names spells the tables as content types, for the nearest names in errors.
func names(tables []source.TableInfo) []string {
	out := make([]string, 0, len(tables))
	for _, t := range tables {
		if app, model, ok := strings.Cut(t.Name, "_"); ok && t.InSearchPath {
			out = append(out, app+"."+model)
		} else {
			out = append(out, t.TableName.String())
		}
	}
	return out
}

// usable refuses a table whose changes cannot be published without making the
// application's own updates fail, unless its inserts will do.
func (t *tail) usable(info source.TableInfo, c trigger.ContentType) error {
	_, less := t.source().(source.InsertOnly)
	if info.IdentityUsable || less && c.AllowInsertOnly {
		return nil
	}
	return &trigger.Problem{Code: codeIdentity, Detail: fmt.Sprintf(
		"%s: table %s has no usable replica identity: if it were published, the database would refuse the application's updates and deletes; give it a primary key, or %s (writes the whole old row to the log), or say allow_insert_only if its inserts will do",
		c.Name(), info.TableName, info.WholeOldRow)}
}

// checkPath says what is wrong with a path that a template or condition of t reads. A
// column is right if one of the trigger's content types has it; what the log does not
// hold must be held for each of them. Where the catalog cannot be asked, or a table is
// still to come, nothing is wrong.
func (s *sources) checkPath(t *trigger.Trigger, at string, path template.Path) error {
	var unknown error
	known := false
	for _, c := range t.ContentTypes {
		k, ok := s.table(c)
		if !ok {
			known = true
			continue
		}
		if err := s.shown(k, path.Names); err != nil {
			return err
		}
		if err := k.held(t.Signals(), at, path.Names); err != nil {
			return err
		}
		err := k.leads(path)
		if known = known || err == nil; unknown == nil {
			unknown = err
		}
	}
	if known {
		return nil
	}
	return unknown
}

// known is a table of a content type, with what it leads to.
type known struct {
	source.TableInfo
	tables []source.TableInfo
	names  *related.Names
}

// table finds the catalog's entry of a content type that resolve found.
func (s *sources) table(c trigger.ContentType) (known, bool) {
	for _, t := range s.tails {
		if c.Source != "" && c.Source != t.name {
			continue
		}
		tables, err := t.catalog(context.Background())
		if err != nil {
			return known{}, false
		}
		names, err := t.neighbours.catalog.Names(context.Background(), false)
		if err != nil {
			return known{}, false
		}
		if info, ok := t.find(tables, c); ok {
			return known{info, tables, names}, true
		}
	}
	return known{}, false
}

// held says why the log of a table does not hold what path reads.
func (k known) held(signals signal.Set, at string, path []string) error {
	if k.Identity == change.IdentityFull {
		return nil
	}
	full := "; mend with " + fullIdentity(k.TableInfo)
	saves := signals.Has(signal.PreSave) || signals.Has(signal.PostSave)
	switch {
	case path[0] == "fields", path[0] == "changed" && at == "/condition":
		if saves {
			return &trigger.Problem{Code: codeIdentity, Detail: fmt.Sprintf("the log of %s does not tell which columns an update changed%s", k.TableName, full)}
		}
		return nil
	case path[0] == "before" && len(path) < 2 && at == "/condition":
		if saves {
			return &trigger.Problem{Code: codeIdentity, Detail: fmt.Sprintf("the log of %s does not hold the row before an update%s", k.TableName, full)}
		}
		return nil
	case path[0] != "before" || len(path) < 2:
		return nil
	}
	for _, name := range k.reads(path[1]) {
		if !slices.Contains(k.OldColumns, name) {
			return &trigger.Problem{Code: codeIdentity, Detail: fmt.Sprintf("the log of %s holds no old value of %s%s", k.TableName, name, full)}
		}
	}
	return nil
}

// codeIdentity is the code of a problem that another replica identity solves.
const codeIdentity = "replica_identity"

// fullIdentity is what makes the log hold whole old rows, and what that costs.
func fullIdentity(info source.TableInfo) string {
	return strings.TrimSuffix(info.WholeOldRow, ";") + ", after which each update and delete also writes the whole old row to the log"
}

// shown says which column that path reads may not leave, of the table or of those that it
// leads to.
func (s *sources) shown(k known, path []string) error {
	if path[0] == "changed" || path[0] == "fields" { // that it changed is no secret
		return nil
	}
	for _, r := range k.names.Reads(k.TableName, path[1:], k.find) {
		columns := r.Columns
		if r.Name != "" {
			info, _ := k.find(r.Table)
			at := known{info, k.tables, k.names}
			if columns = at.reads(r.Name); r.Name == "pk" && columns == nil {
				columns = info.PrimaryKey
			}
		}
		for _, c := range columns {
			if s.hidden.Hides(r.Table.Schema, r.Table.Name, c) {
				return &trigger.Problem{Code: trigger.CodeNotAllowed, Detail: fmt.Sprintf("column %s of table %s is among the configuration's settings.hidden_columns", c, r.Table)}
			}
		}
	}
	return nil
}

// columnsOf gives the columns of a content type's table for which names stand.
func (s *sources) columnsOf(c trigger.ContentType, names []string) []string {
	out := []string{}
	k, ok := s.table(c)
	if !ok {
		return nil
	}
	for _, name := range names {
		for _, col := range k.reads(name) {
			if !slices.Contains(out, col) {
				out = append(out, col)
			}
		}
	}
	return out
}

// doubts warns of what is right in a compiled trigger and perhaps not meant.
func (s *sources) doubts(c *trigger.Compiled) []string {
	out := s.deleted(c)
	for _, ct := range c.Trigger.ContentTypes {
		k, ok := s.table(ct)
		if ok && len(k.Columns) > 0 && !slices.ContainsFunc(k.Columns, func(col source.ColumnInfo) bool { return !s.hidden.Hides(k.Schema, k.Name, col.Name) }) {
			out = append(out, fmt.Sprintf("%s: settings.hidden_columns hides every column of table %s: no event shows anything of a row", ct.Name(), k.TableName))
		}
		if silent := silent(k.TableInfo, c.Trigger.Signals()); ok && len(silent) > 0 {
			out = append(out, fmt.Sprintf("%s: the log does not carry the %s of table %s, so none fires", ct.Name(), strings.Join(silent, " and "), k.TableName))
		}
	}
	return out
}

// silent names what signals ask for and the log of a table does not carry.
func silent(info source.TableInfo, signals signal.Set) []string {
	var out []string
	saves, deletes := signals.Has(signal.PreSave) || signals.Has(signal.PostSave), signals.Has(signal.PreDelete) || signals.Has(signal.PostDelete)
	for _, op := range []struct {
		op    change.Op
		asked bool
	}{{change.Insert, saves}, {change.Update, saves}, {change.Delete, deletes}, {change.Truncate, signals.Has(signal.Truncate)}} {
		if op.asked && slices.Contains(info.Unlogged, op.op) {
			out = append(out, op.op.String()+"s")
		}
	}
	return out
}

// deleted warns of what a compiled trigger names and deletes do not carry.
func (s *sources) deleted(c *trigger.Compiled) []string {
	signals := c.Trigger.Signals()
	if !signals.Has(signal.PreDelete) && !signals.Has(signal.PostDelete) {
		return nil
	}
	becomes := "is empty (on_missing_value)"
	if c.Trigger.OnMissingValue == trigger.Park {
		becomes = "keeps the delivery waiting (on_missing_value)"
	}
	var out []string
	for _, ct := range c.Trigger.ContentTypes {
		k, ok := s.table(ct)
		if !ok || k.Identity == change.IdentityFull {
			continue
		}
		var lacks []string
		for _, name := range c.Instance {
			for _, col := range k.reads(name) {
				if !slices.Contains(k.OldColumns, col) && !slices.Contains(lacks, col) {
					lacks = append(lacks, col)
				}
			}
		}
		what := strings.Join(lacks, ", ")
		if c.Payload.Whole() {
			what = "every other column"
		}
		if what != "" {
			out = append(out, fmt.Sprintf("%s: of a deleted row the log holds the key only, %s %s; mend with %s", ct.Name(), what, becomes, fullIdentity(k.TableInfo)))
		}
	}
	return out
}

// reads are the columns of a table that a name stands for, none if it has none.
func (k known) reads(name string) []string {
	if c, ok := column(k.TableInfo, name); ok {
		return []string{c.Name}
	}
	switch r, way := k.names.Find(k.TableName, name); {
	case r == nil:
		return nil
	case way == related.To:
		return r.Columns
	default:
		return r.RefColumns
	}
}

// column finds a column by its name: exactly, or else whatever its case.
func column(info source.TableInfo, name string) (source.ColumnInfo, bool) {
	i := slices.IndexFunc(info.Columns, func(c source.ColumnInfo) bool { return c.Name == name })
	if i < 0 {
		i = slices.IndexFunc(info.Columns, func(c source.ColumnInfo) bool { return strings.EqualFold(c.Name, name) })
	}
	if i < 0 {
		return source.ColumnInfo{}, false
	}
	return info.Columns[i], true
}

// leads says why path leads nowhere in a table and those that it refers to.
func (k known) leads(path template.Path) error {
	if path.Names[0] == "changed" || len(path.Names) < 2 {
		return nil
	}
	if c, ok := column(k.TableInfo, path.Names[1]); path.Names[0] == "key" && ok && len(k.PrimaryKey) > 0 && !slices.Contains(k.PrimaryKey, c.Name) {
		return fmt.Errorf("column %s is no part of the key of table %s", c.Name, k.TableName)
	}
	err := k.names.Check(k.TableName, path.Names[1:], path.Bound, k.find)
	wrong := (*related.PathError)(nil)
	if !errors.As(err, &wrong) || wrong.Name == "" {
		return err
	}
	for _, p := range k.names.Problems() {
		if p.Table == wrong.Table {
			return fmt.Errorf("%w; a relation of the configuration cannot be used: %s", err, p.Text)
		}
	}
	info, _ := k.find(wrong.Table)
	return fmt.Errorf("%w%s", err, trigger.DidYouMean(wrong.Name, append(k.names.Offers(wrong.Table), offers(info)...)))
}

// offers are the columns of a table.
func offers(info source.TableInfo) []string {
	var out []string
	for _, c := range info.Columns {
		out = append(out, c.Name)
	}
	return out
}

// slow warns of sets of related rows that can only be found by reading a whole table.
func (s *sources) slow(c *trigger.Compiled) []string {
	var out []string
	for _, ct := range c.Trigger.ContentTypes {
		k, ok := s.table(ct)
		if !ok {
			continue
		}
		for _, path := range c.Relations {
			for _, columns := range k.names.Unindexed(k.TableName, path) {
				text := fmt.Sprintf("%s: no index has %s first, so each look at %s reads the whole table; mend with CREATE INDEX CONCURRENTLY ON %s", ct.Name(), columns, strings.Join(path[:2], "."), columns)
				if !slices.Contains(out, text) {
					out = append(out, text)
				}
			}
		}
	}
	return out
}

func (k known) find(name source.TableName) (source.TableInfo, bool) {
	i := slices.IndexFunc(k.tables, func(i source.TableInfo) bool { return i.TableName == name })
	if i < 0 {
		return source.TableInfo{}, false
	}
	return k.tables[i], true
}

// contentTypes lists what triggers can name.
func (s *sources) contentTypes(ctx context.Context, name string) ([]api.ContentType, error) {
	if name != "" && s.byName(name) == nil {
		return nil, trigger.ErrNotFound
	}
	out := []api.ContentType{}
	for _, t := range s.tails {
		if name != "" && name != t.name {
			continue
		}
		tables, err := t.catalog(ctx)
		if err != nil {
			return nil, unavailable(err)
		}
		for _, info := range tables {
			out = append(out, t.contentType(info))
		}
	}
	return out, nil
}

func (t *tail) contentType(info source.TableInfo) api.ContentType {
	c := api.ContentType{
		Source: t.name, AppLabel: info.Schema, ModelName: info.Name, Schema: info.Schema, Table: info.Name,
		Columns: []string{}, Key: info.PrimaryKey, Identity: [...]string{"default", "index", "full", "nothing"}[info.Identity],
	}
	if app, model, ok := strings.Cut(info.Name, "_"); ok && info.InSearchPath {
		c.AppLabel, c.ModelName = app, model
	}
	for name, table := range t.content {
		if table == info.TableName {
			c.AppLabel, c.ModelName, _ = strings.Cut(name, ".")
		}
	}
	for _, col := range info.Columns {
		c.Columns = append(c.Columns, col.Name)
	}
	return c
}
