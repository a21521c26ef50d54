package mysql

import (
	"strconv"
	"strings"
)

// tokenKind tells words from quoted names and texts.
type tokenKind uint8

const (
	tokenEnd    tokenKind = iota
	tokenWord             // a keyword, a name without quotes, or a number
	tokenName             // `name`, or "name" under ANSI_QUOTES
	tokenText             // 'text', with its escapes resolved
	tokenSymbol           // one character
)

type token struct {
	kind tokenKind
	text string
}

// is reports whether the token is one of these keywords, given in upper case.
func (t token) is(words ...string) bool {
	if t.kind != tokenWord {
		return false
	}
	for _, w := range words {
		if strings.EqualFold(t.text, w) {
			return true
		}
	}
	return false
}

func (t token) symbol(c byte) bool { return t.kind == tokenSymbol && t.text[0] == c }

// dialect is what reading a statement depends on.
type dialect struct {
	mariadb     bool
	version     int // 90704, 101118
	ansiQuotes  bool
	noBackslash bool
	lower       bool // names of tables and databases are in lower case
}

// lex cuts a statement into tokens. It reads what the server executed, so it never fails:
// what is not closed ends with the statement.
func lex(sql string, d dialect) []token {
	l := lexer{s: sql, d: d}
	for l.next() {
	}
	return l.tokens
}

type lexer struct {
	s      string
	d      dialect
	code   int // depth of comments that are code
	tokens []token
}

func (l *lexer) next() bool {
	if l.s == "" {
		return false
	}
	c := l.s[0]
	switch {
	case c == ' ' || c >= '\t' && c <= '\r':
		l.s = l.s[1:]
	case c == '#' || strings.HasPrefix(l.s, "--") && (len(l.s) == 2 || l.s[2] <= ' '):
		_, l.s, _ = strings.Cut(l.s, "\n")
	case strings.HasPrefix(l.s, "/*"):
		l.comment()
	case l.code > 0 && strings.HasPrefix(l.s, "*/"):
		l.code--
		l.s = l.s[2:]
	case c == '`' || c == '"' && l.d.ansiQuotes:
		l.add(tokenName, l.quoted(c, false))
	case c == '\'' || c == '"':
		l.add(tokenText, l.quoted(c, !l.d.noBackslash))
	case wordByte(c):
		n := 1
		for n < len(l.s) && wordByte(l.s[n]) {
			n++
		}
		l.add(tokenWord, l.s[:n])
		l.s = l.s[n:]
	default:
		l.add(tokenSymbol, l.s[:1])
		l.s = l.s[1:]
	}
	return true
}

func (l *lexer) add(kind tokenKind, text string) { l.tokens = append(l.tokens, token{kind, text}) }

func wordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '$' || c >= 0x80
}

// comment skips a comment, or enters one whose content is code for this server:
// /*! … */, with the least version it is for, and MariaDB's /*M! … */.
func (l *lexer) comment() {
	rest, code := strings.CutPrefix(l.s, "/*!")
	if !code {
		if rest, code = strings.CutPrefix(l.s, "/*M!"); code && !l.d.mariadb {
			code = false
		}
	}
	if code {
		n := 0
		for n < len(rest) && n < 6 && rest[n] >= '0' && rest[n] <= '9' {
			n++
		}
		least, _ := strconv.Atoi(rest[:n])
		foreign := l.d.mariadb && least >= 50700 && least <= 50999 // MySQL's, which MariaDB passes over
		if least <= l.d.version && !foreign {
			l.s = rest[n:]
			l.code++
			return
		}
	}
	_, l.s, _ = strings.Cut(l.s[2:], "*/")
}

// quoted reads a quoted text, in which the quote may stand twice.
func (l *lexer) quoted(quote byte, escapes bool) string {
	var b strings.Builder
	for i := 1; i < len(l.s); i++ {
		switch c := l.s[i]; {
		case c == '\\' && escapes && i+1 < len(l.s):
			i++
			b.WriteString(unescape(l.s[i]))
		case c == quote && i+1 < len(l.s) && l.s[i+1] == quote:
			i++
			b.WriteByte(c)
		case c == quote:
			l.s = l.s[i+1:]
			return b.String()
		default:
			b.WriteByte(c)
		}
	}
	l.s = ""
	return b.String()
}

func unescape(c byte) string {
	switch c {
	case '0':
		return "\x00"
	case 'b':
		return "\b"
	case 'n':
		return "\n"
	case 'r':
		return "\r"
	case 't':
		return "\t"
	case 'Z':
		return "\x1a"
	case '%', '_':
		return "\\" + string(c)
	}
	return string(c)
}
