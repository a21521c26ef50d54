package template

// cond is a node of an {% if %} expression. test is the truth of eval.
type cond interface {
	eval(st *state) (Value, error)
	test(st *state) (bool, error)
}

type operator uint8

const (
	opOr operator = iota + 1
	opAnd
	opNot
	opIn
	opNotIn
	opIs
	opIsNot
	opEq
	opNe
	opGt
	opGe
	opLt
	opLe
)

// operators gives Django's binding powers, which are Python's precedence.
func operatorOf(word string) (operator, int) {
	switch word {
	case "or":
		return opOr, 6
	case "and":
		return opAnd, 7
	case "not":
		return opNot, 8
	case "in":
		return opIn, 9
	case "not in":
		return opNotIn, 9
	case "is":
		return opIs, 10
	case "is not":
		return opIsNot, 10
	case "==":
		return opEq, 10
	case "!=":
		return opNe, 10
	case ">":
		return opGt, 10
	case ">=":
		return opGe, 10
	case "<":
		return opLt, 10
	case "<=":
		return opLe, 10
	}
	return 0, 0
}

type condToken struct {
	op   operator
	bp   int
	leaf *expr
	bit  bit
}

// condParser is a top-down operator precedence parser.
type condParser struct {
	toks []condToken
	pos  int
	end  int // offset for errors at the end
}

// condition parses the words of an {% if %} tag; end is the offset behind them.
func (p *parser) condition(bits []bit, end int) (cond, error) {
	cp := &condParser{end: end}
	for i := 0; i < len(bits); i++ {
		b := bits[i]
		if i+1 < len(bits) && ((b.s == "is" && bits[i+1].s == "not") || (b.s == "not" && bits[i+1].s == "in")) {
			b.s += " " + bits[i+1].s
			i++
		}
		t := condToken{bit: b}
		if t.op, t.bp = operatorOf(b.s); t.op == 0 {
			var err error
			if t.leaf, err = p.compileExpr(b.s, b.at); err != nil {
				return nil, err
			}
		}
		cp.toks = append(cp.toks, t)
	}
	if len(cp.toks) > maxOperators {
		return nil, errAt(cp.toks[0].bit.at, "expression has more than %d words", maxOperators)
	}
	c, err := cp.expression(0)
	if err != nil {
		return nil, err
	}
	if cp.pos < len(cp.toks) {
		t := cp.toks[cp.pos]
		return nil, errAt(t.bit.at, "unused %q at the end of the expression", t.bit.s)
	}
	return c, nil
}

func (cp *condParser) expression(rbp int) (cond, error) {
	left, err := cp.prefix()
	if err != nil {
		return nil, err
	}
	for cp.pos < len(cp.toks) && rbp < cp.toks[cp.pos].bp {
		t := cp.toks[cp.pos]
		cp.pos++
		if t.op == opNot {
			return nil, errAt(t.bit.at, "not expecting 'not' as infix operator")
		}
		right, err := cp.expression(t.bp)
		if err != nil {
			return nil, err
		}
		left = &binary{t.op, left, right}
	}
	return left, nil
}

func (cp *condParser) prefix() (cond, error) {
	if cp.pos >= len(cp.toks) {
		return nil, errAt(cp.end, "unexpected end of expression")
	}
	t := cp.toks[cp.pos]
	cp.pos++
	switch t.op {
	case 0:
		return &leaf{t.leaf}, nil
	case opNot:
		x, err := cp.expression(t.bp)
		if err != nil {
			return nil, err
		}
		return &negation{x}, nil
	}
	return nil, errAt(t.bit.at, "not expecting %q in this position", t.bit.s)
}

type leaf struct{ x *expr }

func (l *leaf) eval(st *state) (Value, error) { return l.x.resolve(st, true) }

func (l *leaf) test(st *state) (bool, error) {
	if l.x.bare() {
		var v Value
		switch {
		case !st.operand(&l.x.v, &v):
			return false, nil
		case v.k == kBool:
			return v.n != 0, nil
		}
		return st.truth(v)
	}
	v, err := l.x.resolve(st, true)
	if err != nil {
		return false, err
	}
	return st.truth(v)
}

type negation struct{ x cond }

func (n *negation) eval(st *state) (Value, error) {
	b, err := n.test(st)
	return Bool(b), err
}

func (n *negation) test(st *state) (bool, error) {
	b, err := n.x.test(st)
	if err != nil {
		return false, silence(err)
	}
	return !b, nil
}

type binary struct {
	op          operator
	left, right cond
}

func (b *binary) eval(st *state) (Value, error) {
	if err := st.spend(1); err != nil {
		return Value{}, err
	}
	v, err := b.apply(st)
	if err != nil {
		return Bool(false), silence(err)
	}
	return v, nil
}

func (b *binary) test(st *state) (bool, error) {
	v, err := b.eval(st)
	if err != nil {
		return false, err
	}
	return st.truth(v)
}

// silence drops an exception, which makes an operator False as in Django; a spent
// budget stays an error.
func silence(err error) error {
	if caughtAny(err) {
		return nil
	}
	return err
}

func (b *binary) apply(st *state) (Value, error) {
	x, err := b.left.eval(st)
	if err != nil {
		return x, err
	}
	if b.op == opOr || b.op == opAnd {
		t, err := st.truth(x)
		if err != nil || t == (b.op == opOr) {
			return x, err
		}
		return b.right.eval(st)
	}
	y, err := b.right.eval(st)
	if err != nil {
		return y, err
	}
	var res bool
	switch b.op {
	case opIn, opNotIn:
		res, err = st.contains(y.norm(), x.norm())
		res = res == (b.op == opIn)
	case opIs, opIsNot:
		res = identical(x, y) == (b.op == opIs)
	case opEq:
		res, err = st.equal(x.norm(), y.norm())
	case opNe:
		res, err = st.equal(x.norm(), y.norm())
		res = !res
	default:
		res, err = st.ordered(b.op, x.norm(), y.norm())
	}
	return Bool(res), err
}

// test evaluates a condition to a truth value, as {% if %} does.
func (st *state) test(c cond) (bool, error) {
	b, err := c.test(st)
	if err != nil {
		if caught(err, classMissing) {
			return false, nil
		}
		return false, err
	}
	return b, nil
}
