package template

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

var htmlFilters = []filterDef{
	{name: "escape", fn: filterEscape, safe: true, text: true},
	{name: "escapejs", fn: filterEscapeJS, text: true},
	{name: "escapeseq", fn: filterEscapeSeq, safe: true},
	{name: "force_escape", fn: filterForceEscape, safe: true, text: true},
	{name: "iriencode", fn: filterIRIEncode, safe: true, text: true},
	{name: "json", fn: filterJSON, raw: true},
	{name: "json_script", fn: filterJSONScript, args: argOptional, safe: true},
	{name: "linebreaks", fn: filterLineBreaks, args: argWrong, safe: true, text: true},
	{name: "linebreaksbr", fn: filterLineBreaksBR, args: argWrong, safe: true, text: true},
	{name: "linenumbers", fn: filterLineNumbers, args: argWrong, safe: true, text: true},
	{name: "safe", fn: filterSafe, safe: true, text: true},
	{name: "safeseq", fn: filterSafeSeq, safe: true},
	{name: "striptags", fn: filterStripTags, safe: true, text: true},
	{name: "truncatechars_html", fn: filterTruncateCharsHTML, args: argRequired, safe: true, text: true},
	{name: "truncatewords_html", fn: filterTruncateWordsHTML, args: argRequired, safe: true, text: true},
	{name: "urlencode", fn: filterURLEncode, args: argOptional, text: true},
	{name: "urlize", fn: filterURLize, args: argWrong, safe: true, text: true},
	{name: "urlizetrunc", fn: filterURLizeTrunc, args: argRequired, safe: true, text: true},
}

func filterEscape(c *call, in Value) (Value, error) { return c.st.conditionalEscape(in) }

func filterForceEscape(_ *call, in Value) (Value, error) { return escape(in.s), nil }

func filterSafe(_ *call, in Value) (Value, error) { return Safe(in.s), nil }

func filterEscapeJS(_ *call, in Value) (Value, error) {
	var b []byte
	for _, r := range in.s {
		if r < 0x20 || strings.ContainsRune("\\'\"><&=-;`\u2028\u2029", r) {
			b = fmt.Appendf(b, "\\u%04X", r)
		} else {
			b = utf8.AppendRune(b, r)
		}
	}
	return Safe(string(b)), nil
}

// mapSeq applies fn to each item of a sequence.
func mapSeq(c *call, in Value, fn func(Value) (Value, error)) (Value, error) {
	items, err := c.st.iterate(in)
	if err != nil {
		return in, err
	}
	out := make([]Value, items.Len())
	for i := range out {
		if err := c.st.spend(1); err != nil {
			return in, err
		}
		if out[i], err = fn(items.At(i)); err != nil {
			return in, err
		}
	}
	return listValue(out), nil
}

func filterEscapeSeq(c *call, in Value) (Value, error) {
	return mapSeq(c, in, c.st.conditionalEscape)
}

func filterSafeSeq(c *call, in Value) (Value, error) {
	return mapSeq(c, in, func(v Value) (Value, error) {
		s, err := c.st.str(v)
		return Safe(s), err
	})
}

// percentEncode is Python's urllib.parse.quote.
func percentEncode(s, safe string) string {
	var b []byte
	for i := range len(s) {
		c := s[i]
		if c < 0x80 && (isWord(rune(c)) || strings.IndexByte(".-~", c) >= 0 || strings.IndexByte(safe, c) >= 0) {
			b = append(b, c)
		} else {
			b = append(b, '%', "0123456789ABCDEF"[c>>4], "0123456789ABCDEF"[c&15])
		}
	}
	return string(b)
}

func filterIRIEncode(_ *call, in Value) (Value, error) {
	return String(percentEncode(in.s, "/#%[]=:;$&()+,!?*@'~")), nil
}

func filterURLEncode(c *call, in Value) (Value, error) {
	if in.s == "" {
		return in, nil
	}
	safe := "/"
	if c.has && !c.arg.IsNone() {
		if !c.arg.isStr() {
			return in, fail(classType, "%s object is not iterable", c.arg.typeName())
		}
		safe = c.arg.s
	}
	return String(percentEncode(in.s, safe)), nil
}

func normalizeNewlines(s string) string {
	if strings.IndexByte(s, '\r') < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
}

func filterLineBreaks(c *call, in Value) (Value, error) {
	s := normalizeNewlines(in.s)
	var out []string
	for _, p := range splitParagraphs(s) {
		if c.st.auto && !in.safe() {
			p = escape(p).s
		}
		out = append(out, "<p>"+strings.ReplaceAll(p, "\n", "<br>")+"</p>")
	}
	return Safe(strings.Join(out, "\n\n")), nil
}

// splitParagraphs splits at two or more line breaks.
func splitParagraphs(s string) []string {
	var out []string
	for {
		i := strings.Index(s, "\n\n")
		if i < 0 {
			return append(out, s)
		}
		out = append(out, s[:i])
		s = strings.TrimLeft(s[i:], "\n")
	}
}

func filterLineBreaksBR(c *call, in Value) (Value, error) {
	s := normalizeNewlines(in.s)
	if c.st.auto && !in.safe() {
		s = escape(s).s
	}
	return Safe(strings.ReplaceAll(s, "\n", "<br>")), nil
}

func filterLineNumbers(c *call, in Value) (Value, error) {
	lines := strings.Split(in.s, "\n")
	width := len(strconv.Itoa(len(lines)))
	for i, line := range lines {
		if c.st.auto && !in.safe() {
			line = escape(line).s
		}
		lines[i] = fmt.Sprintf("%0*d. %s", width, i+1, line)
	}
	return Safe(strings.Join(lines, "\n")), nil
}

func filterJSON(c *call, in Value) (Value, error) {
	b, err := c.st.appendJSON(nil, in, 0)
	return String(string(b)), err
}

func filterJSONScript(c *call, in Value) (Value, error) {
	b, err := c.st.appendDumps(nil, in, 0)
	if err != nil {
		return in, err
	}
	text := strings.NewReplacer("<", `\u003C`, ">", `\u003E`, "&", `\u0026`).Replace(string(b))
	id := ""
	if c.has {
		ok, err := c.st.truth(c.arg)
		if err != nil {
			return in, err
		}
		if ok {
			v, err := c.st.conditionalEscape(c.arg)
			if err != nil {
				return in, err
			}
			id = ` id="` + v.s + `"`
		}
	}
	return Safe("<script" + id + ` type="application/json">` + text + "</script>"), nil
}
