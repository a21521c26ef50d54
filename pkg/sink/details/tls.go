package details

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

// TLSParams are the details that TLS reads.
var TLSParams = []sink.Param{
	{Name: "ssl"}, {Name: "ssl_cafile"}, {Name: "ssl_certfile"}, {Name: "ssl_keyfile"}, {Name: "ssl_check_hostname"},
}

// TLS reads ssl and its files; nil = no TLS, which is what absence means unless asked
// is true. address is that of the server; "" = each one that is dialled has its name.
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
				r.Add(name, "invalid", "has no meaning without TLS")
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
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	if ca != "" {
		c.RootCAs = r.authorities(ca)
	}
	if cert != "" && key != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			r.Add("ssl_certfile", "invalid", "and ssl_keyfile cannot be used: %v", err)
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
	return c
}

func (r *Reader) authorities(file string) *x509.CertPool {
	pem, err := os.ReadFile(file)
	pool := x509.NewCertPool()
	switch {
	case err != nil:
		r.Add("ssl_cafile", "invalid", "cannot be read: %v", err)
	case !pool.AppendCertsFromPEM(pem):
		r.Add("ssl_cafile", "invalid", "holds no certificate")
	}
	return pool
}
