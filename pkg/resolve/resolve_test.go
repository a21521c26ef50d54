package resolve

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newResolver(t *testing.T, declared map[string]Config) *Resolver {
	t.Helper()
	r, err := New(declared, Env{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func TestNewSaysAllThatIsWrong(t *testing.T) {
	reserved := func(first string) bool { return first == "instance" }
	tests := []struct {
		name, key string
		c         Config
		want      string // "" = good
	}{
		{"good", "myapp.utils.get_token", Config{Env: "X", Hosts: []string{"API.example.com.", "::1", "[fe80::1]", "10.0.0.1"}}, ""},
		{"one segment", "token", Config{Literal: "x"}, ""},
		{"no provider", "a.b", Config{}, "exactly one"},
		{"two providers", "a.b", Config{Env: "X", File: "/x"}, "exactly one"},
		{"reserved", "instance.name", Config{Env: "X"}, "belong to the row"},
		{"empty name", "", Config{Env: "X"}, "letters"},
		{"dots", "a..b", Config{Env: "X"}, "letters"},
		{"dash", "a-b", Config{Env: "X"}, "letters"},
		{"long", strings.Repeat("a", 256), Config{Env: "X"}, "255"},
		{"line break in literal", "a.b", Config{Literal: "x\r\nEvil: 1"}, "line break"},
		{"NUL in literal", "a.b", Config{Literal: "x\x00"}, "NUL"},
		{"short ttl", "a.b", Config{Env: "X", TTL: time.Second - 1}, "at least 1s"},
		{"host with scheme", "a.b", Config{Env: "X", Hosts: []string{"https://a"}}, "host name"},
		{"host with port", "a.b", Config{Env: "X", Hosts: []string{"a:80"}}, "host name"},
		{"empty host", "a.b", Config{Env: "X", Hosts: []string{""}}, "host name"},
		{"pattern", "a.b", Config{Env: "X", Hosts: []string{"*.example.com"}}, "host name"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := New(map[string]Config{tt.key: tt.c}, Env{Reserved: reserved})
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				r.Close()
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, want one about %q", err, tt.want)
			}
		})
	}
	_, err := New(map[string]Config{"a": {}, "b": {}}, Env{})
	if err == nil || !strings.Contains(err.Error(), "dynamic_values.a:") || !strings.Contains(err.Error(), "dynamic_values.b:") {
		t.Fatalf("error %v, want both", err)
	}
}

func TestProviders(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(write("linked", "via link"), link); err != nil {
		t.Fatal(err)
	}
	t.Setenv("WALTRIGGER_TEST_VALUE", "from env")
	t.Setenv("WALTRIGGER_TEST_EMPTY", "")
	t.Setenv("WALTRIGGER_TEST_SPLIT", "s3cret\r\nX: y")
	tests := []struct {
		name       string
		c          Config
		want, code string
	}{
		{"literal", Config{Literal: "lit"}, "lit", ""},
		{"env", Config{Env: "WALTRIGGER_TEST_VALUE"}, "from env", ""},
		{"env unset", Config{Env: "WALTRIGGER_TEST_UNSET"}, "", CodeFetch},
		{"env empty", Config{Env: "WALTRIGGER_TEST_EMPTY"}, "", CodeInvalid},
		{"env with line break", Config{Env: "WALTRIGGER_TEST_SPLIT"}, "", CodeInvalid},
		{"file", Config{File: write("a", "tok")}, "tok", ""},
		{"file newline", Config{File: write("b", "tok\n")}, "tok", ""},
		{"file crlf", Config{File: write("c", "tok\r\n")}, "tok", ""},
		{"file two lines", Config{File: write("d", "s3cret\nmore\n")}, "", CodeInvalid},
		{"file two newlines", Config{File: write("e", "s3cret\n\n")}, "", CodeInvalid},
		{"file NUL", Config{File: write("f", "s3cret\x00")}, "", CodeInvalid},
		{"file empty", Config{File: write("g", "")}, "", CodeInvalid},
		{"file of 64 KiB", Config{File: write("h", strings.Repeat("x", 64<<10))}, strings.Repeat("x", 64<<10), ""},
		{"file larger", Config{File: write("i", strings.Repeat("x", 64<<10+1))}, "", CodeFetch},
		{"link", Config{File: link}, "via link", ""},
		{"absent", Config{File: filepath.Join(dir, "none")}, "", CodeFetch},
		{"directory", Config{File: dir}, "", CodeFetch},
		{"fifo", Config{File: fifo}, "", CodeFetch},
		{"device", Config{File: "/dev/zero"}, "", CodeFetch},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newResolver(t, map[string]Config{"a.b": tt.c})
			got, err := r.Resolve(t.Context(), "a.b", "")
			checkError(t, err, tt.code)
			if got != tt.want {
				t.Fatalf("value of %d bytes, want %d", len(got), len(tt.want))
			}
			if err != nil && strings.Contains(err.Error(), "s3cret") {
				t.Fatalf("the error shows the value: %v", err)
			}
		})
	}
}

func checkError(t *testing.T, err error, code string) {
	t.Helper()
	if code == "" {
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	if e := (*Error)(nil); !errors.As(err, &e) || e.Code != code {
		t.Fatalf("error %v, want code %s", err, code)
	}
}

func TestHosts(t *testing.T) {
	r := newResolver(t, map[string]Config{
		"free":  {Literal: "x", AllowInPayload: true},
		"bound": {Literal: "x", Hosts: []string{"api.example.com", "::1"}},
	})
	tests := []struct{ name, host, code string }{
		{"free", "evil.example", ""},
		{"free", "", ""},
		{"bound", "api.example.com", ""},
		{"bound", "API.Example.COM.", ""},
		{"bound", "[::1]", ""},
		{"bound", "evil.example", CodeHost},
		{"bound", "api.example.com.evil.example", CodeHost},
		{"bound", "", CodeHost},
		{"other", "x", CodeUnknown},
	}
	for _, tt := range tests {
		_, err := r.Resolve(t.Context(), tt.name, tt.host)
		checkError(t, err, tt.code)
		checkError(t, r.Allowed(tt.name, tt.host), tt.code)
	}
	if !slices.Equal(r.Names(), []string{"bound", "free"}) {
		t.Fatalf("names %v", r.Names())
	}
	for name, code := range map[string]string{"free": "", "bound": CodePayload, "other": CodeUnknown} {
		_, err := r.ForBody(t.Context(), name)
		checkError(t, err, code)
		if _, ok := r.CachedForBody(name); ok != (code == "") {
			t.Errorf("%s for a body: %v", name, ok)
		}
	}
	if !slices.Equal(r.Hosts("bound"), []string{"api.example.com", "::1"}) || len(r.Hosts("free"))+len(r.Hosts("other")) > 0 {
		t.Error("Hosts is wrong")
	}
	if !r.InPayload("free") || r.InPayload("bound") || r.InPayload("other") {
		t.Fatal("InPayload is wrong")
	}
}

func BenchmarkResolve(b *testing.B) {
	r, err := New(map[string]Config{"a.b": {Literal: "x", TTL: time.Hour}}, Env{})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Resolve(b.Context(), "a.b", "host"); err != nil {
			b.Fatal(err)
		}
	}
}
