package template

import (
	"errors"
	"strings"

	"golang.org/x/text/unicode/norm"
)

// maxStripTags is how often Django strips until nothing more is found.
const maxStripTags = 50

// stripper keeps the text.
type stripper struct{ b strings.Builder }

func (s *stripper) startTag(_, _ string)   {}
func (s *stripper) endTag(string)          {}
func (s *stripper) data(text string) error { s.b.WriteString(text); return nil }
func (s *stripper) reference(text string)  { s.b.WriteString(text) }

func stripOnce(s string) (string, error) {
	var h stripper
	p := htmlParser{h: &h, raw: s}
	if err := p.feed(false); err != nil {
		return "", err
	}
	err := p.feed(true)
	return h.b.String(), err
}

func filterStripTags(c *call, in Value) (Value, error) {
	s := in.s
	if manyOpenTags(s) {
		return in, fail(classSuspect, "too many unclosed tags")
	}
	for i := 0; strings.Contains(s, "<") && strings.Contains(s, ">"); i++ {
		if i >= maxStripTags {
			return in, fail(classSuspect, "tags are nested too deeply")
		}
		if err := c.st.spend(1 + len(s)>>8); err != nil {
			return in, err
		}
		next, err := stripOnce(s)
		if err != nil {
			return in, err
		}
		if strings.Count(next, "<") == strings.Count(s, "<") {
			break
		}
		s = next
	}
	return String(s), nil
}

// manyOpenTags finds a tag that is open for 1,000 characters and holds 50 more.
func manyOpenTags(s string) bool {
	for i := 0; i < len(s); {
		j := strings.IndexByte(s[i:], '<')
		if j < 0 {
			return false
		}
		i += j
		if i+1 >= len(s) || !isASCIILetter(s[i+1]) {
			i++
			continue
		}
		end := len(s)
		if gt := strings.IndexByte(s[i:], '>'); gt >= 0 {
			end = i + gt
		}
		if runeLen(s[i+2:max(end, i+2)]) < 1000 {
			i++
			continue
		}
		if strings.Count(s[i:end], "<") >= maxStripTags {
			return true
		}
		i = end
	}
	return false
}

// errTruncated ends the parsing when the text is long enough.
var errTruncated = errors.New("truncated")

// truncator copies HTML until a number of characters or words.
type truncator struct {
	p         *htmlParser
	words     bool
	limit     int
	remaining int
	seen      int // characters of text so far
	out       strings.Builder
	outLen    int
	size      int      // characters of the whole HTML
	open      []string // the innermost last
}

func (t *truncator) write(s string) {
	t.out.WriteString(s)
	t.outLen += runeLen(s)
}

func (t *truncator) reference(string) {}

func (t *truncator) startTag(name, raw string) {
	t.write(raw)
	if !isVoid(name) {
		t.open = append(t.open, name)
	}
}

func (t *truncator) endTag(name string) {
	if isVoid(name) {
		return
	}
	t.write("</" + name + ">")
	if n := len(t.open); n > 0 && t.open[n-1] == name {
		t.open = t.open[:n-1]
	}
}

func (t *truncator) data(s string) error {
	var size int
	var kept string
	if t.words {
		parts := splitInner(s)
		size = len(parts)
		kept = strings.Join(parts[:min(t.remaining, size)], " ")
	} else {
		size = runeLen(s)
		t.seen += size
		if t.seen == t.limit && t.outLen+size == t.size {
			t.write(s)
			return errTruncated
		}
		kept = firstRunes(s, t.remaining)
	}
	t.write(escape(kept).s)
	if t.remaining >= size {
		t.remaining -= size
		return nil
	}
	t.remaining = 0
	if t.words {
		full := t.out.String()
		kept = escape(kept).s
		if !strings.HasSuffix(kept, " "+ellipsis) {
			full += " " + ellipsis
		}
		t.out.Reset()
		t.out.WriteString(full)
	} else {
		t.out.WriteString(ellipsis)
	}
	return errTruncated
}

// splitInner splits at white space between words, not at that around them.
func splitInner(s string) []string {
	trimmed := strings.TrimFunc(s, isSpace)
	if trimmed == "" {
		return []string{s}
	}
	lead := strings.Index(s, trimmed)
	parts := fields(trimmed)
	parts[0] = s[:lead] + parts[0]
	parts[len(parts)-1] += s[lead+len(trimmed):]
	return parts
}

func truncateHTML(s string, limit int, words bool) (string, error) {
	t := truncator{words: words, limit: limit, remaining: limit, size: runeLen(s)}
	if !words {
		t.remaining = limit - 1
	}
	t.p = &htmlParser{h: &t, charrefs: true, raw: s}
	err := t.p.feed(false) // Django drops what is not complete
	if errors.Is(err, errTruncated) {
		for i := len(t.open) - 1; i >= 0; i-- {
			t.out.WriteString("</" + t.open[i] + ">")
		}
		err = nil
	}
	return t.out.String(), err
}

func filterTruncateCharsHTML(c *call, in Value) (Value, error) {
	n, ok, err := c.truncateArg()
	if !ok || err != nil {
		return in, err
	}
	if n <= 0 {
		return String(""), nil
	}
	s, err := truncateHTML(norm.NFC.String(in.s), n, false)
	return String(s), err
}

func filterTruncateWordsHTML(c *call, in Value) (Value, error) {
	n, ok, err := c.truncateArg()
	if !ok || err != nil {
		return in, err
	}
	if n <= 0 {
		return String(""), nil
	}
	s, err := truncateHTML(in.s, n, true)
	return String(s), err
}
