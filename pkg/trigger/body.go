package trigger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/waltrigger/waltrigger/pkg/payload"
	"github.com/waltrigger/waltrigger/pkg/resolve"
	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/template"
)

// beside checks a path that belongs to no row: a payload may name dynamic values that
// are declared for it. Where the configuration took one away, the payload of a stored
// trigger is broken rather than rendered without it.
func (k *compilation) beside(at string, p template.Path) {
	name := strings.Join(p.Names, ".")
	known := k.Resolver != nil && slices.Contains(k.Resolver.Names(), name)
	body := at == "/payload" || strings.HasPrefix(at, "/payload/")
	code := CodeNotAllowed
	var err error
	switch {
	case !known:
		code, err = CodeUnknown, fmt.Errorf("there is no %s; templates may name %s", p.Names[0], strings.Join(payload.Names, ", "))
	case !body:
		err = fmt.Errorf("the dynamic value %s may stand here as {{ %s }} alone, if at all", name, name)
	case !k.Resolver.InPayload(name):
		err = fmt.Errorf("the dynamic value %s may not stand in a payload: the configuration does not set allow_in_payload for it", name)
	default:
		if !slices.Contains(k.out.values, name) {
			k.out.values = append(k.out.values, name)
		}
		k.bodyAt = append(k.bodyAt, named{name, at})
		return
	}
	err = fmt.Errorf("line %d, column %d: %w", p.Line, p.Column, err)
	k.problem(at, code, err)
	if body && k.out.Broken == nil {
		k.out.Broken = fmt.Errorf("%s of the trigger: %w", at, err)
	}
}

// named is a place of the payload that names a dynamic value.
type named struct{ name, at string }

// boundBody is the name under which Destination.Render notes, for each bound value in a
// body, the hosts that the body is bound to by it. No header can have it.
const boundBody = "\x00hosts"

// bodyValues checks where the body goes, which is the same for all destinations, and has
// the hosts that it is bound to noted: it may wait for long, and its trigger be edited.
func (k *compilation) bodyValues() {
	var bound []sink.Header
	for _, name := range k.out.values {
		if allowed := k.Resolver.Hosts(name); len(allowed) > 0 {
			bound = append(bound, sink.Header{Name: boundBody, Value: strings.Join(allowed, " ")})
		}
	}
	for _, d := range k.out.Destinations {
		d.bound = bound
		for _, n := range k.bodyAt {
			if err := k.Resolver.Allowed(n.name, d.hosts...); err != nil {
				k.problem(n.at, CodeNotAllowed, err)
			}
		}
	}
}

// mayCarry says why a body may not be sent there: values in it are bound to other hosts.
func (d *Destination) mayCarry(rendered []sink.Header) error {
	for _, h := range rendered {
		if h.Name != boundBody {
			continue
		}
		if err := resolve.Bound(strings.Fields(h.Value), d.hosts); err != nil {
			return resolveError(&resolve.Error{Code: resolve.CodeHost, Err: fmt.Errorf("a value in the body: %w", err)})
		}
	}
	return nil
}

// ErrUnfetched says that a body names a dynamic value which has to be fetched first.
var ErrUnfetched = errors.New("a dynamic value has to be fetched first")

// AppendBody renders the body. It waits for nothing: where a dynamic value has to be
// fetched, which is begun, the error is ErrUnfetched.
func (c *Compiled) AppendBody(dst []byte, e *payload.Event) ([]byte, string, error) {
	if len(c.values) == 0 {
		return c.Payload.Append(dst, e)
	}
	values := make(map[string]string, len(c.values))
	for _, name := range c.values {
		var ok bool
		if values[name], ok = c.resolver.CachedForBody(name); !ok {
			return dst, "", ErrUnfetched
		}
	}
	return c.appendWith(values, dst, e)
}

// FetchBody is AppendBody, but waits for dynamic values until ctx ends.
func (c *Compiled) FetchBody(ctx context.Context, dst []byte, e *payload.Event) ([]byte, string, error) {
	values := make(map[string]string, len(c.values))
	for _, name := range c.values {
		var err error
		if values[name], err = c.resolver.ForBody(ctx, name); err != nil {
			return dst, "", resolveError(err)
		}
	}
	return c.appendWith(values, dst, e)
}

// ShowBody is AppendBody for people: dynamic values are not fetched and stand there by
// their names. dynamic reports whether there are any.
func (c *Compiled) ShowBody(dst []byte, e *payload.Event) (body []byte, contentType string, dynamic bool, err error) {
	values := make(map[string]string, len(c.values))
	for _, name := range c.values {
		values[name] = "{{ " + name + " }}"
	}
	body, contentType, err = c.appendWith(values, dst, e)
	return body, contentType, len(values) > 0, err
}

func (c *Compiled) appendWith(values map[string]string, dst []byte, e *payload.Event) ([]byte, string, error) {
	e.Values = &valueObject{values: values}
	defer func() { e.Values = nil }() // the rest of a trigger sees none of them
	return c.Payload.Append(dst, e)
}

// valueObject is dynamic values as templates see them: a.b is b of a.
type valueObject struct {
	values map[string]string
	path   string // with a dot at its end, "" = the first step
}

// Get implements template.Object.
func (o *valueObject) Get(name string) (template.Value, bool) {
	path := o.path + name
	for declared := range o.values {
		if strings.HasPrefix(declared, path+".") {
			return template.Of(&valueObject{o.values, path + "."}), true
		}
	}
	v, ok := o.values[path]
	return template.String(v), ok
}

// Scalar is the value itself, if a longer name begins with its own.
func (o *valueObject) Scalar() template.Value {
	return template.String(o.values[strings.TrimSuffix(o.path, ".")])
}
