package config

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// loader brings one file into a Config and remembers where everything stands.
type loader struct {
	file     string
	env      map[string]string
	errs     Errors
	warnings []string
	files    []string
	origin   map[*yaml.Node]string // environment variable that set a node
	expanded map[*yaml.Node]bool   // its text may be a secret: not to be repeated
	places   map[string]*yaml.Node // by path
}

// fail notes what is wrong with a node.
func (l *loader) fail(n *yaml.Node, path, format string, args ...any) {
	e := Error{Origin: l.file, Path: path, Text: fmt.Sprintf(format, args...)}
	if n != nil {
		e.Line = n.Line
		if name := l.origin[n]; name != "" {
			e.Origin, e.Line = name, 0
		}
	}
	l.errs = append(l.errs, e)
}

// at notes what is wrong at a path, or at the nearest that the file has.
func (l *loader) at(path, format string, args ...any) {
	near := path
	for l.places[near] == nil && near != "" {
		near = near[:max(strings.LastIndexAny(near, ".["), 0)]
	}
	l.fail(l.places[near], path, format, args...)
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

func (l *loader) reset() {
	l.origin, l.expanded, l.places = map[*yaml.Node]string{}, map[*yaml.Node]bool{}, map[string]*yaml.Node{}
}

// nodes parses the configuration; nil if it is no YAML mapping.
func (l *loader) nodes(data []byte) *yaml.Node {
	l.reset()
	root := l.document(data)
	switch {
	case root == nil:
		return nil
	case isNull(root):
		return &yaml.Node{Kind: yaml.MappingNode}
	case root.Kind != yaml.MappingNode:
		l.fail(root, "", "the file is no mapping of settings")
		return nil
	}
	l.plain(root, "")
	return root
}

// document parses the one document of a file; nil if there is none that is proper.
func (l *loader) document(data []byte) *yaml.Node {
	d := yaml.NewDecoder(strings.NewReader(string(data)))
	var doc, second yaml.Node
	err := d.Decode(&doc)
	if err == nil {
		if err2 := d.Decode(&second); err2 != io.EOF { //nolint:errorlint // the decoder returns it bare
			l.fail(&second, "", "the file has more than one document")
			return nil
		}
	}
	if err == io.EOF { //nolint:errorlint // the decoder returns it bare
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}
	}
	if err != nil {
		e := Error{Origin: l.file}
		if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
			e.Line, _ = strconv.Atoi(m[1])
			e.Text = "not proper YAML: " + err.Error()[len(m[0]):]
		}
		l.errs = append(l.errs, e)
		return nil
	}
	return doc.Content[0]
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// plain refuses what makes one text stand for another, or one key twice.
func (l *loader) plain(n *yaml.Node, path string) {
	if n.Anchor != "" || n.Kind == yaml.AliasNode {
		l.fail(n, path, "anchors and aliases are not allowed: write the value out")
		return
	}
	switch n.Kind {
	case yaml.SequenceNode:
		for i, item := range n.Content {
			l.plain(item, fmt.Sprintf("%s[%d]", path, i))
		}
	case yaml.MappingNode:
		seen := map[string]int{}
		for i := 0; i < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			at := join(path, key.Value)
			switch line, twice := seen[key.Value]; {
			case key.Kind != yaml.ScalarNode || key.ShortTag() == "!!merge":
				l.fail(key, path, "a key must be plain text")
				continue
			case twice:
				l.fail(key, at, "the key is given twice, the other time in line %d", line)
			}
			seen[key.Value] = key.Line
			l.plain(value, at)
		}
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// get finds the value of a key; nil = none.
func get(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// expand replaces ${NAME}, ${file:/path} and $$ in every string of the file. What came
// from the environment is taken as it is.
func (l *loader) expand(n *yaml.Node) {
	for i, c := range n.Content {
		if n.Kind != yaml.MappingNode || i%2 == 1 { // not keys
			l.expand(c)
		}
	}
	if n.Kind != yaml.ScalarNode || !strings.Contains(n.Value, "$") || l.origin[n] != "" {
		return
	}
	var out strings.Builder
	for rest := n.Value; rest != ""; {
		before, after, found := strings.Cut(rest, "$")
		out.WriteString(before)
		switch {
		case !found:
			rest = ""
		case strings.HasPrefix(after, "$"):
			out.WriteByte('$')
			rest = after[1:]
		case !strings.HasPrefix(after, "{"):
			out.WriteByte('$')
			rest = after
		default:
			name, tail, closed := strings.Cut(after[1:], "}")
			if !closed {
				l.fail(n, "", "${ is not closed; a literal $ before { is written $$")
				return
			}
			value, err := l.lookup(name)
			if err != nil {
				l.fail(n, "", "${%s}: %v", name, err)
			}
			out.WriteString(value)
			l.expanded[n] = true
			rest = tail
		}
	}
	n.Value = out.String()
}

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// maxSecret bounds a file that ${file:…} names.
const maxSecret = 64 << 10

func (l *loader) lookup(name string) (string, error) {
	if path, ok := strings.CutPrefix(name, "file:"); ok {
		b, err := readSmall(path, maxSecret)
		if err != nil {
			return "", err
		}
		l.files = append(l.files, path)
		return strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r"), nil
	}
	if !envName.MatchString(name) {
		return "", fmt.Errorf("is neither the name of an environment variable nor file: and a path")
	}
	v, ok := l.env[name]
	if !ok {
		return "", fmt.Errorf("the environment has no such variable")
	}
	return v, nil
}

// readSmall reads a regular file: a pipe would block, and a device never end.
func readSmall(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return b, err
}
