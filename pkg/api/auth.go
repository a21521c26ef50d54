package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Scopes of a token.
const (
	ScopeAdmin = "admin" // everything
	ScopeRead  = "read"  // everything that changes nothing
)

// Token lets its bearer in. The token itself is not kept.
type Token struct {
	name  string
	hash  [sha256.Size]byte
	admin bool
}

// NewToken makes a token. Without scopes it may read.
func NewToken(name, secret string, scopes []string) Token {
	return Token{name, sha256.Sum256([]byte(secret)), slices.Contains(scopes, ScopeAdmin)}
}

// authenticate lets nobody through to any path without a token, where there are
// tokens.
func (a *api) authenticate(tokens []Token, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i := infoOf(r.Context())
		if len(tokens) == 0 {
			if why := notLocal(r); why != "" {
				a.answer(w, i, &problem{Status: http.StatusForbidden, Code: "forbidden", Detail: why})
				return
			}
			i.admin = true
			next.ServeHTTP(w, r)
			return
		}
		t, ok := find(tokens, r.Header.Values("Authorization"))
		if !ok {
			w.Header().Set("WWW-Authenticate", `Bearer realm="waltrigger"`)
			a.answer(w, i, &problem{Status: http.StatusUnauthorized, Code: "unauthorized", Detail: "send Authorization: Bearer and a valid token"})
			return
		}
		i.token, i.admin = t.name, t.admin
		next.ServeHTTP(w, r)
	})
}

// find compares with every token, in a time that tells nothing about them.
func find(tokens []Token, header []string) (Token, bool) {
	if len(header) != 1 {
		return Token{}, false
	}
	kind, secret, _ := strings.Cut(header[0], " ")
	secret = strings.TrimSpace(secret)
	if !strings.EqualFold(kind, "Bearer") || secret == "" {
		return Token{}, false
	}
	hash := sha256.Sum256([]byte(secret))
	found := -1
	for i := range tokens {
		if subtle.ConstantTimeCompare(hash[:], tokens[i].hash[:]) == 1 {
			found = i
		}
	}
	if found < 0 {
		return Token{}, false
	}
	return tokens[found], true
}

// notLocal says why a request to an API without tokens does not come from a user of
// this machine but from a page in his browser: another site's, or a name that its owner
// made to point here.
func notLocal(r *http.Request) string {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if _, err := netip.ParseAddr(host); err != nil && !strings.EqualFold(host, "localhost") {
		return "without tokens the API answers only to localhost and to addresses, not to names; set a token under admin.tokens"
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return "without tokens the API does not answer to pages of other sites; set a token under admin.tokens"
	}
	return ""
}
