package template

import "strings"

// ifNode is {% if %} with its branches; the condition of {% else %} is nil.
type ifNode struct {
	branches []branch
	at       int
}

type branch struct {
	cond cond
	body []node
}

func parseIf(p *parser, t token) (node, error) {
	n := &ifNode{at: t.pos}
	tag := t
	for {
		bits, err := p.split(tag)
		if err != nil {
			return nil, err
		}
		c, err := p.condition(bits[1:], tag.at+len(tag.text))
		if err != nil {
			return nil, err
		}
		body, end, err := p.block(t, []string{"elif", "else", "endif"})
		if err != nil {
			return nil, err
		}
		n.branches = append(n.branches, branch{c, body})
		if tag = end; !strings.HasPrefix(tag.text, "elif") {
			break
		}
	}
	if tag.text == "else" {
		body, end, err := p.block(t, []string{"endif"})
		if err != nil {
			return nil, err
		}
		n.branches = append(n.branches, branch{nil, body})
		tag = end
	}
	if tag.text != "endif" {
		return nil, errAt(tag.pos, "malformed tag: %q", tag.text)
	}
	return n, nil
}

func (n *ifNode) pos() int { return n.at }

func (n *ifNode) render(st *state) error {
	for _, b := range n.branches {
		ok := true
		if b.cond != nil {
			var err error
			if ok, err = st.test(b.cond); err != nil {
				return err
			}
		}
		if ok {
			return st.renderAll(b.body)
		}
	}
	return nil
}

// ifChangedNode is {% ifchanged %}.
type ifChangedNode struct {
	exprs     []*expr
	body, els []node
	slot, at  int
}

func parseIfChanged(p *parser, t token) (node, error) {
	bits, err := p.split(t)
	if err != nil {
		return nil, err
	}
	n := &ifChangedNode{at: t.pos, slot: p.slots}
	p.slots++
	var end token
	if n.body, end, err = p.block(t, []string{"else", "endifchanged"}); err != nil {
		return nil, err
	}
	if end.text == "else" {
		if n.els, _, err = p.block(t, []string{"endifchanged"}); err != nil {
			return nil, err
		}
	}
	n.exprs, err = p.exprs(bits[1:])
	return n, err
}

func (n *ifChangedNode) pos() int { return n.at }

func (n *ifChangedNode) render(st *state) error {
	seen := st.changedFrame()
	var now Value
	body, rendered := "", false
	if len(n.exprs) > 0 {
		vs := make([]Value, len(n.exprs))
		for i, x := range n.exprs {
			v, err := x.resolve(st, true)
			if err != nil {
				return err
			}
			vs[i] = v
		}
		now = listValue(vs)
	} else {
		var err error
		if body, err = st.captured(n.body); err != nil {
			return err
		}
		now, rendered = String(body), body != ""
	}
	same, err := st.equal(now, seen[n.slot])
	switch {
	case err != nil:
		return err
	case same:
		return st.renderAll(n.els)
	}
	seen[n.slot] = now
	if rendered {
		st.out = append(st.out, body...)
		return nil
	}
	// Django renders the body again if it came out empty the first time.
	return st.renderAll(n.body)
}

// changedFrame is where ifchanged remembers: the innermost loop, or the rendering.
func (st *state) changedFrame() map[int]Value {
	var v Value
	if st.get("forloop", &v) {
		if l, ok := v.o.(*loopState); ok {
			if l.changed == nil {
				l.changed = make(map[int]Value)
			}
			return l.changed
		}
	}
	if st.changed == nil {
		st.changed = make(map[int]Value)
	}
	return st.changed
}
