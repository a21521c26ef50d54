package trigger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/waltrigger/waltrigger/pkg/resolve"
	"github.com/waltrigger/waltrigger/pkg/sink"
)

// segment is a part of a webhook's URL: text as it stands, then perhaps a value, which is
// percent-encoded.
type segment struct {
	text  string
	value *resolve.Text // a dynamic value, or
	name  string        // what Render calls the value that the row gives; "" = none
}

// urlRow and the expression are the name under which Render gives a value of a URL: by it
// the value is found after the URL was corrected. No header can have it.
const urlRow = "\x00url "

var expression = regexp.MustCompile(`\{\{(.*?)\}\}`)

// url compiles the values in path and query. There are no tags, so that what the row gave
// can go into another URL, should the trigger be mended while a delivery waits.
func (k *compilation) url(d *Destination, at, raw string) {
	if !templates(raw) {
		return
	}
	end := 0
	for _, m := range expression.FindAllStringSubmatchIndex(raw, -1) {
		p := segment{text: raw[end:m[0]]}
		end = m[1]
		source := raw[m[0]:m[1]]
		text, err := resolve.Parse(source, reserved)
		if err != nil {
			k.problem(at, CodeTemplate, err)
			return
		}
		if len(text.Refs()) > 0 {
			k.refs(at, text, d)
			p.value = text
		} else if p.name = urlRow + strings.TrimSpace(raw[m[2]:m[3]]); !k.urlValue(d, at, p.name, raw[m[2]:m[3]]) {
			return
		}
		d.url = append(d.url, p)
	}
	d.url = append(d.url, segment{text: raw[end:]})
	for _, p := range d.url {
		if templates(p.text) {
			k.problem(at, CodeTemplate, errors.New("URLs may hold {{ … }} in path and query, and no tags"))
			return
		}
	}
}

// urlValue adds an expression to what Render renders.
func (k *compilation) urlValue(d *Destination, at, name, expr string) bool {
	if slices.ContainsFunc(d.rows, func(r row) bool { return r.name == name }) {
		return true
	}
	filters := lastFilter(expr)
	switch filters {
	case "iriencode":
		k.problem(at, CodeTemplate, errors.New("iriencode leaves what would change the URL; values in it are encoded anyway"))
		return false
	case "urlencode": // with the author's own exceptions
	default:
		expr += `|urlencode:""`
	}
	t := k.template(at, "{{"+expr+"}}")
	if t == nil {
		return false
	}
	text, err := resolve.Parse("", nil)
	if err != nil { // an empty text has no errors
		k.problem(at, CodeTemplate, err)
		return false
	}
	d.rows = append(d.rows, row{name, text, t})
	return true
}

// lastFilter names the last filter of an expression; "" = there is none.
func lastFilter(expr string) string {
	last, quote := -1, rune(0)
	for i, c := range expr {
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '|':
			last = i
		}
	}
	if last < 0 {
		return ""
	}
	name, _, _ := strings.Cut(expr[last+1:], ":")
	return strings.TrimSpace(name)
}

// showURL is the URL with dynamic values by their names.
func (d *Destination) showURL(rendered []sink.Header) string {
	var b strings.Builder
	for _, p := range d.url {
		b.WriteString(p.text)
		if p.value != nil {
			b.WriteString(p.value.Source())
		} else if i := slices.IndexFunc(rendered, func(h sink.Header) bool { return h.Name == p.name }); i >= 0 {
			b.WriteString(rendered[i].Value)
		}
	}
	return b.String()
}

// fillURL sets the URL of a message whose other parameters are set.
func (d *Destination) fillURL(ctx context.Context, m *sink.Message, rendered []sink.Header) error {
	var b strings.Builder
	for _, p := range d.url {
		b.WriteString(p.text)
		switch {
		case p.value != nil:
			v, err := p.value.Append(ctx, nil, d.resolver, d.hosts...)
			if err != nil {
				return resolveError(err)
			}
			b.WriteString(percent(string(v)))
		case p.name != "":
			i := slices.IndexFunc(rendered, func(h sink.Header) bool { return h.Name == p.name })
			if i < 0 {
				return &sink.Error{Class: sink.Misconfigured, Code: "url_value", Err: fmt.Errorf(
					"the URL names {{ %s }}, which it did not when the delivery was rendered", strings.TrimPrefix(p.name, urlRow))}
			}
			b.WriteString(rendered[i].Value)
		}
	}
	url := b.String()
	if d.dots(url) {
		return &sink.Error{Class: sink.Permanent, Code: "url_invalid", Err: errors.New("a value makes a segment of dots of the URL's path, which would lead elsewhere")}
	}
	m.Params = maps.Clone(m.Params)
	m.Params["url"] = url
	return nil
}

// dots reports whether the path holds more segments of dots than its author wrote.
func (d *Destination) dots(url string) bool {
	count := func(s string) (n int) {
		s, _, _ = strings.Cut(s, "?")
		for segment := range strings.SplitSeq(s, "/") {
			if segment == "." || segment == ".." {
				n++
			}
		}
		return n
	}
	var literal strings.Builder
	for _, p := range d.url {
		literal.WriteString(p.text)
		if p.value != nil || p.name != "" {
			literal.WriteByte('x')
		}
	}
	return count(url) > count(literal.String())
}

// percent encodes all but the unreserved characters of RFC 3986.
func percent(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '.', c == '_', c == '~':
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
	return b.String()
}
