package mysql

import (
	"bytes"
	"compress/flate"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
)

var errCompressed = errors.New("its value is compressed in a way that is not known")

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
	n := int(big(b[:size]))
	b = b[size:]
	var r io.Reader = flate.NewReader(bytes.NewReader(b))
	if head&8 == 0 {
		z, err := zlib.NewReader(bytes.NewReader(b))
		if err != nil {
			return nil, fmt.Errorf("decompress: %w", err)
		}
		r = z
	}
	var out bytes.Buffer
	if _, err := io.CopyN(&out, r, int64(n)); err != nil { // grows with what is there, not with what is claimed
		return nil, fmt.Errorf("decompress: %w", err)
	}
	return out.Bytes(), nil
}
