package django

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/waltrigger/waltrigger/pkg/change"
)

// mapStrings gives doc with each string, keys included, as f makes it of the one that is
// there. All else, and the order, stays.
func mapStrings(doc json.RawMessage, f func(pointer, s string, key bool) string) (json.RawMessage, error) {
	m := mapper{dec: json.NewDecoder(bytes.NewReader(doc)), f: f}
	m.dec.UseNumber()
	if err := m.value(""); err != nil {
		return nil, fmt.Errorf("read JSON: %w", err)
	}
	return m.out, nil
}

type mapper struct {
	dec *json.Decoder
	out []byte
	f   func(pointer, s string, key bool) string
}

func (m *mapper) value(pointer string) error {
	tok, err := m.dec.Token()
	if err != nil {
		return err
	}
	switch v := tok.(type) {
	case json.Delim:
		return m.items(pointer, v)
	case string:
		m.out = change.AppendString(m.out, m.f(pointer, v, false))
	case json.Number:
		m.out = append(m.out, v...)
	case bool:
		m.out = strconv.AppendBool(m.out, v)
	case nil:
		m.out = append(m.out, "null"...)
	}
	return nil
}

func (m *mapper) items(pointer string, open json.Delim) error {
	m.out = append(m.out, byte(open))
	for i := 0; m.dec.More(); i++ {
		if i > 0 {
			m.out = append(m.out, ',')
		}
		at := pointer + "/" + strconv.Itoa(i)
		if open == '{' {
			tok, err := m.dec.Token()
			if err != nil {
				return err
			}
			key, _ := tok.(string)
			at = pointer + "/" + escape(key)
			m.out = append(change.AppendString(m.out, m.f(at, key, true)), ':')
		}
		if err := m.value(at); err != nil {
			return err
		}
	}
	end, err := m.dec.Token()
	if err == nil {
		m.out = append(m.out, byte(end.(json.Delim)))
	}
	return err
}

// escape writes a key for a JSON pointer.
func escape(key string) string {
	return strings.ReplaceAll(strings.ReplaceAll(key, "~", "~0"), "/", "~1")
}

// falsy reports whether Python takes a document for false: the package then sends the
// fields of the row.
func falsy(doc json.RawMessage) bool {
	switch text := string(bytes.TrimSpace(doc)); text {
	case "", "null", "false", `""`, "{}", "[]":
		return true
	default:
		f, err := strconv.ParseFloat(text, 64)
		return err == nil && f == 0
	}
}

// first is the first byte of a document: what it is.
func first(doc json.RawMessage) byte {
	if doc = bytes.TrimSpace(doc); len(doc) == 0 {
		return 0
	}
	return doc[0]
}
