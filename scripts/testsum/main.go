// Command testsum reads `go test -json` on its standard input and prints what a person
// wants to see: one line a package, the output of what failed, and what was skipped. It
// exits with 1 if a test failed, and also if one was skipped while
// WALTRIGGER_TEST_REQUIRED=1: a test that does not run proves nothing.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
)

// event is one line of test2json.
type event struct {
	Action, Package, ImportPath, Test, Output string
	Elapsed                                   float64
}

// summary is what the events add up to.
type summary struct {
	passed, failed, skipped int
	failedIn                map[string]bool // packages with a failed test
	required, figures       bool
	out                     map[string][]string // output of each test still of interest
	w                       io.Writer
}

func main() {
	totals := flag.String("totals", "", "write `passed failed` to this file")
	figures := flag.Bool("figures", false, "print what passing tests log")
	flag.Parse()
	s := &summary{figures: *figures, required: os.Getenv("WALTRIGGER_TEST_REQUIRED") == "1", out: map[string][]string{}, failedIn: map[string]bool{}, w: os.Stdout}
	if err := s.read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "testsum:", err)
		os.Exit(1)
	}
	if *totals != "" {
		if err := os.WriteFile(*totals, fmt.Appendf(nil, "%d %d\n", s.passed, s.bad()), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, "testsum:", err)
			os.Exit(1)
		}
	}
	if s.bad() > 0 {
		os.Exit(1)
	}
}

// bad counts what makes the run fail.
func (s *summary) bad() int {
	if s.required {
		return s.failed + s.skipped
	}
	return s.failed
}

func (s *summary) read(r io.Reader) error {
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 16<<20)
	for sc.Scan() {
		var e event
		if err := json.Unmarshal(sc.Bytes(), &e); err != nil {
			fmt.Fprintln(s.w, sc.Text()) // not from test2json: the go command's own words
			continue
		}
		s.add(e)
	}
	return sc.Err()
}

func (s *summary) add(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		if e.Test == "" && strings.Contains(e.Output, "[no test files]") {
			return
		}
		s.out[key] = append(s.out[key], e.Output)
	case "build-output":
		fmt.Fprint(s.w, e.Output)
	case "pass", "fail", "skip":
		s.end(key, e)
	}
}

var logged = regexp.MustCompile(`^ +\w+_test\.go:\d+: (.*\n)`)

// print prints what a test logged, without where.
func (s *summary) print(e event, lines []string) {
	for _, l := range lines {
		if m := logged.FindStringSubmatch(l); m != nil {
			fmt.Fprintf(s.w, "%s: %s", e.Test, m[1])
		}
	}
}

// end handles the last event of a test, or of a package if it names none.
func (s *summary) end(key string, e event) {
	lines := s.out[key]
	delete(s.out, key)
	show := false
	switch {
	case e.Test != "" && e.Action == "pass":
		s.passed++
		if s.figures {
			s.print(e, lines)
		}
	case e.Test != "" && e.Action == "fail":
		s.failed++
		s.failedIn[e.Package] = true
		show = true
	case e.Test != "" && e.Action == "skip":
		s.skipped++
		show = true
	case e.Action == "fail":
		// A package that fails without a failing test: it does not build, or it
		// panicked, or ran out of time.
		if !s.failedIn[e.Package] {
			s.failed++
		}
		show = true
	case e.Action == "pass":
		fmt.Fprintf(s.w, "ok  \t%s\t%.3fs\n", e.Package, e.Elapsed)
	}
	if show {
		for _, l := range lines {
			fmt.Fprint(s.w, l)
		}
		what := strings.ToUpper(e.Action)
		fmt.Fprintf(s.w, "%s\t%s\t%.3fs\n", what, strings.TrimSpace(key), e.Elapsed)
	}
}
