package resolve

import (
	"slices"
	"strings"
	"testing"
)

func reserved(first string) bool { return first == "instance" || first == "event" }

func TestText(t *testing.T) {
	r := newResolver(t, map[string]Config{
		"myapp.utils.get_token": {Literal: "T0K"}, "b": {Literal: "{{ instance.name }}"}, "bound.x": {Literal: "B", Hosts: []string{"h"}},
	})
	tests := []struct {
		name, in, want string
		refs           []string
	}{
		{"plain", "application/json", "application/json", nil},
		{"empty", "", "", nil},
		{"one", "Bearer {{ myapp.utils.get_token }}", "Bearer T0K", []string{"myapp.utils.get_token"}},
		{"no spaces", "{{myapp.utils.get_token}}", "T0K", []string{"myapp.utils.get_token"}},
		{"tabs", "{{\tmyapp.utils.get_token\n}}", "T0K", []string{"myapp.utils.get_token"}},
		{"several", "{{ b }}-{{ myapp.utils.get_token }}-{{ b }}", "{{ instance.name }}-T0K-{{ instance.name }}", []string{"b", "myapp.utils.get_token"}},
		{"unclosed", "x {{ myapp.utils.get_token", "x {{ myapp.utils.get_token", nil},
		{"unclosed then closed", "{{ {{ b }}", "{{ {{ instance.name }}", []string{"b"}},
		{"half closed", "{{ b }", "{{ b }", nil},
		{"reserved", "{{ instance.name }} {{ event.id }}", "{{ instance.name }} {{ event.id }}", nil},
		{"filter", "{{ b|upper }}", "{{ b|upper }}", nil},
		{"not a path", "{{ a..b }} {{ 1a }} {{ a.b() }} {{}} {{ }}", "{{ a..b }} {{ 1a }} {{ a.b() }} {{}} {{ }}", nil},
		{"loop", "{% for t, u in instance.tags %}{{ t }}{{u}}{{ forloop.counter }}{{ b }}{% endfor %}", "{% for t, u in instance.tags %}{{ t }}{{u}}{{ forloop.counter }}{{ instance.name }}{% endfor %}", []string{"b"}},
		{"with", "{% with x=instance.a y=1 %}{{ x }}{{ y.z }}{% endwith %}{% now 'Y' as n %}{{ n }}", "{% with x=instance.a y=1 %}{{ x }}{{ y.z }}{% endwith %}{% now 'Y' as n %}{{ n }}", nil},
		{"bound", "{{ bound.x }}", "B", []string{"bound.x"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text, err := Parse(tt.in, reserved)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(text.Refs(), tt.refs) {
				t.Errorf("refs %q, want %q", text.Refs(), tt.refs)
			}
			got, err := text.Append(t.Context(), []byte("> "), r, "h")
			if err != nil || string(got) != "> "+tt.want {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
			// An engine that leaves everything as it is.
			filled, err := text.Fill(t.Context(), text.Template(), r, "h")
			if err != nil || filled != tt.want {
				t.Errorf("filled %q, %v, want %q", filled, err, tt.want)
			}
			if len(tt.refs) == 0 && text.Template() != tt.in {
				t.Errorf("template %q", text.Template())
			}
		})
	}
	if _, err := Parse("a\x00b", nil); err == nil {
		t.Error("a NUL was accepted")
	}
	if _, err := Parse(strings.Repeat("{{ a.b ", 100_000), nil); err != nil {
		t.Error(err)
	}
}

func TestFill(t *testing.T) {
	r := newResolver(t, map[string]Config{"tok": {Literal: "T0K"}, "bound": {Literal: "B0UND", Hosts: []string{"good"}}})
	text, err := Parse("{{ instance.name }} {{ tok }}", reserved)
	if err != nil {
		t.Fatal(err)
	}
	render := func(row string) string {
		return strings.ReplaceAll(text.Template(), "{{ instance.name }}", row)
	}
	tests := []struct {
		name, rendered, want, code string
	}{
		{"row", render("Ada"), "Ada T0K", ""},
		{"row with reference", render("{{ tok }}"), "{{ tok }} T0K", ""},
		{"the same twice", render("Ada") + render("Bob"), "Ada T0KBob T0K", ""},
		{"left out by a condition", "Ada", "Ada", ""},
		{"forged by name", render("\x00bound\x00"), "", CodeInvalid},
		{"forged with a guess", render("\x00AAAAAAAAAAAAAAAAAAAAAAAAAA\x00bound\x00AAAAAAAAAAAAAAAAAAAAAAAAAA\x00"), "", CodeInvalid},
		{"NUL of the row", render("A\x00da"), "", CodeInvalid},
		{"spoilt by a filter", strings.ToLower(render("Ada")), "", CodeInvalid},
		{"cut in two", render("Ada")[:len(render("Ada"))-3], "", CodeInvalid},
		{"name spoilt", strings.ReplaceAll(render("Ada"), "tok", "TOK"), "", CodeUnknown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := text.Fill(t.Context(), tt.rendered, r, "evil")
			checkError(t, err, tt.code)
			if got != tt.want {
				t.Fatalf("got %q, want %q", got, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "T0K") {
				t.Fatal(err)
			}
		})
	}
	bound, err := Parse("{{ instance.x }}{{ bound }}", reserved)
	if err != nil {
		t.Fatal(err)
	}
	_, err = bound.Fill(t.Context(), bound.Template(), r, "evil")
	checkError(t, err, CodeHost)
	// What was rendered before an edit is filled in after it.
	edited, err := Parse("{{ instance.name }}: {{ bound }}", reserved)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := edited.Fill(t.Context(), render("Ada"), r, "good"); err != nil || got != "Ada T0K" {
		t.Fatalf("got %q, %v", got, err)
	}
}

func FuzzFill(f *testing.F) {
	r, err := New(map[string]Config{"tok": {Literal: "T0K"}}, Env{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(r.Close)
	f.Add("{{ tok }}", "x")
	f.Add("{% for a in b %}{{ a }}", "\x00tok\x00")
	f.Fuzz(func(t *testing.T, source, row string) {
		text, err := Parse(source+"{{ instance.x }}", reserved)
		if err != nil {
			return
		}
		want, err := text.Append(t.Context(), nil, r, "")
		if err != nil {
			return
		}
		// Rendered in the row's place, the row stays as it is and brings no secret along.
		got, err := text.Fill(t.Context(), strings.Replace(text.Template(), "{{ instance.x }}", row, 1), r, "")
		if err == nil && got != strings.Replace(string(want), "{{ instance.x }}", row, 1) {
			t.Fatalf("got %q", got)
		}
	})
}
