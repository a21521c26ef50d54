package rabbitmq

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"

	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/sink/brokertest"
	"github.com/waltrigger/waltrigger/pkg/sink/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const variable = "WALTRIGGER_TEST_RABBITMQ"

func unique(name string) string { return fmt.Sprintf("waltrigger-%s-%d", name, time.Now().UnixNano()) }

// reader takes messages out of a queue, over restarts of the server.
type reader struct {
	url, queue string
	got        []sinktest.Received
}

// declare makes a durable queue.
func declare(t *testing.T, url, queue string, args amqp.Table) *reader {
	t.Helper()
	with(t, url, func(ch *amqp.Channel) {
		if _, err := ch.QueueDeclare(queue, true, false, false, false, args); err != nil {
			t.Fatal(err)
		}
	})
	t.Cleanup(func() {
		with(t, url, func(ch *amqp.Channel) {
			if _, err := ch.QueueDelete(queue, false, false, false); err != nil {
				t.Error(err)
			}
		})
	})
	return &reader{url: url, queue: queue}
}

// with runs f on a channel of the test's own.
func with(t *testing.T, url string, f func(ch *amqp.Channel)) {
	t.Helper()
	conn, err := amqp.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	f(ch)
}

// received gives all that the queue has held so far.
func (r *reader) received(t *testing.T) []sinktest.Received {
	t.Helper()
	with(t, r.url, func(ch *amqp.Channel) {
		mark := unique("mark")
		if err := ch.Publish("", r.queue, true, false, amqp.Publishing{MessageId: mark}); err != nil {
			t.Fatal(err)
		}
		deliveries, err := ch.Consume(r.queue, "", false, true, false, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		timeout := time.NewTimer(20 * time.Second)
		defer timeout.Stop()
		var last amqp.Delivery
		for last.MessageId != mark {
			select {
			case last = <-deliveries:
			case <-timeout.C:
				t.Fatalf("the mark does not arrive after %d messages", len(r.got))
			}
			if last.Acknowledger == nil {
				t.Fatal("the consumer ended")
			}
			// A quorum queue gives out but so many that are not acknowledged.
			if err := last.Ack(false); err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(last.MessageId, "waltrigger-mark-") {
				continue
			}
			h := map[string]string{}
			for name, v := range last.Headers {
				h[strings.ToLower(name)] = fmt.Sprint(v)
			}
			if last.DeliveryMode != amqp.Persistent || h["event-id"] != last.MessageId {
				t.Errorf("mode %d, id %q, header %q", last.DeliveryMode, last.MessageId, h["event-id"])
			}
			r.got = append(r.got, sinktest.Received{ID: last.MessageId, ContentType: last.ContentType, Body: last.Body, Headers: h})
		}
		if err := ch.Close(); err != nil { // answered after the acknowledgements
			t.Fatal(err)
		}
	})
	return r.got
}

func TestConformance(t *testing.T) {
	shared := brokertest.Server(t, variable)
	own := brokertest.Start(t, "rabbitmq", "RABBITMQ", nil)
	for _, tt := range []struct {
		name, url string
		args      amqp.Table
		restart   func(t *testing.T, down func())
	}{
		{"Classic", shared, nil, nil},
		{"Quorum", own.URL, amqp.Table{"x-queue-type": "quorum"}, own.Restart},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := declare(t, tt.url, unique("conformance"), tt.args)
			sinktest.Run(t, sinktest.Harness{
				Kind: Kind, Conn: map[string]any{"url": tt.url}, Params: map[string]string{"queue": r.queue},
				Received: r.received, Restart: tt.restart, Secrets: []string{"guest:guest"}, MaxBody: 8 << 20,
			})
		})
	}
}

func TestRefusals(t *testing.T) {
	url := brokertest.Server(t, variable)
	r := declare(t, url, unique("refusals"), amqp.Table{"x-max-length": int32(3), "x-overflow": "reject-publish"})
	conn := map[string]any{"url": url}
	to := func(queue string) map[string]string { return map[string]string{"queue": queue} }
	address := strings.TrimSuffix(url[strings.Index(url, "@")+1:], "/")
	sinktest.Expect(t, sinktest.SendOnce(t, Kind, map[string]any{"url": "amqp://guest:s3cret@" + address}, sinktest.Message("a", to(r.queue)))[0], sink.Misconfigured, "not_authorized")
	sinktest.Expect(t, sinktest.SendOnce(t, Kind, map[string]any{"url": url + "nowhere"}, sinktest.Message("a", to(r.queue)))[0], sink.Misconfigured, "unknown_virtualhost")
	sinktest.Expect(t, sinktest.SendOnce(t, Kind, map[string]any{"host": "127.0.0.1", "port": 1}, sinktest.Message("a", to(r.queue)))[0], sink.Unavailable, sink.CodeRefused)

	large := sinktest.Message("large", to(r.queue))
	large.Body = make([]byte, 20<<20)
	long := sinktest.Message("long", to(strings.Repeat("q", 256)))
	heavy := sinktest.Message("heavy", to(r.queue))
	heavy.Headers = []sink.Header{{Name: "x", Value: strings.Repeat("x", 200_000)}}
	errs := sinktest.SendOnce(t, Kind, conn, sinktest.Message("a", to(r.queue)), sinktest.Message("b", to(unique("nowhere"))), large, long, heavy,
		sinktest.Message("c", map[string]string{"exchange": unique("nowhere"), "routing_key": "k"}), sinktest.Message("d", to(r.queue)))
	if errs[0] != nil || errs[6] != nil {
		t.Error(errs[0], errs[6])
	}
	sinktest.Expect(t, errs[1], sink.Misconfigured, "unroutable")
	sinktest.Expect(t, errs[2], sink.Permanent, "too_large")
	sinktest.Expect(t, errs[3], sink.Permanent, "name_too_long")
	sinktest.Expect(t, errs[4], sink.Permanent, "invalid_header")
	sinktest.Expect(t, errs[5], sink.Misconfigured, "unknown_exchange")
	full := false
	for _, err := range sinktest.SendOnce(t, Kind, conn, sinktest.Message("e", to(r.queue)), sinktest.Message("f", to(r.queue)), sinktest.Message("g", to(r.queue)), sinktest.Message("h", to(r.queue))) {
		if err != nil {
			sinktest.Expect(t, err, sink.Unavailable, "not_confirmed")
			full = true
		}
	}
	if !full {
		t.Error("a full queue took all")
	}
}

// TestExchange routes by key and sees headers and properties as consumers do.
func TestExchange(t *testing.T) {
	url := brokertest.Server(t, variable)
	r, exchange := declare(t, url, unique("bound"), nil), unique("exchange")
	with(t, url, func(ch *amqp.Channel) {
		if err := ch.ExchangeDeclare(exchange, "topic", true, true, false, false, nil); err != nil {
			t.Fatal(err)
		}
		if err := ch.QueueBind(r.queue, "sales.*", exchange, false, nil); err != nil {
			t.Fatal(err)
		}
	})
	errs := sinktest.SendOnce(t, Kind, map[string]any{"url": url}, sinktest.Message("a", map[string]string{"exchange": exchange, "routing_key": "sales.new"}),
		sinktest.Message("b", map[string]string{"exchange": exchange, "routing_key": "other"}))
	if errs[0] != nil {
		t.Error(errs[0])
	}
	sinktest.Expect(t, errs[1], sink.Misconfigured, "unroutable")
	if got := r.received(t); len(got) != 1 || got[0].ID != "a" || got[0].Headers["event-signal"] != "post_save" ||
		got[0].Headers["event-content-type"] != "myapp.Sale" || got[0].Headers["event-committed-at"] != "2026-01-02T03:04:05Z" {
		t.Errorf("got %v", got)
	}
}

// TestBlocked has a server that is short of memory: it blocks, the sink says so, and
// sends once that is over.
func TestBlocked(t *testing.T) {
	brokertest.Server(t, variable)
	own := brokertest.Start(t, "rabbitmq", "RABBITMQ", nil)
	r := declare(t, own.URL, unique("blocked"), nil)
	s, err := Kind.Open(t.Context(), map[string]any{"url": own.URL}, sinktest.Env())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	try := func(id string) error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if errs := s.Send(ctx, []*sink.Message{sinktest.Message(id, map[string]string{"queue": r.queue})}); errs != nil {
			return errs[0]
		}
		return nil
	}
	if err := try("before"); err != nil {
		t.Fatal(err)
	}
	own.Run(t, "ctl", "set_vm_memory_high_watermark", "absolute", "1MB")
	limit := time.Now().Add(20 * time.Second)
	blocked := false
	for !blocked && time.Now().Before(limit) {
		if err := try("during"); err != nil {
			blocked = sink.Classify(err).Code == "blocked_by_broker"
		}
	}
	if !blocked {
		t.Error("not blocked")
	}
	own.Run(t, "ctl", "set_vm_memory_high_watermark", "absolute", "512MB")
	for try("after") != nil {
		if time.Now().After(limit.Add(20 * time.Second)) {
			t.Fatal("still blocked")
		}
	}
}

func TestTLS(t *testing.T) {
	brokertest.Server(t, variable)
	files := brokertest.Certificates(t)
	own := brokertest.Start(t, "rabbitmq", "RABBITMQ", files, "RABBITMQ_TLS=1", "RABBITMQ_CONF=ssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = true")
	ca, cert, key := brokertest.File(t, files, "ca.pem"), brokertest.File(t, files, "cert.pem"), brokertest.File(t, files, "key.pem")
	m := sinktest.Message("m", map[string]string{"queue": "nowhere"})
	full := map[string]any{"url": own.URL, "ssl_options": map[string]any{"cafile": ca, "certfile": cert, "keyfile": key}}
	// That the queue is missing is said by a server that took the connection.
	sinktest.Expect(t, sinktest.SendOnce(t, Kind, full, m)[0], sink.Misconfigured, "unroutable")
	sinktest.Expect(t, sinktest.SendOnce(t, Kind, map[string]any{"url": own.URL, "ssl_certfile": cert, "ssl_keyfile": key}, m)[0], sink.Unavailable, sink.CodeTLS)
	if err := sinktest.SendOnce(t, Kind, map[string]any{"url": own.URL, "ssl_cafile": ca}, m)[0]; err == nil || sink.Classify(err).Class != sink.Unavailable {
		t.Errorf("without a certificate: %v", err)
	}
	other := maps.Clone(full)
	other["url"] = strings.Replace(own.URL, "127.0.0.1", "localhost", 1)
	sinktest.Expect(t, sinktest.SendOnce(t, Kind, other, m)[0], sink.Unavailable, sink.CodeTLS)
	other["ssl_check_hostname"] = false
	sinktest.Expect(t, sinktest.SendOnce(t, Kind, other, m)[0], sink.Misconfigured, "unroutable")
}

func TestCheck(t *testing.T) {
	queue := map[string]any{"queue": "q"}
	for name, tt := range map[string]struct {
		conn, params map[string]any
		want         string
	}{
		"host":          {map[string]any{"host": "h", "port": "5672", "login": "l", "password": "p", "virtualhost": "v"}, queue, ""},
		"url":           {map[string]any{"url": "amqps://u:p@h/%2Fv"}, map[string]any{"exchange": "e", "routing_key": "k"}, ""},
		"options":       {map[string]any{"host": "h", "ssl": true, "ssl_options": map[string]any{"cafile": "/f"}}, queue, ""},
		"templates":     {map[string]any{"host": "{{ a }}", "password": "{{ b }}"}, map[string]any{"queue": "{{ instance.id }}"}, ""},
		"nothing":       {nil, nil, "conn_details/host required, parameters/queue required"},
		"both":          {map[string]any{"host": "h", "url": "amqp://h"}, map[string]any{"queue": "q", "exchange": "e"}, "conn_details/host invalid, parameters/exchange invalid"},
		"scheme":        {map[string]any{"url": "http://h"}, queue, "conn_details/url invalid"},
		"query":         {map[string]any{"url": "amqp://h/?heartbeat=5"}, queue, "conn_details/url invalid"},
		"two names":     {map[string]any{"host": "h", "login": "a", "username": "b"}, queue, "conn_details/username invalid"},
		"other options": {map[string]any{"host": "h", "ssl": true, "ssl_options": map[string]any{"cadata": "x"}}, queue, "conn_details/ssl_options unknown"},
		"no table":      {map[string]any{"host": "h", "ssl_options": "x"}, queue, "conn_details/ssl_options invalid"},
		"routing key":   {map[string]any{"host": "h"}, map[string]any{"queue": "q", "routing_key": "k"}, "parameters/routing_key invalid"},
		"long":          {map[string]any{"host": "h"}, map[string]any{"queue": strings.Repeat("q", 256)}, "parameters/queue invalid"},
		"unknown":       {map[string]any{"host": "h", "vhost": "v"}, queue, "conn_details/vhost unknown"},
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
	for want, conn := range map[string]map[string]any{"[h:5672]": {"host": "h"}, "[h:5671]": {"host": "h", "ssl": "true"}, "[g:5671]": {"url": "amqps://g"}} {
		if got := fmt.Sprint(Kind.Addresses(conn)); got != want {
			t.Errorf("%v: %s", conn, got)
		}
	}
}
