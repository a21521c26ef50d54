package signal

import (
	"strings"
	"testing"

	"github.com/waltrigger/waltrigger/pkg/change"
)

func TestOf(t *testing.T) {
	for op, want := range map[change.Op]string{
		change.Insert: "pre_save post_save", change.Update: "pre_save post_save", change.Read: "pre_save post_save",
		change.Delete: "pre_delete post_delete", change.Truncate: "truncate", change.Commit: "", 0: "",
	} {
		var got []string
		for k := range Kinds {
			if Of(op).Has(k) {
				got = append(got, k.String())
			}
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s raises %q, want %q", op, s, want)
		}
	}
}

func TestParse(t *testing.T) {
	for k := range Kinds {
		if got, err := Parse(k.String()); err != nil || got != k {
			t.Errorf("%s: %v, %v", k, got, err)
		}
	}
	for _, name := range []string{"", "POST_SAVE", "post_save ", "postsave", "m2m_changed"} {
		if _, err := Parse(name); err == nil || !strings.Contains(err.Error(), "pre_save, post_save, pre_delete, post_delete, truncate") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestSet(t *testing.T) {
	s := Set(0).Add(PostSave).Add(Truncate).Add(PostSave)
	if !s.Has(PostSave) || !s.Has(Truncate) || s.Has(PreSave) {
		t.Errorf("set %b", s)
	}
	if both := s.Intersect(Of(change.Insert)); both != Set(0).Add(PostSave) {
		t.Errorf("intersection %b", both)
	}
}

func TestContentType(t *testing.T) {
	if s := (ContentType{Source: "shop", AppLabel: "myapp", ModelName: "Sale"}).String(); s != "myapp.Sale" {
		t.Error(s)
	}
}

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{{"a.*", "a.b", true}, {"a.*", "ab", false}, {"*", "", true}, {"*.b", "a.b", true}, {"a*c*e", "abcde", true}, {"a*c*e", "abcd", false}, {"", "a", false}, {"a", "a", true}} {
		if got := Glob(c.pattern, c.s); got != c.want {
			t.Errorf("Glob(%q, %q) = %v", c.pattern, c.s, got)
		}
	}
}
