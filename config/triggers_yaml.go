package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// TriggerYAML writes a trigger, or any other JSON, as the YAML that ReadTriggers reads
// back as the same: keys in their order, numbers as they are written.
func TriggerYAML(body []byte) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	n, err := yamlNode(d)
	if err != nil {
		return nil, fmt.Errorf("write trigger as YAML: %w", err)
	}
	var out bytes.Buffer
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	if err := e.Encode(n); err != nil {
		return nil, fmt.Errorf("write trigger as YAML: %w", err)
	}
	return out.Bytes(), e.Close()
}

// yamlNode reads the next value of d.
func yamlNode(d *json.Decoder) (*yaml.Node, error) {
	tok, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch v := tok.(type) {
	case json.Delim:
		return yamlNodes(d, v)
	case string:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: v, Style: styleOf(v)}, nil
	case json.Number:
		n := &yaml.Node{Kind: yaml.ScalarNode, Value: v.String()}
		n.Tag = n.ShortTag() // !!int or !!float
		return n, nil
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: fmt.Sprint(v)}, nil
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}, nil
}

// yamlNodes reads what an object or a list holds, and its end.
func yamlNodes(d *json.Decoder, open json.Delim) (*yaml.Node, error) {
	n := &yaml.Node{Kind: yaml.SequenceNode}
	if open == '{' {
		n.Kind = yaml.MappingNode
	}
	for d.More() { // a key is a value as well
		item, err := yamlNode(d)
		if err != nil {
			return nil, err
		}
		if open == '{' && len(n.Content)%2 == 0 && item.Style == yaml.LiteralStyle {
			item.Style = yaml.DoubleQuotedStyle
		}
		n.Content = append(n.Content, item)
	}
	if len(n.Content) == 0 {
		n.Style = yaml.FlowStyle
	}
	_, err := d.Token()
	return n, err
}

// styleOf leaves the way of writing a text to the encoder, but for text with lines: what it
// makes of some of those its own parser does not read.
func styleOf(text string) yaml.Style {
	if !strings.Contains(text, "\n") {
		return 0
	}
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) == "" || line[0] == ' ' || strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) && r != '\n' }) {
			return yaml.DoubleQuotedStyle
		}
	}
	return yaml.LiteralStyle
}
