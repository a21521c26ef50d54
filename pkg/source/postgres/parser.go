package postgres

import (
	"bytes"
	"encoding/binary"
)

// parser reads the fields of one message. After a field that is not there it is bad
// and gives zeros; the caller looks once, at the end.
type parser struct {
	b   []byte
	bad bool
}

func (p *parser) take(n int) []byte {
	if n < 0 || n > len(p.b) {
		p.bad, p.b = true, nil
		return nil
	}
	out := p.b[:n:n]
	p.b = p.b[n:]
	return out
}

func (p *parser) byte() byte {
	if b := p.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (p *parser) uint16() uint16 {
	if b := p.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (p *parser) uint32() uint32 {
	if b := p.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (p *parser) uint64() uint64 {
	if b := p.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (p *parser) cstring() string {
	i := bytes.IndexByte(p.b, 0)
	if i < 0 {
		p.bad, p.b = true, nil
		return ""
	}
	s := string(p.b[:i])
	p.b = p.b[i+1:]
	return s
}
