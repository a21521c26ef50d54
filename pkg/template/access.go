package template

import (
	"math/big"
	"strings"
)

// attr looks a part of a value up in Django's order: key, attribute, index. Attributes
// that are methods in Python are those of the tables below and are called without
// arguments.
func (st *state) attr(v Value, name string) (Value, bool) {
	switch v.k {
	case kObject:
		o := v.o.(Object)
		if r, ok := o.Get(name); ok {
			return r, true
		}
		if k, ok := o.(Keyed); ok {
			return st.dictAttr(k, name)
		}
		return Value{}, false
	case kJSON:
		if v.s[0] == '{' {
			if r, ok := jsonMember(v.s, name); ok {
				return r, true
			}
		}
		return st.attr(v.norm(), name)
	case kList:
		return st.listAttr(v, name)
	case kString:
		return st.stringAttr(v, name)
	case kNone:
		return Value{}, false
	}
	v = v.norm()
	switch v.k {
	case kBool, kInt:
		return intAttr(v, name)
	case kFloat:
		return floatAttr(v, name)
	case kDecimal:
		return decimalAttr(v, name)
	case kDateTime, kDate, kTime, kDuration:
		return st.temporalAttr(v, name)
	}
	return Value{}, false
}

func (st *state) dictAttr(d Keyed, name string) (Value, bool) {
	switch name {
	case "keys", "values", "items":
		return ListOf(dictView{d, name, d.Keys()}), true
	case "copy":
		return Of(d), true
	case "get", "pop", "setdefault", "fromkeys":
		return String(st.opt.StringIfInvalid), true // they need arguments
	}
	return Value{}, false
}

// dictView is what a dict's keys, values and items return: iterable, but no sequence.
type dictView struct {
	d    Keyed
	what string
	keys []string
}

// Len implements List.
func (v dictView) Len() int { return len(v.keys) }

// At implements List.
func (v dictView) At(i int) Value {
	k := v.keys[i]
	if v.what == "keys" {
		return String(k)
	}
	item, _ := v.d.Get(k)
	if v.what == "values" {
		return item
	}
	return tupleValue(String(k), item)
}

func (v dictView) name() string { return "dict_" + v.what + "(" }

func (st *state) listAttr(v Value, name string) (Value, bool) {
	l := v.o.(List)
	if view, ok := l.(dictView); ok {
		if name == "isdisjoint" && view.what != "values" {
			return String(st.opt.StringIfInvalid), true
		}
		return Value{}, false
	}
	if g, ok := l.(*group); ok {
		switch name {
		case "grouper":
			return g.grouper, true
		case "list":
			return g.list, true
		}
	}
	if v.f&fTuple == 0 {
		switch name {
		case "copy":
			return v, true
		case "append", "extend", "insert", "remove":
			return String(st.opt.StringIfInvalid), true
		}
	}
	if name == "index" || name == "count" {
		return String(st.opt.StringIfInvalid), true
	}
	i, ok := indexOf(name)
	if !ok || i >= l.Len() {
		return Value{}, false
	}
	return l.At(i), true
}

// indexOf reads a list index as Python's int() does.
func indexOf(name string) (int, bool) {
	n := 0
	for i := range len(name) {
		c := name[i]
		if c < '0' || c > '9' || n > 1<<40 {
			v, ok := parseInt(name)
			if !ok || v.f&fBig != 0 || v.n < 0 {
				return 0, false
			}
			return int(v.n), true
		}
		n = n*10 + int(c-'0')
	}
	return n, name != ""
}

// stringMethods are the methods of str that work without arguments.
func stringMethod(s, name string) (Value, bool) {
	switch name {
	case "upper":
		return String(upper(s)), true
	case "lower":
		return String(lower(s)), true
	case "title":
		return String(title(s)), true
	case "capitalize":
		return String(capitalize(s)), true
	case "strip":
		return String(strings.TrimFunc(s, isSpace)), true
	case "lstrip":
		return String(strings.TrimLeftFunc(s, isSpace)), true
	case "rstrip":
		return String(strings.TrimRightFunc(s, isSpace)), true
	case "split", "rsplit":
		return listValue(stringValues(fields(s))), true
	case "splitlines":
		return listValue(stringValues(splitLines(s, false))), true
	case "isspace":
		return Bool(s != "" && strings.TrimFunc(s, isSpace) == ""), true
	case "isascii":
		return Bool(strings.IndexFunc(s, func(r rune) bool { return r >= 0x80 }) < 0), true
	}
	return Value{}, false
}

func stringValues(ss []string) []Value {
	vs := make([]Value, len(ss))
	for i, s := range ss {
		vs[i] = String(s)
	}
	return vs
}

func (st *state) stringAttr(v Value, name string) (Value, bool) {
	if r, ok := stringMethod(v.s, name); ok {
		return r, true
	}
	switch name {
	case "replace", "join", "count", "find", "index", "rfind", "rindex", "startswith", "endswith",
		"partition", "rpartition", "ljust", "rjust", "center", "zfill", "translate", "removeprefix", "removesuffix":
		return String(st.opt.StringIfInvalid), true
	}
	i, ok := indexOf(name)
	if !ok {
		return Value{}, false
	}
	c, ok := runeAt(v.s, i)
	return String(c), ok
}

func intAttr(v Value, name string) (Value, bool) {
	b := v.bigInt()
	switch name {
	case "real", "numerator", "conjugate":
		return fromBig(b), true
	case "imag":
		return Int(0), true
	case "denominator":
		return Int(1), true
	case "bit_length":
		return Int(int64(b.BitLen())), true
	case "bit_count":
		n := 0
		for _, w := range b.Bits() {
			for ; w != 0; w &= w - 1 {
				n++
			}
		}
		return Int(int64(n)), true
	case "as_integer_ratio":
		return tupleValue(fromBig(b), Int(1)), true
	}
	return Value{}, false
}

func floatAttr(v Value, name string) (Value, bool) {
	switch name {
	case "real", "conjugate":
		return v, true
	case "imag":
		return Float(0), true
	case "is_integer":
		f := v.float()
		return Bool(f == f && new(big.Float).SetFloat64(clampInf(f)).IsInt() && clampInf(f) == f), true
	}
	return Value{}, false
}

func decimalAttr(v Value, name string) (Value, bool) {
	d, err := parseDecimal(v.s)
	if err != nil {
		return Value{}, false
	}
	switch name {
	case "real", "conjugate", "canonical":
		return v, true
	case "imag":
		return Decimal("0"), true
	case "is_finite":
		return Bool(d.special == 0), true
	case "is_infinite":
		return Bool(d.special == 'i'), true
	case "is_nan":
		return Bool(d.isNaN()), true
	case "is_signed":
		return Bool(d.neg), true
	case "is_zero":
		return Bool(d.special == 0 && d.coef.Sign() == 0), true
	case "copy_abs":
		d.neg = false
		return Decimal(string(d.appendStr(nil))), true
	}
	return Value{}, false
}
