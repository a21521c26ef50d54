package webhook

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

// request is all that goes into a request; it was checked.
type request struct {
	*target
	method string
	agent  string
	m      *sink.Message
	signer *signer // nil: not signed
	events string  // "" = m is a message of its own
}

func (q *request) appendHead(dst []byte) []byte {
	m := q.m
	dst = append(dst, q.method...)
	dst = append(dst, ' ')
	dst = append(dst, q.path...)
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = append(dst, q.host...)
	dst = append(dst, "\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(m.Body)), 10)
	dst = append(dst, "\r\nwebhook-id: "...)
	dst = append(dst, m.ID...)
	dst = append(dst, "\r\nwebhook-timestamp: "...)
	now := time.Now().Unix()
	dst = strconv.AppendInt(dst, now, 10)
	if q.signer != nil {
		dst = append(dst, "\r\nwebhook-signature: "...)
		dst = q.signer.append(dst, m.ID, now, m.Body)
	}
	if q.events != "" {
		dst = append(dst, "\r\nwebhook-batch-ids: "...)
		dst = append(dst, q.events...)
	}
	var own given
	for i := range m.Headers {
		h := &m.Headers[i]
		own.note(h.Name)
		dst = append(dst, "\r\n"...)
		dst = append(dst, h.Name...)
		dst = append(dst, ": "...)
		dst = append(dst, h.Value...)
	}
	if !own.traceparent {
		dst = append(dst, "\r\ntraceparent: "...)
		dst = appendTraceparent(dst)
	}
	if !own.contentType && m.ContentType != "" {
		dst = append(dst, "\r\nContent-Type: "...)
		dst = append(dst, m.ContentType...)
	}
	if !own.accept { // some firewalls refuse requests without it
		dst = append(dst, "\r\nAccept: */*"...)
	}
	if !own.agent {
		dst = append(dst, "\r\nUser-Agent: "...)
		dst = append(dst, q.agent...)
	}
	return append(dst, "\r\n\r\n"...)
}

// given tells which of the headers with a default the trigger gives itself.
type given struct{ traceparent, contentType, accept, agent bool }

func (g *given) note(name string) {
	switch len(name) {
	case len("Accept"):
		g.accept = g.accept || strings.EqualFold(name, "Accept")
	case len("User-Agent"):
		g.agent = g.agent || strings.EqualFold(name, "User-Agent")
	case len("traceparent"):
		g.traceparent = g.traceparent || strings.EqualFold(name, "traceparent")
	case len("Content-Type"):
		g.contentType = g.contentType || strings.EqualFold(name, "Content-Type")
	}
}

// appendTraceparent appends a new trace of W3C Trace Context, version 00, sampled; ids
// of only zeros are not valid.
func appendTraceparent(dst []byte) []byte {
	var b [24]byte
	for i := 0; i < len(b); i += 8 {
		binary.BigEndian.PutUint64(b[i:], rand.Uint64()|1)
	}
	dst = append(dst, "00-"...)
	dst = hex.AppendEncode(dst, b[:16])
	dst = append(dst, '-')
	dst = hex.AppendEncode(dst, b[16:])
	return append(dst, "-01"...)
}
