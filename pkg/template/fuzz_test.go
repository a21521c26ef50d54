package template

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"
)

// fuzzLimits are small, so that a template that runs away is noticed early.
var fuzzLimits = Limits{Steps: 20_000, Output: 1 << 16, Source: 1 << 16}

// slow is what no input may take; the budgets stop it long before.
const slow = 5 * time.Second

func fuzzVars() object {
	return object{
		"s": String("it's <b>é</b> & \"x\"\n"), "i": IntText("7"), "f": FloatText("1.5"), "d": Decimal("-2.675"), "n": None(), "b": Bool(true), "safe": Safe("<i>"),
		"l":  listValue([]Value{Int(3), String("a"), None(), listValue([]Value{Int(1)}), Timestamp("2024-03-09T21:00:00Z")}),
		"m":  JSON(`{"a":{"b":[1,2.5,"x",null]},"items":3,"é":""}`),
		"ts": Timestamp("2024-03-09T21:00:00.5Z"), "date": DateText("2024-02-29"), "t": TimeText("13:00:00"), "td": Duration(time.Hour), "bytes": Bytes("\x00\xff"),
		"instance": Of(object{"a": Of(&reference{IntText("1"), object{"name": String("x")}})}),
	}
}

// recorded gives the recorded cases to fn, at most a number of each file.
func recorded(tb testing.TB, each int, fn func(in lineInput)) {
	tb.Helper()
	files, err := filepath.Glob("../../testdata/template/*.jsonl")
	if err != nil {
		tb.Fatal(err)
	}
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			tb.Fatal(err)
		}
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 1<<20)
		for i := 0; i < each && lines.Scan(); i++ {
			var in lineInput
			if err := json.Unmarshal(lines.Bytes(), &in); err != nil {
				tb.Fatal(err)
			}
			fn(in)
		}
		if err := f.Close(); err != nil {
			tb.Fatal(err)
		}
	}
}

// checkRendering renders and fails on a panic, on too much output and on a hang.
func checkRendering(t *testing.T, tmpl *Template, vars Object) {
	t.Helper()
	start := time.Now()
	out, err := tmpl.Append([]byte("before"), vars)
	if took := time.Since(start); took > slow {
		t.Errorf("took %v", took)
	}
	var re *RenderError
	switch {
	case err == nil:
		if !strings.HasPrefix(string(out), "before") || len(out)-len("before") > tmpl.opt.Limits.Output {
			t.Errorf("output of %d bytes", len(out))
		}
	case !errors.As(err, &re) || re.Class == "panic" || string(out) != "before":
		t.Errorf("got %v, %d bytes", err, len(out))
	}
}

func FuzzParse(f *testing.F) {
	recorded(f, 20, func(in lineInput) { f.Add(*in.Template, true) })
	vars := fuzzVars()
	f.Fuzz(func(t *testing.T, src string, django bool) {
		opt := Options{Django: django, Autoescape: django, Limits: fuzzLimits}
		if c, err := ParseCondition(src, opt); err == nil {
			_ = c.Paths()
			var re *RenderError
			if _, err := c.Eval(vars); err != nil && (!errors.As(err, &re) || re.Class == "panic") {
				t.Errorf("condition: %v", err)
			}
		}
		start := time.Now()
		tmpl, err := Parse(src, opt)
		if took := time.Since(start); took > slow {
			t.Errorf("parsing took %v", took)
		}
		if err != nil {
			var se *SyntaxError
			if !errors.As(err, &se) || se.Line < 1 || se.Column < 1 {
				t.Errorf("got %v", err)
			}
			return
		}
		for _, p := range tmpl.Paths() {
			if p.Line < 1 || p.Column < 1 || len(p.Names) == 0 {
				t.Errorf("path %+v", p)
			}
		}
		checkRendering(t, tmpl, vars)
	})
}

func FuzzRender(f *testing.F) {
	var names []string
	for name := range filters {
		names = append(names, name)
	}
	sort.Strings(names)
	for i := range names {
		f.Add(uint8(i), uint8(3), "it's <b>é</b> http://a.com/ 12", "2")
		f.Add(uint8(i), uint8(9), `{"a":[1,"x",{"b":null}]}`, "a.b")
	}
	f.Fuzz(func(t *testing.T, filter, kind uint8, text, arg string) {
		name := names[int(filter)%len(names)]
		makers := []func(string) Value{IntText, FloatText, Decimal, String, Safe, Bytes, Timestamp, DateText, TimeText, JSON, BigInt, DateTimeText}
		vars := object{"x": makers[int(kind)%len(makers)](text), "arg": String(arg), "num": BigInt(arg), "list": JSON(arg)}
		for _, src := range []string{"{{ x|" + name + " }}", "{{ x|" + name + ":arg }}", "{{ x|" + name + ":num|length }}", "{{ x|" + name + ":list|json }}", "{% if x|" + name + " == arg or x in list %}{{ list|" + name + " }}{% endif %}"} {
			for _, django := range []bool{false, true} {
				tmpl, err := Parse(src, Options{Django: django, Autoescape: django, Limits: fuzzLimits})
				if err != nil {
					continue
				}
				checkRendering(t, tmpl, vars)
			}
		}
	})
}

func FuzzJSONLine(f *testing.F) {
	f.Add([]byte(`{"template":"{{ x }}","context":{"x":{"$decimal":"1.50"}}}`))
	f.Add([]byte(`{"condition":"x > 1","context":{"x":{"$duration":1e300}},"datetimes":"django","zone":"Europe/Berlin"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		out := RenderJSONLine(line, nil)
		var a answer
		if err := json.Unmarshal(out, &a); err != nil || (a.Output == nil) == (a.Class == "") || a.Class == "panic" {
			t.Errorf("%s: got %s, %v", line, out, err)
		}
	})
}
