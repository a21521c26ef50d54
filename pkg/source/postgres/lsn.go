package postgres

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// lsn is a byte position in the server's log.
type lsn uint64

// String gives PostgreSQL's own form, 0/16B3748.
func (l lsn) String() string { return string(l.append(nil, '/')) }

func (l lsn) append(dst []byte, sep byte) []byte {
	dst = appendUpperHex(dst, uint64(l)>>32)
	dst = append(dst, sep)
	return appendUpperHex(dst, uint64(l)&0xffffffff)
}

func appendUpperHex(dst []byte, v uint64) []byte {
	n := len(dst)
	dst = strconv.AppendUint(dst, v, 16)
	for i := n; i < len(dst); i++ {
		if dst[i] >= 'a' {
			dst[i] -= 'a' - 'A'
		}
	}
	return dst
}

// parseLSN reads 0/16B3748.
func parseLSN(s string) (lsn, error) {
	hi, lo, ok := strings.Cut(s, "/")
	if ok {
		h, err1 := strconv.ParseUint(hi, 16, 32)
		l, err2 := strconv.ParseUint(lo, 16, 32)
		if err1 == nil && err2 == nil {
			return lsn(h<<32 | l), nil
		}
	}
	return 0, fmt.Errorf("read position %q: want the form 0/16B3748", s)
}

// unhex decodes bytea's hex form in place: the result overlays the start of b.
func unhex(b []byte) ([]byte, bool) {
	n, err := hex.Decode(b, b)
	return b[:n], err == nil
}
