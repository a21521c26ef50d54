package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// imports says which packages of this module each one may import. The way is one: what
// a stage needs of another comes through an argument.
var imports = map[string][]string{
	"cmd/waltrigger": {"config", "pkg/daemon", "pkg/django", "pkg/template"},
	"config":         {"pkg/related", "pkg/source", "pkg/source/mysql", "pkg/source/postgres", "pkg/payload", "pkg/deliver", "pkg/pipeline", "pkg/store", "pkg/api", "pkg/sink", "pkg/sink/all", "pkg/resolve", "pkg/egress", "pkg/trigger"},
	"pkg/api":        {"pkg/trigger", "pkg/sink", "pkg/signal"},
	"pkg/backfill":   {"pkg/source"},
	"pkg/change":     {},
	"pkg/deliver":    {"pkg/failpoint", "pkg/sink", "pkg/resolve"},
	"pkg/django":     {"pkg/change", "pkg/payload", "pkg/source", "pkg/template", "pkg/trigger"},
	"pkg/egress":     {},
	"pkg/failpoint":  {},
	"pkg/payload":    {"pkg/signal", "pkg/template", "pkg/change"},
	"pkg/pipeline":   {"pkg/failpoint", "pkg/related", "pkg/source", "pkg/signal", "pkg/trigger", "pkg/deliver", "pkg/payload", "pkg/change"},
	"pkg/related":    {"pkg/source", "pkg/payload", "pkg/change"},
	"pkg/resolve":    {},
	"pkg/signal":     {"pkg/change"},
	"pkg/sink":       {},
	"pkg/sink/all":   {"pkg/sink", "pkg/sink/*"},
	"pkg/sink/*":     {"pkg/sink", "pkg/sink/conns", "pkg/sink/details", "pkg/sink/aws"},
	"pkg/source":     {"pkg/change"},
	"pkg/source/*":   {"pkg/failpoint", "pkg/source", "pkg/change"},
	"pkg/store":      {"pkg/backfill", "pkg/failpoint", "pkg/trigger", "pkg/change", "pkg/signal", "pkg/source", "pkg/deliver", "pkg/sink"},
	"pkg/template":   {},
	"pkg/trigger":    {"pkg/signal", "pkg/payload", "pkg/change", "pkg/template", "pkg/sink", "pkg/resolve"},
}

// TestImportsPointOneWay checks the real imports against the list above; pkg/daemon
// alone may import all.
func TestImportsPointOneWay(t *testing.T) {
	const module = "github.com/waltrigger/waltrigger/"
	out, err := exec.Command("go", "list", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", module+"cmd/...", module+"config/...", module+"pkg/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		from := strings.TrimPrefix(words[0], module)
		if from == "pkg/daemon" || strings.HasSuffix(from, "test") {
			continue
		}
		allowed, ok := imports[from]
		for _, parent := range []string{"pkg/sink/", "pkg/source/"} {
			if !ok && strings.HasPrefix(from, parent) {
				allowed, ok = imports[parent+"*"], true
			}
		}
		if !ok {
			t.Errorf("%s is not in the list of packages", from)
		}
		for _, to := range words[1:] {
			to, ours := strings.CutPrefix(to, module)
			wild := to[:strings.LastIndex(to, "/")+1] + "*"
			if ours && !slices.Contains(allowed, to) && !slices.Contains(allowed, wild) {
				t.Errorf("%s must not import %s", from, to)
			}
		}
	}
}
