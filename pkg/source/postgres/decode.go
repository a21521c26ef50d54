package postgres

import (
	"bytes"
	"unicode/utf8"
	"unsafe"

	"github.com/waltrigger/waltrigger/pkg/change"
)

// text makes a string of b without copying it. b lies in memory that is written once
// (see wire) or was made for this value; it must never be written after this call.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// value maps the text of a column to its Value; TYPES.md is the table. It may write
// to raw, which must not be used afterwards. It never fails: what it cannot read is
// handed on as the database printed it.
func (t *pgType) value(raw []byte) change.Value {
	if t.dirty && !utf8.Valid(raw) {
		raw = bytes.ToValidUTF8(raw, []byte("\uFFFD"))
	}
	switch t.class {
	case classString:
		return change.Value{Kind: change.String, Text: text(raw)}
	case classInt:
		return change.Value{Kind: change.Int, Text: text(raw)}
	case classDecimal:
		return change.Value{Kind: change.Decimal, Text: text(raw)}
	case classTimestampTZ:
		return change.Value{Kind: change.Timestamp, Text: text(timestamp(raw, true))}
	case classTimestamp:
		return change.Value{Kind: change.DateTime, Text: text(timestamp(raw, false))}
	case classBool:
		if len(raw) == 1 && raw[0] == 't' {
			return change.Value{Kind: change.Bool, Text: "true"}
		}
		return change.Value{Kind: change.Bool, Text: "false"}
	case classFloat:
		return change.Value{Kind: change.Float, Text: text(raw)}
	case classUUID:
		return change.Value{Kind: change.UUID, Text: text(raw)}
	case classJSON:
		return change.Value{Kind: change.JSON, Text: text(raw)}
	case classDate:
		return change.Value{Kind: change.Date, Text: text(raw)}
	case classTime:
		return change.Value{Kind: change.Time, Text: text(raw)}
	case classInterval:
		return change.Value{Kind: change.Interval, Text: text(raw)}
	case classBytes:
		if b, ok := bytea(raw); ok {
			return change.Value{Kind: change.Bytes, Text: text(b)}
		}
	default:
		if b, ok := t.appendJSON(make([]byte, 0, 2*len(raw)+16), raw); ok {
			kind := change.Array
			if t.class == classComposite || t.class == classHstore {
				kind = change.Object
			}
			return change.Value{Kind: kind, Text: text(b)}
		}
	}
	return change.Value{Kind: change.String, Text: text(raw)}
}

// timestamp turns 2024-03-09 21:00:00.5+00 into RFC 3339 in place. Infinity, BC and
// years over 9999 have no such form and stay as they are.
func timestamp(raw []byte, zone bool) []byte {
	n := len(raw)
	if n < 19 || raw[4] != '-' || raw[10] != ' ' || raw[n-1] == 'C' {
		return raw
	}
	if zone {
		if n < 22 || raw[n-3] != '+' || raw[n-2] != '0' || raw[n-1] != '0' {
			return raw
		}
		raw[n-3] = 'Z'
		raw = raw[:n-2]
	}
	raw[10] = 'T'
	return raw
}

func bytea(raw []byte) ([]byte, bool) {
	if len(raw) < 2 || raw[0] != '\\' || raw[1] != 'x' || len(raw)%2 != 0 {
		return raw, false
	}
	for _, c := range raw[2:] { // unhex writes as it goes: look first
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return raw, false
		}
	}
	return unhex(raw[2:])
}

// appendJSON appends the JSON of the arrays and objects that PostgreSQL prints in its
// own notation. raw is left as it was, since !ok sends it as text.
func (t *pgType) appendJSON(dst, raw []byte) ([]byte, bool) {
	switch t.class {
	case classVector:
		if len(raw) < 2 || raw[0] != '[' || raw[len(raw)-1] != ']' {
			return dst, false
		}
		return append(dst, raw...), true
	case classHstore:
		return appendHstore(dst, raw)
	case classComposite:
		return t.appendComposite(dst, raw)
	case classArray:
		return t.appendArray(dst, raw)
	}
	v := t.value(bytes.Clone(raw)) // value may write to it
	return v.AppendJSON(dst), true
}

// maxNesting is beyond what PostgreSQL allows (6 dimensions) for arrays, and bounds
// composites in arrays in composites.
const maxNesting = 64

// appendArray reads {1,NULL,{…}} and "[5:7]={…}"; the lower bounds are dropped.
func (t *pgType) appendArray(dst, raw []byte) ([]byte, bool) {
	if len(raw) > 0 && raw[0] == '[' {
		_, rest, found := bytes.Cut(raw, []byte("]={"))
		if !found {
			return dst, false
		}
		raw = raw[len(raw)-len(rest)-1:]
	}
	dst, rest, ok := t.appendLevel(dst, raw, 0)
	return dst, ok && len(rest) == 0
}

func (t *pgType) appendLevel(dst, raw []byte, depth int) (_, rest []byte, ok bool) {
	if len(raw) < 2 || raw[0] != '{' || depth > maxNesting {
		return dst, raw, false
	}
	dst, raw = append(dst, '['), raw[1:]
	if raw[0] == '}' {
		return append(dst, ']'), raw[1:], true
	}
	for len(raw) > 0 {
		switch raw[0] {
		case '{':
			if dst, raw, ok = t.appendLevel(dst, raw, depth+1); !ok {
				return dst, raw, false
			}
		case '"':
			var item []byte
			if item, raw, ok = quoted(raw, false); !ok {
				return dst, raw, false
			}
			if dst, ok = t.elem.appendItem(dst, item); !ok {
				return dst, raw, false
			}
		default:
			end := 0
			for end < len(raw) && raw[end] != t.delim && raw[end] != '}' {
				end++
			}
			item := raw[:end]
			raw = raw[end:]
			if string(item) == "NULL" {
				dst = append(dst, "null"...)
			} else if dst, ok = t.elem.appendItem(dst, item); !ok {
				return dst, raw, false
			}
		}
		if len(raw) == 0 {
			break
		}
		c := raw[0]
		raw = raw[1:]
		switch c {
		case t.delim:
			dst = append(dst, ',')
		case '}':
			return append(dst, ']'), raw, true
		default:
			return dst, raw, false
		}
	}
	return dst, raw, false
}

// appendItem appends an element or field; what it cannot take apart becomes a string.
func (t *pgType) appendItem(dst, item []byte) ([]byte, bool) {
	n := len(dst)
	if dst, ok := t.appendJSON(dst, item); ok {
		return dst, true
	}
	return change.AppendString(dst[:n], string(item)), true
}

// quoted reads "…" with backslash escapes and, in composites, doubled quotes.
func quoted(raw []byte, double bool) (item, rest []byte, ok bool) {
	item = make([]byte, 0, 16)
	for i := 1; i < len(raw); i++ {
		switch c := raw[i]; {
		case c == '\\' && i+1 < len(raw):
			i++
			item = append(item, raw[i])
		case c == '"' && double && i+1 < len(raw) && raw[i+1] == '"':
			i++
			item = append(item, '"')
		case c == '"':
			return item, raw[i+1:], true
		default:
			item = append(item, c)
		}
	}
	return nil, raw, false
}

// appendComposite reads (1,"x,y",) as an object with the type's field names. A value
// written before the type got or lost a field, or after it if that is not known yet, has
// another number of them: !ok.
func (t *pgType) appendComposite(dst, raw []byte) ([]byte, bool) {
	dst, ok := t.appendFields(dst, raw)
	if !ok && t.unfit != nil {
		*t.unfit = true
	}
	return dst, ok
}

func (t *pgType) appendFields(dst, raw []byte) ([]byte, bool) {
	if len(raw) < 2 || raw[0] != '(' {
		return dst, false
	}
	raw = raw[1:]
	dst = append(dst, '{')
	if len(t.fields) == 0 {
		return append(dst, '}'), string(raw) == ")"
	}
	for i, f := range t.fields {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(change.AppendString(dst, f.name), ':')
		item, rest, null, ok := compositeItem(raw)
		if !ok {
			return dst, false
		}
		if null {
			dst = append(dst, "null"...)
		} else if dst, ok = f.typ.appendItem(dst, item); !ok {
			return dst, false
		}
		end := byte(',')
		if i == len(t.fields)-1 {
			end = ')'
		}
		if len(rest) == 0 || rest[0] != end {
			return dst, false
		}
		raw = rest[1:]
	}
	return append(dst, '}'), len(raw) == 0
}

func compositeItem(raw []byte) (item, rest []byte, null, ok bool) {
	if len(raw) > 0 && raw[0] == '"' {
		item, rest, ok = quoted(raw, true)
		return item, rest, false, ok
	}
	end := 0
	for end < len(raw) && raw[end] != ',' && raw[end] != ')' {
		end++
	}
	return raw[:end], raw[end:], end == 0, true
}

// appendHstore reads "a"=>"1", "b"=>NULL.
func appendHstore(dst, raw []byte) ([]byte, bool) {
	dst = append(dst, '{')
	for first := true; len(raw) > 0; first = false {
		if !first {
			if !bytes.HasPrefix(raw, []byte(", ")) {
				return dst, false
			}
			raw = raw[2:]
			dst = append(dst, ',')
		}
		if len(raw) == 0 || raw[0] != '"' {
			return dst, false
		}
		key, rest, ok := quoted(raw, false)
		if !ok || !bytes.HasPrefix(rest, []byte("=>")) {
			return dst, false
		}
		dst = append(change.AppendString(dst, string(key)), ':')
		raw = rest[2:]
		if bytes.HasPrefix(raw, []byte("NULL")) {
			dst, raw = append(dst, "null"...), raw[4:]
			continue
		}
		if len(raw) == 0 || raw[0] != '"' {
			return dst, false
		}
		item, rest, ok := quoted(raw, false)
		if !ok {
			return dst, false
		}
		dst, raw = change.AppendString(dst, string(item)), rest
	}
	return append(dst, '}'), true
}
