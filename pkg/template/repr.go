package template

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// appendRepr appends Python's repr() of a normalised value.
func (st *state) appendRepr(dst []byte, v Value) ([]byte, error) {
	if err := st.spend(1); err != nil {
		return dst, err
	}
	switch v.k {
	case kString:
		return appendQuoted(dst, v.s), nil
	case kBytes:
		return appendBytesRepr(dst, v.s), nil
	case kDecimal:
		dst = append(dst, "Decimal('"...)
		dst, err := appendDecimal(dst, v)
		return append(dst, "')"...), err
	case kDateTime, kDate, kTime, kDuration:
		if st.opt.Django {
			return appendTemporalRepr(dst, v), nil
		}
		return appendQuoted(dst, string(st.appendTemporal(nil, v))), nil
	case kList, kObject:
		if st.nested++; st.nested > maxNested {
			return dst, fail(classBudget, "value is nested more than %d deep", maxNested)
		}
		defer func() { st.nested-- }()
		if v.k == kList {
			return st.appendListRepr(dst, v)
		}
		return st.appendDictRepr(dst, v)
	}
	return st.appendStr(dst, v)
}

func (st *state) appendListRepr(dst []byte, v Value) ([]byte, error) {
	l := v.o.(List)
	if g, ok := l.(*group); ok {
		return g.appendRepr(st, dst)
	}
	view, isView := l.(dictView)
	if isView {
		dst = append(dst, view.name()...)
	}
	opening, closing := byte('['), byte(']')
	if v.f&fTuple != 0 {
		opening, closing = '(', ')'
	}
	dst = append(dst, opening)
	var err error
	for i := range l.Len() {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		if dst, err = st.appendRepr(dst, l.At(i).norm()); err != nil {
			return dst, err
		}
		if len(dst) > st.base+2*st.opt.Limits.Output {
			return dst, fail(classBudget, "value over %d bytes", st.opt.Limits.Output)
		}
	}
	if v.f&fTuple != 0 && l.Len() == 1 {
		dst = append(dst, ',')
	}
	dst = append(dst, closing)
	if isView {
		dst = append(dst, ')')
	}
	return dst, nil
}

func (st *state) appendDictRepr(dst []byte, v Value) ([]byte, error) {
	d, ok := v.o.(Keyed)
	if !ok {
		return append(dst, "{...}"...), nil
	}
	dst = append(dst, '{')
	var err error
	for i, k := range d.Keys() {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = appendQuoted(dst, k)
		dst = append(dst, ": "...)
		item, _ := d.Get(k)
		if dst, err = st.appendRepr(dst, item.norm()); err != nil {
			return dst, err
		}
		if len(dst) > st.base+2*st.opt.Limits.Output {
			return dst, fail(classBudget, "value over %d bytes", st.opt.Limits.Output)
		}
	}
	return append(dst, '}'), nil
}

// appendQuoted appends Python's repr() of a str.
func appendQuoted(dst []byte, s string) []byte {
	quote := byte('\'')
	if strings.IndexByte(s, '\'') >= 0 && strings.IndexByte(s, '"') < 0 {
		quote = '"'
	}
	dst = append(dst, quote)
	for _, r := range s {
		switch {
		case r == rune(quote) || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == '\n':
			dst = append(dst, `\n`...)
		case r == '\r':
			dst = append(dst, `\r`...)
		case r == '\t':
			dst = append(dst, `\t`...)
		case isPrintable(r):
			dst = utf8.AppendRune(dst, r)
		case r < 0x100:
			dst = appendHex(append(dst, `\x`...), r, 2)
		case r < 0x10000:
			dst = appendHex(append(dst, `\u`...), r, 4)
		default:
			dst = appendHex(append(dst, `\U`...), r, 8)
		}
	}
	return append(dst, quote)
}

func appendHex(dst []byte, r rune, width int) []byte {
	h := strconv.FormatInt(int64(r), 16)
	for range width - len(h) {
		dst = append(dst, '0')
	}
	return append(dst, h...)
}

func appendBytesRepr(dst []byte, s string) []byte {
	quote := byte('\'')
	if strings.IndexByte(s, '\'') >= 0 && strings.IndexByte(s, '"') < 0 {
		quote = '"'
	}
	dst = append(dst, 'b', quote)
	for i := range len(s) {
		switch c := s[i]; {
		case c == quote || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, `\n`...)
		case c == '\r':
			dst = append(dst, `\r`...)
		case c == '\t':
			dst = append(dst, `\t`...)
		case c >= ' ' && c < 0x7f:
			dst = append(dst, c)
		default:
			dst = appendHex(append(dst, `\x`...), rune(c), 2)
		}
	}
	return append(dst, quote)
}
