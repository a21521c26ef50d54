package change

import (
	"encoding/json"
	"testing"
	"unicode/utf8"
)

func TestAppendJSON(t *testing.T) {
	for _, c := range []struct {
		name string
		v    Value
		want string
	}{
		{"null", Value{Kind: Null}, `null`},
		{"bool", Value{Bool, "true"}, `true`},
		{"int beyond float64", Value{Int, "9223372036854775807"}, `9223372036854775807`},
		{"decimal keeps its scale", Value{Decimal, "1.50"}, `"1.50"`},
		{"float", Value{Float, "1e+308"}, `1e+308`},
		{"not a number", Value{Float, "NaN"}, `"NaN"`},
		{"minus infinity", Value{Float, "-Infinity"}, `"-Infinity"`},
		{"text", Value{String, `O'Brien <b> & "q" \ ` + "\u2028 é \n\t\r\x01"}, `"O'Brien <b> & \"q\" \\ ` + "\u2028" + ` é \n\t\r\u0001"`},
		{"invalid UTF-8", Value{String, "a\xffb"}, "\"a\ufffdb\""},
		{"bytes", Value{Bytes, "\x00\xff"}, `"AP8="`},
		{"json untouched", Value{JSON, `{"a": 1,  "a":2}`}, `{"a": 1,  "a":2}`},
		{"array", Value{Array, `[1,null]`}, `[1,null]`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := string(c.v.AppendJSON(nil)); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func FuzzAppendString(f *testing.F) {
	f.Add("a\"b\\c\n\x00\xff\u2028")
	f.Fuzz(func(t *testing.T, s string) {
		var back string
		out := AppendString(nil, s)
		if err := json.Unmarshal(out, &back); err != nil {
			t.Fatalf("%q: %v", out, err)
		}
		if utf8.ValidString(s) && back != s {
			t.Fatalf("%q came back as %q", s, back)
		}
	})
}

func TestLookup(t *testing.T) {
	tab := NewTable("public", "t", []Column{{Name: "id"}, {Name: "Name"}, {Name: "x"}, {Name: "aB"}, {Name: "Ab"}}, []int{0}, true, IdentityDefault)
	for name, want := range map[string]int{"id": 0, "ID": 0, "Name": 1, "name": 1, "NAME": 1, "X": 2, "aB": 3, "Ab": 4, "ab": -1, "AB": -1, "": -1, "y": -1} {
		if got := tab.Lookup(name); got != want {
			t.Errorf("Lookup(%q) = %d, want %d", name, got, want)
		}
	}
}

func TestNames(t *testing.T) {
	for op, want := range map[Op]string{Insert: "insert", Update: "update", Delete: "delete", Truncate: "truncate", Read: "read", Commit: "commit", 0: "unknown"} {
		if op.String() != want {
			t.Errorf("%d is %s, want %s", op, op, want)
		}
	}
	for image, want := range map[Image]string{ImageNone: "none", ImageKeyOnly: "key_only", ImageFull: "full"} {
		if image.String() != want {
			t.Errorf("%d is %s, want %s", image, image, want)
		}
	}
}

func TestRow(t *testing.T) {
	before, after := []Value{{Int, "1"}}, []Value{{Int, "2"}}
	for _, c := range []struct {
		c    Change
		want []Value
	}{{Change{Op: Insert, After: after}, after}, {Change{Op: Update, Before: before, After: after}, after}, {Change{Op: Delete, Before: before}, before}, {Change{Op: Truncate}, nil}} {
		if got := c.c.Row(); len(got) != len(c.want) || len(got) > 0 && got[0] != c.want[0] {
			t.Errorf("%s: %v, want %v", c.c.Op, got, c.want)
		}
	}
}
