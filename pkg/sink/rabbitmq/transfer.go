package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

// transfer is one Send.
type transfer struct {
	*Sink
	ctx    context.Context
	msgs   []*sink.Message
	errs   []error
	broken bool // the connection is of no more use
}

// sent is a message that waits for its confirm.
type sent struct {
	i       int
	channel *channel
	confirm *amqp.DeferredConfirmation
}

func (t *transfer) fail(i int, err error) {
	if t.errs == nil {
		t.errs = make([]error, len(t.msgs))
	}
	e := classify(t.conns.Error(t.ctx, err))
	// A connection that failed under a write says only later that it is closed.
	t.broken = t.broken || e.Code == sink.CodeReset && !errors.Is(err, errLost)
	t.errs[i] = e
}

// large is from what size on a message is sent alone, so that it alone is blamed if the
// server closes the channel over its size.
const large = 1 << 20

// run sends the small messages at once, then the large ones one by one.
func (t *transfer) run() {
	var together, alone []int
	for i, m := range t.msgs {
		if len(m.Body) > large {
			alone = append(alone, i)
		} else {
			together = append(together, i)
		}
	}
	t.round(together)
	for _, i := range alone {
		t.round([]int{i})
	}
}

// round publishes some of the messages and waits for their confirms.
func (t *transfer) round(indices []int) {
	waiting := make([]sent, 0, len(indices))
	for _, i := range indices {
		if s, err := t.publish(i); err != nil {
			t.fail(i, err)
		} else {
			waiting = append(waiting, s)
		}
	}
	returned := map[string]amqp.Return{}
	for _, s := range waiting {
		err := t.await(s, returned, len(waiting))
		if err != nil {
			t.fail(s.i, err)
		}
	}
}

// publish writes one message.
func (t *transfer) publish(i int) (sent, error) {
	m := t.msgs[i]
	exchange, key := m.Params[paramExchange], m.Params[paramRoutingKey]
	if queue := m.Params[paramQueue]; queue != "" {
		exchange, key = "", queue
	}
	p, err := t.publishing(m, exchange, key)
	if err != nil {
		return sent{}, err
	}
	c, err := t.link.channel(exchange)
	if err != nil {
		return sent{}, err
	}
	confirm, err := c.PublishWithDeferredConfirmWithContext(t.ctx, exchange, key, true, false, *p)
	if err != nil {
		return sent{}, err
	}
	return sent{i, c, confirm}, nil
}

// publishing makes m's.
func (t *transfer) publishing(m *sink.Message, exchange, key string) (*amqp.Publishing, error) {
	if t.most > 0 && len(m.Body) > t.most {
		return nil, &sink.Error{Class: sink.Permanent, Code: codeTooLarge, Err: fmt.Errorf("a body of %d bytes, more than the server's %d", len(m.Body), t.most)}
	}
	if exchange == "" && key == "" {
		return nil, &sink.Error{Class: sink.Misconfigured, Code: "configuration", Err: errors.New("the queue, or the exchange, is empty")}
	}
	for _, s := range []string{exchange, key, m.ID, m.ContentType, m.Signal} {
		if len(s) > longest {
			return nil, &sink.Error{Class: sink.Permanent, Code: "name_too_long", Err: fmt.Errorf("%.40q… is longer than %d bytes", s, longest)}
		}
	}
	headers := amqp.Table{}
	size := 0
	for _, h := range m.EventHeaders(append([]sink.Header(nil), m.Headers...)) {
		if len(h.Name) > longest || h.Name == "" {
			return nil, &sink.Error{Class: sink.Permanent, Code: codeHeader, Err: fmt.Errorf("the name of header %.40q is empty or longer than %d bytes", h.Name, longest)}
		}
		headers[h.Name] = h.Value
		size += len(h.Name) + len(h.Value) + 6
	}
	// The properties of a message travel in one frame.
	if most := t.link.conn.Config.FrameSize; most > 0 && size+2048 > most {
		return nil, &sink.Error{Class: sink.Permanent, Code: codeHeader, Err: fmt.Errorf("headers of %d bytes, more than a frame of %d holds", size, most)}
	}
	return &amqp.Publishing{
		Headers: headers, ContentType: m.ContentType, DeliveryMode: amqp.Persistent, MessageId: m.ID, Timestamp: m.Committed.UTC(),
		Type: m.Signal, AppId: "waltrigger", Body: m.Body,
	}, nil
}

// await waits for a message's confirm; others = how many were under way together.
func (t *transfer) await(s sent, returned map[string]amqp.Return, others int) error {
	select {
	case <-s.confirm.Done():
	default:
		select {
		case <-s.confirm.Done():
		case <-t.ctx.Done():
		}
	}
	select {
	case <-s.confirm.Done():
	default:
		if why := t.link.blockedBy(); why != "" {
			return &sink.Error{Class: sink.Unavailable, Code: codeBlocked, Err: fmt.Errorf("%s: %w", why, t.ctx.Err())}
		}
		return t.ctx.Err()
	}
	m := t.msgs[s.i]
	if s.confirm.Acked() {
		return t.unroutable(s.channel, m, returned)
	}
	if !s.channel.IsClosed() {
		return &sink.Error{Class: sink.Unavailable, Code: "not_confirmed", Err: errors.New("the server refused to keep the message: its queue may be full")}
	}
	return t.closed(s, others)
}

// unroutable says whether the server gave the message back. It does so before it
// confirms it.
func (t *transfer) unroutable(c *channel, m *sink.Message, returned map[string]amqp.Return) error {
	for {
		select {
		case r, ok := <-c.returns:
			if ok {
				returned[r.MessageId] = r
				continue
			}
		default:
		}
		break
	}
	r, ok := returned[m.ID]
	if !ok {
		return nil
	}
	return &sink.Error{Class: sink.Misconfigured, Code: codeUnroutable, Err: fmt.Errorf("no queue takes the message: exchange %q, routing key %q: %d %s", r.Exchange, r.RoutingKey, r.ReplyCode, r.ReplyText)}
}

var sizes = regexp.MustCompile(`message size (\d+) .*?max(?:imum)? size (\d+)`)

// closed is why the channel ended over s, or over one that was under way with it.
func (t *transfer) closed(s sent, others int) error {
	var why *amqp.Error
	select {
	case why = <-s.channel.ended:
	default:
	}
	if why != nil {
		s.channel.ended = make(chan *amqp.Error, 1) // for the others of this channel
		s.channel.ended <- why
	}
	if why == nil {
		return errLost
	}
	if found := sizes.FindStringSubmatch(why.Reason); found != nil {
		size, _ := strconv.Atoi(found[1])
		if most, err := strconv.Atoi(found[2]); err == nil && most > 0 {
			t.most = most
		}
		if others == 1 || len(t.msgs[s.i].Body) == size || t.most > 0 && len(t.msgs[s.i].Body) > t.most {
			return &sink.Error{Class: sink.Permanent, Code: codeTooLarge, Err: why}
		}
		return fmt.Errorf("%w: %w", errLost, errOther)
	}
	return why
}

var (
	errLost  = errors.New("the channel ended before the message was confirmed")
	errOther = errors.New("the server closed it over another message")
)

const (
	codeTooLarge   = "too_large"
	codeAuth       = "not_authorized"
	codeUnroutable = "unroutable"
	codeBlocked    = "blocked_by_broker"
	codeHeader     = "invalid_header"
	codeVhost      = "unknown_virtualhost"
)

// classify says what an error means for the message.
func classify(err error) *sink.Error {
	var (
		e *sink.Error
		a *amqp.Error
	)
	if errors.As(err, &e) {
		return e
	}
	net := sink.Network(err)
	if net.Class == sink.Blocked || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return net
	}
	switch {
	case errors.Is(err, amqp.ErrCredentials), errors.Is(err, amqp.ErrSASL):
		return &sink.Error{Class: sink.Misconfigured, Code: codeAuth, Err: err}
	case errors.Is(err, amqp.ErrVhost):
		return &sink.Error{Class: sink.Misconfigured, Code: codeVhost, Err: err}
	case errors.Is(err, errLost), errors.Is(err, amqp.ErrClosed):
		return &sink.Error{Class: sink.Unavailable, Code: sink.CodeReset, Err: err}
	case errors.As(err, &a):
		return classifyReply(a, err)
	}
	return net
}

// classifyReply says what a reply code of the server means.
func classifyReply(a *amqp.Error, err error) *sink.Error {
	switch a.Code {
	case amqp.AccessRefused:
		return &sink.Error{Class: sink.Misconfigured, Code: codeAuth, Err: err}
	case amqp.NotFound:
		return &sink.Error{Class: sink.Misconfigured, Code: "unknown_exchange", Err: err}
	case amqp.NotAllowed:
		if strings.Contains(a.Reason, "vhost") {
			return &sink.Error{Class: sink.Misconfigured, Code: codeVhost, Err: err}
		}
		return &sink.Error{Class: sink.Misconfigured, Code: "not_allowed", Err: err}
	case amqp.ContentTooLarge:
		return &sink.Error{Class: sink.Permanent, Code: codeTooLarge, Err: err}
	case amqp.ConnectionForced:
		return &sink.Error{Class: sink.Unavailable, Code: sink.CodeReset, Err: err}
	case amqp.FrameError, amqp.SyntaxError, amqp.CommandInvalid, amqp.UnexpectedFrame, amqp.ChannelError:
		return &sink.Error{Class: sink.Unavailable, Code: sink.CodeReset, Err: err}
	}
	return &sink.Error{Class: sink.Unavailable, Code: "amqp_" + strconv.Itoa(a.Code), Err: err}
}
