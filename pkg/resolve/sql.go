package resolve

import (
	"context"
	"errors"
	"strings"
	"time"
)

// SQL is a query that gives one row of one column.
type SQL struct {
	Source string `koanf:"source"` // the name of a configured source
	Query  string `koanf:"query"`
}

const sqlTTL = time.Minute

func (s *SQL) given() bool        { return *s != SQL{} }
func (s *SQL) ttl() time.Duration { return sqlTTL }

func (s *SQL) check(k *checker) {
	if s.Source == "" {
		k.add("sql.source", "is required: the name of a source")
	}
	if strings.TrimSpace(s.Query) == "" {
		k.add("sql.query", "is required")
	} else if strings.Contains(s.Query, "\x00") {
		k.add("sql.query", "holds a NUL character")
	}
}

func (s *SQL) fetcher(env Env) fetcher { return &query{*s, env.SQL} }

type query struct {
	SQL
	ask func(ctx context.Context, source, query string) (string, error)
}

func (q *query) fetch(ctx context.Context) (string, time.Time, error) {
	if q.ask == nil {
		return "", time.Time{}, errors.New("there are no sources to ask")
	}
	v, err := q.ask(ctx, q.Source, q.Query)
	return v, time.Time{}, err
}
