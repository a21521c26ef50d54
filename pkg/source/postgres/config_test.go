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

func TestPlaces(t *testing.T) {
	for s, want := range map[string]place{
		"0/0": {0, 1}, "0/16B3748": {0x16B3748, 1}, "FF/FFFFFFFF": {0xFFFFFFFFFF, 1}, "A-1": {0xA00000001, 1},
		"0/16B3748-2": {0x16B3748, 2}, "0-16B3748-12": {0x16B3748, 12},
	} {
		got, err := parsePlace(s)
		if err != nil || got != want {
			t.Errorf("%s: %v, %v", s, got, err)
		}
		sep := byte('/')
		if !strings.Contains(s, "/") {
			sep = '-'
		}
		if back := string(got.append(nil, sep)); back != s {
			t.Errorf("%s prints as %s", s, back)
		}
	}
	for _, s := range []string{"", "0", "/", "x/1", "1/100000000", "-1/0", "0/1/2", "0/ 1", "0/1-", "0/1-1", "0/1-x", "0-1-2-3"} {
		if l, err := parsePlace(s); err == nil {
			t.Errorf("%q is read as %v", s, l)
		}
	}
	if _, _, err := parseMark(change.Mark{End: "0/1", Tx: "nonsense"}); err == nil {
		t.Error("a mark of another kind is read")
	}
}

func TestHistory(t *testing.T) {
	h := history{current: 4, past: []fork{{1, 100}, {3, 200}}}
	for l, want := range map[lsn]uint32{0: 1, 99: 1, 100: 3, 199: 3, 200: 4, 1000: 4} {
		if got := h.of(l).line; got != want {
			t.Errorf("%d is on timeline %d, want %d", l, got, want)
		}
	}
	if h.end(100).line != 1 || h.end(101).line != 3 || h.end(0) != (place{}) {
		t.Error("ends are on the wrong timelines")
	}
	for _, c := range []struct {
		p     place
		want  lsn
		known bool
	}{{place{50, 1}, 50, true}, {place{100, 1}, 100, true}, {place{150, 1}, 100, true}, {place{150, 3}, 150, true}, {place{250, 3}, 200, true}, {place{250, 4}, 250, true}, {place{50, 2}, 50, false}, {place{50, 5}, 50, false}} {
		if got, known := h.common(c.p); got.at != c.want || known != c.known {
			t.Errorf("%v is common up to %v, %v", c.p, got, known)
		}
	}
}
