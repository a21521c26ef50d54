// Package sqs sends messages to queues of Amazon SQS, standard and FIFO.
//
//	Send ── messages by queue ── requests of up to 10 ── outcome of each message
//
// In a FIFO queue the key is the message group and the message's id its deduplication
// id, so order is kept for each key, and a redelivery within five minutes is dropped by
// the queue. A standard queue keeps order only as far as SQS does (best effort).
package sqs

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	client "github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/sink/aws"
	"github.com/waltrigger/waltrigger/pkg/sink/details"
)

var params = []sink.Param{{Name: "queue_url"}, {Name: "queue_name"}, {Name: "queue_owner_aws_account_id"}}

// Kind is the kind of queues of Amazon SQS. Keys go in parallel: a request holds at most
// one message of a key, as within one request each message succeeds or fails alone.
var Kind = sink.Kind{
	Name: "aws_sqs", MaxBatch: aws.MaxEntries, Conn: aws.Params, Addresses: aws.Addresses, Params: params, Check: check,
	Open: func(ctx context.Context, conn map[string]any, env sink.Env) (sink.Sink, error) {
		return open(ctx, conn, env)
	},
}

// maxMessage is the largest message that SQS takes, in bytes; queues may have a lower
// limit of their own.
const maxMessage = 1 << 20

var (
	namePattern    = aws.Pattern(`^[A-Za-z0-9_-]{1,80}$|^[A-Za-z0-9_-]{1,75}\.fifo$`)
	accountPattern = aws.Pattern(`^[0-9]{12}$`)
)

func check(conn, ps map[string]any) []sink.Problem {
	r := aws.Check(conn)
	text := func(name string) (s string, template bool) {
		v := ps[name]
		if v == nil {
			return "", false
		}
		s, ok := v.(string)
		if !ok {
			r.AddParam(name, "invalid", "must be a string")
		}
		return s, details.IsTemplate(s)
	}
	u, utmpl := text("queue_url")
	name, ntmpl := text("queue_name")
	switch {
	case ps["queue_url"] == nil && ps["queue_name"] == nil:
		r.AddParam("queue_url", "required", "or queue_name is required")
	case u != "" && name != "":
		r.AddParam("queue_name", "invalid", "and queue_url exclude each other")
	case u == "" && name == "":
		r.AddParam("queue_url", "invalid", "must not be empty")
	}
	if u != "" && !utmpl && checkURL(u) != nil {
		r.AddParam("queue_url", "invalid", "must be like https://sqs.eu-central-1.amazonaws.com/123456789012/name")
	}
	if name != "" && !ntmpl && !namePattern().MatchString(name) {
		r.AddParam("queue_name", "invalid", "must be 1 to 80 letters, digits, dashes and _, with .fifo at the end of a FIFO queue's")
	}
	if owner, tmpl := text("queue_owner_aws_account_id"); owner != "" && !tmpl && !accountPattern().MatchString(owner) {
		r.AddParam("queue_owner_aws_account_id", "invalid", "must be 12 digits")
	}
	if err := aws.CheckAttributes(ps, params); err != nil {
		r.AddParam("", "invalid", "%v", err)
	}
	return r.Problems()
}

func checkURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || len(u.Path) < 2 || u.User != nil {
		return errors.New("queue_url is no URL of a queue")
	}
	return nil
}

// Sink sends to the queues of one account and region. Safe for concurrent use.
type Sink struct {
	session *aws.Session
	client  *client.Client

	mu   sync.RWMutex
	urls map[queue]string // of queues given by name
}

// queue is how a message names its queue.
type queue struct{ url, name, owner string }

// maxQueues bounds the cache of URLs; names that a row takes part in are many.
const maxQueues = 4096

func open(ctx context.Context, conn map[string]any, env sink.Env) (*Sink, error) {
	session, err := aws.Open(ctx, conn, env)
	if err != nil {
		return nil, err
	}
	return &Sink{session: session, client: client.NewFromConfig(session.Config), urls: map[queue]string{}}, nil
}

// Close closes all connections.
func (s *Sink) Close() error {
	s.session.Close()
	return nil
}

// Send sends msgs, queue by queue.
func (s *Sink) Send(ctx context.Context, msgs []*sink.Message) []error {
	errs := make([]error, len(msgs))
	newEntry := func(i int, m *sink.Message) (*aws.Entry, error) { return aws.NewEntry(i, m, maxMessage) }
	to := func(m *sink.Message) queue {
		return queue{m.Params["queue_url"], m.Params["queue_name"], m.Params["queue_owner_aws_account_id"]}
	}
	aws.Group(msgs, errs, to, newEntry, func(q queue, entries []*aws.Entry) {
		u, err := s.url(ctx, q)
		if err != nil {
			for _, e := range entries {
				errs[e.Index] = err
			}
			return
		}
		aws.Deliver(entries, errs, func(batch []*aws.Entry, o *aws.Outcome) *sink.Error { return s.request(ctx, q, u, batch, o) })
	})
	return aws.Result(errs)
}

// url finds the URL of a queue; the error is a *sink.Error.
func (s *Sink) url(ctx context.Context, q queue) (string, error) {
	if q.url != "" {
		if err := checkURL(q.url); err != nil {
			return "", &sink.Error{Class: sink.Permanent, Code: "queue_invalid", Err: err}
		}
		return q.url, nil
	}
	if !namePattern().MatchString(q.name) || q.owner != "" && !accountPattern().MatchString(q.owner) {
		return "", &sink.Error{Class: sink.Permanent, Code: "queue_invalid", Err: fmt.Errorf("%.100q is no name of a queue, or %.20q no account", q.name, q.owner)}
	}
	s.mu.RLock()
	u := s.urls[q]
	s.mu.RUnlock()
	if u != "" {
		return u, nil
	}
	in := &client.GetQueueUrlInput{QueueName: &q.name}
	if q.owner != "" {
		in.QueueOwnerAWSAccountId = &q.owner
	}
	out, err := s.client.GetQueueUrl(ctx, in)
	if err != nil {
		return "", s.failed(q, s.session.Classify(ctx, err))
	}
	u = sdk.ToString(out.QueueUrl)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.urls) >= maxQueues {
		clear(s.urls)
	}
	s.urls[q] = u
	return u, nil
}

// failed names the queue in an error, and forgets where it was if it is gone.
func (s *Sink) failed(q queue, err *sink.Error) *sink.Error {
	if err.Code == aws.CodeMissing {
		s.mu.Lock()
		delete(s.urls, q)
		s.mu.Unlock()
	}
	name := q.name
	if name == "" {
		name = q.url[strings.LastIndexByte(q.url, '/')+1:]
	}
	e := *err
	e.Err = fmt.Errorf("queue %s: %w", name, e.Err)
	return &e
}

// request is one of at most ten entries.
func (s *Sink) request(ctx context.Context, q queue, to string, entries []*aws.Entry, o *aws.Outcome) *sink.Error {
	in := &client.SendMessageBatchInput{QueueUrl: &to, Entries: make([]types.SendMessageBatchRequestEntry, len(entries))}
	fifo := strings.HasSuffix(to, ".fifo")
	for i, e := range entries {
		in.Entries[i] = entry(i, e, fifo)
	}
	out, err := s.client.SendMessageBatch(ctx, in)
	if err != nil {
		return s.failed(q, s.session.Classify(ctx, err))
	}
	for _, ok := range out.Successful {
		o.Set(ok.Id, nil)
	}
	for _, f := range out.Failed {
		o.Set(f.Id, s.failed(q, s.session.Code(sdk.ToString(f.Code), sdk.ToString(f.Message))))
	}
	return nil
}

func entry(i int, e *aws.Entry, fifo bool) types.SendMessageBatchRequestEntry {
	out := types.SendMessageBatchRequestEntry{
		Id: aws.ID(i), MessageBody: &e.Text,
		MessageAttributes: make(map[string]types.MessageAttributeValue, len(e.Attributes)),
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
