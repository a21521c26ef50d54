package django

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// refusedSuffix keeps the daemon from reading a trigger that is not right yet.
const refusedSuffix = ".refused"

// Files writes triggers for the configuration's triggers to read.
type Files struct {
	YAML  func(body []byte) ([]byte, error)
	Force bool // files that say something else are overwritten
}

// file is one to be written.
type file struct {
	path string
	text []byte
}

// Folder writes each trigger into a file of its own, which only the user may read: rows
// of the package may hold secrets. Refused ones go where the daemon does not look. Either
// all are written, or none because some are there and say something else.
func (f Files) Folder(dir string, triggers []Trigger) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write triggers: %w", err)
	}
	var files []file
	var taken []string
	for i := range triggers {
		text, err := f.text(&triggers[i])
		if err != nil {
			return err
		}
		path := filepath.Join(dir, fileName(triggers[i].Name)+".yaml")
		if triggers[i].Refused() {
			path += refusedSuffix
		}
		switch was, err := os.ReadFile(path); {
		case err == nil && !bytes.Equal(was, text):
			taken = append(taken, path)
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("write triggers: %w", err)
		}
		files = append(files, file{path, text})
	}
	if len(taken) > 0 && !f.Force {
		return fmt.Errorf("write triggers: %s say something else than what was imported now, so nothing is written; --force overwrites", strings.Join(taken, ", "))
	}
	for _, o := range files {
		if err := o.write(); err != nil {
			return fmt.Errorf("write triggers: %w", err)
		}
	}
	return nil
}

// write puts the file in its place as a whole, and takes away the one from before of a
// trigger that was refused then, or is now.
func (o file) write() error {
	part := o.path + ".new"
	if err := os.WriteFile(part, o.text, 0o600); err != nil {
		return err
	}
	if err := os.Rename(part, o.path); err != nil {
		return err
	}
	other, refused := strings.CutSuffix(o.path, refusedSuffix)
	if !refused {
		other = o.path + refusedSuffix
	}
	if err := os.Remove(other); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// fileName makes a name fit for a file.
func fileName(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '/' || r == '\\' || r == ':' || r < ' ' {
			return '_'
		}
		return r
	}, strings.TrimLeft(name, "."))
}

// text is a trigger as YAML, below why it is refused. What else there is to be said may
// change with the configuration, and would make of the same trigger another file.
func (f Files) text(t *Trigger) ([]byte, error) {
	var b bytes.Buffer
	for _, o := range t.Findings {
		if o.Refused {
			fmt.Fprintf(&b, "# %s\n", o)
		}
	}
	text, err := f.YAML(t.Body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.Name, err)
	}
	b.Write(text)
	return b.Bytes(), nil
}

// Stream writes all triggers as one list; refused ones are commented out.
func (f Files) Stream(w io.Writer, triggers []Trigger) error {
	var b bytes.Buffer
	if !slices.ContainsFunc(triggers, func(t Trigger) bool { return !t.Refused() }) {
		b.WriteString("[]\n")
	}
	for i := range triggers {
		text, err := f.text(&triggers[i])
		if err != nil {
			return err
		}
		lead, rest := "- ", "  "
		if triggers[i].Refused() {
			lead, rest = "# - ", "#   "
		}
		for line := range strings.Lines(string(text)) {
			if line[0] == '#' || line == "\n" {
				b.WriteString(line)
				continue
			}
			b.WriteString(lead + line)
			lead = rest
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

// String gives the finding in one line.
func (f Finding) String() string {
	text := strings.ReplaceAll(f.Text, "\n", " ")
	if f.At != "" {
		text = f.At + ": " + text
	}
	if f.Refused {
		text = "refused: " + text
	}
	return text
}
