package template

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// leastCases is how many recorded cases there must be for the test to mean anything.
const leastCases = 2000

// TestDjango renders every recorded case and wants what Django 5.2 made of it, errors
// included. scripts/golden.sh records them.
func TestDjango(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../testdata/template/*.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".jsonl")
		t.Run(name, func(t *testing.T) { total += conform(t, file) })
	}
	if total < leastCases {
		t.Errorf("%d cases, want at least %d", total, leastCases)
	}
}

// answer is what RenderJSONLine gives, and what a recorded case wants.
type answer struct {
	Output *string `json:"output"`
	Class  string  `json:"class"`
}

func (a answer) String() string {
	if a.Output == nil {
		return "error " + a.Class
	}
	return "output " + *a.Output
}

func conform(t *testing.T, file string) int {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	n := 0
	for ; lines.Scan(); n++ {
		var want, got answer
		if err := json.Unmarshal(lines.Bytes(), &want); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(RenderJSONLine(lines.Bytes(), nil), &got); err != nil {
			t.Fatal(err)
		}
		if got.String() != want.String() {
			t.Errorf("%s\nDjango: %s\nours:   %s", lines.Text(), want, got)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return n
}
