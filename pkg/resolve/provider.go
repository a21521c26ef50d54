package resolve

import (
	"context"
	"time"
)

// provider is a way to get a value, as the configuration declares it; each kind has a
// file of its own.
type provider interface {
	given() bool // whether the configuration says anything of it
	check(k *checker)
	ttl() time.Duration // how long its values are good unless the configuration says; 0 = for ever
	fetcher(env Env) fetcher
}

// fetcher gets values. fetch is called by one goroutine at a time and returns when ctx
// ends. Its errors never hold the value, nor what a provider said beside it. ends is when
// the value loses its meaning by itself, zero = not known.
type fetcher interface {
	fetch(ctx context.Context) (value string, ends time.Time, err error)
}

func (c *Config) providers() []provider {
	return []provider{env(c.Env), file(c.File), literal(c.Literal), &c.Command, &c.HTTP, &c.OAuth2, &c.SQL, secret(c.Secret)}
}

// usualTTL is that of providers which cost something to ask.
const usualTTL = 5 * time.Minute

// literal is a value written in the configuration.
type literal string

func (l literal) given() bool         { return l != "" }
func (l literal) check(*checker)      {}
func (l literal) ttl() time.Duration  { return 0 }
func (l literal) fetcher(Env) fetcher { return l }

func (l literal) fetch(context.Context) (string, time.Time, error) {
	return string(l), time.Time{}, nil
}
