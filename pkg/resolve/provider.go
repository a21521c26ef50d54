package resolve

import (
	"context"
	"errors"
	"time"
)

// provider is where a value comes from; each kind has a file of its own. fetch is
// called by one goroutine at a time, returns when ctx ends, and its errors never hold
// the value.
type provider interface {
	fetch(ctx context.Context) (string, error)
}

// newProvider returns the one provider that c names, and how long its values are good
// unless c says otherwise (0 = for ever).
func newProvider(c Config) (provider, time.Duration, error) {
	var p provider
	var ttl time.Duration
	n := 0
	if c.Env != "" {
		p, n = env(c.Env), n+1
	}
	if c.File != "" {
		p, ttl, n = file(c.File), fileTTL, n+1
	}
	if c.Literal != "" {
		p, n = literal(c.Literal), n+1
	}
	if n != 1 {
		return nil, 0, errors.New("give exactly one of env, file, literal")
	}
	if c.Literal != "" {
		if err := checkValue(c.Literal); err != nil {
			return nil, 0, err
		}
	}
	return p, ttl, nil
}

// literal is a value written in the configuration.
type literal string

func (l literal) fetch(context.Context) (string, error) { return string(l), nil }
