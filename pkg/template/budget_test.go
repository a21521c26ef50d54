package template

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// bombLimit is far more than any budget allows, so that a busy machine does not fail
// the test, and far less than any of the bombs would take.
const bombLimit = 10 * time.Second

func chars(n int) Value { return String(strings.Repeat("x", n)) }

func items(n int) Value {
	vs := make([]Value, n)
	for i := range vs {
		vs[i] = String("item")
	}
	return listValue(vs)
}

func TestBombsEndInsideTheBudget(t *testing.T) {
	t.Parallel()
	nested := func(open, body, shut string, n int) string {
		return strings.Repeat(open, n) + body + strings.Repeat(shut, n)
	}
	vars := object{
		"s300": chars(300), "l": items(1000), "mega": chars(1 << 20), "html": String(strings.Repeat("<p ", 60_000)), "deep": JSON(nested("[", "", "]", 100_000)),
		"parens": String(strings.Repeat("(", 300_000)), "amps": String(strings.Repeat("&", 300_000) + ";"), "dots": String(strings.Repeat("a.", 200_000)),
		"digits": String(strings.Repeat("9", 200_000)), "exp": Decimal("1E+999999999"), "tiny": Decimal("1E-999999999"), "words": String(strings.Repeat("w ", 200_000)),
		"comments": String(strings.Repeat("<!--", 100_000) + ">"), "quotes": String("<a " + strings.Repeat("b='", 100_000)),
	}
	for name, src := range map[string]string{
		"nested loops":       "{% for a in s300 %}{% for b in s300 %}{% for c in s300 %}{% endfor %}{% endfor %}{% endfor %}",
		"loops of output":    "{% for a in l %}{% for b in l %}{{ s300 }}{% endfor %}{% endfor %}",
		"doubling":           "{% with a=mega|add:mega %}{{ a }}{% endwith %}",
		"ljust":              "{{ s300|ljust:99999999 }}",
		"center":             "{{ s300|center:'9999999999' }}",
		"stringformat width": "{{ 1|stringformat:'999999999d' }}",
		"stringformat prec":  "{{ 1|stringformat:'.999999999f' }}",
		"floatformat":        "{{ 1.5|floatformat:99999999 }}",
		"lorem":              "{% lorem 99999999 w %}",
		"lorem paragraphs":   "{% lorem 999999 p random %}",
		"lorem huge":         "{% lorem 99999999999999999999 p %}",
		"join":               "{% for a in l %}{{ l|join:s300 }}{% endfor %}",
		"make_list":          "{% for a in l %}{{ mega|make_list|length }}{% endfor %}",
		"filter blocks":      "{% for a in l %}{% filter upper|lower|title|slugify %}{{ mega }}{% endfilter %}{% endfor %}",
		"escaping":           "{% autoescape on %}{% for a in l %}{{ amps }}{% endfor %}{% endautoescape %}",
		"deep list printed":  "{{ deep|join:',' }}{{ deep|pprint }}",
		"deep list compared": "{% if deep == deep.0 %}{% endif %}{{ deep|unordered_list }}",
		"pprint":             "{% for a in l %}{{ l|pprint }}{% endfor %}",
		"dictsort":           "{% for a in l %}{{ l|dictsort:0 }}{% endfor %}",
		"regroup":            "{% for a in l %}{% regroup l by 0 as g %}{% endfor %}",
		"cycle":              "{% for a in l %}{% for b in l %}{% cycle a b as c silent %}{% endfor %}{% endfor %}",
		"ifchanged":          "{% for a in l %}{% for b in l %}{% ifchanged %}{{ mega }}{% endifchanged %}{% endfor %}{% endfor %}",
		"conditions":         "{% for a in l %}{% for b in l %}{% if " + strings.TrimSuffix(strings.Repeat("a == b and ", 90), "and ") + "%}{% endif %}{% endfor %}{% endfor %}",
	} {
		start := time.Now()
		out, err := mustParse(t, src, Options{}).Append(nil, vars)
		if !errors.Is(err, ErrBudget) {
			t.Errorf("%s: got %d bytes, %v, want a spent budget", name, len(out), err)
		}
		if took := time.Since(start); took > bombLimit {
			t.Errorf("%s: took %v", name, took)
		}
	}
	// These are not over budget, but must not take long either.
	for _, src := range []string{
		"{{ html|striptags|length }}", "{{ html|truncatechars_html:100 }}", "{{ comments|striptags|length }}", "{{ quotes|striptags|length }}", "{{ parens|urlize|length }}", "{{ amps|urlize|length }}",
		"{{ dots|urlize|length }}", "{{ words|wordwrap:10|length }}", "{{ words|truncatewords:1000|length }}", "{{ digits|add:1|length }}{{ digits|floatformat:2|length }}", "{{ exp|add:1 }}", "{{ exp }}{{ tiny }}", "{{ exp|floatformat:2 }}",
		"{% if exp > tiny and exp > 1 and tiny < 0.5 and exp != tiny %}{% endif %}", "{{ deep|length }}{{ deep }}", "{{ exp|filesizeformat }}", "{{ words|slugify|length }}", "{{ words|pprint|length }}", "{{ html|escapejs|length }}",
	} {
		start := time.Now()
		out, err := mustParse(t, src, Options{}).Append(nil, vars)
		if err != nil && !errors.Is(err, ErrBudget) && caughtAny(err) {
			t.Errorf("%s: %d bytes, %v", src, len(out), err)
		}
		if took := time.Since(start); took > bombLimit {
			t.Errorf("%s: took %v", src, took)
		}
	}
}

// many repeats a format with the numbers from 0 on.
func many(format string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

func TestParserBombs(t *testing.T) {
	t.Parallel()
	for name, src := range map[string]string{
		"nested ifs":     strings.Repeat("{% if a %}", 20_000) + strings.Repeat("{% endif %}", 20_000),
		"nested withs":   strings.Repeat("{% with a=b %}", 100),
		"nested mixed":   strings.Repeat("{% for a in b %}{% filter upper %}", 50),
		"many operators": "{% if " + strings.Repeat("not ", 20_000) + "a %}{% endif %}",
		"long chains":    "{% if " + strings.Repeat("a or ", 20_000) + "a %}{% endif %}",
		"too long":       strings.Repeat("x", 1<<18+1),
	} {
		start := time.Now()
		var se *SyntaxError
		if _, err := Parse(src, Options{}); !errors.As(err, &se) {
			t.Errorf("%s: got %v", name, err)
		}
		if took := time.Since(start); took > bombLimit {
			t.Errorf("%s: took %v", name, took)
		}
	}
	// Long, but not deep.
	start := time.Now()
	for _, src := range []string{
		strings.Repeat("{", 1<<20), strings.Repeat("{{", 1<<19), strings.Repeat("{%", 1<<19), strings.Repeat("{{ a }}", 100_000), strings.Repeat("{# x", 200_000), "{{ a" + strings.Repeat("|upper", 100_000) + " }}", strings.Repeat("{#\n", 1<<18) + "#}",
		many("{{ a%d.b }}", 50_000), many("{% now 'Y' as a%d %}", 20_000) + many("{{ a%d.b }}", 20_000), "{% if _('" + strings.Repeat("a ", 1<<18) + "%}",
		"{{ '" + strings.Repeat(`\`, 1<<19) + "' }}", "{% with " + strings.Repeat("a='b\" ", 100_000) + "%}", strings.Repeat("{% verbatim %}", 50_000),
	} {
		if tmpl, err := Parse(src, Options{Limits: Limits{Source: 1 << 21}}); err == nil {
			_ = tmpl.Paths()
			_, _ = tmpl.Append(nil, object{"a": String("x")})
		}
	}
	if took := time.Since(start); took > bombLimit {
		t.Errorf("took %v", took)
	}
}

func TestLimitsCanBeSet(t *testing.T) {
	t.Parallel()
	vars := object{"l": items(100)}
	loop := "{% for x in l %}{{ x }}{% endfor %}"
	for _, c := range []struct {
		limits Limits
		src    string
		ok     bool
	}{
		{Limits{Steps: 1000}, loop, true},
		{Limits{Steps: 100}, loop, false},
		{Limits{Output: 400}, loop, true},
		{Limits{Output: 399}, loop, false},
		{Limits{Output: 10}, "0123456789", true},
		{Limits{Output: 9}, "0123456789", false},
		{Limits{Output: 3}, "{% filter length|add:'0'|stringformat:'s' %}0123456789{% endfilter %}", false},
		{Limits{Time: time.Nanosecond}, strings.Repeat(loop, 30), false},
	} {
		tmpl := mustParse(t, c.src, Options{Limits: c.limits})
		_, err := tmpl.Append(nil, vars)
		if (err == nil) != c.ok || (err != nil && !errors.Is(err, ErrBudget)) {
			t.Errorf("%+v, %.20s: got %v", c.limits, c.src, err)
		}
	}
	if _, err := Parse("{% if a %}{% if b %}{% endif %}{% endif %}", Options{Limits: Limits{Depth: 2}}); err == nil {
		t.Error("depth 2 allows a block in a block")
	}
	if _, err := Parse("{{ abc }}", Options{Limits: Limits{Source: 8}}); err == nil {
		t.Error("9 bytes are more than 8")
	}
}

func TestBudgetIsNotCaughtByConditions(t *testing.T) {
	t.Parallel()
	tmpl := mustParse(t, "{% if 1 > x|ljust:99999999 or not x|ljust:99999999 %}{% endif %}", Options{})
	if _, err := tmpl.Append(nil, object{"x": String("a")}); !errors.Is(err, ErrBudget) {
		t.Errorf("got %v", err)
	}
	c, err := ParseCondition(fmt.Sprintf("not x|ljust:%d", 1<<30), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Eval(object{"x": String("a")}); !errors.Is(err, ErrBudget) {
		t.Errorf("got %v", err)
	}
}
