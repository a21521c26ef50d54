package config

import (
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

var (
	durationType = reflect.TypeFor[Duration]()
	stdDuration  = reflect.TypeFor[time.Duration]()
)

// into fills in cfg, which holds the defaults.
func (l *loader) into(root *yaml.Node, cfg *Config) {
	l.value(root, "", reflect.ValueOf(cfg).Elem())
}

// key gives the name of a field in the file, its synonym, and whether it has one.
func key(f reflect.StructField) (name, synonym string, ok bool) {
	name = f.Tag.Get("yaml")
	if name == "" {
		name = f.Tag.Get("koanf") // packages that own their part of the file
	}
	name, _, _ = strings.Cut(name, ",")
	return name, f.Tag.Get("synonym"), f.IsExported() && name != "" && name != "-"
}

// field finds the field of a struct by its key or synonym.
func field(t reflect.Type, name string) (reflect.StructField, bool) {
	for i := range t.NumField() {
		f := t.Field(i)
		if k, synonym, ok := key(f); ok && (k == name || synonym == name && name != "") {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

func keys(t reflect.Type) string {
	var out []string
	for i := range t.NumField() {
		if k, _, ok := key(t.Field(i)); ok {
			out = append(out, k)
		}
	}
	return strings.Join(out, ", ")
}

// value decodes n into v by v's type.
func (l *loader) value(n *yaml.Node, path string, v reflect.Value) {
	l.places[path] = n
	switch t := v.Type(); {
	case t == durationType || t == stdDuration:
		l.duration(n, path, v)
	case v.Kind() == reflect.Struct:
		l.structure(n, path, v)
	case v.Kind() == reflect.Map:
		l.mapping(n, path, v)
	case v.Kind() == reflect.Slice:
		l.list(n, path, v)
	case v.Kind() == reflect.Interface:
		if got := l.any(n, path); got != nil {
			v.Set(reflect.ValueOf(got))
		}
	default:
		l.scalar(n, path, v)
	}
}

func (l *loader) structure(n *yaml.Node, path string, v reflect.Value) {
	if isNull(n) { // a section with all its lines commented out
		return
	}
	if n.Kind != yaml.MappingNode {
		l.fail(n, path, "must be a mapping of settings")
		return
	}
	given := map[string]string{} // field -> key
	for i := 0; i < len(n.Content); i += 2 {
		name := n.Content[i].Value
		f, ok := field(v.Type(), name)
		if !ok {
			l.fail(n.Content[i], join(path, name), "there is no such setting; there are %s", keys(v.Type()))
			continue
		}
		if other := given[f.Name]; other != "" && other != name {
			l.fail(n.Content[i], join(path, name), "means the same as %s; give one of them", other)
			continue
		}
		given[f.Name] = name
		l.value(n.Content[i+1], join(path, name), v.FieldByIndex(f.Index))
	}
}

func (l *loader) mapping(n *yaml.Node, path string, v reflect.Value) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		l.fail(n, path, "must be a mapping of names")
		return
	}
	m := reflect.MakeMapWithSize(v.Type(), len(n.Content)/2)
	for i := 0; i < len(n.Content); i += 2 {
		name := n.Content[i].Value
		item := reflect.New(v.Type().Elem()).Elem()
		l.value(n.Content[i+1], join(path, name), item)
		m.SetMapIndex(reflect.ValueOf(name), item)
	}
	v.Set(m)
}

func (l *loader) list(n *yaml.Node, path string, v reflect.Value) {
	items := n.Content
	switch {
	case n.Kind == yaml.ScalarNode && l.origin[n] != "" && v.Type().Elem().Kind() == reflect.String:
		items = nil
		for s := range strings.SplitSeq(n.Value, ",") {
			if s = strings.TrimSpace(s); s != "" {
				item := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
				l.origin[item] = l.origin[n]
				items = append(items, item)
			}
		}
	case n.Kind != yaml.SequenceNode:
		l.fail(n, path, "must be a list")
		return
	}
	s := reflect.MakeSlice(v.Type(), len(items), len(items))
	for i, item := range items {
		l.value(item, path+"["+strconv.Itoa(i)+"]", s.Index(i))
	}
	v.Set(s)
}

// text gives the text of a scalar; false if it is none.
func (l *loader) text(n *yaml.Node, path string) (string, bool) {
	switch {
	case n.Kind != yaml.ScalarNode:
		l.fail(n, path, "must be a single value")
	case isNull(n) && !l.expanded[n]:
		l.fail(n, path, "has no value")
	default:
		return n.Value, true
	}
	return "", false
}

// show repeats a value in an error, unless it may be a secret.
func (l *loader) show(n *yaml.Node) string {
	if l.expanded[n] || l.origin[n] != "" {
		return "the value"
	}
	return strconv.Quote(n.Value)
}

func (l *loader) scalar(n *yaml.Node, path string, v reflect.Value) {
	s, ok := l.text(n, path)
	if !ok {
		return
	}
	switch v.Kind() {
	case reflect.String:
		if n.ShortTag() == "!!bool" && !l.expanded[n] && l.origin[n] == "" {
			l.fail(n, path, "must be text; put it in quotes")
			return
		}
		v.SetString(s)
	case reflect.Bool:
		if s != "true" && s != "false" {
			l.fail(n, path, "%s is neither true nor false", l.show(n))
			return
		}
		v.SetBool(s == "true")
	case reflect.Int, reflect.Int64:
		i, err := strconv.ParseInt(s, 10, 64)
		if err != nil || v.OverflowInt(i) {
			l.fail(n, path, "%s is no whole number", l.show(n))
			return
		}
		v.SetInt(i)
	default: // a setting of a type that nothing here reads: its author finds out at once
		panic("config: no way to read " + v.Type().String())
	}
}

func (l *loader) duration(n *yaml.Node, path string, v reflect.Value) {
	s, ok := l.text(n, path)
	if !ok {
		return
	}
	d, err := time.ParseDuration(s)
	if secs, numErr := strconv.ParseFloat(s, 64); numErr == nil {
		if err = nil; math.IsNaN(secs) || math.Abs(secs) > math.MaxInt64/float64(time.Second) {
			secs = -1
		}
		d = time.Duration(secs * float64(time.Second))
	}
	if err != nil || d < 0 {
		l.fail(n, path, "%s is no duration such as 30s, 500ms or 1h (a bare number is seconds)", l.show(n))
		return
	}
	v.SetInt(int64(d))
}

// any decodes what a package of its own will check.
func (l *loader) any(n *yaml.Node, path string) any {
	l.places[path] = n
	switch n.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i < len(n.Content); i += 2 {
			m[n.Content[i].Value] = l.any(n.Content[i+1], join(path, n.Content[i].Value))
		}
		return m
	case yaml.SequenceNode:
		s := []any{}
		for i, item := range n.Content {
			s = append(s, l.any(item, path+"["+strconv.Itoa(i)+"]"))
		}
		return s
	}
	s, ok := l.text(n, path)
	if !ok {
		return nil
	}
	if l.expanded[n] || l.origin[n] != "" {
		return s // a password of digits stays text
	}
	switch n.ShortTag() {
	case "!!bool":
		return slices.Contains([]string{"true", "True", "TRUE"}, s)
	case "!!int":
		if i, err := strconv.Atoi(s); err == nil {
			return i
		}
	case "!!float":
		if f, err := strconv.ParseFloat(s, 64); err == nil {
			return f
		}
	}
	return s
}
