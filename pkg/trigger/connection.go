package trigger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/waltrigger/waltrigger/pkg/resolve"
)

// connection compiles the dynamic values in connection details; they cannot name the
// row.
func (k *compilation) connection(d *Destination, at string) {
	for _, name := range slices.Sorted(maps.Keys(d.conn)) {
		d.conn[name] = k.detail(d, at+"/conn_details/"+escapePointer(name), d.conn[name])
	}
	if !d.connDynamic {
		d.connKey = connKey(d.kind.Name, d.endpoint, d.conn)
	}
}

// detail gives v with a *resolve.Text in the place of each string that names dynamic
// values.
func (k *compilation) detail(d *Destination, at string, v any) any {
	if !templates(v) {
		return v
	}
	switch v := v.(type) {
	case string:
		return k.detailText(d, at, v)
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = k.detail(d, at+"/"+strconv.Itoa(i), e)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, e := range v {
			out[name] = k.detail(d, at+"/"+escapePointer(name), e)
		}
		return out
	}
	return v
}

func (k *compilation) detailText(d *Destination, at, s string) any {
	text, err := resolve.Parse(s, nil)
	if err == nil && templates(text.Literal()) {
		err = errors.New("connection details may hold {{ name }} of dynamic values, and no other template")
	}
	for i := 0; err == nil && i < len(text.Refs()); i++ {
		if first, _, _ := strings.Cut(text.Refs()[i], "."); reserved(first) {
			err = fmt.Errorf("connection details cannot name the row, as {{ %s }} does", text.Refs()[i])
		}
	}
	if err != nil {
		k.problem(at, CodeTemplate, err)
		return s
	}
	k.refs(at, text, d)
	d.connDynamic = true
	return text
}

// Conn gives the resolved connection details, and a key that is equal for equal ones.
func (d *Destination) Conn(ctx context.Context) (map[string]any, string, error) {
	if d.shadow != nil {
		return map[string]any{"destination": d.ID}, "shadow\x00" + d.ID, nil
	}
	if !d.connDynamic {
		return d.conn, d.connKey, nil
	}
	v, err := d.resolve(ctx, d.conn)
	if err != nil {
		return nil, "", resolveError(err)
	}
	conn, _ := v.(map[string]any)
	return conn, connKey(d.kind.Name, d.endpoint, conn), nil
}

// resolve gives a detail with all texts resolved.
func (d *Destination) resolve(ctx context.Context, v any) (any, error) {
	switch v := v.(type) {
	case *resolve.Text:
		s, err := v.Append(ctx, nil, d.resolver, d.hosts...)
		return string(s), err
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			var err error
			if out[i], err = d.resolve(ctx, e); err != nil {
				return nil, err
			}
		}
		return out, nil
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, e := range v {
			var err error
			if out[name], err = d.resolve(ctx, e); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return v, nil
}

func connKey(kind, endpoint string, conn map[string]any) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\x00%s", kind, endpoint)
	for _, name := range slices.Sorted(maps.Keys(conn)) {
		fmt.Fprintf(&b, "\x00%s\x00%v", name, conn[name])
	}
	return b.String()
}
