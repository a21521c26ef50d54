// Package sns publishes messages to topics of Amazon SNS, standard and FIFO.
//
//	Send ── messages by topic ── requests of up to 10 ── outcome of each message
//
// In a FIFO topic the key is the message group and the message's id its deduplication
// id, so order is kept for each key up to FIFO queues that are subscribed, and a
// redelivery within five minutes is dropped by the topic. A standard topic promises no
// order.
package sns

import (
	"context"
	"errors"
	"fmt"
	"strings"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	client "github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sns/types"

	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/sink/aws"
	"github.com/waltrigger/waltrigger/pkg/sink/details"
)

var params = []sink.Param{{Name: "topic_arn", Required: true}, {Name: "subject"}}

// Kind is the kind of topics of Amazon SNS. Keys go in parallel: a request holds at most
// one message of a key, as within one request each message succeeds or fails alone.
var Kind = sink.Kind{
	Name: "aws_sns", MaxBatch: aws.MaxEntries, Conn: aws.Params, Addresses: aws.Addresses, Params: params, Check: check,
	Open: func(ctx context.Context, conn map[string]any, env sink.Env) (sink.Sink, error) {
		return open(ctx, conn, env)
	},
}

// maxMessage is the largest message that SNS takes, in bytes.
const maxMessage = 256 << 10

var (
	arnPattern     = aws.Pattern(`^arn:[a-z0-9-]+:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}(\.fifo)?$`)
	subjectPattern = aws.Pattern(`^[\x21-\x7e][\x20-\x7e]{0,98}$`)
)

func check(conn, ps map[string]any) []sink.Problem {
	r := aws.Check(conn)
	switch arn, ok := ps["topic_arn"].(string); {
	case !ok || arn == "":
		r.AddParam("topic_arn", "required", "is required")
	case !details.IsTemplate(arn) && !arnPattern().MatchString(arn):
		r.AddParam("topic_arn", "invalid", "must be like arn:aws:sns:eu-central-1:123456789012:name")
	}
	if v := ps["subject"]; v != nil && v != "" {
		if s, ok := v.(string); !ok || !details.IsTemplate(s) && !subjectPattern().MatchString(s) {
			r.AddParam("subject", "invalid", "must be up to 99 letters, digits and punctuation of ASCII")
		}
	}
	if err := aws.CheckAttributes(ps, params); err != nil {
		r.AddParam("", "invalid", "%v", err)
	}
	return r.Problems()
}

// Sink publishes to the topics of one region. Safe for concurrent use.
type Sink struct {
	session *aws.Session
	client  *client.Client
}

func open(ctx context.Context, conn map[string]any, env sink.Env) (*Sink, error) {
	session, err := aws.Open(ctx, conn, env)
	if err != nil {
		return nil, err
	}
	return &Sink{session: session, client: client.NewFromConfig(session.Config)}, nil
}

// Close closes all connections.
func (s *Sink) Close() error {
	s.session.Close()
	return nil
}

// Send publishes msgs, topic by topic.
func (s *Sink) Send(ctx context.Context, msgs []*sink.Message) []error {
	errs := make([]error, len(msgs))
	to := func(m *sink.Message) string { return m.Params["topic_arn"] }
	aws.Group(msgs, errs, to, newEntry, func(topic string, entries []*aws.Entry) {
		aws.Deliver(entries, errs, func(batch []*aws.Entry, o *aws.Outcome) *sink.Error { return s.request(ctx, topic, batch, o) })
	})
	return aws.Result(errs)
}

func newEntry(i int, m *sink.Message) (*aws.Entry, error) {
	if arn := m.Params["topic_arn"]; !arnPattern().MatchString(arn) {
		return nil, &sink.Error{Class: sink.Permanent, Code: "topic_invalid", Err: fmt.Errorf("%.100q is no topic's ARN", arn)}
	}
	if s := m.Params["subject"]; s != "" && !subjectPattern().MatchString(s) {
		return nil, &sink.Error{Class: sink.Permanent, Code: aws.CodeHeader, Err: errors.New("the subject is longer than 99 characters or holds others than those of ASCII")}
	}
	return aws.NewEntry(i, m, maxMessage)
}

// failed names the topic in an error.
func failed(topic string, err *sink.Error) *sink.Error {
	e := *err
	e.Err = fmt.Errorf("topic %s: %w", topic[strings.LastIndexByte(topic, ':')+1:], e.Err)
	return &e
}

// request is one of at most ten entries.
func (s *Sink) request(ctx context.Context, topic string, entries []*aws.Entry, o *aws.Outcome) *sink.Error {
	in := &client.PublishBatchInput{TopicArn: &topic, PublishBatchRequestEntries: make([]types.PublishBatchRequestEntry, len(entries))}
	fifo := strings.HasSuffix(topic, ".fifo")
	for i, e := range entries {
		in.PublishBatchRequestEntries[i] = entry(i, e, fifo)
	}
	out, err := s.client.PublishBatch(ctx, in)
	if err != nil {
		return failed(topic, s.session.Classify(ctx, err))
	}
	for _, ok := range out.Successful {
		o.Set(ok.Id, nil)
	}
	for _, f := range out.Failed {
		o.Set(f.Id, failed(topic, s.session.Code(sdk.ToString(f.Code), sdk.ToString(f.Message))))
	}
	return nil
}

func entry(i int, e *aws.Entry, fifo bool) types.PublishBatchRequestEntry {
	out := types.PublishBatchRequestEntry{
		Id: aws.ID(i), Message: &e.Text,
		MessageAttributes: make(map[string]types.MessageAttributeValue, len(e.Attributes)),
	}
	if subject := e.Params["subject"]; subject != "" {
		out.Subject = &subject
	}
	for _, h := range e.Attributes {
		out.MessageAttributes[h.Name] = types.MessageAttributeValue{DataType: sdk.String("String"), StringValue: &h.Value}
	}
	if fifo {
		out.MessageGroupId = sdk.String(aws.MessageGroup(e.Message))
		out.MessageDeduplicationId = sdk.String(aws.Deduplication(e.Message))
	}
	return out
}
