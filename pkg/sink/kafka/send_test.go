package kafka

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/sink/sinktest"
)

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

func newSink(t *testing.T, conn map[string]any, dial dialFunc) *Sink {
	t.Helper()
	s, err := open(conn, sink.Env{Dial: dial})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func message(topic, key string, body []byte) *sink.Message {
	return &sink.Message{
		ID: "id-" + rand.Text(), Key: []byte(key), Body: body, ContentType: "application/json", Params: map[string]string{"topic": topic},
		Signal: "post_save", Model: "myapp.Sale", Committed: time.Unix(1, 5000),
	}
}

func send(t *testing.T, s *Sink, msgs ...*sink.Message) []error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if errs := s.Send(ctx, msgs); errs != nil {
		return errs
	}
	return make([]error, len(msgs))
}

// checkCodes expects "" or class and code for each message.
func checkCodes(t *testing.T, errs []error, want ...string) {
	t.Helper()
	for i, err := range errs {
		got := ""
		if err != nil {
			e := sink.Classify(err)
			got = e.Class.String() + " " + e.Code
		}
		if got != want[i] {
			t.Errorf("message %d: %q (%v), want %q", i, got, err, want[i])
		}
	}
}

func connTo(brokers []string) map[string]any { return map[string]any{"bootstrap_servers": brokers} }

func byID(all []sinktest.Received) map[string]sinktest.Received {
	m := map[string]sinktest.Received{}
	for _, r := range all {
		m[r.ID] = r
	}
	return m
}

func TestHeadersAndEmptyBody(t *testing.T) {
	brokers := testBrokers(t)
	topic := testTopic(t, brokers, 1)
	s := newSink(t, connTo(brokers), (&net.Dialer{}).DialContext)
	m := message(topic, "", nil)
	checkCodes(t, send(t, s, m), "")
	got := consume(t, brokers, topic)
	if len(got) != 1 {
		t.Fatalf("%d messages", len(got))
	}
	if got[0].Body == nil {
		t.Error("an empty body became null, which deletes")
	}
	for name, want := range map[string]string{
		"event-id": m.ID, "event-signal": "post_save", "event-content-type": "myapp.Sale", "event-committed-at": "1970-01-01T00:00:01.000005Z", "content-type": "application/json",
	} {
		if got[0].Headers[name] != want {
			t.Errorf("header %s is %q, want %q", name, got[0].Headers[name], want)
		}
	}
}

func TestTopics(t *testing.T) {
	brokers := testBrokers(t)
	topic := testTopic(t, brokers, 2)
	s := newSink(t, connTo(brokers), (&net.Dialer{}).DialContext)
	missing := "misconfigured " + codeTopic
	errs := send(t, s, message(topic, "a", []byte("x")), message("waltrigger-test-missing", "a", []byte("x")), message("", "a", nil), message("bad topic", "a", nil), message(topic, "b", []byte("x")))
	checkCodes(t, errs, "", missing, missing, missing, "")
	if n := len(consume(t, brokers, topic)); n != 2 {
		t.Errorf("%d messages arrived", n)
	}
}

// One message that is too large must not keep others from arriving, but those of its
// own key.
func TestTooLarge(t *testing.T) {
	brokers := testBrokers(t)
	topic := testTopic(t, brokers, 1)
	big := make([]byte, 1_000_000)
	if _, err := rand.Read(big); err != nil {
		t.Fatal(err)
	}
	small := []byte("x")
	t.Run("for us", func(t *testing.T) {
		s := newSink(t, connTo(brokers), (&net.Dialer{}).DialContext)
		errs := send(t, s, message(topic, "a", small), message(topic, "b", big), message(topic, "a", small), message(topic, "b", small))
		checkCodes(t, errs, "", "permanent too_large", "", "permanent held_back")
	})
	t.Run("for the broker", func(t *testing.T) {
		c := connTo(brokers)
		c["max_request_size"] = 8 << 20
		s := newSink(t, c, (&net.Dialer{}).DialContext)
		huge := append(big, big...)
		msgs := []*sink.Message{message(topic, "a", small), message(topic, "b", huge), message(topic, "c", small), message(topic, "b", small), message(topic, "a", small)}
		errs := send(t, s, msgs...)
		checkCodes(t, errs, "", "permanent too_large", "", "permanent held_back", "")
		checkCodes(t, send(t, s, message(topic, "b", small)), "")
		got := byID(consume(t, brokers, topic))
		for i, m := range msgs {
			if _, ok := got[m.ID]; ok != (errs[i] == nil) {
				t.Errorf("message %d: arrived %v, error %v", i, ok, errs[i])
			}
		}
	})
	t.Run("together for the broker", func(t *testing.T) {
		c := connTo(brokers)
		c["max_request_size"] = 8 << 20
		s := newSink(t, c, (&net.Dialer{}).DialContext)
		var msgs []*sink.Message
		for i := range 40 {
			msgs = append(msgs, message(topic, fmt.Sprint(i%3), big[:100_000]))
		}
		for i, err := range send(t, s, msgs...) {
			if err != nil {
				t.Errorf("message %d: %v", i, err)
			}
		}
	})
	t.Run("more than one batch", func(t *testing.T) {
		s := newSink(t, connTo(brokers), (&net.Dialer{}).DialContext)
		var msgs []*sink.Message
		for range 30 {
			msgs = append(msgs, message(topic, "k", big[:100_000]))
		}
		for i, err := range send(t, s, msgs...) {
			if err != nil {
				t.Fatalf("message %d: %v", i, err)
			}
		}
		got := consume(t, brokers, topic)
		for i, r := range got[len(got)-30:] {
			if r.ID != msgs[i].ID {
				t.Fatalf("place %d holds another message", i)
			}
		}
	})
}

func TestCompression(t *testing.T) {
	brokers := testBrokers(t)
	topic := testTopic(t, brokers, 3)
	body := bytes.Repeat([]byte("waltrigger "), 1000)
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		c := connTo(brokers)
		c["compression_type"] = codec
		s := newSink(t, c, (&net.Dialer{}).DialContext)
		m := message(topic, codec, body)
		checkCodes(t, send(t, s, m), "")
		if got := byID(consume(t, brokers, topic))[m.ID]; !bytes.Equal(got.Body, body) {
			t.Errorf("%s: body of %d bytes", codec, len(got.Body))
		}
	}
}

// The answer to a batch is lost, the connection breaks, and the batch is sent again:
// the broker knows it by its sequence numbers.
func TestLostAnswerDoesNotRepeat(t *testing.T) {
	brokers := testBrokers(t)
	topic := testTopic(t, brokers, 1)
	n := sinktest.NewNet()
	s := newSink(t, connTo(brokers), n.Dial)
	checkCodes(t, send(t, s, message(topic, "a", []byte("warm"))), "")
	n.Stall()
	timer := time.AfterFunc(500*time.Millisecond, func() { n.Break(); n.Heal() })
	defer timer.Stop()
	checkCodes(t, send(t, s, message(topic, "a", []byte("b")), message(topic, "a", []byte("c"))), "", "")
	var got []string
	for _, r := range consume(t, brokers, topic) {
		got = append(got, string(r.Body))
	}
	if fmt.Sprint(got) != "[warm b c]" {
		t.Errorf("the topic holds %v", got)
	}
}

type refusal struct{}

func (refusal) Error() string { return "address not allowed" }
func (refusal) Blocked() bool { return true }

// A broker that the guard lets us reach advertises an address that it does not.
func TestAdvertisedAddressIsGuarded(t *testing.T) {
	brokers := testBrokers(t)
	topic := testTopic(t, brokers, 1)
	_, port, err := net.SplitHostPort(brokers[0])
	if err != nil {
		t.Fatal(err)
	}
	first := "written.example:" + port
	s := newSink(t, map[string]any{"bootstrap_servers": first}, func(ctx context.Context, network, address string) (net.Conn, error) {
		if address != first {
			return nil, refusal{}
		}
		return (&net.Dialer{}).DialContext(ctx, network, brokers[0])
	})
	checkCodes(t, send(t, s, message(topic, "a", []byte("x"))), "blocked "+sink.CodeBlocked)
	if len(consume(t, brokers, topic)) != 0 {
		t.Error("the message arrived")
	}
}

// Vectors of Java's org.apache.kafka.common.utils.Utils.murmur2.
func TestPartitionIsJavas(t *testing.T) {
	s := newSink(t, map[string]any{"bootstrap_servers": "h:1"}, nil)
	tp := &topic{}
	for i := range int32(7) {
		tp.partitions = append(tp.partitions, i)
	}
	for key, hash := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536, "a-little-bit-longer-string": -1486304829, "abc": 479470107,
	} {
		if got, want := s.partition(tp, &sink.Message{Key: []byte(key)}), (hash&0x7fffffff)%7; got != want {
			t.Errorf("%s: partition %d, want %d", key, got, want)
		}
	}
	first := s.partition(tp, &sink.Message{})
	tp.spread++
	if s.partition(tp, &sink.Message{}) == first {
		t.Error("messages without a key all go to one partition")
	}
}

func TestAuthenticationFails(t *testing.T) {
	broker := sarama.NewMockBroker(t, 1)
	defer broker.Close()
	broker.SetHandlerByMap(map[string]sarama.MockResponse{
		"ApiVersionsRequest":      sarama.NewMockApiVersionsResponse(t).SetApiKeys([]sarama.ApiVersionsResponseKey{{ApiKey: 3, MaxVersion: 8}, {ApiKey: 17, MaxVersion: 1}, {ApiKey: 36, MaxVersion: 1}}),
		"SaslHandshakeRequest":    sarama.NewMockSaslHandshakeResponse(t).SetEnabledMechanisms([]string{"PLAIN"}),
		"SaslAuthenticateRequest": sarama.NewMockSaslAuthenticateResponse(t).SetError(sarama.ErrSASLAuthenticationFailed),
	})
	s := newSink(t, map[string]any{
		"bootstrap_servers": broker.Addr(), "security_protocol": "SASL_PLAINTEXT", "sasl_plain_username": "u", "sasl_plain_password": "s3cret",
	}, (&net.Dialer{}).DialContext)
	errs := send(t, s, message("t", "k", nil))
	checkCodes(t, errs, "misconfigured "+codeAuth)
	if strings.Contains(errs[0].Error(), "s3cret") {
		t.Error(errs[0])
	}
}

func TestClassify(t *testing.T) {
	tests := []struct {
		err  error
		want string
	}{
		{sarama.ErrMessageSizeTooLarge, "permanent too_large"},
		{sarama.ErrInvalidRecord, "permanent record_invalid"},
		{fmt.Errorf("topic: %w", sarama.ErrUnknownTopicOrPartition), "misconfigured unknown_topic"},
		{sarama.ErrTopicAuthorizationFailed, "misconfigured not_authorized"},
		{sarama.Wrap(sarama.ErrOutOfBrokers, sarama.ErrSASLAuthenticationFailed), "misconfigured not_authorized"},
		{sarama.Wrap(sarama.ErrOutOfBrokers, sarama.Wrap(sarama.ErrSASLAuthenticationFailed, errors.New("wrong password"))), "misconfigured not_authorized"},
		{sarama.ErrUnsupportedCompressionType, "misconfigured configuration"},
		{sarama.ConfigurationError("x"), "misconfigured configuration"},
		{sarama.ErrNotEnoughReplicas, "unavailable kafka_error"},
		{sarama.ErrRequestTimedOut, "unavailable timeout"},
		{sarama.ErrOutOfBrokers, "unavailable error"},
		{fmt.Errorf("%w: %w", context.DeadlineExceeded, sarama.ErrUnknownTopicOrPartition), "unavailable timeout"},
		{fmt.Errorf("%w: %w", sarama.ErrOutOfBrokers, refusal{}), "blocked egress_blocked"},
		{errors.New("x"), "unavailable error"},
	}
	for _, tt := range tests {
		checkCodes(t, []error{classify(tt.err)}, tt.want)
	}
}
