package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

// transfer is one Send.
type transfer struct {
	*Sink
	*link
	ctx     context.Context
	msgs    []*sink.Message
	first   uint64 // N of msgs[0]
	waiting []bool // for the acknowledgement
	pending int    // of waiting
	errs    []error
	broken  bool
}

func (t *transfer) fail(i int, err error) {
	if t.errs == nil {
		t.errs = make([]error, len(t.msgs))
	}
	e := classify(t.conns.Error(t.ctx, err))
	t.broken = t.broken || e.Class == sink.Unavailable && e.Code != codeFull
	t.errs[i] = e
	t.settle(i)
}

func (t *transfer) settle(i int) {
	if t.waiting[i] {
		t.waiting[i] = false
		t.pending--
	}
}

// publish writes all messages.
func (t *transfer) publish() {
	most := t.MaxPayload()
	for i, m := range t.msgs {
		n := t.next
		t.next++
		msg, err := t.message(m)
		if err != nil {
			t.fail(i, err)
			continue
		}
		if n := int64(msg.Size()); n > most {
			t.fail(i, fmt.Errorf("%w: a message of %d bytes, more than the server's %d", nats.ErrMaxPayload, n, most))
			continue
		}
		msg.Reply = t.inbox + strconv.FormatUint(n, 10)
		if err := t.PublishMsg(msg); err != nil {
			t.fail(i, err)
			continue
		}
		t.waiting[i] = true
		t.pending++
	}
}

// message makes m's.
func (t *transfer) message(m *sink.Message) (*nats.Msg, error) {
	subject := m.Params[paramSubject]
	if !legalSubject(subject) {
		return nil, &sink.Error{Class: sink.Permanent, Code: "invalid_subject", Err: fmt.Errorf("%q is no subject to publish to", subject)}
	}
	msg := &nats.Msg{Subject: subject, Data: m.Body, Header: nats.Header{}}
	t.headers = m.EventHeaders(append(t.headers[:0], m.Headers...))
	for _, h := range t.headers {
		if !legalName(h.Name) || strings.ContainsAny(h.Value, "\r\n") || reserved(h.Name) {
			return nil, &sink.Error{Class: sink.Permanent, Code: "invalid_header", Err: fmt.Errorf("%q cannot be sent as a header: its name is reserved or not legal, or its value has a line break", h.Name)}
		}
		msg.Header[h.Name] = []string{h.Value}
	}
	msg.Header[jetstream.MsgIDHeader] = []string{m.ID}
	if stream := m.Params[paramStream]; stream != "" {
		msg.Header[jetstream.ExpectedStreamHeader] = []string{stream}
	}
	return msg, nil
}

// legalName reports whether s is a token, as names of headers are.
func legalName(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>@,;:\"/[]?={}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

// wait takes in the acknowledgements until all are there, or ctx or the connection
// ends.
func (t *transfer) wait() {
	for t.pending > 0 {
		select {
		case a := <-t.acks:
			t.take(a)
		case err := <-t.denied:
			t.deny(err)
		case <-t.closed:
			t.rest(t.lost())
		case <-t.ctx.Done():
			t.rest(t.ctx.Err())
		}
	}
}

// take takes in one answer.
func (t *transfer) take(a ack) {
	if a.n < t.first || a.n-t.first >= uint64(len(t.msgs)) || !t.waiting[a.n-t.first] {
		return
	}
	i := int(a.n - t.first)
	if err := refusal(a.msg); err != nil {
		t.fail(i, err)
		return
	}
	t.settle(i)
}

// refusal reads an answer; nil = the message is kept.
func refusal(m *nats.Msg) error {
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		return nats.ErrNoResponders
	}
	var answer struct {
		Stream string              `json:"stream"`
		Error  *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return &sink.Error{Class: sink.Misconfigured, Code: codeNoStream, Err: errors.New("somebody answers on the subject who is no stream")}
	}
	switch {
	case answer.Error != nil:
		return answer.Error
	case answer.Stream == "":
		return &sink.Error{Class: sink.Misconfigured, Code: codeNoStream, Err: errors.New("somebody answers on the subject who is no stream")}
	}
	return nil
}

// lost is why the connection ended.
func (t *transfer) lost() error {
	if err := t.LastError(); err != nil {
		return fmt.Errorf("%w: %w", nats.ErrConnectionClosed, err)
	}
	return nats.ErrConnectionClosed
}

// rest fails all that have no outcome yet. What was acknowledged already is kept.
func (t *transfer) rest(err error) {
	for {
		select {
		case a := <-t.acks:
			t.take(a)
			continue
		default:
		}
		break
	}
	for i, waiting := range t.waiting {
		if waiting {
			t.fail(i, err)
		}
	}
}

// deny fails the messages that will not be acknowledged for want of a right.
func (t *transfer) deny(err error) {
	publish := strings.Contains(strings.ToLower(err.Error()), "for publish to")
	for i, waiting := range t.waiting {
		// Without the right to subscribe no acknowledgement arrives at all.
		if waiting && (!publish || strings.Contains(err.Error(), `"`+t.msgs[i].Params[paramSubject]+`"`)) {
			t.fail(i, err)
			t.broken = true
		}
	}
}

const (
	codeTooLarge = "too_large"
	codeAuth     = "not_authorized"
	codeFull     = "stream_full"
	codeNoStream = "unknown_stream"
)

// Error codes of JetStream; its client names but some of them.
const (
	jsTooLarge    jetstream.ErrorCode = 10054
	jsNotExpected jetstream.ErrorCode = 10060
	jsStoreFailed jetstream.ErrorCode = 10077
	jsSealed      jetstream.ErrorCode = 10109
)

// classify says what an error means for the message.
func classify(err error) *sink.Error {
	var e *sink.Error
	if errors.As(err, &e) {
		return e
	}
	net := sink.Network(err)
	if net.Class == sink.Blocked || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return net
	}
	is := func(targets ...error) bool {
		for _, t := range targets {
			if errors.Is(err, t) {
				return true
			}
		}
		return false
	}
	var api *jetstream.APIError
	switch {
	case errors.As(err, &api):
		return classifyAPI(api, err)
	case is(nats.ErrMaxPayload):
		return &sink.Error{Class: sink.Permanent, Code: codeTooLarge, Err: err}
	case is(nats.ErrNoResponders):
		return &sink.Error{Class: sink.Misconfigured, Code: codeNoStream, Err: fmt.Errorf("no stream keeps the subject: %w", err)}
	case is(nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired, nats.ErrPermissionViolation):
		return &sink.Error{Class: sink.Misconfigured, Code: codeAuth, Err: err}
	case is(nats.ErrSecureConnRequired, nats.ErrSecureConnWanted, nats.ErrNkeysNotSupported, nats.ErrHeadersNotSupported):
		return &sink.Error{Class: sink.Misconfigured, Code: "configuration", Err: err}
	case is(nats.ErrTLS) && net.Code != sink.CodeTimeout:
		return &sink.Error{Class: sink.Unavailable, Code: sink.CodeTLS, Err: err}
	case is(nats.ErrTimeout):
		return &sink.Error{Class: sink.Unavailable, Code: sink.CodeTimeout, Err: err}
	case net.Code == sink.CodeOther && is(nats.ErrConnectionClosed, nats.ErrDisconnected, nats.ErrStaleConnection):
		return &sink.Error{Class: sink.Unavailable, Code: sink.CodeReset, Err: err}
	}
	return net
}

// classifyAPI says what a stream's refusal means.
func classifyAPI(api *jetstream.APIError, err error) *sink.Error {
	switch {
	case api.ErrorCode == jsTooLarge:
		return &sink.Error{Class: sink.Permanent, Code: codeTooLarge, Err: err}
	case api.ErrorCode == jsNotExpected, api.ErrorCode == jsSealed:
		return &sink.Error{Class: sink.Misconfigured, Code: "wrong_stream", Err: err}
	case api.ErrorCode == jsStoreFailed: // it is full, and set to refuse what is new
		return &sink.Error{Class: sink.Unavailable, Code: codeFull, Err: err}
	case api.Code >= 500:
		return &sink.Error{Class: sink.Unavailable, Code: "jetstream_error", Err: err}
	}
	return &sink.Error{Class: sink.Rejected, Code: "jetstream_error", Err: err}
}
