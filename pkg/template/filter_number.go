package template

import (
	"math"
	"math/big"
	"strconv"
	"strings"
)

var numberFilters = []filterDef{
	{name: "add", fn: filterAdd, args: argRequired},
	{name: "divisibleby", fn: filterDivisibleBy, args: argRequired},
	{name: "filesizeformat", fn: filterFileSize, safe: true},
	{name: "floatformat", fn: filterFloatFormat, args: argOptional, safe: true},
	{name: "get_digit", fn: filterGetDigit, args: argRequired},
	{name: "pluralize", fn: filterPluralize, args: argOptional},
	{name: "stringformat", fn: filterStringFormat, args: argRequired, safe: true},
}

func filterAdd(c *call, in Value) (Value, error) {
	x, err := toInt(in)
	if err == nil {
		var y Value
		if y, err = toInt(c.arg); err == nil {
			return addInts(x, y), nil
		}
	}
	if !caught(err, classValue, classType) {
		return in, err
	}
	return c.st.plus(in, c.arg)
}

func addInts(x, y Value) Value {
	if (x.f|y.f)&fBig == 0 {
		if s := x.n + y.n; (s > x.n) == (y.n > 0) {
			return Int(s)
		}
	}
	return fromBig(new(big.Int).Add(x.bigInt(), y.bigInt()))
}

// plus is Python's +, or "" where that is an exception.
func (st *state) plus(x, y Value) (Value, error) {
	switch {
	case x.k == kString && y.k == kString:
		if len(x.s)+len(y.s) > st.opt.Limits.Output {
			return x, fail(classBudget, "value over %d bytes", st.opt.Limits.Output)
		}
		return Value{k: kString, f: x.f & y.f & fSafe, s: x.s + y.s}, nil
	case x.k == kList && y.k == kList && (x.f^y.f)&fTuple == 0 && !isView(x) && !isView(y):
		return st.concat(x, y)
	case x.k == kDuration && (y.k == kDuration || y.k == kDateTime || y.k == kDate):
		x, y = y, x
		fallthrough
	case y.k == kDuration && (x.k == kDuration || x.k == kDateTime || x.k == kDate):
		return addDuration(x, y.n), nil
	case x.k == kFloat && y.k == kFloat, x.k == kFloat && y.k <= kInt, x.k <= kInt && y.k == kFloat:
		if x.k == kNone || y.k == kNone {
			break
		}
		return Float(math.NaN()), nil // int() failed on one of them: it is a NaN
	case isNumber(x) && isNumber(y) && x.k != kFloat && y.k != kFloat:
		return Decimal("NaN"), nil
	}
	return String(""), nil
}

func (st *state) concat(x, y Value) (Value, error) {
	a, b := x.o.(List), y.o.(List)
	if err := st.spend(a.Len() + b.Len()); err != nil {
		return x, err
	}
	out := make([]Value, 0, a.Len()+b.Len())
	for i := range a.Len() {
		out = append(out, a.At(i))
	}
	for i := range b.Len() {
		out = append(out, b.At(i))
	}
	v := listValue(out)
	v.f = x.f & fTuple
	return v, nil
}

const (
	minMicros = -62135596800 * second // 0001-01-01
	maxMicros = 253402300800 * second // 10000-01-01
)

// addDuration adds to a date, a datetime or a duration; out of range is "".
func addDuration(x Value, n int64) Value {
	if x.k == kDate {
		days, _ := splitDuration(n)
		n = days * day
	}
	sum := x.n + n
	if (sum > x.n) != (n > 0) && n != 0 {
		return String("")
	}
	if x.k != kDuration && (sum < minMicros || sum >= maxMicros) {
		return String("")
	}
	x.n = sum
	return x
}

func filterDivisibleBy(c *call, in Value) (Value, error) {
	x, err := toInt(in)
	if err != nil {
		return in, err
	}
	y, err := toInt(c.arg)
	if err != nil {
		return in, err
	}
	if y.bigInt().Sign() == 0 {
		return in, fail(classZero, "integer modulo by zero")
	}
	return Bool(new(big.Int).Rem(x.bigInt(), y.bigInt()).Sign() == 0), nil
}

func filterGetDigit(c *call, in Value) (Value, error) {
	arg, err := toInt(c.arg)
	if err == nil {
		var v Value
		if v, err = toInt(in); err == nil {
			in = v
		}
	}
	if caught(err, classValue) {
		return in, nil
	}
	if err != nil {
		return in, err
	}
	if arg.bigInt().Sign() < 1 {
		return in, nil
	}
	s, err := c.st.str(in)
	if err != nil {
		return in, err
	}
	if arg.f&fBig != 0 || arg.n > int64(len(s)) {
		return Int(0), nil
	}
	d := s[len(s)-int(arg.n)]
	if d == '-' {
		return in, fail(classValue, "invalid literal for int() with base 10: '-'")
	}
	return Int(int64(d - '0')), nil
}

func filterPluralize(c *call, in Value) (Value, error) {
	arg := "s"
	if c.has {
		if !c.arg.isText() {
			return c.pluralizeOdd()
		}
		arg = c.arg.s
	}
	if !strings.Contains(arg, ",") {
		arg = "," + arg
	}
	bits := strings.Split(arg, ",")
	if len(bits) > 2 {
		return String(""), nil
	}
	f, err := toFloat(in)
	one := f == 1
	switch {
	case caught(err, classType):
		n, ok := length(in)
		if !ok {
			return String(""), nil
		}
		one = n == 1
	case caught(err, classValue):
		return String(""), nil
	case err != nil:
		return in, err
	}
	if one {
		return String(bits[0]), nil
	}
	return String(bits[1]), nil
}

// pluralizeOdd is what happens to an argument that is no text.
func (c *call) pluralizeOdd() (Value, error) {
	switch c.arg.k {
	case kList, kObject:
		if ok, err := c.st.contains(c.arg, String(",")); err != nil || ok {
			return c.arg, fail(classAttribute, "%s has no attribute 'split'", c.arg.typeName())
		}
		return c.arg, fail(classType, "can only concatenate str to str, not %s", c.arg.typeName())
	}
	return c.arg, fail(classType, "argument of type %s is not iterable", c.arg.typeName())
}

const nbsp = "\u00a0"

func filterFileSize(_ *call, in Value) (Value, error) {
	v, err := toInt(in)
	if caught(err, classType, classValue) {
		return String("0" + nbsp + "bytes"), nil
	}
	if err != nil {
		return in, err
	}
	n := new(big.Int).Abs(v.bigInt())
	sgn := ""
	if v.bigInt().Sign() < 0 {
		sgn = "-"
	}
	if n.Cmp(big.NewInt(1024)) < 0 {
		unit := "bytes"
		if n.Int64() == 1 {
			unit = "byte"
		}
		return String(sgn + n.String() + nbsp + unit), nil
	}
	units := []string{"KB", "MB", "GB", "TB", "PB"}
	div := big.NewInt(1024)
	i := 0
	for ; i < len(units)-1; i++ {
		next := new(big.Int).Lsh(div, 10)
		if n.Cmp(next) < 0 {
			break
		}
		div = next
	}
	f, _ := new(big.Rat).SetFrac(n, div).Float64()
	if math.IsInf(f, 0) {
		return in, fail(classOverflow, "integer division result too large for a float")
	}
	return String(sgn + oneDecimal(f) + nbsp + units[i]), nil
}

// oneDecimal rounds to one decimal as Python's round() and Django's number format do.
func oneDecimal(f float64) string {
	r, _ := strconv.ParseFloat(strconv.FormatFloat(f, 'f', 1, 64), 64)
	s := floatRepr(r)
	if strings.IndexByte(s, 'e') < 0 {
		return s
	}
	d, _ := parseDecimal(s)
	if d.exp+len(d.digits()) > 200 {
		coef, exp, _ := strings.Cut(string(d.appendPrinted(nil)), "e")
		whole, frac, _ := strings.Cut(coef, ".")
		return whole + "." + (frac + "0")[:1] + "e" + exp
	}
	return string(d.appendPrinted(nil)) + ".0"
}

// floatFormatArg is the argument of floatformat: places, and the suffixes g and u.
func (c *call) floatFormatArg() (arg Value, group bool, err error) {
	if !c.has {
		return Int(-1), false, nil
	}
	arg = c.arg
	if !arg.isStr() {
		return arg, false, nil
	}
	if arg.s == "" {
		return arg, false, fail(classIndex, "string index out of range")
	}
	rest := arg.s
	switch {
	case strings.HasSuffix(rest, "gu") || strings.HasSuffix(rest, "ug"):
		rest = rest[:len(rest)-2] // u: no localisation, and so no grouping
	case strings.HasSuffix(rest, "g"):
		rest, group = rest[:len(rest)-1], true
	case strings.HasSuffix(rest, "u"):
		rest = rest[:len(rest)-1]
	}
	if rest == "" {
		return Int(-1), group, nil
	}
	return String(rest), group, nil
}

func filterFloatFormat(c *call, in Value) (Value, error) {
	arg, group, err := c.floatFormatArg()
	if err != nil {
		return in, err
	}
	text, err := c.st.str(in)
	if err != nil {
		return in, err
	}
	d, err := parseDecimal(text)
	if caught(err, classDecimal) {
		f, ferr := toFloat(in)
		if caught(ferr, classValue, classType) {
			return String(""), nil
		}
		if ferr != nil {
			return in, ferr
		}
		d, err = parseDecimal(floatRepr(f))
	}
	if err != nil {
		return in, err
	}
	p, err := smallInt(arg)
	if caught(err, classValue) {
		return String(text), nil
	}
	if err != nil {
		return in, err
	}
	if d.special != 0 || len(d.digits())+max(d.exp, -d.exp) > 200 {
		return String(text), nil
	}
	if err := c.room(max(p, -p)); err != nil {
		return in, err
	}
	return Safe(formatFixed(d, p, group)), nil
}

// formatFixed rounds half up to |p| places; with a negative p an integer has none.
func formatFixed(d dec, p int, group bool) string {
	whole, _ := d.toInt()
	exact := dec{coef: new(big.Int).Abs(whole.bigInt()), neg: d.neg}
	if d.sign() == 0 || d.cmp(exact) == 0 {
		if p <= 0 {
			return groupDigits(whole.bigInt().String(), group)
		}
	}
	places := max(p, -p)
	r := d.quantize(places)
	var b []byte
	if r.neg && r.coef.Sign() != 0 {
		b = append(b, '-')
	}
	digits := r.digits()
	for len(digits) <= places {
		digits = "0" + digits
	}
	b = append(b, groupDigits(digits[:len(digits)-places], group)...)
	if places > 0 {
		b = append(b, '.')
		b = append(b, digits[len(digits)-places:]...)
	}
	return string(b)
}

// quantize rounds half up to a number of places.
func (d dec) quantize(places int) dec {
	shift := d.exp + places
	r := dec{neg: d.neg, coef: new(big.Int), exp: -places}
	if shift >= 0 {
		r.coef.Mul(d.coef, pow10(shift))
		return r
	}
	div := pow10(-shift)
	rem := new(big.Int)
	r.coef.QuoRem(d.coef, div, rem)
	if rem.Lsh(rem, 1).Cmp(div) >= 0 {
		r.coef.Add(r.coef, big.NewInt(1))
	}
	return r
}

// groupDigits puts commas between thousands.
func groupDigits(s string, group bool) string {
	if !group {
		return s
	}
	sgn := ""
	if strings.HasPrefix(s, "-") {
		sgn, s = "-", s[1:]
	}
	var b []byte
	for i := range len(s) {
		if i > 0 && (len(s)-i)%3 == 0 {
			b = append(b, ',')
		}
		b = append(b, s[i])
	}
	return sgn + string(b)
}
