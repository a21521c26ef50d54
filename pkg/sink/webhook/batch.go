package webhook

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

// Bounds of a request with several payloads. Servers refuse longer lines, and bodies that
// are much larger.
const (
	maxEvents    = 7 << 10 // of the header that names the messages
	maxBatchBody = 1 << 20
	maxOpen      = 16 // requests that are put together beside each other
)

// batch is messages that become one request: a JSON array of their bodies, in their order.
// It is accepted or refused as a whole.
type batch struct {
	msgs   []*sink.Message
	places []int // of msgs in the Send
	body   int   // bytes
	events int   // bytes
}

// sendBatches puts messages of one destination together that differ in their bodies only.
func (s *Sink) sendBatches(ctx context.Context, msgs []*sink.Message) []error {
	var errs []error
	for _, b := range gather(msgs) {
		m, events, err := b.message()
		if err == nil {
			err = s.send(ctx, m, events)
		}
		if err == nil {
			continue
		}
		if errs == nil {
			errs = make([]error, len(msgs))
		}
		err = shared(err, len(b.msgs))
		for _, i := range b.places {
			errs[i] = err
		}
	}
	return errs
}

// shared says of an error with how many messages it has to do.
func shared(err error, n int) error {
	var e *sink.Error
	if n == 1 || !errors.As(err, &e) {
		return err
	}
	c := *e
	c.Shared = n
	return &c
}

func gather(msgs []*sink.Message) []*batch {
	var all []*batch
	for i, m := range msgs {
		open := all[max(len(all)-maxOpen, 0):]
		b := &batch{}
		if n := slices.IndexFunc(open, func(b *batch) bool { return b.takes(m) }); n >= 0 {
			b = open[n]
		} else {
			all = append(all, b)
		}
		b.msgs, b.places = append(b.msgs, m), append(b.places, i)
		b.body, b.events = b.body+len(m.Body)+1, b.events+len(m.ID)+1
	}
	return all
}

func (b *batch) takes(m *sink.Message) bool {
	first := b.msgs[0]
	return b.body+len(m.Body) <= maxBatchBody && b.events+len(m.ID) <= maxEvents && isCloudEvent(first) == isCloudEvent(m) &&
		slices.Equal(first.Headers, m.Headers) && maps.Equal(first.Params, m.Params)
}

// message puts b together, and lists the ids of its messages.
func (b *batch) message() (m *sink.Message, events string, err error) {
	first := b.msgs[0]
	m = &sink.Message{ID: first.ID, Headers: first.Headers, Params: first.Params, ContentType: "application/json"}
	if isCloudEvent(first) {
		m.ContentType = "application/cloudevents-batch+json"
	}
	ids := make([]string, len(b.msgs))
	m.Body = append(make([]byte, 0, b.body+2), '[')
	for i, one := range b.msgs {
		if ids[i] = one.ID; i > 0 {
			m.Body = append(m.Body, ',')
		}
		if m.Body, err = appendJSON(m.Body, one); err != nil {
			return nil, "", &sink.Error{Class: sink.Permanent, Code: "body_invalid", Err: err}
		}
	}
	m.Body = append(m.Body, ']')
	events = strings.Join(ids, ",")
	if len(ids) > 1 { // the same for the same messages, however often they are sent together
		sum := sha256.Sum256([]byte(events))
		m.ID = "batch_" + hex.EncodeToString(sum[:16])
	}
	return m, events, nil
}

// appendJSON appends a body as an item of an array: what is no JSON becomes a string.
func appendJSON(dst []byte, m *sink.Message) ([]byte, error) {
	if media, _, _ := strings.Cut(m.ContentType, ";"); media == "application/json" || strings.HasSuffix(media, "+json") {
		return append(dst, m.Body...), nil
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(string(m.Body)); err != nil {
		return dst, fmt.Errorf("encode body: %w", err)
	}
	return append(dst, bytes.TrimSuffix(b.Bytes(), []byte("\n"))...), nil
}

func isCloudEvent(m *sink.Message) bool {
	return strings.HasPrefix(m.ContentType, "application/cloudevents+json")
}
