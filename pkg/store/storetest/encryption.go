package storetest

import (
	"bytes"
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"github.com/waltrigger/waltrigger/pkg/store"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// Three keys; wrong has the name of the first and other bytes.
var (
	firstKey  = store.Key{Name: "first", Bytes: bytes.Repeat([]byte{1}, 32)}
	secondKey = store.Key{Name: "second", Bytes: bytes.Repeat([]byte{2}, 32)}
	wrongKey  = store.Key{Name: "first", Bytes: bytes.Repeat([]byte{3}, 32)}
	noKey     = store.Key{Name: store.KeepClear}
)

const secretFields = `,"webhooks":[{"url":"https://example.com","headers":{"Authorization":"hunter2-a","X-Other":"hunter2-b"},"secret":["hunter2-g","hunter2-h"]}],
	"msg_broker_queues":[{"name":"k","conn_details":{"password":"hunter2-c","port":5432,"big":1.50},"parameters":{"x":"hunter2-d","flag":true,"~/":"hunter2-e"}}],
	"actions":[{"name":"f","parameters":{"payload":"hunter2-f"}}]`

// testEncryption walks through the life of keys: on, changed, lost, wrong, off.
func (b Backend) testEncryption(t *testing.T, url string) {
	beside := b.Raw(t, url)
	with := func(what string, clear bool, do func(s *store.Store), keys ...store.Key) {
		t.Helper()
		s, err := store.Open(t.Context(), url, discard(), keys...)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		do(s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(stored(t, beside), "hunter2"); got != clear {
			t.Errorf("%s: in clear is %v", what, got)
		}
	}
	refused := func(what, want string, keys ...store.Key) {
		t.Helper()
		s, err := store.Open(t.Context(), url, discard(), keys...)
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
	var r trigger.Record
	check := func(s *store.Store) { t.Helper(); same(t, get(t, s, r.Trigger.ID), r) }
	with("without keys", true, func(s *store.Store) { r = create(t, s, secretFields) })
	with("switched on", false, check, firstKey)
	with("written", false, func(s *store.Store) {
		create(t, s, secretFields)
		r.Trigger.Description = "changed"
		if err := s.UpdateTrigger(t.Context(), &r, 0); err != nil {
			t.Fatal(err)
		}
		check(s)
	}, firstKey)
	refused("missing", "encrypted with the key first")
	refused("missing beside another", "encrypted with the key first", secondKey)
	refused("wrong", "another key than the one", wrongKey)
	with("a second one beside it", false, check, firstKey, secondKey)
	with("changed", false, check, secondKey, firstKey)
	with("the old one removed", false, check, secondKey)
	refused("the old one alone", "encrypted with the key second", firstKey)
	b.moved(t, url, beside)
	with("switched off", true, check, noKey, secondKey)
	with("without keys again", true, check)
}

// moved: a sealed value that somebody copies to another place does not open there.
func (b Backend) moved(t *testing.T, url string, beside *sql.DB) {
	t.Helper()
	all := documents(t, beside)
	set := func(id int64, document string) {
		t.Helper()
		if _, err := beside.Exec(fmt.Sprintf(`UPDATE triggers SET document = '%s' WHERE id = %d`, document, id)); err != nil {
			t.Fatal(err)
		}
	}
	for id, document := range all {
		for other, from := range all {
			swapped := strings.NewReplacer("Authorization", "X-Other", "X-Other", "Authorization").Replace(document)
			if other != id {
				swapped = from
			}
			set(id, swapped)
			s, err := store.Open(t.Context(), url, discard(), secondKey)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Trigger(t.Context(), id); err == nil || !strings.Contains(err.Error(), "not for this place") {
				t.Errorf("a secret of another place: %v", err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			set(id, document)
		}
	}
}

// stored is all that the triggers' documents hold.
func stored(t *testing.T, db *sql.DB) string {
	t.Helper()
	return fmt.Sprint(documents(t, db))
}

func documents(t *testing.T, db *sql.DB) map[int64]string {
	t.Helper()
	rows, err := db.Query(`SELECT id, document FROM triggers`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	out := map[int64]string{}
	for rows.Next() {
		var id int64
		var document string
		if err := rows.Scan(&id, &document); err != nil {
			t.Fatal(err)
		}
		out[id] = document
	}
	if rows.Err() != nil || len(out) == 0 {
		t.Errorf("%d triggers, %v", len(out), rows.Err())
	}
	return out
}
