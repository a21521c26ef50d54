package webhook

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

const (
	maxURL         = 8 << 10
	maxHeaders     = 64
	maxHeaderBytes = 16 << 10 // names and values together
)

var methods = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}

func legalMethod(m string) bool { return slices.Contains(methods, m) }

// reserved are headers that frame the message, belong to one connection or say what
// the daemon alone can say.
var reserved = []string{
	"Host", "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate",
	"Proxy-Authorization", "TE", "Trailer", "Upgrade", "Expect", "HTTP2-Settings",
}

// reservedPrefixes are those of Standard Webhooks and of ourselves.
var reservedPrefixes = []string{"webhook-", "waltrigger-"}

func isReserved(name string) bool {
	for _, p := range reservedPrefixes {
		if len(name) >= len(p) && strings.EqualFold(name[:len(p)], p) {
			return true
		}
	}
	for _, r := range reserved {
		if len(r) == len(name) && strings.EqualFold(r, name) {
			return true
		}
	}
	return false
}

// check looks at url, http_method, headers (an object) and secret (a list) as a trigger
// has them.
func check(_, params map[string]any) []sink.Problem {
	var out []sink.Problem
	add := func(field, code, format string, args ...any) {
		out = append(out, sink.Problem{Field: "parameters/" + field, Code: code, Detail: fmt.Sprintf(format, args...)})
	}
	switch u, ok := params["url"].(string); {
	case !ok || u == "":
		add("url", "required", "is required")
	case strings.Contains(authority(u), "{"):
		add("url", "invalid", "scheme, host and port cannot be templates")
	default:
		if _, err := parseURL(withoutTemplates(u)); err != nil {
			add("url", "invalid", "%v", err)
		}
	}
	if m, given := params["http_method"]; given && m != nil {
		if s, ok := m.(string); !ok || s != "" && !legalMethod(s) {
			add("http_method", "invalid", "must be one of %s", strings.Join(methods, ", "))
		}
	}
	headers, ok := params["headers"].(map[string]any)
	if given := params["headers"]; given != nil && !ok {
		add("headers", "invalid", "must be an object")
	}
	checkHeaderMap(headers, add)
	secrets, _ := params["secret"].([]string)
	for i, s := range secrets {
		if strings.Contains(s, "{{") { // its value is known when it is used
			continue
		}
		if _, err := parseSecret(s); err != nil {
			add("secret/"+strconv.Itoa(i), "invalid", "%v", err)
		}
	}
	return out
}

func checkHeaderMap(headers map[string]any, add func(field, code, format string, args ...any)) {
	if len(headers) > maxHeaders {
		add("headers", "invalid", "holds %d headers, more than %d", len(headers), maxHeaders)
		return
	}
	size := 0
	seen := map[string]string{}
	for _, name := range sortedKeys(headers) {
		at := "headers/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
		value, ok := headers[name].(string)
		size += len(name) + len(value)
		other, twice := seen[strings.ToLower(name)]
		seen[strings.ToLower(name)] = name
		switch {
		case !isToken(name):
			add(at, "invalid", "is no legal header name")
		case isReserved(name):
			add(at, "not_allowed", "is set by waltrigger and cannot be set by a trigger")
		case twice:
			add(at, "invalid", "is the same header as %s", other)
		case !ok:
			add(at, "invalid", "must be a string")
		case badByte(value) >= 0:
			add(at, "invalid", "holds a line break or another control character")
		}
	}
	if size > maxHeaderBytes {
		add("headers", "invalid", "holds %d bytes, more than %d", size, maxHeaderBytes)
	}
}

func sortedKeys(m map[string]any) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// authority is what stands between scheme and path.
func authority(u string) string {
	head, rest, found := strings.Cut(u, "://")
	if !found {
		return head
	}
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		rest = rest[:i]
	}
	return head + rest
}

// withoutTemplates puts a letter in the place of each template.
func withoutTemplates(u string) string {
	for _, b := range [][2]string{{"{{", "}}"}, {"{%", "%}"}} {
		for {
			i := strings.Index(u, b[0])
			if i < 0 {
				break
			}
			n := strings.Index(u[i:], b[1])
			if n < 0 {
				break
			}
			u = u[:i] + "x" + u[i+n+2:]
		}
	}
	return u
}

// isToken is RFC 9110's rule for header names.
func isToken(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}

// badByte gives the place of a byte that no header value may hold, -1 = none. Bytes of
// UTF-8 are let through, as receivers expect them.
func badByte(s string) int {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return i
		}
	}
	return -1
}

// checkHeaders checks what is to be sent, after rows and dynamic values came in.
func checkHeaders(hs []sink.Header) error {
	if len(hs) > maxHeaders {
		return fmt.Errorf("%d headers, more than %d", len(hs), maxHeaders)
	}
	size := 0
	for _, h := range hs {
		size += len(h.Name) + len(h.Value)
		switch {
		case !isToken(h.Name):
			return fmt.Errorf("%q is no legal header name", h.Name)
		case isReserved(h.Name) && h.Name != sink.HeaderTest:
			return fmt.Errorf("header %s cannot be set by a trigger", h.Name)
		}
		if i := badByte(h.Value); i >= 0 {
			return fmt.Errorf("header %s holds a line break or another control character at byte %d", h.Name, i)
		}
	}
	if size > maxHeaderBytes {
		return fmt.Errorf("headers of %d bytes, more than %d", size, maxHeaderBytes)
	}
	return nil
}
