package store_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/waltrigger/waltrigger/pkg/store"
)

func key(name string) store.Key {
	return store.Key{Name: name, Bytes: bytes.Repeat([]byte(name)[:1], 32)}
}

func ring(t *testing.T, keys ...store.Key) *store.Keys {
	t.Helper()
	r, err := store.NewKeys(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestSeal(t *testing.T) {
	a, b, ab := ring(t, key("a")), ring(t, key("b")), ring(t, key("a"), key("b"))
	for _, plain := range []string{"", "hunter2", strings.Repeat("x", 1<<20)} {
		sealed := a.Seal([]byte("before"), []byte(plain), "here")
		if !bytes.HasPrefix(sealed, []byte("before\x01\x01a")) || plain != "" && bytes.Contains(sealed, []byte(plain)) {
			t.Errorf("sealed %.40q", sealed)
		}
		sealed = sealed[len("before"):]
		if bytes.Equal(sealed, a.Seal(nil, []byte(plain), "here")) {
			t.Error("the same text is sealed in the same way")
		}
		for name, r := range map[string]*store.Keys{"a": a, "a and b": ab, "b and a": ring(t, key("b"), key("a"))} {
			if got, err := r.Open([]byte(">"), sealed, "here"); err != nil || string(got) != ">"+plain {
				t.Errorf("opened with %s: %.40q, %v", name, got, err)
			}
		}
		for name, err := range map[string]error{
			"elsewhere":      second(a.Open(nil, sealed, "there")),
			"another key":    second(b.Open(nil, sealed, "here")),
			"other bytes":    second(ring(t, store.Key{Name: "a", Bytes: key("b").Bytes}).Open(nil, sealed, "here")),
			"a byte too few": second(a.Open(nil, sealed[:len(sealed)-1], "here")),
		} {
			if err == nil {
				t.Errorf("%s: it opens", name)
			}
		}
	}
	sealed := a.Seal(nil, []byte("hunter2"), "here")
	for i := range sealed {
		for bit := range 8 {
			bad := bytes.Clone(sealed)
			bad[i] ^= 1 << bit
			if _, err := a.Open(nil, bad, "here"); err == nil || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("byte %d, bit %d changed: %v", i, bit, err)
			}
		}
		if _, err := a.Open(nil, sealed[:i], "here"); err == nil {
			t.Errorf("%d bytes open", i)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestKeysAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		keys []store.Key
		want string
	}{
		"twice":      {[]store.Key{key("a"), key("a")}, "given twice"},
		"short":      {[]store.Key{{Name: "a", Bytes: []byte("hunter2")}}, "7 bytes"},
		"name":       {[]store.Key{{Name: "a/b", Bytes: key("a").Bytes}}, `"a/b"`},
		"no name":    {[]store.Key{{Bytes: key("a").Bytes}}, `""`},
		"none last":  {[]store.Key{key("a"), {Name: store.KeepClear}}, "not the first"},
		"none a key": {[]store.Key{{Name: store.KeepClear, Bytes: key("a").Bytes}}, "no key"},
	} {
		if _, err := store.NewKeys(c.keys...); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := ring(t).Name() + ring(t, store.Key{Name: store.KeepClear}, key("a")).Name(); n != "" {
		t.Errorf("sealing with %q", n)
	}
}

func TestParseKey(t *testing.T) {
	want := append(bytes.Repeat([]byte{0xfb}, 31), 0xff)
	for _, text := range []string{
		base64.StdEncoding.EncodeToString(want), base64.RawStdEncoding.EncodeToString(want),
		base64.URLEncoding.EncodeToString(want), " " + base64.RawURLEncoding.EncodeToString(want) + "\n", hex.EncodeToString(want),
	} {
		if got, err := store.ParseKey(text); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %x, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "hunter2", strings.Repeat("hunter2!", 4), base64.StdEncoding.EncodeToString(want[1:])} {
		if _, err := store.ParseKey(text); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func BenchmarkSeal(b *testing.B) {
	r, err := store.NewKeys(key("a"))
	if err != nil {
		b.Fatal(err)
	}
	body := bytes.Repeat([]byte("x"), 300)
	var sealed, plain []byte
	for b.Loop() {
		sealed = r.Seal(sealed[:0], body, "parked/1/body")
		if plain, err = r.Open(plain[:0], sealed, "parked/1/body"); err != nil {
			b.Fatal(err)
		}
	}
}
