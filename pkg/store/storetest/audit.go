package storetest

import (
	"testing"
	"time"

	"github.com/waltrigger/waltrigger/pkg/store"
)

func testAudit(t *testing.T, url string) {
	s := open(t, url)
	began := time.Now().Add(-time.Second)
	for _, verb := range []string{"create", "pause", "delete"} {
		if err := s.Note(t.Context(), store.AuditEntry{Token: "é", Verb: verb, Object: "action-triggers/1", Detail: `{"a":"'"}`, Request: "r"}); err != nil {
			t.Fatal(err)
		}
	}
	all, err := s.Audit(t.Context(), 0, 2)
	if err != nil || len(all) != 2 || all[0].Verb != "delete" || all[1].Verb != "pause" || all[0].At.Before(began) || all[0].Token != "é" || all[0].Detail != `{"a":"'"}` || all[0].Request != "r" {
		t.Fatalf("%+v, %v", all, err)
	}
	if rest, err := s.Audit(t.Context(), all[1].ID, 9); err != nil || len(rest) != 1 || rest[0].Verb != "create" {
		t.Errorf("%+v, %v", rest, err)
	}
}
