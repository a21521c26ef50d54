package mysql

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/waltrigger/waltrigger/pkg/change"
)

// place is a place in the log between two groups of events, in all the ways in which it
// may be needed. Its text is the End of a transaction:
//
//	binlog.000003:1234@274877908176/bf8f7e60-e9a5-11f1-940a-02fc00000001:1-77
type place struct {
	file string // of this server
	pos  uint64
	seq  uint64 // Tx.Seq of the last group read before it; 0: none was
	// set holds the transactions before it; nil where the server gives them no names.
	set *executed
}

func (p place) position() change.Position {
	b := make([]byte, 0, 96)
	b = append(b, p.file...)
	b = append(b, ':')
	b = strconv.AppendUint(b, p.pos, 10)
	b = append(b, '@')
	b = strconv.AppendUint(b, p.seq, 10)
	if p.set != nil {
		b = append(b, '/')
		b = p.set.append(b)
	}
	return change.Position(b)
}

// String gives the part of it that people compare with what the server says.
func (p place) String() string { return fmt.Sprintf("%s:%d", p.file, p.pos) }

func parsePlace(text change.Position) (place, error) {
	bad := fmt.Errorf("read position %q: want the form file:position@number/GTIDs", text)
	head, set, named := strings.Cut(string(text), "/")
	at := strings.LastIndexByte(head, '@')
	if at < 0 {
		return place{}, bad
	}
	colon := strings.LastIndexByte(head[:at], ':')
	if colon < 1 {
		return place{}, bad
	}
	p := place{file: head[:colon]}
	var err1, err2, err3 error
	p.pos, err1 = strconv.ParseUint(head[colon+1:at], 10, 64)
	p.seq, err2 = strconv.ParseUint(head[at+1:], 10, 64)
	if named {
		p.set, err3 = parseExecuted(set)
	}
	if err1 != nil || err2 != nil || err3 != nil {
		return place{}, bad
	}
	return p, nil
}

// seqBits is how much of a Tx.Seq is the position in a file. A file grows beyond its
// limit of 1 GiB only to hold a last transaction as a whole.
const seqBits = 36

// raw makes one number of a file and a position in it: it grows along the log of one
// server. The number in a file's name is counted up as long as the log is not reset.
func raw(file string, pos uint64) uint64 { return uint64(fileNumber(file))<<seqBits | pos }

// fileNumber is the number of a file: binlog.000003 is 3.
func fileNumber(file string) uint32 {
	dot := strings.LastIndexByte(file, '.')
	n, err := strconv.ParseUint(file[dot+1:], 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}
