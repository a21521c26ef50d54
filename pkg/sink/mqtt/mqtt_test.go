package mqtt

import (
	"context"
	"crypto/pbkdf2"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	"go.uber.org/goleak"

	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/sink/brokertest"
	"github.com/waltrigger/waltrigger/pkg/sink/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const variable = "WALTRIGGER_TEST_MQTT"

const script = "mosquitto" //nolint:misspell // the server's name

func unique(name string) string { return fmt.Sprintf("waltrigger/%s/%d", name, time.Now().UnixNano()) }

// subscriber keeps all that is published to a topic, over restarts of the server.
type subscriber struct {
	t              *testing.T
	address, topic string
	user, password string
	client         *paho.Client

	mu       sync.Mutex
	got      []sinktest.Received
	retained int
	marks    map[string]chan struct{}
}

func subscribe(t *testing.T, text, topic string) *subscriber {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	s := &subscriber{t: t, address: u.Host, topic: topic, marks: map[string]chan struct{}{}}
	if u.User != nil {
		s.user = u.User.Username()
		s.password, _ = u.User.Password()
	}
	s.connect()
	t.Cleanup(func() { _ = s.client.Disconnect(&paho.Disconnect{}) })
	return s
}

// connect resumes the session, as QoS 2 keeps what came meanwhile.
func (s *subscriber) connect() {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.client = paho.NewClient(paho.ClientConfig{Conn: packets.NewThreadSafeConn(conn), OnPublishReceived: []func(paho.PublishReceived) (bool, error){s.receive}})
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
	defer cancel()
	expiry := uint32(300)
	c := &paho.Connect{ClientID: "sub" + strings.ReplaceAll(s.topic, "/", "-"), KeepAlive: 30, Properties: &paho.ConnectProperties{SessionExpiryInterval: &expiry}}
	if s.user != "" {
		c.UsernameFlag, c.PasswordFlag, c.Username, c.Password = true, true, s.user, []byte(s.password)
	}
	if _, err := s.client.Connect(ctx, c); err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.client.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: s.topic, QoS: 2}}}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *subscriber) receive(r paho.PublishReceived) (bool, error) {
	p := r.Packet
	s.mu.Lock()
	defer s.mu.Unlock()
	if mark, ok := s.marks[string(p.Payload)]; ok {
		close(mark)
		delete(s.marks, string(p.Payload))
		return true, nil
	}
	h := map[string]string{}
	for _, u := range p.Properties.User {
		h[strings.ToLower(u.Key)] = u.Value
	}
	if h["event-id"] == "" {
		return true, nil
	}
	if p.Retain {
		s.retained++
	}
	s.got = append(s.got, sinktest.Received{ID: h["event-id"], ContentType: p.Properties.ContentType, Body: p.Payload, Headers: h})
	return true, nil
}

// received gives all that was accepted so far: a mark is published and waited for.
func (s *subscriber) received(t *testing.T) []sinktest.Received {
	t.Helper()
	select {
	case <-s.client.Done():
		s.connect()
	default:
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	mark, done := fmt.Sprintf("mark %d", time.Now().UnixNano()), make(chan struct{})
	s.mu.Lock()
	s.marks[mark] = done
	s.mu.Unlock()
	if _, err := s.client.Publish(ctx, &paho.Publish{Topic: s.topic, QoS: 1, Payload: []byte(mark), Properties: &paho.PublishProperties{}}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-done:
	case <-ctx.Done():
		t.Fatal("the mark does not arrive")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]sinktest.Received(nil), s.got...)
}

const auth = `MQTT_CONF=allow_anonymous false
password_file files/passwd
acl_file files/acl
max_packet_size 5000000`

// withUsers adds to files the users app, whose password is s3cret, and admin.
func withUsers(t *testing.T, files map[string][]byte) map[string][]byte {
	t.Helper()
	var passwd strings.Builder
	for user, password := range map[string]string{"app": "s3cret", "admin": "admin"} {
		salt := []byte("0123456789ab")
		key, err := pbkdf2.Key(sha512.New, password, salt, 101, 64)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&passwd, "%s:$7$101$%s$%s\n", user, base64.StdEncoding.EncodeToString(salt), base64.StdEncoding.EncodeToString(key))
	}
	out := maps.Clone(files)
	if out == nil {
		out = map[string][]byte{}
	}
	out["passwd"] = []byte(passwd.String())
	out["acl"] = []byte("user admin\ntopic readwrite #\nuser app\ntopic readwrite waltrigger/#\ntopic read forbidden/#\n")
	return out
}

func TestConformance(t *testing.T) {
	shared := brokertest.Server(t, variable)
	own := brokertest.Start(t, script, "MQTT", withUsers(t, nil), auth)
	for _, tt := range []struct {
		name, url, qos string
		restart        func(t *testing.T, down func())
	}{{"Shared", shared, "1", nil}, {"QoS2", shared, "2", nil}, {"Restarted", strings.Replace(own.URL, "mqtt://", "mqtt://app:s3cret@", 1), "1", own.Restart}} {
		t.Run(tt.name, func(t *testing.T) {
			sub := subscribe(t, tt.url, unique("conformance"))
			sinktest.Run(t, sinktest.Harness{
				Kind: Kind, Conn: map[string]any{"url": tt.url}, Params: map[string]string{"topic": sub.topic, "qos": tt.qos},
				Received: sub.received, Restart: tt.restart, Secrets: []string{"s3cret"}, MaxBody: 4 << 20,
			})
		})
	}
}

func TestRefusals(t *testing.T) {
	brokertest.Server(t, variable)
	own := brokertest.Start(t, script, "MQTT", withUsers(t, nil), auth+"\nmessage_size_limit 100000\nretain_available false")
	as := func(user, password string) map[string]any {
		return map[string]any{"url": own.URL, "username": user, "password": password}
	}
	to := func(topic string) map[string]string { return map[string]string{"topic": topic} }
	allowed := sinktest.Message("a", to("waltrigger/a"))
	app := as("app", "s3cret")
	if err := sinktest.SendOnce(t, Kind, app, allowed)[0]; err != nil {
		t.Error(err)
	}
	sinktest.Expect(t, sinktest.SendOnce(t, Kind, as("app", "s3cretwrong"), allowed)[0], sink.Misconfigured, "not_authorized")
	sinktest.Expect(t, sinktest.SendOnce(t, Kind, map[string]any{"url": own.URL}, allowed)[0], sink.Misconfigured, "not_authorized")
	sinktest.Expect(t, sinktest.SendOnce(t, Kind, map[string]any{"host": "127.0.0.1", "port": 1}, allowed)[0], sink.Unavailable, sink.CodeRefused)
	sinktest.Expect(t, sinktest.SendOnce(t, Kind, app, sinktest.Message("a", to("waltrigger/#")))[0], sink.Permanent, "invalid_topic")
	sinktest.Expect(t, sinktest.SendOnce(t, Kind, app, sinktest.Message("a", map[string]string{"topic": "waltrigger/a", "qos": "0"}))[0], sink.Misconfigured, "configuration")
	sinktest.Expect(t, sinktest.SendOnce(t, Kind, app, sinktest.Message("a", map[string]string{"topic": "waltrigger/a", "retain": "true"}))[0], sink.Misconfigured, "configuration")

	for _, qos := range []string{"1", "2"} {
		huge, large := sinktest.Message("huge", to("waltrigger/a")), sinktest.Message("large", map[string]string{"topic": "waltrigger/a", "qos": qos})
		huge.Body, large.Body = make([]byte, 6_000_000), make([]byte, 200_000)
		text := sinktest.Message("text", to("waltrigger/a"))
		text.Headers = []sink.Header{{Name: "x", Value: "\xff"}}
		errs := sinktest.SendOnce(t, Kind, app, allowed, huge, large, text, sinktest.Message("b", map[string]string{"topic": "forbidden/a", "qos": qos}), allowed)
		sinktest.Expect(t, errs[1], sink.Permanent, "too_large")
		sinktest.Expect(t, errs[2], sink.Permanent, "too_large")
		sinktest.Expect(t, errs[3], sink.Permanent, "invalid_header")
		sinktest.Expect(t, errs[4], sink.Misconfigured, "not_authorized")
		if errs[0] != nil || errs[5] != nil {
			t.Error(errs[0], errs[5])
		}
	}
}

func TestRetain(t *testing.T) {
	address := brokertest.Server(t, variable)
	topic := unique("retain")
	if err := sinktest.SendOnce(t, Kind, map[string]any{"url": address}, sinktest.Message("kept", map[string]string{"topic": topic, "retain": "true"}))[0]; err != nil {
		t.Fatal(err)
	}
	sub := subscribe(t, address, topic)
	if got := sub.received(t); len(got) != 1 || got[0].ID != "kept" || sub.retained != 1 {
		t.Errorf("got %v", got)
	}
}

func TestTLS(t *testing.T) {
	brokertest.Server(t, variable)
	files := brokertest.Certificates(t)
	own := brokertest.Start(t, script, "MQTT", withUsers(t, files), auth+`
certfile files/cert.pem
keyfile files/key.pem
cafile files/ca.pem
require_certificate true`)
	ca, cert, key := brokertest.File(t, files, "ca.pem"), brokertest.File(t, files, "cert.pem"), brokertest.File(t, files, "key.pem")
	m := sinktest.Message("m", map[string]string{"topic": "waltrigger/tls"})
	full := map[string]any{"url": strings.Replace(own.URL, "mqtt://", "mqtts://", 1), "username": "app", "password": "s3cret", "ssl_cafile": ca, "ssl_certfile": cert, "ssl_keyfile": key}
	with := func(change map[string]any) map[string]any {
		c := maps.Clone(full)
		maps.Copy(c, change)
		return c
	}
	if err := sinktest.SendOnce(t, Kind, full, m)[0]; err != nil {
		t.Error(err)
	}
	sinktest.Expect(t, sinktest.SendOnce(t, Kind, with(map[string]any{"ssl_cafile": nil}), m)[0], sink.Unavailable, sink.CodeTLS)
	if err := sinktest.SendOnce(t, Kind, with(map[string]any{"ssl_certfile": nil, "ssl_keyfile": nil}), m)[0]; err == nil || sink.Classify(err).Class != sink.Unavailable {
		t.Errorf("without a certificate: %v", err)
	}
	other := map[string]any{"url": strings.Replace(own.URL, "mqtt://127.0.0.1", "mqtts://localhost", 1)}
	sinktest.Expect(t, sinktest.SendOnce(t, Kind, with(other), m)[0], sink.Unavailable, sink.CodeTLS)
	other["ssl_check_hostname"] = "false"
	if err := sinktest.SendOnce(t, Kind, with(other), m)[0]; err != nil {
		t.Error(err)
	}
}

// TestDisconnectOverAMessage has a server that closes the connection over one message,
// as some do: the others are not lost, and the one is found.
func TestDisconnectOverAMessage(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var servers sync.WaitGroup
	servers.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			servers.Go(func() { strict(c) })
		}
	})
	t.Cleanup(func() { l.Close(); servers.Wait() })
	s, err := Kind.Open(t.Context(), map[string]any{"url": "mqtt://" + l.Addr().String()}, sinktest.Env())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	left := map[string]*sink.Message{}
	for i := range 10 {
		m := sinktest.Message(fmt.Sprint(i), map[string]string{"topic": "allowed"})
		if i == 5 {
			m.Params = map[string]string{"topic": "forbidden"}
		}
		left[m.ID] = m
	}
	for range 30 {
		var batch []*sink.Message
		for _, m := range left {
			batch = append(batch, m)
		}
		errs := s.Send(t.Context(), batch)
		for i, m := range batch {
			if errs == nil || errs[i] == nil {
				delete(left, m.ID)
			} else if sink.Classify(errs[i]).Class != sink.Unavailable {
				sinktest.Expect(t, errs[i], sink.Misconfigured, "not_authorized")
				if m.ID != "5" {
					t.Errorf("%s is blamed", m.ID)
				}
			}
		}
		if len(left) == 1 {
			break
		}
	}
	if len(left) != 1 || left["5"] == nil {
		t.Errorf("left are %v", left)
	}
}

// strict acknowledges all messages but those to the topic forbidden, over which it
// closes the connection.
func strict(c net.Conn) {
	defer c.Close()
	for {
		p, err := packets.ReadPacket(c)
		if err != nil {
			return
		}
		var answer interface {
			WriteTo(w io.Writer) (int64, error)
		}
		switch m := p.Content.(type) {
		case *packets.Connect:
			answer = &packets.Connack{Properties: &packets.Properties{}}
		case *packets.Publish:
			if m.Topic == "forbidden" {
				_, _ = (&packets.Disconnect{ReasonCode: 0x87, Properties: &packets.Properties{}}).WriteTo(c)
				_, _ = io.Copy(io.Discard, c) // so that the reason is read
				return
			}
			answer = &packets.Puback{PacketID: m.PacketID, Properties: &packets.Properties{}}
		default:
			continue
		}
		if _, err := answer.WriteTo(c); err != nil {
			return
		}
	}
}

func TestCheck(t *testing.T) {
	params := map[string]any{"topic": "a/b"}
	for name, tt := range map[string]struct {
		conn, params map[string]any
		want         string
	}{
		"host":        {map[string]any{"host": "h", "ssl": true}, params, ""},
		"url":         {map[string]any{"url": "mqtts://u:p@h"}, map[string]any{"topic": "a", "qos": 2, "retain": true}, ""},
		"templates":   {map[string]any{"host": "{{ a }}", "password": "{{ b }}", "username": "u"}, map[string]any{"topic": "a/{{ instance.id }}", "qos": "{{ c }}"}, ""},
		"nothing":     {nil, nil, "conn_details/host required, parameters/topic required"},
		"both":        {map[string]any{"host": "h", "url": "mqtt://h"}, params, "conn_details/host invalid"},
		"scheme":      {map[string]any{"url": "ws://h"}, params, "conn_details/url invalid"},
		"path":        {map[string]any{"url": "mqtt://h/topic"}, params, "conn_details/url invalid"},
		"no username": {map[string]any{"host": "h", "password": "p"}, params, "conn_details/username invalid"},
		"wildcard":    {map[string]any{"host": "h"}, map[string]any{"topic": "a/#", "qos": 0, "retain": "x"}, "parameters/qos invalid, parameters/retain invalid, parameters/topic invalid"},
		"unknown":     {map[string]any{"host": "h", "user": "u"}, params, "conn_details/user unknown"},
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
	for want, conn := range map[string]map[string]any{"[h:1883]": {"host": "h"}, "[h:8883]": {"host": "h", "ssl": "true"}, "[g:8883]": {"url": "mqtts://g"}} {
		if got := fmt.Sprint(Kind.Addresses(conn)); got != want {
			t.Errorf("%v: %s", conn, got)
		}
	}
}
