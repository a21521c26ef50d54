package template

import (
	"strings"
	"unicode/utf8"
)

// expr is a filter expression: a variable, then filters with or without an argument.
type expr struct {
	v       operand
	filters []filterCall
}

// operand is a literal or a variable.
type operand struct {
	lit  Value
	path []string // nil: the literal
	loop loopField
	src  string // the variable as written
	at   int    // offset in the source
}

// filterCall is one filter of an expression.
type filterCall struct {
	def    *filterDef
	arg    operand
	hasArg bool
	at     int
}

// scanner reads a filter expression; at is the offset of s in the source.
type scanner struct {
	s   string
	pos int
	at  int
}

// compileExpr parses a whole filter expression.
func (p *parser) compileExpr(s string, at int) (*expr, error) {
	sc := &scanner{s: s, at: at}
	x := &expr{}
	var ok bool
	var err error
	if x.v, ok, err = sc.operand(); err != nil {
		return nil, err
	}
	if !ok {
		return nil, errAt(at, "could not parse %q", s)
	}
	for sc.pos < len(s) {
		f, err := sc.filter()
		if err != nil {
			return nil, err
		}
		x.filters = append(x.filters, f)
	}
	return x, nil
}

// operand reads a constant or a variable; ok is false if there is neither.
func (sc *scanner) operand() (operand, bool, error) {
	start := sc.pos
	if end := constantEnd(sc.s, start); end > 0 {
		sc.pos = end
		o := operand{src: sc.s[start:end], at: sc.at + start}
		if text, ok := strings.CutPrefix(o.src, "_("); ok {
			// As a message with parameters: percent signs are doubled.
			o.lit = Safe(strings.ReplaceAll(unescapeLiteral(text[:len(text)-1]), "%", "%%"))
			o.lit.f |= fLazy
		} else {
			o.lit = Safe(unescapeLiteral(o.src))
		}
		return o, true, nil
	}
	end := start
	for end < len(sc.s) {
		r, n := utf8.DecodeRuneInString(sc.s[end:])
		if r != '.' && !isWord(r) {
			break
		}
		end += n
	}
	if end == start {
		end = numberEnd(sc.s, start)
	}
	if end == start {
		return operand{}, false, nil
	}
	sc.pos = end
	o, err := variable(sc.s[start:end], sc.at+start)
	return o, true, err
}

// filter reads |name or |name:argument.
func (sc *scanner) filter() (filterCall, error) {
	bad := func() (filterCall, error) {
		return filterCall{}, errAt(sc.at+sc.pos, "could not parse the remainder %q of %q", sc.s[sc.pos:], sc.s)
	}
	i := skipSpaces(sc.s, sc.pos)
	if i >= len(sc.s) || sc.s[i] != '|' {
		return bad()
	}
	i = skipSpaces(sc.s, i+1)
	start := i
	for i < len(sc.s) {
		r, n := utf8.DecodeRuneInString(sc.s[i:])
		if !isWord(r) {
			break
		}
		i += n
	}
	if i == start {
		return bad()
	}
	name := sc.s[start:i]
	f := filterCall{at: sc.at + start}
	sc.pos = i
	if i < len(sc.s) && sc.s[i] == ':' {
		sc.pos = i + 1
		var err error
		if f.arg, f.hasArg, err = sc.operand(); err != nil {
			return f, err
		}
		if !f.hasArg {
			sc.pos = i
			return bad()
		}
	}
	var ok bool
	if f.def, ok = findFilter(name); !ok {
		return f, errAt(f.at, "unknown filter %q", name)
	}
	switch {
	case f.def.args == argRequired && !f.hasArg:
		return f, errAt(f.at, "filter %q needs an argument", name)
	case f.def.args == argNone && f.hasArg:
		return f, errAt(f.at, "filter %q takes no argument", name)
	}
	return f, nil
}

func skipSpaces(s string, i int) int {
	for i < len(s) {
		r, n := utf8.DecodeRuneInString(s[i:])
		if !isSpace(r) {
			break
		}
		i += n
	}
	return i
}

// constantEnd returns the end of a quoted string, or of _("a quoted string"), at i; 0
// if there is none.
func constantEnd(s string, i int) int {
	if strings.HasPrefix(s[i:], "_(") && i+2 < len(s) && (s[i+2] == '"' || s[i+2] == '\'') {
		if end := skipQuoted(s, i+2); end > 0 && end < len(s) && s[end] == ')' {
			return end + 1
		}
		return 0
	}
	if i < len(s) && (s[i] == '"' || s[i] == '\'') {
		return max(skipQuoted(s, i), 0)
	}
	return 0
}

// numberEnd returns the end of [-+.]?\d[\d.e]* at i, or i.
func numberEnd(s string, i int) int {
	j := i
	if j < len(s) && (s[j] == '-' || s[j] == '+' || s[j] == '.') {
		j++
	}
	r, n := utf8.DecodeRuneInString(s[j:])
	if _, ok := digitValue(r); !ok {
		return i
	}
	for j += n; j < len(s); j += n {
		if r, n = utf8.DecodeRuneInString(s[j:]); r == '.' || r == 'e' {
			continue
		}
		if _, ok := digitValue(r); !ok {
			break
		}
	}
	return j
}

// unescapeLiteral takes the quotes off a literal.
func unescapeLiteral(s string) string {
	quote := s[:1]
	s = s[1 : len(s)-1]
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	s = strings.ReplaceAll(s, `\`+quote, quote)
	return strings.ReplaceAll(s, `\\`, `\`)
}

// variable makes an operand of a word: a number, or a dotted path.
func variable(s string, at int) (operand, error) {
	o := operand{src: s, at: at}
	if strings.ContainsAny(s, ".eE") {
		if f, ok := parseFloat(s); ok && s[len(s)-1] != '.' {
			o.lit = Float(f)
			return o, nil
		}
	} else if v, ok := parseInt(s); ok {
		o.lit = v
		return o, nil
	}
	if strings.HasPrefix(s, "_") || strings.Contains(s, "._") {
		return o, errAt(at, "variables and attributes may not begin with underscores: %q", s)
	}
	o.path = strings.Split(s, ".")
	if len(o.path) == 2 && o.path[0] == "forloop" {
		o.loop = loopFieldOf(o.path[1])
	}
	return o, nil
}

// resolve evaluates the expression. lax makes a missing variable None, as tags do;
// otherwise it is StringIfInvalid.
func (x *expr) resolve(st *state, lax bool) (Value, error) {
	v := x.v.lit
	if x.v.path != nil {
		if !st.operand(&x.v, &v) {
			switch {
			case lax:
				v = Value{}
			case st.opt.StringIfInvalid != "":
				// Filters are not applied to it.
				return String(strings.Replace(st.opt.StringIfInvalid, "%s", x.v.src, 1)), nil
			default:
				v = String("")
			}
		}
	}
	for i := range x.filters {
		var err error
		if v, err = x.filters[i].apply(st, v); err != nil {
			return v, err
		}
	}
	return v, nil
}

// bare tells whether x is a variable without filters.
func (x *expr) bare() bool { return len(x.filters) == 0 && x.v.path != nil }

// value evaluates an operand that is a filter's argument.
func (o *operand) value(st *state) (Value, error) {
	if o.path == nil {
		return o.lit, nil
	}
	var v Value
	if !st.operand(o, &v) {
		return v, fail(classMissing, "failed lookup of %s", o.src)
	}
	return v, nil
}

func (f *filterCall) apply(st *state, v Value) (Value, error) {
	c := call{st: st, has: f.hasArg}
	if f.hasArg {
		arg, err := f.arg.value(st)
		if err != nil {
			return v, err
		}
		c.arg = arg.norm()
		if f.def.args == argWrong {
			return v, fail(classType, "%s() got multiple values for argument 'autoescape'", f.def.name)
		}
	}
	if !f.def.raw {
		v = v.norm()
	}
	if f.def.localtime {
		v = st.localtime(v)
	}
	in := v
	if f.def.text && !v.isStr() {
		s, err := st.str(v)
		if err != nil {
			return v, err
		}
		in = String(s)
		in.f = v.f & fSafe
	}
	if err := st.spend(1 + len(in.s)>>10); err != nil {
		return v, err
	}
	out, err := f.def.fn(&c, in)
	if err != nil {
		return out, err
	}
	if f.def.safe && in.safe() && in.isStr() && !out.safe() {
		// Django's mark_safe turns whatever the filter returned into text.
		s, err := st.str(out)
		if err != nil {
			return out, err
		}
		out = Safe(s)
	}
	if len(out.s) > st.opt.Limits.Output {
		return out, fail(classBudget, "filter %s: value over %d bytes", f.def.name, st.opt.Limits.Output)
	}
	return out, nil
}
