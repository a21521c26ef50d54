package template

import (
	"fmt"
	"testing"
)

// object is a mapping for tests. It has no order and so cannot be iterated.
type object map[string]Value

func (o object) Get(name string) (Value, bool) {
	v, ok := o[name]
	return v, ok
}

func mustParse(tb testing.TB, src string, opt Options) *Template {
	tb.Helper()
	t, err := Parse(src, opt)
	if err != nil {
		tb.Fatalf("parse %q: %v", src, err)
	}
	return t
}

func benchmark(b *testing.B, vars Object, sources ...string) {
	b.Helper()
	ts := make([]*Template, len(sources))
	for i, src := range sources {
		ts[i] = mustParse(b, src, Options{})
	}
	b.ReportAllocs()
	var buf []byte
	var err error
	for b.Loop() {
		buf = buf[:0]
		for _, t := range ts {
			if buf, err = t.Append(buf, vars); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkSeed renders the leaves of the payload
// {"action":"new_sale","customer_name":…,"product_name":…}.
func BenchmarkSeed(b *testing.B) {
	benchmark(b, object{"instance": Of(object{
		"customer": Of(object{"name": String("Ada Lovelace")}),
		"product":  Of(object{"name": String("Analytical Engine")}),
	})}, "new_sale", "{{ instance.customer.name }}", "{{ instance.product.name }}")
}

func BenchmarkFields(b *testing.B) {
	row := object{}
	src := ""
	for i := range 20 {
		name := fmt.Sprintf("f%02d", i)
		row[name] = String(fmt.Sprintf("value %d", i))
		src += "{{ instance." + name + " }}"
	}
	benchmark(b, object{"instance": Of(row)}, src)
}

func BenchmarkLoop(b *testing.B) {
	var items []Value
	for i := range 100 {
		items = append(items, Of(object{"name": String(fmt.Sprintf("item %d", i)), "qty": IntText(fmt.Sprint(i))}))
	}
	benchmark(b, object{"items": listValue(items)},
		"{% for item in items %}{{ forloop.counter }}. {{ item.name }}: {{ item.qty }}{% if not forloop.last %}, {% endif %}{% endfor %}")
}

func BenchmarkFilters(b *testing.B) {
	benchmark(b, object{"n": FloatText("1234.5"), "t": Timestamp("2024-03-09T21:00:00.5Z"), "s": String("hello")},
		`{{ n|floatformat:2 }} {{ t|date:"Y-m-d" }} {{ s|upper|default:"x" }}`)
}
