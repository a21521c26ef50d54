// Package brokertest gives tests of sinks the servers they need.
package brokertest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Server is the URL in an environment variable such as WALTRIGGER_TEST_REDIS. Without
// it the test is skipped, or fails if WALTRIGGER_TEST_REQUIRED is 1.
func Server(t testing.TB, variable string) string {
	t.Helper()
	v := os.Getenv(variable)
	if v == "" {
		if os.Getenv("WALTRIGGER_TEST_REQUIRED") == "1" {
			t.Fatalf("%s is not set", variable)
		}
		t.Skipf("%s is not set", variable)
	}
	return v
}

// Own is a server of one test, which may restart it.
type Own struct {
	URL    string
	script string
	env    []string
}

// Start starts a server by scripts/services/SCRIPT.sh; prefix is that of its variables,
// env more of them, files what it finds below files/.
func Start(t testing.TB, script, prefix string, files map[string][]byte, env ...string) *Own {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", "..", "scripts", "services", script+".sh"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o := &Own{script: path, env: append(env, fmt.Sprintf("%s_INSTANCE=t%d", prefix, time.Now().UnixNano()))}
	if len(files) > 0 {
		o.env = append(o.env, "SERVICE_FILES="+dir)
	}
	t.Cleanup(func() { o.Run(t, "wipe") })
	o.Run(t, "start")
	o.URL = strings.TrimSpace(o.Run(t, "url"))
	return o
}

// Run runs the script with args and returns what it prints.
func (o *Own) Run(t testing.TB, args ...string) string {
	t.Helper()
	cmd := exec.Command(o.script, args...)
	cmd.Env = append(os.Environ(), o.env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(o.script), strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String()
}

// Restart stops the server, calls down and starts it again, for sinktest.Harness.
func (o *Own) Restart(t *testing.T, down func()) {
	t.Helper()
	o.Run(t, "stop")
	down()
	o.Run(t, "start")
}

// Certificates are an authority's, in ca.pem, and a server's for 127.0.0.1, in cert.pem
// and key.pem, all PEM.
func Certificates(t testing.TB) map[string][]byte {
	t.Helper()
	authority, authorityKey, ca := certificate(t, 1, nil, nil)
	_, key, cert := certificate(t, 2, authority, authorityKey)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{"ca.pem": ca, "cert.pem": cert, "key.pem": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})}
}

// certificate makes a server's certificate signed by parent, or an authority's if that
// is nil.
func certificate(t testing.TB, serial int64, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: fmt.Sprintf("test %d", serial)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if parent == nil {
		c.IsCA, c.KeyUsage, c.ExtKeyUsage, c.IPAddresses = true, x509.KeyUsageCertSign, nil, nil
		parent, parentKey = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return c, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// File writes one of files into a folder of the test's and returns its path.
func File(t testing.TB, files map[string][]byte, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, files[name], 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
