package template

import (
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"
)

// appendJSON appends what |json prints: numbers bare, decimals as strings so that no
// digit is lost, dates as ISO 8601.
func (st *state) appendJSON(dst []byte, v Value, depth int) ([]byte, error) {
	if err := st.jsonBudget(dst, depth); err != nil {
		return dst, err
	}
	switch v.k {
	case kNone:
		return append(dst, "null"...), nil
	case kBool:
		return strconv.AppendBool(dst, v.n != 0), nil
	case kInt:
		if v.f&fText != 0 {
			return append(dst, v.s...), nil
		}
		return appendInt(dst, v)
	case kFloat:
		return appendFloatJSON(dst, v), nil
	case kJSON:
		return append(dst, v.s...), nil
	case kString, kDecimal:
		return appendStringJSON(dst, v.s), nil
	case kBytes:
		dst = append(dst, '"')
		dst = base64.StdEncoding.AppendEncode(dst, []byte(v.s))
		return append(dst, '"'), nil
	case kDateTime, kDate, kTime:
		if v.f&fText != 0 {
			return appendStringJSON(dst, v.s), nil
		}
		return appendStringJSON(dst, rfc3339(v)), nil
	case kDuration:
		return appendStringJSON(dst, isoDuration(v.n)), nil
	case kList:
		return st.appendListJSON(dst, v, depth)
	}
	if j, ok := v.o.(JSONAppender); ok {
		return j.AppendJSON(dst)
	}
	if s, ok := v.o.(Scalar); ok {
		return st.appendJSON(dst, s.Scalar(), depth+1)
	}
	return st.appendDictJSON(dst, v, depth)
}

func (st *state) jsonBudget(dst []byte, depth int) error {
	if depth > maxNested {
		return fail(classBudget, "value is nested more than %d deep", maxNested)
	}
	if len(dst) > st.opt.Limits.Output {
		return fail(classBudget, "value over %d bytes", st.opt.Limits.Output)
	}
	return st.spend(1)
}

func (st *state) appendListJSON(dst []byte, v Value, depth int) ([]byte, error) {
	if j, ok := v.o.(JSONAppender); ok {
		return j.AppendJSON(dst)
	}
	dst = append(dst, '[')
	l := v.o.(List)
	var err error
	for i := range l.Len() {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = st.appendJSON(dst, l.At(i), depth+1); err != nil {
			return dst, err
		}
	}
	return append(dst, ']'), nil
}

func (st *state) appendDictJSON(dst []byte, v Value, depth int) ([]byte, error) {
	d, ok := v.o.(Keyed)
	if !ok {
		return dst, fail(classType, "object is not JSON serializable")
	}
	dst = append(dst, '{')
	var err error
	for i, k := range d.Keys() {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendStringJSON(dst, k), ':')
		item, _ := d.Get(k)
		if dst, err = st.appendJSON(dst, item, depth+1); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}

// appendFloatJSON writes a float bare; JSON has no NaN and no infinities: strings.
func appendFloatJSON(dst []byte, v Value) []byte {
	if v.f&fText != 0 && plainNumber(v.s) {
		return append(dst, v.s...)
	}
	if v = v.norm(); v.k != kFloat {
		return appendStringJSON(dst, v.s)
	}
	f := v.float()
	switch {
	case math.IsNaN(f):
		return append(dst, `"NaN"`...)
	case math.IsInf(f, 1):
		return append(dst, `"Infinity"`...)
	case math.IsInf(f, -1):
		return append(dst, `"-Infinity"`...)
	}
	return append(dst, floatRepr(f)...)
}

func plainNumber(s string) bool {
	for i := range len(s) {
		if (s[i] < '0' || s[i] > '9') && s[i] != '.' && s[i] != '-' {
			return false
		}
	}
	return s != ""
}

func rfc3339(v Value) string {
	var dst []byte
	switch v.k {
	case kDate:
		return isoFormat(v)
	case kDateTime:
		dst = v.wall().AppendFormat(dst, "2006-01-02T")
	}
	return string(appendOffset(appendClock(dst, v.n, false), v, true))
}

// appendStringJSON appends s as a JSON string, escaping no more than RFC 8259 asks for.
func appendStringJSON(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == '\n':
			dst = append(dst, `\n`...)
		case r == '\r':
			dst = append(dst, `\r`...)
		case r == '\t':
			dst = append(dst, `\t`...)
		case r < 0x20:
			dst = appendHex(append(dst, `\u`...), r, 4)
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}

// appendDumps appends what Python's json.dumps with Django's encoder prints: ASCII,
// a space after commas and colons.
func (st *state) appendDumps(dst []byte, v Value, depth int) ([]byte, error) {
	if err := st.jsonBudget(dst, depth); err != nil {
		return dst, err
	}
	v = v.norm()
	switch v.k {
	case kNone, kBool, kInt:
		return st.appendJSON(dst, v, depth)
	case kFloat:
		return appendFloatDumps(dst, v.float()), nil
	case kString:
		return appendASCII(dst, v.s), nil
	case kDecimal:
		s, err := appendDecimal(nil, v)
		return appendASCII(dst, string(s)), err
	case kDateTime, kDate, kTime:
		if v.k == kTime && v.f&fZone != 0 {
			return dst, fail(classValue, "JSON can't represent timezone-aware times")
		}
		return appendASCII(dst, djangoISO(v)), nil
	case kDuration:
		return appendASCII(dst, isoDuration(v.n)), nil
	case kList:
		if isView(v) {
			return dst, fail(classType, "%s is not JSON serializable", v.typeName())
		}
		return st.appendListDumps(dst, v.o.(List), depth)
	case kObject:
		if d, ok := v.o.(Keyed); ok {
			return st.appendDictDumps(dst, d, depth)
		}
	}
	return dst, fail(classType, "object of type %s is not JSON serializable", v.typeName())
}

func (st *state) appendListDumps(dst []byte, l List, depth int) ([]byte, error) {
	dst = append(dst, '[')
	var err error
	for i := range l.Len() {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		if dst, err = st.appendDumps(dst, l.At(i), depth+1); err != nil {
			return dst, err
		}
	}
	return append(dst, ']'), nil
}

func (st *state) appendDictDumps(dst []byte, d Keyed, depth int) ([]byte, error) {
	dst = append(dst, '{')
	var err error
	for i, k := range d.Keys() {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = append(appendASCII(dst, k), ": "...)
		item, _ := d.Get(k)
		if dst, err = st.appendDumps(dst, item, depth+1); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}

func appendFloatDumps(dst []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, "NaN"...)
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...)
	}
	return append(dst, floatRepr(f)...)
}

// djangoISO is how Django's JSON encoder writes dates: milliseconds, Z for UTC.
func djangoISO(v Value) string {
	if v.k == kDate {
		return isoFormat(v)
	}
	var dst []byte
	if v.k == kDateTime {
		dst = v.wall().AppendFormat(dst, "2006-01-02T")
	}
	dst = appendClock(dst, v.n, true)
	if v.n%second != 0 {
		dst = dst[:len(dst)-3]
	}
	return string(appendOffset(dst, v, true))
}

func appendASCII(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == '\n':
			dst = append(dst, `\n`...)
		case r == '\r':
			dst = append(dst, `\r`...)
		case r == '\t':
			dst = append(dst, `\t`...)
		case r == '\b':
			dst = append(dst, `\b`...)
		case r == '\f':
			dst = append(dst, `\f`...)
		case r < 0x20 || r >= 0x7f && r < 0x10000:
			dst = appendHex(append(dst, `\u`...), r, 4)
		case r >= 0x10000:
			r -= 0x10000
			dst = fmt.Appendf(dst, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			dst = append(dst, byte(r))
		}
	}
	return append(dst, '"')
}
