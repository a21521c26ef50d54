package template

import (
	"net/netip"
	"strings"
)

// isEmail is Django's EmailValidator.
func isEmail(s string) bool {
	at := strings.LastIndexByte(s, '@')
	if at < 0 || runeLen(s) > 320 {
		return false
	}
	return validUser(s[:at]) && (validDomain(s[at+1:]) || validLiteral(s[at+1:]))
}

func validUser(s string) bool {
	if validDotAtom(s) {
		return true
	}
	return validQuotedUser(s)
}

func validDotAtom(s string) bool {
	for _, part := range strings.Split(s, ".") {
		if part == "" {
			return false
		}
		for _, r := range part {
			if !atomRune(r) {
				return false
			}
		}
	}
	return true
}

// atomRune matches [-!#$%&'*+/=?^_`{}|~0-9A-Z], ignoring case as Python does: the
// Kelvin sign is a K, the long s is an S, and the dotless i and dotted I are an I.
func atomRune(r rune) bool {
	if r < 0x80 {
		return isAlnum(byte(r)) || strings.ContainsRune("-!#$%&'*+/=?^_`{}|~", r)
	}
	return foldsToASCII(r)
}

func foldsToASCII(r rune) bool { return r == 'K' || r == 'ſ' || r == 'ı' || r == 'İ' }

// validQuotedUser matches a quoted string.
func validQuotedUser(s string) bool {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return false
	}
	body := s[1 : len(s)-1]
	for i := 0; i < len(body); i++ {
		c := body[i]
		switch {
		case c == '\\':
			if i++; i == len(body) || !quotedPair(body[i]) {
				return false
			}
		case c == '"' || c == 0 || c == '\t' || c == '\n' || c == '\r' || c == ' ' || c >= 0x80:
			return false
		}
	}
	return true
}

func quotedPair(c byte) bool { return c != 0 && c != '\n' && c != '\r' && c < 0x80 }

// labelRune matches [a-z\u00a1-\uffff].
func labelRune(r rune) bool {
	if r < 0x80 {
		return isASCIILetter(byte(r))
	}
	return r >= 0xa1 && r <= 0xffff || foldsToASCII(r)
}

func validDomain(s string) bool {
	if s == "localhost" {
		return false // Django's urlize allows no exceptions
	}
	labels := strings.Split(s, ".")
	if len(labels) < 2 {
		return false
	}
	for i, label := range labels {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' || runeLen(label) > 63 {
			return false
		}
		last := i == len(labels)-1
		for _, r := range label {
			if r != '-' && !labelRune(r) && (r < '0' || r > '9' || (last && !punycode(label))) {
				return false
			}
		}
		if last && runeLen(label) < 2 {
			return false
		}
	}
	return true
}

// punycode matches xn--[a-z0-9]{1,59}.
func punycode(label string) bool {
	rest, ok := strings.CutPrefix(lowerASCII(label), "xn--")
	return ok && rest != "" && len(rest) <= 59 && strings.Trim(rest, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

// validLiteral matches [127.0.0.1] and [::1].
func validLiteral(s string) bool {
	if len(s) < 3 || s[0] != '[' || s[len(s)-1] != ']' {
		return false
	}
	a, err := netip.ParseAddr(s[1 : len(s)-1])
	return err == nil && a.Zone() == ""
}
