package resolve

import (
	"context"
	"crypto/rand"
	"errors"
	"regexp"
	"slices"
	"strings"
)

const namePart = `[A-Za-z_][A-Za-z0-9_]*`

var (
	refPattern = regexp.MustCompile(`\{\{\s*(` + namePart + `(?:\.` + namePart + `)*)\s*\}\}`)
	// Names that a template binds by itself, so that {{ x }} after it is no reference:
	// {% for x, y in … %}, {% with x=… %}, {% … as x %}.
	forPattern = regexp.MustCompile(`\{%\s*for\s+(.+?)\s+in\s`)
	tagPattern = regexp.MustCompile(`\{%.*?%\}`)
	setPattern = regexp.MustCompile(`(?:\s|^)(` + namePart + `)=|\sas\s+(` + namePart + `)`)
)

// mark begins and ends a sentinel: what stands for a reference while the row part of a
// text is rendered. It is random and known to this process only, so that no row can
// forge one and have a secret put where its author wants it. It is the same for all
// texts because a message rendered before an edit is filled in after it.
var mark = "\x00" + rand.Text() + "\x00"

// Text is a string with references to declared values. It is immutable.
type Text struct {
	source string
	parts  []part
	refs   []string // each once, in order of appearance
}

// part is literal text, then perhaps a reference.
type part struct{ text, ref string }

// Parse finds the references in s: {{ dotted.path }} whose first segment is neither
// reserved nor bound by a tag of s itself. All else, unclosed braces included, is left
// as it is.
func Parse(s string, reserved func(first string) bool) (*Text, error) {
	if strings.Contains(s, "\x00") {
		return nil, errors.New("a NUL character is not allowed")
	}
	t := &Text{source: s}
	bound := boundNames(s)
	end := 0
	for _, m := range refPattern.FindAllStringSubmatchIndex(s, -1) {
		name := s[m[2]:m[3]]
		first, _, _ := strings.Cut(name, ".")
		if reserved != nil && reserved(first) || slices.Contains(bound, first) {
			continue
		}
		t.parts = append(t.parts, part{s[end:m[0]], name})
		if !slices.Contains(t.refs, name) {
			t.refs = append(t.refs, name)
		}
		end = m[1]
	}
	t.parts = append(t.parts, part{text: s[end:]})
	return t, nil
}

// boundNames are the names that the tags of s give a meaning.
func boundNames(s string) []string {
	if !strings.Contains(s, "{%") {
		return nil
	}
	names := []string{"forloop", "True", "False", "None"}
	for _, m := range forPattern.FindAllStringSubmatch(s, -1) {
		for n := range strings.SplitSeq(m[1], ",") {
			names = append(names, strings.TrimSpace(n))
		}
	}
	for _, tag := range tagPattern.FindAllString(s, -1) {
		for _, m := range setPattern.FindAllStringSubmatch(tag, -1) {
			names = append(names, m[1]+m[2])
		}
	}
	return names
}

// Refs lists the values that the text names, each once. Callers do not change it.
func (t *Text) Refs() []string { return t.refs }

// Source is the text as it was written.
func (t *Text) Source() string { return t.source }

// Names replaces the sentinels in what an engine rendered of Template by the references
// that they stand for.
func Names(rendered string) string {
	if !strings.Contains(rendered, mark) {
		return rendered
	}
	pieces := strings.Split(rendered, mark)
	for i := 1; i < len(pieces); i += 2 {
		pieces[i] = "{{ " + pieces[i] + " }}"
	}
	return strings.ReplaceAll(strings.Join(pieces, ""), "\x00", "")
}

// Append appends the text to dst with each reference replaced by its value for hosts.
// What a template engine would replace is appended as it stands. Errors are *Error.
func (t *Text) Append(ctx context.Context, dst []byte, r *Resolver, hosts ...string) ([]byte, error) {
	for _, p := range t.parts {
		dst = append(dst, p.text...)
		if p.ref == "" {
			continue
		}
		v, err := r.Resolve(ctx, p.ref, hosts...)
		if err != nil {
			return dst, err
		}
		dst = append(dst, v...)
	}
	return dst, nil
}

// Template returns the text for a template engine: each reference is a sentinel, which
// Fill replaces after the row's part was rendered. A text without references is
// returned unchanged.
func (t *Text) Template() string {
	if len(t.refs) == 0 {
		return t.source
	}
	var b strings.Builder
	for _, p := range t.parts {
		b.WriteString(p.text)
		if p.ref != "" {
			b.WriteString(mark + p.ref + mark)
		}
	}
	return b.String()
}

// Fill replaces the sentinels in what an engine rendered of Template, by values for
// hosts. The values themselves are not rendered again. rendered may come from an
// earlier version of the text: a sentinel carries its name. It is good only in the
// process that made it. Errors are *Error.
func (t *Text) Fill(ctx context.Context, rendered string, r *Resolver, hosts ...string) (string, error) {
	if len(t.refs) == 0 && !strings.Contains(rendered, mark) {
		return rendered, nil
	}
	pieces := strings.Split(rendered, mark)
	for i, s := range pieces {
		// A filter may have spoilt a sentinel, whose rest must not be seen outside.
		if len(pieces)%2 == 0 || strings.Contains(s, "\x00") || i%2 == 1 && !namePattern.MatchString(s) {
			return "", &Error{Code: CodeInvalid, Err: errors.New("a NUL character beside a reference, from the row or from a filter around the reference")}
		}
	}
	var b strings.Builder
	for i, s := range pieces {
		if i%2 == 1 {
			v, err := r.Resolve(ctx, s, hosts...)
			if err != nil {
				return "", err
			}
			s = v
		}
		b.WriteString(s)
	}
	return b.String(), nil
}
