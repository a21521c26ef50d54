package template

import (
	"html"
	"strconv"
	"strings"
	"unicode/utf8"
)

// unescapeHTML is Python's html.unescape.
func unescapeHTML(s string) string {
	if strings.IndexByte(s, '&') < 0 {
		return s
	}
	var b []byte
	for i := 0; i < len(s); {
		if s[i] != '&' || i+1 == len(s) {
			b = append(b, s[i])
			i++
			continue
		}
		if s[i+1] == '#' {
			if j := numericEnd(s, i); j > 0 {
				b = append(b, numericReference(s[i+2:j])...)
				i = j
				continue
			}
			b = append(b, '&')
			i++
			continue
		}
		j := i + 1
		for n := 0; j < len(s) && n < 32 && strings.IndexByte("\t\n\f <&#;", s[j]) < 0; n++ {
			_, size := utf8.DecodeRuneInString(s[j:])
			j += size
		}
		if j > i+1 && j < len(s) && s[j] == ';' {
			j++
		}
		b = append(b, html.UnescapeString(s[i:j])...)
		i = max(j, i+1)
	}
	return string(b)
}

// numericEnd returns the end of &#123; or &#x7b; at i, or 0.
func numericEnd(s string, i int) int {
	j := i + 2
	digit := func(c byte) bool { return c >= '0' && c <= '9' }
	if j < len(s) && s[j]|0x20 == 'x' {
		j++
		digit = isHex
	}
	start := j
	for j < len(s) && digit(s[j]) {
		j++
	}
	if j == start {
		return 0
	}
	if j < len(s) && s[j] == ';' {
		j++
	}
	return j
}

// numericReference decodes 123; or x7b; as browsers do.
func numericReference(s string) string {
	s = strings.TrimSuffix(s, ";")
	base := 10
	if s[0]|0x20 == 'x' {
		s, base = s[1:], 16
	}
	n, err := strconv.ParseUint(s, base, 32)
	switch {
	case err != nil || n > utf8.MaxRune || (n >= 0xd800 && n < 0xe000) || n == 0:
		return "\uFFFD"
	case n >= 0x80 && n < 0xa0:
		return html.UnescapeString("&#" + strconv.FormatUint(n, 10) + ";")
	case n == '\r':
		return "\r"
	case n < ' ' && n != '\t' && n != '\n' && n != '\f', n == 0x7f, n&0xfffe == 0xfffe, n >= 0xfdd0 && n < 0xfdf0:
		return ""
	}
	return string(rune(n))
}
