package api_test

import (
	"net/http"
	"testing"
)

func TestPause(t *testing.T) {
	s := newServer(t)
	res := s.do("POST", collection, examples[0])
	s.want(http.StatusCreated, res)
	at, first := res.header.Get("Location"), res.header.Get("ETag")
	state := func(a answer) [2]any {
		t.Helper()
		st := s.want(http.StatusOK, a)["status"].(map[string]any)
		return [2]any{st["state"], st["paused"]}
	}
	paused := s.do("POST", at+"/pause", "")
	if got := state(paused); got != [2]any{"paused", "keep"} || paused.header.Get("ETag") == first {
		t.Errorf("paused: %v, %s", got, paused.header.Get("ETag"))
	}
	if again := s.do("POST", at+"/pause/", `{"mode":"keep"}`); again.header.Get("ETag") != paused.header.Get("ETag") {
		t.Error("paused twice it is another revision")
	}
	if got := state(s.do("POST", at+"/pause", `{"mode":"drop"}`)); got != [2]any{"paused", "drop"} {
		t.Errorf("paused: %v", got)
	}
	if got := state(s.do("PATCH", at, `{"description":"x"}`)); got != [2]any{"paused", "drop"} {
		t.Errorf("edited: %v", got)
	}
	for query, want := range map[string]string{"?state=paused": "1", "?state=active": "0"} {
		if got := s.do("GET", collection+query, "").body; (string(got) != "[]") != (want == "1") {
			t.Errorf("%s: %s", query, got)
		}
	}
	s.want(http.StatusPreconditionFailed, s.do("POST", at+"/resume", "", "If-Match: "+first))
	if got := state(s.do("POST", at+"/resume", "")); got != [2]any{"active", nil} {
		t.Errorf("resumed: %v", got)
	}
	s.service.down = true
	if got := s.want(http.StatusConflict, s.do("POST", at+"/pause", `{"mode":"drop"}`)); got["code"] != "parking_off" {
		t.Errorf("refused with %v", got)
	}
	for body, want := range map[string]string{`{"mode":"stop"}`: "/mode invalid", `{"mode":1}`: "/mode invalid_type", `{"mod":"keep"}`: "/mod unknown_field", `[]`: " invalid_type"} {
		if got := s.do("POST", at+"/pause", body).problems(t); got != want {
			t.Errorf("%s: got %s, want %s", body, got, want)
		}
	}
	s.want(http.StatusBadRequest, s.do("POST", at+"/pause?mode=keep", ""))
	s.want(http.StatusNotFound, s.do("POST", collection+"/99/pause", ""))
	s.want(http.StatusNotFound, s.do("POST", collection+"/99/resume", ""))
}
