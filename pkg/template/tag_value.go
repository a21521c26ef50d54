package template

import (
	"math"
	"math/big"
	"strconv"
	"unicode/utf8"
)

// firstOfNode is {% firstof %}.
type firstOfNode struct {
	exprs []*expr
	name  string
	at    int
}

func parseFirstOf(p *parser, t token) (node, error) {
	bits, err := p.split(t)
	if err != nil {
		return nil, err
	}
	bits = bits[1:]
	if len(bits) == 0 {
		return nil, errAt(t.pos, "'firstof' needs at least one argument")
	}
	n := &firstOfNode{at: t.pos}
	if size := len(bits); size >= 2 && bits[size-2].s == "as" {
		n.name, bits = bits[size-1].s, bits[:size-2]
	}
	n.exprs, err = p.exprs(bits)
	return n, err
}

func (n *firstOfNode) pos() int { return n.at }

func (n *firstOfNode) render(st *state) error {
	first := String("")
	for _, x := range n.exprs {
		v, err := x.resolve(st, true)
		if err != nil {
			return err
		}
		ok, err := st.truth(v)
		if err != nil {
			return err
		}
		if ok {
			if first, err = st.printed(v); err != nil {
				return err
			}
			break
		}
	}
	return st.setOrWrite(n.name, first)
}

// setOrWrite binds a tag's result to its "as" name, or writes it if there is none.
func (st *state) setOrWrite(name string, v Value) error {
	if name != "" {
		st.set(name, v)
		return nil
	}
	st.out = append(st.out, v.s...)
	return nil
}

// nowNode is {% now %}.
type nowNode struct {
	format string
	name   string
	at     int
}

func parseNow(p *parser, t token) (node, error) {
	bits, err := p.split(t)
	if err != nil {
		return nil, err
	}
	n := &nowNode{at: t.pos}
	if len(bits) == 4 && bits[2].s == "as" {
		n.name, bits = bits[3].s, bits[:2]
	}
	if len(bits) != 2 {
		return nil, errAt(t.pos, "'now' takes one argument")
	}
	// Django takes the quotes off without looking at them.
	if runeLen(bits[1].s) >= 2 {
		_, first := utf8.DecodeRuneInString(bits[1].s)
		_, last := utf8.DecodeLastRuneInString(bits[1].s)
		n.format = bits[1].s[first : len(bits[1].s)-last]
	}
	return n, nil
}

func (n *nowNode) pos() int { return n.at }

func (n *nowNode) render(st *state) error {
	now := DateTime(st.opt.Now().In(st.opt.Location), true)
	s, err := st.dateFilter(now, n.format)
	if err != nil {
		return err
	}
	return st.setOrWrite(n.name, String(s))
}

// widthRatioNode is {% widthratio %}.
type widthRatioNode struct {
	value, limit, width *expr
	name                string
	at                  int
}

func parseWidthRatio(p *parser, t token) (node, error) {
	bits, err := p.split(t)
	if err != nil {
		return nil, err
	}
	n := &widthRatioNode{at: t.pos}
	switch len(bits) {
	case 4:
	case 6:
		if bits[4].s != "as" {
			return nil, errAt(bits[4].at, "invalid syntax in widthratio: expecting 'as'")
		}
		n.name = bits[5].s
	default:
		return nil, errAt(t.pos, "'widthratio' takes at least three arguments")
	}
	xs, err := p.exprs(bits[1:4])
	if err != nil {
		return nil, err
	}
	n.value, n.limit, n.width = xs[0], xs[1], xs[2]
	return n, nil
}

func (n *widthRatioNode) pos() int { return n.at }

func (n *widthRatioNode) render(st *state) error {
	value, limit, width, err := n.operands(st)
	switch {
	case caught(err, classMissing):
		return nil
	case caught(err, classValue, classType):
		return fail(classSyntax, "widthratio final argument must be a number")
	case err != nil:
		return err
	}
	res, err := ratio(value, limit, width)
	switch {
	case caught(err, classZero):
		res = "0"
	case caught(err, classValue, classType, classOverflow):
		res = ""
	case err != nil:
		return err
	}
	return st.setOrWrite(n.name, String(res))
}

func (n *widthRatioNode) operands(st *state) (value, limit, width Value, err error) {
	if value, err = n.value.resolve(st, false); err != nil {
		return
	}
	if limit, err = n.limit.resolve(st, false); err != nil {
		return
	}
	if width, err = n.width.resolve(st, false); err != nil {
		return
	}
	width, err = toInt(width.norm())
	return value.norm(), limit.norm(), width, err
}

func ratio(value, limit, width Value) (string, error) {
	v, err := toFloat(value)
	if err != nil {
		return "", err
	}
	m, err := toFloat(limit)
	if err != nil {
		return "", err
	}
	if m == 0 {
		return "", fail(classZero, "float division by zero")
	}
	w, err := toFloat(width)
	if err != nil {
		return "", err
	}
	r := v / m * w
	switch {
	case math.IsNaN(r):
		return "", fail(classValue, "cannot convert float NaN to integer")
	case math.IsInf(r, 0):
		return "", fail(classOverflow, "cannot convert float infinity to integer")
	}
	b, _ := new(big.Float).SetFloat64(math.RoundToEven(r)).Int(nil)
	return b.String(), nil
}

// regroupNode is {% regroup %}.
type regroupNode struct {
	target, key *expr
	name        string
	at          int
}

func parseRegroup(p *parser, t token) (node, error) {
	bits, err := p.split(t)
	if err != nil {
		return nil, err
	}
	if len(bits) != 6 || bits[2].s != "by" || bits[4].s != "as" {
		return nil, errAt(t.pos, "'regroup' should use the format 'regroup x by y as z'")
	}
	n := &regroupNode{name: bits[5].s, at: t.pos}
	if n.target, err = p.compileExpr(bits[1].s, bits[1].at); err != nil {
		return nil, err
	}
	n.key, err = p.compileExpr(n.name+"."+bits[3].s, bits[3].at-len(n.name)-1)
	if err != nil {
		return nil, err
	}
	n.key.v.at = bits[3].at
	return n, nil
}

func (n *regroupNode) pos() int { return n.at }

func (n *regroupNode) render(st *state) error {
	v, err := n.target.resolve(st, true)
	if err != nil {
		return err
	}
	if v.IsNone() {
		st.set(n.name, listValue(nil))
		return nil
	}
	items, err := st.iterate(v)
	if err != nil {
		return err
	}
	var groups []*group
	for i := range items.Len() {
		if err := st.spend(1); err != nil {
			return err
		}
		item := items.At(i)
		st.set(n.name, item)
		key, err := n.key.resolve(st, true)
		if err != nil {
			return err
		}
		same := false
		if len(groups) > 0 {
			last := groups[len(groups)-1].grouper
			if same = identical(last, key); !same {
				if same, err = st.equal(last.norm(), key.norm()); err != nil {
					return err
				}
			}
		}
		if !same {
			groups = append(groups, &group{grouper: key, list: listValue(nil)})
		}
		g := groups[len(groups)-1]
		g.list.o = append(g.list.o.(slice), item)
	}
	res := make([]Value, len(groups))
	for i, g := range groups {
		res[i] = Value{k: kList, f: fTuple, o: g}
	}
	st.set(n.name, listValue(res))
	return nil
}

// group is one result of regroup: a pair with names.
type group struct{ grouper, list Value }

// Len implements List.
func (g *group) Len() int { return 2 }

// At implements List.
func (g *group) At(i int) Value {
	if i == 0 {
		return g.grouper
	}
	return g.list
}

func (g *group) appendRepr(st *state, dst []byte) ([]byte, error) {
	dst, err := st.appendRepr(append(dst, "GroupedResult(grouper="...), g.grouper.norm())
	if err != nil {
		return dst, err
	}
	dst, err = st.appendRepr(append(dst, ", list="...), g.list)
	return append(dst, ')'), err
}

// loremNode is {% lorem %}.
type loremNode struct {
	count  *expr
	method string
	common bool
	at     int
}

func parseLorem(p *parser, t token) (node, error) {
	bits, err := p.split(t)
	if err != nil {
		return nil, err
	}
	n := &loremNode{at: t.pos, method: "b"}
	last := func() string { return bits[len(bits)-1].s }
	n.common = last() != "random"
	if !n.common {
		bits = bits[:len(bits)-1]
	}
	if m := last(); m == "w" || m == "p" || m == "b" {
		n.method, bits = m, bits[:len(bits)-1]
	}
	count := bit{"1", t.at}
	if len(bits) > 1 {
		count, bits = bits[len(bits)-1], bits[:len(bits)-1]
	}
	if n.count, err = p.compileExpr(count.s, count.at); err != nil {
		return nil, err
	}
	if len(bits) != 1 {
		return nil, errAt(t.pos, "incorrect format for 'lorem'")
	}
	return n, nil
}

func (n *loremNode) pos() int { return n.at }

func (n *loremNode) render(st *state) error {
	v, err := n.count.resolve(st, false)
	if err != nil {
		return err
	}
	count, err := smallInt(v.norm())
	if caught(err, classValue, classType) {
		count, err = 1, nil
	}
	if err != nil {
		return err
	}
	if count > st.opt.Limits.Output {
		return fail(classBudget, "lorem: %s is too much", strconv.Itoa(count))
	}
	l := lorem{st: st, common: n.common}
	if n.method == "w" {
		return l.words(count)
	}
	for i := range max(count, 0) {
		if i > 0 {
			st.out = append(st.out, "\n\n"...)
		}
		text, err := l.paragraph(i)
		if err != nil {
			return err
		}
		if n.method == "p" {
			text = "<p>" + text + "</p>"
		}
		st.out = append(st.out, text...)
	}
	return nil
}
