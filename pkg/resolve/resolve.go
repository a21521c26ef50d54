// Package resolve gives triggers the values that the operator declared for them:
// {{ dotted.path }} in headers and connection details. The operator's list is all
// there is; a trigger cannot name a file, a variable or a command by itself.
//
//	Resolve ──▶ cached and fresh ─────────────────────▶ value
//	        ──▶ cached, near its end ──▶ value, and one fetch in the background
//	        ──▶ not cached or too old ─▶ waits for the one fetch that all share
package resolve

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// Config declares one value. Exactly one provider (env, file, literal) is given.
type Config struct {
	Env     string `koanf:"env"`     // name of an environment variable
	File    string `koanf:"file"`    // path of a regular file of at most 64 KiB; one newline at its end is cut off
	Literal string `koanf:"literal"` // the value itself

	// Hosts are the only hosts that may be sent the value; empty = any destination.
	// Whoever writes triggers cannot carry a bound value elsewhere.
	Hosts []string `koanf:"hosts"`
	// TTL is how long a fetched value is used; 0 = the provider's default (file: 10 s,
	// env and literal: for ever).
	TTL time.Duration `koanf:"ttl"`
	// AllowInPayload lets bodies name the value, not only headers and parameters.
	AllowInPayload bool `koanf:"allow_in_payload"`
}

// Codes of Error.
const (
	CodeUnknown = "unknown" // no such value is declared
	CodeHost    = "host"    // the value is bound to other hosts
	CodeFetch   = "fetch"   // the provider could not give it: try again later
	CodeInvalid = "invalid" // the provider gave what no header can carry
)

// Error says why a value could not be had. It never holds the value.
type Error struct {
	Name string // "" if no single value is to blame
	Code string
	Err  error
}

func (e *Error) Error() string {
	if e.Name == "" {
		return fmt.Sprintf("dynamic values: %v", e.Err)
	}
	return fmt.Sprintf("dynamic value %s: %v", e.Name, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Resolver holds the declared values. Safe for concurrent use.
type Resolver struct {
	values map[string]*value
	names  []string
	ctx    context.Context // of fetches; ends at Close
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

var namePattern = regexp.MustCompile(`^` + namePart + `(\.` + namePart + `)*$`)

// New checks all declarations and returns everything that is wrong with them at once.
// reserved tells which first segments belong to the row (instance, before, …); nil =
// none. Nothing is fetched yet: a secret that is not mounted yet does not keep the
// daemon from starting.
func New(declared map[string]Config, reserved func(first string) bool) (*Resolver, error) {
	ctx, cancel := context.WithCancel(context.Background())
	r := &Resolver{values: make(map[string]*value, len(declared)), ctx: ctx, cancel: cancel}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(declared)) {
		v, err := newValue(name, declared[name], reserved)
		if err != nil {
			errs = append(errs, fmt.Errorf("dynamic_values.%s: %w", name, err))
			continue
		}
		r.values[name] = v
		r.names = append(r.names, name)
	}
	if err := errors.Join(errs...); err != nil {
		cancel()
		return nil, err
	}
	return r, nil
}

func newValue(name string, c Config, reserved func(string) bool) (*value, error) {
	if !namePattern.MatchString(name) || len(name) > 255 {
		return nil, errors.New("the name must be letters, digits and _ in segments joined by dots, at most 255 bytes")
	}
	if first, _, _ := strings.Cut(name, "."); reserved != nil && reserved(first) {
		return nil, fmt.Errorf("names that begin with %s belong to the row", first)
	}
	p, ttl, err := newProvider(c)
	if err != nil {
		return nil, err
	}
	if c.TTL < 0 {
		return nil, errors.New("ttl must not be negative")
	}
	if c.TTL > 0 {
		ttl = c.TTL
	}
	v := &value{name: name, provider: p, ttl: ttl, inPayload: c.AllowInPayload}
	for _, h := range c.Hosts {
		host := canonicalHost(h)
		if _, err := netip.ParseAddr(host); err != nil && (host == "" || strings.ContainsAny(host, "/:@* \t\r\n")) {
			return nil, fmt.Errorf("hosts: %q must be a host name or an address, without scheme, port or path", h)
		}
		v.hosts = append(v.hosts, host)
	}
	return v, nil
}

// canonicalHost makes hosts comparable: no case, no dot at the end, no brackets.
func canonicalHost(h string) string {
	h = strings.ToLower(strings.TrimSuffix(strings.TrimSpace(h), "."))
	return strings.TrimSuffix(strings.TrimPrefix(h, "["), "]")
}

// Names lists the declared values, sorted.
func (r *Resolver) Names() []string { return slices.Clone(r.names) }

// InPayload reports whether bodies may name the value.
func (r *Resolver) InPayload(name string) bool {
	v, ok := r.values[name]
	return ok && v.inPayload
}

// Allowed tells without fetching anything whether the value is declared and may be
// sent to host ("" = not a host that could be named); its error is an *Error of code
// unknown or host.
func (r *Resolver) Allowed(name, host string) error {
	_, err := r.find(name, host)
	return err
}

func (r *Resolver) find(name, host string) (*value, error) {
	v, ok := r.values[name]
	if !ok {
		return nil, &Error{Name: name, Code: CodeUnknown, Err: errors.New("the configuration declares no such value")}
	}
	if len(v.hosts) > 0 && !slices.Contains(v.hosts, canonicalHost(host)) {
		if host == "" {
			return nil, &Error{Name: name, Code: CodeHost, Err: errors.New("it is bound to hosts and may be used for them only")}
		}
		return nil, &Error{Name: name, Code: CodeHost, Err: fmt.Errorf("it is bound to other hosts than %s", host)}
	}
	return v, nil
}

// Resolve returns the value for a message to host. It waits for a fetch no longer than
// ctx allows. Errors are *Error; of code fetch and invalid they may end by themselves.
func (r *Resolver) Resolve(ctx context.Context, name, host string) (string, error) {
	v, err := r.find(name, host)
	if err != nil {
		return "", err
	}
	return v.get(ctx, r)
}

// Close ends fetches under way. Resolve is not called any more.
func (r *Resolver) Close() {
	r.cancel()
	r.wg.Wait()
}
