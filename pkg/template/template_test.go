package template

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
)

func render(t *testing.T, src string, opt Options, vars Object) string {
	t.Helper()
	out, err := mustParse(t, src, opt).Append(nil, vars)
	if err != nil {
		t.Fatalf("render %q: %v", src, err)
	}
	return string(out)
}

func TestAppendKeepsWhatWasThere(t *testing.T) {
	t.Parallel()
	vars := object{"x": String("value"), "n": Int(0)}
	dst := append(make([]byte, 0, 4), "abc"...)
	out, err := mustParse(t, "[{{ x }}]", Options{}).Append(dst, vars)
	if err != nil || string(out) != "abc[value]" {
		t.Errorf("got %q, %v", out, err)
	}
	out, err = mustParse(t, "long enough to grow {{ x }}{{ 1|divisibleby:n }}", Options{}).Append(dst, vars)
	if err == nil || string(out) != "abc" {
		t.Errorf("after an error: got %q, %v", out, err)
	}
}

func TestNilVariables(t *testing.T) {
	t.Parallel()
	for _, src := range []string{"{{ x }}", "{{ x|default:'' }}", "{% if x %}{% endif %}", "{% for y in x %}{% endfor %}"} {
		if got := render(t, src, Options{}, nil); got != "" {
			t.Errorf("%s: got %q", src, got)
		}
	}
}

func TestStaticAndJSONLeaf(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		src    string
		static bool
		leaf   bool
	}{
		{"", true, false},
		{"plain text { } %} }}", true, false},
		{"{{ x }}", false, false},
		{"{{ x|json }}", false, true},
		{"{{ x|default:1|json }}", false, true},
		{"{{ x|json|upper }}", false, false},
		{" {{ x|json }}", false, false},
		{"{% if x %}{% endif %}", false, false},
	} {
		tmpl := mustParse(t, c.src, Options{})
		text, static := tmpl.Static()
		if static != c.static || (static && text != c.src) {
			t.Errorf("%q: static %v %q", c.src, static, text)
		}
		if leaf := tmpl.JSONLeaf(); leaf != c.leaf {
			t.Errorf("%q: JSON leaf %v", c.src, leaf)
		}
	}
	if mustParse(t, "{{ x|json }}", Options{Autoescape: true}).JSONLeaf() {
		t.Error("an escaped value is no JSON")
	}
}

func TestSyntaxErrorsNameThePlace(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		src    string
		line   int
		column int
		msg    string
	}{
		{"{{ }}", 1, 1, "empty variable tag"},
		{"é {{ x|nope }}", 1, 8, `unknown filter "nope"`},
		{"a\n  {{ x|cut }}", 2, 8, "needs an argument"},
		{"{{ x|upper:1 }}", 1, 6, "takes no argument"},
		{"{{ x y }}", 1, 5, "could not parse the remainder"},
		{"{{ instance.__class__ }}", 1, 4, "underscores"},
		{"{{ _x }}", 1, 4, "underscores"},
		{"\n\n{% if a %}", 3, 1, "unclosed tag"},
		{"{% if a b %}{% endif %}", 1, 9, "unused"},
		{"{% if a == %}{% endif %}", 1, 11, "unexpected end"},
		{"{% for x in y %}{% endif %}", 1, 17, "expected empty, endfor"},
		{"x{% nope %}", 1, 2, `unknown tag "nope"`},
		{"{% include 'x' %}", 1, 1, "not available"},
		{"{% load static %}", 1, 1, "not available"},
		{"{% url 'x' %}", 1, 1, "not available"},
		{"{% csrf_token %}", 1, 1, "not available"},
		{"{% extends 'x' %}", 1, 1, "not available"},
		{"{% with x=y|nope %}{% endwith %}", 1, 13, "unknown filter"},
		{"{% regroup a by b|nope as c %}", 1, 19, "unknown filter"},
		{"{% filter upper|nope %}{% endfilter %}", 1, 17, "unknown filter"},
	} {
		_, err := Parse(c.src, Options{})
		var se *SyntaxError
		if !errors.As(err, &se) {
			t.Errorf("%q: got %v", c.src, err)
			continue
		}
		if se.Line != c.line || se.Column != c.column || !strings.Contains(se.Msg, c.msg) {
			t.Errorf("%q: got %v, want line %d, column %d, %s", c.src, se, c.line, c.column, c.msg)
		}
	}
}

func TestRenderErrorsNameThePlace(t *testing.T) {
	t.Parallel()
	tmpl := mustParse(t, "a\n{% if x %}\n {{ x|divisibleby:0 }}{% endif %}", Options{})
	_, err := tmpl.Append(nil, object{"x": Int(1)})
	var re *RenderError
	if !errors.As(err, &re) || re.Line != 3 || re.Column != 2 || re.Class != "ZeroDivisionError" {
		t.Errorf("got %v", err)
	}
	if errors.Is(err, ErrBudget) {
		t.Error("no budget was exceeded")
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	tmpl := mustParse(t, "{% for x in l %}{% cycle 'a' 'b' as c %}{{ x }}{% ifchanged c %}{{ c }}{% endifchanged %}{% endfor %}{{ s|upper }}", Options{})
	cond, err := ParseCondition("s|length > 2 and 2 in l", Options{})
	if err != nil {
		t.Fatal(err)
	}
	vars := object{"l": listValue([]Value{Int(1), Int(2), Int(3)}), "s": String("word")}
	want := "a1ab2ba3aWORD"
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				if out, err := tmpl.Append(nil, vars); err != nil || string(out) != want {
					t.Errorf("got %q, %v", out, err)
					return
				}
				if ok, err := cond.Eval(vars); err != nil || !ok {
					t.Errorf("got %v, %v", ok, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// broken panics, as a caller's object might.
type broken struct{}

func (broken) Get(string) (Value, bool) { panic("broken") }

func TestPanicOfAnObjectIsAnError(t *testing.T) {
	t.Parallel()
	tmpl := mustParse(t, "{{ x }}", Options{})
	if out, err := tmpl.Append([]byte("a"), broken{}); err == nil || string(out) != "a" {
		t.Errorf("got %q, %v", out, err)
	}
	if out, err := tmpl.Append(nil, object{"x": Int(1)}); err != nil || string(out) != "1" {
		t.Errorf("afterwards: got %q, %v", out, err)
	}
	cond, err := ParseCondition("x", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cond.Eval(broken{}); err == nil {
		t.Error("no error")
	}
}

func TestCondition(t *testing.T) {
	t.Parallel()
	vars := object{
		"instance": Of(object{"quantity": IntText("12"), "price": Decimal("1.50"), "status": String("new"), "at": Timestamp("2024-03-09T21:00:00Z")}),
		"before":   Of(object{"quantity": IntText("9"), "at": Timestamp("2024-03-09T22:00:00+02:00")}),
		"changed":  listValue([]Value{String("status"), String("quantity")}),
		"unknown":  None(),
	}
	for src, want := range map[string]bool{
		`instance.quantity > 10 and "status" in changed`:   true,
		`instance.quantity > 12`:                           false,
		`instance.quantity > before.quantity`:              true,
		`instance.price == 1.5`:                            true,
		`instance.at > before.at`:                          true,
		`"price" in changed or instance.status == "new"`:   true,
		`"status" in unknown`:                              false,
		`"status" not in unknown`:                          false, // Python cannot tell either
		`not instance.missing`:                             true,
		`instance.quantity > "a"`:                          false,
		`unknown is None`:                                  true,
		`instance.status|upper == "NEW"`:                   true,
		`instance.quantity|divisibleby:0`:                  false,
		`instance.quantity|divisibleby:0 == False or True`: true,
	} {
		c, err := ParseCondition(src, Options{})
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		got, err := c.Eval(vars)
		if (err != nil) != (src == `instance.quantity|divisibleby:0`) || got != want {
			t.Errorf("%s: got %v, %v", src, got, err)
		}
	}
	for _, src := range []string{"", "a b", "a ==", "and", "a | b", "(a)", "not"} {
		var se *SyntaxError
		if _, err := ParseCondition(src, Options{}); !errors.As(err, &se) {
			t.Errorf("%q: got %v", src, err)
		}
	}
}

func TestRowValuesAreNotTemplates(t *testing.T) {
	t.Parallel()
	text := `{{ secret }}{% if %}","admin":true`
	if got := render(t, "{{ x }}", Options{}, object{"x": String(text), "secret": String("s")}); got != text {
		t.Errorf("got %q", got)
	}
}

func TestFramesOfDjangosContext(t *testing.T) {
	t.Parallel()
	vars := object{"l": listValue([]Value{Int(1), Int(2)}), "c": String("outer")}
	for src, want := range map[string]string{
		"{% for x in l %}{% cycle 'a' 'b' as c %}{% endfor %}{{ c }}":                                                "abb",
		"{% with y=1 %}{% for x in l %}{% cycle 'a' 'b' as d silent %}{% endfor %}{% endwith %}{{ d }}":              "",
		"{% for x in l %}{% firstof x as y %}{{ y }}{% endfor %}{{ y }}":                                             "12",
		"{% with c='inner' %}{% for x in l %}{% cycle 'a' 'b' as c silent %}{% endfor %}{{ c }}{% endwith %}{{ c }}": "bouter",
		"{% for forloop in l %}{{ forloop }}{% endfor %}":                                                            "12",
	} {
		if got := render(t, src, Options{}, vars); got != want {
			t.Errorf("%s: got %q, want %q", src, got, want)
		}
	}
}

func Example() {
	t, err := Parse(`{{ instance.customer.name }} bought {{ instance.quantity }} item{{ instance.quantity|pluralize }}`, Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	out, err := t.Append(nil, object{"instance": Of(object{
		"customer": Of(object{"name": String("O'Brien")}),
		"quantity": IntText("3"),
	})})
	fmt.Println(string(out), err)
	for _, p := range t.Paths() {
		fmt.Println(strings.Join(p.Names, "."), p.Line, p.Column)
	}
	// Output:
	// O'Brien bought 3 items <nil>
	// instance.customer.name 1 4
	// instance.quantity 1 40
}
