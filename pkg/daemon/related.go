package daemon

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/waltrigger/waltrigger/pkg/pipeline"
	"github.com/waltrigger/waltrigger/pkg/related"
	"github.com/waltrigger/waltrigger/pkg/source"
)

const (
	// renewEvery is how often it is asked which related tables the log carries. An
	// answer is good for a second.
	renewEvery      = 300 * time.Millisecond
	renewAfterError = 2 * time.Second
	// refusedFor is how long a related table that cannot be published is left alone.
	refusedFor = 10 * time.Minute
)

// neighbours are the tables that templates lead to from those of the triggers. They are
// published too, so that the log keeps current what was read of them; one that cannot be
// published is read more often instead.
type neighbours struct {
	source  string
	catalog *related.Catalog
	leases  *related.Leases

	mu      sync.Mutex
	view    *pipeline.View // follows is of it, and tables of it and names
	follows bool           // a trigger follows something
	names   *related.Names
	tables  []source.TableName
	asked   []source.TableName // as they were last published
	refused map[source.TableName]time.Time
	passed  map[source.TableName]string // the word of Carried before a Barrier that has returned
	waiting map[source.TableName]bool   // for a Barrier
}

func newNeighbours(src string, c *related.Catalog) *neighbours {
	return &neighbours{
		source: src, catalog: c, leases: related.NewLeases(), refused: map[source.TableName]time.Time{},
		passed: map[source.TableName]string{}, waiting: map[source.TableName]bool{},
	}
}

// begin forgets what was true of an earlier term: another instance may have published
// otherwise since then.
func (n *neighbours) begin() {
	n.leases.Renew(nil, time.Now())
	n.mu.Lock()
	defer n.mu.Unlock()
	n.passed, n.waiting = map[source.TableName]string{}, map[source.TableName]bool{}
}

// of lists the related tables that are wanted under a view, but for those refused.
func (n *neighbours) of(ctx context.Context, v *pipeline.View) ([]source.TableName, error) {
	if v == nil || !n.any(v) {
		return nil, nil
	}
	names, err := n.catalog.Names(ctx, false)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.tables == nil || n.names != names {
		n.names, n.tables = names, n.lead(v, names)
	}
	return slices.DeleteFunc(slices.Clone(n.tables), func(t source.TableName) bool {
		at, refused := n.refused[t]
		return refused && time.Since(at) < refusedFor
	}), nil
}

// any reports whether a trigger of the source follows anything.
func (n *neighbours) any(v *pipeline.View) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.view != v {
		n.view, n.tables, n.follows = v, nil, false
		for _, t := range v.Set.Triggers() {
			n.follows = n.follows || t.Trigger.Active && len(t.Relations) > 0
		}
	}
	return n.follows
}

// lead finds the tables that the triggers of a view lead to.
func (n *neighbours) lead(v *pipeline.View, names *related.Names) []source.TableName {
	set := map[source.TableName]bool{}
	for _, t := range v.Set.Triggers() {
		for _, a := range t.Activations {
			if t.Trigger.Active && a.ContentType.Source == n.source && a.Table != "" {
				names.Tables(set, source.TableName{Schema: a.Schema, Name: a.Table}, t.Relations)
			}
		}
	}
	return slices.SortedFunc(maps.Keys(set), func(a, b source.TableName) int { return strings.Compare(a.String(), b.String()) })
}

// published takes in what an attempt to publish tables says of them, and returns those
// that can be.
func (n *neighbours) published(tables []source.TableName, err error) []source.TableName {
	table := (*source.TableError)(nil)
	if err != nil && !errors.As(err, &table) {
		return tables
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked = slices.DeleteFunc(slices.Clone(tables), func(t source.TableName) bool { return refuses(err, t) })
	for _, t := range tables {
		if !slices.Contains(n.asked, t) {
			n.refused[t] = time.Now()
		}
	}
	return n.asked
}

// refuses reports whether err says that a table cannot be published.
func refuses(err error, t source.TableName) bool {
	if many, ok := err.(interface{ Unwrap() []error }); ok { // each of the joined ones is asked
		return slices.ContainsFunc(many.Unwrap(), func(e error) bool { return refuses(e, t) })
	}
	table := (*source.TableError)(nil)
	return errors.As(err, &table) && table.Table == t
}

// tailRelated has the related tables in the log, and the pipeline know of which it
// carries all changes, until ctx ends.
func (t *tail) tailRelated(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		wait := renewEvery
		if err := t.renewLeases(ctx, &wg); err != nil && ctx.Err() == nil {
			t.log.Debug("look after related tables", "source", t.name, "err", err)
			wait = renewAfterError
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// renewLeases is one turn of tailRelated.
func (t *tail) renewLeases(ctx context.Context, wg *sync.WaitGroup) error {
	n := t.neighbours
	tables, err := n.of(ctx, t.current())
	if err != nil {
		return err
	}
	n.mu.Lock()
	changed := !slices.Equal(n.asked, tables)
	n.mu.Unlock()
	if changed {
		if err := t.publish(ctx); err != nil {
			return err
		}
	}
	at := time.Now()
	var words []string
	if len(tables) > 0 {
		short, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if words, err = t.source().Carried(short, tables); err != nil {
			return err
		}
	}
	n.leases.Renew(t.proven(ctx, tables, words, wg), at)
	return nil
}

// proven gives the tables of which the log carries all that a query from now on may not
// show: every transaction that wrote to them before they were published has ended. Of
// the others that is waited for, in the background.
func (t *tail) proven(ctx context.Context, tables []source.TableName, words []string, wg *sync.WaitGroup) map[source.TableName]string {
	n := t.neighbours
	n.mu.Lock()
	defer n.mu.Unlock()
	out := map[source.TableName]string{}
	for i, table := range tables {
		switch word := words[i]; {
		case word == "":
		case n.passed[table] == word:
			out[table] = word
		case !n.waiting[table]:
			n.waiting[table] = true
			wg.Go(func() {
				_, err := t.source().Barrier(ctx, []source.TableName{table}, nil)
				n.mu.Lock()
				defer n.mu.Unlock()
				n.waiting[table] = false
				if err == nil {
					n.passed[table] = word
				}
			})
		}
	}
	return out
}

// union puts the tables of more behind tables, each once.
func union(tables, more []source.TableName) []source.TableName {
	out := slices.Clone(tables)
	for _, t := range more {
		if !slices.Contains(tables, t) {
			out = append(out, t)
		}
	}
	return out
}
