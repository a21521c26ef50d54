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
			sealed, err := text.Seal(text.Template())
			if err != nil {
				t.Fatal(err)
			}
			filled, err := Fill(t.Context(), sealed, r, "h")
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
	plain, err := Parse("{{ instance.name }}", reserved)
	if err != nil {
		t.Fatal(err)
	}
	render := func(row string) string {
		return strings.ReplaceAll(text.Template(), "{{ instance.name }}", row)
	}
	tests := []struct {
		name     string
		text     *Text
		rendered string
		want     string
		code     string // of Fill; "seal" = of Seal
	}{
		{"row", text, render("Ada"), "Ada T0K", ""},
		{"row with reference", text, render("{{ tok }}"), "{{ tok }} T0K", ""},
		{"the same twice", text, render("Ada") + render("Bob"), "Ada T0KBob T0K", ""},
		{"left out by a condition", text, "Ada", "Ada", ""},
		{"forged by name", text, render("\x00bound\x00"), "", "seal"},
		{"forged with a guess", text, render("\x00AAAAAAAAAAAAAAAAAAAAAAAAAA\x00bound\x00AAAAAAAAAAAAAAAAAAAAAAAAAA\x00"), "", "seal"},
		{"NUL of the row", text, render("A\x00da"), "", "seal"},
		{"spoilt by a filter", text, strings.ToLower(render("Ada")), "", "seal"},
		{"cut in two", text, render("Ada")[:len(render("Ada"))-3], "", "seal"},
		{"name spoilt", text, strings.ReplaceAll(render("Ada"), "tok", "TOK"), "", CodeUnknown},
		{"no reference", plain, "Ada", "Ada", ""},
		{"no reference, forged", plain, "\x00bound\x00", "\x00bound\x00", ""},
		{"no reference, forged with more", plain, "\x00\x00bound\x00\x00\x00tok\x00", "\x00\x00bound\x00\x00\x00tok\x00", ""},
		{"no reference, forged with the mark", plain, mark + "tok" + mark, mark + "tok" + mark, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sealed, err := tt.text.Seal(tt.rendered)
			if tt.code == "seal" {
				if err == nil || sealed != "" {
					t.Fatalf("sealed %q, want an error", sealed)
				}
				return
			}
			if err != nil || tt.text == text && strings.Contains(sealed, mark) {
				t.Fatalf("sealed %q, %v", sealed, err)
			}
			got, err := Fill(t.Context(), sealed, r, "evil")
			checkError(t, err, tt.code)
			if got != tt.want {
				t.Fatalf("got %q, want %q", got, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "T0K") {
				t.Fatal(err)
			}
		})
	}
	// What is kept holds nothing of this process, and is bound as ever.
	_, err = Fill(t.Context(), "\x00bound\x00", r, "evil")
	checkError(t, err, CodeHost)
	if got, err := Fill(t.Context(), "a \x00bound\x00\x00\x00", r, "good"); err != nil || got != "a B0UND\x00" {
		t.Fatalf("got %q, %v", got, err)
	}
	for _, damaged := range []string{"\x00", "a\x00tok", "\x00\x00\x00", "\x00tok\x00\x00"} {
		_, err := Fill(t.Context(), damaged, r, "good")
		checkError(t, err, CodeInvalid)
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
	f.Add("", "\x00tok\x00")
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
		sealed, err := text.Seal(strings.Replace(text.Template(), "{{ instance.x }}", row, 1))
		if err != nil {
			return
		}
		got, err := Fill(t.Context(), sealed, r, "")
		if err != nil || got != strings.Replace(string(want), "{{ instance.x }}", row, 1) {
			t.Fatalf("got %q, %v", got, err)
		}
	})
}
