package template

import (
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

func filterURLize(c *call, in Value) (Value, error) {
	u := urlizer{safe: in.safe(), escape: c.st.auto, limit: -1}
	s, err := u.text(c, in.s)
	return Safe(s), err
}

func filterURLizeTrunc(c *call, in Value) (Value, error) {
	limit, err := smallInt(c.arg)
	if err != nil {
		return in, err
	}
	u := urlizer{safe: in.safe(), escape: c.st.auto, limit: limit, trim: true}
	s, err := u.text(c, in.s)
	return Safe(s), err
}

// urlizer makes links of the URLs and addresses in a text.
type urlizer struct {
	safe   bool // the text is HTML already
	escape bool
	trim   bool
	limit  int
}

// maxLinkLength is the length from which Django makes no link.
const maxLinkLength = 2048

func (u *urlizer) text(c *call, s string) (string, error) {
	var b strings.Builder
	sep := func(r rune) bool { return isSpace(r) || strings.ContainsRune(`<>"'`, r) }
	for s != "" {
		if err := c.st.spend(1); err != nil {
			return "", err
		}
		i := strings.IndexFunc(s, sep)
		if i < 0 {
			i = len(s)
		}
		if i == 0 {
			if i = strings.IndexFunc(s, func(r rune) bool { return !sep(r) }); i < 0 {
				i = len(s)
			}
		}
		b.WriteString(u.word(s[:i]))
		s = s[i:]
	}
	return b.String(), c.room(b.Len())
}

func (u *urlizer) plain(s string) string {
	if u.escape && !u.safe {
		return escape(s).s
	}
	return s
}

func (u *urlizer) word(word string) string {
	if !strings.ContainsAny(word, ".@:") {
		return u.plain(word)
	}
	lead, middle, trail := trimPunctuation(word)
	url, rel := "", ` rel="nofollow"`
	short := runeLen(middle) <= maxLinkLength
	switch {
	case short && isURL(middle):
		url = quoteURL(unescapeHTML(middle))
	case short && isBareURL(middle):
		url = quoteURL("http://" + unescapeHTML(middle))
	case !strings.Contains(middle, ":") && isEmail(middle):
		at := strings.LastIndexByte(middle, '@')
		url = "mailto:" + percentEncode(middle[:at], "") + "@" + percentEncode(middle[at+1:], "")
		rel = ""
	}
	if url == "" {
		return u.plain(word)
	}
	shown := middle
	if u.trim && runeLen(middle) > u.limit {
		shown = firstRunes(middle, max(0, u.limit-1)) + ellipsis
	}
	return u.plain(lead) + `<a href="` + escape(url).s + `"` + rel + `>` + u.plain(shown) + `</a>` + u.plain(trail)
}

// isURL is ^https?://\[?\w.
func isURL(s string) bool {
	l := strings.ToLower(firstRunes(s, 10))
	switch {
	case strings.HasPrefix(l, "http://"):
		s = s[len("http://"):]
	case strings.HasPrefix(l, "https://"):
		s = s[len("https://"):]
	default:
		return false
	}
	r, n := utf8.DecodeRuneInString(strings.TrimPrefix(s, "["))
	if n > 0 && isWord(r) {
		return true
	}
	r, n = utf8.DecodeRuneInString(s)
	return n > 0 && isWord(r)
}

// isBareURL is ^www\.|^(?!http)\w[^@]+\.(com|edu|gov|int|mil|net|org)($|/.*)$.
func isBareURL(s string) bool {
	l := lowerASCII(s)
	if strings.HasPrefix(l, "www.") {
		return true
	}
	r, n := utf8.DecodeRuneInString(s)
	if strings.HasPrefix(l, "http") || n == 0 || !isWord(r) {
		return false
	}
	rest := l[n:]
	if at := strings.IndexByte(rest, '@'); at >= 0 {
		// [^@]+ must end, and a slash must come, before the @.
		rest = rest[:at]
		return hasDomain(rest, false)
	}
	return hasDomain(rest, true)
}

// hasDomain finds .com and the like, with a character before it, and a slash or (if
// end is allowed) the end behind it.
func hasDomain(s string, end bool) bool {
	for i := 1; i < len(s); i++ {
		if s[i] != '.' || i+4 > len(s) {
			continue
		}
		switch s[i+1 : i+4] {
		case "com", "edu", "gov", "int", "mil", "net", "org":
			if (i+4 == len(s) && end) || (i+4 < len(s) && s[i+4] == '/') {
				return true
			}
		}
	}
	return false
}

// lowerASCII lowers ASCII letters only, so that offsets stay the same.
func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c | 0x20
		}
	}
	return string(b)
}

// trimPunctuation takes punctuation off both ends that is not part of a URL.
func trimPunctuation(word string) (lead, middle, trail string) {
	middle = strings.TrimLeft(word, "([")
	lead = word[:len(word)-len(middle)]
	count := map[byte]int{}
	for _, c := range []byte("()[]") {
		count[c] = strings.Count(middle, string(c))
	}
	for trimmed := true; trimmed && middle != ""; {
		trimmed = false
		for _, pair := range []string{"()", "[]"} {
			opening, closing := pair[0], pair[1]
			if excess := count[closing] - count[opening]; excess > 0 && middle != "" && middle[len(middle)-1] == closing {
				trail = lastRunes(middle, excess)
				middle = middle[:len(middle)-len(trail)]
				trimmed = true
				count[closing] -= excess
			}
		}
		var t bool
		if middle, trail, t = trimTrailing(middle, trail); t {
			trimmed = true
		}
	}
	return lead, middle, trail
}

// lastRunes returns the last n characters.
func lastRunes(s string, n int) string {
	i := len(s)
	for ; n > 0 && i > 0; n-- {
		_, size := utf8.DecodeLastRuneInString(s[:i])
		i -= size
	}
	return s[i:]
}

// trimTrailing takes .,:;! off the end, but not the semicolon of an HTML entity.
func trimTrailing(middle, trail string) (string, string, bool) {
	trimmed := false
	amp := strings.LastIndexByte(middle, '&')
	chars := ".,:;!"
	if amp >= 0 {
		chars = ".,:!"
	}
	if r := strings.TrimRight(middle, chars); r != middle {
		trail, middle, trimmed = middle[len(r):]+trail, r, true
	}
	if !strings.HasSuffix(middle, ";") {
		return middle, trail, trimmed
	}
	entity := middle[max(amp, 0):]
	if amp < 0 {
		entity = middle[len(middle)-1:]
	}
	if un := unescapeHTML(entity); un != entity && !strings.HasSuffix(un, ";") {
		return middle, trail, trimmed
	}
	r := strings.TrimRight(middle, ".,:;!")
	start := len(r)
	semicolons := len(middle) - len(strings.TrimRight(middle, ";"))
	if amp > -1 && semicolons > 1 {
		first := strings.IndexByte(middle[start:], ';') + start + 1
		return r + middle[start:first], middle[first:] + trail, true
	}
	return r, middle[start:] + trail, true
}

// quoteURL percent-encodes what a URL may not hold, once.
func quoteURL(url string) string {
	const safe = "!$&'()*+,;=:/?#[]@~"
	quote := func(s string) string { return percentEncode(percentDecode(s), safe) }
	scheme, netloc, path, query, fragment, ok := splitURL(url)
	if !ok {
		return quote(url)
	}
	var parts []string
	for _, kv := range strings.Split(query, "&") {
		if kv == "" {
			continue
		}
		k, v, _ := strings.Cut(kv, "=")
		parts = append(parts, queryEncode(queryDecode(k))+"="+queryEncode(queryDecode(v)))
	}
	query = strings.Join(parts, "&")
	return joinURL(scheme, quote(netloc), quote(path), query, quote(fragment))
}

func queryDecode(s string) string {
	return percentDecode(percentDecode(strings.ReplaceAll(s, "+", " ")))
}

func queryEncode(s string) string { return strings.ReplaceAll(percentEncode(s, " "), " ", "+") }

// percentDecode is Python's urllib.parse.unquote: bytes that are no UTF-8 become U+FFFD.
func percentDecode(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	var b []byte
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]) {
			b = append(b, hexByte(s[i+1])<<4|hexByte(s[i+2]))
			i += 2
		} else {
			b = append(b, s[i])
		}
	}
	return decodeUTF8(b)
}

// decodeUTF8 replaces each maximal part of an ill-formed sequence, as Python does.
func decodeUTF8(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	var out []byte
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			n = illFormed(b)
		}
		out = utf8.AppendRune(out, r)
		b = b[n:]
	}
	return string(out)
}

// illFormed is how many bytes of b a single U+FFFD stands for.
func illFormed(b []byte) int {
	low, high, need := byte(0x80), byte(0xbf), 0
	switch c := b[0]; {
	case c >= 0xc2 && c <= 0xdf:
		need = 1
	case c >= 0xe0 && c <= 0xef:
		need = 2
		if c == 0xe0 {
			low = 0xa0
		} else if c == 0xed {
			high = 0x9f
		}
	case c >= 0xf0 && c <= 0xf4:
		need = 3
		if c == 0xf0 {
			low = 0x90
		} else if c == 0xf4 {
			high = 0x8f
		}
	}
	n := 1
	for ; n <= need && n < len(b) && b[n] >= low && b[n] <= high; n++ {
		low, high = 0x80, 0xbf
	}
	return n
}

func hexByte(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}

// splitURL is Python's urlsplit; ok is false where that raises ValueError.
func splitURL(url string) (scheme, netloc, path, query, fragment string, ok bool) {
	url = strings.TrimLeftFunc(url, func(r rune) bool { return r <= ' ' })
	url = strings.NewReplacer("\t", "", "\r", "", "\n", "").Replace(url)
	if i := strings.IndexByte(url, ':'); i > 0 && isASCIILetter(url[0]) {
		valid := true
		for _, c := range []byte(url[:i]) {
			valid = valid && (isAlnum(c) || strings.IndexByte("+-.", c) >= 0)
		}
		if valid {
			scheme, url = strings.ToLower(url[:i]), url[i+1:]
		}
	}
	if strings.HasPrefix(url, "//") {
		end := strings.IndexAny(url[2:], "/?#")
		if end < 0 {
			end = len(url) - 2
		}
		netloc, url = url[2:2+end], url[2+end:]
		if !validNetloc(netloc) {
			return "", "", "", "", "", false
		}
	}
	url, fragment, _ = strings.Cut(url, "#")
	url, query, _ = strings.Cut(url, "?")
	return scheme, netloc, url, query, fragment, true
}

func validNetloc(netloc string) bool {
	opening, closing := strings.Contains(netloc, "["), strings.Contains(netloc, "]")
	if opening != closing {
		return false
	}
	if opening {
		_, rest, _ := strings.Cut(netloc, "[")
		host, _, _ := strings.Cut(rest, "]")
		if !validBracketed(host) {
			return false
		}
	}
	n := strings.NewReplacer("@", "", ":", "", "#", "", "?", "").Replace(netloc)
	folded := norm.NFKC.String(n)
	return n == folded || !strings.ContainsAny(folded, "/?#@:")
}

// validBracketed accepts an IPv6 address, or an address of a future version.
func validBracketed(host string) bool {
	if strings.HasPrefix(host, "v") {
		version, rest, ok := strings.Cut(host[1:], ".")
		if !ok || version == "" || rest == "" || strings.Trim(version, "0123456789abcdefABCDEF") != "" {
			return false
		}
		return strings.TrimFunc(rest, func(r rune) bool {
			return r < 0x80 && (isAlnum(byte(r)) || strings.ContainsRune("._~:-!$&'()*+,;=", r))
		}) == ""
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Is6()
}

// joinURL is Python's urlunsplit for http, https and no scheme.
func joinURL(scheme, netloc, path, query, fragment string) string {
	if netloc != "" || (hasNetloc(scheme) && !strings.HasPrefix(path, "//")) {
		if path != "" && path[0] != '/' {
			path = "/" + path
		}
		path = "//" + netloc + path
	}
	if scheme != "" {
		path = scheme + ":" + path
	}
	if query != "" {
		path += "?" + query
	}
	if fragment != "" {
		path += "#" + fragment
	}
	return path
}

func hasNetloc(scheme string) bool { return scheme == "http" || scheme == "https" }
