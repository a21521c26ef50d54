package sink

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// Codes of Network.
const (
	CodeBlocked = "egress_blocked"
	CodeTimeout = "timeout"
	CodeDNS     = "dns_error"
	CodeRefused = "connection_refused"
	CodeReset   = "connection_reset" // closed by the peer, in whatever way
	CodeTLS     = "tls_error"
	CodeNetwork = "network_error"
	CodeOther   = "error"
)

// Network classifies an error of dialling or of a connection. Only a refusal of
// Env.Dial is not Unavailable.
func Network(err error) *Error {
	var refusal interface{ Blocked() bool }
	if errors.As(err, &refusal) && refusal.Blocked() {
		return &Error{Class: Blocked, Code: CodeBlocked, Err: err}
	}
	return &Error{Class: Unavailable, Code: networkCode(err), Err: err}
}

func networkCode(err error) string {
	var (
		dns     *net.DNSError
		timeout interface{ Timeout() bool }
		op      *net.OpError
	)
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return CodeTimeout // also of a name server: what helps is the same
	case errors.As(err, &dns):
		return CodeDNS
	case isTLS(err):
		return CodeTLS
	case errors.Is(err, syscall.ECONNREFUSED):
		return CodeRefused
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return CodeReset
	case errors.As(err, &op):
		return CodeNetwork
	}
	return CodeOther
}

func isTLS(err error) bool {
	var (
		cert   *tls.CertificateVerificationError
		alert  tls.AlertError
		header tls.RecordHeaderError
		host   x509.HostnameError
		ca     x509.UnknownAuthorityError
		bad    x509.CertificateInvalidError
		shake  *handshakeError
		op     *net.OpError
	)
	return errors.As(err, &op) && op.Op == "remote error" || // an alert of the peer, after the handshake
		errors.As(err, &cert) || errors.As(err, &alert) || errors.As(err, &header) || errors.As(err, &host) ||
		errors.As(err, &ca) || errors.As(err, &bad) || errors.As(err, &shake)
}

// handshakeError marks errors of crypto/tls that have no type of their own, such as
// that of no common version.
type handshakeError struct{ err error }

func (e *handshakeError) Error() string { return "TLS handshake: " + e.err.Error() }

func (e *handshakeError) Unwrap() error { return e.err }

// Handshake makes conn a TLS connection. On error it closes conn; the error classifies
// as CodeTLS unless the network failed meanwhile.
func Handshake(ctx context.Context, conn net.Conn, config *tls.Config) (*tls.Conn, error) {
	c := tls.Client(conn, config)
	err := c.HandshakeContext(ctx)
	if err == nil {
		return c, nil
	}
	conn.Close()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, &handshakeError{err}
}
