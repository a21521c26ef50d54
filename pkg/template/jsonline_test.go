package template

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestRenderJSONLine(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`{"template":"{{ x }} <b>","context":{"x":"O'Brien"}}`:                                                                                                                        `{"output":"O'Brien <b>"}`,
		`{"template":"{{ x }}","context":{"x":"<b>"},"autoescape":true}`:                                                                                                              `{"output":"&lt;b&gt;"}`,
		`{"template":"{{ x }}","context":{"x":{"$safe":"<b>"}},"autoescape":true}`:                                                                                                    `{"output":"<b>"}`,
		`{"template":"{{ x }} {{ y }}","context":{"y":{"$float":"0.1"},"x":{"$decimal":"1.50"}}}`:                                                                                     `{"output":"1.50 0.1"}`,
		`{"template":"{{ a }} {{ b }} {{ c }}","context":{"a":{"$datetime":"2024-03-09T21:00:00+02:00"},"b":{"$date":"2024-03-09"},"c":{"$time":"21:00:00"}}}`:                        `{"output":"2024-03-09T21:00:00+02:00 2024-03-09 21:00:00"}`,
		`{"template":"{{ a }}; {{ b }}; {{ c }}","context":{"a":{"$datetime":"2024-03-09T21:00:00+02:00"},"b":{"$date":"2024-03-09"},"c":{"$time":"21:00:00"}},"datetimes":"django"}`: `{"output":"March 9, 2024, 7 p.m.; March 9, 2024; 9 p.m."}`,
		`{"template":"{{ a }}","context":{"a":{"$datetime":"2024-07-09T21:00:00Z"}},"datetimes":"django","zone":"Europe/Berlin"}`:                                                     `{"output":"July 9, 2024, 11 p.m."}`,
		`{"template":"{{ d }} {{ d.seconds }}","context":{"d":{"$duration":90061.5}}}`:                                                                                                `{"output":"1 day, 1:01:01.500000 3661"}`,
		`{"template":"{{ x.a.b.0 }} {{ x.$a }}{{ x }}","context":{"x":{"a":{"b":[1]},"c":null}}}`:                                                                                     `{"error":"line 1, column 20: could not parse the remainder \"$a\" of \"x.$a\"","class":"syntax","line":1,"column":20}`,
		`{"template":"{{ x.a.b.0 }} {{ x }}","context":{"x":{"a":{"b":[1]},"c":null}}}`:                                                                                               `{"output":"1 {'a': {'b': [1]}, 'c': None}"}`,
		`{"template":"{{ x }}"}`:                                              `{"output":""}`,
		`{"template":"{{ x }}","context":null}`:                               `{"output":""}`,
		`{"template":"{{ x.y }}","string_if_invalid":"[%s]"}`:                 `{"output":"[x.y]"}`,
		`{"template":"{% now 'Y' %}","now":"1999-01-02T03:04:05Z"}`:           `{"output":"1999"}`,
		`{"condition":"x > 1 and 'a' in y","context":{"x":2,"y":["a"]}}`:      `{"output":"true"}`,
		`{"condition":"x","context":{}}`:                                      `{"output":"false"}`,
		`{"template":"{{ x|json }}","context":{"x":12345678901234567890123}}`: `{"output":"12345678901234567890123"}`,
		`{"template":"{{ x|divisibleby:0 }}","context":{"x":1}}`:              `{"error":"line 1, column 1: ZeroDivisionError: integer modulo by zero","class":"ZeroDivisionError","line":1,"column":1}`,
		`{"template":"{{ x|ljust:99999999 }}","context":{"x":1}}`:             `{"error":"line 1, column 1: value over 1048576 bytes","class":"Budget","line":1,"column":1}`,
		`{"template":"\n{% if %}"}`:                                           `{"error":"line 2, column 6: unexpected end of expression","class":"syntax","line":2,"column":6}`,
		`{"template":"x","context":[]}`:                                       `{"error":"read context: it must be an object","class":"input"}`,
		`{"template":"x","context":{"a":{"$nope":"x"}}}`:                      `{"error":"read context: unknown type $nope","class":"input"}`,
		`{"template":"x","context":{"a":{"$date":"yesterday"}}}`:              `{"error":"read context: $date: malformed value","class":"input"}`,
		`{"template":"x","context":{"a":{"$decimal":1}}}`:                     `{"error":"read context: $decimal: malformed value","class":"input"}`,
		`{"template":"x","datetimes":"iso"}`:                                  `{"error":"read line: datetimes must be rfc3339 or django, not \"iso\"","class":"input"}`,
		`{"context":{}}`:                                                      `{"error":"read line: either \"template\" or \"condition\" is needed","class":"input"}`,
	} {
		got := string(RenderJSONLine([]byte(in), []byte("> ")))
		if got != "> "+want {
			t.Errorf("%s:\n got %s\nwant %s", in, got, want)
		}
	}
	for _, in := range []string{"", "x", "[]", "null", `"x"`, `{"template":1}`, `{"template":"x"} {}`, `{"template":"x","zone":"Nowhere/Here"}`, `{"template":"x","now":"now"}`, `{"template":"x","context":` + strings.Repeat("[", 300) + strings.Repeat("]", 300) + `}`} {
		var a answer
		if err := json.Unmarshal(RenderJSONLine([]byte(in), nil), &a); err != nil || a.Class != "input" {
			t.Errorf("%.60s: got %+v, %v", in, a, err)
		}
	}
}

func TestOrderOfContextIsKept(t *testing.T) {
	t.Parallel()
	var keys []string
	for c := 'z'; c >= 'a'; c-- {
		keys = append(keys, `"`+string(c)+`":1`)
	}
	got := string(RenderJSONLine([]byte(`{"template":"{% for k in x %}{{ k }}{% endfor %}","context":{"x":{`+strings.Join(keys, ",")+`}}}`), nil))
	if got != `{"output":"zyxwvutsrqponmlkjihgfedcba"}` {
		t.Errorf("got %s", got)
	}
}
