package config

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"
)

// writtenAndRead is what becomes of a body as YAML.
func writtenAndRead(t *testing.T, body string) string {
	t.Helper()
	text, err := TriggerYAML([]byte(body))
	if err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	path := filepath.Join(t.TempDir(), "t.yaml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := ReadTriggers(path)
	if err != nil || len(got) != 1 {
		t.Fatalf("%s as\n%s%d triggers, %v", body, text, len(got), err)
	}
	return string(got[0].JSON)
}

func TestTriggerYAMLIsReadBack(t *testing.T) {
	for _, body := range []string{
		`{}`, `{"b":1,"a":[],"c":{},"d":null,"e":[{"x":[1,[2]]}]}`,
		`{"n":[0,-1,1.50,1e3,1E5,-0.0,1e300,123456789012345678901234567890]}`,
		`{"s":["","true","null","~","1","1.5","0x10","1_000","012","=","<<","yes","on","2024-01-02","2024-01-02T03:04:05Z","!x","&a","*a","# no","a: b","- a","{{ instance.name }}","{% if a %}","[1]","{\"a\": 1}","%","@","'","\"","\\"]}`,
		`{"s":["  lead","trail  ","two\nlines","end\n","\n\nstart","a\r\nb","tab\there","\t","nul\u0000","\u0085\u2028\ufeff","é😀","long x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x"]}`,
		`{"true":1,"null":2,"<<":3,"1":4,"":5,"a b: c":6,"~":7,"two\nlines":8,"2024-01-02":9}`,
	} {
		got := writtenAndRead(t, body)
		if !equalJSON(t, got, body) {
			t.Errorf("got  %s\nwant %s", got, body)
		}
	}
	if got, want := writtenAndRead(t, `{"z":1.50,"a":1E5,"m":"x"}`), `{"z":1.50,"a":1E5,"m":"x"}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, bad := range []string{``, `{`, `{"a":`, `[1,`, `x`} {
		if text, err := TriggerYAML([]byte(bad)); err == nil {
			t.Errorf("%q gave %q", bad, text)
		}
	}
}

func TestAnyTextIsReadBack(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[ \n\t'":{}#&*!|>%@,\[\]~=<a0.-]*`))
		body, err := json.Marshal(map[string]any{"k": rapid.MapOf(text, text).Draw(r, "object")})
		if err != nil {
			r.Fatal(err)
		}
		if got := writtenAndRead(t, string(body)); !equalJSON(t, got, string(body)) {
			r.Fatalf("got  %s\nwant %s", got, body)
		}
	})
}

func equalJSON(t *testing.T, a, b string) bool {
	t.Helper()
	var x, y any
	if err := json.Unmarshal([]byte(a), &x); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(b), &y); err != nil {
		t.Fatal(err)
	}
	m, _ := json.Marshal(x)
	n, _ := json.Marshal(y)
	return string(m) == string(n)
}
