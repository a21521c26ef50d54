package related

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/waltrigger/waltrigger/pkg/source"
)

// How long names are believed without asking: where all that is looked for is known,
// and where something is not.
const (
	knownFor   = time.Minute
	unknownFor = 5 * time.Second
)

// Catalog keeps the Names of a source. Any goroutine.
type Catalog struct {
	tables func(ctx context.Context) ([]source.TableInfo, error)
	given  []Config
	models map[source.TableName]string
	log    *slog.Logger

	asking sync.Mutex
	names  atomic.Pointer[Names]
}

// NewCatalog makes a Catalog that asks by tables. models are the model names of tables that have other names
// than Django gives them.
func NewCatalog(tables func(ctx context.Context) ([]source.TableInfo, error), given []Config, models map[source.TableName]string, log *slog.Logger) *Catalog {
	return &Catalog{tables: tables, given: given, models: models, log: log}
}

// Learn takes in what somebody else has asked the source for a moment ago.
func (c *Catalog) Learn(tables []source.TableInfo) *Names {
	n := learn(tables, c.given, c.models)
	was := c.names.Swap(n)
	for _, p := range n.problems {
		if was == nil || !contains(was.problems, p) {
			c.log.Error("a relation of the configuration cannot be used", "relation", p.At, "problem", p.Text)
		}
	}
	return n
}

func contains(in []Problem, p Problem) bool {
	for _, o := range in {
		if o == p {
			return true
		}
	}
	return false
}

// Names gives the names of now or of a short time ago. unknown: something that is looked
// for is not among them, so they are asked for again sooner, and those of before will
// not do. An error means that the source cannot be asked.
func (c *Catalog) Names(ctx context.Context, unknown bool) (*Names, error) {
	old := knownFor
	if unknown {
		old = unknownFor
	}
	if n := c.names.Load(); n != nil && time.Since(n.learnt) < old {
		return n, nil
	}
	c.asking.Lock()
	defer c.asking.Unlock()
	was := c.names.Load()
	if was != nil && time.Since(was.learnt) < old { // somebody else has asked
		return was, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	tables, err := c.tables(ctx)
	switch {
	case err == nil:
		return c.Learn(tables), nil
	case was != nil && !unknown: // what held a minute ago will do for some more seconds
		n := *was
		n.learnt = time.Now().Add(unknownFor - knownFor)
		c.names.Store(&n)
		return &n, nil
	}
	return nil, fmt.Errorf("read foreign keys: %w", err)
}
