package mysql

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestConfig(t *testing.T) {
	garbage := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(garbage, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := Config{Name: "Shop-1", URL: "mysql://u:secret@127.0.0.1/db"}
	for _, url := range []string{
		good.URL, "mariadb://u:secret@127.0.0.1/db", "mysql://u@[::1]:3307/db?password=secret", "mysql://u:se%2Fcret%40@host/", "mysql://u@host", "mysql://u@host/db?tls=skip-verify",
	} {
		c := good
		c.URL = url
		if errs := c.Validate(); errs != nil {
			t.Errorf("%s: %v", url, errs)
		}
	}
	for _, tt := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"no name", func(c *Config) { c.Name = "" }, "name"},
		{"name for an id", func(c *Config) { c.Name = "a b" }, "name"},
		{"long name", func(c *Config) { c.Name = strings.Repeat("a", 41) }, "name"},
		{"no url", func(c *Config) { c.URL = "" }, "url"},
		{"bad port", func(c *Config) { c.URL = "mysql://u:secret@127.0.0.1:port/db" }, "url"},
		{"other scheme", func(c *Config) { c.URL = "postgres://u:secret@127.0.0.1/db" }, "mysql://"},
		{"no user", func(c *Config) { c.URL = "mysql://:secret@127.0.0.1/db" }, "no user"},
		{"no host", func(c *Config) { c.URL = "mysql://u:secret@/db" }, "url"},
		{"form of the driver", func(c *Config) { c.URL = "u:secret@tcp(127.0.0.1)/db" }, "url"},
		{"two databases", func(c *Config) { c.URL += "/other" }, "more than one"},
		{"parameter", func(c *Config) { c.URL += "?sslmode=require" }, `"sslmode"`},
		{"malformed parameters", func(c *Config) { c.URL += "?tls=%zz&password=secret" }, "parameters"},
		{"tls", func(c *Config) { c.URL += "?tls=perhaps" }, "tls=perhaps"},
		{"no authority", func(c *Config) { c.URL += "?tls_ca=/not/there" }, "tls_ca"},
		{"bad authority", func(c *Config) { c.URL += "?tls_ca=" + garbage }, "no certificate"},
		{"half a certificate", func(c *Config) { c.URL += "?tls_cert=/not/there" }, "tls_cert"},
		{"negative number", func(c *Config) { c.ServerID = -1 }, "server_id"},
		{"large number", func(c *Config) { c.ServerID = 1 << 32 }, "server_id"},
	} {
		c := good
		tt.change(&c)
		err := errors.Join(c.Validate()...)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", tt.name, err)
		}
		if _, err := New(c, nil, &memory{}, slog.New(slog.DiscardHandler)); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: New gives %v", tt.name, err)
		}
	}
}

func TestURL(t *testing.T) {
	for url, want := range map[string]address{
		"mysql://u:p@h/db":                    {host: "h:3306", user: "u", password: "p", db: "db", preferred: true},
		"mariadb://u:p%40%2F@[::1]:3307/":     {host: "[::1]:3307", user: "u", password: "p@/", preferred: true},
		"mysql://u@h/db?password=q&tls=false": {host: "h:3306", user: "u", password: "q", db: "db"},
		"mysql://u%20x@h/d%C3%A9":             {host: "h:3306", user: "u x", db: "dé", preferred: true},
	} {
		got, err := parseURL(url)
		secure := got.tls
		got.tls = nil
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", url, got, err)
		}
		if (secure == nil) != strings.Contains(url, "tls=false") {
			t.Errorf("%s: encryption %v", url, secure)
		}
	}
	for url, verified := range map[string]bool{"mysql://u@h/?tls=true": true, "mysql://u@h/?tls=skip-verify": false, "mysql://u@h/": false} {
		if got, err := parseURL(url); err != nil || got.tls.InsecureSkipVerify == verified || got.tls.ServerName != "h" {
			t.Errorf("%s: %+v, %v", url, got.tls, err)
		}
	}
}

func TestReaderID(t *testing.T) {
	if id := (Config{ServerID: 4294967295}).readerID(); id != 4294967295 {
		t.Errorf("got %d", id)
	}
	for range 100 {
		if id := (Config{}).readerID(); id < 1<<31 {
			t.Fatalf("%d is a number that people give to servers", id)
		}
	}
}
