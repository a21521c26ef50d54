package template

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

var textFilters = []filterDef{
	{name: "addslashes", fn: textFn(addSlashes), safe: true, text: true},
	{name: "capfirst", fn: textFn(capFirst), safe: true, text: true},
	{name: "center", fn: filterCenter, args: argRequired, safe: true, text: true},
	{name: "cut", fn: filterCut, args: argRequired, text: true},
	{name: "ljust", fn: filterLjust, args: argRequired, safe: true, text: true},
	{name: "lower", fn: textFn(lower), safe: true, text: true},
	{name: "make_list", fn: filterMakeList, text: true},
	{name: "phone2numeric", fn: filterPhone, safe: true},
	{name: "rjust", fn: filterRjust, args: argRequired, safe: true, text: true},
	{name: "slugify", fn: textFn(slugify), safe: true, text: true},
	{name: "title", fn: textFn(filterTitle), safe: true, text: true},
	{name: "truncatechars", fn: filterTruncateChars, args: argRequired, safe: true, text: true},
	{name: "truncatewords", fn: filterTruncateWords, args: argRequired, safe: true, text: true},
	{name: "upper", fn: textFn(upper), text: true},
	{name: "wordcount", fn: filterWordCount, text: true},
	{name: "wordwrap", fn: filterWordWrap, args: argRequired, safe: true, text: true},
}

func addSlashes(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, `'`, `\'`).Replace(s)
}

func (c *call) padding(in Value) (int, error) {
	arg, err := toInt(c.arg)
	if err != nil {
		return 0, err
	}
	if arg.f&fBig != 0 {
		return 0, fail(classOverflow, "int too large to convert")
	}
	width, err := smallInt(arg)
	if err != nil {
		return 0, err
	}
	return max(width-runeLen(in.s), 0), c.room(width)
}

func filterCenter(c *call, in Value) (Value, error) {
	pad, err := c.padding(in)
	if err != nil {
		return in, err
	}
	left := pad/2 + (pad & (pad + runeLen(in.s)) & 1)
	return String(strings.Repeat(" ", left) + in.s + strings.Repeat(" ", pad-left)), nil
}

func filterLjust(c *call, in Value) (Value, error) {
	pad, err := c.padding(in)
	if err != nil {
		return in, err
	}
	return String(in.s + strings.Repeat(" ", pad)), nil
}

func filterRjust(c *call, in Value) (Value, error) {
	pad, err := c.padding(in)
	if err != nil {
		return in, err
	}
	return String(strings.Repeat(" ", pad) + in.s), nil
}

func filterCut(c *call, in Value) (Value, error) {
	if !c.arg.isStr() {
		return in, fail(classType, "replace() argument 1 must be str, not %s", c.arg.typeName())
	}
	out := String(in.s)
	if c.arg.s != "" {
		out.s = strings.ReplaceAll(in.s, c.arg.s, "")
	}
	if in.safe() && c.arg.s != ";" {
		out.f |= fSafe
	}
	return out, nil
}

func filterMakeList(c *call, in Value) (Value, error) {
	if err := c.st.spend(len(in.s) >> 6); err != nil {
		return in, err
	}
	return listValue(characters(in.s)), nil
}

func filterPhone(_ *call, in Value) (Value, error) {
	if !in.isText() {
		return in, fail(classAttribute, "%s has no attribute 'lower'", in.typeName())
	}
	const digits = "22233344455566677778889999"
	out := String(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' {
			return rune(digits[r-'a'])
		}
		return r
	}, lower(in.s)))
	out.f = in.f & fLazy
	return out, nil
}

// slugify is Django's: ASCII words joined by hyphens.
func slugify(s string) string {
	var b []byte
	hyphen := false
	for _, r := range norm.NFKD.String(s) {
		switch {
		case r >= 0x80:
		case r == '-' || isSpace(r):
			hyphen = true
		case isWord(r):
			if hyphen {
				b = append(b, '-')
				hyphen = false
			}
			b = append(b, byte(unicode.ToLower(r)))
		}
	}
	return strings.Trim(string(b), "-_")
}

// filterTitle is Python's title, with the letters after an apostrophe or a digit
// lowered again.
func filterTitle(s string) string {
	rs := []rune(title(s))
	// [a-z]'[A-Z], matches do not overlap
	for i := 0; i+2 < len(rs); i++ {
		if rs[i] >= 'a' && rs[i] <= 'z' && rs[i+1] == '\'' && rs[i+2] >= 'A' && rs[i+2] <= 'Z' {
			rs[i+2] += 'a' - 'A'
			i += 2
		}
	}
	for i := 0; i+1 < len(rs); i++ {
		if _, ok := digitValue(rs[i]); ok && rs[i+1] >= 'A' && rs[i+1] <= 'Z' {
			rs[i+1] += 'a' - 'A'
			i++
		}
	}
	return string(rs)
}

const ellipsis = "…"

// truncateArg reads the length; ok is false if it is no number and the text is kept.
func (c *call) truncateArg() (n int, ok bool, err error) {
	n, err = smallInt(c.arg)
	if caught(err, classValue) {
		return 0, false, nil
	}
	return n, true, err
}

// isCombining tells characters that Python's unicodedata gives a combining class.
func isCombining(r rune) bool {
	return r >= 0x300 && norm.NFC.PropertiesString(string(r)).CCC() != 0
}

func filterTruncateChars(c *call, in Value) (Value, error) {
	n, ok, err := c.truncateArg()
	if !ok || err != nil {
		return in, err
	}
	if n <= 0 {
		return String(""), nil
	}
	text := norm.NFC.String(in.s)
	seen, cut := 0, -1
	for i, r := range text {
		if isCombining(r) {
			continue
		}
		seen++
		if cut < 0 && seen > n-1 {
			cut = i
		}
		if seen > n {
			return String(text[:cut] + ellipsis), nil
		}
	}
	return String(text), nil
}

func filterTruncateWords(c *call, in Value) (Value, error) {
	n, ok, err := c.truncateArg()
	if !ok || err != nil {
		return in, err
	}
	if n <= 0 {
		return String(""), nil
	}
	words := fields(in.s)
	if len(words) > n {
		return String(addEllipsis(strings.Join(words[:n], " "))), nil
	}
	return String(strings.Join(words, " ")), nil
}

func addEllipsis(s string) string {
	if strings.HasSuffix(s, " "+ellipsis) {
		return s
	}
	return s + " " + ellipsis
}

func filterWordCount(_ *call, in Value) (Value, error) {
	return Int(int64(len(fields(in.s)))), nil
}

func filterWordWrap(c *call, in Value) (Value, error) {
	width, err := smallInt(c.arg)
	if err != nil {
		return in, err
	}
	lines := splitLines(in.s, false)
	if width <= 0 && len(lines) > 0 {
		return in, fail(classValue, "invalid width %d (must be > 0)", width)
	}
	var out []string
	for _, line := range lines {
		wrapped := wrapLine(line, width)
		if len(wrapped) == 0 {
			wrapped = []string{line}
		}
		out = append(out, wrapped...)
	}
	if strings.HasSuffix(in.s, "\n") {
		out = append(out, "")
	}
	return String(strings.Join(out, "\n")), nil
}

// wrapSpace is what Python's textwrap counts as white space.
func wrapSpace(r rune) bool {
	return r == ' ' || (r >= '\t' && r <= '\r')
}

// wrapLine is Python's textwrap for one line, long words and hyphens left whole.
func wrapLine(line string, width int) []string {
	chunks := wrapChunks(expandTabs(line))
	var lines []string
	for len(chunks) > 0 {
		if len(lines) > 0 && blank(chunks[0]) {
			if chunks = chunks[1:]; len(chunks) == 0 {
				break
			}
		}
		n, size := 0, 0
		for n < len(chunks) && size+runeLen(chunks[n]) <= width {
			size += runeLen(chunks[n])
			n++
		}
		if n == 0 {
			n = 1 // a word longer than the line stands alone
		}
		cur := chunks[:n]
		chunks = chunks[n:]
		if blank(cur[len(cur)-1]) {
			cur = cur[:len(cur)-1]
		}
		if len(cur) > 0 {
			lines = append(lines, strings.Join(cur, ""))
		}
	}
	return lines
}

// blank is Python's strip() == "".
func blank(s string) bool { return strings.TrimFunc(s, isSpace) == "" }

// wrapChunks splits into words and the white space between them.
func wrapChunks(s string) []string {
	var out []string
	start := 0
	last := false
	for i, r := range s {
		space := wrapSpace(r)
		if i > 0 && space != last {
			out = append(out, s[start:i])
			start = i
		}
		last = space
	}
	if start < len(s) {
		out = append(out, s[start:])
	}
	return out
}

// expandTabs is Python's str.expandtabs with tab stops every 8 characters.
func expandTabs(s string) string {
	if strings.IndexByte(s, '\t') < 0 {
		return s
	}
	var b strings.Builder
	col := 0
	for _, r := range s {
		switch r {
		case '\t':
			n := 8 - col%8
			b.WriteString(strings.Repeat(" ", n))
			col += n
		case '\n', '\r':
			b.WriteRune(r)
			col = 0
		default:
			b.WriteRune(r)
			col++
		}
	}
	return b.String()
}
