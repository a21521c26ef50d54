package django

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/waltrigger/waltrigger/pkg/payload"
	"github.com/waltrigger/waltrigger/pkg/template"
)

// payload converts the payload of a config.
func (c *conversion) payload(doc json.RawMessage) {
	if falsy(doc) {
		c.out.PayloadFormat = payload.Fields.String()
		c.fields()
		return
	}
	c.form(doc)
	object := first(doc) == '{' || first(doc) == '['
	out, err := mapStrings(doc, func(pointer, s string, _ bool) string {
		return c.leaf("/payload"+pointer, s, object)
	})
	if err != nil { // the database holds what is no JSON
		c.refuse("/payload", "cannot be read: %v", err)
		return
	}
	c.out.Payload = out
}

// messages says where brokers and actions get something else than from the package.
func (c *conversion) messages(doc json.RawMessage) {
	for i := range c.out.Queues {
		if first(doc) == '"' && !falsy(doc) {
			c.note(fmt.Sprintf("/msg_broker_queues/%d", i), "a text is sent as it is; the package sends it as a JSON string, in quotation marks, unless it is JSON itself")
		}
	}
	for i := range c.out.Actions {
		c.note(fmt.Sprintf("/actions/%d", i), "the function gets the payload; the package encodes it as JSON twice, so that the function gets a text")
	}
}

var (
	tags = regexp.MustCompile(`(?s)\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}`)
	// atEnd matches the filter that was the way to get a text whole into a payload.
	atEnd = regexp.MustCompile(`\|\s*escapejs\s*\}\}`)
)

// form says where the package sends a payload as something else than what it looks like.
// It makes text of Python's repr of it, and JSON of the text if that can be done after ' is
// replaced by ".
func (c *conversion) form(doc json.RawMessage) {
	switch first(doc) {
	case '{':
		quoted := false
		_, err := mapStrings(doc, func(_, s string, _ bool) string {
			quoted = quoted || strings.ContainsAny(tags.ReplaceAllString(s, ""), `'"`) || strings.ContainsFunc(s, unprinted)
			return s
		})
		if err == nil && (quoted || words.Match(quotes.ReplaceAll(doc, nil))) {
			c.note("/payload", "the package sends this one as text/plain, in Python's spelling, because of true, false, null or a quotation mark in it; waltrigger sends JSON")
		}
	case '"':
		var text string
		if json.Unmarshal(doc, &text) != nil {
			return
		}
		c.formOfText(text)
	case '[':
		c.note("/payload", "the package never sends a list to webhooks, only to brokers; waltrigger sends it")
	default:
		c.note("/payload", "the package does not send this value to webhooks as JSON; waltrigger does")
	}
}

// formOfText says what becomes of a text that looks like JSON.
func (c *conversion) formOfText(text string) {
	literal := strings.TrimSpace(tags.ReplaceAllString(text, "0"))
	switch {
	case literal == "" || literal[0] != '{' && literal[0] != '[':
	case strings.Contains(literal, "'"):
		c.note("/payload", "the package reads ' as \" and may make JSON of this text; waltrigger sends it as it is: write the payload as an object")
	case strings.Contains(text, "{{") && !c.opt.KeepEscaping:
		c.opt.KeepEscaping = true
		c.note("/payload", "keeps escaping HTML, as the package does, so that no quotation mark in a value breaks this JSON text: better write the payload as an object")
	}
}

// unprinted reports whether Python's repr writes r in a way that JSON does not read.
func unprinted(r rune) bool { return !unicode.IsPrint(r) && !strings.ContainsRune("\n\t\r", r) }

var (
	quotes = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`) // JSON strings
	words  = regexp.MustCompile(`true|false|null`)
)

// leaf converts one template of a payload.
func (c *conversion) leaf(at, src string, object bool) string {
	if !strings.Contains(src, "{{") && !strings.Contains(src, "{%") {
		return src
	}
	src = c.rename(at, src)
	if object {
		filter := " }}"
		if c.opt.KeepEscaping {
			filter = "|safe }}"
		}
		src = atEnd.ReplaceAllString(src, filter)
	}
	if c.opt.KeepEscaping {
		src = "{% autoescape on %}" + src + "{% endautoescape %}"
	}
	return src
}

// maxRenames bounds what is renamed in one template.
const maxRenames = 1000

// rename puts the database's names in the place of Django's, and says what has none.
func (c *conversion) rename(at, src string) string {
	for range maxRenames {
		next, again := c.renameOne(at, src)
		if !again {
			return src
		}
		src = next
	}
	c.refuse(at, "has more than %d names to be replaced", maxRenames)
	return src
}

// renameOne replaces one name, or says all that is to be said of those that are left.
func (c *conversion) renameOne(at, src string) (next string, again bool) {
	t, err := template.Parse(src, template.Options{})
	if err != nil {
		c.refuse(at, "%v", err)
		return src, false
	}
	paths := t.Paths()
	found := make([]*walk, len(paths))
	for i, p := range paths {
		if len(p.Names) < 2 || p.Names[0] != "instance" || c.opt.Models == nil {
			continue
		}
		w, err := c.walk(p.Names[1:])
		switch {
		case err != nil:
			c.refuse(at, "%s: %v", strings.Join(p.Names, "."), err)
		case w != nil && !slices.Equal(w.out, p.Names[1:]):
			from, to := strings.Join(p.Names, "."), "instance."+strings.Join(w.out, ".")
			if place := offset(src, p); whole(src, place, from) {
				return src[:place] + to + src[place+len(from):], true
			}
			c.refuse(at, "%s is %s in the database: write that", from, to)
		}
		found[i] = w
	}
	for i, p := range paths {
		c.name(at, src, p, found[i])
	}
	return src, false
}

// name says what a name of a template comes to that is not what the package makes of it.
func (c *conversion) name(at, src string, p template.Path, w *walk) {
	first, written := p.Names[0], strings.Join(p.Names, ".")
	printed, filtered := use(src, offset(src, p), written)
	switch {
	case first != "instance" && slices.Contains(payload.Names, first):
		c.note(at, "%s is a name of waltrigger's; the package prints nothing for it", written)
	case first != "instance":
		c.refuse(at, "there is no %s: the package prints nothing for it; perhaps instance.%s is meant", written, written)
	case len(p.Names) == 1 && printed:
		c.refuse(at, "{{ instance }} prints what __str__ of the model says, which the database does not have")
	case w == nil || !printed:
	case w.end == toRow || w.end == toReference:
		c.note(at, "%s prints the key; the package prints what __str__ of the model says", written)
	case w.end == toRows && !filtered:
		c.refuse(at, "%s stands for several rows: name .count, .first or .all", written)
	case w.end == toTime && !filtered:
		c.note(at, `%s prints as 2024-02-29T13:05:06Z or a part of it; |date:"N j, Y, P" gives what Django prints by default`, written)
	case w.end == toSpan && !filtered:
		c.note(at, "%s prints as PostgreSQL's interval; the package prints it as Python does", written)
	}
}

// errTwo: what a name stands for depends on the content type.
var errTwo = errors.New("the content types have it under different columns: make a trigger of each")

// walk follows a path through the models of the trigger's content types. Django prints
// nothing where a model lacks a name, so one of them has to have it. Nil: none of the
// models is known.
func (c *conversion) walk(path []string) (*walk, error) {
	var unknown error
	var found *walk
	for _, m := range c.models {
		w := &walk{models: c.opt.Models, tables: c.opt.Tables, needs: newNeeds()}
		if err := w.row(m, path); err != nil {
			if unknown == nil {
				unknown = err
			}
			continue
		}
		if found != nil && !slices.Equal(found.out, w.out) {
			return nil, errTwo
		}
		for _, r := range w.needs.Relations {
			c.needs.relation(r)
		}
		found = w
	}
	if found != nil {
		return found, nil
	}
	return nil, unknown
}

// offset is the byte at which a path stands in a template.
func offset(src string, p template.Path) int {
	at := 0
	for range p.Line - 1 {
		at += strings.IndexByte(src[at:], '\n') + 1
	}
	column := 1
	for i := range src[at:] {
		if column == p.Column {
			return at + i
		}
		column++
	}
	return len(src)
}

// whole reports whether a name is written out at a place.
func whole(src string, at int, name string) bool {
	rest, ok := strings.CutPrefix(src[at:], name)
	return ok && !strings.HasPrefix(rest, ".") && (rest == "" || !wordByte(rest[0]))
}

func wordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
}

// use tells whether the name at a place is printed, and whether through a filter.
func use(src string, at int, name string) (printed, filtered bool) {
	if !whole(src, at, name) {
		return false, false
	}
	before, after := strings.TrimSpace(src[:at]), strings.TrimSpace(src[at+len(name):])
	return strings.HasSuffix(before, "{{"), strings.HasPrefix(after, "|")
}
