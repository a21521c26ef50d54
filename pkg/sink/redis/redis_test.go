package redis

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/sink/brokertest"
	"github.com/waltrigger/waltrigger/pkg/sink/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const variable = "WALTRIGGER_TEST_REDIS"

// client is the tests' own.
func client(t *testing.T, text string) *redis.Client {
	t.Helper()
	opt, err := redis.ParseURL(text)
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(opt)
	t.Cleanup(func() { c.Close() })
	return c
}

func unique(name string) string { return fmt.Sprintf("waltrigger-%s-%d", name, time.Now().UnixNano()) }

// readStream gives all entries of a stream.
func readStream(t *testing.T, c redis.Cmdable, stream string) []sinktest.Received {
	t.Helper()
	entries, err := c.XRange(t.Context(), stream, "-", "+").Result()
	if err != nil {
		t.Fatal(err)
	}
	var out []sinktest.Received
	for _, e := range entries {
		h := map[string]string{}
		for name, v := range e.Values {
			h[strings.ToLower(name)] = fmt.Sprint(v)
		}
		out = append(out, sinktest.Received{ID: h["event-id"], ContentType: h["content-type"], Body: []byte(h["body"]), Headers: h})
	}
	return out
}

func TestConformance(t *testing.T) {
	address := brokertest.Server(t, variable)
	own := brokertest.Start(t, "redis", "REDIS", nil, "REDIS_ARGS=--user app on >s3cret ~* &* +@all")
	with := func(text string) string { return strings.Replace(text, "redis://", "redis://app:s3cret@", 1) }
	for _, tt := range []struct {
		name, url string
		restart   func(t *testing.T, down func())
	}{{"Shared", address, nil}, {"Restarted", with(own.URL), own.Restart}} {
		t.Run(tt.name, func(t *testing.T) {
			stream := unique("stream")
			reader := client(t, tt.url)
			t.Cleanup(func() { reader.Del(context.Background(), stream) })
			sinktest.Run(t, sinktest.Harness{
				Kind: Kind, Conn: map[string]any{"url": tt.url}, Params: map[string]string{"stream": stream},
				Received: func(t *testing.T) []sinktest.Received { return readStream(t, client(t, tt.url), stream) },
				Restart:  tt.restart, Secrets: []string{"s3cret"}, MaxBody: 8 << 20,
			})
		})
	}
}

// TestChannel checks what subscribers see: the body alone, in order, each once.
func TestChannel(t *testing.T) {
	address := brokertest.Server(t, variable)
	channel := unique("channel")
	sub := client(t, address).Subscribe(t.Context(), channel)
	defer sub.Close()
	if _, err := sub.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	s, err := Kind.Open(t.Context(), map[string]any{"url": address}, sinktest.Env())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const n = 1000
	for i := 0; i < n; i += 100 {
		var msgs []*sink.Message
		for j := range 100 {
			msgs = append(msgs, sinktest.Message(fmt.Sprint(i+j), map[string]string{"channel": channel}))
		}
		if errs := s.Send(t.Context(), msgs); errs != nil {
			t.Fatal(errs)
		}
	}
	for i := range n {
		m, err := sub.ReceiveMessage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf(`{"id":"%d"}`, i); m.Payload != want {
			t.Fatalf("message %d is %s, want %s", i, m.Payload, want)
		}
	}
	// Nobody listens: accepted, as the kind promises no more.
	if err := sinktest.SendOnce(t, Kind, map[string]any{"url": address}, sinktest.Message("x", map[string]string{"channel": channel + "-none"}))[0]; err != nil {
		t.Error(err)
	}
}

func TestStreamIsTrimmedAndNotMade(t *testing.T) {
	address := brokertest.Server(t, variable)
	c := client(t, address)
	stream := unique("trim")
	t.Cleanup(func() { c.Del(context.Background(), stream) })
	conn := map[string]any{"url": address}
	sinktest.Expect(t, sinktest.SendOnce(t, Kind, conn, sinktest.Message("a", map[string]string{"stream": stream, "nomkstream": "true"}))[0], sink.Misconfigured, "unknown_stream")
	var msgs []*sink.Message
	for i := range 500 {
		msgs = append(msgs, sinktest.Message(fmt.Sprint(i), map[string]string{"stream": stream, "maxlen": "100"}))
	}
	for _, err := range sinktest.SendOnce(t, Kind, conn, msgs...) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := c.XLen(t.Context(), stream).Val(); n < 100 || n > 300 { // trimmed by whole nodes
		t.Errorf("the stream holds %d entries", n)
	}
}

func TestRefusals(t *testing.T) {
	address := brokertest.Server(t, variable)
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	plain := map[string]any{"url": address}
	stream := unique("refusals")
	c := client(t, address)
	if err := c.Set(t.Context(), stream+"-text", "x", time.Minute).Err(); err != nil {
		t.Fatal(err)
	}
	own := brokertest.Start(t, "redis", "REDIS", nil, "REDIS_ARGS=--requirepass s3cret --proto-max-bulk-len 2097152 --databases 2")
	ou, err := url.Parse(own.URL)
	if err != nil {
		t.Fatal(err)
	}
	params := map[string]string{"stream": stream}
	large := sinktest.Message("large", params)
	large.Body = make([]byte, 3<<20)
	small := sinktest.Message("small", params)
	for name, tt := range map[string]struct {
		conn   map[string]any
		params map[string]string
		class  sink.Class
		code   string
	}{
		"wrong password":       {map[string]any{"host": ou.Hostname(), "port": ou.Port(), "password": "s3cretwrong"}, params, sink.Misconfigured, "not_authorized"},
		"no password":          {map[string]any{"host": ou.Hostname(), "port": ou.Port()}, params, sink.Misconfigured, "not_authorized"},
		"unwanted user":        {map[string]any{"host": u.Hostname(), "port": u.Port(), "username": "nobody", "password": "s3cret"}, params, sink.Misconfigured, "not_authorized"},
		"no such database":     {map[string]any{"host": ou.Hostname(), "port": ou.Port(), "password": "s3cret", "db": 7}, params, sink.Misconfigured, "configuration"},
		"no server":            {map[string]any{"host": "127.0.0.1", "port": 1}, params, sink.Unavailable, sink.CodeRefused},
		"another type":         {plain, map[string]string{"stream": stream + "-text"}, sink.Misconfigured, "wrong_type"},
		"empty stream":         {plain, map[string]string{"stream": ""}, sink.Misconfigured, "configuration"},
		"rendered maxlen":      {plain, map[string]string{"stream": stream, "maxlen": "many"}, sink.Misconfigured, "configuration"},
		"not a cluster":        {map[string]any{"url": address, "cluster": true}, params, sink.Misconfigured, "configuration"},
		"details that are bad": {map[string]any{"url": "redis://:s3cret@h:x"}, params, sink.Misconfigured, "configuration"},
	} {
		t.Run(name, func(t *testing.T) {
			sinktest.Expect(t, sinktest.SendOnce(t, Kind, tt.conn, sinktest.Message("m", tt.params))[0], tt.class, tt.code)
		})
	}
	t.Run("too large", func(t *testing.T) {
		errs := sinktest.SendOnce(t, Kind, map[string]any{"url": own.URL, "password": "s3cret"}, small, large)
		sinktest.Expect(t, errs[1], sink.Permanent, "too_large")
		if errs[0] != nil {
			t.Error(errs[0])
		}
	})
	t.Run("no memory", func(t *testing.T) {
		full := client(t, strings.Replace(own.URL, "redis://", "redis://:s3cret@", 1))
		full.ConfigSet(t.Context(), "maxmemory", "1")
		defer full.ConfigSet(t.Context(), "maxmemory", "0")
		sinktest.Expect(t, sinktest.SendOnce(t, Kind, map[string]any{"url": own.URL, "password": "s3cret"}, small)[0], sink.Unavailable, "out_of_memory")
	})
}

func TestTLS(t *testing.T) {
	brokertest.Server(t, variable)
	files := brokertest.Certificates(t)
	own := brokertest.Start(t, "redis", "REDIS", files, "REDIS_TLS=1", "REDIS_ARGS=--requirepass s3cret")
	ca, cert, key := brokertest.File(t, files, "ca.pem"), brokertest.File(t, files, "cert.pem"), brokertest.File(t, files, "key.pem")
	m := sinktest.Message("m", map[string]string{"stream": unique("tls")})
	full := map[string]any{"url": own.URL, "password": "s3cret", "ssl_ca_certs": ca, "ssl_certfile": cert, "ssl_keyfile": key}
	if err := sinktest.SendOnce(t, Kind, full, m)[0]; err != nil {
		t.Error(err)
	}
	without := func(names ...string) map[string]any {
		c := maps.Clone(full)
		for _, name := range names {
			delete(c, name)
		}
		return c
	}
	sinktest.Expect(t, sinktest.SendOnce(t, Kind, without("ssl_ca_certs"), m)[0], sink.Unavailable, sink.CodeTLS)
	if err := sinktest.SendOnce(t, Kind, without("ssl_certfile", "ssl_keyfile"), m)[0]; err == nil || sink.Classify(err).Class != sink.Unavailable {
		t.Errorf("without a certificate: %v", err)
	}
	other := without()
	other["url"] = strings.Replace(own.URL, "127.0.0.1", "localhost", 1)
	sinktest.Expect(t, sinktest.SendOnce(t, Kind, other, m)[0], sink.Unavailable, sink.CodeTLS)
	other["ssl_check_hostname"] = false
	if err := sinktest.SendOnce(t, Kind, other, m)[0]; err != nil {
		t.Error(err)
	}
}

// TestCluster sends to two nodes that hold half of the slots each, knowing one of them:
// the other is told by the cluster and dialled through the guard as well.
func TestCluster(t *testing.T) {
	brokertest.Server(t, variable)
	cluster := "REDIS_ARGS=--cluster-enabled yes --cluster-require-full-coverage no"
	a := brokertest.Start(t, "redis", "REDIS", nil, cluster)
	b := brokertest.Start(t, "redis", "REDIS", nil, cluster)
	ca, cb := client(t, a.URL), client(t, b.URL)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(ca.ClusterAddSlotsRange(ctx, 0, 8191).Err())
	must(cb.ClusterAddSlotsRange(ctx, 8192, 16383).Err())
	u, err := url.Parse(b.URL)
	must(err)
	port, err := strconv.Atoi(u.Port())
	must(err)
	must(ca.Do(ctx, "CLUSTER", "MEET", u.Hostname(), port, port+1000).Err())
	for _, c := range []*redis.Client{ca, cb} {
		for strings.Count(c.ClusterNodes(ctx).Val(), "connected ") < 2 || !strings.Contains(c.ClusterInfo(ctx).Val(), "cluster_slots_assigned:16384") || !strings.Contains(c.ClusterInfo(ctx).Val(), "cluster_state:ok") {
			must(ctx.Err())
		}
	}
	var mu sync.Mutex
	dialled := map[string]bool{}
	e := sinktest.Env()
	e.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		mu.Lock()
		dialled[address] = true
		mu.Unlock()
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	s, err := Kind.Open(ctx, map[string]any{"url": a.URL, "cluster": true}, e)
	must(err)
	var msgs []*sink.Message
	for i := range 100 {
		msgs = append(msgs, sinktest.Message(fmt.Sprint(i), map[string]string{"stream": fmt.Sprintf("stream-%d", i)}))
	}
	errs := s.Send(ctx, msgs)
	must(s.Close())
	for i := range errs {
		must(errs[i])
	}
	if n := ca.DBSize(ctx).Val() + cb.DBSize(ctx).Val(); n != 100 || ca.DBSize(ctx).Val() == 0 || cb.DBSize(ctx).Val() == 0 {
		t.Errorf("%d streams were made", n)
	}
	if len(dialled) != 2 {
		t.Errorf("dialled %v", dialled)
	}
	// Told to speak to one node alone, it is sent to the other, and does not follow.
	moved := 0
	for _, err := range sinktest.SendOnce(t, Kind, map[string]any{"url": a.URL}, msgs...) {
		if err != nil {
			sinktest.Expect(t, err, sink.Misconfigured, "configuration")
			moved++
		}
	}
	if moved == 0 || moved == 100 {
		t.Errorf("%d messages belong to the other node", moved)
	}
}

func TestCheck(t *testing.T) {
	stream := map[string]any{"stream": "s"}
	for name, tt := range map[string]struct {
		conn, params map[string]any
		want         string
	}{
		"host":              {map[string]any{"host": "h"}, stream, ""},
		"url":               {map[string]any{"url": "rediss://u:p@h:1/2"}, map[string]any{"channel": "c"}, ""},
		"IPv6":              {map[string]any{"host": "::1", "port": "6380"}, stream, ""},
		"templates":         {map[string]any{"host": "{{ a }}", "port": "{{ b }}", "ssl": "{{ c }}"}, map[string]any{"stream": "{{ instance.id }}", "maxlen": "{{ d }}"}, ""},
		"nothing":           {nil, nil, "conn_details/host required, parameters/channel required"},
		"both":              {map[string]any{"host": "h", "url": "redis://h"}, map[string]any{"channel": "c", "stream": "s"}, "conn_details/host invalid, parameters/stream invalid"},
		"other scheme":      {map[string]any{"url": "unix:///tmp/redis"}, stream, "conn_details/url invalid"},
		"no host":           {map[string]any{"url": "redis:///0"}, stream, "conn_details/url invalid"},
		"database":          {map[string]any{"url": "redis://h/x"}, stream, "conn_details/url invalid"},
		"query":             {map[string]any{"url": "redis://h/0?x=1"}, stream, "conn_details/url invalid"},
		"host with port":    {map[string]any{"host": "h:1"}, stream, "conn_details/host invalid"},
		"port":              {map[string]any{"host": "h", "port": 65536}, stream, "conn_details/port invalid"},
		"types":             {map[string]any{"host": []any{1}, "db": "x", "ssl": "perhaps"}, stream, "conn_details/db invalid, conn_details/host invalid, conn_details/ssl invalid"},
		"unknown":           {map[string]any{"host": "h", "hots": "h"}, stream, "conn_details/hots unknown"},
		"cluster":           {map[string]any{"host": "h", "cluster": true, "db": 1}, stream, "conn_details/db invalid"},
		"stream's only":     {map[string]any{"host": "h"}, map[string]any{"channel": "c", "maxlen": 5}, "parameters/maxlen invalid"},
		"maxlen":            {map[string]any{"host": "h"}, map[string]any{"stream": "s", "maxlen": 0, "nomkstream": "x"}, "parameters/maxlen invalid, parameters/nomkstream invalid"},
		"authority, no TLS": {map[string]any{"host": "h", "ssl_ca_certs": "/x"}, stream, "conn_details/ssl_cafile invalid"},
		"half a pair":       {map[string]any{"host": "h", "ssl": true, "ssl_certfile": "/x"}, stream, "conn_details/ssl_keyfile invalid"},
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
}

func TestAddresses(t *testing.T) {
	for want, conn := range map[string]map[string]any{
		"[h:6379]": {"host": "h"}, "[h:1]": {"url": "redis://h:1"}, "[h:6379] ": {"url": "rediss://u:p@h"}, "[]": {"host": "{{ a }}"},
	} {
		if got := fmt.Sprint(Kind.Addresses(conn)); got != strings.TrimSpace(want) {
			t.Errorf("%v: %s", conn, got)
		}
	}
}
