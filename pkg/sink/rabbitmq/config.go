package rabbitmq

import (
	"crypto/tls"
	"net/url"
	"slices"
	"strings"

	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/sink/details"
)

// connParams are the connection details, named as in aio-pika.
var connParams = slices.Concat([]sink.Param{
	{Name: "url", Secret: true},
	{Name: "host"},
	{Name: "port"},
	{Name: "login"},
	{Name: "username"},
	{Name: "password", Secret: true},
	{Name: "virtualhost"},
	{Name: "ssl_options"},
}, details.TLSParams)

const (
	paramQueue      = "queue"
	paramExchange   = "exchange"
	paramRoutingKey = "routing_key"
)

var params = []sink.Param{{Name: paramQueue}, {Name: paramExchange}, {Name: paramRoutingKey}}

const (
	defaultPort    = 5672
	defaultTLSPort = 5671
)

// config is the connection details, read.
type config struct {
	address            string
	username, password string
	vhost              string
	tls                *tls.Config // nil = none
}

func read(r *details.Reader) *config {
	r.Alias("username", "login")
	r.Flatten("ssl_options", map[string]string{"cafile": "ssl_cafile", "certfile": "ssl_certfile", "keyfile": "ssl_keyfile"})
	c := &config{username: r.String("login"), password: r.String("password"), vhost: r.String("virtualhost")}
	secure := false
	switch {
	case r.Present("url"):
		for _, name := range []string{"host", "port", "virtualhost"} {
			if r.Present(name) {
				r.Add(name, "invalid", "cannot stand beside url")
			}
		}
		var u *url.URL
		if u, c.address = r.URL("url", r.String("url"), map[string]int{"amqp": defaultPort, "amqps": defaultTLSPort}); u != nil {
			secure = u.Scheme == "amqps"
			c.fromURL(r, u)
		}
	case r.Present("host"):
		port := defaultPort
		if r.Bool("ssl", false) {
			port = defaultTLSPort
		}
		c.address = r.Address(port)
	default:
		r.Add("host", "required", "host or url is required")
	}
	if c.username == "" && c.password == "" { // the server's own defaults
		c.username, c.password = "guest", "guest"
	}
	if c.vhost == "" {
		c.vhost = "/"
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
	vhost, err := url.PathUnescape(strings.TrimPrefix(u.EscapedPath(), "/"))
	if err != nil {
		r.Add("url", "invalid", "must end with the name of the virtual host")
	}
	c.vhost = vhost
	if u.RawQuery != "" {
		r.Add("url", "invalid", "cannot have a query; give these settings beside it")
	}
}

// longest is the longest name of a queue, an exchange, a routing key or a header, bytes.
const longest = 255

// check is Kind.Check.
func check(conn, params map[string]any) []sink.Problem {
	r := details.Check(conn, connParams)
	read(r)
	given := map[string]string{}
	for _, name := range []string{paramQueue, paramExchange, paramRoutingKey} {
		if v := params[name]; v != nil && v != "" {
			given[name] = details.Text(v)
			if s := given[name]; !details.IsTemplate(s) && len(s) > longest {
				r.AddParam(name, "invalid", "is longer than %d bytes", longest)
			}
		}
	}
	_, queue := given[paramQueue]
	_, exchange := given[paramExchange]
	switch {
	case queue && exchange:
		r.AddParam(paramExchange, "invalid", "cannot stand beside queue, to which messages go directly")
	case !queue && !exchange:
		r.AddParam(paramQueue, "required", "queue, or exchange and routing_key, is required")
	case queue && len(given) > 1:
		r.AddParam(paramRoutingKey, "invalid", "has a meaning with exchange only")
	}
	return r.Problems()
}
