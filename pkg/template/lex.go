package template

import (
	"strings"
	"unicode/utf8"
)

type tokenKind uint8

const (
	tokText tokenKind = iota
	tokVar
	tokBlock
	tokComment
)

// token is a piece of the source: text, or the stripped content of a tag.
type token struct {
	kind tokenKind
	text string
	pos  int // offset of the piece in the source
	at   int // offset of text in the source
}

// lexer cuts the source into tokens as Django's does: a tag never spans lines, and
// what is not closed on its line is text.
type lexer struct {
	src      string
	pos      int
	pending  *token // a tag found behind a text
	verbatim string // the tag that ends a verbatim block, "" outside

	blockEnd, varEnd, commentEnd, lineEnd finder
}

func newLexer(src string) lexer {
	return lexer{
		src: src, blockEnd: finder{what: "%}"}, varEnd: finder{what: "}}"}, commentEnd: finder{what: "#}"}, lineEnd: finder{what: "\n"},
	}
}

func (l *lexer) next() (token, bool) {
	if l.pending != nil {
		t := *l.pending
		l.pending = nil
		return t, true
	}
	start := l.pos
	for from := l.pos; ; {
		i := strings.IndexByte(l.src[from:], '{')
		if i < 0 || from+i+1 >= len(l.src) {
			break
		}
		open := from + i
		end := l.tagEnd(open)
		if end < 0 {
			from = open + 1
			continue
		}
		l.pos = end
		t := l.create(open, end)
		if open == start {
			return t, true
		}
		l.pending = &t
		return token{kind: tokText, text: l.src[start:open], pos: start, at: start}, true
	}
	l.pos = len(l.src)
	if start == len(l.src) {
		return token{}, false
	}
	return token{kind: tokText, text: l.src[start:], pos: start, at: start}, true
}

// finder finds the next place of a string. It remembers the last one, so that searching
// from ever later places costs one pass over the source in all.
type finder struct {
	what       string
	from, next int // what is at next, and nowhere from from on before it
	valid      bool
}

// find returns the first place from i on, or len(s).
func (f *finder) find(s string, i int) int {
	if f.valid && i >= f.from && i <= f.next {
		return f.next
	}
	f.from, f.next, f.valid = i, len(s), true
	if j := strings.Index(s[min(i, len(s)):], f.what); j >= 0 {
		f.next = i + j
	}
	return f.next
}

// tagEnd returns the end of the tag that opens at i, or -1 if there is none on its line.
func (l *lexer) tagEnd(i int) int {
	var closing *finder
	switch l.src[i+1] {
	case '%':
		closing = &l.blockEnd
	case '{':
		closing = &l.varEnd
	case '#':
		closing = &l.commentEnd
	default:
		return -1
	}
	j := closing.find(l.src, i+2)
	if j == len(l.src) || l.lineEnd.find(l.src, i+2) < j {
		return -1
	}
	return j + 2
}

func (l *lexer) create(open, end int) token {
	content := strings.TrimFunc(l.src[open+2:end-2], isSpace)
	at := open + 2 + strings.Index(l.src[open+2:end-2], content)
	t := token{text: content, pos: open, at: at}
	switch {
	case l.src[open+1] == '%' && (l.verbatim == "" || l.verbatim == content):
		if l.verbatim != "" {
			l.verbatim = ""
		} else if content == "verbatim" || strings.HasPrefix(content, "verbatim ") {
			l.verbatim = "end" + content
		}
		t.kind = tokBlock
	case l.verbatim != "":
		return token{kind: tokText, text: l.src[open:end], pos: open, at: open}
	case l.src[open+1] == '{':
		t.kind = tokVar
	default:
		t.kind = tokComment
	}
	return t
}

// Unclosed says where the first {{ or {% is that nothing closes on its line: it is text,
// as it is for Django, and perhaps not meant so. nil means that there is none.
func Unclosed(src string) *SyntaxError {
	l, verbatim := newLexer(src), false
	for {
		t, ok := l.next()
		if !ok {
			return nil
		}
		if t.kind == tokBlock { // within a verbatim block there is none but its end
			verbatim = t.text == "verbatim" || strings.HasPrefix(t.text, "verbatim ")
		}
		if t.kind != tokText || verbatim {
			continue
		}
		for _, tag := range []string{"{{", "{%"} {
			if i := strings.Index(t.text, tag); i >= 0 {
				line, column := lineColumn(src, t.at+i)
				return &SyntaxError{line, column, tag + " is not closed on its line, so it is text"}
			}
		}
	}
}

// bit is a word of a tag with its offset in the source.
type bit struct {
	s  string
	at int
}

// splitContents splits a tag's content at spaces, leaving quoted phrases and _("…")
// together.
func splitContents(s string, at int) ([]bit, error) {
	raw := smartSplit(s, at)
	out := raw[:0:0]
	for i := 0; i < len(raw); i++ {
		b := raw[i]
		if strings.HasPrefix(b.s, `_("`) || strings.HasPrefix(b.s, `_('`) {
			sentinel := b.s[2:3] + ")"
			words := []string{b.s}
			for !strings.HasSuffix(words[len(words)-1], sentinel) {
				if i++; i == len(raw) {
					return nil, errAt(b.at, "unterminated translation: %.40s", b.s)
				}
				words = append(words, raw[i].s)
			}
			b.s = strings.Join(words, " ")
		}
		out = append(out, b)
	}
	return out, nil
}

// splitter splits at white space outside quotes. A word is
// [^\s'"]* ( (quoted) [^\s'"]* )+ , or else just \S+.
type splitter struct {
	s string
	// From a quote on that is not closed, no later one of its kind is closed either.
	openSingle, openDouble bool
}

func smartSplit(s string, at int) []bit {
	sp := splitter{s: s}
	var out []bit
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if isSpace(r) {
			i += n
			continue
		}
		end := sp.quotedWord(i)
		if end < 0 {
			end = i + strings.IndexFunc(s[i:], isSpace)
			if end < i {
				end = len(s)
			}
		}
		out = append(out, bit{s[i:end], at + i})
		i = end
	}
	return out
}

// quotedWord returns the end of a word with at least one quoted phrase that begins at
// i, or -1.
func (sp *splitter) quotedWord(i int) int {
	found := -1
	for {
		for i < len(sp.s) {
			r, n := utf8.DecodeRuneInString(sp.s[i:])
			if isSpace(r) || r == '"' || r == '\'' {
				break
			}
			i += n
		}
		if found >= 0 {
			found = i
		}
		if i >= len(sp.s) || (sp.s[i] != '"' && sp.s[i] != '\'') {
			return found
		}
		end := sp.skipQuoted(i)
		if end < 0 {
			return found
		}
		i, found = end, end
	}
}

func (sp *splitter) skipQuoted(i int) int {
	open := &sp.openSingle
	if sp.s[i] == '"' {
		open = &sp.openDouble
	}
	if *open {
		return -1
	}
	end := skipQuoted(sp.s, i)
	*open = end < 0
	return end
}

// skipQuoted returns the index after the quoted string that begins at i, or -1.
func skipQuoted(s string, i int) int {
	quote := s[i]
	for i++; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case quote:
			return i + 1
		}
	}
	return -1
}
