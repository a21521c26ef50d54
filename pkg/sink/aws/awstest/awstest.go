// Package awstest gives tests of sinks the services of AWS, as Moto answers for them.
package awstest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/sink/aws"
	"github.com/waltrigger/waltrigger/pkg/sink/brokertest"
	"github.com/waltrigger/waltrigger/pkg/sink/sinktest"
)

// Alone makes the SDK read no settings of the machine and of whoever runs the tests; for
// TestMain, before any test.
func Alone() {
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); strings.HasPrefix(name, "AWS_") {
			_ = os.Unsetenv(name)
		}
	}
	for name, value := range map[string]string{
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true",
	} {
		_ = os.Setenv(name, value)
	}
}

// Endpoint is the URL in WALTRIGGER_TEST_AWS.
func Endpoint(t testing.TB) string { return brokertest.Server(t, "WALTRIGGER_TEST_AWS") }

// Own starts a Moto of the test's own; it is there if WALTRIGGER_TEST_AWS is.
func Own(t testing.TB, env ...string) *brokertest.Own {
	t.Helper()
	Endpoint(t)
	return brokertest.Start(t, "moto", "MOTO", nil, env...)
}

// Conn are connection details for an end point.
func Conn(endpoint string) map[string]any {
	return map[string]any{
		"endpoint_url": endpoint, "region": "us-east-1", "aws_access_key_id": "AKIATEST", "aws_secret_access_key": sinktest.Secret + "-key",
		"aws_session_token": sinktest.Secret + "-token/+=",
	}
}

// Session is a client's way to the end point, as a test has it.
func Session(t testing.TB, endpoint string) *aws.Session {
	t.Helper()
	s, err := aws.Open(context.Background(), Conn(endpoint), sinktest.Env())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// Name is a new one, with .fifo at its end if so asked.
func Name(fifo bool) string {
	name := fmt.Sprintf("waltrigger-%d", time.Now().UnixNano())
	if fifo {
		name += ".fifo"
	}
	return name
}

// Queue is one of a test's own, and what was read from it.
type Queue struct {
	URL, ARN string
	client   *sqs.Client
	got      []types.Message
}

// NewQueue makes a queue, FIFO if its name says so.
func NewQueue(t testing.TB, endpoint, name string) *Queue {
	t.Helper()
	q := &Queue{client: sqs.NewFromConfig(Session(t, endpoint).Config)}
	attributes := map[string]string{"VisibilityTimeout": "600"}
	if strings.HasSuffix(name, ".fifo") {
		attributes["FifoQueue"] = "true"
	}
	out, err := q.client.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: &name, Attributes: attributes})
	if err != nil {
		t.Fatal(err)
	}
	q.URL = *out.QueueUrl
	q.ARN = "arn:aws:sqs:us-east-1:123456789012:" + name
	return q
}

// Delete deletes the queue.
func (q *Queue) Delete(t testing.TB) {
	t.Helper()
	if _, err := q.client.DeleteQueue(t.Context(), &sqs.DeleteQueueInput{QueueUrl: &q.URL}); err != nil {
		t.Fatal(err)
	}
}

// Messages reads what is new and returns all that was ever read.
func (q *Queue) Messages(t testing.TB) []types.Message {
	t.Helper()
	in := &sqs.ReceiveMessageInput{
		QueueUrl: &q.URL, MaxNumberOfMessages: 10, MessageAttributeNames: []string{"All"},
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll},
	}
	for {
		out, err := q.client.ReceiveMessage(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Messages) == 0 {
			return q.got
		}
		q.got = append(q.got, out.Messages...)
		// What is not deleted would hold back the rest of its group.
		del := &sqs.DeleteMessageBatchInput{QueueUrl: &q.URL}
		for i, m := range out.Messages {
			del.Entries = append(del.Entries, types.DeleteMessageBatchRequestEntry{Id: aws.ID(i), ReceiptHandle: m.ReceiptHandle})
		}
		if _, err := q.client.DeleteMessageBatch(t.Context(), del); err != nil {
			t.Fatal(err)
		}
	}
}

// Received is for sinktest.Harness.
func (q *Queue) Received(t *testing.T) []sinktest.Received {
	t.Helper()
	var out []sinktest.Received
	for _, m := range q.Messages(t) {
		h := map[string]string{}
		for name, v := range m.MessageAttributes {
			h[strings.ToLower(name)] = sdk.ToString(v.StringValue)
		}
		out = append(out, sinktest.Received{
			ID: h[sink.HeaderEventID], Key: m.Attributes["MessageGroupId"], ContentType: h[sink.HeaderContentType],
			Body: []byte(*m.Body), Headers: h,
		})
	}
	return out
}

// Refused is for sinktest.Harness: what XML 1.0 cannot hold is no message.
func Refused(body []byte) bool {
	return len(body) == 0 || strings.ContainsFunc(string(body), func(r rune) bool {
		return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == '\uFFFD'
	})
}

// Message is one with a key, for tests of what kinds do with it.
func Message(id, key, body string, params map[string]string) *sink.Message {
	return &sink.Message{
		ID: id, Key: []byte(key), Body: []byte(body), ContentType: "application/json", Params: params, Signal: "post_save", Model: "myapp.Sale",
		Committed: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC),
	}
}

// Post sends a request to Moto itself.
func Post(t testing.TB, url, contentType, body string, header map[string]string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	for name, v := range header {
		req.Header.Set(name, v)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}
