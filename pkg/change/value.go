package change

import (
	"encoding/base64"
	"unicode/utf8"
	"unsafe"
)

// Kind is the type of a Value: a closed set that every source maps its own types to.
type Kind uint8

// Kinds. The comment gives the canonical Text of each and its JSON form.
const (
	Missing   Kind = iota // the log does not hold it: omitted, never null
	Null                  // null
	Bool                  // true, false: bare
	Int                   // decimal integer of any size: bare
	Float                 // shortest round-trip decimal; NaN, Infinity, -Infinity are strings
	Decimal               // as the database prints it, scale kept: a string
	String                // UTF-8: a string
	Bytes                 // the raw bytes: base64 (standard, padded)
	Timestamp             // RFC 3339 with microseconds as stored and Z: 2024-03-09T21:00:00.5Z
	DateTime              // the same without zone: 2024-03-09T21:00:00.5
	Date                  // 2024-03-09
	Time                  // 21:00:00.5, with offset where the type has one
	Interval              // ISO 8601 duration
	UUID                  // lower case, with hyphens
	JSON                  // the JSON text itself, embedded untouched
	Array                 // a JSON array, embedded
	Object                // a JSON object (composite, hstore), embedded
)

// Value is one column's value as canonical text. Equal values of one column have
// equal texts, so comparing two rows needs no decoding. Dates and times out of the
// range of RFC 3339 (infinity, BC, years over 9999) keep the database's text.
type Value struct {
	Kind Kind
	Text string
}

// AppendJSON appends the JSON form of v. Missing is appended as null: whoever may
// meet it leaves the column out instead.
func (v Value) AppendJSON(dst []byte) []byte {
	switch v.Kind {
	case Missing, Null:
		return append(dst, "null"...)
	case Bool, Int, JSON, Array, Object:
		return append(dst, v.Text...)
	case Float:
		if v.Text == "NaN" || v.Text == "Infinity" || v.Text == "-Infinity" {
			dst = append(dst, '"')
			dst = append(dst, v.Text...)
			return append(dst, '"')
		}
		return append(dst, v.Text...)
	case Bytes:
		dst = append(dst, '"')
		dst = base64.StdEncoding.AppendEncode(dst, []byte(v.Text))
		return append(dst, '"')
	default:
		return AppendString(dst, v.Text)
	}
}

// AppendBytes is AppendString for bytes.
func AppendBytes(dst, s []byte) []byte {
	return AppendString(dst, unsafe.String(unsafe.SliceData(s), len(s))) // s is only read, and not kept
}

const hexDigits = "0123456789abcdef"

// AppendString appends s as a JSON string (RFC 8259). Only what JSON requires is
// escaped, so text stays readable; invalid UTF-8 becomes U+FFFD.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= 0x20 && c != '"' && c != '\\' {
				i++
				continue
			}
			dst = append(dst, s[start:i]...)
			switch c {
			case '"', '\\':
				dst = append(dst, '\\', c)
			case '\n':
				dst = append(dst, '\\', 'n')
			case '\r':
				dst = append(dst, '\\', 'r')
			case '\t':
				dst = append(dst, '\\', 't')
			default:
				dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			}
			i++
			start = i
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			dst = append(dst, s[start:i]...)
			dst = append(dst, "\uFFFD"...)
			i++
			start = i
			continue
		}
		i += n
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}
