package template

import (
	"strings"
	"unicode/utf8"
)

// htmlHandler is told what the parser finds.
type htmlHandler interface {
	startTag(name, raw string)
	endTag(name string)
	data(s string) error // an error ends the parsing
	reference(s string)  // of a character, as written; only without charrefs
}

// htmlParser is Python 3.11's html.parser, as lenient as that one: what Django strips
// and truncates depends on its every habit.
type htmlParser struct {
	h        htmlHandler
	charrefs bool // references in text are decoded
	raw      string
	cdata    string // the element whose content is text: script or style
}

// feed parses what can be parsed. At the end of the text, the rest is data.
func (p *htmlParser) feed(end bool) error {
	i, n := 0, len(p.raw)
	for i < n {
		j, ok := p.interesting(i)
		if !ok {
			break
		}
		if i < j {
			if err := p.text(p.raw[i:j]); err != nil {
				return err
			}
		}
		if i = j; i == n {
			break
		}
		k, more, err := p.markup(i, end)
		if err != nil {
			return err
		}
		i = k
		if !more {
			break
		}
	}
	if end && i < n && p.cdata == "" {
		if err := p.text(p.raw[i:]); err != nil {
			return err
		}
		i = n
	}
	p.raw = p.raw[i:]
	return nil
}

func (p *htmlParser) text(s string) error {
	if p.charrefs && p.cdata == "" {
		s = unescapeHTML(s)
	}
	return p.h.data(s)
}

// interesting finds the next markup from i on; ok is false if more text is needed.
func (p *htmlParser) interesting(i int) (j int, ok bool) {
	rest := p.raw[i:]
	switch {
	case p.cdata != "":
		j = findEndTag(rest, p.cdata)
		return i + j, j >= 0
	case !p.charrefs:
		j = strings.IndexAny(rest, "&<")
	default:
		if j = strings.IndexByte(rest, '<'); j < 0 && cutReference(rest) {
			return 0, false
		}
	}
	if j < 0 {
		return len(p.raw), true
	}
	return i + j, true
}

// cutReference tells whether the text ends in what may be the beginning of a reference.
func cutReference(s string) bool {
	start := len(s)
	for range 34 {
		_, n := utf8.DecodeLastRuneInString(s[:start])
		start -= n
	}
	amp := strings.LastIndexByte(s[start:], '&')
	if amp < 0 {
		return false
	}
	return strings.IndexFunc(s[start+amp:], func(r rune) bool { return r == ';' || isSpace(r) }) < 0
}

// findEndTag finds </ name > in any case.
func findEndTag(s, name string) int {
	for from := 0; ; {
		i := strings.Index(s[from:], "</")
		if i < 0 {
			return -1
		}
		at := from + i
		j := skipSpaces(s, at+2)
		if len(s)-j >= len(name) && strings.EqualFold(s[j:j+len(name)], name) {
			if j = skipSpaces(s, j+len(name)); j < len(s) && s[j] == '>' {
				return at
			}
		}
		from = at + 2
	}
}

// markup parses what begins at i and returns where it ends; more is false if the
// parser must stop there.
func (p *htmlParser) markup(i int, end bool) (k int, more bool, err error) {
	if p.raw[i] == '&' {
		return p.reference(i, end)
	}
	rest := p.raw[i:]
	switch {
	case len(rest) > 1 && isASCIILetter(rest[1]):
		k, err = p.startTag(i)
	case strings.HasPrefix(rest, "</"):
		k, err = p.endTag(i)
	case strings.HasPrefix(rest, "<!--"):
		k = p.comment(i)
	case strings.HasPrefix(rest, "<?"):
		k = after(p.raw, i+2, ">")
	case strings.HasPrefix(rest, "<!"):
		k, err = p.declaration(i)
	case len(rest) > 1:
		return i + 1, true, p.h.data("<")
	default:
		return i, false, nil
	}
	if err != nil || k >= 0 {
		return k, true, err
	}
	if !end {
		return i, false, nil
	}
	if k = after(p.raw, i+1, ">"); k < 0 {
		if k = strings.IndexByte(p.raw[i+1:], '<'); k < 0 {
			k = i + 1
		} else {
			k += i + 1
		}
	}
	return k, true, p.text(p.raw[i:k])
}

// after returns the index behind the next sub from i on, or -1.
func after(s string, i int, sub string) int {
	if i > len(s) {
		return -1
	}
	j := strings.Index(s[i:], sub)
	if j < 0 {
		return -1
	}
	return i + j + len(sub)
}

func isASCIILetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

func isAlnum(c byte) bool { return isASCIILetter(c) || (c >= '0' && c <= '9') }

func isHex(c byte) bool {
	return (c >= '0' && c <= '9') || (c|0x20 >= 'a' && c|0x20 <= 'f')
}

// reference parses & when references are kept as written.
func (p *htmlParser) reference(i int, end bool) (k int, more bool, err error) {
	s := p.raw[i:]
	if strings.HasPrefix(s, "&#") {
		j := charrefEnd(s)
		if j > 0 && j < len(s) {
			p.h.reference(s[:j] + ";")
			if s[j] == ';' {
				j++
			}
			return i + j, true, nil
		}
		if strings.IndexByte(s, ';') >= 0 {
			return i + 2, false, p.h.data("&#")
		}
		return i, false, nil
	}
	if len(s) > 1 && isASCIILetter(s[1]) {
		j := 2
		for j < len(s) && (isAlnum(s[j]) || s[j] == '-' || s[j] == '.') {
			j++
		}
		// The name must be followed by a character that is no letter or digit.
		for j == len(s) || isAlnum(s[j]) {
			if j--; j < 2 {
				break
			}
		}
		if j >= 2 {
			p.h.reference(s[:j] + ";")
			if s[j] == ';' {
				j++
			}
			return i + j, true, nil
		}
		if end && len(s) == 2 {
			return i + 1, false, nil
		}
		return i, false, nil
	}
	if len(s) > 1 {
		return i + 1, true, p.h.data("&")
	}
	return i, false, nil
}

// charrefEnd returns the end of &#123 or &#x7b at the start of s, if a character
// follows that could not belong to it; else 0.
func charrefEnd(s string) int {
	j := 2
	if j < len(s) && s[j]|0x20 == 'x' {
		for j++; j < len(s) && isHex(s[j]); j++ {
		}
		if j == 3 {
			return 0
		}
		return j
	}
	for ; j < len(s) && s[j] >= '0' && s[j] <= '9'; j++ {
	}
	if j == 2 || (j < len(s) && isHex(s[j])) {
		return 0
	}
	return j
}

// tagName returns the end of a tag name at i, or -1 if there is none.
func tagName(s string, i int) int {
	if i >= len(s) || !isASCIILetter(s[i]) {
		return -1
	}
	for i < len(s) && strings.IndexByte("\t\n\r\f />\x00", s[i]) < 0 {
		i++
	}
	return i
}

// skipFiller skips white space, and slashes that do not stand before >.
func skipFiller(s string, i int) int {
	for {
		i = skipSpaces(s, i)
		if i >= len(s) || s[i] != '/' || strings.HasPrefix(s[i:], "/>") {
			return i
		}
		i++
	}
}

// attribute returns the end of an attribute at i with the filler behind it, or -1.
func attribute(s string, i int) int {
	before, _ := utf8.DecodeLastRuneInString(s[:i])
	if before != '\'' && before != '"' && before != '/' && !isSpace(before) {
		return -1
	}
	r, n := utf8.DecodeRuneInString(s[i:])
	if n == 0 || r == '/' || r == '>' || isSpace(r) {
		return -1
	}
	for i += n; i < len(s); i += n {
		if r, n = utf8.DecodeRuneInString(s[i:]); r == '/' || r == '=' || r == '>' || isSpace(r) {
			break
		}
	}
	return skipFiller(s, attributeValue(s, i))
}

// attributeValue returns the end of an attribute's = and value at i, or i.
func attributeValue(s string, i int) int {
	eq := skipSpaces(s, i)
	b := eq
	for b < len(s) && s[b] == '=' {
		b++
	}
	if b == eq {
		return i
	}
	c := skipSpaces(s, b)
	if c < len(s) && (s[c] == '\'' || s[c] == '"') {
		if j := after(s, c+1, s[c:c+1]); j >= 0 {
			return skipSpaces(s, j)
		}
		switch { // no closing quote
		case c > b:
			return c // an empty value
		case b-eq < 2:
			return i
		}
		c = b - 1
	}
	for c < len(s) {
		r, n := utf8.DecodeRuneInString(s[c:])
		if r == '>' || isSpace(r) {
			break
		}
		c += n
	}
	return skipSpaces(s, c)
}

// wholeStartTag returns the end of the start tag at i, or -1 if it is not complete.
func wholeStartTag(s string, i int) int {
	j := tagName(s, i+1)
	for j < len(s) {
		r, n := utf8.DecodeRuneInString(s[j:])
		if r != '/' && !isSpace(r) {
			break
		}
		j += n
	}
	for {
		k := attribute(s, j)
		if k < 0 {
			break
		}
		j = k
	}
	j = skipSpaces(s, j)
	switch {
	case j >= len(s):
		return -1
	case s[j] == '>':
		return j + 1
	case s[j] == '/':
		if strings.HasPrefix(s[j:], "/>") {
			return j + 2
		}
		return -1
	case isASCIILetter(s[j]) || s[j] == '=':
		return -1
	}
	return j
}

func (p *htmlParser) startTag(i int) (int, error) {
	end := wholeStartTag(p.raw, i)
	if end < 0 {
		return end, nil
	}
	nameEnd := tagName(p.raw, i+1)
	name := lower(p.raw[i+1 : nameEnd])
	k := skipFiller(p.raw, nameEnd)
	for k < end {
		next := attribute(p.raw, k)
		if next < 0 {
			break
		}
		k = next
	}
	raw := p.raw[i:end]
	switch strings.TrimFunc(p.raw[min(k, end):end], isSpace) {
	case ">":
		p.h.startTag(name, raw)
		if name == "script" || name == "style" {
			p.cdata = name
		}
	case "/>":
		p.h.startTag(name, raw)
		if !isVoid(name) {
			p.h.endTag(name)
		}
	default:
		return end, p.h.data(raw)
	}
	return end, nil
}

func (p *htmlParser) endTag(i int) (int, error) {
	gt := after(p.raw, i+1, ">")
	if gt < 0 {
		return -1, nil
	}
	name, ok := plainEndTag(p.raw[i:gt])
	if !ok {
		if p.cdata != "" {
			return gt, p.h.data(p.raw[i:gt])
		}
		nameEnd := tagName(p.raw, i+2)
		if nameEnd < 0 {
			return gt, nil // </> or a bogus comment
		}
		p.h.endTag(lower(p.raw[i+2 : nameEnd]))
		return after(p.raw, skipFiller(p.raw, nameEnd), ">"), nil
	}
	if p.cdata != "" && name != p.cdata {
		return gt, p.h.data(p.raw[i:gt])
	}
	p.h.endTag(name)
	p.cdata = ""
	return gt, nil
}

// plainEndTag reads </ name > with nothing else in it.
func plainEndTag(s string) (string, bool) {
	i := skipSpaces(s, 2)
	j := i
	for j < len(s) && (isAlnum(s[j]) || strings.IndexByte("-.:_", s[j]) >= 0) {
		j++
	}
	if j == i || !isASCIILetter(s[i]) || skipSpaces(s, j) != len(s)-1 {
		return "", false
	}
	return strings.ToLower(s[i:j]), true
}

// comment returns the end of the comment at i: --, white space, >.
func (p *htmlParser) comment(i int) int { return closing(p.raw, i+4, "--", "") }

// closing finds first, white space, second (if any), white space, > from i on.
func closing(s string, i int, first, second string) int {
	for {
		j := after(s, i, first)
		if j < 0 {
			return -1
		}
		k := skipSpaces(s, j)
		if second != "" {
			if !strings.HasPrefix(s[k:], second) {
				i = j - len(first) + 1
				continue
			}
			k = skipSpaces(s, k+len(second))
		}
		if k < len(s) && s[k] == '>' {
			return k + 1
		}
		i = j - len(first) + 1
	}
}

func (p *htmlParser) declaration(i int) (int, error) {
	s := p.raw
	switch {
	case strings.HasPrefix(s[i:], "<!["):
		return p.markedSection(i)
	case len(s) >= i+9 && strings.EqualFold(s[i:i+9], "<!doctype"):
		return after(s, i+9, ">"), nil
	}
	return after(s, i+2, ">"), nil
}

func (p *htmlParser) markedSection(i int) (int, error) {
	s, start := p.raw, i+3
	if start == len(s) {
		return -1, nil
	}
	j := start
	for j < len(s) && (isAlnum(s[j]) || strings.IndexByte("-_.", s[j]) >= 0) {
		j++
	}
	if j == start || !isASCIILetter(s[start]) {
		return 0, fail(classAssert, "expected name token")
	}
	name := strings.ToLower(s[start:j])
	if skipSpaces(s, j) == len(s) {
		return -1, nil
	}
	switch name {
	case "temp", "cdata", "ignore", "include", "rcdata":
		return closing(s, start, "]", "]"), nil
	case "if", "else", "endif":
		return closing(s, start, "]", ""), nil
	}
	return 0, fail(classAssert, "unknown status keyword %q in marked section", name)
}

func isVoid(name string) bool {
	switch name {
	case "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source",
		"track", "wbr", "frame", "spacer":
		return true
	}
	return false
}
