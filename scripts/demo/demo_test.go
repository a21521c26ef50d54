package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func testInbox(t *testing.T) *inbox {
	t.Helper()
	in, err := newInbox(&screen{w: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(in.close)
	return in
}

func post(t *testing.T, in *inbox, path, auth, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, in.url()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", auth)
	req.Header.Set("Webhook-Id", "x")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

func TestBoil(t *testing.T) {
	tests := []struct{ name, body, want string }{
		{"insert", `{"signal":"post_save","operation":"insert","content_type":{"model_name":"Customer"},"instance":{"id":1,"name":"Ada"}}`, "post_save insert Customer Ada"},
		{"sale", `{"signal":"post_save","operation":"update","content_type":{"model_name":"Sale"},"instance":{"quantity":3}}`, "post_save update Sale quantity 3"},
		{"delete", `{"signal":"post_delete","operation":"delete","content_type":{"model_name":"Customer"},"key":{"id":3},"instance":{"id":3}}`, "post_delete delete Customer id 3"},
		{"own payload", `{"action":"new_sale"}`, `{"action":"new_sale"}`},
		{"no JSON", "hello", "hello"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := boil([]byte(tt.body)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestInboxMissing(t *testing.T) {
	in := testInbox(t)
	post(t, in, "/a", "Bearer "+token, "one")
	err := in.await(context.Background(), []string{"POST /a one", "POST /a two"}, 50*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "POST /a two") || strings.Contains(err.Error(), "POST /a one") {
		t.Errorf("error %v, want one that names only what is missing", err)
	}
}

func TestInboxUnexpected(t *testing.T) {
	in := testInbox(t)
	post(t, in, "/a", "Bearer "+token, "one")
	post(t, in, "/a", "Bearer "+token, "one")
	if err := in.await(t.Context(), []string{"POST /a one"}, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := in.quiet(t.Context(), 0); err == nil || !strings.Contains(err.Error(), "POST /a one") {
		t.Errorf("error %v, want one that names the second request", err)
	}
}

func TestInboxWrongToken(t *testing.T) {
	in := testInbox(t)
	post(t, in, "/a", "Bearer other", "one")
	if err := in.await(t.Context(), []string{"POST /a one"}, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := in.quiet(t.Context(), 0); err == nil || !strings.Contains(err.Error(), "Authorization") {
		t.Errorf("error %v, want one about Authorization", err)
	}
}

func TestTriggersAreJSON(t *testing.T) {
	for _, kafka := range []bool{true, false} {
		for i, body := range triggers("http://127.0.0.1:1", kafka) {
			var v map[string]any
			if err := json.Unmarshal([]byte(body), &v); err != nil {
				t.Errorf("example %d: %v", i+1, err)
			}
			if _, has := v["msg_broker_queues"]; has != (kafka && i == 1) {
				t.Errorf("example %d, kafka %v: queues %v", i+1, kafka, has)
			}
		}
	}
}
