package mysql

import (
	"encoding/binary"
	"unsafe"
)

// text makes a string of b without copying it. b lies in memory that is written once; it
// must never be written after this call.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// cursor reads the fields of an event. After a field that is not there it is bad and
// gives zeros; the caller looks once, at the end.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) take(n int) []byte {
	if n < 0 || n > len(c.b) {
		c.bad, c.b = true, nil
		return nil
	}
	out := c.b[:n:n]
	c.b = c.b[n:]
	return out
}

func (c *cursor) byte() byte {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) uint16() uint16 {
	if b := c.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (c *cursor) uint32() uint32 {
	if b := c.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (c *cursor) uint64() uint64 {
	if b := c.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// tableID is a number of 6 bytes.
func (c *cursor) tableID() uint64 {
	if b := c.take(6); b != nil {
		return little(b)
	}
	return 0
}

// packed is a number whose first byte tells its length.
func (c *cursor) packed() int {
	switch first := c.byte(); first {
	case 252:
		return int(c.uint16())
	case 253:
		if b := c.take(3); b != nil {
			return int(little(b))
		}
		return 0
	case 254:
		if n := c.uint64(); n < 1<<31 {
			return int(n)
		}
		c.bad = true
		return 0
	case 251, 255:
		c.bad = true
		return 0
	default:
		return int(first)
	}
}

// name is a text of one length byte and a final zero.
func (c *cursor) name() string {
	s := string(c.take(int(c.byte())))
	c.take(1)
	return s
}

// little is a number of up to 8 bytes, the least significant first.
func little(b []byte) uint64 {
	var n uint64
	for i := len(b) - 1; i >= 0; i-- {
		n = n<<8 | uint64(b[i])
	}
	return n
}

// big is a number of up to 8 bytes, the most significant first.
func big(b []byte) uint64 {
	var n uint64
	for _, c := range b {
		n = n<<8 | uint64(c)
	}
	return n
}
