package sqs

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/sink/aws/awstest"
	"github.com/waltrigger/waltrigger/pkg/sink/sinktest"
)

func TestMain(m *testing.M) {
	awstest.Alone()
	goleak.VerifyTestMain(m)
}

func TestConformance(t *testing.T) {
	for _, fifo := range []bool{false, true} {
		t.Run(fmt.Sprintf("fifo=%v", fifo), func(t *testing.T) {
			endpoint := awstest.Endpoint(t)
			name := awstest.Name(fifo)
			q := awstest.NewQueue(t, endpoint, name)
			defer q.Delete(t)
			sinktest.Run(t, sinktest.Harness{
				Kind: Kind, Conn: awstest.Conn(endpoint), Params: map[string]string{"queue_name": name},
				Received: q.Received, Key: fifo, Secrets: []string{sinktest.Secret}, MaxBody: 1 << 19,
				Refused: awstest.Refused, FilledHeaders: true, Each: 12,
			})
		})
	}
}

func TestBatchOfTenWithBadOnesAmongThem(t *testing.T) {
	endpoint := awstest.Endpoint(t)
	name := awstest.Name(true)
	q := awstest.NewQueue(t, endpoint, name)
	defer q.Delete(t)
	s := sinktest.Open(t, Kind, awstest.Conn(endpoint))
	params := map[string]string{"queue_url": q.URL}
	var msgs []*sink.Message
	for i := range 10 {
		msgs = append(msgs, awstest.Message(fmt.Sprintf("id%d", i), fmt.Sprintf("key%d", i), strings.Repeat("x", 60<<10), params))
	}
	msgs[2].Body = []byte(strings.Repeat("x", maxMessage))
	msgs[4].Body = []byte("a\x00b")
	msgs[6].Headers = []sink.Header{{Name: sink.HeaderEventID, Value: "other"}}
	msgs[8].Headers = make([]sink.Header, 6)
	for i := range msgs[8].Headers {
		msgs[8].Headers[i] = sink.Header{Name: fmt.Sprint("n", i), Value: "v"}
	}
	codes := map[int]string{2: "too_large", 4: "body_invalid", 6: "header_invalid", 8: "header_invalid"}
	for i, err := range sinktest.Send(t, s, msgs...) {
		if code, bad := codes[i]; bad {
			sinktest.Expect(t, err, sink.Permanent, code)
		} else if err != nil {
			t.Errorf("message %d: %v", i, err)
		}
	}
	if err := sinktest.Send(t, s, msgs[0])[0]; err != nil { // a redelivery, which the queue drops
		t.Error(err)
	}
	got := q.Messages(t)
	if len(got) != 6 {
		t.Fatalf("%d messages arrived, want 6", len(got))
	}
	for _, m := range got {
		id := *m.MessageAttributes[sink.HeaderEventID].StringValue
		if m.Attributes["MessageDeduplicationId"] != id || m.Attributes["MessageGroupId"] != "key"+id[2:] {
			t.Errorf("%s has group %q and deduplication id %q", id, m.Attributes["MessageGroupId"], m.Attributes["MessageDeduplicationId"])
		}
	}
}

func TestMissingQueueAndItsReturn(t *testing.T) {
	endpoint := awstest.Endpoint(t)
	s := sinktest.Open(t, Kind, awstest.Conn(endpoint))
	name := awstest.Name(false)
	byName := awstest.Message("1", "k", "x", map[string]string{"queue_name": name})
	sinktest.Expect(t, sinktest.Send(t, s, byName)[0], sink.Misconfigured, "not_found")
	q := awstest.NewQueue(t, endpoint, name)
	if err := sinktest.Send(t, s, byName)[0]; err != nil {
		t.Error(err)
	}
	q.Delete(t)
	sinktest.Expect(t, sinktest.Send(t, s, byName)[0], sink.Misconfigured, "not_found")
	sinktest.Expect(t, sinktest.Send(t, s, awstest.Message("2", "k", "x", map[string]string{"queue_url": q.URL}))[0], sink.Misconfigured, "not_found")
	if len(s.(*Sink).urls) != 0 {
		t.Error("the URL of a queue that is gone is still known")
	}
}

// A queue that is missing fails its messages alone.
func TestQueuesOfOneSend(t *testing.T) {
	endpoint := awstest.Endpoint(t)
	a, b := awstest.NewQueue(t, endpoint, awstest.Name(false)), awstest.NewQueue(t, endpoint, awstest.Name(false))
	defer a.Delete(t)
	defer b.Delete(t)
	s := sinktest.Open(t, Kind, awstest.Conn(endpoint))
	errs := sinktest.Send(t, s,
		awstest.Message("1", "k1", "x", map[string]string{"queue_url": a.URL}),
		awstest.Message("2", "k2", "x", map[string]string{"queue_url": a.URL + "-none"}),
		awstest.Message("3", "k3", "x", map[string]string{"queue_url": b.URL}),
		awstest.Message("4", "k4", "x", map[string]string{"queue_name": "no legal name"}),
		awstest.Message("5", "k5", "x", map[string]string{"queue_url": "ftp://x/y"}))
	if errs[0] != nil || errs[2] != nil {
		t.Errorf("%v, %v", errs[0], errs[2])
	}
	sinktest.Expect(t, errs[1], sink.Misconfigured, "not_found")
	sinktest.Expect(t, errs[3], sink.Permanent, "queue_invalid")
	sinktest.Expect(t, errs[4], sink.Permanent, "queue_invalid")
	if len(a.Messages(t)) != 1 || len(b.Messages(t)) != 1 {
		t.Error("a message is in the wrong queue")
	}
}

// Moto keeps nothing over a restart, so the queue is missed until it is there again.
func TestRestart(t *testing.T) {
	server := awstest.Own(t)
	name := awstest.Name(false)
	awstest.NewQueue(t, server.URL, name)
	s := sinktest.Open(t, Kind, awstest.Conn(server.URL))
	m := awstest.Message("1", "k", "x", map[string]string{"queue_name": name})
	if err := sinktest.Send(t, s, m)[0]; err != nil {
		t.Fatal(err)
	}
	server.Restart(t, func() { sinktest.Expect(t, sinktest.Send(t, s, m)[0], sink.Unavailable, sink.CodeRefused) })
	sinktest.Expect(t, sinktest.Send(t, s, m)[0], sink.Misconfigured, "not_found")
	q := awstest.NewQueue(t, server.URL, name)
	if err := sinktest.Send(t, s, m)[0]; err != nil {
		t.Error(err)
	}
	if n := len(q.Messages(t)); n != 1 {
		t.Errorf("%d messages after the restart", n)
	}
}

func TestWrongCredentials(t *testing.T) {
	server := awstest.Own(t, "INITIAL_NO_AUTH_ACTION_COUNT=0")
	s := sinktest.Open(t, Kind, awstest.Conn(server.URL))
	for _, params := range []map[string]string{{"queue_name": "x"}, {"queue_url": server.URL + "/123456789012/x"}} {
		sinktest.Expect(t, sinktest.Send(t, s, awstest.Message("1", "k", "x", params))[0], sink.Misconfigured, "not_authorized")
	}
}

func TestCheck(t *testing.T) {
	good := map[string]any{"region": "eu-central-1"}
	with := func(name string, v any) map[string]any { return map[string]any{"queue_name": "q", name: v} }
	tests := []struct {
		name         string
		conn, params map[string]any
		want         string // fields and codes
	}{
		{"least", map[string]any{}, map[string]any{"queue_name": "q"}, ""},
		{"url", good, map[string]any{"queue_url": "https://sqs.eu-central-1.amazonaws.com/123456789012/q.fifo"}, ""},
		{"templates", map[string]any{"region": "{{ a.b }}", "endpoint_url": "{{ a.c }}"}, map[string]any{"queue_name": "{{ instance.q }}"}, ""},
		{"none", good, map[string]any{}, "parameters/queue_url required"},
		{"empty", good, map[string]any{"queue_name": ""}, "parameters/queue_url invalid"},
		{"both", good, map[string]any{"queue_name": "q", "queue_url": "https://h/1/q"}, "parameters/queue_name invalid"},
		{"no url", good, map[string]any{"queue_url": "q"}, "parameters/queue_url invalid"},
		{"no string", good, map[string]any{"queue_url": 5}, "parameters/queue_url invalid"},
		{"name", good, map[string]any{"queue_name": "a b"}, "parameters/queue_name invalid"},
		{"long fifo name", good, map[string]any{"queue_name": strings.Repeat("a", 76) + ".fifo"}, "parameters/queue_name invalid"},
		{"owner", good, with("queue_owner_aws_account_id", "12"), "parameters/queue_owner_aws_account_id invalid"},
		{"own attribute", good, with("event-id", "x"), "parameters/ invalid"},
		{"attribute's name", good, with("a b", "x"), "parameters/ invalid"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			for _, p := range Kind.Check(tt.conn, tt.params) {
				if !strings.Contains(got, p.Field+" "+p.Code) {
					got = strings.TrimSpace(got + " " + p.Field + " " + p.Code)
				}
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestOpenRefusesWhatIsWrong(t *testing.T) {
	_, err := Kind.Open(t.Context(), map[string]any{"region": "Europe"}, sinktest.Env())
	var e *sink.Error
	if !errors.As(err, &e) || e.Class != sink.Misconfigured {
		t.Errorf("got %v", err)
	}
	if _, err := Kind.Open(t.Context(), map[string]any{}, sinktest.Env()); err == nil || !strings.Contains(err.Error(), "region") {
		t.Errorf("got %v, with AWS_REGION %q", err, os.Getenv("AWS_REGION"))
	}
}
