package daemon

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/waltrigger/waltrigger/pkg/change"
)

// sampleValue reads the JSON of a column's value as the envelope writes it. kinds come
// from the names that databases give their types; what is unknown is text.
func sampleValue(typ string, raw json.RawMessage) (change.Value, error) {
	var v any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return change.Value{}, fmt.Errorf("read value: %w", err)
	}
	if v == nil {
		return change.Value{Kind: change.Null}, nil
	}
	kind := kindOf(typ)
	text, isText := v.(string)
	switch v := v.(type) {
	case json.Number:
		text = v.String()
	case bool:
		text = fmt.Sprint(v)
	case []any, map[string]any:
		text = string(raw)
	}
	out := change.Value{Kind: kind, Text: text}
	var err error
	switch kind {
	case change.JSON:
		out.Text = string(raw)
	case change.Array:
		if !bytes.HasPrefix(bytes.TrimSpace(raw), []byte("[")) {
			err = errors.New("is no list")
		}
	case change.Bool:
		if text != "true" && text != "false" {
			err = errors.New("is neither true nor false")
		}
	case change.Int, change.Float, change.Decimal:
		if special := kind != change.Int && (text == "NaN" || text == "Infinity" || text == "-Infinity"); !special && !isNumber(text, kind == change.Int) {
			err = errors.New("is no number")
		}
	case change.Bytes:
		var b []byte
		if b, err = base64.StdEncoding.DecodeString(text); err != nil || !isText {
			err = errors.New("is no base64")
		}
		out.Text = string(b)
	case change.Timestamp, change.DateTime, change.Date:
		out.Text, err = sampleTime(kind, text)
	case change.String:
		if _, object := v.(map[string]any); object {
			out.Kind = change.Object
		} else if _, list := v.([]any); list {
			out.Kind = change.Array
		}
	default:
		if !isText {
			err = errors.New("is no text")
		}
	}
	if err != nil {
		return out, fmt.Errorf("%w, as %s needs it", err, typ)
	}
	return out, nil
}

func isNumber(text string, whole bool) bool {
	var n json.Number
	return json.Unmarshal([]byte(text), &n) == nil && text != "" && (text[0] == '-' || text[0] >= '0' && text[0] <= '9') && !(whole && strings.ContainsAny(text, ".eE"))
}

// sampleTime gives a date or time in the one form in which it is kept.
func sampleTime(kind change.Kind, text string) (string, error) {
	switch kind {
	case change.Date:
		_, err := time.Parse(time.DateOnly, text)
		if err != nil {
			return "", errors.New("is no date such as 2024-02-29")
		}
		return text, nil
	case change.DateTime:
		t, err := time.Parse("2006-01-02T15:04:05", text)
		if err != nil {
			return "", errors.New("is no time such as 2024-02-29T13:05:06")
		}
		return t.Format("2006-01-02T15:04:05.999999"), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return "", errors.New("is no time such as 2024-02-29T13:05:06Z")
	}
	return t.UTC().Format("2006-01-02T15:04:05.999999Z"), nil
}

// kindOf is the kind of a type by its name in PostgreSQL or MySQL.
func kindOf(typ string) change.Kind {
	typ = strings.ToLower(typ)
	if strings.HasSuffix(typ, "[]") {
		return change.Array
	}
	word, _, _ := strings.Cut(typ, " ")
	word, _, _ = strings.Cut(word, "(")
	switch word {
	case "boolean", "bool":
		return change.Bool
	case "smallint", "integer", "bigint", "int", "mediumint", "tinyint", "year", "oid":
		return change.Int
	case "real", "double", "float":
		return change.Float
	case "numeric", "decimal":
		return change.Decimal
	case "bytea", "blob", "tinyblob", "mediumblob", "longblob", "binary", "varbinary":
		return change.Bytes
	case "timestamp":
		if strings.Contains(typ, "without time zone") {
			return change.DateTime
		}
		return change.Timestamp
	case "datetime":
		return change.DateTime
	case "date":
		return change.Date
	case "time":
		return change.Time
	case "interval":
		return change.Interval
	case "uuid":
		return change.UUID
	case "json", "jsonb":
		return change.JSON
	}
	return change.String
}
