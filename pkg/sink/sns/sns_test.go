package sns

import (
	"fmt"
	"strings"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	client "github.com/aws/aws-sdk-go-v2/service/sns"
	"go.uber.org/goleak"

	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/sink/aws/awstest"
	"github.com/waltrigger/waltrigger/pkg/sink/sinktest"
)

func TestMain(m *testing.M) {
	awstest.Alone()
	goleak.VerifyTestMain(m)
}

// topic makes a topic of the test's own, and a queue that gets what is published.
func topic(t *testing.T, endpoint string, fifo bool) (arn string, q *awstest.Queue) {
	t.Helper()
	c := client.NewFromConfig(awstest.Session(t, endpoint).Config)
	name := awstest.Name(fifo)
	in := &client.CreateTopicInput{Name: &name}
	if fifo {
		in.Attributes = map[string]string{"FifoTopic": "true"}
	}
	out, err := c.CreateTopic(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	q = awstest.NewQueue(t, endpoint, name)
	if _, err := c.Subscribe(t.Context(), &client.SubscribeInput{
		TopicArn: out.TopicArn, Protocol: sdk.String("sqs"), Endpoint: &q.ARN, Attributes: map[string]string{"RawMessageDelivery": "true"},
	}); err != nil {
		t.Fatal(err)
	}
	return *out.TopicArn, q
}

func deleteTopic(t *testing.T, endpoint, arn string) {
	t.Helper()
	if _, err := client.NewFromConfig(awstest.Session(t, endpoint).Config).DeleteTopic(t.Context(), &client.DeleteTopicInput{TopicArn: &arn}); err != nil {
		t.Fatal(err)
	}
}

func TestConformance(t *testing.T) {
	for _, fifo := range []bool{false, true} {
		t.Run(fmt.Sprintf("fifo=%v", fifo), func(t *testing.T) {
			endpoint := awstest.Endpoint(t)
			arn, q := topic(t, endpoint, fifo)
			sinktest.Run(t, sinktest.Harness{
				Kind: Kind, Conn: awstest.Conn(endpoint), Params: map[string]string{"topic_arn": arn},
				Received: q.Received, Key: fifo, Secrets: []string{sinktest.Secret}, MaxBody: 200 << 10,
				Refused: awstest.Refused, FilledHeaders: true, Each: 8,
			})
			deleteTopic(t, endpoint, arn)
			q.Delete(t)
		})
	}
}

func TestBatchOfTenWithBadOnesAmongThem(t *testing.T) {
	endpoint := awstest.Endpoint(t)
	arn, q := topic(t, endpoint, true)
	s := sinktest.Open(t, Kind, awstest.Conn(endpoint))
	var msgs []*sink.Message
	for i := range 10 {
		msgs = append(msgs, awstest.Message(fmt.Sprintf("id%d", i), fmt.Sprintf("key%d", i), strings.Repeat("x", 60<<10), map[string]string{"topic_arn": arn, "subject": "A sale"}))
	}
	msgs[2].Body = []byte(strings.Repeat("x", maxMessage))
	msgs[4].Body = nil
	msgs[6].Params = map[string]string{"topic_arn": arn + "-none.fifo"}
	msgs[7].Params = map[string]string{"topic_arn": strings.TrimSuffix(arn, ".fifo") + "0.fifo"}
	msgs[8].Params = map[string]string{"topic_arn": arn, "subject": "a\nb"}
	want := map[int]struct {
		class sink.Class
		code  string
	}{
		2: {sink.Permanent, "too_large"}, 4: {sink.Permanent, "body_invalid"}, 6: {sink.Permanent, "topic_invalid"},
		7: {sink.Misconfigured, "not_found"}, 8: {sink.Permanent, "header_invalid"},
	}
	for i, err := range sinktest.Send(t, s, msgs...) {
		if w, bad := want[i]; bad {
			sinktest.Expect(t, err, w.class, w.code)
		} else if err != nil {
			t.Errorf("message %d: %v", i, err)
		}
	}
	got := q.Received(t)
	if len(got) != 5 {
		t.Fatalf("%d messages arrived, want 5", len(got))
	}
	for _, r := range got {
		if r.Key != "key"+r.ID[2:] {
			t.Errorf("%s has group %q", r.ID, r.Key)
		}
	}
	q.Delete(t)
	deleteTopic(t, endpoint, arn)
	sinktest.Expect(t, sinktest.Send(t, s, msgs[0])[0], sink.Misconfigured, "not_found")
}

// Moto keeps nothing over a restart, so the topic is missed until it is there again.
func TestRestart(t *testing.T) {
	server := awstest.Own(t)
	arn, _ := topic(t, server.URL, false)
	s := sinktest.Open(t, Kind, awstest.Conn(server.URL))
	m := awstest.Message("1", "k", "x", map[string]string{"topic_arn": arn})
	if err := sinktest.Send(t, s, m)[0]; err != nil {
		t.Fatal(err)
	}
	server.Restart(t, func() { sinktest.Expect(t, sinktest.Send(t, s, m)[0], sink.Unavailable, sink.CodeRefused) })
	sinktest.Expect(t, sinktest.Send(t, s, m)[0], sink.Misconfigured, "not_found")
	arn, q := topic(t, server.URL, false)
	m.Params = map[string]string{"topic_arn": arn}
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
	m := awstest.Message("1", "k", "x", map[string]string{"topic_arn": "arn:aws:sns:us-east-1:123456789012:x"})
	sinktest.Expect(t, sinktest.Send(t, s, m)[0], sink.Misconfigured, "not_authorized")
}

func TestCheck(t *testing.T) {
	const arn = "arn:aws:sns:eu-central-1:123456789012:sales"
	tests := []struct {
		name   string
		params map[string]any
		want   string // fields and codes
	}{
		{"least", map[string]any{"topic_arn": arn}, ""},
		{"fifo", map[string]any{"topic_arn": arn + ".fifo", "subject": "A sale"}, ""},
		{"china", map[string]any{"topic_arn": "arn:aws-cn:sns:cn-north-1:123456789012:x"}, ""},
		{"templates", map[string]any{"topic_arn": "{{ x.y }}", "subject": "{{ instance.id }}"}, ""},
		{"none", map[string]any{}, "parameters/topic_arn required"},
		{"empty", map[string]any{"topic_arn": ""}, "parameters/topic_arn required"},
		{"name", map[string]any{"topic_arn": "sales"}, "parameters/topic_arn invalid"},
		{"queue", map[string]any{"topic_arn": "arn:aws:sqs:eu-central-1:123456789012:sales"}, "parameters/topic_arn invalid"},
		{"subject", map[string]any{"topic_arn": arn, "subject": strings.Repeat("x", 100)}, "parameters/subject invalid"},
		{"no text", map[string]any{"topic_arn": arn, "subject": 5}, "parameters/subject invalid"},
		{"attributes", map[string]any{"topic_arn": arn, "a": 1, "b": 1, "c": 1, "d": 1, "e": 1, "f": 1}, "parameters/ invalid"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, p := range Kind.Check(map[string]any{"region": "eu-central-1"}, tt.params) {
				got = append(got, p.Field+" "+p.Code)
			}
			if strings.Join(got, ", ") != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
