package all

import (
	"strings"
	"testing"
)

func TestKinds(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range Kinds {
		if k.Name != strings.ToLower(k.Name) || seen[k.Name] || k.Open == nil || k.Check == nil || k.MaxBatch < 1 || k.Pipelined && !k.Ordered {
			t.Errorf("%+v", k)
		}
		seen[k.Name] = true
		for _, name := range []string{k.Name, strings.ToUpper(k.Name)} {
			if got, ok := Find(name); !ok || got.Name != k.Name {
				t.Errorf("%s is not found", name)
			}
		}
		// Settings of any kind and type must never make a check panic.
		for _, v := range []any{nil, 1.5, true, "", "{{ x", []any{nil}, map[string]any{"": nil}} {
			conn, params := map[string]any{}, map[string]any{"headers": v, "url": v}
			for _, p := range k.Conn {
				conn[p.Name] = v
			}
			for _, p := range k.Params {
				params[p.Name] = v
			}
			k.Check(conn, params)
			if k.Addresses != nil {
				k.Addresses(conn)
			}
		}
		k.Check(nil, nil)
		if k.Addresses == nil && k.Name != "webhook" {
			t.Errorf("%s does not say where it sends", k.Name)
		}
	}
	if _, ok := Find("carrier pigeon"); ok {
		t.Error("found what is not there")
	}
}
