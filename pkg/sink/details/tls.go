package details

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

// TLSParams are the details that TLS reads.
var TLSParams = []sink.Param{
	{Name: "ssl"}, {Name: "ssl_cafile"}, {Name: "ssl_certfile"}, {Name: "ssl_keyfile"}, {Name: "ssl_check_hostname"},
}

// TLS reads ssl and its files; nil = no TLS, which is what absence means unless asked
// is true. address is that of the server.
func (r *Reader) TLS(asked bool, address string) *tls.Config {
	on := r.Bool("ssl", asked)
	if asked && !on {
		r.Add("ssl", "invalid", "cannot be false, as the URL asks for TLS")
	}
	ca, cert, key := r.String("ssl_cafile"), r.String("ssl_certfile"), r.String("ssl_keyfile")
	checkName := r.Bool("ssl_check_hostname", true)
	if !on {
		for _, name := range []string{"ssl_cafile", "ssl_certfile", "ssl_keyfile"} {
			if r.Present(name) && !IsTemplate(r.conn["ssl"]) && len(r.found) == 0 {
				r.Add(name, "invalid", "has no meaning without ssl")
			}
		}
		return nil
	}
	if r.Present("ssl_certfile") != r.Present("ssl_keyfile") {
		r.Add("ssl_keyfile", "invalid", "and ssl_certfile need each other")
	}
	if r.check { // the files need not be there yet
		return nil
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	c, err := tlsConfig(ca, cert, key, host, checkName)
	if err != nil {
		r.Add("ssl", "invalid", "cannot be used: %v", err)
	}
	return c
}

func tlsConfig(ca, cert, key, host string, checkName bool) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("read ssl_cafile: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("ssl_cafile holds no certificate")
		}
	}
	if cert != "" && key != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("read ssl_certfile and ssl_keyfile: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	if !checkName {
		// Only the name is not compared; the chain is verified all the same.
		c.InsecureSkipVerify = true
		c.VerifyConnection = func(cs tls.ConnectionState) error {
			opts := x509.VerifyOptions{Roots: c.RootCAs, Intermediates: x509.NewCertPool()}
			for _, ic := range cs.PeerCertificates[1:] {
				opts.Intermediates.AddCert(ic)
			}
			_, err := cs.PeerCertificates[0].Verify(opts)
			return err
		}
	}
	return c, nil
}
