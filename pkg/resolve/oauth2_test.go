package resolve

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestOAuth2(t *testing.T) {
	var calls atomic.Int32
	seen := make(chan string, 10)
	const good = `{"access_token":"tok","token_type":"Bearer","expires_in":3600}`
	answers := map[string]func(w http.ResponseWriter, r *http.Request){
		"/both": func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, good) },
		"/params": func(w http.ResponseWriter, r *http.Request) {
			if r.PostFormValue("client_secret") != "hush" {
				w.WriteHeader(http.StatusUnauthorized)
				io.WriteString(w, `{"error":"invalid_client","error_description":"s3cret"}`)
				return
			}
			io.WriteString(w, good)
		},
		"/refused": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			io.WriteString(w, `{"error":"invalid_scope","error_description":"s3cret"}`)
		},
		"/refused200": func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"error":"s3cret s3cret"}`) },
		"/500":        func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "s3cret", http.StatusInternalServerError) },
		"/302":        func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/both", http.StatusFound) },
		"/nothing":    func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"token":"s3cret"}`) },
		"/garbage":    func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `s3cret`) },
		"/crlf":       func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"access_token":"s3cret\r\nX: y"}`) },
		"/ended": func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, `{"access_token":"s3cret","expires_in":-5}`)
		},
		"/form": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/x-www-form-urlencoded")
			io.WriteString(w, "access_token=tok&expires_in=60")
		},
		"/hang": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"/closed": func(w http.ResponseWriter, _ *http.Request) {
			if c, _, err := w.(http.Hijacker).Hijack(); err == nil {
				c.Close()
			}
		},
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		id, secret, _ := r.BasicAuth()
		select {
		case seen <- fmt.Sprintf("%s %s:%s %s", r.Method, id, secret, r.PostForm.Encode()):
		default:
		}
		w.Header().Set("Content-Type", "application/json")
		answers[r.URL.Path](w, r)
	}))
	defer s.Close()
	tests := []struct {
		path       string
		c          OAuth2
		want, code string
		text       string // in the error
	}{
		{"/both", OAuth2{}, "tok", "", ""},
		{"/params", OAuth2{}, "tok", "", ""},
		{"/params", OAuth2{AuthStyle: "params"}, "tok", "", ""},
		{"/params", OAuth2{AuthStyle: "header"}, "", CodeFetch, "the answer is 401, invalid_client"},
		{"/form", OAuth2{}, "tok", "", ""},
		{"/refused", OAuth2{}, "", CodeFetch, "the answer is 400, invalid_scope"},
		{"/refused200", OAuth2{}, "", CodeFetch, "the answer is an error"},
		{"/500", OAuth2{}, "", CodeFetch, "the answer is 500"},
		{"/302", OAuth2{}, "", CodeFetch, "a redirect, which is not followed"},
		{"/nothing", OAuth2{}, "", CodeFetch, "no access token"},
		{"/garbage", OAuth2{}, "", CodeFetch, "no access token"},
		{"/crlf", OAuth2{}, "", CodeInvalid, "line break"},
		{"/ended", OAuth2{}, "", CodeInvalid, "has ended already"},
		{"/hang", OAuth2{}, "", CodeFetch, "no answer in time"},
		{"/closed", OAuth2{}, "", CodeFetch, "connection ended"},
	}
	for _, tt := range tests {
		t.Run(strings.TrimPrefix(tt.path, "/")+tt.c.AuthStyle, func(t *testing.T) {
			tt.c.TokenURL, tt.c.ClientID, tt.c.ClientSecret = s.URL+tt.path, "id", "hush"
			c := Config{OAuth2: tt.c}
			if tt.path == "/hang" {
				c.Timeout = 200 * time.Millisecond
			}
			r := newResolver(t, map[string]Config{"a.b": c})
			got, err := r.Resolve(t.Context(), "a.b")
			checkError(t, err, tt.code)
			if got != tt.want {
				t.Fatalf("value %q, want %q", got, tt.want)
			}
			if err != nil && (!strings.Contains(err.Error(), tt.text) || strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "hush")) {
				t.Fatalf("error %v, want one about %q", err, tt.text)
			}
		})
	}
	for len(seen) > 0 {
		<-seen
	}
	t.Run("request", func(t *testing.T) {
		r := newResolver(t, map[string]Config{"a.b": {OAuth2: OAuth2{
			TokenURL: s.URL + "/both", ClientID: "i d", ClientSecret: "h:ush", Scopes: []string{"a", "b"}, Params: map[string]string{"audience": "https://api"},
		}}})
		if _, err := r.Resolve(t.Context(), "a.b"); err != nil {
			t.Fatal(err)
		}
		if got := <-seen; got != "POST i+d:h%3Aush audience=https%3A%2F%2Fapi&grant_type=client_credentials&scope=a+b" {
			t.Errorf("got %s", got)
		}
	})
	t.Run("the token's own time", func(t *testing.T) {
		r := newResolver(t, map[string]Config{"a.b": {OAuth2: OAuth2{TokenURL: s.URL + "/both", ClientID: "id", ClientSecret: "hush"}}})
		before := calls.Load()
		for range 100 {
			if _, err := r.Resolve(t.Context(), "a.b"); err != nil {
				t.Fatal(err)
			}
		}
		f := r.values["a.b"].last.Load()
		if left := time.Until(f.expires); calls.Load() != before+1 || left < 58*time.Minute || left > time.Hour-endMargin {
			t.Errorf("%d calls, used for %v more", calls.Load()-before, left)
		}
	})
}
