package nats

import (
	"crypto/tls"
	"slices"
	"strings"

	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/sink/details"
)

// connParams are the connection details, named as in nats-py.
var connParams = slices.Concat([]sink.Param{
	{Name: "servers", Required: true},
	{Name: "user"},
	{Name: "password", Secret: true},
	{Name: "token", Secret: true},
	{Name: "user_credentials"},
	{Name: "creds"},
	{Name: "nkeys_seed"},
	{Name: "inbox_prefix"},
}, details.TLSParams)

const (
	paramSubject = "subject"
	paramStream  = "stream"
)

var params = []sink.Param{{Name: paramSubject, Required: true}, {Name: paramStream}}

// config is the connection details, read.
type config struct {
	servers               []string // URLs
	addresses             []string
	user, password, token string
	creds, nkey           string // files
	inboxPrefix           string
	tls                   *tls.Config // nil = as the server wants
}

func read(r *details.Reader) *config {
	r.Alias("creds", "user_credentials")
	c := &config{
		user: r.String("user"), password: r.String("password"), token: r.String("token"), creds: r.String("user_credentials"),
		nkey: r.String("nkeys_seed"), inboxPrefix: r.String("inbox_prefix"),
	}
	secure := c.readServers(r)
	var ways []string
	for _, name := range []string{"user", "token", "user_credentials", "nkeys_seed"} {
		if r.Present(name) {
			ways = append(ways, name)
		}
	}
	if len(ways) > 1 {
		r.Add(ways[1], "invalid", "cannot stand beside %s", ways[0])
	}
	if r.Present("password") != r.Present("user") {
		r.Add("password", "invalid", "and user need each other")
	}
	if c.inboxPrefix != "" && !legalSubject(c.inboxPrefix) {
		r.Add("inbox_prefix", "invalid", "must be a subject without wildcards")
	}
	if c.tls = r.TLS(secure, ""); c.tls != nil {
		c.tls.ServerName = "" // that of the server which is dialled
	}
	return c
}

// readServers reports whether one of them asks for TLS.
func (c *config) readServers(r *details.Reader) (secure bool) {
	for _, s := range r.Strings("servers") {
		if r.Checking() && details.IsTemplate(s) {
			continue
		}
		if !strings.Contains(s, "://") {
			s = "nats://" + s
		}
		u, address := r.URL("servers", s, map[string]int{"nats": 4222, "tls": 4222})
		if u == nil {
			continue
		}
		if u.User != nil {
			r.Add("servers", "invalid", "cannot hold credentials; these go into user and password, or token")
		}
		secure = secure || u.Scheme == "tls"
		c.servers = append(c.servers, u.Scheme+"://"+address)
		c.addresses = append(c.addresses, address)
	}
	return secure
}

// legalSubject reports whether messages can be published to s.
func legalSubject(s string) bool {
	if s == "" || len(s) > 1024 || strings.ContainsAny(s, " \t\r\n\x00") {
		return false
	}
	for t := range strings.SplitSeq(s, ".") {
		if t == "" || t == "*" || t == ">" {
			return false
		}
	}
	return true
}

// check is Kind.Check.
func check(conn, params map[string]any) []sink.Problem {
	r := details.Check(conn, connParams)
	read(r)
	subject, _ := params[paramSubject].(string)
	switch {
	case subject == "":
		r.AddParam(paramSubject, "required", "is required")
	case !details.IsTemplate(subject) && !legalSubject(subject):
		r.AddParam(paramSubject, "invalid", "must be words joined by dots, without spaces and wildcards")
	}
	for name := range params {
		if reserved(name) {
			r.AddParam(name, "invalid", "would be a header with a meaning for the server; those that begin with Nats- are not sent")
		}
	}
	return r.Problems()
}

// reserved tells headers that the server acts upon: one of them empties a stream.
func reserved(name string) bool { return len(name) >= 5 && strings.EqualFold(name[:5], "nats-") }
