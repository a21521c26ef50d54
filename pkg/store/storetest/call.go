package storetest

import (
	"reflect"
	"testing"

	"github.com/waltrigger/waltrigger/pkg/store"
)

func testCalls(t *testing.T, url string) {
	s := open(t, url)
	ctx := t.Context()
	var ids []int64
	for _, body := range []string{`{"a":"é"}`, `{}`} {
		id, err := s.Ask(ctx, body)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	want := []store.Call{{ID: ids[0], Body: `{"a":"é"}`}, {ID: ids[1], Body: `{}`}}
	if got, err := s.Calls(ctx); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("calls %v, %v", got, err)
	}
	if got, err := s.AnswerTo(ctx, ids[0]); got != "" || err != nil {
		t.Errorf("answered %q, %v before there was an answer", got, err)
	}
	if err := s.Answer(ctx, ids[0], `"é"`); err != nil {
		t.Fatal(err)
	}
	if got, err := s.AnswerTo(ctx, ids[0]); got != `"é"` || err != nil {
		t.Errorf("answered %q, %v", got, err)
	}
	if got, err := s.Calls(ctx); err != nil || !reflect.DeepEqual(got, want[1:]) {
		t.Errorf("calls %v, %v", got, err)
	}
	for _, id := range ids {
		if err := s.ForgetCall(ctx, id); err != nil {
			t.Error(err)
		}
		if err := s.Answer(ctx, id, "x"); err != nil { // who asked has gone
			t.Error(err)
		}
		if got, err := s.AnswerTo(ctx, id); got != "" || err != nil {
			t.Errorf("answered %q, %v", got, err)
		}
	}
	if got, err := s.Calls(ctx); err != nil || len(got) != 0 {
		t.Errorf("calls %v, %v", got, err)
	}
}
