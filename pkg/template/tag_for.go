package template

import "strings"

// forNode is {% for %}.
type forNode struct {
	names    []string
	seq      *expr
	reversed bool
	body     []node
	empty    []node
	at       int
}

func parseFor(p *parser, t token) (node, error) {
	bits, err := p.split(t)
	if err != nil {
		return nil, err
	}
	if len(bits) < 4 {
		return nil, errAt(t.pos, "'for' should have at least four words: %s", t.text)
	}
	n := &forNode{at: t.pos, reversed: bits[len(bits)-1].s == "reversed"}
	in := len(bits) - 2
	if n.reversed {
		in--
	}
	if bits[in].s != "in" {
		return nil, errAt(t.pos, "'for' should use the format 'for x in y': %s", t.text)
	}
	if n.names, err = loopNames(bits[1:max(in, 1)]); err != nil {
		return nil, errAt(t.pos, "'for' received an invalid name: %s", t.text)
	}
	if n.seq, err = p.compileExpr(bits[in+1].s, bits[in+1].at); err != nil {
		return nil, err
	}
	var end token
	if n.body, end, err = p.block(t, []string{"empty", "endfor"}); err != nil {
		return nil, err
	}
	if end.text == "empty" {
		if n.empty, _, err = p.block(t, []string{"endfor"}); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// loopNames splits the names at commas, with or without spaces around them.
func loopNames(bits []bit) ([]string, error) {
	var words []string
	for _, b := range bits {
		words = append(words, b.s)
	}
	names := strings.Split(strings.Join(words, " "), ",")
	for i, name := range names {
		names[i] = strings.Trim(name, " ")
		if i == 0 {
			names[i] = strings.TrimRight(name, " ")
		}
		if names[i] == "" || strings.ContainsAny(names[i], " \"'|") {
			return nil, errAt(0, "invalid name")
		}
	}
	return names, nil
}

func (n *forNode) pos() int { return n.at }

func (n *forNode) render(st *state) error {
	var parent Value
	if !st.get("forloop", &parent) {
		parent = Of(&dict{})
	}
	mark := st.push()
	defer st.pop(mark)
	v, err := n.seq.resolve(st, true)
	if err != nil {
		return err
	}
	var items List = slice(nil)
	if !v.IsNone() {
		if items, err = st.iterate(v); err != nil {
			return err
		}
	}
	size := items.Len()
	if size < 1 {
		return st.renderAll(n.empty)
	}
	loop := &loopState{parent: parent, size: size}
	st.set("forloop", Of(loop))
	if len(n.names) == 1 {
		st.set(n.names[0], Value{})
	}
	for i := range size {
		if err := st.spend(1); err != nil {
			return err
		}
		loop.i = i
		item := items.At(i)
		if n.reversed {
			item = items.At(size - 1 - i)
		}
		if len(n.names) == 1 {
			// Right behind forloop, or in its place if it has that name.
			at := min(st.frames[mark]+1, len(st.bound)-1)
			if st.bound[at].name != n.names[0] {
				at = st.frames[mark]
			}
			st.bound[at].val = item
			err = st.renderAll(n.body)
		} else {
			err = n.unpack(st, item)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// unpack renders the body with the parts of an item.
func (n *forNode) unpack(st *state, item Value) error {
	got, ok := length(item)
	if !ok {
		got = 1
	}
	if got != len(n.names) {
		return fail(classValue, "need %d values to unpack in for loop; got %d", len(n.names), got)
	}
	parts, err := st.iterate(item)
	if err != nil {
		return err
	}
	mark := st.push()
	defer st.pop(mark)
	for i, name := range n.names {
		st.set(name, parts.At(i))
	}
	return st.renderAll(n.body)
}

// loopState is the variable forloop.
type loopState struct {
	parent  Value
	i, size int
	changed map[int]Value // what ifchanged tags saw last, by slot
}

// loopField is a part of forloop; 0 is none.
type loopField uint8

const (
	loopParent loopField = iota + 1
	loopCounter0
	loopCounter
	loopRevcounter
	loopRevcounter0
	loopFirst
	loopLast
)

func loopFieldOf(name string) loopField {
	switch name {
	case "parentloop":
		return loopParent
	case "counter0":
		return loopCounter0
	case "counter":
		return loopCounter
	case "revcounter":
		return loopRevcounter
	case "revcounter0":
		return loopRevcounter0
	case "first":
		return loopFirst
	case "last":
		return loopLast
	}
	return 0
}

func (l *loopState) field(f loopField, out *Value) {
	switch f {
	case loopCounter0:
		*out = Int(int64(l.i))
	case loopCounter:
		*out = Int(int64(l.i + 1))
	case loopRevcounter:
		*out = Int(int64(l.size - l.i))
	case loopRevcounter0:
		*out = Int(int64(l.size - l.i - 1))
	case loopFirst:
		*out = Bool(l.i == 0)
	case loopLast:
		*out = Bool(l.i == l.size-1)
	default:
		*out = l.parent
	}
}

// Get implements Object.
func (l *loopState) Get(name string) (Value, bool) {
	if f := loopFieldOf(name); f != 0 {
		var v Value
		l.field(f, &v)
		return v, true
	}
	return Value{}, false
}

// Keys implements Keyed.
func (l *loopState) Keys() []string {
	return []string{"parentloop", "counter0", "counter", "revcounter", "revcounter0", "first", "last"}
}
