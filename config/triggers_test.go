package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadTriggers(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       []string // the bodies, or part of the error
		fails      bool
	}{
		{
			"list", "- name: a\n  active: True\n  webhooks: [{url: 'https://x', timeout_secs: 2.50}]\n  payload: {z: \"{{ instance.id }}\", a: <b>, when: 2024-01-02, none: ~}\n- {name: b}\n",
			[]string{`{"name":"a","active":true,"webhooks":[{"url":"https://x","timeout_secs":2.50}],"payload":{"z":"{{ instance.id }}","a":"<b>","when":"2024-01-02","none":null}}`, `{"name":"b"}`},
			false,
		},
		{"one", "name: a\npayload: |\n  line\n", []string{`{"name":"a","payload":"line\n"}`}, false},
		{"JSON", `[{"name":"a","payload":{"b":1e3}}]`, []string{`{"name":"a","payload":{"b":1e3}}`}, false},
		{"empty", "# nothing\n", nil, false},
		{"empty list", "[]", nil, false},
		{"text", "hello", []string{"t.yaml:1: a trigger, or a list of triggers, is expected"}, true},
		{"list of texts", "- a\n- b\n", []string{"t.yaml:2: a trigger, or"}, true},
		{"duplicate", "- name: a\n  name: b\n", []string{"t.yaml:2: name: the key is given twice"}, true},
		{"alias", "- &a {name: a}\n- *a\n", []string{"t.yaml:2: anchors and aliases"}, true},
		{"hexadecimal", "- payload: {a: 0x10, b: .inf}\n", []string{`"0x10" is a number that JSON cannot write`, `".inf" is a number`}, true},
		{"binary", "- payload: !!binary aGk=\n", []string{"binary values"}, true},
		{"no YAML", "a: [", []string{"t.yaml:1: not proper YAML"}, true},
		{"two documents", "{}\n---\n{}\n", []string{"more than one document"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "t.yaml")
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := ReadTriggers(path)
			if (err != nil) != c.fails {
				t.Fatalf("got %v", err)
			}
			for i, want := range c.want {
				if c.fails {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("got %v, want %s", err, want)
					}
				} else if string(got[i].JSON) != want || got[i].Line == 0 || got[i].File != path {
					t.Errorf("got  %s\nwant %s", got[i].JSON, want)
				}
			}
			if !c.fails && len(got) != len(c.want) {
				t.Errorf("%d triggers", len(got))
			}
		})
	}
	if _, err := ReadTriggers(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there is read")
	}
}
