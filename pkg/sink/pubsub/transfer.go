package pubsub

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/protobuf/proto"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

// transfer is one Send.
type transfer struct {
	*Sink
	ctx    context.Context // with what goes along with each request
	client pubsubpb.PublisherClient
	errs   []error // one a message; lanes write theirs only
	broken atomic.Bool
}

// item is a message in the form of the service.
type item struct {
	i     int // in the Send
	m     *pubsubpb.PubsubMessage
	bytes int
}

// lane is the messages of one ordering key, in order.
type lane []item

// lanes groups messages by ordering key. Without one, messages have no order.
func (t *transfer) lanes(msgs []*sink.Message) []lane {
	var out []lane
	at := map[string]int{}
	refused := map[string]bool{}
	for i, m := range msgs {
		key := ""
		if t.cfg.ordering {
			key = orderingKey(m.Key)
		}
		if refused[key] {
			t.errs[i] = heldBack(nil)
			continue
		}
		pm, err := message(m, key)
		if err != nil {
			t.errs[i] = err
			refused[key] = key != ""
			continue
		}
		n, ok := at[key]
		if !ok {
			n = len(out)
			at[key] = n
			out = append(out, nil)
		}
		out[n] = append(out[n], item{i, pm, proto.Size(pm) + 8})
	}
	return out
}

// lane publishes one, request after request.
func (t *transfer) lane(l lane) {
	for len(l) > 0 {
		n, bytes := 1, overhead+l[0].bytes
		for n < len(l) && n < maxMessages && bytes+l[n].bytes <= maxRequest {
			bytes += l[n].bytes
			n++
		}
		if err := t.publish(l[:n]); err != nil && l.ordered() {
			t.fail(l[n:], heldBack(err))
			return
		}
		l = l[n:]
	}
}

func (l lane) ordered() bool { return l[0].m.OrderingKey != "" }

func (t *transfer) fail(l lane, err *sink.Error) {
	for _, it := range l {
		t.errs[it.i] = err
	}
}

// heldBack is for what follows a message that failed with err; nil = was refused.
func heldBack(err *sink.Error) *sink.Error {
	if err != nil && !ofOneMessage(err) {
		return err // of the destination
	}
	return &sink.Error{Class: sink.Permanent, Code: "held_back", Err: errHeldBack}
}

func ofOneMessage(err *sink.Error) bool {
	return err.Class == sink.Rejected || err.Class == sink.Permanent
}

// publish makes one request and notes its outcome, which is that of all its messages.
// A request that was refused because of a message in it is made again in halves, so that
// the others get through. It returns an error if a message failed.
func (t *transfer) publish(l lane) *sink.Error {
	err := t.request(l)
	switch {
	case err == nil:
		return nil
	case len(l) == 1 || !ofOneMessage(err):
		t.fail(l, err)
		return err
	}
	first, rest := l[:len(l)/2], l[len(l)/2:]
	if err = t.publish(first); err != nil && l.ordered() {
		t.fail(rest, heldBack(err))
		return err
	}
	if rerr := t.publish(rest); rerr != nil {
		err = rerr
	}
	return err
}

func (t *transfer) request(l lane) *sink.Error {
	req := &pubsubpb.PublishRequest{Topic: t.topic, Messages: make([]*pubsubpb.PubsubMessage, len(l))}
	for i, it := range l {
		req.Messages[i] = it.m
	}
	resp, err := t.client.Publish(t.ctx, req)
	if err != nil {
		return t.failed(err)
	}
	if len(resp.MessageIds) != len(l) {
		return &sink.Error{Code: "response_invalid", Err: fmt.Errorf("topic %s: %d ids for %d messages", t.cfg.topic, len(resp.MessageIds), len(l))}
	}
	return nil
}

// Limits of attributes, in bytes.
const (
	maxAttributes     = 100
	maxAttributeName  = 256
	maxAttributeValue = 1024
	maxOrderingKey    = 1024
)

// message gives m the form of the service; the error is Permanent.
func message(m *sink.Message, key string) (*pubsubpb.PubsubMessage, error) {
	permanent := func(code, format string, args ...any) error {
		return &sink.Error{Class: sink.Permanent, Code: code, Err: fmt.Errorf(format, args...)}
	}
	all := m.EventHeaders(nil)
	own := len(all)
	all = append(all, m.Headers...)
	if len(all) > maxAttributes {
		return nil, permanent("header_invalid", "%d attributes, more than %d", len(all), maxAttributes)
	}
	pm := &pubsubpb.PubsubMessage{Data: m.Body, OrderingKey: key, Attributes: make(map[string]string, len(all))}
	for i, h := range all {
		_, twice := pm.Attributes[h.Name]
		switch {
		case twice && i >= own && isEventHeader(h.Name):
			return nil, permanent("header_invalid", "attribute %s is set by waltrigger and cannot be set by a trigger", h.Name)
		case twice:
			return nil, permanent("header_invalid", "attribute %s is given twice", h.Name)
		case !utf8.ValidString(h.Value):
			return nil, permanent("header_invalid", "attribute %s is no UTF-8", h.Name)
		case len(h.Value) > maxAttributeValue:
			return nil, permanent("header_invalid", "attribute %s has %d bytes, more than %d", h.Name, len(h.Value), maxAttributeValue)
		}
		if err := checkName(h.Name); err != nil {
			return nil, permanent("header_invalid", "%w", err)
		}
		pm.Attributes[h.Name] = h.Value
	}
	if n := proto.Size(pm); n > maxMessage {
		return nil, permanent("too_large", "body and attributes have %d bytes, more than %d", n, maxMessage)
	}
	return pm, nil
}

func isEventHeader(name string) bool {
	for _, h := range (&sink.Message{}).EventHeaders(nil) {
		if h.Name == name {
			return true
		}
	}
	return false
}

func checkName(name string) error {
	switch {
	case name == "" || !utf8.ValidString(name) || len(name) > maxAttributeName:
		return errors.New("an attribute's name is empty, no UTF-8 or longer than 256 bytes")
	case strings.HasPrefix(strings.ToLower(name), "goog"):
		return fmt.Errorf("attribute %.100s: names that begin with goog are reserved", name)
	}
	return nil
}

func escape(s string) string { return url.QueryEscape(s) }
