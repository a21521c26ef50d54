package trigger

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Bounds of a body. They keep a hostile one from costing more than its own size.
const (
	MaxBody   = 1 << 20 // bytes
	maxDepth  = 32      // of objects and arrays, the outermost counted
	maxValues = 50_000
)

type kind uint8

const (
	kindNull kind = iota
	kindBool
	kindNumber
	kindString
	kindArray
	kindObject
)

func (k kind) String() string {
	return [...]string{"null", "a boolean", "a number", "a string", "a list", "an object"}[k]
}

// node is a JSON value. Its source text is kept, so that what is only passed on
// (payloads) goes on as it was written.
type node struct {
	kind    kind
	raw     []byte
	str     string // of a string; the text of a number, boolean or null
	members []member
	items   []node
}

type member struct {
	name  string
	value node
}

// parser reads one JSON value strictly by RFC 8259, and refuses what other readers of
// the same text may understand differently: repeated keys, lone surrogates, bytes that
// are no UTF-8, anything behind the value.
type parser struct {
	src      []byte
	pos      int
	path     []string
	values   int
	problems []Problem // duplicate keys: the only ones after which reading goes on
}

// errHere is a syntax error at the parser's position.
var errHere = errors.New("syntax")

// CheckJSON says why a body is no proper JSON, for a reader of its own.
func CheckJSON(body []byte) []Problem {
	_, problems := parseJSON(body)
	return problems
}

func parseJSON(body []byte) (*node, []Problem) {
	if len(body) > MaxBody {
		return nil, []Problem{{Code: CodeTooLarge, Detail: fmt.Sprintf("the body has more than %d bytes", MaxBody)}}
	}
	if why := notUTF8(body); why != "" {
		return nil, []Problem{{Code: CodeMalformed, Detail: why}}
	}
	p := &parser{src: body}
	var root node
	err := p.value(&root, 1)
	if err == nil {
		p.space()
		if p.pos < len(p.src) {
			err = p.fail("something follows the end of the value")
		}
	}
	if err != nil {
		return nil, append(p.problems, *err)
	}
	return &root, p.problems
}

// notUTF8 words what a body in another encoding looks like.
func notUTF8(body []byte) string {
	switch {
	case len(bytes.TrimSpace(body)) == 0:
		return "the body is empty; a JSON object is expected"
	case bytes.HasPrefix(body, []byte("\xef\xbb\xbf")):
		return "the body starts with a byte order mark; send UTF-8 without one"
	case bytes.HasPrefix(body, []byte("\xfe\xff")), bytes.HasPrefix(body, []byte("\xff\xfe")),
		len(body) > 1 && (body[0] == 0 || body[1] == 0):
		return "the body is UTF-16 or UTF-32; send UTF-8"
	}
	return ""
}

func (p *parser) fail(format string, args ...any) *Problem {
	line := 1 + bytes.Count(p.src[:min(p.pos, len(p.src))], []byte("\n"))
	column := min(p.pos, len(p.src)) - bytes.LastIndexByte(p.src[:min(p.pos, len(p.src))], '\n')
	return &Problem{
		Pointer: pointer(p.path), Code: CodeMalformed,
		Detail: fmt.Sprintf("line %d, column %d: %s", line, column, fmt.Sprintf(format, args...)),
	}
}

// pointer writes an RFC 6901 pointer.
func pointer(path []string) string {
	var b strings.Builder
	for _, s := range path {
		b.WriteByte('/')
		b.WriteString(escapePointer(s))
	}
	return b.String()
}

func escapePointer(s string) string {
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "") + "…"
	}
	return strings.ReplaceAll(strings.ReplaceAll(s, "~", "~0"), "/", "~1")
}

func (p *parser) space() {
	for p.pos < len(p.src) {
		switch p.src[p.pos] {
		case ' ', '\t', '\n', '\r':
			p.pos++
		default:
			return
		}
	}
}

// next gives the byte at the position, 0 at the end.
func (p *parser) next() byte {
	if p.pos < len(p.src) {
		return p.src[p.pos]
	}
	return 0
}

func (p *parser) value(n *node, depth int) *Problem {
	p.space()
	if p.values++; p.values > maxValues {
		prob := p.fail("the body has more than %d values", maxValues)
		prob.Code = CodeTooLarge
		return prob
	}
	start := p.pos
	var err *Problem
	switch c := p.next(); {
	case c == '{' || c == '[':
		if depth > maxDepth {
			prob := p.fail("objects and lists are nested deeper than %d", maxDepth)
			prob.Code = CodeTooDeep
			return prob
		}
		if c == '{' {
			err = p.object(n, depth)
		} else {
			err = p.array(n, depth)
		}
	case c == '"':
		n.kind = kindString
		n.str, err = p.string()
	case c == '-' || c >= '0' && c <= '9':
		n.kind = kindNumber
		n.str, err = p.number()
	default:
		err = p.word(n)
	}
	n.raw = p.src[start:p.pos]
	return err
}

func (p *parser) word(n *node) *Problem {
	for _, w := range [...]struct {
		text string
		kind kind
	}{{"true", kindBool}, {"false", kindBool}, {"null", kindNull}} {
		if bytes.HasPrefix(p.src[p.pos:], []byte(w.text)) {
			p.pos += len(w.text)
			n.kind, n.str = w.kind, w.text
			return nil
		}
	}
	if p.pos >= len(p.src) {
		return p.fail("the body ends where a value is expected")
	}
	return p.fail("a JSON value is expected")
}

func (p *parser) array(n *node, depth int) *Problem {
	n.kind = kindArray
	p.pos++
	if p.space(); p.next() == ']' {
		p.pos++
		return nil
	}
	for {
		n.items = append(n.items, node{})
		p.path = append(p.path, strconv.Itoa(len(n.items)-1))
		if err := p.value(&n.items[len(n.items)-1], depth+1); err != nil {
			return err
		}
		p.path = p.path[:len(p.path)-1]
		p.space()
		switch p.next() {
		case ',':
			p.pos++
		case ']':
			p.pos++
			return nil
		default:
			return p.fail("a comma or ] is expected")
		}
	}
}

func (p *parser) object(n *node, depth int) *Problem {
	n.kind = kindObject
	p.pos++
	if p.space(); p.next() == '}' {
		p.pos++
		return nil
	}
	seen := map[string]bool{}
	for {
		p.space()
		if p.next() != '"' {
			return p.fail("a key in double quotes is expected")
		}
		name, err := p.string()
		if err != nil {
			return err
		}
		p.path = append(p.path, name)
		if seen[name] && len(p.problems) < maxProblems {
			p.problems = append(p.problems, Problem{Pointer: pointer(p.path), Code: CodeDuplicateKey, Detail: "the key is given twice"})
		}
		seen[name] = true
		if p.space(); p.next() != ':' {
			return p.fail("a colon is expected")
		}
		p.pos++
		n.members = append(n.members, member{name: name})
		if err := p.value(&n.members[len(n.members)-1].value, depth+1); err != nil {
			return err
		}
		p.path = p.path[:len(p.path)-1]
		p.space()
		switch p.next() {
		case ',':
			p.pos++
		case '}':
			p.pos++
			return nil
		default:
			return p.fail("a comma or } is expected")
		}
	}
}

func (p *parser) digits() bool {
	start := p.pos
	for c := p.next(); c >= '0' && c <= '9'; c = p.next() {
		p.pos++
	}
	return p.pos > start
}

func (p *parser) number() (string, *Problem) {
	start := p.pos
	if p.next() == '-' {
		p.pos++
	}
	if p.next() == '0' {
		p.pos++
		if c := p.next(); c >= '0' && c <= '9' {
			return "", p.fail("a number does not start with 0")
		}
	} else if !p.digits() {
		return "", p.fail("a digit is expected")
	}
	if p.next() == '.' {
		p.pos++
		if !p.digits() {
			return "", p.fail("a digit is expected after the point")
		}
	}
	if c := p.next(); c == 'e' || c == 'E' {
		p.pos++
		if c := p.next(); c == '+' || c == '-' {
			p.pos++
		}
		if !p.digits() {
			return "", p.fail("a digit is expected in the exponent")
		}
	}
	return string(p.src[start:p.pos]), nil
}

// string reads a string whose opening quote is next.
func (p *parser) string() (string, *Problem) {
	p.pos++
	start := p.pos
	var out []byte // nil while the source can be used as it is
	for {
		if p.pos >= len(p.src) {
			return "", p.fail("the body ends within a string")
		}
		c := p.src[p.pos]
		switch {
		case c == '"':
			text := p.src[start:p.pos]
			p.pos++
			if out == nil {
				return string(text), nil
			}
			return string(append(out, text...)), nil
		case c == '\\':
			out = append(out, p.src[start:p.pos]...)
			r, err := p.escape()
			if err != nil {
				return "", err
			}
			out = utf8.AppendRune(out, r)
			start = p.pos
		case c < 0x20:
			return "", p.fail("a control character within a string is not escaped")
		case c < utf8.RuneSelf:
			p.pos++
		default:
			r, size := utf8.DecodeRune(p.src[p.pos:])
			if r == utf8.RuneError && size == 1 {
				return "", p.fail("a string is not UTF-8")
			}
			p.pos += size
		}
	}
}

const escapes = "\"\"\\\\//b\bf\fn\nr\rt\t"

func (p *parser) escape() (rune, *Problem) {
	p.pos++
	c := p.next()
	for i := 0; i < len(escapes); i += 2 {
		if escapes[i] == c {
			p.pos++
			return rune(escapes[i+1]), nil
		}
	}
	if c != 'u' {
		return 0, p.fail("an unknown escape within a string")
	}
	r, err := p.hex()
	if err != nil {
		return 0, p.fail("four hexadecimal digits are expected after \\u")
	}
	if !utf16.IsSurrogate(r) {
		return r, nil
	}
	if bytes.HasPrefix(p.src[p.pos:], []byte(`\u`)) {
		p.pos++
		low, err := p.hex()
		if pair := utf16.DecodeRune(r, low); err == nil && pair != utf8.RuneError {
			return pair, nil
		}
	}
	return 0, p.fail("half a surrogate pair within a string")
}

// hex reads the u at the position and the four digits behind it.
func (p *parser) hex() (rune, error) {
	if p.pos+5 > len(p.src) {
		return 0, errHere
	}
	var r rune
	for _, c := range p.src[p.pos+1 : p.pos+5] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, errHere
		}
	}
	p.pos += 5
	return r, nil
}
