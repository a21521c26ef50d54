package template

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// isSpace is Python's str.isspace and the \s of its regular expressions.
func isSpace(r rune) bool {
	switch {
	case r <= ' ':
		return r == ' ' || (r >= '\t' && r <= '\r') || (r >= 0x1c && r <= 0x1f)
	case r < 0x80:
		return false
	}
	return r == 0x85 || r == 0xa0 || r == 0x1680 || (r >= 0x2000 && r <= 0x200a) ||
		r == 0x2028 || r == 0x2029 || r == 0x202f || r == 0x205f || r == 0x3000
}

// isWord is the \w of Python's regular expressions.
func isWord(r rune) bool {
	if r < 0x80 {
		return r == '_' || (r >= '0' && r <= '9') || (r|0x20 >= 'a' && r|0x20 <= 'z')
	}
	return unicode.IsLetter(r) || unicode.IsNumber(r)
}

// fields is Python's str.split().
func fields(s string) []string { return strings.FieldsFunc(s, isSpace) }

// isLineBreak tells the characters at which Python's str.splitlines splits.
func isLineBreak(r rune) bool {
	return (r >= '\n' && r <= '\r') || (r >= 0x1c && r <= 0x1e) || r == 0x85 || r == 0x2028 || r == 0x2029
}

// splitLines is Python's str.splitlines.
func splitLines(s string, keepEnds bool) []string {
	var out []string
	start := 0
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if !isLineBreak(r) {
			i += n
			continue
		}
		end := i + n
		if r == '\r' && end < len(s) && s[end] == '\n' {
			end++
		}
		if keepEnds {
			out = append(out, s[start:end])
		} else {
			out = append(out, s[start:i])
		}
		i, start = end, end
	}
	if start < len(s) {
		out = append(out, s[start:])
	}
	return out
}

// runeLen is Python's len of a str.
func runeLen(s string) int { return utf8.RuneCountInString(s) }

// runeAt returns the i-th character, i counting from the end if negative.
func runeAt(s string, i int) (string, bool) {
	if i < 0 {
		i += runeLen(s)
	}
	if i < 0 {
		return "", false
	}
	for pos := range s {
		if i == 0 {
			_, n := utf8.DecodeRuneInString(s[pos:])
			return s[pos : pos+n], true
		}
		i--
	}
	return "", false
}

// firstRunes returns the first n characters of s.
func firstRunes(s string, n int) string {
	for i := range s {
		if n <= 0 {
			return s[:i]
		}
		n--
	}
	return s
}

// isPrintable is Python's str.isprintable for one character.
func isPrintable(r rune) bool {
	return r == ' ' || unicode.In(r, unicode.L, unicode.M, unicode.N, unicode.P, unicode.S)
}
