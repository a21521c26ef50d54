package mysql

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
)

// Config is one entry of `sources:` for MySQL and MariaDB.
type Config struct {
	// Name is part of every event id.
	Name string `yaml:"name"`
	// URL is mysql://user:password@host:3306/database; mariadb:// means the same, since
	// the server says what it is. It must reach the server itself: a proxy that splits
	// statements among servers does not do. Parameters are ssl-mode (PREFERRED, DISABLED,
	// REQUIRED, VERIFY_CA or VERIFY_IDENTITY), ssl-ca, ssl-cert and ssl-key.
	URL string `yaml:"url"`
	// ServerID is the number under which the log is read; no other reader of the server
	// may have it. 0 takes a random one beyond 2,147,483,648 at each start.
	ServerID uint32 `yaml:"server_id"`
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
	return errs
}

// readerID is the number to register with.
func (c Config) readerID() uint32 {
	if c.ServerID != 0 {
		return c.ServerID
	}
	return 1<<31 | rand.Uint32()
}

// How a connection is encrypted.
const (
	sslPreferred = "PREFERRED" // if the server can
	sslDisabled  = "DISABLED"
	sslRequired  = "REQUIRED" // with whatever certificate
	sslVerifyCA  = "VERIFY_CA"
	sslIdentity  = "VERIFY_IDENTITY"
)

// address is a URL taken apart.
type address struct {
	host               string // with port
	user, password, db string
	ssl                string
	tls                *tls.Config // nil: DISABLED
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
	a := address{ssl: sslPreferred, db: strings.TrimPrefix(u.Path, "/")}
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
	files := map[string]string{}
	for name, values := range query {
		switch value := values[len(values)-1]; name {
		case "password":
			a.password = value
		case "ssl-mode":
			a.ssl = strings.ToUpper(value)
		case "ssl-ca", "ssl-cert", "ssl-key":
			files[name] = value
		default:
			return a, fmt.Errorf("has an unknown parameter %q; there are ssl-mode, ssl-ca, ssl-cert and ssl-key", name)
		}
	}
	a.tls, err = encryption(a.ssl, u.Hostname(), files)
	return a, err
}

func encryption(mode, host string, files map[string]string) (*tls.Config, error) {
	if !slices.Contains([]string{sslPreferred, sslDisabled, sslRequired, sslVerifyCA, sslIdentity}, mode) {
		return nil, fmt.Errorf("ssl-mode %q is none of PREFERRED, DISABLED, REQUIRED, VERIFY_CA and VERIFY_IDENTITY", mode)
	}
	if mode == sslDisabled {
		return nil, nil
	}
	c := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	if file := files["ssl-ca"]; file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("ssl-ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ssl-ca: %s holds no certificate", file)
		}
	}
	if cert, key := files["ssl-cert"], files["ssl-key"]; cert != "" || key != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("ssl-cert, ssl-key: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	switch mode {
	case sslPreferred, sslRequired:
		c.InsecureSkipVerify = true
	case sslVerifyCA: // the chain, not the name
		c.InsecureSkipVerify = true
		roots := c.RootCAs
		c.VerifyConnection = func(s tls.ConnectionState) error {
			opts := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
			for _, cert := range s.PeerCertificates[1:] {
				opts.Intermediates.AddCert(cert)
			}
			_, err := s.PeerCertificates[0].Verify(opts)
			return err
		}
	}
	return c, nil
}
