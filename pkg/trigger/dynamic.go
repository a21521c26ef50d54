package trigger

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/waltrigger/waltrigger/pkg/payload"
	"github.com/waltrigger/waltrigger/pkg/resolve"
	"github.com/waltrigger/waltrigger/pkg/sink"
)

func reserved(first string) bool { return slices.Contains(payload.Names, first) }

// refs checks the dynamic values that text names: declared, and not bound to other
// hosts than where it is sent.
func (k *compilation) refs(at string, text *resolve.Text, d *Destination) {
	known := k.Resolver.Names()
	for _, name := range text.Refs() {
		if !slices.Contains(known, name) {
			k.problem(at, CodeUnknown, fmt.Errorf("the configuration declares no dynamic value %s", name))
		} else if err := k.Resolver.Allowed(name, d.hosts...); err != nil {
			k.problem(at, CodeNotAllowed, err)
		} else if k.Resolver.Multiline(name) && strings.HasPrefix(at, "/webhooks/") {
			k.problem(at, CodeNotAllowed, fmt.Errorf("dynamic value %s: it may hold line breaks, which no header can", name))
		}
	}
}

// addressDetails are the connection details that say where messages go, over all kinds.
var addressDetails = []string{"host", "port", "url", "servers", "bootstrap_servers", "endpoint_url", "endpoint", "emulator_host"}

// hosts are those that messages go to with these connection details; nil if that is not
// known: a value that is bound to hosts then cannot be used.
func hosts(kind *sink.Kind, conn map[string]any) []string {
	if kind.Addresses == nil || slices.ContainsFunc(addressDetails, func(name string) bool { return templates(conn[name]) }) {
		return nil
	}
	var out []string
	for _, a := range kind.Addresses(conn) {
		h, _, err := net.SplitHostPort(a)
		if err != nil {
			return nil
		}
		if !slices.Contains(out, h) {
			out = append(out, h)
		}
	}
	return out
}

// templates reports whether v holds something that is filled in later.
func templates(v any) bool {
	switch v := v.(type) {
	case string:
		return strings.Contains(v, "{{") || strings.Contains(v, "{%")
	case []any:
		return slices.ContainsFunc(v, templates)
	case map[string]any:
		for _, e := range v {
			if templates(e) {
				return true
			}
		}
	}
	return false
}

// resolveError makes a failed resolution a trouble of the destination, which ends when
// the value can be had again.
func resolveError(err error) error {
	if err == nil {
		return nil
	}
	if e := (*sink.Error)(nil); errors.As(err, &e) {
		return err
	}
	class := sink.Misconfigured
	if e := (*resolve.Error)(nil); errors.As(err, &e) && e.Code == resolve.CodeFetch {
		class = sink.Unavailable
	}
	return &sink.Error{Class: class, Code: "dynamic_value", Err: err}
}

// Unresolved reports whether err is that of a dynamic value, which may end by itself.
func Unresolved(err error) bool {
	e := (*resolve.Error)(nil)
	return errors.As(err, &e)
}
