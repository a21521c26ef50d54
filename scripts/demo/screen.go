package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
)

// screen prints blocks of lines, one block at a time. Any goroutine.
type screen struct {
	mu     sync.Mutex
	w      io.Writer
	colour bool
}

func newScreen(f *os.File) *screen {
	st, err := f.Stat()
	tty := err == nil && st.Mode()&os.ModeCharDevice != 0
	return &screen{w: f, colour: tty && os.Getenv("NO_COLOR") == ""}
}

func (s *screen) paint(code, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s *screen) title(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintln(s.w, "\n"+s.paint("1", "== "+text))
}

func (s *screen) text(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintln(s.w, line)
}

// sql shows what is about to be executed.
func (s *screen) sql(title string, statements []string) {
	s.title(title)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, q := range statements {
		fmt.Fprintln(s.w, s.paint("36", "  sql> "+q+";"))
	}
}

// request shows a request or message: its first line, then the body, indented if it
// is JSON.
func (s *screen) request(head string, headers []string, body []byte) {
	var b bytes.Buffer
	if json.Indent(&b, body, "       ", "  ") != nil {
		b.Reset()
		b.Write(body)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintln(s.w, s.paint("32", "   -> "+head))
	if len(headers) > 0 {
		fmt.Fprintln(s.w, "       "+strings.Join(headers, "  "))
	}
	fmt.Fprintln(s.w, "       "+b.String())
}
