package config

import (
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/waltrigger/waltrigger/pkg/resolve"
)

var valuePackage = reflect.TypeFor[resolve.Config]().PkgPath()

// Print writes the configuration in force as YAML, without its secrets.
func (c *Config) Print(w io.Writer) error {
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	if err := e.Encode(shown(reflect.ValueOf(c.inForce()))); err != nil {
		return fmt.Errorf("print configuration: %w", err)
	}
	return e.Close()
}

// inForce is c with what is taken for settings that nobody made.
func (c *Config) inForce() Config {
	out := *c
	out.Sources = slices.Clone(c.Sources)
	for i := range out.Sources {
		if s := &out.Sources[i]; !s.IsMySQL() {
			p := s.Postgres().WithDefaults()
			s.Slot, s.Publication, s.PublicationMode, s.Origin = p.Slot, p.Publication, p.PublicationMode, p.Origin
		}
	}
	return out
}

// Format keeps %v and its like from walking into the secrets.
func (c *Config) Format(f fmt.State, _ rune) { io.WriteString(f, "configuration") } //nolint:errcheck // fmt has no use for it

// LogValue keeps slog from walking into the secrets.
func (c *Config) LogValue() slog.Value { return slog.StringValue("configuration") }

// MarshalJSON keeps the secrets out of JSON.
func (c *Config) MarshalJSON() ([]byte, error) { return []byte(`"configuration"`), nil }

// shown gives v as YAML nodes with the keys of the file.
func shown(v reflect.Value) *yaml.Node {
	text := func(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s} }
	switch x := v.Interface().(type) {
	case Secret:
		return text(x.String())
	case Duration:
		return text(x.String())
	case Details:
		n := &yaml.Node{Kind: yaml.MappingNode}
		iter := v.MapRange()
		for iter.Next() {
			put(n, iter.Key().String(), text(redacted))
		}
		return sorted(n)
	}
	n := &yaml.Node{}
	switch v.Kind() {
	case reflect.Struct:
		n.Kind = yaml.MappingNode
		for i := range v.NumField() {
			f := v.Type().Field(i)
			name, _, ok := key(f)
			switch {
			case !ok || v.Field(i).Kind() == reflect.Slice && v.Field(i).IsNil():
			case v.Type().PkgPath() == valuePackage && v.Field(i).IsZero(): // of all that a dynamic value could be, what it is
			case f.Tag.Get("address") == "true":
				put(n, name, text(address(v.Field(i).Interface().(Secret))))
			case f.Tag.Get("secret") == "true":
				put(n, name, text(redacted))
			case v.Field(i).Type() == stdDuration:
				put(n, name, text(fmt.Sprint(v.Field(i).Interface())))
			default:
				put(n, name, shown(v.Field(i)))
			}
		}
	case reflect.Map:
		n.Kind = yaml.MappingNode
		iter := v.MapRange()
		for iter.Next() {
			put(n, iter.Key().String(), shown(iter.Value()))
		}
		return sorted(n)
	case reflect.Slice:
		n.Kind = yaml.SequenceNode
		for i := range v.Len() {
			n.Content = append(n.Content, shown(v.Index(i)))
		}
	default:
		if err := n.Encode(v.Interface()); err != nil { // text, numbers and booleans always encode
			panic(fmt.Sprintf("print configuration: %v", err))
		}
	}
	return n
}

// sorted orders the keys of a mapping.
func sorted(n *yaml.Node) *yaml.Node {
	for i := 2; i < len(n.Content); i += 2 {
		for j := i; j > 0 && n.Content[j].Value < n.Content[j-2].Value; j -= 2 {
			n.Content[j], n.Content[j-2] = n.Content[j-2], n.Content[j]
			n.Content[j+1], n.Content[j-1] = n.Content[j-1], n.Content[j+1]
		}
	}
	return n
}
