// Package details reads the connection details and parameters of brokers, and collects
// all that is wrong with them. Values may be strings wherever they come from a template.
package details

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

// CodeConfig is the code of what Err returns.
const CodeConfig = "configuration"

// Reader reads. Its methods return the zero value, or what is meant otherwise, for what
// is absent or wrong.
type Reader struct {
	conn  map[string]any
	check bool // before resolution: templates are of any value
	found []sink.Problem
}

// Read reads resolved details.
func Read(conn map[string]any) *Reader { return &Reader{conn: conn} }

// Check reads details that may hold templates, for Kind.Check. known are all there are.
func Check(conn map[string]any, known []sink.Param) *Reader {
	r := &Reader{conn: conn, check: true}
	for name := range conn {
		if !slices.ContainsFunc(known, func(p sink.Param) bool { return p.Name == name }) {
			var names []string
			for _, p := range known {
				names = append(names, p.Name)
			}
			r.Add(name, "unknown", "there is no such detail; there are %s", strings.Join(names, ", "))
		}
	}
	return r
}

// Checking reports whether templates may stand in the place of values.
func (r *Reader) Checking() bool { return r.check }

// Add adds a problem of a detail.
func (r *Reader) Add(name, code, format string, args ...any) {
	r.found = append(r.found, sink.Problem{Field: "conn_details/" + name, Code: code, Detail: fmt.Sprintf(format, args...)})
}

// AddParam adds a problem of a parameter.
func (r *Reader) AddParam(name, code, format string, args ...any) {
	r.found = append(r.found, sink.Problem{Field: "parameters/" + name, Code: code, Detail: fmt.Sprintf(format, args...)})
}

// Problems are all that were found, in the order of their names.
func (r *Reader) Problems() []sink.Problem {
	slices.SortStableFunc(r.found, func(a, b sink.Problem) int { return strings.Compare(a.Field, b.Field) })
	return r.found
}

// Err is all that was found as one Misconfigured error, nil = nothing was.
func (r *Reader) Err() error {
	if len(r.found) == 0 {
		return nil
	}
	var errs []error
	for _, p := range r.Problems() {
		errs = append(errs, fmt.Errorf("%s %s", strings.TrimPrefix(p.Field, "conn_details/"), p.Detail))
	}
	return &sink.Error{Class: sink.Misconfigured, Code: CodeConfig, Err: errors.Join(errs...)}
}

// IsTemplate reports whether v holds what is resolved or rendered later.
func IsTemplate(v any) bool {
	s, ok := v.(string)
	return ok && (strings.Contains(s, "{{") || strings.Contains(s, "{%"))
}

// Alias lets a detail be called by a second name.
func (r *Reader) Alias(second, name string) {
	v, ok := r.conn[second]
	if !ok {
		return
	}
	if r.Present(name) {
		r.Add(second, "invalid", "means the same as %s; give one of them", name)
		return
	}
	r.conn = maps.Clone(r.conn)
	r.conn[name] = v
}

// Flatten reads a detail that is itself a table: its keys stand for details of the
// names that names gives.
func (r *Reader) Flatten(name string, names map[string]string) {
	switch table := r.conn[name].(type) {
	case nil:
	case map[string]any:
		conn := maps.Clone(r.conn)
		for key, v := range table {
			full, ok := names[key]
			if !ok {
				r.Add(name, "unknown", "has no setting %s; there are %s", key, strings.Join(slices.Sorted(maps.Keys(names)), ", "))
				continue
			}
			conn[full] = v
		}
		r.conn = conn
	default:
		r.Add(name, "invalid", "must be a table")
	}
}

// Present reports whether a detail is given, be it as a template.
func (r *Reader) Present(name string) bool {
	v, ok := r.conn[name]
	return ok && v != nil && v != ""
}

// Value is a detail as it is; nil = absent, or not known yet.
func (r *Reader) Value(name string) any {
	v := r.conn[name]
	if r.check && IsTemplate(v) {
		return nil
	}
	return v
}

// String reads a text.
func (r *Reader) String(name string) string {
	switch v := r.Value(name).(type) {
	case nil:
		return ""
	case string:
		return v
	case int, int64, float64, uint64: // a password of digits, as YAML reads it
		return fmt.Sprint(v)
	}
	r.Add(name, "invalid", "must be a string")
	return ""
}

// Bool reads true or false.
func (r *Reader) Bool(name string, otherwise bool) bool {
	v := r.Value(name)
	if v == nil || v == "" {
		return otherwise
	}
	b, err := strconv.ParseBool(strings.ToLower(fmt.Sprint(v)))
	if err != nil {
		r.Add(name, "invalid", "must be true or false")
		return otherwise
	}
	return b
}

// Int reads a whole number from low to high.
func (r *Reader) Int(name string, otherwise, low, high int) int {
	v := r.Value(name)
	if v == nil || v == "" {
		return otherwise
	}
	n, err := strconv.ParseFloat(fmt.Sprint(v), 64)
	if err != nil || n != float64(int(n)) || n < float64(low) || n > float64(high) {
		r.Add(name, "invalid", "must be a whole number from %d to %d", low, high)
		return otherwise
	}
	return int(n)
}

// Strings reads a list, or a text with commas, that must hold something.
func (r *Reader) Strings(name string) []string {
	if !r.Present(name) {
		r.Add(name, "required", "is required")
		return nil
	}
	var list []any
	switch v := r.Value(name).(type) {
	case nil: // not known yet
		return nil
	case string:
		for s := range strings.SplitSeq(v, ",") {
			list = append(list, s)
		}
	case []string:
		for _, s := range v {
			list = append(list, s)
		}
	case []any:
		list = v
	default:
		r.Add(name, "invalid", "must be a string or a list of strings")
		return nil
	}
	var out []string
	for _, e := range list {
		s, ok := e.(string)
		if !ok {
			r.Add(name, "invalid", "must hold strings only")
			return nil
		}
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	if len(out) == 0 {
		r.Add(name, "invalid", "is empty")
	}
	return out
}

// Address reads host and port, which default to localhost and port.
func (r *Reader) Address(port int) string {
	host := r.String("host")
	if host == "" {
		host = "localhost"
	}
	if strings.ContainsAny(host, "/@? \t") || strings.Contains(host, ":") && net.ParseIP(host) == nil {
		r.Add("host", "invalid", "must be a name or an address alone; the port goes into port")
	}
	if r.check && (IsTemplate(r.conn["host"]) || IsTemplate(r.conn["port"])) {
		return "" // not known yet
	}
	return net.JoinHostPort(host, strconv.Itoa(r.Int("port", port, 1, 65535)))
}

// URL reads a URL of one of the schemes, and gives its host:port. It is nil if it is
// absent or wrong; what is said about it never shows it, as it may hold a password.
func (r *Reader) URL(name, text string, port map[string]int) (u *url.URL, address string) {
	if text == "" || r.check && IsTemplate(text) {
		return nil, ""
	}
	var schemes []string
	for s := range port {
		schemes = append(schemes, s+"://")
	}
	slices.Sort(schemes)
	u, err := url.Parse(text)
	if err != nil {
		r.Add(name, "invalid", "is no URL")
		return nil, ""
	}
	p, ok := port[u.Scheme]
	switch {
	case !ok:
		r.Add(name, "invalid", "must begin with %s", strings.Join(schemes, " or "))
	case u.Hostname() == "":
		r.Add(name, "invalid", "names no host")
	case u.Port() != "":
		n, err := strconv.Atoi(u.Port())
		if err != nil || n < 1 || n > 65535 {
			r.Add(name, "invalid", "has no legal port")
			return nil, ""
		}
		return u, u.Host
	default:
		return u, net.JoinHostPort(u.Hostname(), strconv.Itoa(p))
	}
	return nil, ""
}

// Text is a scalar value as a parameter holds it.
func Text(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	return fmt.Sprint(v)
}

// Named gives the addresses that are known, for Kind.Addresses.
func Named(addresses ...string) []string {
	var out []string
	for _, a := range addresses {
		if _, _, err := net.SplitHostPort(a); err == nil {
			out = append(out, a)
		}
	}
	return out
}
