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
// forge one and have a secret put where its author wants it.
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

// Literal is the text without its references.
func (t *Text) Literal() string {
	var b strings.Builder
	for _, p := range t.parts {
		b.WriteString(p.text)
	}
	return b.String()
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
// Seal replaces after the row's part was rendered. A text without references is
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

// Seal makes what an engine rendered of Template fit to be kept, over restarts and edits
// of the text: a reference is its name between two NULs, a NUL of the row's is doubled.
func (t *Text) Seal(rendered string) (string, error) {
	if !strings.Contains(rendered, "\x00") {
		return rendered, nil
	}
	if len(t.refs) == 0 {
		return strings.ReplaceAll(rendered, "\x00", "\x00\x00"), nil
	}
	pieces := strings.Split(rendered, mark)
	for i, s := range pieces {
		// A filter may have spoilt a sentinel, whose rest must not be seen outside.
		if len(pieces)%2 == 0 || strings.Contains(s, "\x00") || i%2 == 1 && !namePattern.MatchString(s) {
			return "", errors.New("a NUL character beside a reference, from the row or from a filter around the reference")
		}
	}
	return strings.Join(pieces, "\x00"), nil
}

// Names replaces the references in what was sealed as they are written in a template.
func Names(sealed string) string {
	if !strings.Contains(sealed, "\x00") {
		return sealed
	}
	pieces := strings.Split(sealed, "\x00")
	for i := 1; i < len(pieces); i += 2 {
		if pieces[i] != "" { // else a NUL of the row's
			pieces[i] = "{{ " + pieces[i] + " }}"
		}
	}
	return strings.Join(pieces, "")
}

// Fill replaces the references in what was sealed, be it of an earlier version of the
// text, by values for hosts. The values themselves are not rendered again. Errors are
// *Error.
func Fill(ctx context.Context, sealed string, r *Resolver, hosts ...string) (string, error) {
	if !strings.Contains(sealed, "\x00") {
		return sealed, nil
	}
	var b strings.Builder
	for rest := sealed; ; {
		text, after, found := strings.Cut(rest, "\x00")
		b.WriteString(text)
		if !found {
			return b.String(), nil
		}
		name, after, closed := strings.Cut(after, "\x00")
		switch {
		case !closed:
			return "", &Error{Code: CodeInvalid, Err: errors.New("what was rendered is damaged")}
		case name == "":
			b.WriteByte(0)
		default:
			v, err := r.Resolve(ctx, name, hosts...)
			if err != nil {
				return "", err
			}
			b.WriteString(v)
		}
		rest = after
	}
}
