package storetest

import (
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
	"github.com/waltrigger/waltrigger/pkg/store"
)

// testSaved looks at a store that is not there, is open, and was closed.
func testSaved(t *testing.T, url string) {
	want := source.State{Identity: "x", Mark: change.Mark{End: "0/7", Tx: "0/6", Done: 3}}
	look := func(when string, want source.State) {
		t.Helper()
		got, err := store.Saved(t.Context(), url)
		if err != nil || got["shop"] != want {
			t.Errorf("%s: %+v, %v", when, got, err)
		}
	}
	look("before there is a store", source.State{})
	path, file := strings.CutPrefix(url, "sqlite:")
	if _, err := os.Stat(path); file && !os.IsNotExist(err) {
		t.Errorf("looking made a store: %v", err)
	}
	s, err := store.Open(t.Context(), url, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SaveSource(t.Context(), "shop", want); err != nil {
		t.Error(err)
	}
	look("while it is open", want)
	if file {
		url = "sqlite:" + path + ".link"
		if err := os.Symlink(path, path+".link"); err != nil {
			t.Fatal(err)
		}
		look("by another name", want)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	look("after it was closed", want)
	for _, suffix := range []string{"-wal", "-shm"} {
		if _, err := os.Stat(path + suffix); file && !os.IsNotExist(err) {
			t.Errorf("looking left %s: %v", suffix, err)
		}
	}
}
