package template

import (
	"math"
	"math/big"
	"strconv"
	"strings"
)

// dec is a decimal number as Python's decimal module has it: coefficient and exponent,
// trailing zeros kept.
type dec struct {
	neg     bool
	special byte // 0, 'i'nfinity, 'n'aN, 's'ignalling NaN
	payload string
	coef    *big.Int // not negative
	exp     int
}

// maxExpand bounds how many digits a number is written out to.
const maxExpand = 20_000

func parseDecimal(text string) (dec, error) {
	d := dec{coef: new(big.Int)}
	s := strings.ReplaceAll(asciiDigits(strings.TrimFunc(text, isSpace)), "_", "")
	bad := func() (dec, error) { return d, fail(classDecimal, "not a decimal: %.40q", text) }
	if s != "" && (s[0] == '+' || s[0] == '-') {
		d.neg = s[0] == '-'
		s = s[1:]
	}
	if s == "" {
		return bad()
	}
	if s[0] != '.' && (s[0] < '0' || s[0] > '9') {
		return parseSpecial(d, strings.ToLower(s), bad)
	}
	mantissa, exponent, hasExp := strings.Cut(strings.Replace(s, "E", "e", 1), "e")
	whole, frac, _ := strings.Cut(mantissa, ".")
	if hasExp {
		e, err := strconv.Atoi(exponent)
		if err != nil || e > 1<<40 || e < -1<<40 {
			return bad()
		}
		d.exp = e
	}
	digits := whole + frac
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return bad()
	}
	if len(digits) > maxExpand {
		return d, fail(classBudget, "decimal of more than %d digits", maxExpand)
	}
	d.exp -= len(frac)
	if len(digits) < 19 {
		n, _ := strconv.ParseInt(digits, 10, 64)
		d.coef.SetInt64(n)
	} else {
		d.coef.SetString(digits, 10)
	}
	return d, nil
}

func parseSpecial(d dec, s string, bad func() (dec, error)) (dec, error) {
	switch {
	case s == "inf" || s == "infinity":
		d.special = 'i'
	case strings.HasPrefix(s, "nan"):
		d.special, d.payload = 'n', s[3:]
	case strings.HasPrefix(s, "snan"):
		d.special, d.payload = 's', s[4:]
	default:
		return bad()
	}
	if strings.Trim(d.payload, "0123456789") != "" {
		return bad()
	}
	d.payload = strings.TrimLeft(d.payload, "0")
	return d, nil
}

// toDec makes any number a decimal, exactly.
func toDec(v Value) (dec, error) {
	switch v.k {
	case kDecimal:
		return parseDecimal(v.s)
	case kFloat:
		return floatDec(v.float()), nil
	}
	b := v.bigInt()
	return dec{neg: b.Sign() < 0, coef: new(big.Int).Abs(b)}, nil
}

// floatDec is the exact value of a float.
func floatDec(f float64) dec {
	d := dec{neg: math.Signbit(f), coef: new(big.Int)}
	switch {
	case math.IsNaN(f):
		d.special = 'n'
		return d
	case math.IsInf(f, 0):
		d.special = 'i'
		return d
	}
	mant, exp := math.Frexp(math.Abs(f))
	d.coef.SetInt64(int64(mant * (1 << 53)))
	exp -= 53
	if exp >= 0 {
		d.coef.Lsh(d.coef, uint(exp))
		return d
	}
	// m / 2^n = m * 5^n / 10^n
	d.coef.Mul(d.coef, new(big.Int).Exp(big.NewInt(5), big.NewInt(int64(-exp)), nil))
	d.exp = exp
	return d
}

func (d dec) isNaN() bool { return d.special == 'n' || d.special == 's' }

func (d dec) digits() string { return d.coef.String() }

// adjusted is the exponent of the first digit.
func (d dec) adjusted() int { return d.exp + len(d.digits()) - 1 }

func (d dec) sign() int {
	switch {
	case d.special == 0 && d.coef.Sign() == 0:
		return 0
	case d.neg:
		return -1
	}
	return 1
}

func pow10(n int) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil) }

// cmp compares two numbers that are no NaN.
func (d dec) cmp(e dec) int {
	s, t := d.sign(), e.sign()
	if s != t || s == 0 {
		return sign(int64(s - t))
	}
	if d.special == 'i' || e.special == 'i' {
		switch {
		case d.special == e.special:
			return 0
		case d.special == 'i':
			return s
		}
		return -s
	}
	if a, b := d.adjusted(), e.adjusted(); a != b {
		return s * sign(int64(a-b))
	}
	// The same magnitude: scaling adds no more digits than the other one has.
	x, y := d.coef, e.coef
	if d.exp > e.exp {
		x = new(big.Int).Mul(x, pow10(d.exp-e.exp))
	} else if e.exp > d.exp {
		y = new(big.Int).Mul(y, pow10(e.exp-d.exp))
	}
	return s * x.Cmp(y)
}

// toInt truncates towards zero.
func (d dec) toInt() (Value, error) {
	switch d.special {
	case 'i':
		return Value{}, fail(classOverflow, "cannot convert Infinity to integer")
	case 'n', 's':
		return Value{}, fail(classValue, "cannot convert NaN to integer")
	}
	if d.exp > maxExpand {
		return Value{}, fail(classBudget, "integer of more than %d digits", maxExpand)
	}
	b := new(big.Int)
	switch {
	case d.exp >= 0:
		b.Mul(d.coef, pow10(d.exp))
	case d.adjusted() >= 0:
		b.Quo(d.coef, pow10(-d.exp))
	}
	if d.neg {
		b.Neg(b)
	}
	return fromBig(b), nil
}

func (d dec) toFloat() (float64, error) {
	if d.special == 's' {
		return 0, fail(classValue, "cannot convert signaling NaN to float")
	}
	f, _ := parseFloat(string(d.appendStr(nil)))
	return f, nil
}

func (d dec) appendSpecial(dst []byte) []byte {
	switch d.special {
	case 'i':
		return append(dst, "Infinity"...)
	case 'n':
		dst = append(dst, "NaN"...)
	case 's':
		dst = append(dst, "sNaN"...)
	}
	return append(dst, d.payload...)
}

// appendStr appends Python's str() of a Decimal.
func (d dec) appendStr(dst []byte) []byte {
	if d.neg {
		dst = append(dst, '-')
	}
	if d.special != 0 {
		return d.appendSpecial(dst)
	}
	digits := d.digits()
	adj := d.exp + len(digits) - 1
	if d.exp <= 0 && adj >= -6 {
		return appendFixed(dst, digits, d.exp)
	}
	return appendScientific(dst, digits, adj, 'E')
}

func appendScientific(dst []byte, digits string, adj int, e byte) []byte {
	dst = append(dst, digits[0])
	if len(digits) > 1 {
		dst = append(dst, '.')
		dst = append(dst, digits[1:]...)
	}
	dst = append(dst, e)
	if adj >= 0 {
		dst = append(dst, '+')
	}
	return strconv.AppendInt(dst, int64(adj), 10)
}

// appendFixed writes digits * 10^exp without an exponent.
func appendFixed(dst []byte, digits string, exp int) []byte {
	if exp >= 0 {
		dst = append(dst, digits...)
		if digits != "0" {
			for range exp {
				dst = append(dst, '0')
			}
		}
		return dst
	}
	point := len(digits) + exp
	if point > 0 {
		dst = append(dst, digits[:point]...)
		dst = append(dst, '.')
		return append(dst, digits[point:]...)
	}
	dst = append(dst, "0."...)
	for range -point {
		dst = append(dst, '0')
	}
	return append(dst, digits...)
}

// appendPrinted appends a number as Django's number formatting prints it.
func (d dec) appendPrinted(dst []byte) []byte {
	if d.special != 0 {
		return d.appendStr(dst)
	}
	if d.neg {
		dst = append(dst, '-')
	}
	digits := d.digits()
	if max(d.exp, -d.exp)+len(digits) > 200 {
		return appendScientific(dst, digits, d.exp+len(digits)-1, 'e')
	}
	return appendFixed(dst, digits, d.exp)
}

// appendDecimal appends Python's str() of a Decimal value. Usual texts are canonical.
func appendDecimal(dst []byte, v Value) ([]byte, error) {
	if canonicalDecimal(v.s) {
		return append(dst, v.s...), nil
	}
	d, err := parseDecimal(v.s)
	if err != nil {
		return append(dst, v.s...), nil //nolint:nilerr // text that is no number prints as it is
	}
	return d.appendStr(dst), nil
}

// canonicalDecimal tells whether s is plainly what Python would print.
func canonicalDecimal(s string) bool {
	t := strings.TrimPrefix(s, "-")
	if t == "" || strings.HasPrefix(t, "0.000000") || t[0] == '.' || t[len(t)-1] == '.' {
		return false
	}
	if len(t) > 1 && t[0] == '0' && t[1] != '.' {
		return false
	}
	for i := range len(t) {
		if (t[i] < '0' || t[i] > '9') && t[i] != '.' {
			return false
		}
	}
	return true
}

func appendDecimalPrinted(dst []byte, v Value, django bool) ([]byte, error) {
	d, err := parseDecimal(v.s)
	if err != nil {
		return append(dst, v.s...), nil //nolint:nilerr // text that is no number prints as it is
	}
	if d.special != 0 && django {
		return dst, fail(classType, "bad operand type for abs(): 'str'")
	}
	return d.appendPrinted(dst), nil
}
