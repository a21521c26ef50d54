package django

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// plainYAML stands for the YAML of a body.
func plainYAML(body []byte) ([]byte, error) {
	if string(body) == "!" {
		return nil, errors.New("no YAML")
	}
	return []byte("body: |\n  # " + string(body) + "\n\n  end\n"), nil
}

func two(first, second string) []Trigger {
	return []Trigger{
		{ID: 1, Name: "a/1", Body: []byte(first), Findings: []Finding{{At: "/x", Text: "two\nlines"}}},
		{ID: 2, Name: "..b", Body: []byte(second), Findings: []Finding{{Text: "wrong", Refused: true}}},
	}
}

// listed are the files of a folder with what they hold.
func listed(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", e.Name(), info.Mode(), err)
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e.Name()+"="+string(b))
	}
	return strings.Join(out, "|")
}

func TestFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "triggers")
	f := Files{YAML: plainYAML}
	if err := f.Folder(dir, two("A", "B")); err != nil {
		t.Fatal(err)
	}
	first := "a_1.yaml=body: |\n  # A\n\n  end\n|b.yaml.refused=# refused: wrong\nbody: |\n  # B\n\n  end\n"
	if got := listed(t, dir); got != first {
		t.Errorf("got %q", got)
	}
	if err := f.Folder(dir, two("A", "B")); err != nil {
		t.Errorf("the same again: %v", err)
	}
	// One file says something else: none is written.
	if err := f.Folder(dir, two("A", "C")); err == nil || !strings.Contains(err.Error(), "b.yaml.refused say something else") || strings.Contains(err.Error(), "a_1") {
		t.Errorf("%v", err)
	}
	if got := listed(t, dir); got != first {
		t.Errorf("got %q", got)
	}
	// Mended, a refused trigger takes the place of its other file, and the other way round.
	mended := two("A", "D")
	mended[1].Findings, mended[0].Findings[0].Refused = nil, true
	f.Force = true
	if err := f.Folder(dir, mended); err != nil {
		t.Fatal(err)
	}
	if got := listed(t, dir); got != "a_1.yaml.refused=# refused: /x: two lines\nbody: |\n  # A\n\n  end\n|b.yaml=body: |\n  # D\n\n  end\n" {
		t.Errorf("got %q", got)
	}
	if err := f.Folder(dir, two("!", "B")); err == nil {
		t.Error("what is no YAML is written")
	}
	if err := os.Mkdir(filepath.Join(dir, "a_1.yaml"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := f.Folder(dir, two("A", "B")); err == nil {
		t.Error("a folder is read as a file")
	}
	if err := f.Folder(filepath.Join(dir, "b.yaml"), two("A", "B")); err == nil {
		t.Error("a file is taken for a folder")
	}
}

func TestStream(t *testing.T) {
	var b bytes.Buffer
	f := Files{YAML: plainYAML}
	if err := f.Stream(&b, two("A", "B")); err != nil {
		t.Fatal(err)
	}
	want := "- body: |\n    # A\n\n    end\n# refused: wrong\n# - body: |\n#     # B\n\n#     end\n"
	if got := b.String(); got != want {
		t.Errorf("got %q", got)
	}
	b.Reset()
	if err := f.Stream(&b, two("A", "B")[1:]); err != nil || !strings.HasPrefix(b.String(), "[]\n# refused") {
		t.Errorf("only a refused one: %q, %v", b.String(), err)
	}
	if err := f.Stream(&b, two("!", "B")); err == nil {
		t.Error("what is no YAML is written")
	}
}

func TestAnswersOfTheDaemon(t *testing.T) {
	for _, c := range []struct {
		status       int
		answer, want string
		fails        bool
	}{
		{200, "", "", false},
		{202, "{}", "", false},
		{422, `{"detail":"no","errors":[{"pointer":"/a","code":"x","detail":"A"},{"pointer":"/b","detail":"B"}]}`, "refused: /a: A|refused: /b: B", false},
		{409, `{"detail":"kept in a file"}`, "refused: kept in a file", false},
		{401, `{"detail":"send a token"}`, "apply django-1: the daemon answers 401 send a token", true},
		{503, "<html>", "apply django-1: the daemon answers 503 ", true},
		{302, "", "apply django-1: the daemon answers 302 ", true},
		{422, "<html>", "apply django-1: the answer is not that of a waltrigger", true},
	} {
		var sent string
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			sent += fmt.Sprint(r.Method, " ", r.URL.EscapedPath(), " ", r.Header.Get("Authorization"), " ", r.Header.Get("Content-Type"))
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(c.status)
			fmt.Fprint(w, c.answer)
		}))
		triggers := []Trigger{{Name: "django-1", Body: []byte("{}")}, {Name: "x/?", Findings: []Finding{{Text: "bad", Refused: true}}}}
		var report bytes.Buffer
		out := Output{Daemon: &Daemon{URL: server.URL + "/", Token: "t"}, Report: &report}
		human, err := out.Write(context.Background(), triggers, newNeeds())
		server.Close()
		var said []string
		for _, f := range triggers[0].Findings {
			said = append(said, f.String())
		}
		got := strings.Join(said, "|")
		if err != nil {
			got = err.Error()
		}
		if got != c.want || (err != nil) != c.fails || !human {
			t.Errorf("%d: %s, want %s", c.status, got, c.want)
		}
		if sent != "PUT /api/action-triggers/by-name/django-1 Bearer t application/json" {
			t.Errorf("%d: sent %s", c.status, sent)
		}
		if !strings.Contains(report.String(), "x/?: refused: bad\n") || strings.Contains(report.String(), "imported") == c.fails {
			t.Errorf("%d: reported %s", c.status, &report)
		}
	}
	d := Daemon{URL: "http://127.0.0.1:1"}
	if err := d.Apply(context.Background(), &Trigger{Name: "a"}); err == nil {
		t.Error("nobody is there, and answers")
	}
	if err := (Daemon{URL: "::"}).Apply(context.Background(), &Trigger{Name: "a"}); err == nil {
		t.Error("what is no URL answers")
	}
}

func TestNothingLeftToDo(t *testing.T) {
	var out, report bytes.Buffer
	o := Output{Files: Files{YAML: plainYAML}, Stdout: &out, Report: &report, Source: "shop"}
	human, err := o.Write(context.Background(), []Trigger{{Name: "a", Body: []byte("A")}}, newNeeds())
	if human || err != nil || report.String() != "1 triggers imported, 0 refused\n" || out.Len() == 0 {
		t.Errorf("%v, %v: %s", human, err, &report)
	}
	needs := newNeeds()
	needs.value("a.b", "")
	human, err = o.Write(context.Background(), nil, needs)
	if !human || err != nil || !strings.Contains(report.String(), "dynamic_values:\n  a.b: {env: A_B}\n") {
		t.Errorf("%v, %v: %s", human, err, &report)
	}
	o.Folder = "/dev/null/x"
	if _, err := o.Write(context.Background(), nil, needs); err == nil {
		t.Error("written into nothing")
	}
}
