package template

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"
)

// filterStringFormat is Python's "%" operator with the argument as the format.
func filterStringFormat(c *call, in Value) (Value, error) {
	format, err := c.st.str(c.arg)
	if err != nil {
		return in, err
	}
	if in.k == kList && in.f&fTuple != 0 {
		s, err := c.st.str(in)
		if err != nil {
			return in, err
		}
		in = String(s)
	}
	p := percent{c: c, s: "%" + format, arg: in}
	s, err := p.format()
	if caught(err, classValue, classType) {
		return String(""), nil
	}
	if in.f&fLazy != 0 && s == in.s && !p.copied {
		return Safe(s), err // Python then returns the very object, which is safe
	}
	return String(s), err
}

// percent formats one argument.
type percent struct {
	c      *call
	s      string
	i      int
	arg    Value
	used   bool
	copied bool // a conversion made a new str, though of the same text
	out    []byte
}

// spec is one conversion.
type spec struct {
	minus, plus, space, hash, zero bool
	width                          int
	prec                           int // -1: none
	verb                           rune
}

func (p *percent) format() (string, error) {
	for p.i < len(p.s) {
		if p.s[p.i] != '%' {
			p.out = append(p.out, p.s[p.i])
			p.i++
			continue
		}
		p.i++
		if strings.HasPrefix(p.s[p.i:], "%") {
			p.i++
			p.out = append(p.out, '%')
			continue
		}
		arg, named, err := p.mapping()
		if err != nil {
			return "", err
		}
		sp, err := p.spec()
		if err != nil {
			return "", err
		}
		if !named {
			if p.used {
				return "", fail(classType, "not enough arguments for format string")
			}
			p.used, arg = true, p.arg
		}
		p.copied = p.copied || (sp.hash && sp.prec >= 0)
		text, sgn, numeric, err := p.convert(sp, arg)
		if err != nil {
			return "", err
		}
		if err := p.c.room(max(sp.width, len(text)) + len(p.out)); err != nil {
			return "", err
		}
		p.pad(sp, text, sgn, numeric)
	}
	if !p.used && !p.isMapping() {
		return "", fail(classType, "not all arguments converted during string formatting")
	}
	return string(p.out), nil
}

// isMapping tells what Python takes for a mapping here: all that has v[key], but for
// str and tuple.
func (p *percent) isMapping() bool {
	if _, view := p.arg.o.(dictView); view {
		return false
	}
	return p.arg.k == kObject || p.arg.k == kList || p.arg.k == kBytes || p.arg.f&fLazy != 0
}

// mapping reads (key) and looks it up.
func (p *percent) mapping() (Value, bool, error) {
	if p.i >= len(p.s) || p.s[p.i] != '(' {
		return Value{}, false, nil
	}
	if !p.isMapping() {
		return Value{}, false, fail(classType, "format requires a mapping")
	}
	depth, start := 1, p.i+1
	for p.i++; p.i < len(p.s); p.i++ {
		switch p.s[p.i] {
		case '(':
			depth++
		case ')':
			depth--
		}
		if depth == 0 {
			break
		}
	}
	if p.i >= len(p.s) {
		return Value{}, false, fail(classValue, "incomplete format key")
	}
	key := p.s[start:p.i]
	p.i++
	v, err := p.c.st.item(p.arg, String(key))
	p.used = true
	return v.norm(), true, err
}

func (p *percent) spec() (spec, error) {
	sp := spec{prec: -1}
flags:
	for ; p.i < len(p.s); p.i++ {
		switch p.s[p.i] {
		case '-':
			sp.minus = true
		case '+':
			sp.plus = true
		case ' ':
			sp.space = true
		case '#':
			sp.hash = true
		case '0':
			sp.zero = true
		default:
			break flags
		}
	}
	var err error
	if sp.width, err = p.number(math.MaxInt64); err != nil {
		return sp, err
	}
	if p.i < len(p.s) && p.s[p.i] == '.' {
		p.i++
		if sp.prec, err = p.number(math.MaxInt32); err != nil {
			return sp, err
		}
	}
	if p.i < len(p.s) && strings.IndexByte("hlL", p.s[p.i]) >= 0 {
		p.i++
	}
	if p.i >= len(p.s) {
		return sp, fail(classValue, "incomplete format")
	}
	r, n := utf8.DecodeRuneInString(p.s[p.i:])
	sp.verb = r
	p.i += n
	return sp, nil
}

// number reads a width or a precision. A * takes the argument for it, so that none is
// left for the conversion.
func (p *percent) number(limit int64) (int, error) {
	if p.i < len(p.s) && p.s[p.i] == '*' {
		if p.used {
			return 0, fail(classType, "not enough arguments for format string")
		}
		if v := p.arg; v.k == kInt && (v.f&fBig != 0 || v.n > limit || v.n < -limit-1) {
			return 0, fail(classOverflow, "int too large to convert")
		}
		return 0, fail(classType, "* wants int, and one argument more")
	}
	n := 0
	for ; p.i < len(p.s) && p.s[p.i] >= '0' && p.s[p.i] <= '9'; p.i++ {
		if n = n*10 + int(p.s[p.i]-'0'); n > math.MaxInt32 {
			return 0, fail(classValue, "width or precision too big")
		}
	}
	return n, nil
}

// pad appends text in its width, the sign (and 0x) before zeros.
func (p *percent) pad(sp spec, text, sgn string, numeric bool) {
	fill := max(sp.width-runeLen(text)-len(sgn), 0)
	switch {
	case sp.minus:
		p.out = append(append(p.out, sgn...), text...)
		p.out = append(p.out, strings.Repeat(" ", fill)...)
	case sp.zero && numeric:
		p.out = append(p.out, sgn...)
		p.out = append(p.out, strings.Repeat("0", fill)...)
		p.out = append(p.out, text...)
	default:
		p.out = append(p.out, strings.Repeat(" ", fill)...)
		p.out = append(append(p.out, sgn...), text...)
	}
}

// convert gives the digits or the text, and the sign with prefix.
func (p *percent) convert(sp spec, v Value) (text, sgn string, numeric bool, err error) {
	switch sp.verb {
	case 's', 'r', 'a':
		text, err = p.text(sp, v)
		if sp.prec >= 0 {
			text = firstRunes(text, sp.prec)
		}
		return text, "", false, err
	case 'c':
		text, err = character(v)
		return text, "", false, err
	case 'd', 'i', 'u', 'x', 'X', 'o':
		text, sgn, err = p.integer(sp, v)
		return text, sgn, true, err
	case 'e', 'E', 'f', 'F', 'g', 'G':
		text, sgn, err = p.float(sp, v)
		return text, sgn, true, err
	}
	return "", "", false, fail(classValue, "unsupported format character %q", sp.verb)
}

func (p *percent) text(sp spec, v Value) (string, error) {
	if sp.verb == 's' {
		return p.c.st.str(v)
	}
	b, err := p.c.st.appendRepr(nil, v)
	if err != nil || sp.verb == 'r' {
		return string(b), err
	}
	var out []byte
	for _, r := range string(b) {
		switch {
		case r < 0x80:
			out = append(out, byte(r))
		case r < 0x100:
			out = appendHex(append(out, `\x`...), r, 2)
		case r < 0x10000:
			out = appendHex(append(out, `\u`...), r, 4)
		default:
			out = appendHex(append(out, `\U`...), r, 8)
		}
	}
	return string(out), nil
}

func character(v Value) (string, error) {
	switch v.k {
	case kString:
		if runeLen(v.s) == 1 {
			return v.s, nil
		}
	case kInt, kBool:
		if v.f&fBig != 0 || v.n < 0 || v.n > utf8.MaxRune {
			return "", fail(classOverflow, "%%c arg not in range(0x110000)")
		}
		return string(rune(v.n)), nil
	}
	return "", fail(classType, "%%c requires int or char")
}

func (sp spec) sign(negative bool) string {
	switch {
	case negative:
		return "-"
	case sp.plus:
		return "+"
	case sp.space:
		return " "
	}
	return ""
}

func (p *percent) integer(sp spec, v Value) (text, sgn string, err error) {
	decimal := sp.verb == 'd' || sp.verb == 'i' || sp.verb == 'u'
	switch {
	case v.k == kInt || v.k == kBool:
	case decimal && (v.k == kFloat || v.k == kDecimal):
		if v, err = toInt(v); err != nil {
			return "", "", err
		}
	default:
		return "", "", fail(classType, "%%%c format: an integer is required, not %s", sp.verb, v.typeName())
	}
	b := v.bigInt()
	base, prefix := 10, ""
	switch sp.verb {
	case 'x', 'X':
		base, prefix = 16, "0x"
	case 'o':
		base, prefix = 8, "0o"
	}
	if decimal && b.BitLen() > maxIntDigits*4 {
		return "", "", fail(classValue, "exceeds the limit for integer string conversion")
	}
	text = new(big.Int).Abs(b).Text(base)
	if sp.prec > 0 {
		if err := p.c.room(sp.prec); err != nil {
			return "", "", err
		}
		text = strings.Repeat("0", max(sp.prec-len(text), 0)) + text
	}
	sgn = sp.sign(b.Sign() < 0)
	if sp.hash {
		sgn += prefix
	}
	if sp.verb == 'X' {
		text, sgn = strings.ToUpper(text), strings.ToUpper(sgn)
	}
	return text, sgn, nil
}

func (p *percent) float(sp spec, v Value) (text, sgn string, err error) {
	if v.k == kString || !isNumber(v) {
		return "", "", fail(classType, "must be real number, not %s", v.typeName())
	}
	f, err := toFloat(v)
	if err != nil {
		return "", "", err
	}
	negative := math.Signbit(f) && !math.IsNaN(f)
	f = math.Abs(f)
	prec := sp.prec
	if prec < 0 {
		prec = 6
	}
	if err := p.c.room(prec); err != nil {
		return "", "", err
	}
	upper := sp.verb < 'a'
	verb := byte(sp.verb) | 0x20
	switch {
	case math.IsNaN(f):
		text = "nan"
	case math.IsInf(f, 0):
		text = "inf"
	case verb == 'g':
		text = formatG(f, prec, sp.hash)
	default:
		text = strconv.FormatFloat(f, verb, prec, 64)
		if sp.hash && prec == 0 {
			text = withPoint(text)
		}
	}
	if upper {
		text = strings.ToUpper(text)
	}
	return text, sp.sign(negative), nil
}

// withPoint puts a decimal point where the alternate form wants one.
func withPoint(s string) string {
	if i := strings.IndexByte(s, 'e'); i >= 0 {
		return s[:i] + "." + s[i:]
	}
	return s + "."
}

// formatG is C's %g: precision counts significant digits; zeros at the end go, unless
// the alternate form keeps them.
func formatG(f float64, prec int, alternate bool) string {
	if prec == 0 {
		prec = 1
	}
	exp := 0
	if f != 0 {
		e := strconv.FormatFloat(f, 'e', prec-1, 64)
		exp, _ = strconv.Atoi(e[strings.IndexByte(e, 'e')+1:])
	}
	if exp < -4 || exp >= prec {
		s := strconv.FormatFloat(f, 'e', prec-1, 64)
		mant, e, _ := strings.Cut(s, "e")
		if !alternate {
			mant = trimZeros(mant)
		} else if !strings.Contains(mant, ".") {
			mant += "."
		}
		return fmt.Sprintf("%se%s", mant, e)
	}
	s := strconv.FormatFloat(f, 'f', prec-1-exp, 64)
	if alternate {
		if !strings.Contains(s, ".") {
			s += "."
		}
		return s
	}
	return trimZeros(s)
}

func trimZeros(s string) string {
	if !strings.Contains(s, ".") {
		return s
	}
	return strings.TrimRight(strings.TrimRight(s, "0"), ".")
}
