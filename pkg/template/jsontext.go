package template

import (
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// maxJSONDepth bounds the nesting of JSON that is decoded.
const maxJSONDepth = 128

// decodeScalar decodes JSON text that is no container. Numbers become what Python's
// json module makes of them: an int, or a float if there is a point or an exponent.
func decodeScalar(t string) (Value, bool) {
	switch {
	case t == "":
		return Value{}, false
	case t == "null":
		return Value{}, true
	case t == "true":
		return Bool(true), true
	case t == "false":
		return Bool(false), true
	case t[0] == '"':
		s, ok := decodeString(t)
		return String(s), ok
	case t == "NaN" || t == "Infinity" || t == "-Infinity":
		return FloatText(t), true
	}
	if !json.Valid([]byte(t)) {
		return Value{}, false
	}
	if strings.ContainsAny(t, ".eE") {
		return FloatText(t).norm(), true
	}
	if t == "-0" {
		return Int(0), true
	}
	return IntText(t), true
}

func decodeString(t string) (string, bool) {
	if len(t) < 2 || t[len(t)-1] != '"' {
		return "", false
	}
	if strings.IndexByte(t, '\\') < 0 && utf8.ValidString(t) {
		return t[1 : len(t)-1], true
	}
	var s string
	if json.Unmarshal([]byte(t), &s) != nil {
		return "", false
	}
	return s, true
}

// decodeContainer decodes one level of a JSON object or array; its members stay text
// until they are looked into themselves. Malformed text gives an empty container.
func decodeContainer(t string) Value {
	if t != "" && t[0] == '[' {
		var vs []Value
		eachMember(t, func(_, val string) bool {
			vs = append(vs, JSON(val))
			return true
		})
		return listValue(vs)
	}
	d := &dict{}
	eachMember(t, func(key, val string) bool {
		if k, ok := decodeString(key); ok {
			d.set(k, JSON(val))
		}
		return true
	})
	return Of(d)
}

// jsonMember finds a key of a JSON object without decoding the rest. The last of
// duplicate keys wins, as in Python.
func jsonMember(t, name string) (Value, bool) {
	var found string
	ok := false
	eachMember(t, func(key, val string) bool {
		if len(key) == len(name)+2 && key[1:len(key)-1] == name {
			found, ok = val, true
		} else if strings.IndexByte(key, '\\') >= 0 {
			if k, valid := decodeString(key); valid && k == name {
				found, ok = val, true
			}
		}
		return true
	})
	if !ok {
		return Value{}, false
	}
	return JSON(found), true
}

// eachMember calls fn with the text of each member of a container; key is empty in an
// array. It stops at the first malformed member.
func eachMember(t string, fn func(key, val string) bool) {
	if t == "" {
		return
	}
	object := t[0] == '{'
	i := skipSpace(t, 1)
	if i < len(t) && (t[i] == '}' || t[i] == ']') {
		return
	}
	for i < len(t) {
		key := ""
		if object {
			end := skipString(t, i)
			if end < 0 {
				return
			}
			key = t[i:end]
			if i = skipSpace(t, end); i >= len(t) || t[i] != ':' {
				return
			}
			i = skipSpace(t, i+1)
		}
		end := skipValue(t, i)
		if end <= i || !fn(key, t[i:end]) {
			return
		}
		if i = skipSpace(t, end); i >= len(t) || t[i] != ',' {
			return
		}
		i = skipSpace(t, i+1)
	}
}

func skipSpace(t string, i int) int {
	for i < len(t) && (t[i] == ' ' || t[i] == '\t' || t[i] == '\n' || t[i] == '\r') {
		i++
	}
	return i
}

// skipString returns the index after the string that begins at i, or -1.
func skipString(t string, i int) int {
	if i >= len(t) || t[i] != '"' {
		return -1
	}
	for i++; i < len(t); i++ {
		switch t[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
}

// skipValue returns the index after the value that begins at i, or -1. It counts
// brackets and does not recurse, so nesting costs no stack.
func skipValue(t string, i int) int {
	if i >= len(t) {
		return -1
	}
	if t[i] == '"' {
		return skipString(t, i)
	}
	if t[i] != '{' && t[i] != '[' {
		for i < len(t) && !strings.ContainsRune(",]} \t\r\n", rune(t[i])) {
			i++
		}
		return i
	}
	for depth := 0; i < len(t); i++ {
		switch t[i] {
		case '"':
			if i = skipString(t, i); i < 0 {
				return -1
			}
			i--
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return -1
}
