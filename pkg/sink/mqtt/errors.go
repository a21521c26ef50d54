package mqtt

import (
	"errors"
	"fmt"

	"github.com/eclipse/paho.golang/paho"

	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/sink/details"
)

const (
	codeTooLarge = "too_large"
	codeAuth     = "not_authorized"
	codeTopic    = "invalid_topic"
)

// refusedError is a reason code of the server (MQTT 5, section 2.4).
type refusedError struct {
	code   byte
	reason string // of the server, perhaps ""
}

func (e *refusedError) Error() string {
	text := reasons[e.code].text
	if text == "" {
		text = "the server's reason"
	}
	if e.reason != "" {
		return fmt.Sprintf("%s (0x%02X): %s", text, e.code, e.reason)
	}
	return fmt.Sprintf("%s (0x%02X)", text, e.code)
}

// ofMessage reports whether a message brought it about, rather than the connection.
func (e *refusedError) ofMessage() bool {
	c := reasons[e.code].class
	return c == sink.Permanent || c == sink.Misconfigured
}

func connectRefused(c *paho.Connack) error {
	e := &refusedError{code: c.ReasonCode}
	if c.Properties != nil {
		e.reason = c.Properties.ReasonString
	}
	return e
}

func disconnected(d *paho.Disconnect) error {
	e := &refusedError{code: d.ReasonCode}
	if d.Properties != nil {
		e.reason = d.Properties.ReasonString
	}
	return e
}

// reasons say what the codes mean for a message; those that are not here are refusals.
var reasons = map[byte]struct {
	class sink.Class
	code  string
	text  string
}{
	0x00: {sink.Unavailable, sink.CodeReset, "the server closed the connection"},
	0x82: {sink.Permanent, "protocol_error", "protocol error"},
	0x84: {sink.Misconfigured, details.CodeConfig, "the server does not speak MQTT 5"},
	0x85: {sink.Misconfigured, details.CodeConfig, "client_id not allowed"},
	0x86: {sink.Misconfigured, codeAuth, "wrong username or password"},
	0x87: {sink.Misconfigured, codeAuth, "not authorized"},
	0x88: {sink.Unavailable, "server_unavailable", "server unavailable"},
	0x89: {sink.Unavailable, "server_busy", "server busy"},
	0x8A: {sink.Misconfigured, codeAuth, "banned"},
	0x8B: {sink.Unavailable, sink.CodeReset, "server shutting down"},
	0x8C: {sink.Misconfigured, codeAuth, "bad authentication method"},
	0x8D: {sink.Unavailable, sink.CodeTimeout, "keep alive timeout"},
	0x8E: {sink.Unavailable, "session_taken_over", "another client uses the same client_id"},
	0x90: {sink.Permanent, codeTopic, "topic name invalid"},
	0x91: {sink.Unavailable, "packet_id_in_use", "packet identifier in use"},
	0x93: {sink.Unavailable, "receive_maximum", "receive maximum exceeded"},
	0x95: {sink.Permanent, codeTooLarge, "packet too large"},
	0x96: {sink.Unavailable, "message_rate_too_high", "message rate too high"},
	0x97: {sink.Unavailable, "quota_exceeded", "quota exceeded"},
	0x98: {sink.Unavailable, sink.CodeReset, "closed by the administrator"},
	0x99: {sink.Permanent, "payload_format", "payload format invalid"},
	0x9A: {sink.Misconfigured, details.CodeConfig, "the server keeps no retained messages"},
	0x9B: {sink.Misconfigured, details.CodeConfig, "the server does not offer this qos"},
	0x9C: {sink.Misconfigured, details.CodeConfig, "the server asks to use another server"},
	0x9D: {sink.Misconfigured, details.CodeConfig, "the server has moved"},
	0x9F: {sink.Unavailable, "connection_rate", "connection rate exceeded"},
}

// classify says what an error means for the message.
func classify(err error) *sink.Error {
	var (
		e       *sink.Error
		refused *refusedError
	)
	switch {
	case errors.As(err, &e):
		return e
	case errors.As(err, &refused):
		if r, ok := reasons[refused.code]; ok {
			return &sink.Error{Class: r.class, Code: r.code, Err: err}
		}
		return &sink.Error{Class: sink.Rejected, Code: fmt.Sprintf("reason_%02x", refused.code), Err: err}
	case errors.Is(err, paho.ErrInvalidArguments):
		return &sink.Error{Class: sink.Misconfigured, Code: details.CodeConfig, Err: err}
	}
	e = sink.Network(err)
	if e.Code == sink.CodeOther && (errors.Is(err, errLost) || errors.Is(err, errNotSent) || errors.Is(err, errOther)) {
		e.Code = sink.CodeReset
	}
	return e
}
