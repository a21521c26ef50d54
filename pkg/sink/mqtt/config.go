package mqtt

import (
	"crypto/tls"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/sink/details"
)

var connParams = slices.Concat([]sink.Param{
	{Name: "url", Secret: true}, {Name: "host"}, {Name: "port"}, {Name: "username"}, {Name: "password", Secret: true}, {Name: "client_id"},
}, details.TLSParams)

const (
	paramTopic  = "topic"
	paramQoS    = "qos"
	paramRetain = "retain"
)

var params = []sink.Param{{Name: paramTopic, Required: true}, {Name: paramQoS}, {Name: paramRetain}}

const (
	defaultPort    = 1883
	defaultTLSPort = 8883
)

// config is the connection details, read.
type config struct {
	address            string
	username, password string
	clientID           string      // "" = a new one for each connection
	tls                *tls.Config // nil = none
}

func read(r *details.Reader) *config {
	c := &config{username: r.String("username"), password: r.String("password"), clientID: r.String("client_id")}
	secure := false
	switch {
	case r.Present("url"):
		for _, name := range []string{"host", "port"} {
			if r.Present(name) {
				r.Add(name, "invalid", "cannot stand beside url")
			}
		}
		ports := map[string]int{"mqtt": defaultPort, "tcp": defaultPort, "mqtts": defaultTLSPort, "ssl": defaultTLSPort}
		var u *url.URL
		if u, c.address = r.URL("url", r.String("url"), ports); u != nil {
			secure = ports[u.Scheme] == defaultTLSPort
			c.fromURL(r, u)
		}
	case r.Present("host"):
		port := defaultPort
		if on, err := strconv.ParseBool(strings.ToLower(details.Text(r.Value("ssl")))); err == nil && on {
			port = defaultTLSPort
		}
		c.address = r.Address(port)
	default:
		r.Add("host", "required", "host or url is required")
	}
	if !r.Present("username") && r.Present("password") && c.username == "" {
		r.Add("username", "invalid", "and password need each other")
	}
	if len(c.clientID) > 65535 || strings.ContainsRune(c.clientID, 0) {
		r.Add("client_id", "invalid", "must be a short text")
	}
	c.tls = r.TLS(secure, c.address)
	return c
}

func (c *config) fromURL(r *details.Reader, u *url.URL) {
	if u.User != nil {
		c.username = u.User.Username()
		if password, ok := u.User.Password(); ok {
			c.password = password
		}
	}
	if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		r.Add("url", "invalid", "cannot have a path or a query; the topic is a parameter")
	}
}

// legalTopic reports whether messages can be published to s.
func legalTopic(s string) bool {
	return s != "" && len(s) <= 65535 && utf8.ValidString(s) && !strings.ContainsAny(s, "+#\x00")
}

// readQoS reads the parameter; 0 promises nothing and is refused.
func readQoS(s string) (byte, bool) {
	switch s {
	case "", "1":
		return 1, true
	case "2":
		return 2, true
	}
	return 0, false
}

// check is Kind.Check.
func check(conn, params map[string]any) []sink.Problem {
	r := details.Check(conn, connParams)
	read(r)
	topic, _ := params[paramTopic].(string)
	switch {
	case topic == "":
		r.AddParam(paramTopic, "required", "is required")
	case !details.IsTemplate(topic) && !legalTopic(topic):
		r.AddParam(paramTopic, "invalid", "cannot hold + or #")
	}
	if v := params[paramQoS]; v != nil && !details.IsTemplate(v) {
		if _, ok := readQoS(details.Text(v)); !ok {
			r.AddParam(paramQoS, "invalid", "must be 1 or 2: with 0 nobody says that a message arrived")
		}
	}
	if v := params[paramRetain]; v != nil && v != "" && !details.IsTemplate(v) {
		if _, err := strconv.ParseBool(strings.ToLower(details.Text(v))); err != nil {
			r.AddParam(paramRetain, "invalid", "must be true or false")
		}
	}
	return r.Problems()
}
