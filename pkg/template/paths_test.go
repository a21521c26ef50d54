package template

import (
	"fmt"
	"strings"
	"testing"
)

func describe(paths []Path) string {
	var out []string
	for _, p := range paths {
		s := strings.Join(p.Names, ".")
		if p.Bound {
			s += "=" // only given a name
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

func TestPaths(t *testing.T) {
	t.Parallel()
	for src, want := range map[string]string{
		"text {# {{ x }} #}{% comment %}{{ y }}{% endcomment %}":                                                                  "",
		"{{ instance.customer.name }}{{ instance.customer.name }}":                                                                "instance.customer.name",
		"{{ 'a' }}{{ 1 }}{{ True }}{{ None }}":                                                                                    "",
		"{{ a|default:b.c|add:1 }}":                                                                                               "a b.c",
		"{% if a.b > c and not d|length %}{{ e }}{% elif f %}{{ g }}{% else %}{{ h }}{% endif %}":                                 "a.b c d e f g h",
		"{% with c=instance.customer %}{{ c.name }}{% endwith %}{{ c }}":                                                          "instance.customer= instance.customer.name c",
		"{% with c=instance.customer %}{{ c }}{% endwith %}":                                                                      "instance.customer",
		"{% with c=instance.name|upper %}{{ c.x }}{% endwith %}":                                                                  "instance.name",
		"{% with a=b c=a %}{{ a.x }}{{ c.y }}{% endwith %}":                                                                       "b= a= b.x a.y",
		"{% with a=b.c as d and e as f %}{% endwith %}":                                                                           "error",
		"{% with b.c as d and e as f %}{{ d.x }}{{ f }}{% endwith %}":                                                             "b.c= e b.c.x",
		"{% for s in instance.sale_set.all %}{{ s.total }}{{ forloop.counter }}{% empty %}{{ s }}{% endfor %}":                    "instance.sale_set.all= instance.sale_set.all.*.total s",
		"{% for s in a|slice:':2' %}{{ s.x }}{% endfor %}":                                                                        "a= a.*.x",
		"{% for s in a|dictsort:b %}{{ s.x }}{% endfor %}":                                                                        "a= b a.*.x",
		"{% for s in a|make_list %}{{ s.x }}{% endfor %}":                                                                         "a",
		"{% for k, v in instance.items %}{{ k }}{{ v.x }}{% endfor %}":                                                            "instance.items instance.* instance.*.x",
		"{% for x in a %}{% for y in x.b %}{{ y.c }}{{ forloop.parentloop.counter }}{% endfor %}{% endfor %}":                     "a= a.*.b= a.*.b.*.c",
		"{% cycle a b.c as d %}{{ d.x }}":                                                                                         "a b.c b.c.x a.x",
		"{% if a %}{% firstof b c as d %}{% endif %}{{ d.x }}":                                                                    "a b c d.x",
		"{% firstof b c as d %}{{ d.x }}":                                                                                         "b c",
		"{{ d }}{% firstof b as d %}{{ d.x }}":                                                                                    "d b",
		"{% widthratio a b c as d %}{{ d }}{% now 'Y' as y %}{{ y }}{% lorem n w %}":                                              "a b c n",
		"{% regroup rows by kind as g %}{% for x in g %}{{ x.grouper }}{% for r in x.list %}{{ r.name }}{% endfor %}{% endfor %}": "rows rows.*.kind rows.*.name",
		"{% regroup rows by kind as g %}{% for k, l in g %}{{ k.x }}{% for r in l %}{{ r.y }}{% endfor %}{% endfor %}{{ g.0.list.1.z }}{{ g.0.grouper.w }}{{ g }}{{ g.0 }}": "rows rows.*.kind rows.*.kind.x rows.*.y rows.1.z rows.*.kind.w",
		"{% with f=a.b|first %}{{ f.x }}{% endwith %}{% for s in a.b|dictsort:'c.d' %}{{ s.y }}{% endfor %}":                                                                "a.b= a.b.*.x a.b.*.c.d a.b.*.y",
		"{% with f=a.b|default:c.d %}{{ f.x }}{% endwith %}{% for s in a.e|add:c.e|slice:':2' %}{{ s.y }}{% endfor %}":                                                      "a.b c.d= c.d.x a.b.x a.e c.e= c.e.*.y a.e.*.y",
		"{% ifchanged a b %}{{ c }}{% else %}{{ d }}{% endifchanged %}":                                                                                                     "a b c d",
		"{% filter cut:x|upper %}{{ y }}{{ var }}{% endfilter %}":                                                                                                           "x y var",
		"{% autoescape on %}{{ a }}{% endautoescape %}{% spaceless %}{{ b }}{% endspaceless %}":                                                                             "a b",
		"{% verbatim %}{{ a }}{% endverbatim %}":                                                                                                                            "",
		"{{ items.0.name }}":                                                                                                                                                "items.0.name",
		"{% with True=a %}{{ True.x }}{% endwith %}":                                                                                                                        "a= a.x",
	} {
		tmpl, err := Parse(src, Options{})
		if err != nil {
			if want != "error" {
				t.Errorf("%s: %v", src, err)
			}
			continue
		}
		if got := describe(tmpl.Paths()); got != want {
			t.Errorf("%s:\n got %s\nwant %s", src, got, want)
		}
	}
}

func TestPathsPlaces(t *testing.T) {
	t.Parallel()
	tmpl := mustParse(t, "é{{ a.b }}\n{% if c %}\n\t{{ 'é'|default:d }}{% endif %}{% with x=e.f|default:g %}{% endwith %}", Options{})
	var got []string
	for _, p := range tmpl.Paths() {
		got = append(got, fmt.Sprintf("%s %d:%d", strings.Join(p.Names, "."), p.Line, p.Column))
	}
	want := "a.b 1:5, c 2:7, d 3:17, e.f 3:42, g 3:54"
	if s := strings.Join(got, ", "); s != want {
		t.Errorf("got %s, want %s", s, want)
	}
}

// TestPathsAreComplete renders with an object that notes what is asked of it: nothing may
// be read that Paths does not list.
func TestPathsAreComplete(t *testing.T) {
	t.Parallel()
	for _, src := range []string{
		"{% with c=instance.customer %}{{ c.name }}{% for x in c.orders %}{{ x.total }}{% endfor %}{% endwith %}",
		"{% if a.b == c.d %}{{ e.f|default:g.h }}{% endif %}{% cycle i.j 'x' as k %}{{ k }}",
		"{% for x in a.b %}{% with y=x.c %}{{ y.d }}{% endwith %}{% endfor %}{% firstof z.q x.y %}",
	} {
		tmpl := mustParse(t, src, Options{})
		listed := map[string]bool{}
		for _, p := range tmpl.Paths() {
			for i := range p.Names {
				listed[strings.Join(p.Names[:i+1], ".")] = true
			}
		}
		read := map[string]bool{}
		if _, err := tmpl.Append(nil, &noting{read: read}); err != nil {
			t.Fatal(err)
		}
		for path := range read {
			if !listed[path] {
				t.Errorf("%s: reads %s, which is not listed", src, path)
			}
		}
	}
}

// noting is an object, and a list of one, that has everything and notes what is read.
type noting struct {
	path string
	read map[string]bool
}

func (n *noting) Get(name string) (Value, bool) {
	switch name {
	case "forloop", "True", "False", "None":
		return Value{}, false
	}
	path := strings.TrimPrefix(n.path+"."+name, ".")
	n.read[path] = true
	child := &noting{path, n.read}
	if name == "orders" || path == "a.b" {
		return ListOf(notingList{child}), true
	}
	return Of(child), true
}

func (n *noting) AppendJSON(dst []byte) ([]byte, error) { return append(dst, n.path...), nil }

type notingList struct{ of *noting }

func (l notingList) Len() int     { return 1 }
func (l notingList) At(int) Value { return Of(&noting{l.of.path + ".*", l.of.read}) }
