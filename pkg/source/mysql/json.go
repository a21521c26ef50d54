package mysql

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"math"
	"strconv"
)

// appendJSONBinary prints MySQL's binary JSON as the server itself prints it, so that the
// log and a SELECT give the same bytes.
func appendJSONBinary(dst, b []byte) ([]byte, error) {
	if len(b) == 0 { // what a server stores for an invalid document it was told to ignore
		return append(dst, "null"...), nil
	}
	return appendJSONValue(dst, b[0], b[1:], 0)
}

// Types of a value in binary JSON.
const (
	jsonSmallObject = iota
	jsonLargeObject
	jsonSmallArray
	jsonLargeArray
	jsonLiteral
	jsonInt16
	jsonUint16
	jsonInt32
	jsonUint32
	jsonInt64
	jsonUint64
	jsonDouble
	jsonString
	jsonOpaque = 15
)

// maxJSONDepth is beyond what MySQL stores (100).
const maxJSONDepth = 128

var errJSON = errors.New("decode JSON: document is cut short or malformed")

func appendJSONValue(dst []byte, kind byte, b []byte, depth int) ([]byte, error) {
	need := func(n int) bool { return len(b) >= n }
	switch kind {
	case jsonSmallObject, jsonLargeObject, jsonSmallArray, jsonLargeArray:
		return appendJSONContainer(dst, kind, b, depth)
	case jsonLiteral:
		if !need(1) || b[0] > 2 {
			return dst, errJSON
		}
		return append(dst, [...]string{"null", "true", "false"}[b[0]]...), nil
	case jsonInt16, jsonUint16, jsonInt32, jsonUint32, jsonInt64, jsonUint64:
		size := 2 << ((kind - jsonInt16) / 2)
		if !need(size) {
			return dst, errJSON
		}
		n := little(b[:size])
		if kind%2 == 0 { // the unsigned ones
			return strconv.AppendUint(dst, n, 10), nil
		}
		shift := 64 - 8*size
		return strconv.AppendInt(dst, int64(n<<shift)>>shift, 10), nil
	case jsonDouble:
		if !need(8) {
			return dst, errJSON
		}
		f := math.Float64frombits(binary.LittleEndian.Uint64(b))
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return dst, errJSON
		}
		return appendJSONDouble(dst, f), nil
	case jsonString:
		s, ok := sized(b)
		if !ok {
			return dst, errJSON
		}
		return appendJSONString(dst, s), nil
	case jsonOpaque:
		if !need(1) {
			return dst, errJSON
		}
		s, ok := sized(b[1:])
		if !ok {
			return dst, errJSON
		}
		return appendJSONOpaque(dst, b[0], s), nil
	}
	return dst, errJSON
}

// sized takes bytes behind their length, of which each byte holds 7 bits.
func sized(b []byte) ([]byte, bool) {
	n := 0
	for i := 0; i < len(b) && i < 5; i++ {
		n |= int(b[i]&0x7f) << (7 * i)
		if b[i]&0x80 == 0 {
			b = b[i+1:]
			return b[:min(n, len(b))], n <= len(b)
		}
	}
	return nil, false
}

// appendJSONContainer reads an object or array: the number of its elements and its size,
// the places and lengths of its keys, the types and places of its values. Small values
// stand in their place's stead. Large ones use 4 bytes for each number, others 2.
func appendJSONContainer(dst []byte, kind byte, b []byte, depth int) ([]byte, error) {
	width := 2
	if kind == jsonLargeObject || kind == jsonLargeArray {
		width = 4
	}
	object := kind == jsonSmallObject || kind == jsonLargeObject
	if len(b) < 2*width || depth > maxJSONDepth {
		return dst, errJSON
	}
	count, size := int(little(b[:width])), int(little(b[width:2*width]))
	keys, entries := 2*width, 2*width
	if object {
		entries += count * (width + 2)
	}
	if size > len(b) || count > size || entries+count*(width+1) > size {
		return dst, errJSON
	}
	b = b[:size]
	open, closing := byte('['), byte(']')
	if object {
		open, closing = '{', '}'
	}
	dst = append(dst, open)
	for i := range count {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		if object {
			e := b[keys+i*(width+2):]
			at, n := int(little(e[:width])), int(binary.LittleEndian.Uint16(e[width:]))
			if at+n > size {
				return dst, errJSON
			}
			dst = append(appendJSONString(dst, b[at:at+n]), ": "...)
		}
		e := b[entries+i*(width+1):]
		var err error
		if inline(e[0], width) {
			dst, err = appendJSONValue(dst, e[0], e[1:1+width], depth+1)
		} else if at := int(little(e[1 : 1+width])); at < size {
			dst, err = appendJSONValue(dst, e[0], b[at:], depth+1)
		} else {
			err = errJSON
		}
		if err != nil {
			return dst, err
		}
	}
	return append(dst, closing), nil
}

func inline(kind byte, width int) bool {
	switch kind {
	case jsonLiteral, jsonInt16, jsonUint16:
		return true
	case jsonInt32, jsonUint32:
		return width == 4
	}
	return false
}

func appendJSONString(dst, s []byte) []byte {
	dst = append(dst, '"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c >= 0x20:
			dst = append(dst, c)
		case c == '\b':
			dst = append(dst, '\\', 'b')
		case c == '\f':
			dst = append(dst, '\\', 'f')
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\r':
			dst = append(dst, '\\', 'r')
		case c == '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return append(dst, '"')
}

// appendJSONDouble prints a double as MySQL's my_gcvt does, with a fraction: numbers below
// 1e-15 and whole ones from 1e15 on with an exponent.
func appendJSONDouble(dst []byte, f float64) []byte {
	n := len(dst)
	dst = strconv.AppendFloat(dst, f, 'e', -1, 64)
	at := len(dst) - 1
	for dst[at] != 'e' {
		at--
	}
	exp, err := strconv.Atoi(string(dst[at+1:]))
	if err != nil {
		return dst
	}
	if exp < -15 || exp >= 15 && f == math.Trunc(f) {
		return strconv.AppendInt(dst[:at+1], int64(exp), 10)
	}
	dst = strconv.AppendFloat(dst[:n], f, 'f', -1, 64)
	if f == math.Trunc(f) {
		dst = append(dst, ".0"...)
	}
	return dst
}

// appendJSONOpaque prints a value of a type that JSON does not have.
func appendJSONOpaque(dst []byte, kind byte, b []byte) []byte {
	switch {
	case kind == wireDecimal && len(b) > 2 && len(b)-2 >= decimalSize(int(b[0]), int(b[1])):
		return appendDecimal(dst, b[2:], int(b[0]), int(b[1]))
	case len(b) == 8 && (kind == wireDate || kind == wireTime || kind == wireDateTime || kind == wireTimestamp):
		dst = append(dst, '"')
		dst = appendJSONTemporal(dst, kind, int64(binary.LittleEndian.Uint64(b)))
		return append(dst, '"')
	}
	dst = append(dst, `"base64:type`...)
	dst = strconv.AppendUint(dst, uint64(kind), 10)
	dst = append(dst, ':')
	dst = base64.StdEncoding.AppendEncode(dst, b)
	return append(dst, '"')
}

func appendJSONTemporal(dst []byte, kind byte, packed int64) []byte {
	if packed < 0 {
		packed, dst = -packed, append(dst, '-')
	}
	micros, hms := int(packed&(1<<24-1)), int(packed>>24&(1<<17-1))
	ymd := packed >> 41
	if kind == wireTime {
		hms = int(packed >> 24)
		hours := hms >> 12 & 1023
		if hours > 99 {
			dst = append(dst, '0'+byte(hours/100))
		}
		return sixDigits(appendHMS(dst, hours%100, hms>>6&63, hms&63), micros)
	}
	month := int(ymd >> 5)
	dst = appendYMD(dst, month/13, month%13, int(ymd&31))
	if kind == wireDate {
		return dst
	}
	return sixDigits(appendHMS(append(dst, ' '), hms>>12, hms>>6&63, hms&63), micros)
}

func sixDigits(dst []byte, micros int) []byte {
	return append2(append2(append2(append(dst, '.'), micros/10000), micros/100), micros)
}
