package pipeline

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/payload"
	"github.com/waltrigger/waltrigger/pkg/source"
)

// cacheRows bounds how many related rows are kept.
const cacheRows = 10000

// relations finds the rows that rows refer to by foreign keys. Before a batch is
// rendered, lookAhead reads the rows it will name with one query for each table and
// step; Follow then only looks into the cache.
//
// A cached row serves an event only if it was read after the event's transaction, so
// what a template shows is at least as new as the event.
type relations struct {
	catalog source.Catalog
	log     *slog.Logger

	mu     sync.Mutex
	byName map[source.TableName]map[string]*relation
	asked  time.Time // when the catalog was read
	cache  map[rowKey]related
}

// relation is a foreign key under the name that templates use.
type relation struct {
	source.ForeignKey
	target string // RefTable and RefColumns, for rowKey
}

type rowKey struct{ target, key string }

// related is a row as it was read; nil if there was none.
type related struct {
	row *payload.Row
	seq uint64
}

func newRelations(c source.Catalog, log *slog.Logger) *relations {
	return &relations{catalog: c, log: log, cache: map[rowKey]related{}}
}

// RelationName is the name under which templates follow a foreign key: Django's, the
// column without _id; else the column; of several columns the constraint's name
// without _fkey.
func RelationName(fk source.ForeignKey) string {
	if len(fk.Columns) > 1 {
		return strings.TrimSuffix(fk.Name, "_fkey")
	}
	if name, ok := strings.CutSuffix(fk.Columns[0], "_id"); ok && name != "" {
		return name
	}
	return fk.Columns[0]
}

// Follow implements payload.Related.
func (r *relations) Follow(t *change.Table, row []change.Value, name string) (payload.Reference, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rel := r.byName[source.TableName{Schema: t.Schema, Name: t.Name}][name]
	if rel == nil {
		return payload.Reference{}, false
	}
	values, state := rel.values(t, row)
	if state == change.Missing {
		return payload.Reference{}, false
	}
	if state == change.Null {
		return payload.Reference{Key: change.Value{Kind: change.Null}}, true
	}
	ref := payload.Reference{Key: values[0]}
	if len(values) > 1 {
		ref.Key = change.Value{Kind: change.Array, Text: string(appendValues(nil, values))}
	}
	ref.Row = r.cache[rel.key(values)].row
	return ref, true
}

// values gives what row holds for the foreign key, and Missing or Null if a part of it
// is.
func (rel *relation) values(t *change.Table, row []change.Value) ([]change.Value, change.Kind) {
	values := make([]change.Value, len(rel.Columns))
	state := change.String
	for i, c := range rel.Columns {
		at := t.Lookup(c)
		if at < 0 || row[at].Kind == change.Missing {
			return nil, change.Missing
		}
		if values[i] = row[at]; values[i].Kind == change.Null {
			state = change.Null
		}
	}
	return values, state
}

func (rel *relation) key(values []change.Value) rowKey {
	if len(values) == 1 {
		return rowKey{rel.target, values[0].Text}
	}
	return rowKey{rel.target, string(appendValues(nil, values))}
}

func appendValues(dst []byte, values []change.Value) []byte {
	for i, v := range values {
		dst = append(dst, "[,"[min(i, 1)])
		dst = v.AppendJSON(dst)
	}
	return append(dst, ']')
}

// lookAhead reads the rows that the events of b refer to. While the database cannot be
// asked it tries again, until ctx ends.
func (p *Pipeline) lookAhead(ctx context.Context, b source.Batch) error {
	type item struct {
		c   *change.Change
		rel [][]string
	}
	var items []item
	depth := 0
	for i := range b {
		c := &b[i]
		if c.Op == change.Commit || c.Row() == nil {
			continue
		}
		pl := p.plan(c.Table)
		if pl == nil {
			continue
		}
		for j := range pl.byOp[c.Op] {
			s := &pl.byOp[c.Op][j]
			if rel := s.Trigger.Relations; len(rel) > 0 && c.Tx.Seq >= s.From {
				items = append(items, item{c, rel})
				for _, path := range rel {
					depth = max(depth, len(path))
				}
			}
		}
	}
	for level := 1; level <= depth; level++ {
		need := newNeeds(p.related)
		for _, it := range items {
			for _, row := range [2][]change.Value{it.c.After, it.c.Before} {
				for _, path := range it.rel {
					if len(path) >= level && row != nil {
						need.add(it.c, row, path[:level])
					}
				}
			}
		}
		if err := need.fetch(ctx, p.m); err != nil {
			return err
		}
	}
	return nil
}

// needs collects the rows to be read for one step.
type needs struct {
	r    *relations
	rels map[string]*relation // by target
	keys map[string]map[string][]change.Value
}

func newNeeds(r *relations) *needs {
	return &needs{r: r, rels: map[string]*relation{}, keys: map[string]map[string][]change.Value{}}
}

// add notes the row at the end of path, if it is not in the cache, or older than c.
func (n *needs) add(c *change.Change, row []change.Value, path []string) {
	n.r.mu.Lock()
	defer n.r.mu.Unlock()
	t := c.Table
	for i, name := range path {
		rel := n.r.relation(source.TableName{Schema: t.Schema, Name: t.Name}, name)
		if rel == nil {
			return
		}
		values, state := rel.values(t, row)
		if state != change.String {
			return
		}
		key := rel.key(values)
		got, ok := n.r.cache[key]
		if i < len(path)-1 {
			if got.row == nil {
				return
			}
			t, row = got.row.Table, got.row.Values
			continue
		}
		if ok && got.seq > c.Tx.Seq {
			return
		}
		if n.keys[rel.target] == nil {
			n.rels[rel.target], n.keys[rel.target] = rel, map[string][]change.Value{}
		}
		n.keys[rel.target][key.key] = values
	}
}

// relation finds a relation by its table and name; r.mu is held.
func (r *relations) relation(t source.TableName, name string) *relation {
	if rel := r.byName[t][name]; rel != nil || time.Since(r.asked) < 5*time.Second {
		return rel
	}
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	tables, err := r.catalog.Tables(ctx)
	cancel()
	r.mu.Lock()
	if err != nil {
		r.log.Warn("read foreign keys", "err", err)
		return nil
	}
	r.learn(tables)
	return r.byName[t][name]
}

// learn takes in the foreign keys of tables; r.mu is held.
func (r *relations) learn(tables []source.TableInfo) {
	r.asked = time.Now()
	r.byName = map[source.TableName]map[string]*relation{}
	for _, t := range tables {
		for _, fk := range t.ForeignKeys {
			if r.byName[t.TableName] == nil {
				r.byName[t.TableName] = map[string]*relation{}
			}
			target := fmt.Sprintf("%s(%s)", fk.RefTable, strings.Join(fk.RefColumns, ","))
			r.byName[t.TableName][RelationName(fk)] = &relation{fk, target}
		}
	}
}

func (n *needs) fetch(ctx context.Context, m *sourceMetrics) error {
	for target, keys := range n.keys {
		rel := n.rels[target]
		texts := make([][]string, 0, len(keys))
		for _, values := range keys {
			key := make([]string, len(values))
			for i, v := range values {
				key[i] = v.Text
			}
			texts = append(texts, key)
		}
		b := backoff.NewExponentialBackOff()
		b.MaxInterval = 5 * time.Second
		rows, err := backoff.Retry(ctx, func() (source.RowSet, error) {
			m.lookups.Inc()
			return n.r.catalog.Rows(ctx, rel.RefTable, rel.RefColumns, texts)
		}, backoff.WithBackOff(b), backoff.WithMaxElapsedTime(0), backoff.WithNotify(func(err error, wait time.Duration) {
			n.r.log.Warn("read related rows: trying again", "table", rel.RefTable.String(), "wait", wait, "err", err)
		}))
		if err != nil {
			return fmt.Errorf("read related rows of %s: %w", rel.RefTable, err)
		}
		n.r.keep(rel, keys, rows)
	}
	return nil
}

// keep puts the rows read for keys into the cache, absent ones included.
func (r *relations) keep(rel *relation, keys map[string][]change.Value, rows source.RowSet) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key := range r.cache { // any: the order of a map is random enough
		if len(r.cache)+len(keys) <= cacheRows {
			break
		}
		delete(r.cache, key)
	}
	for _, values := range keys {
		r.cache[rel.key(values)] = related{seq: rows.Seq}
	}
	at := make([]int, len(rel.RefColumns))
	for i, c := range rel.RefColumns {
		at[i] = rows.Table.Lookup(c)
	}
	for _, row := range rows.Rows {
		values := make([]change.Value, len(at))
		for i, a := range at {
			values[i] = row[a]
		}
		r.cache[rel.key(values)] = related{row: &payload.Row{Table: rows.Table, Values: row}, seq: rows.Seq}
	}
}
