package template

import (
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode"
)

// maxIntDigits is Python's limit for conversions between int and str.
const maxIntDigits = 4300

// digitValue is the value of a decimal digit of any script.
func digitValue(r rune) (int, bool) {
	if r >= '0' && r <= '9' {
		return int(r - '0'), true
	}
	if r < 0x80 || !unicode.Is(unicode.Nd, r) {
		return 0, false
	}
	for _, t := range unicode.Nd.R16 {
		if uint32(r) >= uint32(t.Lo) && uint32(r) <= uint32(t.Hi) {
			return int(uint32(r)-uint32(t.Lo)) % 10, true
		}
	}
	for _, t := range unicode.Nd.R32 {
		if uint32(r) >= t.Lo && uint32(r) <= t.Hi {
			return int(uint32(r)-t.Lo) % 10, true
		}
	}
	return 0, false
}

// isASCII tells whether s is plain ASCII.
func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// asciiNumber strips white space and turns digits of any script into ASCII. Of ASCII,
// Python's int() and float() know only C's white space.
func asciiNumber(s string) string {
	return asciiDigits(strings.TrimFunc(s, func(r rune) bool {
		return isSpace(r) && (r < 0x1c || r > 0x1f)
	}))
}

func asciiDigits(s string) string {
	if isASCII(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if d, ok := digitValue(r); ok {
			return rune('0' + d)
		}
		return r
	}, s)
}

// dropUnderscores removes underscores that stand between digits; ok is false if one
// stands elsewhere.
func dropUnderscores(s string) (string, bool) {
	if strings.IndexByte(s, '_') < 0 {
		return s, true
	}
	isDigit := func(i int) bool { return i >= 0 && i < len(s) && s[i] >= '0' && s[i] <= '9' }
	for i := range len(s) {
		if s[i] == '_' && (!isDigit(i-1) || !isDigit(i+1)) {
			return "", false
		}
	}
	return strings.ReplaceAll(s, "_", ""), true
}

// parseInt is Python's int() of a str.
func parseInt(s string) (Value, bool) {
	s, ok := dropUnderscores(asciiNumber(s))
	if !ok || s == "" {
		return Value{}, false
	}
	digits := s
	if s[0] == '+' || s[0] == '-' {
		digits = s[1:]
	}
	if digits == "" || len(digits) > maxIntDigits || strings.Trim(digits, "0123456789") != "" {
		return Value{}, false
	}
	if len(digits) < 19 {
		n, err := strconv.ParseInt(s, 10, 64)
		return Int(n), err == nil
	}
	b, ok := new(big.Int).SetString(s, 10)
	if !ok {
		return Value{}, false
	}
	return fromBig(b), true
}

// parseFloat is Python's float() of a str.
func parseFloat(s string) (float64, bool) {
	s, ok := dropUnderscores(asciiNumber(s))
	if !ok || s == "" {
		return 0, false
	}
	body := strings.ToLower(strings.TrimLeft(s, "+-"))
	if len(s)-len(body) > 1 {
		return 0, false
	}
	switch body {
	case "inf", "infinity":
		if s[0] == '-' {
			return math.Inf(-1), true
		}
		return math.Inf(1), true
	case "nan":
		return math.NaN(), true
	}
	if body == "" || strings.Trim(body, "0123456789.e+-") != "" {
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil || math.IsInf(f, 0)
}

// toInt is Python's int().
func toInt(v Value) (Value, error) {
	switch v.k {
	case kBool:
		return Int(v.n), nil
	case kInt:
		return v, nil
	case kFloat:
		f := v.float()
		switch {
		case math.IsNaN(f):
			return v, fail(classValue, "cannot convert float NaN to integer")
		case math.IsInf(f, 0):
			return v, fail(classOverflow, "cannot convert float infinity to integer")
		}
		b, _ := new(big.Float).SetFloat64(f).Int(nil)
		return fromBig(b), nil
	case kDecimal:
		d, err := parseDecimal(v.s)
		if err != nil {
			return v, err
		}
		return d.toInt()
	case kString:
		if v.f&fLazy != 0 {
			break
		}
		if i, ok := parseInt(v.s); ok {
			return i, nil
		}
		return v, fail(classValue, "invalid literal for int(): %.40q", v.s)
	}
	return v, fail(classType, "int() argument must be a string or a number, not %s", v.typeName())
}

// smallInt is int() for an argument that is used as a size. Larger integers are clamped.
func smallInt(v Value) (int, error) {
	i, err := toInt(v)
	if err != nil {
		return 0, err
	}
	const limit = 1 << 40
	if i.f&fBig != 0 {
		return limit * i.bigInt().Sign(), nil
	}
	return int(max(min(i.n, limit), -limit)), nil
}

// toFloat is Python's float().
func toFloat(v Value) (float64, error) {
	switch v.k {
	case kBool, kInt:
		f, _ := new(big.Float).SetInt(v.bigInt()).Float64()
		if math.IsInf(f, 0) {
			return 0, fail(classOverflow, "int too large to convert to float")
		}
		return f, nil
	case kFloat:
		return v.float(), nil
	case kDecimal:
		d, err := parseDecimal(v.s)
		if err != nil {
			return 0, err
		}
		return d.toFloat()
	case kString:
		if v.f&fLazy != 0 {
			break
		}
		if f, ok := parseFloat(v.s); ok {
			return f, nil
		}
		return 0, fail(classValue, "could not convert string to float: %.40q", v.s)
	}
	return 0, fail(classType, "float() argument must be a string or a number, not %s", v.typeName())
}

func appendInt(dst []byte, v Value) ([]byte, error) {
	if v.f&fBig == 0 {
		return strconv.AppendInt(dst, v.n, 10), nil
	}
	b := v.bigInt()
	if b.BitLen() > maxIntDigits*4 {
		return dst, fail(classValue, "exceeds the limit (%d digits) for integer string conversion", maxIntDigits)
	}
	out := b.Append(dst, 10)
	if len(out)-len(dst) > maxIntDigits+1 {
		return dst, fail(classValue, "exceeds the limit (%d digits) for integer string conversion", maxIntDigits)
	}
	return out, nil
}

// floatRepr is Python's repr() of a float.
func floatRepr(f float64) string {
	switch {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	case f == 0:
		if math.Signbit(f) {
			return "-0.0"
		}
		return "0.0"
	}
	if a := math.Abs(f); a >= 1e-4 && a < 1e16 {
		s := strconv.FormatFloat(f, 'f', -1, 64)
		if strings.IndexByte(s, '.') < 0 {
			s += ".0"
		}
		return s
	}
	return strconv.FormatFloat(f, 'e', -1, 64)
}

// appendFloat appends a float as str() does or, localized, as Django prints it: never
// with an exponent unless that needs more than 200 digits.
func appendFloat(dst []byte, v Value, localized bool) ([]byte, error) {
	if v.k != kFloat {
		return append(dst, v.s...), nil // text that is no number
	}
	s := floatRepr(v.float())
	if localized && strings.IndexByte(s, 'e') >= 0 {
		d, err := parseDecimal(s)
		if err != nil {
			return dst, err
		}
		return d.appendPrinted(dst), nil
	}
	return append(dst, s...), nil
}

func isNumber(v Value) bool {
	return v.k == kInt || v.k == kBool || v.k == kFloat || v.k == kDecimal
}

func clampInf(f float64) float64 {
	switch {
	case math.IsInf(f, 1):
		return math.MaxFloat64
	case math.IsInf(f, -1):
		return -math.MaxFloat64
	}
	return f
}

// compareNumbers compares exactly, whatever the types; ok is false for a NaN. For
// equality a Decimal NaN is no error.
func compareNumbers(x, y Value, equality bool) (c int, ok bool, err error) {
	if x.k <= kInt && y.k <= kInt && (x.f|y.f)&fBig == 0 {
		switch {
		case x.n < y.n:
			return -1, true, nil
		case x.n > y.n:
			return 1, true, nil
		}
		return 0, true, nil
	}
	a, err := toDec(x)
	if err != nil {
		return 0, false, err
	}
	b, err := toDec(y)
	if err != nil {
		return 0, false, err
	}
	if a.isNaN() || b.isNaN() {
		if !equality && (x.k == kDecimal && a.isNaN() || y.k == kDecimal && b.isNaN()) {
			return 0, false, fail(classDecimal, "comparison involving NaN")
		}
		if a.special == 's' || b.special == 's' {
			return 0, false, fail(classDecimal, "comparison involving sNaN")
		}
		return 0, false, nil
	}
	return a.cmp(b), true, nil
}
