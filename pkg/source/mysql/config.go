package mysql

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"regexp"
	"strings"
)

// Config is one entry of `sources:` for MySQL and MariaDB.
type Config struct {
	// Name is part of every event id.
	Name string `yaml:"name"`
	// URL is mysql://user:password@host:3306/database; mariadb:// means the same, since
	// the server says what it is. It must reach the server itself: a proxy that splits
	// statements among servers does not do. Parameters are tls (preferred, false, true or
	// skip-verify), tls_ca, tls_cert and tls_key.
	URL string `yaml:"url"`
	// ServerID is the number under which the log is read; no other reader of the server
	// may have it. 0 takes a random one beyond 2,147,483,648 at each start.
	ServerID int64 `yaml:"server_id"`
}

var sourceName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,40}$`)

// Validate returns everything that is wrong with c, nil if nothing is. It does not
// connect. No error carries the password.
func (c Config) Validate() []error {
	var errs []error
	if !sourceName.MatchString(c.Name) {
		errs = append(errs, fmt.Errorf("name %q: want 1 to 40 letters, digits, _ or -, it is part of every event id", c.Name))
	}
	if c.URL == "" {
		errs = append(errs, errors.New("url: is missing; want for example mysql://user@host:3306/database"))
	} else if _, err := parseURL(c.URL); err != nil {
		errs = append(errs, fmt.Errorf("url: %w", err))
	}
	if c.ServerID < 0 || c.ServerID > math.MaxUint32 {
		errs = append(errs, fmt.Errorf("server_id: must be from 1 to %d", uint32(math.MaxUint32)))
	}
	return errs
}

// readerID is the number to register with.
func (c Config) readerID() uint32 {
	if c.ServerID != 0 {
		return uint32(c.ServerID)
	}
	return anyReader()
}

// anyReader is a number that nobody else has, of a reader that does not stay: it must not
// take the log away from the one that does.
func anyReader() uint32 { return 1<<31 | rand.Uint32() }

// address is a URL taken apart.
type address struct {
	host               string // with port
	user, password, db string
	preferred          bool        // encryption, if the server can
	tls                *tls.Config // nil: none
}

// parseURL reads the URL of a source, and the certificates that it names.
func parseURL(text string) (address, error) {
	u, err := url.Parse(text)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) { // without the URL, which holds the password
			err = ue.Err
		}
		return address{}, fmt.Errorf("is no URL: %w", err)
	}
	a := address{db: strings.TrimPrefix(u.Path, "/")}
	switch {
	case u.Scheme != "mysql" && u.Scheme != "mariadb":
		return a, errors.New("must begin with mysql:// or mariadb://")
	case u.Hostname() == "" || u.Opaque != "" || u.Fragment != "":
		return a, errors.New("want mysql://user@host:3306/database")
	case u.User.Username() == "":
		return a, errors.New("names no user; want mysql://user@host:3306/database")
	case strings.Contains(a.db, "/"):
		return a, errors.New("names more than one database")
	}
	port := u.Port()
	if port == "" {
		port = "3306"
	}
	a.host, a.user = net.JoinHostPort(u.Hostname(), port), u.User.Username()
	a.password, _ = u.User.Password()
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return a, errors.New("has malformed parameters")
	}
	settings := map[string]string{"tls": "preferred"}
	for name, values := range query {
		switch name {
		case "password":
			a.password = values[len(values)-1]
		case "tls", "tls_ca", "tls_cert", "tls_key":
			settings[name] = values[len(values)-1]
		default:
			return a, fmt.Errorf("has the parameter %q; there are tls, tls_ca, tls_cert and tls_key", name)
		}
	}
	a.preferred = settings["tls"] == "preferred"
	a.tls, err = encryption(u.Hostname(), settings)
	return a, err
}

func encryption(host string, settings map[string]string) (*tls.Config, error) {
	c := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	switch mode := settings["tls"]; mode {
	case "false":
		return nil, nil
	case "true":
	case "skip-verify", "preferred":
		c.InsecureSkipVerify = true
	default:
		return nil, fmt.Errorf("tls=%s: want preferred, false, true or skip-verify", mode)
	}
	if file := settings["tls_ca"]; file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("tls_ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls_ca: %s holds no certificate in PEM form", file)
		}
		if settings["tls"] == "preferred" { // whoever names an authority wants it asked
			c.InsecureSkipVerify = false
		}
	}
	if cert, key := settings["tls_cert"], settings["tls_key"]; cert != "" || key != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("tls_cert, tls_key: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
