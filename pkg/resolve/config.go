package resolve

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Config declares one value. Exactly one provider (env to secret) is given. What is
// marked secret is not shown where the configuration is printed.
type Config struct {
	Env     string  `koanf:"env"`                   // name of an environment variable
	File    string  `koanf:"file"`                  // path of a regular file of at most 64 KiB; one newline at its end is cut off
	Literal string  `koanf:"literal" secret:"true"` // the value itself
	Command Command `koanf:"command"`               // a program that prints it
	HTTP    HTTP    `koanf:"http"`                  // a request that is answered with it
	OAuth2  OAuth2  `koanf:"oauth2"`                // an access token by client credentials
	SQL     SQL     `koanf:"sql"`                   // a query of a source
	Secret  string  `koanf:"secret"`                // URL of a secret manager's entry: awssecretsmanager://, awsparamstore:// or gcpsecretmanager://
	Pointer string  `koanf:"pointer"`               // JSON pointer (RFC 6901) into what the provider gives, which must be JSON then

	// Hosts are the only hosts that may be sent the value; empty = any destination.
	// Whoever writes triggers cannot carry a bound value elsewhere.
	Hosts []string `koanf:"hosts"`
	// TTL is how long a fetched value is used; 0 = the provider's default (env and
	// literal: for ever, file: 10 s, sql: 1 min, oauth2: the token's own time, all else:
	// 5 min). In its last fifth a use of the value fetches it anew in the background.
	TTL time.Duration `koanf:"ttl"`
	// MaxAge is how old a value may become while fetching it anew fails; 0 = twice the
	// TTL. A token is never used beyond its own end.
	MaxAge time.Duration `koanf:"max_age"`
	// Timeout bounds one fetch; 0 = 10 s.
	Timeout time.Duration `koanf:"timeout"`
	// AllowInPayload lets bodies name the value, not only headers and parameters. A body
	// is rendered once and kept until it is delivered, and the value in it as well.
	AllowInPayload bool `koanf:"allow_in_payload"`
	// Multiline allows line breaks in the value, which webhook headers then cannot name.
	Multiline bool `koanf:"multiline"`
}

const (
	defaultTimeout = 10 * time.Second
	maxTimeout     = 10 * time.Minute
	minTTL         = time.Second
)

// Problem is one thing wrong with a declaration.
type Problem struct {
	Key  string // the setting within the declaration, http.url; "" = the declaration as a whole
	Text string
}

// At is Key as it follows the path of the declaration.
func (p Problem) At() string {
	if p.Key == "" {
		return ""
	}
	return "." + p.Key
}

// checker collects what is wrong.
type checker struct{ problems []Problem }

func (c *checker) add(key, format string, args ...any) {
	c.problems = append(c.problems, Problem{key, fmt.Sprintf(format, args...)})
}

var namePattern = regexp.MustCompile(`^` + namePart + `(\.` + namePart + `)*$`)

// Check says everything that is wrong with a declaration. reserved is Env.Reserved.
func Check(name string, c Config, reserved func(first string) bool) []Problem {
	k := &checker{}
	if !namePattern.MatchString(name) || len(name) > 255 {
		k.add("", "the name must be letters, digits and _ in segments joined by dots, at most 255 bytes")
	} else if first, _, _ := strings.Cut(name, "."); reserved != nil && reserved(first) {
		k.add("", "names that begin with %s belong to the row", first)
	}
	var given []provider
	for _, p := range c.providers() {
		if p.given() {
			given = append(given, p)
			p.check(k)
		}
	}
	if len(given) != 1 {
		k.add("", "give exactly one of env, file, literal, command, http, oauth2, sql, secret")
	} else {
		c.checkTimes(k, given[0])
	}
	if c.Literal != "" && c.Pointer == "" {
		if err := checkValue(c.Literal, c.Multiline); err != nil {
			k.add("literal", "%v", err)
		}
	}
	if _, err := parsePointer(c.Pointer); err != nil {
		k.add("pointer", "%v", err)
	}
	for i, h := range c.Hosts {
		host := canonicalHost(h)
		if _, err := netip.ParseAddr(host); err != nil && (host == "" || strings.ContainsAny(host, "/:@* \t\r\n")) {
			k.add(fmt.Sprintf("hosts[%d]", i), "%q must be a host name or an address, without scheme, port or path", h)
		}
	}
	return k.problems
}

func (c *Config) checkTimes(k *checker, p provider) {
	if c.TTL != 0 && c.TTL < minTTL {
		k.add("ttl", "must be at least %s", minTTL)
	}
	if c.Timeout < 0 || c.Timeout > maxTimeout {
		k.add("timeout", "must be more than 0 and at most %s", maxTimeout)
	}
	ttl := c.TTL
	if ttl == 0 {
		ttl = p.ttl()
	}
	switch {
	case c.MaxAge == 0:
	case ttl == 0:
		k.add("max_age", "has no meaning without ttl: the value is fetched once")
	case c.MaxAge < ttl:
		k.add("max_age", "must not be less than the ttl, which is %s", ttl)
	}
}

// canonicalHost makes hosts comparable: no case, no dot at the end, no brackets.
func canonicalHost(h string) string {
	h = strings.ToLower(strings.TrimSuffix(strings.TrimSpace(h), "."))
	return strings.TrimSuffix(strings.TrimPrefix(h, "["), "]")
}

// Format hides the declaration from every verb: it may hold secrets.
func (c Config) Format(f fmt.State, _ rune) { io.WriteString(f, "dynamic value") } //nolint:errcheck // fmt has no use for it

// LogValue hides the declaration from slog.
func (c Config) LogValue() slog.Value { return slog.StringValue("dynamic value") }

// MarshalJSON hides the declaration from JSON.
func (c Config) MarshalJSON() ([]byte, error) { return []byte(`"dynamic value"`), nil }

// maxValue bounds a value, bytes.
const maxValue = 64 << 10

// checkValue refuses what would end a header line. An empty secret is a mistake, and
// sending it would be taken for a wrong one.
func checkValue(s string, multiline bool) error {
	switch i := strings.IndexAny(s, "\r\n\x00"); {
	case s == "":
		return errors.New("the value is empty")
	case len(s) > maxValue:
		return errors.New("the value is larger than 64 KiB")
	case strings.Contains(s, "\x00"):
		return errors.New("the value holds a NUL character")
	case i < 0 || multiline:
		return nil
	default:
		return fmt.Errorf("the value holds a line break at byte %d of %d; multiline: true allows it", i, len(s))
	}
}

// withoutNewline cuts off the one line end with which programs and editors end a text.
func withoutNewline(b []byte) string {
	s, cut := strings.CutSuffix(string(b), "\n")
	if cut {
		s = strings.TrimSuffix(s, "\r")
	}
	return s
}

// references reports whether s names a dynamic value, which providers cannot.
func references(s string) bool { return refPattern.MatchString(s) }

// legal reports whether s is one of names, or nothing.
func legal(s string, names ...string) bool { return s == "" || slices.Contains(names, s) }
