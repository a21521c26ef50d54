package redis

import (
	"crypto/tls"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/sink/details"
)

// connParams are the connection details, named as in redis-py.
var connParams = slices.Concat([]sink.Param{
	{Name: "url", Secret: true},
	{Name: "host"},
	{Name: "port"},
	{Name: "db"},
	{Name: "username"},
	{Name: "password", Secret: true},
	{Name: "cluster"},
	{Name: "ssl_ca_certs"},
}, details.TLSParams)

const (
	paramChannel    = "channel"
	paramStream     = "stream"
	paramMaxLen     = "maxlen"
	paramNoMkStream = "nomkstream"
)

var params = []sink.Param{{Name: paramChannel}, {Name: paramStream}, {Name: paramMaxLen}, {Name: paramNoMkStream}}

const defaultPort = 6379

// config is the connection details, read.
type config struct {
	address            string
	db                 int
	username, password string
	cluster            bool
	tls                *tls.Config // nil = none
}

func read(r *details.Reader) *config {
	r.Alias("ssl_ca_certs", "ssl_cafile")
	c := &config{username: r.String("username"), password: r.String("password"), cluster: r.Bool("cluster", false)}
	c.db = r.Int("db", 0, 0, 1<<20)
	secure := false
	switch {
	case r.Present("url"):
		for _, name := range []string{"host", "port"} {
			if r.Present(name) {
				r.Add(name, "invalid", "cannot stand beside url")
			}
		}
		var u *url.URL
		if u, c.address = r.URL("url", r.String("url"), map[string]int{"redis": defaultPort, "rediss": defaultPort}); u != nil {
			secure = u.Scheme == "rediss"
			c.fromURL(r, u)
		}
	case r.Present("host"):
		c.address = r.Address(defaultPort)
	default:
		r.Add("host", "required", "host or url is required")
	}
	if c.cluster && c.db != 0 {
		r.Add("db", "invalid", "must be 0 with cluster")
	}
	c.tls = r.TLS(secure, c.address)
	return c
}

func (c *config) fromURL(r *details.Reader, u *url.URL) {
	if u.User != nil {
		if name := u.User.Username(); name != "" {
			c.username = name
		}
		if password, ok := u.User.Password(); ok {
			c.password = password
		}
	}
	if path := strings.Trim(u.Path, "/"); path != "" {
		n, err := strconv.Atoi(path)
		if err != nil || n < 0 {
			r.Add("url", "invalid", "must end with the number of the database")
		}
		c.db = n
	}
	if u.RawQuery != "" {
		r.Add("url", "invalid", "cannot have a query; give these settings beside it")
	}
}

// check is Kind.Check.
func check(conn, params map[string]any) []sink.Problem {
	r := details.Check(conn, connParams)
	read(r)
	checkParams(r, params)
	return r.Problems()
}

func checkParams(r *details.Reader, params map[string]any) {
	given := func(name string) bool { v, ok := params[name]; return ok && v != nil && v != "" }
	switch {
	case given(paramChannel) && given(paramStream):
		r.AddParam(paramStream, "invalid", "cannot stand beside channel")
	case !given(paramChannel) && !given(paramStream):
		r.AddParam(paramChannel, "required", "channel or stream is required")
	}
	for _, name := range []string{paramMaxLen, paramNoMkStream} {
		if given(name) && given(paramChannel) {
			r.AddParam(name, "invalid", "has a meaning with stream only")
		}
	}
	if v := params[paramMaxLen]; given(paramMaxLen) && !details.IsTemplate(v) {
		if n, err := strconv.ParseInt(details.Text(v), 10, 64); err != nil || n < 1 {
			r.AddParam(paramMaxLen, "invalid", "must be a number of entries, 1 or more")
		}
	}
	if v := params[paramNoMkStream]; given(paramNoMkStream) && !details.IsTemplate(v) {
		if _, err := strconv.ParseBool(details.Text(v)); err != nil {
			r.AddParam(paramNoMkStream, "invalid", "must be true or false")
		}
	}
}
