package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	namedTest   = regexp.MustCompile("`([a-z0-9/]+)\\.(Test[A-Za-z0-9]+)`")
	namedScript = regexp.MustCompile("`(scripts/[a-z0-9-]+\\.sh)[^`]*`")
)

// TestReadmeNamesTests: each row of the table of what Django Action Triggers offers names
// what shows it, and that exists and is run.
func TestReadmeNamesTests(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	steps, err := os.ReadFile("../../scripts/test.sh")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(readme), "\n## Coming from Django Action Triggers\n")
	section, _, _ = strings.Cut(section, "\n## ")
	if !found {
		t.Fatal("the section is not there")
	}
	known := map[string]string{} // package -> its tests
	rows := 0
	for line := range strings.Lines(section) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 3 || strings.HasPrefix(cells[0], "---") || strings.TrimSpace(cells[2]) == "shown by" {
			continue
		}
		rows++
		tests, scripts := namedTest.FindAllStringSubmatch(cells[2], -1), namedScript.FindAllStringSubmatch(cells[2], -1)
		if len(tests)+len(scripts) == 0 {
			t.Errorf("nothing is named: %s", line)
		}
		for _, m := range tests {
			if !strings.Contains(testsOf(t, known, m[1]), "\n"+m[2]+"\n") {
				t.Errorf("there is no %s: %s", m[0], line)
			}
		}
		for _, m := range scripts {
			if _, err := os.Stat("../../" + m[1]); err != nil || !strings.Contains(string(steps), " "+m[1]) {
				t.Errorf("%s is not run by scripts/test.sh: %s", m[1], line)
			}
		}
	}
	if rows < 20 {
		t.Errorf("%d rows", rows)
	}
}

var testFunc = regexp.MustCompile(`(?m)^func (Test\w+)\(`)

// testsOf lists the tests of a package: pkg/NAME, or else cmd/NAME or NAME.
func testsOf(t *testing.T, known map[string]string, name string) string {
	t.Helper()
	if list, ok := known[name]; ok {
		return list
	}
	list := "\n"
	for _, parent := range []string{"pkg/", "cmd/", ""} {
		files, err := filepath.Glob("../../" + parent + name + "/*_test.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range testFunc.FindAllStringSubmatch(string(text), -1) {
				list += m[1] + "\n"
			}
		}
	}
	known[name] = list
	return list
}
