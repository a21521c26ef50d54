package config

import (
	"strings"
	"testing"
)

func TestAddress(t *testing.T) {
	for text, want := range map[string]string{
		"":                         "",
		"sqlite:/var/lib/store.db": "sqlite:/var/lib/store.db",
		"sqlite:store.db":          "sqlite:store.db",
		"postgres://u@db/shop":     "postgres://u@db/shop",
		"postgres://u:hunter2@db:5432/shop?sslmode=disable&password=hunter2&x=hunter2&schema=w": "postgres://u:[redacted]@db:5432/shop?sslmode=disable&[redacted]&[redacted]&schema=w",
		"mysql://u%40x:hunter2@db/shop?tls=skip-verify":                                         "mysql://u%40x:[redacted]@db/shop?tls=skip-verify",
		"postgres:///shop?host=/run/pg&pass%77ord=hunter2":                                      "[redacted]",
		"postgres://db/shop?sslmode&PASSWORD=hun&ter2":                                          "postgres://db/shop?sslmode&[redacted]&[redacted]",
		"host=db password=hunter2":                                                              "[redacted]",
		"postgres://u:hun/ter2@db/x":                                                            "[redacted]",
		"postgres://u:1/hunter2@db/x":                                                           "[redacted]",
		"postgres://u:1?hunter2@db/x":                                                           "[redacted]",
		"postgres://u:1#hunter2@db/x":                                                           "[redacted]",
		"postgres://u:%hunter2@db/x":                                                            "[redacted]",
		"postgres://u:hunt:er@2@db/x":                                                           "postgres://u:[redacted]@db/x",
		"sqlite:x?key=hunter2":                                                                  "[redacted]",
	} {
		if got := address(Secret(text)); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// TestPrintShowsWhatIsInForce: also what nobody wrote.
func TestPrintShowsWhatIsInForce(t *testing.T) {
	c := mustLoad(t, "sources: [{name: Shop, url: 'postgres://u:hunter2@db/shop'}, {name: my, url: 'mysql://u:hunter2@db/shop'}]\nstore: {url: 'sqlite:/x/store.db'}\n")
	out := printed(t, c)
	for _, line := range []string{
		"url: postgres://u:[redacted]@db/shop", "slot: waltrigger_shop", "publication: waltrigger_shop", "publication_mode: auto", "origin: any",
		"url: mysql://u:[redacted]@db/shop", "url: sqlite:/x/store.db",
	} {
		if !strings.Contains(out, line+"\n") {
			t.Errorf("%q is not in\n%s", line, out)
		}
	}
	if c.Sources[0].Slot != "" || strings.Contains(out, "hunter2") {
		t.Errorf("slot %q, printed\n%s", c.Sources[0].Slot, out)
	}
}
