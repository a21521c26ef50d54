package nats

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/sink/brokertest"
	"github.com/waltrigger/waltrigger/pkg/sink/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const variable = "WALTRIGGER_TEST_NATS"

func unique(name string) string { return fmt.Sprintf("waltrigger-%s-%d", name, time.Now().UnixNano()) }

// client is the tests' own.
func client(t *testing.T, url string) jetstream.JetStream {
	t.Helper()
	c, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	js, err := jetstream.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// makeStream makes a stream that keeps what is published to NAME.*.
func makeStream(t *testing.T, url, name string, change func(*jetstream.StreamConfig)) {
	t.Helper()
	c := jetstream.StreamConfig{Name: name, Subjects: []string{name + ".*"}}
	if change != nil {
		change(&c)
	}
	if _, err := client(t, url).CreateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client(t, url).DeleteStream(context.Background(), name); err != nil {
			t.Error(err)
		}
	})
}

// readStream gives all that a stream holds.
func readStream(t *testing.T, url, name string) []sinktest.Received {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	stream, err := js.Stream(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	n := stream.CachedInfo().State.Msgs
	consumer, err := js.OrderedConsumer(ctx, name, jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	var out []sinktest.Received
	for uint64(len(out)) < n {
		batch, err := consumer.Fetch(int(n)-len(out), jetstream.FetchMaxWait(5*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		for m := range batch.Messages() {
			h := map[string]string{}
			for name, v := range m.Headers() {
				h[strings.ToLower(name)] = strings.Join(v, ", ")
			}
			out = append(out, sinktest.Received{ID: h["event-id"], ContentType: h["content-type"], Body: m.Data(), Headers: h})
		}
		if ctx.Err() != nil {
			t.Fatalf("read %d messages of %d", len(out), n)
		}
	}
	return out
}

func TestConformance(t *testing.T) {
	shared := brokertest.Server(t, variable)
	own := brokertest.Start(t, "nats", "NATS", nil, "NATS_CONF=max_payload: 4MB\nauthorization { user: app, password: s3cret }")
	for _, tt := range []struct {
		name, url, reader string
		conn              map[string]any
		restart           func(t *testing.T, down func())
		most              int
	}{
		{"Shared", shared, shared, map[string]any{"servers": shared}, nil, 1000 << 10},
		{"Restarted", own.URL, strings.Replace(own.URL, "nats://", "nats://app:s3cret@", 1), map[string]any{"servers": []any{own.URL}, "user": "app", "password": "s3cret"}, own.Restart, 3 << 20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			name := unique("conformance")
			makeStream(t, tt.reader, name, nil)
			sinktest.Run(t, sinktest.Harness{
				Kind: Kind, Conn: tt.conn, Params: map[string]string{"subject": name + ".sales"},
				Received: func(t *testing.T) []sinktest.Received { return readStream(t, tt.reader, name) },
				Restart:  tt.restart, Secrets: []string{"s3cret"}, MaxBody: tt.most,
			})
		})
	}
}

// send opens a sink for one Send, which is over soon.
func send(t *testing.T, conn map[string]any, msgs ...*sink.Message) []error {
	t.Helper()
	began := time.Now()
	errs := sinktest.SendOnce(t, Kind, conn, msgs...)
	if time.Since(began) > 5*time.Second {
		t.Errorf("took %v", time.Since(began))
	}
	return errs
}

func TestRefusals(t *testing.T) {
	url := brokertest.Server(t, variable)
	name := unique("refusals")
	makeStream(t, url, name, func(c *jetstream.StreamConfig) {
		c.MaxMsgs, c.Discard, c.MaxMsgSize = 2, jetstream.DiscardNew, 64<<10
	})
	conn := map[string]any{"servers": url}
	to := func(subject string) map[string]string { return map[string]string{"subject": subject} }
	sinktest.Expect(t, send(t, conn, sinktest.Message("a", to(unique("nowhere"))))[0], sink.Misconfigured, "unknown_stream")
	sinktest.Expect(t, send(t, conn, sinktest.Message("a", map[string]string{"subject": name + ".a", "stream": "other"}))[0], sink.Misconfigured, "wrong_stream")
	sinktest.Expect(t, send(t, conn, sinktest.Message("a", to("a..b")))[0], sink.Permanent, "invalid_subject")
	sinktest.Expect(t, send(t, conn, sinktest.Message("a", to("a.*")))[0], sink.Permanent, "invalid_subject")
	sinktest.Expect(t, send(t, map[string]any{"servers": "127.0.0.1:1"}, sinktest.Message("a", to("a")))[0], sink.Unavailable, sink.CodeRefused)
	sinktest.Expect(t, send(t, map[string]any{"servers": url, "nkeys_seed": "/nowhere"}, sinktest.Message("a", to("a")))[0], sink.Misconfigured, "configuration")

	large, huge := sinktest.Message("large", to(name+".a")), sinktest.Message("huge", to(name+".a"))
	large.Body, huge.Body = make([]byte, 100<<10), make([]byte, 2<<20)
	purge := sinktest.Message("purge", to(name+".a"))
	purge.Headers = []sink.Header{{Name: "nats-rollup", Value: "all"}}
	broken := sinktest.Message("broken", to(name+".a"))
	broken.Headers = []sink.Header{{Name: "x", Value: "a\r\nNats-Rollup: all"}}
	errs := send(t, conn, sinktest.Message("a", to(name+".a")), huge, large, purge, broken, sinktest.Message("b", to(name+".b")), sinktest.Message("c", to(name+".c")))
	sinktest.Expect(t, errs[1], sink.Permanent, "too_large")
	sinktest.Expect(t, errs[2], sink.Permanent, "too_large")
	sinktest.Expect(t, errs[3], sink.Permanent, "invalid_header")
	sinktest.Expect(t, errs[4], sink.Permanent, "invalid_header")
	sinktest.Expect(t, errs[6], sink.Unavailable, "stream_full")
	if err := errors.Join(errs[0], errs[5]); err != nil {
		t.Error(err)
	}
	if got := readStream(t, url, name); len(got) != 2 {
		t.Errorf("%d messages arrived", len(got))
	}
}

// TestRepeatedMessage sends one message twice; the stream keeps one.
func TestRepeatedMessage(t *testing.T) {
	url := brokertest.Server(t, variable)
	name := unique("twice")
	makeStream(t, url, name, nil)
	m := sinktest.Message("once", map[string]string{"subject": name + ".a", "stream": name})
	for range 2 {
		if err := send(t, map[string]any{"servers": url}, m)[0]; err != nil {
			t.Fatal(err)
		}
	}
	if got := readStream(t, url, name); len(got) != 1 || got[0].Headers["nats-msg-id"] != "once" {
		t.Errorf("got %v", got)
	}
}

func TestRights(t *testing.T) {
	brokertest.Server(t, variable)
	own := brokertest.Start(t, "nats", "NATS", nil, `NATS_CONF=authorization { users: [
  {user: admin, password: admin}
  {user: app, password: s3cret, permissions: {publish: ["s.allowed"], subscribe: ["_INBOX.>"]}}
  {user: mute, password: s3cret, permissions: {publish: ["s.>"], subscribe: ["_INBOX_mute.>"]}}
]}`)
	admin := strings.Replace(own.URL, "nats://", "nats://admin:admin@", 1)
	makeStream(t, admin, "s", nil)
	allowed, denied := sinktest.Message("a", map[string]string{"subject": "s.allowed"}), sinktest.Message("b", map[string]string{"subject": "s.denied"})
	as := func(user, password string) map[string]any {
		return map[string]any{"servers": own.URL, "user": user, "password": password}
	}
	errs := send(t, as("app", "s3cret"), allowed, denied)
	if errs[0] != nil {
		t.Error(errs[0])
	}
	sinktest.Expect(t, errs[1], sink.Misconfigured, "not_authorized")
	sinktest.Expect(t, send(t, as("mute", "s3cret"), allowed)[0], sink.Misconfigured, "not_authorized")
	mute := as("mute", "s3cret")
	mute["inbox_prefix"] = "_INBOX_mute"
	if err := send(t, mute, denied)[0]; err != nil {
		t.Error(err)
	}
	sinktest.Expect(t, send(t, as("app", "s3cretwrong"), allowed)[0], sink.Misconfigured, "not_authorized")
	sinktest.Expect(t, send(t, map[string]any{"servers": own.URL}, allowed)[0], sink.Misconfigured, "not_authorized")
}

func TestTLSAndToken(t *testing.T) {
	brokertest.Server(t, variable)
	files := brokertest.Certificates(t)
	own := brokertest.Start(t, "nats", "NATS", files, `NATS_CONF=tls { cert_file: "files/cert.pem", key_file: "files/key.pem", ca_file: "files/ca.pem", verify: true }
authorization { token: s3cret }`)
	ca, cert, key := brokertest.File(t, files, "ca.pem"), brokertest.File(t, files, "cert.pem"), brokertest.File(t, files, "key.pem")
	m := sinktest.Message("m", map[string]string{"subject": "nowhere"})
	full := map[string]any{"servers": own.URL, "token": "s3cret", "ssl": "true", "ssl_cafile": ca, "ssl_certfile": cert, "ssl_keyfile": key}
	with := func(change map[string]any) map[string]any {
		c := maps.Clone(full)
		maps.Copy(c, change)
		return c
	}
	// That there is no stream is said by a server that took the connection.
	sinktest.Expect(t, send(t, full, m)[0], sink.Misconfigured, "unknown_stream")
	sinktest.Expect(t, send(t, with(map[string]any{"servers": strings.Replace(own.URL, "nats://", "tls://", 1), "ssl": nil}), m)[0], sink.Misconfigured, "unknown_stream")
	sinktest.Expect(t, send(t, with(map[string]any{"token": "s3cretwrong"}), m)[0], sink.Misconfigured, "not_authorized")
	sinktest.Expect(t, send(t, with(map[string]any{"ssl_cafile": nil}), m)[0], sink.Unavailable, sink.CodeTLS)
	sinktest.Expect(t, send(t, with(map[string]any{"ssl_certfile": nil, "ssl_keyfile": nil}), m)[0], sink.Unavailable, sink.CodeTLS)
	other := strings.Replace(own.URL, "127.0.0.1", "localhost", 1)
	sinktest.Expect(t, send(t, with(map[string]any{"servers": other}), m)[0], sink.Unavailable, sink.CodeTLS)
	sinktest.Expect(t, send(t, with(map[string]any{"servers": other, "ssl_check_hostname": false}), m)[0], sink.Misconfigured, "unknown_stream")
}

func TestCheck(t *testing.T) {
	params := map[string]any{"subject": "a.b"}
	for name, tt := range map[string]struct {
		conn, params map[string]any
		want         string
	}{
		"text":        {map[string]any{"servers": "h, nats://[::1]:1,tls://h2"}, params, ""},
		"list":        {map[string]any{"servers": []any{"h"}, "user": "u", "password": "p"}, params, ""},
		"templates":   {map[string]any{"servers": "{{ a }}", "token": "{{ b }}"}, map[string]any{"subject": "a.{{ instance.id }}"}, ""},
		"nothing":     {nil, nil, "conn_details/servers required, parameters/subject required"},
		"no server":   {map[string]any{"servers": " , "}, params, "conn_details/servers invalid"},
		"scheme":      {map[string]any{"servers": "ws://h"}, params, "conn_details/servers invalid"},
		"credentials": {map[string]any{"servers": "nats://u:p@h"}, params, "conn_details/servers invalid"},
		"two ways":    {map[string]any{"servers": "h", "token": "t", "creds": "/f"}, params, "conn_details/user_credentials invalid"},
		"no password": {map[string]any{"servers": "h", "user": "t"}, params, "conn_details/password invalid"},
		"wildcard":    {map[string]any{"servers": "h", "inbox_prefix": "a.>"}, map[string]any{"subject": "a.*"}, "conn_details/inbox_prefix invalid, parameters/subject invalid"},
		"reserved":    {map[string]any{"servers": "h"}, map[string]any{"subject": "a", "Nats-Rollup": "all"}, "parameters/Nats-Rollup invalid"},
		"unknown":     {map[string]any{"servers": "h", "server": "h"}, params, "conn_details/server unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, p := range Kind.Check(tt.conn, tt.params) {
				got = append(got, p.Field+" "+p.Code)
			}
			if s := strings.Join(got, ", "); s != tt.want {
				t.Errorf("got %s\nwant %s", s, tt.want)
			}
		})
	}
	if got := fmt.Sprint(Kind.Addresses(map[string]any{"servers": "h,tls://g:1"})); got != "[h:4222 g:1]" {
		t.Error(got)
	}
}
