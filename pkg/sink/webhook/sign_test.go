package webhook

import (
	"encoding/base64"
	"strings"
	"sync"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/sink/sinktest"
)

func secret(n int, fill string) string {
	return "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat(fill, n)))
}

// TestSignature lets the library of the standard verify what a receiver gets.
func TestSignature(t *testing.T) {
	r := sinktest.NewReceiver(t)
	s, _ := newSink(t, nil)
	old, next, other := secret(24, "a"), secret(64, "b"), secret(32, "c")
	for _, body := range []string{`{"a":1}`, "", "é\x00\xff", strings.Repeat("x", 100_000)} {
		for _, c := range []struct {
			secrets string
			valid   []string
		}{{old, []string{old}}, {next + " " + old, []string{next, old}}} {
			m := message(r.URL)
			m.Body = []byte(body)
			m.Params["secret"] = c.secrets
			if err := send(t, s, m); err != nil {
				t.Fatal(err)
			}
			all := r.Requests()
			got := all[len(all)-1]
			for _, key := range []string{old, next, other} {
				wh, err := standardwebhooks.NewWebhook(key)
				if err != nil {
					t.Fatal(err)
				}
				want := false
				for _, v := range c.valid {
					want = want || v == key
				}
				if err := wh.Verify(got.Body, got.Header); (err == nil) != want {
					t.Errorf("%d bytes signed with %d secrets: %v, want valid: %v", len(body), len(c.valid), err, want)
				}
				if err := wh.Verify(append(got.Body, 'x'), got.Header); err == nil {
					t.Error("another body is as good")
				}
			}
		}
	}
	m := message(r.URL)
	if err := send(t, s, m); err != nil {
		t.Fatal(err)
	}
	all := r.Requests()
	if got := all[len(all)-1].Header.Values("Webhook-Signature"); len(got) != 0 {
		t.Errorf("signed without a secret: %q", got)
	}
}

func TestSignaturesAtOnce(t *testing.T) {
	r := sinktest.NewReceiver(t)
	s, _ := newSink(t, nil)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 20 {
				m := message(r.URL)
				m.Body = []byte(strings.Repeat("y", i))
				m.Params["secret"] = secret(24, "a")
				if err := send(t, s, m); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	wh, err := standardwebhooks.NewWebhook(secret(24, "a"))
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range r.Requests() {
		if err := wh.Verify(got.Body, got.Header); err != nil {
			t.Error(err)
		}
	}
}

func TestSecretsAreChecked(t *testing.T) {
	r := sinktest.NewReceiver(t)
	s, _ := newSink(t, nil)
	for _, c := range []struct{ secret, why string }{
		{"hunter2", "must be whsec_"},
		{"whsec_", "0 bytes"},
		{secret(23, "a"), "23 bytes"},
		{secret(65, "a"), "65 bytes"},
		{"whsec_hunter2!", "no base64"},
		{"whsk_hunter2", "v1a"},
		{" ", "empty"},
		{secret(24, "a") + " hunter2", "must be whsec_"},
		{"whsec_" + base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("a", 25))), "no base64"},
	} {
		m := message(r.URL)
		m.Params["secret"] = c.secret
		e := checkError(t, send(t, s, m), sink.Misconfigured, "secret_invalid")
		if !strings.Contains(e.Error(), c.why) || strings.Contains(e.Error(), "hunter2") {
			t.Errorf("%q: %v", c.secret, e)
		}
	}
	if n := len(r.Requests()); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}
