// Package resolve gives triggers the values that the operator declared for them:
// {{ dotted.path }} in headers, connection details and parameters. The operator's list
// is all there is; a trigger cannot name a file, a variable or a command by itself.
//
//	Resolve ──▶ cached and fresh ─────────────────────▶ value
//	        ──▶ cached, near its end ──▶ value, and one fetch in the background
//	        ──▶ past its end, and the last fetch failed ──▶ the same, until max_age
//	        ──▶ not cached or too old ─▶ waits for the one fetch that all share
package resolve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
)

// Codes of Error.
const (
	CodeUnknown = "unknown" // no such value is declared
	CodeHost    = "host"    // the value is bound to other hosts
	CodePayload = "payload" // bodies may not name it
	CodeFetch   = "fetch"   // the provider could not give it: try again later
	CodeInvalid = "invalid" // the provider gave what is no value
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
	log    *slog.Logger
	ctx    context.Context // of fetches; ends at Close
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// Env is what values need of their surroundings.
type Env struct {
	// Reserved tells which first segments belong to the row (instance, before, …); nil =
	// none.
	Reserved func(first string) bool
	// Dial gives a way to an address that the operator wrote; nil = as package net does.
	Dial func(addresses ...string) func(ctx context.Context, network, address string) (net.Conn, error)
	// SQL asks a source for a single value, with a query that cannot write. Its errors
	// never hold the value.
	SQL func(ctx context.Context, source, query string) (string, error)
	// Log is told when a value cannot be fetched, and when it can again; nil = nobody is.
	Log *slog.Logger
}

// New checks all declarations and returns everything that is wrong with them at once.
// Nothing is fetched yet: a secret that is not mounted yet does not keep the daemon from
// starting.
func New(declared map[string]Config, env Env) (*Resolver, error) {
	if env.Log == nil {
		env.Log = slog.New(slog.DiscardHandler)
	}
	r := &Resolver{values: make(map[string]*value, len(declared)), log: env.Log}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(declared)) {
		problems := Check(name, declared[name], env.Reserved)
		for _, p := range problems {
			errs = append(errs, fmt.Errorf("dynamic_values.%s: %s", name+p.At(), p.Text))
		}
		if len(problems) == 0 {
			r.values[name] = newValue(name, declared[name], env)
			r.names = append(r.names, name)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r, nil
}

// Names lists the declared values, sorted.
func (r *Resolver) Names() []string { return slices.Clone(r.names) }

// InPayload reports whether bodies may name the value.
func (r *Resolver) InPayload(name string) bool {
	v, ok := r.values[name]
	return ok && v.inPayload
}

// Multiline reports whether the value may hold line breaks.
func (r *Resolver) Multiline(name string) bool {
	v, ok := r.values[name]
	return ok && v.multiline
}

// Allowed tells without fetching anything whether the value is declared and may be
// sent to all of hosts; none, or an empty one, stands for a host that is not known. Its
// error is an *Error of code unknown or host.
func (r *Resolver) Allowed(name string, hosts ...string) error {
	_, err := r.find(name, hosts)
	return err
}

func (r *Resolver) find(name string, hosts []string) (*value, error) {
	v, ok := r.values[name]
	if !ok {
		return nil, &Error{Name: name, Code: CodeUnknown, Err: errors.New("the configuration declares no such value")}
	}
	if err := Bound(v.hosts, hosts); err != nil {
		return nil, &Error{Name: name, Code: CodeHost, Err: err}
	}
	return v, nil
}

// Bound says why what is bound to the hosts of allowed, if there are any, may not go to
// all of hosts.
func Bound(allowed, hosts []string) error {
	if len(allowed) == 0 {
		return nil
	}
	if len(hosts) == 0 {
		hosts = []string{""}
	}
	for _, h := range hosts {
		switch {
		case slices.Contains(allowed, canonicalHost(h)):
		case h == "":
			return errors.New("it is bound to hosts and may be used for them only")
		default:
			return fmt.Errorf("it is bound to other hosts than %s", h)
		}
	}
	return nil
}

// Resolve returns the value for a message to hosts, which are as for Allowed. It waits
// for a fetch no longer than ctx allows. Errors are *Error; of code fetch and invalid
// they may end by themselves.
func (r *Resolver) Resolve(ctx context.Context, name string, hosts ...string) (string, error) {
	v, err := r.find(name, hosts)
	if err != nil {
		return "", err
	}
	return v.get(ctx, r)
}

// Hosts are those that the value is bound to; none = it is not.
func (r *Resolver) Hosts(name string) []string {
	v, ok := r.values[name]
	if !ok {
		return nil
	}
	return slices.Clone(v.hosts)
}

// ForBody returns the value for a body, whatever the hosts: where the body goes is for
// the caller to watch. It is like Resolve else.
func (r *Resolver) ForBody(ctx context.Context, name string) (string, error) {
	v, err := r.inBody(name)
	if err != nil {
		return "", err
	}
	return v.get(ctx, r)
}

// CachedForBody is ForBody for those who cannot wait: false if the value has to be
// fetched first, which is begun, or cannot be had.
func (r *Resolver) CachedForBody(name string) (string, bool) {
	v, err := r.inBody(name)
	if err != nil {
		return "", false
	}
	f := v.cached(r)
	if f == nil {
		v.start(r)
		return "", false
	}
	return f.value, f.err == nil
}

func (r *Resolver) inBody(name string) (*value, error) {
	v, ok := r.values[name]
	switch {
	case !ok:
		return nil, &Error{Name: name, Code: CodeUnknown, Err: errors.New("the configuration declares no such value")}
	case !v.inPayload:
		return nil, &Error{Name: name, Code: CodePayload, Err: errors.New("the configuration does not set allow_in_payload for it")}
	}
	return v, nil
}

// Status describes a value, without showing it.
type Status struct {
	Name              string
	Fetched, Failures uint64 // since the start
	Failing           bool   // the last fetch failed
}

// Status describes all values, in the order of their names.
func (r *Resolver) Status() []Status {
	out := make([]Status, 0, len(r.names))
	for _, name := range r.names {
		v := r.values[name]
		f := v.last.Load()
		out = append(out, Status{name, v.fetched.Load(), v.failures.Load(), f != nil && (f.err != nil || f.failing)})
	}
	return out
}

// Close ends fetches under way. Resolve is not called any more.
func (r *Resolver) Close() {
	r.cancel()
	r.wg.Wait()
}
