package payload

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/waltrigger/waltrigger/pkg/change"
)

// appendDjango appends a value as Django's serializer writes it. JSON is embedded as the
// database prints it, and NaN, which is no JSON, is a string.
func appendDjango(dst []byte, v change.Value) []byte {
	switch v.Kind {
	case change.Float:
		if f, err := strconv.ParseFloat(v.Text, 64); err == nil && !math.IsInf(f, 0) && !math.IsNaN(f) {
			return appendPythonFloat(dst, f)
		}
	case change.Decimal:
		return change.AppendString(dst, pythonDecimal(v.Text))
	case change.Timestamp, change.DateTime:
		return change.AppendString(dst, milliseconds(v.Text, len("2024-02-29T13:05:06")))
	case change.Time:
		return change.AppendString(dst, milliseconds(v.Text, len("13:05:06")))
	case change.Interval:
		if d, ok := parseInterval(v.Text); ok {
			return change.AppendString(dst, d.String())
		}
	case change.Array:
		return change.AppendString(dst, pythonArray(v.Text))
	case change.Object:
		return change.AppendBytes(dst, spaced(v.Text))
	}
	return v.AppendJSON(dst)
}

// appendPythonFloat appends Python's repr of a finite float.
func appendPythonFloat(dst []byte, f float64) []byte {
	start := len(dst)
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.AppendFloat(dst, f, 'e', -1, 64)
	}
	dst = strconv.AppendFloat(dst, f, 'f', -1, 64)
	if !bytes.Contains(dst[start:], []byte{'.'}) {
		dst = append(dst, ".0"...)
	}
	return dst
}

// pythonDecimal gives Python's str of a decimal: with an exponent where it is very small.
func pythonDecimal(text string) string {
	sign, digits := "", text
	if strings.HasPrefix(text, "-") {
		sign, digits = "-", text[1:]
	}
	whole, fraction, point := strings.Cut(digits, ".")
	if !point || strings.Trim(whole, "0") != "" {
		return text
	}
	coefficient := strings.TrimLeft(fraction, "0")
	if coefficient == "" {
		coefficient = "0"
	}
	adjusted := len(coefficient) - len(fraction) - 1
	if adjusted >= -6 || strings.Trim(fraction, "0123456789") != "" {
		return text
	}
	if len(coefficient) > 1 {
		coefficient = coefficient[:1] + "." + coefficient[1:]
	}
	return fmt.Sprintf("%s%sE%d", sign, coefficient, adjusted)
}

// milliseconds cuts a fraction, which begins at the byte at, to three digits.
func milliseconds(text string, at int) string {
	if len(text) <= at || text[at] != '.' {
		return text
	}
	end := at + 1
	for end < len(text) && text[end] >= '0' && text[end] <= '9' {
		end++
	}
	return text[:at+1] + (text[at+1:end] + "00")[:3] + text[end:]
}

// interval is a Python timedelta.
type interval struct{ days, micros int64 }

// String is what Django's DurationField prints.
func (d interval) String() string {
	s := fmt.Sprintf("%02d:%02d:%02d", d.micros/3_600_000_000, d.micros/60_000_000%60, d.micros/1_000_000%60)
	if d.days != 0 {
		s = fmt.Sprintf("%d %s", d.days, s)
	}
	if rest := d.micros % 1_000_000; rest != 0 {
		s += fmt.Sprintf(".%06d", rest)
	}
	return s
}

const dayMicros = 86_400_000_000

// parseInterval reads an ISO 8601 duration; a year has 365 days and a month 30, as
// psycopg has it.
func parseInterval(text string) (interval, bool) {
	rest, ok := strings.CutPrefix(text, "P")
	var d interval
	units := map[byte]int64{'Y': 365, 'M': 30, 'W': 7, 'D': 1}
	inTime := false
	for ok && rest != "" {
		if rest[0] == 'T' && !inTime {
			units, inTime, rest = map[byte]int64{'H': 3_600_000_000, 'M': 60_000_000, 'S': 1_000_000}, true, rest[1:]
			continue
		}
		end := strings.IndexFunc(rest, func(r rune) bool { return r >= 'A' })
		if end < 1 || units[rest[end]] == 0 {
			return d, false
		}
		n, fraction, parsed := fixed(rest[:end])
		if !parsed || fraction != 0 && rest[end] != 'S' {
			return d, false
		}
		if inTime {
			d.micros += n*units[rest[end]] + fraction
		} else {
			d.days += n * units[rest[end]]
		}
		rest = rest[end+1:]
	}
	d.days += d.micros / dayMicros
	if d.micros %= dayMicros; d.micros < 0 {
		d.days, d.micros = d.days-1, d.micros+dayMicros
	}
	return d, ok
}

// fixed reads a number with up to six decimals; the fraction is in millionths.
func fixed(s string) (n, fraction int64, ok bool) {
	whole, decimals, _ := strings.Cut(s, ".")
	n, err := strconv.ParseInt(whole, 10, 40)
	if err != nil || len(decimals) > 6 {
		return 0, 0, false
	}
	if decimals != "" {
		fraction, err = strconv.ParseInt((decimals + "00000")[:6], 10, 64)
	}
	if strings.HasPrefix(whole, "-") {
		fraction = -fraction
	}
	return n, fraction, err == nil && !strings.ContainsAny(decimals, "+-")
}

// pythonArray gives what Django's ArrayField writes: a text that is a JSON list, of
// texts but for null and JSON.
func pythonArray(text string) string {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var items []json.RawMessage
	if err := d.Decode(&items); err != nil {
		return text
	}
	dst := []byte{'['}
	for i, item := range items {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		switch item[0] {
		case 'n', '"', '{':
			dst = append(dst, item...)
		case 't':
			dst = append(dst, `"True"`...)
		case 'f':
			dst = append(dst, `"False"`...)
		case '[':
			dst = change.AppendString(dst, pythonArray(string(item)))
		default:
			dst = change.AppendString(dst, string(item))
		}
	}
	return string(append(dst, ']'))
}

// spaced writes compact JSON with the spaces of Python.
func spaced(text string) []byte {
	dst := make([]byte, 0, len(text)+16)
	quoted := false
	for i := range len(text) {
		c := text[i]
		dst = append(dst, c)
		switch {
		case c == '"' && !escaped(text[:i]):
			quoted = !quoted
		case !quoted && (c == ',' || c == ':'):
			dst = append(dst, ' ')
		}
	}
	return dst
}

// escaped reports whether what follows text within a JSON string is escaped.
func escaped(text string) bool {
	return (len(text)-len(strings.TrimRight(text, `\`)))%2 == 1
}
