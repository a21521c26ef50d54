package postgres

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/waltrigger/waltrigger/pkg/change"
)

func TestConfig(t *testing.T) {
	good := Config{Name: "Shop-1", URL: "postgres://u:secret@127.0.0.1/db"}
	if errs := good.Validate(); errs != nil {
		t.Errorf("got %v", errs)
	}
	if c := good.WithDefaults(); c.Slot != "waltrigger_shop_1" || c.Publication != c.Slot || c.PublicationMode != ModeAuto {
		t.Errorf("defaults %+v", c)
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
		{"bad url", func(c *Config) { c.URL = "postgres://u:secret@127.0.0.1:port/db" }, "url"},
		{"slot", func(c *Config) { c.Slot = "Shop" }, "slot"},
		{"slot injection", func(c *Config) { c.Slot = "a; drop" }, "slot"},
		{"long publication", func(c *Config) { c.Publication = strings.Repeat("a", 64) }, "publication"},
		{"mode", func(c *Config) { c.PublicationMode = "mine" }, "publication_mode"},
	} {
		c := good
		tt.change(&c)
		err := errors.Join(c.Validate()...)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", tt.name, err)
		}
		if _, err := New(c, nil, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%s: New accepts it", tt.name)
		}
	}
}

func TestLSN(t *testing.T) {
	for s, want := range map[string]lsn{"0/0": 0, "0/16B3748": 0x16B3748, "FF/FFFFFFFF": 0xFFFFFFFFFF, "A-1": 0xA00000001} {
		got, err := parseLSN(s)
		if err != nil || got != want {
			t.Errorf("%s: %v, %v", s, got, err)
		}
		if back := strings.Replace(got.String(), "/", "-", 1); back != strings.Replace(s, "/", "-", 1) {
			t.Errorf("%s prints as %s", s, back)
		}
	}
	for _, s := range []string{"", "0", "/", "x/1", "1/100000000", "-1/0", "0/1/2", "0/ 1"} {
		if l, err := parseLSN(s); err == nil {
			t.Errorf("%q is read as %s", s, l)
		}
	}
	if _, _, err := parseMark(change.Mark{End: "0/1", Tx: "bad"}); err == nil {
		t.Error("a mark with a bad Tx is accepted")
	}
}
