package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

const prefix = "WALTRIGGER_"

// Variables that say to the commands where the running daemon is: no settings of it.
const (
	APIURL   = prefix + "API_URL"
	APIToken = prefix + "API_TOKEN"
)

func environment(environ []string) map[string]string {
	m := make(map[string]string, len(environ))
	for _, kv := range environ {
		if name, value, ok := strings.Cut(kv, "="); ok {
			m[name] = value
		}
	}
	return m
}

// override puts WALTRIGGER_… variables over the file: two underscores lead one level
// down (WALTRIGGER_ADMIN__LISTEN), items of lists go by their name
// (WALTRIGGER_SOURCES__SHOP__URL). Names that mean nothing are only warned of: the
// surroundings may set them for reasons of their own.
func (l *loader) override(root *yaml.Node) {
	for _, name := range slices.Sorted(maps.Keys(l.env)) {
		path, ok := strings.CutPrefix(name, prefix)
		if !ok || name == APIURL || name == APIToken {
			continue
		}
		o := &overrider{l: l, name: name, value: l.env[name]}
		if !o.set(root, reflect.TypeFor[Config](), strings.Split(strings.ToLower(path), "__")) {
			l.warnings = append(l.warnings, fmt.Sprintf("the environment variable %s names no setting", name))
		}
	}
}

type overrider struct {
	l           *loader
	name, value string
}

// set sets the value at path within n, which is of type t. Nothing is changed if there
// is no such setting.
func (o *overrider) set(n *yaml.Node, t reflect.Type, path []string) bool {
	step, rest := path[0], path[1:]
	if step == "" {
		return false
	}
	switch t.Kind() {
	case reflect.Struct:
		f, ok := field(t, step)
		if !ok {
			return false
		}
		name, synonym, _ := key(f)
		if synonym != "" && get(n, synonym) != nil {
			name = synonym
		}
		return o.child(n, name, f.Type, rest)
	case reflect.Map:
		return o.child(n, o.match(n, step), t.Elem(), rest)
	case reflect.Interface:
		return o.child(n, o.match(n, step), t, rest)
	}
	return false
}

// match finds the key that step is the name of in the environment, else step itself.
func (o *overrider) match(n *yaml.Node, step string) string {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if inEnvironment(n.Content[i].Value) == step {
			return n.Content[i].Value
		}
	}
	return step
}

// inEnvironment is the form of a name in the environment, in lower case.
func inEnvironment(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToLower(name))
}

func (o *overrider) child(n *yaml.Node, name string, t reflect.Type, rest []string) bool {
	at := get(n, name)
	fresh := at == nil || isNull(at)
	if fresh {
		at = &yaml.Node{}
	}
	switch {
	case len(rest) == 0:
		if !o.leaf(t) {
			return false
		}
		fresh = true
		at = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: o.value}
		o.l.origin[at] = o.name
	case t.Kind() == reflect.Slice:
		if fresh {
			at.Kind = yaml.SequenceNode
		}
		if at.Kind != yaml.SequenceNode || !o.item(at, t.Elem(), rest) {
			return false
		}
	default:
		if fresh {
			at.Kind = yaml.MappingNode
		}
		if at.Kind != yaml.MappingNode || !o.set(at, t, rest) {
			return false
		}
	}
	if fresh {
		put(n, name, at)
	}
	return true
}

// leaf reports whether one text can be a value of type t.
func (o *overrider) leaf(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return false
	case reflect.Slice:
		return t.Elem().Kind() == reflect.String
	}
	return true
}

// item sets a value within the item of a list that has the name path[0], which is added
// if there is none.
func (o *overrider) item(list *yaml.Node, t reflect.Type, path []string) bool {
	if t.Kind() != reflect.Struct || len(path) < 2 {
		return false
	}
	if _, named := field(t, "name"); !named {
		return false
	}
	for _, item := range list.Content {
		if name := get(item, "name"); name != nil && inEnvironment(name.Value) == path[0] {
			return o.set(item, t, path[1:])
		}
	}
	item := &yaml.Node{Kind: yaml.MappingNode}
	name := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: path[0]}
	o.l.origin[item], o.l.origin[name] = o.name, o.name
	put(item, "name", name)
	if path[0] == "" || !o.set(item, t, path[1:]) {
		return false
	}
	list.Content = append(list.Content, item)
	return true
}

// put sets a key of a mapping.
func put(n *yaml.Node, key string, value *yaml.Node) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			n.Content[i+1] = value
			return
		}
	}
	n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key}, value)
}
