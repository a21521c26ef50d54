package template

import (
	"strings"
)

// autoescapeNode is {% autoescape %}.
type autoescapeNode struct {
	on   bool
	body []node
	at   int
}

func parseAutoescape(p *parser, t token) (node, error) {
	args := fields(t.text)
	if len(args) != 2 || (args[1] != "on" && args[1] != "off") {
		return nil, errAt(t.pos, "'autoescape' takes one argument, 'on' or 'off'")
	}
	body, _, err := p.block(t, []string{"endautoescape"})
	return &autoescapeNode{args[1] == "on", body, t.pos}, err
}

func (n *autoescapeNode) pos() int { return n.at }

func (n *autoescapeNode) render(st *state) error {
	old := st.auto
	st.auto = n.on
	err := st.renderAll(n.body)
	st.auto = old
	return err
}

func parseComment(p *parser, t token) (node, error) {
	return &textNode{}, p.skipPast(t, "endcomment")
}

func parseVerbatim(p *parser, t token) (node, error) {
	body, _, err := p.block(t, []string{"endverbatim"})
	if err != nil {
		return nil, err
	}
	var text strings.Builder
	for _, n := range body {
		if tn, ok := n.(*textNode); ok {
			text.WriteString(tn.text)
		}
	}
	return &textNode{text.String()}, nil
}

func parseTemplateTag(_ *parser, t token) (node, error) {
	bits := fields(t.text)
	if len(bits) != 2 {
		return nil, errAt(t.pos, "'templatetag' takes one argument")
	}
	text := map[string]string{
		"openblock": "{%", "closeblock": "%}", "openvariable": "{{", "closevariable": "}}",
		"openbrace": "{", "closebrace": "}", "opencomment": "{#", "closecomment": "#}",
	}[bits[1]]
	if text == "" {
		return nil, errAt(t.pos, "invalid templatetag argument: %q", bits[1])
	}
	return &textNode{text}, nil
}

// filterNode is {% filter %}: filters applied to what a block renders.
type filterNode struct {
	x    *expr
	body []node
	at   int
}

// filterVar is the name under which a filter block's text is bound.
const filterVar = "var"

func parseFilterTag(p *parser, t token) (node, error) {
	_, rest := cutSpace(t.text)
	if rest == "" {
		return nil, errAt(t.pos, "'filter' needs at least one filter")
	}
	x, err := p.compileExpr(filterVar+"|"+rest, t.at+strings.LastIndex(t.text, rest)-len(filterVar)-1)
	if err != nil {
		return nil, err
	}
	for _, f := range x.filters {
		if f.def.name == "escape" || f.def.name == "safe" {
			return nil, errAt(f.at, "filter %q is not permitted here: use the autoescape tag", f.def.name)
		}
	}
	body, _, err := p.block(t, []string{"endfilter"})
	return &filterNode{x, body, t.pos}, err
}

// cutSpace splits at the first white space.
func cutSpace(s string) (head, tail string) {
	i := strings.IndexFunc(s, isSpace)
	if i < 0 {
		return s, ""
	}
	return s[:i], strings.TrimLeftFunc(s[i:], isSpace)
}

func (n *filterNode) pos() int { return n.at }

func (n *filterNode) render(st *state) error {
	text, err := st.captured(n.body)
	if err != nil {
		return err
	}
	mark := st.push()
	st.set(filterVar, Safe(text))
	v, err := n.x.resolve(st, false)
	st.pop(mark)
	if err != nil {
		return err
	}
	if !v.isStr() {
		return fail(classType, "sequence item: expected str instance, %s found", v.typeName())
	}
	st.out = append(st.out, v.s...)
	return nil
}

// spacelessNode is {% spaceless %}.
type spacelessNode struct {
	body []node
	at   int
}

func parseSpaceless(p *parser, t token) (node, error) {
	body, _, err := p.block(t, []string{"endspaceless"})
	return &spacelessNode{body, t.pos}, err
}

func (n *spacelessNode) pos() int { return n.at }

func (n *spacelessNode) render(st *state) error {
	text, err := st.captured(n.body)
	if err != nil {
		return err
	}
	text = strings.TrimFunc(text, isSpace)
	for text != "" {
		i := strings.IndexByte(text, '>')
		if i < 0 {
			break
		}
		st.out = append(st.out, text[:i+1]...)
		text = text[i+1:]
		if t := strings.TrimLeftFunc(text, isSpace); strings.HasPrefix(t, "<") {
			text = t
		}
	}
	st.out = append(st.out, text...)
	return nil
}

// withNode is {% with %}.
type withNode struct {
	names []string
	exprs []*expr
	body  []node
	at    int
}

func parseWith(p *parser, t token) (node, error) {
	bits, err := p.split(t)
	if err != nil {
		return nil, err
	}
	n := &withNode{at: t.pos}
	rest, err := n.assignments(p, bits[1:])
	if err != nil {
		return nil, err
	}
	if len(n.names) == 0 {
		return nil, errAt(t.pos, "'with' expected at least one variable assignment")
	}
	if len(rest) > 0 {
		return nil, errAt(rest[0].at, "'with' received an invalid token: %q", rest[0].s)
	}
	n.body, _, err = p.block(t, []string{"endwith"})
	return n, err
}

// assignments reads name=value words, or "value as name and …", and returns the rest.
func (n *withNode) assignments(p *parser, bits []bit) ([]bit, error) {
	if len(bits) == 0 {
		return bits, nil
	}
	_, _, keyword := cutKeyword(bits[0])
	for len(bits) > 0 {
		var value bit
		var name string
		if keyword {
			var ok bool
			if name, value, ok = cutKeyword(bits[0]); !ok {
				return bits, nil
			}
			bits = bits[1:]
		} else {
			if len(bits) < 3 || bits[1].s != "as" {
				return bits, nil
			}
			name, value, bits = bits[2].s, bits[0], bits[3:]
		}
		x, err := p.compileExpr(value.s, value.at)
		if err != nil {
			return nil, err
		}
		n.bind(name, x)
		if !keyword && len(bits) > 0 {
			if bits[0].s != "and" {
				return bits, nil
			}
			bits = bits[1:]
		}
	}
	return bits, nil
}

func (n *withNode) bind(name string, x *expr) {
	for i := range n.names {
		if n.names[i] == name {
			n.exprs[i] = x
			return
		}
	}
	n.names = append(n.names, name)
	n.exprs = append(n.exprs, x)
}

// cutKeyword splits name=value; both must be there.
func cutKeyword(b bit) (name string, value bit, ok bool) {
	i := strings.IndexByte(b.s, '=')
	if i <= 0 || i+1 == len(b.s) || strings.IndexFunc(b.s[:i], func(r rune) bool { return !isWord(r) }) >= 0 {
		return "", bit{}, false
	}
	return b.s[:i], bit{b.s[i+1:], b.at + i + 1}, true
}

func (n *withNode) pos() int { return n.at }

func (n *withNode) render(st *state) error {
	var few [4]Value
	vals := few[:0]
	for _, x := range n.exprs {
		v, err := x.resolve(st, false)
		if err != nil {
			return err
		}
		vals = append(vals, v)
	}
	mark := st.push()
	defer st.pop(mark)
	for i, name := range n.names {
		st.set(name, vals[i])
	}
	return st.renderAll(n.body)
}
