package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// TriggerBody is one trigger of a file, as the API would be sent it.
type TriggerBody struct {
	File string
	Line int
	JSON []byte // keys in the author's order
}

// maxTriggers bounds a file of triggers, in bytes.
const maxTriggers = 16 << 20

// ReadTriggers reads a file that holds a trigger, or a list of them, in the API's shape,
// as YAML or JSON. Whether they are right is for trigger.Decode to say. The error is
// Errors where the file could be read.
func ReadTriggers(path string) ([]TriggerBody, error) {
	data, err := readSmall(path, maxTriggers)
	if err != nil {
		return nil, fmt.Errorf("read triggers: %w", err)
	}
	l := &loader{file: path}
	l.reset()
	root := l.document(data)
	if root == nil || isNull(root) {
		return nil, l.failed()
	}
	items := []*yaml.Node{root}
	if root.Kind == yaml.SequenceNode {
		items = root.Content
	}
	var out []TriggerBody
	for i, n := range items {
		l.plain(n, "")
		if n.Kind != yaml.MappingNode {
			l.fail(n, "", "a trigger, or a list of triggers, is expected")
			continue
		}
		out = append(out, TriggerBody{path, n.Line, l.json(nil, items[i])})
	}
	if err := l.failed(); err != nil {
		return nil, err
	}
	return out, nil
}

// failed gives the errors as one, nil if there are none.
func (l *loader) failed() error {
	if len(l.errs) == 0 {
		return nil
	}
	return l.errs
}

// json writes a node as JSON. What YAML takes for a date or a time stays the text that
// it is.
func (l *loader) json(dst []byte, n *yaml.Node) []byte {
	switch n.Kind {
	case yaml.MappingNode:
		dst = append(dst, '{')
		for i := 0; i < len(n.Content); i += 2 {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(quote(dst, n.Content[i].Value), ':')
			dst = l.json(dst, n.Content[i+1])
		}
		return append(dst, '}')
	case yaml.SequenceNode:
		dst = append(dst, '[')
		for i, item := range n.Content {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = l.json(dst, item)
		}
		return append(dst, ']')
	case yaml.ScalarNode:
		return l.jsonScalar(dst, n)
	}
	return append(dst, "null"...) // an alias: refused already
}

func (l *loader) jsonScalar(dst []byte, n *yaml.Node) []byte {
	switch n.ShortTag() {
	case "!!null":
		return append(dst, "null"...)
	case "!!bool":
		return append(dst, strings.ToLower(n.Value)...)
	case "!!int", "!!float":
		if json.Valid([]byte(n.Value)) { // as it is written, digits kept
			return append(dst, n.Value...)
		}
		l.fail(n, "", "%q is a number that JSON cannot write; put it in quotes if it is text", n.Value)
	case "!!binary":
		l.fail(n, "", "binary values are not allowed")
	}
	return quote(dst, n.Value)
}

func quote(dst []byte, s string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil { // strings always encode
		panic(fmt.Sprintf("encode text: %v", err))
	}
	return append(dst, bytes.TrimSuffix(b.Bytes(), []byte("\n"))...)
}
