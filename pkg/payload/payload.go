// Package payload turns a signal into the body of a message: by the trigger's
// template, or in one of the formats that say what is known of the event.
package payload

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/template"
)

// Content types of a body.
const (
	JSONType = "application/json"
	TextType = "text/plain; charset=utf-8"
)

// Renderer renders a trigger's payload. It is immutable.
//
// A JSON object or array keeps its structure: its keys and string leaves are
// templates, each rendered on its own and encoded afterwards, so that no value can
// break or inject structure. A leaf that is one expression ending in |json becomes
// that JSON value. A string is rendered; if the result is JSON it is sent as such,
// else as text. Without a payload the body is that of the format.
type Renderer struct {
	kind   kind
	format Format
	parts  []part
	paths  []Path
	broken error // a template that does not parse

	unclosed []Problem
}

type kind uint8

const (
	none       kind = iota // no payload: the format's body
	structured             // parts make up a JSON value
	text                   // parts[0] is the whole body
)

// part is a piece of a body: literal, or a template.
type part struct {
	literal string
	tmpl    *template.Template
	raw     bool   // the template's output is JSON already
	at      string // JSON pointer of the template within the payload
}

// append renders p's template. An error names its place.
func (p *part) append(dst []byte, e *Event) ([]byte, error) {
	out, err := p.tmpl.Append(dst, e)
	if err != nil {
		err = fmt.Errorf("/payload%s: %w", p.at, err)
	}
	return out, err
}

// Path is a dotted path that a template reads, with the place of its template in the
// payload.
type Path struct {
	template.Path
	Pointer string // JSON pointer within the payload
}

// Problem is a template of a payload that does not parse.
type Problem struct {
	Pointer string // JSON pointer within the payload
	Err     error
}

// Compile compiles a payload: any JSON value, nil or null for the body that format has of
// its own. A payload is the whole body, or in a CloudEvent its data. All problems are
// returned at once; with one, the Renderer only gives errors.
func Compile(raw json.RawMessage, format Format, opt template.Options) (*Renderer, []Problem) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || string(raw) == "null" {
		return &Renderer{format: format}, nil
	}
	c := compiler{opt: opt, dec: json.NewDecoder(bytes.NewReader(raw)), r: &Renderer{kind: structured, format: format}}
	c.dec.UseNumber()
	if raw[0] == '"' {
		c.r.kind = text
	}
	if err := c.value(""); err != nil {
		c.problems = append(c.problems, Problem{Err: err})
	}
	c.flush()
	if len(c.problems) > 0 {
		c.r.broken = c.problems[0].Err
	}
	return c.r, c.problems
}

type compiler struct {
	opt      template.Options
	dec      *json.Decoder
	r        *Renderer
	lit      []byte
	problems []Problem
}

func (c *compiler) flush() {
	if len(c.lit) > 0 {
		c.r.parts = append(c.r.parts, part{literal: string(c.lit)})
		c.lit = c.lit[:0]
	}
}

func (c *compiler) value(pointer string) error {
	tok, err := c.dec.Token()
	if err != nil {
		return fmt.Errorf("read payload: %w", err)
	}
	switch v := tok.(type) {
	case json.Delim:
		if v == '{' {
			return c.object(pointer)
		}
		return c.array(pointer)
	case string:
		c.leaf(v, pointer, false)
	case json.Number:
		c.lit = append(c.lit, v...)
	case bool:
		c.lit = strconv.AppendBool(c.lit, v)
	case nil:
		c.lit = append(c.lit, "null"...)
	}
	return nil
}

func (c *compiler) object(pointer string) error {
	c.lit = append(c.lit, '{')
	for i := 0; c.dec.More(); i++ {
		if i > 0 {
			c.lit = append(c.lit, ',')
		}
		tok, err := c.dec.Token()
		if err != nil {
			return fmt.Errorf("read payload: %w", err)
		}
		key, _ := tok.(string)
		at := pointer + "/" + escapePointer(key)
		c.leaf(key, at, true)
		c.lit = append(c.lit, ':')
		if err := c.value(at); err != nil {
			return err
		}
	}
	c.lit = append(c.lit, '}')
	_, err := c.dec.Token()
	return err
}

func (c *compiler) array(pointer string) error {
	c.lit = append(c.lit, '[')
	for i := 0; c.dec.More(); i++ {
		if i > 0 {
			c.lit = append(c.lit, ',')
		}
		if err := c.value(pointer + "/" + strconv.Itoa(i)); err != nil {
			return err
		}
	}
	c.lit = append(c.lit, ']')
	_, err := c.dec.Token()
	return err
}

// leaf adds a string; a key is always a string, whatever it renders to.
func (c *compiler) leaf(src, pointer string, key bool) {
	t, err := template.Parse(src, c.opt)
	if err != nil {
		c.problems = append(c.problems, Problem{Pointer: pointer, Err: err})
		return
	}
	if open := template.Unclosed(src); open != nil {
		c.r.unclosed = append(c.r.unclosed, Problem{Pointer: pointer, Err: open})
	}
	for _, p := range t.Paths() {
		c.r.paths = append(c.r.paths, Path{Path: p, Pointer: pointer})
	}
	if c.r.kind == text {
		c.r.parts = append(c.r.parts, part{tmpl: t, raw: t.JSONLeaf(), at: pointer})
		return
	}
	if s, ok := t.Static(); ok {
		c.lit = change.AppendString(c.lit, s)
		return
	}
	c.flush()
	c.r.parts = append(c.r.parts, part{tmpl: t, raw: t.JSONLeaf() && !key, at: pointer})
}

func escapePointer(s string) string {
	var b []byte
	for i := range len(s) {
		switch s[i] {
		case '~':
			b = append(b, "~0"...)
		case '/':
			b = append(b, "~1"...)
		default:
			b = append(b, s[i])
		}
	}
	return string(b)
}

// Paths lists what the payload's templates can read. Without a payload nothing is
// listed, though all may be read.
func (r *Renderer) Paths() []Path { return r.paths }

// Unclosed lists the templates that hold a {{ or {% which is text.
func (r *Renderer) Unclosed() []Problem { return r.unclosed }

// Whole reports whether the body needs every column and has no place to say that one is
// missing.
func (r *Renderer) Whole() bool { return r.kind == none && r.format == Fields }

// Errors of Append beside those of single templates.
var (
	ErrTooLarge = errors.New("body is larger than 16 MiB")
	ErrTooSlow  = errors.New("templates of the body took longer than 250 ms together")
)

// maxTime bounds the rendering of one body, whatever the number of its templates.
const maxTime = 250 * time.Millisecond

// MaxBody bounds a rendered body, bytes.
const MaxBody = 16 << 20

// Append appends the body for e to dst and returns its content type. On an error dst
// is returned as it was.
func (r *Renderer) Append(dst []byte, e *Event) ([]byte, string, error) {
	start := len(dst)
	contentType := JSONType
	err := r.broken
	switch {
	case err != nil:
	case r.format == CloudEvents:
		dst, contentType, err = r.appendCloudEvent(dst, e)
	default:
		dst, contentType, err = r.appendBody(dst, e)
	}
	if err == nil && len(dst)-start > MaxBody {
		err = ErrTooLarge
	}
	if err != nil {
		return dst[:start], "", err
	}
	return dst, contentType, nil
}

// appendBody appends what is the whole body, or the data of a CloudEvent.
func (r *Renderer) appendBody(dst []byte, e *Event) ([]byte, string, error) {
	switch r.kind {
	case text:
		return r.appendText(dst, e)
	case structured:
		dst, err := r.appendParts(dst, len(dst)+MaxBody, e)
		return dst, JSONType, err
	}
	switch r.format {
	case Fields:
		return e.appendFields(dst), JSONType, nil
	case Debezium:
		return e.appendDebezium(dst), JSONType, nil
	}
	return e.appendEnvelope(dst), JSONType, nil
}

// appendText appends a string payload: JSON if it happens to be that.
func (r *Renderer) appendText(dst []byte, e *Event) ([]byte, string, error) {
	start := len(dst)
	p := &r.parts[0]
	dst, err := p.append(dst, e)
	if err != nil {
		return dst, "", err
	}
	if !utf8.Valid(dst[start:]) {
		dst = append(dst[:start], bytes.ToValidUTF8(dst[start:], []byte("\uFFFD"))...)
	}
	if p.raw || json.Valid(dst[start:]) {
		return dst, JSONType, nil
	}
	return dst, TextType, nil
}

// appendParts stops once dst is longer than limit.
func (r *Renderer) appendParts(dst []byte, limit int, e *Event) ([]byte, error) {
	var err error
	var began time.Time
	for i := range r.parts {
		if i == 8 { // the time-outs of a few templates do without a clock
			began = time.Now()
		} else if i > 8 && i%8 == 0 && time.Since(began) > maxTime {
			return dst, ErrTooSlow
		}
		p := &r.parts[i]
		switch {
		case p.tmpl == nil:
			dst = append(dst, p.literal...)
		case p.raw:
			if dst, err = p.append(dst, e); err != nil {
				return dst, err
			}
		default:
			if e.scratch, err = p.append(e.scratch[:0], e); err != nil {
				return dst, err
			}
			dst = change.AppendBytes(dst, e.scratch)
		}
		if len(dst) > limit {
			return dst, ErrTooLarge
		}
	}
	return dst, nil
}
