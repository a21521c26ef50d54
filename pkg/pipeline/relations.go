package pipeline

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

// relations knows the foreign keys of a source. Any goroutine.
type relations struct {
	catalog source.Catalog
	asking  sync.Mutex
	known   atomic.Pointer[foreignKeys]
}

// foreignKeys are the foreign keys of all tables at one time. Immutable.
type foreignKeys struct {
	asked  time.Time
	byName map[source.TableName]map[string]*relation
	// fields are the names of foreign keys of one column, by the column.
	fields map[source.TableName]map[string]string
}

// How long foreign keys are believed without asking: where a name is a relation or a
// column, and where it is neither.
const (
	knownFor   = time.Minute
	unknownFor = 5 * time.Second
)

// relation is a foreign key under the name that templates use.
type relation struct {
	source.ForeignKey
	target string // RefTable and RefColumns, for rowKey
}

func newRelations(c source.Catalog) *relations {
	r := &relations{catalog: c}
	r.known.Store(&foreignKeys{})
	return r
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

func nameOf(t *change.Table) source.TableName {
	return source.TableName{Schema: t.Schema, Name: t.Name}
}

// get finds a relation among those that are known.
func (f *foreignKeys) get(t *change.Table, name string) *relation {
	return f.byName[nameOf(t)][name]
}

// find finds a relation, nil if there is none. It asks the catalog if that was long
// ago; an error means that it could not be asked.
func (r *relations) find(ctx context.Context, t *change.Table, name string) (*relation, error) {
	if rel, fresh, _ := r.look(t, name); fresh {
		return rel, nil
	}
	r.asking.Lock()
	defer r.asking.Unlock()
	rel, fresh, known := r.look(t, name)
	if fresh { // somebody else has asked
		return rel, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	tables, err := r.catalog.Tables(ctx)
	switch {
	case err == nil:
		r.known.Store(learn(tables))
	case known: // what held a minute ago will do for some more seconds
		old := *r.known.Load()
		old.asked = time.Now().Add(unknownFor - knownFor)
		r.known.Store(&old)
	default:
		return nil, fmt.Errorf("read foreign keys: %w", err)
	}
	return r.known.Load().get(t, name), nil
}

// look finds a relation without asking. fresh: it was asked about a short time ago.
// known: it was asked about at all, and name means something.
func (r *relations) look(t *change.Table, name string) (rel *relation, fresh, known bool) {
	keys := r.known.Load()
	rel = keys.get(t, name)
	age := time.Since(keys.asked)
	known = !keys.asked.IsZero() && (rel != nil || t.Lookup(name) >= 0)
	return rel, age < unknownFor || known && age < knownFor, known
}

func learn(tables []source.TableInfo) *foreignKeys {
	f := &foreignKeys{asked: time.Now(), byName: map[source.TableName]map[string]*relation{}, fields: map[source.TableName]map[string]string{}}
	for _, t := range tables {
		for _, fk := range t.ForeignKeys {
			if f.byName[t.TableName] == nil {
				f.byName[t.TableName] = map[string]*relation{}
				f.fields[t.TableName] = map[string]string{}
			}
			if len(fk.Columns) == 1 {
				f.fields[t.TableName][fk.Columns[0]] = RelationName(fk)
			}
			target := fmt.Sprintf("%q %q", fk.RefTable, fk.RefColumns)
			f.byName[t.TableName][RelationName(fk)] = &relation{fk, target}
		}
	}
	return f
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

// rowKey names a row by what foreign keys refer to it with.
type rowKey struct{ target, key string }

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
