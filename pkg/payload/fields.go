package payload

import (
	"slices"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/waltrigger/waltrigger/pkg/change"
)

// appendFields appends the row as Django's serializer writes its fields, which is what
// Django Action Triggers sends without a payload: in the order of the columns, without
// the key, a foreign key under the name of its field, with Python's spaces and in ASCII.
// A column that the log does not hold is left out, and so is the row of a truncate.
func (e *Event) appendFields(dst []byte) []byte {
	start := len(dst)
	t, row := e.Change.Table, e.Change.Row()
	mask := e.hidden(t)
	dst = append(dst, '{')
	for i, v := range row {
		if v.Kind == change.Missing || mask != nil && mask[i] || t.KeyIsPrimary && slices.Contains(t.Key, i) {
			continue
		}
		if len(dst) > start+1 {
			dst = append(dst, ", "...)
		}
		name := t.Columns[i].Name
		if e.Related != nil {
			name = e.Related.Field(t, name)
		}
		dst = change.AppendString(dst, name)
		dst = append(dst, ": "...)
		dst = appendDjango(dst, v)
	}
	return toASCII(append(dst, '}'), start)
}

// toASCII escapes what Python's json.dumps escapes in JSON from start on: it stands in
// strings only.
func toASCII(dst []byte, start int) []byte {
	other := slices.IndexFunc(dst[start:], func(c byte) bool { return c >= 0x7f })
	if other < 0 {
		return dst
	}
	text := string(dst[start+other:])
	dst = dst[:start+other]
	for i := 0; i < len(text); {
		if text[i] < 0x7f {
			dst = append(dst, text[i])
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(text[i:])
		i += n
		if r < 0x10000 {
			dst = appendEscape(dst, r)
			continue
		}
		high, low := utf16.EncodeRune(r)
		dst = appendEscape(appendEscape(dst, high), low)
	}
	return dst
}

func appendEscape(dst []byte, r rune) []byte {
	const hex = "0123456789abcdef"
	return append(dst, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
}
