package pubsub

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

const (
	codeAuth     = "not_authorized"
	codeTopic    = "unknown_topic"
	codeTooLarge = "too_large"
)

// meanings of the codes of gRPC; those that are not here concern the destination.
var meanings = map[codes.Code]struct {
	class sink.Class
	code  string
}{
	codes.NotFound:           {sink.Misconfigured, codeTopic},
	codes.PermissionDenied:   {sink.Misconfigured, codeAuth},
	codes.Unauthenticated:    {sink.Misconfigured, codeAuth},
	codes.FailedPrecondition: {sink.Misconfigured, "failed_precondition"}, // a key of an encryption, say
	codes.Unimplemented:      {sink.Misconfigured, codeConfig},
	codes.InvalidArgument:    {sink.Rejected, "invalid_argument"},
	codes.OutOfRange:         {sink.Rejected, "invalid_argument"},
	codes.ResourceExhausted:  {sink.Unavailable, "throttled"},
	codes.DeadlineExceeded:   {sink.Unavailable, sink.CodeTimeout},
}

// maxText bounds what an error repeats of the service's own words, in bytes.
const maxText = 300

// failed classifies an error of a request.
func (t *transfer) failed(err error) *sink.Error {
	if t.ctx.Err() != nil {
		return sink.Network(t.ctx.Err())
	}
	st := status.Convert(err)
	text := strings.Join(strings.Fields(strings.ToValidUTF8(st.Message(), "?")), " ")
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	if st.Code() == codes.Unavailable {
		t.broken.Store(true)
		if refused := t.conns.Refusal(); refused != nil {
			return sink.Network(refused)
		}
		code := "unavailable"
		if strings.Contains(text, "authentication handshake failed") {
			code = sink.CodeTLS
		}
		return &sink.Error{Code: code, RetryAfter: retryAfter(st), Err: fmt.Errorf("topic %s: %s", t.cfg.topic, text)}
	}
	e := &sink.Error{Class: sink.Unavailable, Code: "pubsub_error", RetryAfter: retryAfter(st)}
	if m, ok := meanings[st.Code()]; ok {
		e.Class, e.Code = m.class, m.code
	}
	if e.Class == sink.Rejected && strings.Contains(text, "size") && strings.Contains(text, "exceed") {
		e.Class, e.Code = sink.Permanent, codeTooLarge
	}
	if e.Class != sink.Unavailable {
		e.RetryAfter = 0
	}
	e.Err = fmt.Errorf("topic %s: %s: %s", t.cfg.topic, st.Code(), text)
	return e
}

// maxRetryAfter bounds what the service may ask for.
const maxRetryAfter = 24 * time.Hour

func retryAfter(st *status.Status) time.Duration {
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.RetryInfo); ok && info.RetryDelay.IsValid() {
			return min(max(info.RetryDelay.AsDuration(), 0), maxRetryAfter)
		}
	}
	return 0
}
