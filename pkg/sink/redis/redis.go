// Package redis sends messages to channels (PUBLISH) or streams (XADD) of Redis and
// compatible servers, one or a cluster.
//
//	Send ── all messages in one pipeline ── one reply a message
//
// A channel's message is the body alone, and gone if nobody listens. A stream's entry
// has the headers as fields and the body as its last field, body.
package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/sink/conns"
	"github.com/waltrigger/waltrigger/pkg/sink/details"
)

// Kind is the kind of Redis queues. A Send holds one message of a key at most: a server
// may refuse a command of a pipeline (no memory left) and take those after it.
var Kind = sink.Kind{
	Name:     "redis",
	Ordered:  true,
	MaxBatch: 512,
	Conn:     connParams,
	Params:   params,
	Check:    check,
	Addresses: func(conn map[string]any) []string {
		return details.Named(read(details.Check(conn, connParams)).address)
	},
	Open: func(_ context.Context, conn map[string]any, env sink.Env) (sink.Sink, error) {
		return open(conn, env)
	},
}

// fieldBody is the field of a stream's entry that holds the body.
const fieldBody = "body"

// Sink sends to one server or cluster.
type Sink struct {
	cfg   *config
	conns *conns.Set
	log   *slog.Logger

	client  redis.UniversalClient // nil = to be made
	limit   int                   // of a body, bytes; 0 = not asked for
	headers []sink.Header
	warned  time.Time // of a channel that nobody listens to
	unheard int       // messages since
}

// quiet keeps the client from writing to standard error.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

var setLogger = sync.OnceFunc(func() { redis.SetLogger(quiet{}) })

func open(conn map[string]any, env sink.Env) (*Sink, error) {
	setLogger()
	r := details.Read(conn)
	cfg := read(r)
	if err := r.Err(); err != nil {
		return nil, err
	}
	return &Sink{cfg: cfg, conns: conns.New(env.Dial), log: env.Log}, nil
}

func (s *Sink) connect() {
	if s.client != nil {
		return
	}
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		c := s.cfg.tls
		if c != nil && s.cfg.cluster { // each node has a name of its own
			host, _, err := net.SplitHostPort(address)
			if err != nil {
				return nil, fmt.Errorf("split address: %w", err)
			}
			c = c.Clone()
			c.ServerName = host
		}
		return s.conns.Dial(ctx, network, address, c)
	}
	quietly := &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	if s.cfg.cluster {
		s.client = redis.NewClusterClient(&redis.ClusterOptions{
			Addrs: []string{s.cfg.address}, Dialer: dial, Username: s.cfg.username, Password: s.cfg.password, Protocol: 2,
			MaxRetries: -1, DialerRetries: 1, ReadTimeout: -1, WriteTimeout: -1, ContextTimeoutEnabled: true, PoolSize: 1,
			PipelinePoolSize: 1, DisableIdentity: true, MaintNotificationsConfig: quietly,
		})
		return
	}
	s.client = redis.NewClient(&redis.Options{
		Addr: s.cfg.address, Dialer: dial, Username: s.cfg.username, Password: s.cfg.password, DB: s.cfg.db, Protocol: 2,
		MaxRetries: -1, DialerRetries: 1, ReadTimeout: -1, WriteTimeout: -1, ContextTimeoutEnabled: true, PoolSize: 1,
		PipelinePoolSize: 1, DisableIdentity: true, MaintNotificationsConfig: quietly,
	})
}

// Send sends msgs; see sink.Sink.
func (s *Sink) Send(ctx context.Context, msgs []*sink.Message) []error {
	if err := s.conns.Begin(ctx); err != nil {
		return sink.All(len(msgs), classify(err))
	}
	defer s.conns.End()
	s.connect()
	errs, broken := s.send(ctx, msgs)
	if broken || ctx.Err() != nil {
		_ = s.Close() // a new client asks anew where to connect to
	}
	return errs
}

// send makes one pipeline of msgs. broken = the connections are of no more use.
func (s *Sink) send(ctx context.Context, msgs []*sink.Message) (errs []error, broken bool) {
	fail := func(i int, err error) {
		if errs == nil {
			errs = make([]error, len(msgs))
		}
		errs[i] = err
	}
	limit := s.bodyLimit(ctx, msgs)
	pipe := s.client.Pipeline()
	cmds := make([]redis.Cmder, len(msgs))
	for i, m := range msgs {
		if len(m.Body) > limit {
			fail(i, &sink.Error{Class: sink.Permanent, Code: codeTooLarge, Err: fmt.Errorf("a body of %d bytes, more than the server's proto-max-bulk-len %d", len(m.Body), limit)})
			continue
		}
		var err error
		if cmds[i], err = s.command(ctx, pipe, m); err != nil {
			fail(i, err)
		}
	}
	if pipe.Len() == 0 {
		return errs, false
	}
	_, all := pipe.Exec(ctx)
	for i, c := range cmds {
		if c == nil {
			continue
		}
		err := c.Err()
		if err == nil && !answered(c) {
			// The client leaves no error in the commands if a new connection was refused
			// by a reply, such as that to a wrong password.
			if err = all; err == nil {
				err = errUnanswered
			}
		}
		if err != nil {
			e := classify(s.conns.Error(ctx, err))
			broken = broken || e.Class == sink.Unavailable || !isReply(err)
			fail(i, e)
		} else if p, ok := c.(*redis.IntCmd); ok && p.Val() == 0 {
			s.unheardOf(msgs[i].Params[paramChannel])
		}
	}
	return errs, broken
}

var errUnanswered = errors.New("the command has no answer")

// answered reports whether the server's answer was read.
func answered(c redis.Cmder) bool {
	switch c := c.(type) {
	case *redis.IntCmd:
		return c.Val() >= 0
	case *redis.StringCmd:
		return c.Val() != ""
	}
	return false
}

// command adds m's command to pipe.
func (s *Sink) command(ctx context.Context, pipe redis.Pipeliner, m *sink.Message) (redis.Cmder, error) {
	if channel := m.Params[paramChannel]; channel != "" {
		c := pipe.Publish(ctx, channel, m.Body)
		c.SetVal(-1) // for answered
		return c, nil
	}
	args := &redis.XAddArgs{Stream: m.Params[paramStream], Approx: true}
	if args.Stream == "" {
		return nil, &sink.Error{Class: sink.Misconfigured, Code: details.CodeConfig, Err: errors.New("the channel, or the stream, is empty")}
	}
	if v := m.Params[paramMaxLen]; v != "" {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < 1 {
			return nil, &sink.Error{Class: sink.Misconfigured, Code: details.CodeConfig, Err: fmt.Errorf("maxlen %q is no number of entries", v)}
		}
		args.MaxLen = n
	}
	if v := m.Params[paramNoMkStream]; v != "" {
		b, err := strconv.ParseBool(v)
		if err != nil {
			return nil, &sink.Error{Class: sink.Misconfigured, Code: details.CodeConfig, Err: fmt.Errorf("nomkstream %q is neither true nor false", v)}
		}
		args.NoMkStream = b
	}
	// Readers that make a table of the fields take the last of a name.
	s.headers = m.EventHeaders(append(s.headers[:0], m.Headers...))
	values := make([]any, 0, 2*len(s.headers)+2)
	for _, h := range s.headers {
		values = append(values, h.Name, h.Value)
	}
	args.Values = append(values, fieldBody, m.Body)
	return pipe.XAdd(ctx, args), nil
}

// The server's limit of one argument: its default, and the least that it can be set to.
const (
	defaultLimit = 512 << 20
	leastLimit   = 1 << 20
)

// bodyLimit asks the server what it takes if a body may be too large: it would close
// the connection, and not always get its reason across.
func (s *Sink) bodyLimit(ctx context.Context, msgs []*sink.Message) int {
	large := false
	for _, m := range msgs {
		large = large || len(m.Body) > leastLimit
	}
	if !large {
		return leastLimit
	}
	if s.limit == 0 {
		got, err := s.client.ConfigGet(ctx, "proto-max-bulk-len").Result()
		if n, nerr := strconv.Atoi(got["proto-max-bulk-len"]); err == nil && nerr == nil && n > 0 {
			s.limit = n
		} else if err == nil || isReply(err) { // not allowed to ask
			s.limit = defaultLimit
		} else {
			return defaultLimit
		}
	}
	return s.limit
}

// warnEvery is how often it is said that nobody listens.
const warnEvery = time.Minute

// unheardOf notes a message that was published to nobody: it is accepted and gone.
func (s *Sink) unheardOf(channel string) {
	s.unheard++
	if s.log == nil || time.Since(s.warned) < warnEvery {
		return
	}
	s.log.Warn("published to a channel that nobody listens to: the messages are gone", "channel", channel, "messages", s.unheard)
	s.warned, s.unheard = time.Now(), 0
}

// Close closes the connections.
func (s *Sink) Close() error {
	s.conns.CloseAll()
	s.limit = 0
	if s.client == nil {
		return nil
	}
	_ = s.client.Close() // its connections are closed already
	s.client = nil
	return nil
}
