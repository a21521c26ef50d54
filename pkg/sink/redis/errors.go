package redis

import (
	"errors"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/sink/details"
)

const (
	codeTooLarge = "too_large"
	codeAuth     = "not_authorized"
)

// isReply tells errors that the server answered from all others.
func isReply(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply)
}

// replies are what servers answer, by how it begins.
var replies = []struct {
	begins string
	class  sink.Class
	code   string
}{
	{"WRONGPASS", sink.Misconfigured, codeAuth},
	{"NOAUTH", sink.Misconfigured, codeAuth},
	{"NOPERM", sink.Misconfigured, codeAuth},
	{"ERR invalid password", sink.Misconfigured, codeAuth},
	{"ERR AUTH", sink.Misconfigured, codeAuth},
	{"ERR DB index", sink.Misconfigured, details.CodeConfig},
	{"ERR invalid DB", sink.Misconfigured, details.CodeConfig},
	{"ERR unknown command", sink.Misconfigured, details.CodeConfig},
	{"ERR This instance has cluster support disabled", sink.Misconfigured, details.CodeConfig},
	{"ERR Protocol error: unauthenticated", sink.Misconfigured, codeAuth},
	{"MOVED", sink.Misconfigured, details.CodeConfig}, // followed if the details say cluster
	{"WRONGTYPE", sink.Misconfigured, "wrong_type"},
	{"ERR Protocol error: invalid bulk length", sink.Permanent, codeTooLarge},
	{"ERR string exceeds maximum allowed size", sink.Permanent, codeTooLarge},
	{"OOM", sink.Unavailable, "out_of_memory"},
	{"READONLY", sink.Unavailable, "read_only"},
	{"LOADING", sink.Unavailable, "loading"},
	{"MISCONF", sink.Unavailable, "cannot_save"},
	{"NOREPLICAS", sink.Unavailable, "no_replicas"},
	{"BUSY", sink.Unavailable, "busy"},
	{"CLUSTERDOWN", sink.Unavailable, "cluster_down"},
	{"MASTERDOWN", sink.Unavailable, "master_down"},
	{"TRYAGAIN", sink.Unavailable, "try_again"},
	{"ASK", sink.Unavailable, "try_again"},
	{"ERR max number of clients reached", sink.Unavailable, "too_many_clients"},
}

// classify says what an error means for the message.
func classify(err error) *sink.Error {
	if errors.Is(err, redis.Nil) {
		return &sink.Error{Class: sink.Misconfigured, Code: "unknown_stream", Err: errors.New("there is no such stream, and nomkstream is true")}
	}
	var reply redis.Error
	if !errors.As(err, &reply) {
		return sink.Network(err)
	}
	for _, r := range replies {
		if strings.HasPrefix(reply.Error(), r.begins) {
			return &sink.Error{Class: r.class, Code: r.code, Err: err}
		}
	}
	return &sink.Error{Class: sink.Rejected, Code: "redis_error", Err: err}
}
