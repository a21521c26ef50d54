package mysql

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/go-mysql-org/go-mysql/replication"
	"github.com/klauspost/compress/zstd"

	"github.com/waltrigger/waltrigger/pkg/source"
)

// Fields of a compressed part of the log.
const (
	payloadEnd    = 0
	payloadMethod = 2
	methodZstd    = 0
)

// maxEvent is beyond what any server writes as one event (1 GiB).
const maxEvent = 1<<30 + 1<<20

// expand decompresses the events that were packed into one, one at a time.
func expand(b []byte, handle func(*replication.EventHeader, []byte) error) error {
	c := cursor{b: b}
	method := methodZstd
	for !c.bad {
		field := c.packed()
		if field == payloadEnd {
			break
		}
		value := cursor{b: c.take(c.packed())}
		if field == payloadMethod {
			method = value.packed()
		}
	}
	if c.bad {
		return source.PermanentError{Err: errors.New("decode compressed transaction: event is cut short")}
	}
	if method != methodZstd {
		return source.PermanentError{Err: fmt.Errorf("decode compressed transaction: method %d is not known", method)}
	}
	r, err := zstd.NewReader(bytes.NewReader(c.b), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return source.PermanentError{Err: fmt.Errorf("decompress transaction: %w", err)}
	}
	defer r.Close()
	for {
		var head [replication.EventHeaderSize]byte
		if _, err := io.ReadFull(r, head[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return source.PermanentError{Err: fmt.Errorf("decompress transaction: %w", err)}
		}
		var h replication.EventHeader
		if err := h.Decode(head[:]); err != nil || h.EventSize > maxEvent {
			return source.PermanentError{Err: fmt.Errorf("decompress transaction: bad event: %w", err)}
		}
		body := make([]byte, h.EventSize-replication.EventHeaderSize)
		if _, err := io.ReadFull(r, body); err != nil {
			return source.PermanentError{Err: fmt.Errorf("decompress transaction: %w", err)}
		}
		if err := handle(&h, body); err != nil {
			return err
		}
	}
}

// payload takes a compressed part of a group.
func (d *decoder) payload(ctx context.Context, b []byte, start uint64) error {
	return expand(b, func(h *replication.EventHeader, body []byte) error {
		if err := d.decode(ctx, h, body, start); err != nil {
			return err
		}
		if d.full() {
			return d.flush(ctx)
		}
		return nil
	})
}
