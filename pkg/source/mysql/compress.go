package mysql

import (
	"bytes"
	"compress/flate"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
)

var errCompressed = errors.New("it is compressed in a way that is not known")

// uncompressed reads a value of a column of MariaDB that is declared COMPRESSED: a byte
// with the method and the size of the length that follows it, then zlib's data, with a
// header of its own or without; method 0 is the value as it is.
func uncompressed(b []byte) ([]byte, error) {
	if len(b) == 0 {
		return b, nil
	}
	head := b[0]
	b = b[1:]
	if head&0xf0 == 0 {
		return b, nil
	}
	size := int(head & 7)
	if head>>4 != 8 || len(b) < size {
		return nil, errCompressed
	}
	n := big(b[:size])
	b = b[size:]
	if head&8 != 0 {
		return inflate(flate.NewReader(bytes.NewReader(b)), n)
	}
	return inflateZlib(b, n)
}

// uncompressedEvent reads what MariaDB compressed of an event (log_bin_compress): a byte
// with the method and the size of the length that follows it, then zlib's data.
func uncompressedEvent(b []byte) ([]byte, error) {
	c := cursor{b: b}
	head := c.byte()
	n := big(c.take(int(head & 7)))
	if c.bad || head&0x70 != 0 {
		return nil, errCompressed
	}
	return inflateZlib(c.b, n)
}

func inflateZlib(b []byte, n uint64) ([]byte, error) {
	z, err := zlib.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	return inflate(z, n)
}

// inflate reads n bytes. Memory grows with what is there, not with what is claimed.
func inflate(r io.Reader, n uint64) ([]byte, error) {
	if n > maxEvent {
		return nil, errCompressed
	}
	var out bytes.Buffer
	if n <= 1<<20 {
		out.Grow(int(n))
	}
	if _, err := io.CopyN(&out, r, int64(n)); err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	if _, err := io.CopyN(io.Discard, r, 1); !errors.Is(err, io.EOF) { // which is where the checksum is looked at
		return nil, errCompressed
	}
	return out.Bytes(), nil
}
