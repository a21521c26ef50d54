package config

import (
	"net/url"
	"slices"
	"strings"
)

// openParams are the parameters of a URL that are no secrets. All others are not shown, and
// neither are their names: a & in a password begins what looks like one.
var openParams = []string{
	"application_name", "connect_timeout", "dbname", "host", "port", "schema", "search_path", "sslcert", "sslkey", "sslmode", "sslrootcert",
	"target_session_attrs", "tls", "tls_ca", "tls_cert", "tls_key", "user",
}

// address shows a URL without its secrets. What cannot be taken apart for certain is not
// shown at all: a password may hold what ends one in a URL.
func address(s Secret) string {
	text := string(s)
	if path, ok := strings.CutPrefix(text, "sqlite:"); ok && !strings.ContainsAny(path, "?@") {
		return text
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Opaque != "" || u.Fragment != "" || strings.Contains(u.Host+u.Path+u.RawQuery, "@") {
		return s.String()
	}
	if u.RawQuery != "" {
		parts := strings.Split(u.RawQuery, "&")
		for i, p := range parts {
			if name, _, _ := strings.Cut(p, "="); !slices.Contains(openParams, name) {
				parts[i] = redacted
			}
		}
		u.RawQuery = strings.Join(parts, "&")
	}
	if _, ok := u.User.Password(); !ok {
		return u.String()
	}
	user := url.User(u.User.Username()).String()
	u.User = nil
	return strings.Replace(u.String(), "://", "://"+user+":"+redacted+"@", 1)
}
