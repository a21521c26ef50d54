package sink

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
)

type refusal struct{}

func (refusal) Error() string { return "not allowed" }
func (refusal) Blocked() bool { return true }

func TestClassify(t *testing.T) {
	op := func(err error) error {
		return &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", err)}
	}
	tests := []struct {
		name  string
		err   error
		class Class
		code  string
	}{
		{"classified", fmt.Errorf("x: %w", &Error{Class: Gone, Code: "http_410", Err: errors.New("gone")}), Gone, "http_410"},
		{"blocked", &net.OpError{Op: "dial", Err: refusal{}}, Blocked, CodeBlocked},
		{"deadline", context.DeadlineExceeded, Unavailable, CodeTimeout},
		{"connection's deadline", op(os.ErrDeadlineExceeded), Unavailable, CodeTimeout},
		{"dns", &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "x", IsNotFound: true}}, Unavailable, CodeDNS},
		{"dns time-out", &net.DNSError{IsTimeout: true}, Unavailable, CodeTimeout},
		{"refused", op(syscall.ECONNREFUSED), Unavailable, CodeRefused},
		{"reset", op(syscall.ECONNRESET), Unavailable, CodeReset},
		{"pipe", op(syscall.EPIPE), Unavailable, CodeReset},
		{"eof", io.EOF, Unavailable, CodeReset},
		{"unexpected eof", fmt.Errorf("read: %w", io.ErrUnexpectedEOF), Unavailable, CodeReset},
		{"unreachable", op(syscall.EHOSTUNREACH), Unavailable, CodeNetwork},
		{"certificate", &tls.CertificateVerificationError{Err: errors.New("expired")}, Unavailable, CodeTLS},
		{"no TLS there", tls.RecordHeaderError{Msg: "x"}, Unavailable, CodeTLS},
		{"alert", &net.OpError{Op: "remote error", Err: tls.AlertError(40)}, Unavailable, CodeTLS},
		{"handshake", &handshakeError{errors.New("no common version")}, Unavailable, CodeTLS},
		{"other", errors.New("x"), Unavailable, CodeOther},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if e := Classify(tt.err); e.Class != tt.class || e.Code != tt.code {
				t.Fatalf("got %s %s, want %s %s", e.Class, e.Code, tt.class, tt.code)
			}
		})
	}
}
