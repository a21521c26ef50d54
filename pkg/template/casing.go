package template

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// upper is Python's str.upper.
func upper(s string) string {
	return mapCase(s, func(b []byte, r rune, _ int) []byte { return appendUpper(b, r) })
}

// lower is Python's str.lower.
func lower(s string) string {
	return mapCase(s, func(b []byte, r rune, i int) []byte { return appendLower(b, s, r, i) })
}

// title is Python's str.title: the first letter of each run of letters is upper case.
func title(s string) string {
	inWord := false
	return mapCase(s, func(b []byte, r rune, i int) []byte {
		if inWord {
			b = appendLower(b, s, r, i)
		} else {
			b = appendTitle(b, r)
		}
		inWord = isCased(r)
		return b
	})
}

// capitalize is Python's str.capitalize.
func capitalize(s string) string {
	return mapCase(s, func(b []byte, r rune, i int) []byte {
		if i == 0 {
			return appendTitle(b, r)
		}
		return appendLower(b, s, r, i)
	})
}

// capFirst is Django's capfirst.
func capFirst(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	if n == 0 || (r == utf8.RuneError && n == 1) {
		return s
	}
	return string(append(appendUpper(nil, r), s[n:]...))
}

func mapCase(s string, fn func(b []byte, r rune, i int) []byte) string {
	b := make([]byte, 0, len(s)+8)
	for i, r := range s {
		b = fn(b, r, i)
	}
	return string(b)
}

func appendUpper(b []byte, r rune) []byte {
	if r >= 0x80 {
		if t := specialUpper(r); t != "" {
			return append(b, t...)
		}
	}
	return utf8.AppendRune(b, unicode.ToUpper(r))
}

func appendTitle(b []byte, r rune) []byte {
	if r >= 0x80 {
		if t := specialTitle(r); t != "" {
			return append(b, t...)
		}
	}
	return utf8.AppendRune(b, unicode.ToTitle(r))
}

// appendLower lowers the character r at s[i:]; a capital sigma at the end of a word
// becomes a final sigma.
func appendLower(b []byte, s string, r rune, i int) []byte {
	switch r {
	case 'İ':
		return append(b, "i̇"...)
	case 'Σ':
		if finalSigma(s, i) {
			return append(b, "ς"...)
		}
	}
	return utf8.AppendRune(b, unicode.ToLower(r))
}

func finalSigma(s string, i int) bool {
	before := strings.TrimRightFunc(s[:i], caseIgnorable)
	r, n := utf8.DecodeLastRuneInString(before)
	if n == 0 || !isCased(r) {
		return false
	}
	after := strings.TrimLeftFunc(s[i+len("Σ"):], caseIgnorable)
	r, n = utf8.DecodeRuneInString(after)
	return n == 0 || !isCased(r)
}

func isCased(r rune) bool {
	if r < 0x80 {
		return r|0x20 >= 'a' && r|0x20 <= 'z'
	}
	return unicode.In(r, unicode.Lu, unicode.Ll, unicode.Lt, unicode.Other_Lowercase, unicode.Other_Uppercase)
}

func caseIgnorable(r rune) bool {
	switch r {
	case '\'', '.', ':', '·', '\u0387', '\u055f', '\u05f4', '‘', '’', '․', '‧', '︓', '﹒', '﹕', '＇', '．', '：':
		return true
	}
	return unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf, unicode.Lm, unicode.Sk)
}
