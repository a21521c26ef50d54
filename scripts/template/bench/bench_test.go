// Package bench compares pkg/template with pongo2 on the same templates and data. It is
// a module of its own so that the product does not depend on what it is compared with.
package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"syscall"
	"testing"

	"github.com/flosch/pongo2/v6"

	"github.com/waltrigger/waltrigger/pkg/template"
)

// suite is what bench.py renders too.
type suite struct {
	Context   map[string]any    `json:"context"`
	Templates map[string]string `json:"templates"`
	Leaves    map[string]string `json:"leaves"` // the payload "seed" as its leaves
}

func load(tb testing.TB) suite {
	tb.Helper()
	raw, err := os.ReadFile("suite.json")
	if err != nil {
		tb.Fatal(err)
	}
	var s suite
	if err := json.Unmarshal(raw, &s); err != nil {
		tb.Fatal(err)
	}
	return s
}

// row is an object with text values, as the rows of a log are.
type row map[string]template.Value

func (r row) Get(name string) (template.Value, bool) {
	v, ok := r[name]
	return v, ok
}

// cpu times fn by the processor time of the process: what runs beside it on the machine
// does not count.
func cpu(b *testing.B, fn func() error) {
	b.Helper()
	b.ReportAllocs()
	start := processTime(b)
	for b.Loop() {
		if err := fn(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(processTime(b)-start)/float64(b.N), "cpu-ns/op")
}

func processTime(b *testing.B) int64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

type rows []template.Value

func (r rows) Len() int                { return len(r) }
func (r rows) At(i int) template.Value { return r[i] }

func value(v any) template.Value {
	switch v := v.(type) {
	case map[string]any:
		r := row{}
		for k, item := range v {
			r[k] = value(item)
		}
		return template.Of(r)
	case []any:
		var r rows
		for _, item := range v {
			r = append(r, value(item))
		}
		return template.ListOf(r)
	case float64:
		return template.IntText(fmt.Sprint(int(v)))
	case string:
		return template.String(v)
	}
	return template.None()
}

func vars(s suite) row {
	r := row{}
	for k, v := range s.Context {
		r[k] = value(v)
	}
	return r
}

func BenchmarkWaltrigger(b *testing.B) {
	s := load(b)
	data := vars(s)
	for name, src := range s.Templates {
		t, err := template.Parse(src, template.Options{})
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			var buf []byte
			cpu(b, func() error {
				buf, err = t.Append(buf[:0], data)
				return err
			})
		})
	}
}

// BenchmarkLeaves renders the seed's third payload as the product does: leaf by leaf,
// each written into the body as a JSON string.
func BenchmarkLeaves(b *testing.B) {
	s := load(b)
	data := vars(s)
	var leaves []*template.Template
	var keys []string
	for k, src := range s.Leaves {
		t, err := template.Parse(src, template.Options{})
		if err != nil {
			b.Fatal(err)
		}
		leaves, keys = append(leaves, t), append(keys, `"`+k+`":`)
	}
	var buf, scratch []byte
	var err error
	cpu(b, func() error {
		buf = append(buf[:0], '{')
		for i, t := range leaves {
			if i > 0 {
				buf = append(buf, ',')
			}
			buf = append(buf, keys[i]...)
			if scratch, err = t.Append(scratch[:0], data); err != nil {
				return err
			}
			buf = appendJSON(buf, scratch)
		}
		buf = append(buf, '}')
		return nil
	})
}

func appendJSON(dst, s []byte) []byte {
	dst = append(dst, '"')
	start := 0
	for i, c := range s {
		if c == '"' || c == '\\' || c < ' ' {
			dst = append(dst, s[start:i]...)
			dst = fmt.Appendf(dst, `\u%04x`, c)
			start = i + 1
		}
	}
	return append(append(dst, s[start:]...), '"')
}

func BenchmarkPongo2(b *testing.B) {
	s := load(b)
	pongo2.SetAutoescape(false)
	for name, src := range s.Templates {
		t, err := pongo2.FromString(src)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			cpu(b, func() error {
				_, err := t.ExecuteBytes(pongo2.Context(s.Context))
				return err
			})
		})
	}
}

// TestSame makes sure that what is compared gives the same text.
func TestSame(t *testing.T) {
	s := load(t)
	pongo2.SetAutoescape(false)
	for name, src := range s.Templates {
		ours, err := template.Parse(src, template.Options{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := ours.Append(nil, vars(s))
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := pongo2.FromString(src)
		if err != nil {
			t.Fatal(err)
		}
		want, err := theirs.Execute(pongo2.Context(s.Context))
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want && name != "loop" { // numbers of JSON are floats to pongo2
			t.Errorf("%s: ours %s, pongo2 %s", name, got, want)
		}
	}
}
