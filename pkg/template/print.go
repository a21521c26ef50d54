package template

import (
	"encoding/base64"
	"strings"
)

// print appends a value to the output as {{ }} does: localised, and escaped if need be.
func (st *state) print(v Value) error {
	start := len(st.out)
	out, safe, err := st.appendPrinted(st.out, v)
	if err != nil {
		return err
	}
	if st.auto && !safe && needsEscape(out[start:]) {
		s := string(out[start:])
		out = appendEscaped(out[:start], s)
	}
	st.out = out
	return nil
}

// printed returns what print would append, as text that is safe if it was escaped.
func (st *state) printed(v Value) (Value, error) {
	out, safe, err := st.appendPrinted(nil, v)
	if err != nil {
		return v, err
	}
	if st.auto && !safe {
		return Safe(string(appendEscaped(nil, string(out)))), nil
	}
	if v.safe() || st.auto {
		return Safe(string(out)), nil
	}
	return String(string(out)), nil
}

// appendPrinted appends the text of a value; safe says that it needs no escaping.
func (st *state) appendPrinted(dst []byte, v Value) (out []byte, safe bool, err error) {
	switch v.k {
	case kString:
		return append(dst, v.s...), v.f&fSafe != 0, nil
	case kInt:
		if v.f&fText != 0 {
			return append(dst, v.s...), true, nil
		}
	case kDateTime, kDate, kTime:
		if !st.opt.Django {
			out, err := st.appendStr(dst, v)
			return out, false, err
		}
		out, err := st.appendLocalized(dst, v.norm())
		return out, false, err
	case kFloat:
		if v.f&fText != 0 && plainFloat(v.s) {
			return append(dst, v.s...), true, nil
		}
		out, err := appendFloat(dst, v.norm(), true)
		return out, true, err
	case kDecimal:
		if len(v.s) <= 200 && !strings.ContainsAny(v.s, "eE") && !(st.opt.Django && strings.ContainsAny(v.s, "nN")) {
			return append(dst, v.s...), true, nil
		}
		out, err := appendDecimalPrinted(dst, v, st.opt.Django)
		return out, true, err
	}
	out, err = st.appendStr(dst, v)
	return out, false, err
}

// plainFloat tells whether canonical text of a float is what Python prints too.
func plainFloat(s string) bool {
	point := false
	for i := range len(s) {
		switch c := s[i]; {
		case c == '.':
			point = true
		case c != '-' && (c < '0' || c > '9'):
			return false
		}
	}
	return point
}

// str is Python's str().
func (st *state) str(v Value) (string, error) {
	if v.k == kString {
		return v.s, nil
	}
	b, err := st.appendStr(nil, v)
	return string(b), err
}

// appendStr appends Python's str() of a value.
func (st *state) appendStr(dst []byte, v Value) ([]byte, error) {
	switch v.k {
	case kString:
		return append(dst, v.s...), nil
	case kNone:
		return append(dst, "None"...), nil
	case kBool:
		if v.n != 0 {
			return append(dst, "True"...), nil
		}
		return append(dst, "False"...), nil
	case kInt:
		if v.f&fText != 0 {
			return append(dst, v.s...), nil
		}
		return appendInt(dst, v)
	case kFloat:
		if v.f&fText != 0 && plainFloat(v.s) {
			return append(dst, v.s...), nil
		}
		return appendFloat(dst, v.norm(), false)
	case kDecimal:
		return appendDecimal(dst, v)
	case kBytes:
		return base64.StdEncoding.AppendEncode(dst, []byte(v.s)), nil
	case kDateTime, kDate, kTime, kDuration:
		return st.appendTemporal(dst, v), nil
	case kJSON:
		if !st.opt.Django {
			return append(dst, v.s...), nil
		}
	case kObject:
		if s, ok := v.o.(Scalar); ok {
			return st.appendStr(dst, s.Scalar())
		}
		if j, ok := v.o.(JSONAppender); ok && !st.opt.Django {
			return j.AppendJSON(dst)
		}
	case kList:
		if j, ok := v.o.(JSONAppender); ok && !st.opt.Django {
			return j.AppendJSON(dst)
		}
	}
	return st.appendRepr(dst, v.norm())
}

// needsEscape tells whether escaping would change b.
func needsEscape(b []byte) bool {
	for _, c := range b {
		switch c {
		case '&', '<', '>', '"', '\'':
			return true
		}
	}
	return false
}

// appendEscaped appends s with HTML's special characters escaped.
func appendEscaped(dst []byte, s string) []byte {
	start := 0
	for i := range len(s) {
		var esc string
		switch s[i] {
		case '&':
			esc = "&amp;"
		case '<':
			esc = "&lt;"
		case '>':
			esc = "&gt;"
		case '"':
			esc = "&quot;"
		case '\'':
			esc = "&#x27;"
		default:
			continue
		}
		dst = append(dst, s[start:i]...)
		dst = append(dst, esc...)
		start = i + 1
	}
	return append(dst, s[start:]...)
}

// escape is Django's escape: text, escaped even if it was safe.
func escape(s string) Value {
	if !needsEscape([]byte(s)) {
		return Safe(s)
	}
	return Safe(string(appendEscaped(nil, s)))
}

// conditionalEscape escapes anything that is not safe.
func (st *state) conditionalEscape(v Value) (Value, error) {
	if v.safe() {
		return v, nil
	}
	s, err := st.str(v)
	return escape(s), err
}
