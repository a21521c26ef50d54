package webhook

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	maxResponseHead = 16 << 10 // also the size of a connection's read buffer
	maxResponseBody = 64 << 10 // what is read of a body to keep the connection
	bodyTime        = 500 * time.Millisecond
	patience        = 20 * time.Millisecond // before which the end of a context is not noticed
	fitsSocket      = 16 << 10
	maxInform       = 10       // informational responses before the real one
	keepBuffer      = 64 << 10 // a larger write buffer is not kept
)

// conn is a connection with what it needs to be used again. One goroutine at a time.
type conn struct {
	net.Conn
	key   hostKey
	since time.Time // idle since
	r     *bufio.Reader
	w     []byte
	head  fasthttp.ResponseHeader
	stop  func() bool // ends the watch over the context; nil = there is none
}

func newConn(c net.Conn, key hostKey) *conn {
	return &conn{Conn: c, key: key, r: bufio.NewReaderSize(c, maxResponseHead)}
}

// response is what is kept of a response.
type response struct {
	status     int
	retryAfter string
	location   string
	last       bool // the connection cannot be used again
	unanswered bool // failed before a byte of a response came
}

// responseError says that what came is no HTTP response.
type responseError struct{ err error }

func (e *responseError) Error() string { return "read response: " + e.err.Error() }

// exchange sends a request and reads its response, until ctx ends or the deadline.
//
// Watching ctx costs more than all else here that is not a system call, and most
// receivers answer at once: it is watched only when the answer lets wait for itself,
// and while a body is written that may not fit into the socket's buffer.
func (c *conn) exchange(ctx context.Context, q *request, deadline time.Time) (response, error) {
	r, err := c.roundTrip(ctx, q, deadline)
	if c.stop != nil {
		if !c.stop() {
			r.last = true // the deadline in the past may come at any time
		}
		c.stop = nil
	}
	return r, err
}

func (c *conn) roundTrip(ctx context.Context, q *request, deadline time.Time) (response, error) {
	if err := ctx.Err(); err != nil {
		return response{unanswered: true}, err
	}
	soon := time.Now().Add(patience)
	if soon.After(deadline) {
		soon = deadline
	}
	err := errors.Join(c.SetWriteDeadline(deadline), c.SetReadDeadline(soon))
	if err == nil && len(q.m.Body) > fitsSocket {
		err = c.watch(ctx, deadline)
	}
	if err != nil {
		return response{unanswered: true}, err
	}
	werr := c.write(q)
	if werr != nil && isTimeout(werr) {
		return response{unanswered: true}, werr
	}
	_, err = c.r.Peek(1)
	if err != nil && c.stop == nil && isTimeout(err) {
		if err = c.watch(ctx, deadline); err == nil {
			_, err = c.r.Peek(1)
		}
	}
	if err != nil {
		if werr != nil {
			err = werr
		}
		return response{unanswered: true}, err
	}
	r, err := c.readHead(ctx, deadline)
	if err != nil {
		return response{}, err
	}
	// It may have answered before it had read everything, such as 413.
	if r.last = r.last || werr != nil; !r.last {
		r.last = !c.drain(r.status, deadline)
	}
	return r, nil
}

// watch makes reads wait until deadline, and reads and writes fail when ctx ends.
func (c *conn) watch(ctx context.Context, deadline time.Time) error {
	if c.stop != nil {
		return nil
	}
	err := c.SetReadDeadline(deadline)
	c.stop = context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	return err
}

func isTimeout(err error) bool {
	var te interface{ Timeout() bool } // fasthttp's is no net.Error
	return errors.As(err, &te) && te.Timeout()
}

// write sends head and body, in one packet if they are small.
func (c *conn) write(q *request) error {
	body := q.m.Body
	c.w = q.appendHead(c.w[:0])
	if len(c.w)+len(body) > keepBuffer {
		bufs := net.Buffers{c.w, body}
		_, err := bufs.WriteTo(c.Conn)
		return err
	}
	c.w = append(c.w, body...)
	_, err := c.Write(c.w)
	return err
}

// readHead reads up to the end of the final response's head.
func (c *conn) readHead(ctx context.Context, deadline time.Time) (response, error) {
	for range maxInform {
		if b, _ := c.r.Peek(c.r.Buffered()); !bytes.Contains(b, []byte("\r\n\r\n")) {
			if err := c.watch(ctx, deadline); err != nil {
				return response{}, err
			}
		}
		if err := c.head.Read(c.r); err != nil {
			return response{}, headError(err)
		}
		status := c.head.StatusCode()
		if status >= 100 && status < 200 && status != http.StatusSwitchingProtocols {
			continue
		}
		if status < 200 || status > 599 {
			return response{}, &responseError{fmt.Errorf("status %d", status)}
		}
		r := response{status: status, last: c.head.ConnectionClose()}
		if status >= 300 {
			r.retryAfter = string(c.head.Peek("Retry-After"))
			r.location = string(c.head.Peek("Location"))
		}
		return r, nil
	}
	return response{}, &responseError{errors.New("too many informational responses")}
}

// headError leaves out the bytes that fasthttp quotes: a receiver may repeat a secret.
func headError(err error) error {
	var small *fasthttp.ErrSmallBuffer
	switch {
	case errors.As(err, &small):
		return &responseError{fmt.Errorf("head larger than %d bytes", maxResponseHead)}
	case isTimeout(err):
		return os.ErrDeadlineExceeded
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return io.ErrUnexpectedEOF
	default:
		return &responseError{errors.New("it is not HTTP/1.1, or was cut off")}
	}
}

// drain reads the body to its end and reports whether the connection can be used
// again. What is left, late or malformed is not waited for: the status is known.
func (c *conn) drain(status int, deadline time.Time) bool {
	n := c.head.ContentLength()
	if status == http.StatusNoContent || status == http.StatusNotModified {
		n = 0
	}
	if n < -1 || n > maxResponseBody {
		return false
	}
	if n < 0 || n > c.r.Buffered() {
		if soon := time.Now().Add(bodyTime); soon.Before(deadline) {
			deadline = soon
		}
		if c.SetReadDeadline(deadline) != nil {
			return false
		}
	}
	if n < 0 {
		return c.drainChunks() && c.r.Buffered() == 0
	}
	if _, err := c.r.Discard(n); err != nil {
		return false
	}
	return c.r.Buffered() == 0 // nobody asked for more
}

func (c *conn) drainChunks() bool {
	chunks := httputil.NewChunkedReader(c.r)
	var b [4 << 10]byte
	for total := 0; total <= maxResponseBody; {
		n, err := chunks.Read(b[:])
		total += n
		if err != nil {
			return errors.Is(err, io.EOF) && c.skipTrailer()
		}
	}
	return false
}

// skipTrailer reads the lines after the last chunk.
func (c *conn) skipTrailer() bool {
	for range 32 {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return false
		}
		if strings.TrimRight(string(line), "\r\n") == "" {
			return true
		}
	}
	return false
}
