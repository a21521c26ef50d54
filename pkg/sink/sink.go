// Package sink defines what a destination of messages must offer. Each kind of
// destination lives in a folder of its own below this one, passes sinktest and has
// one line in all.
package sink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"
)

// Header is a header or attribute sent with a message.
type Header struct{ Name, Value string }

// Message is one delivery, with everything about it fixed but what is resolved at
// each attempt (Params, Headers): a retry is pure I/O. Sinks do not change it.
type Message struct {
	ID          string // stable over every redelivery; for deduplication
	Key         []byte // ordering key; empty = none
	Body        []byte
	ContentType string            // of Body: application/json or text/plain; charset=utf-8
	Headers     []Header          // the trigger's headers, and parameters the kind does not know
	Params      map[string]string // the kind's own parameters (topic, url, …); often shared between messages
	Signal      string
	Model       string // app_label.ModelName
	Committed   time.Time
}

// Names of the headers or attributes that kinds other than webhooks send with every
// message.
const (
	HeaderEventID     = "event-id" // Message.ID
	HeaderSignal      = "event-signal"
	HeaderModel       = "event-content-type"
	HeaderCommitted   = "event-committed-at" // RFC 3339, UTC
	HeaderContentType = "content-type"       // of the body
)

// HeaderTest marks a message that somebody sent to try a trigger: its value is true.
const HeaderTest = "waltrigger-test"

// EventHeaders appends the headers that say what m is about.
func (m *Message) EventHeaders(dst []Header) []Header {
	return append(dst, Header{HeaderEventID, m.ID}, Header{HeaderSignal, m.Signal}, Header{HeaderModel, m.Model},
		Header{HeaderCommitted, m.Committed.UTC().Format(time.RFC3339Nano)}, Header{HeaderContentType, m.ContentType})
}

// Sink sends messages to one place. Connecting is lazy or part of Open; a Sink mends
// its own connections.
type Sink interface {
	// Send tries each message once and returns nil if all are durably accepted, else
	// one entry a message (nil = accepted). It never retries on its own account and
	// never waits longer than ctx allows; after it returned, nothing of msgs is still
	// under way. Errors that are no *Error count as Unavailable.
	//
	// A kind that is Ordered is called by one goroutine, with messages in order, at
	// most one of a key in msgs unless the kind says Pipelined; others are called from
	// many goroutines at once, with messages of different keys.
	Send(ctx context.Context, msgs []*Message) []error
	// Close releases connections. No Send is running or follows.
	Close() error
}

// Limits are what a destination sets for itself. Zero values leave it to the configuration.
type Limits struct {
	MaxInFlight int             // requests under way at once
	Rate        float64         // messages a second, at most; 0 = no limit
	Schedule    []time.Duration // delays before the retries of a refused message; empty and not nil: there are none
	Batch       int             // messages in one Send of a kind that would take one
	Paused      bool            // nothing is sent for now
}

// Env is what a Sink gets from its surroundings.
type Env struct {
	// Dial opens every connection of the sink, also those that a peer names
	// (redirects, advertised brokers): it refuses addresses that are not allowed.
	// Such a refusal has a method Blocked() bool.
	Dial    func(ctx context.Context, network, address string) (net.Conn, error)
	Log     *slog.Logger
	Version string // of the daemon, for peers that are told who calls; "" = dev
}

// Param is a connection detail or a parameter that a Kind knows.
type Param struct {
	Name     string
	Required bool
	Secret   bool // never shown
}

// Kind is a type of destination.
type Kind struct {
	Name      string
	Ordered   bool // one sender for all keys; else keys go in parallel
	Pipelined bool // an Ordered kind that keeps the order of several messages of one key in one Send
	MaxBatch  int  // messages in one Send
	Dry       bool // nothing leaves
	Conn      []Param
	Params    []Param // anything else goes along as a Header
	// Check says what is wrong with conn and params before anything is resolved:
	// template strings ({{ … }}) count as present and of any value.
	Check func(conn, params map[string]any) []Problem
	// Addresses are the host:port that messages go to, as far as conn names them and
	// holds no templates there. Nil: conn names none.
	Addresses func(conn map[string]any) []string
	// Open makes a Sink. conn is resolved: it holds no templates.
	Open func(ctx context.Context, conn map[string]any, env Env) (Sink, error)
}

// Problem is something wrong with a setting.
type Problem struct {
	Field  string // "conn_details/bootstrap_servers", "parameters/topic"
	Code   string // required, invalid, unknown
	Detail string
}

// Class says what a failed Send means for the message and its destination.
type Class uint8

// Classes. Unavailable concerns the destination and everything sent to it; the others
// concern this one message.
const (
	Unavailable   Class = iota // connect, TLS, time-out, 429, 5xx: try again later
	Rejected                   // refused (4xx): try again on a schedule, then give up
	Permanent                  // can never succeed as it is: too large, not a legal header
	Blocked                    // the address is not allowed by the operator
	Misconfigured              // wrong credentials, missing topic: needs a human, then retried
	Gone                       // the receiver asks to be left alone (410)
)

// String gives the name used in metrics and answers.
func (c Class) String() string {
	return [...]string{"unavailable", "rejected", "permanent", "blocked", "misconfigured", "gone"}[c]
}

// Error is a classified failure of one message. Its text never holds a secret.
type Error struct {
	Class      Class
	Code       string        // short and stable, for metrics: http_503, timeout, too_large
	RetryAfter time.Duration // the receiver's wish; 0 = none
	Shared     int           // messages that failed together, any of which may be to blame; 0 or 1 = this one alone
	Err        error
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %v", e.Code, e.Err) }

func (e *Error) Unwrap() error { return e.Err }

// Classify returns err as *Error: refusals of Env.Dial are Blocked, failures of the
// network have the codes of Network, all else is Unavailable.
func Classify(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return Network(err)
}

// All returns n copies of err, for a Send that failed as a whole.
func All(n int, err error) []error {
	errs := make([]error, n)
	for i := range errs {
		errs[i] = err
	}
	return errs
}
