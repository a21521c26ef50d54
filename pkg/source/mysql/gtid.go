package mysql

import (
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
	"strings"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
	"github.com/google/uuid"

	"github.com/waltrigger/waltrigger/pkg/change"
)

// gtid is the name that a server gave to a transaction.
type gtid struct {
	// MySQL
	sid [16]byte
	tag string
	gno int64
	// MariaDB
	domain, server uint32
	sequence       uint64
	mariadb        bool
}

// String is the name as the server prints it.
func (g gtid) String() string {
	if g.mariadb {
		return fmt.Sprintf("%d-%d-%d", g.domain, g.server, g.sequence)
	}
	tag := ""
	if g.tag != "" {
		tag = g.tag + ":"
	}
	return fmt.Sprintf("%s:%s%d", uuid.UUID(g.sid), tag, g.gno)
}

// position is the name in the letters that an event id may hold, at most 56 of them. A
// tag, of up to 32 letters, is there as its checksum.
func (g gtid) position() change.Position {
	b := make([]byte, 0, 56)
	switch {
	case g.mariadb:
		b = strconv.AppendUint(b, uint64(g.domain), 10)
		b = strconv.AppendUint(append(b, '-'), uint64(g.server), 10)
		b = strconv.AppendUint(append(b, '-'), g.sequence, 10)
	case g.tag != "":
		b = fmt.Appendf(b, "%x-%08x-%s", g.sid, crc32.ChecksumIEEE([]byte(g.tag)), strconv.FormatInt(g.gno, 36))
	default:
		b = b[:36]
		encodeUUID(b, g.sid[:])
		b = strconv.AppendInt(append(b, '-'), g.gno, 10)
	}
	return change.Position(b)
}

// executed is a set of transactions: all those that lie before a place in the log. Of
// MariaDB it holds the last one of each domain. It is not safe for concurrent use.
type executed struct {
	mysql   gomysql.MysqlGTIDSet
	domains map[uint32]gtid // MariaDB; else nil
}

func newExecuted(mariadb bool) *executed {
	if mariadb {
		return &executed{domains: map[uint32]gtid{}}
	}
	return &executed{mysql: gomysql.NewMysqlGTIDSet()}
}

// parseExecuted reads a set as a server prints it, of either product. The empty text is
// MySQL's; MariaDB's own is "-".
func parseExecuted(text string) (*executed, error) {
	text = strings.Map(func(r rune) rune {
		if r == '\n' || r == ' ' || r == '\r' {
			return -1
		}
		return r
	}, text)
	if strings.Contains(text, ":") || text == "" {
		set, err := gomysql.ParseMysqlGTIDSet(text)
		if err != nil {
			return nil, fmt.Errorf("read GTIDs: %w", err)
		}
		return &executed{mysql: *set.(*gomysql.MysqlGTIDSet)}, nil
	}
	e := newExecuted(true)
	if text == "-" {
		return e, nil
	}
	for _, part := range strings.Split(text, ",") {
		g, err := parseMariaDB(part)
		if err != nil {
			return nil, err
		}
		e.domains[g.domain] = g
	}
	return e, nil
}

// parseGTID reads one name of either product.
func parseGTID(text string) (gtid, error) {
	parts := strings.Split(text, ":")
	if len(parts) < 2 {
		return parseMariaDB(text)
	}
	sid, err1 := uuid.Parse(parts[0])
	gno, err2 := strconv.ParseInt(parts[len(parts)-1], 10, 64)
	if err := errors.Join(err1, err2); err != nil || len(parts) > 3 {
		return gtid{}, fmt.Errorf("read GTID %q: %w", text, err)
	}
	g := gtid{sid: sid, gno: gno}
	if len(parts) == 3 {
		g.tag = parts[1]
	}
	return g, nil
}

func parseMariaDB(text string) (gtid, error) {
	parts := strings.Split(text, "-")
	if len(parts) != 3 {
		return gtid{}, fmt.Errorf("read GTID %q: want domain-server-number", text)
	}
	domain, err1 := strconv.ParseUint(parts[0], 10, 32)
	server, err2 := strconv.ParseUint(parts[1], 10, 32)
	sequence, err3 := strconv.ParseUint(parts[2], 10, 64)
	if err := errors.Join(err1, err2, err3); err != nil {
		return gtid{}, fmt.Errorf("read GTID %q: %w", text, err)
	}
	return gtid{domain: uint32(domain), server: uint32(server), sequence: sequence, mariadb: true}, nil
}

func (e *executed) add(g gtid) {
	if g.mariadb {
		e.domains[g.domain] = g
		return
	}
	tag := gomysql.NewTag(g.tag)
	list := e.mysql[g.sid][tag]
	for i := range list { // nearly always the next of a list
		if list[i].Stop == g.gno && (i == len(list)-1 || list[i+1].Start > g.gno+1) {
			list[i].Stop++
			return
		}
	}
	e.mysql.AddGTIDWithTag(g.sid, tag, g.gno)
}

// holds reports whether every transaction of o is in e.
func (e *executed) holds(o *executed) bool {
	if e.domains == nil {
		return e.mysql.Contain(&o.mysql)
	}
	for d, g := range o.domains {
		if mine, ok := e.domains[d]; !ok || mine.sequence < g.sequence {
			return false
		}
	}
	return true
}

func (e *executed) clone() *executed {
	if e.domains == nil {
		return &executed{mysql: *e.mysql.Clone().(*gomysql.MysqlGTIDSet)}
	}
	c := newExecuted(true)
	for d, g := range e.domains {
		c.domains[d] = g
	}
	return c
}

// without is e less one transaction: asked for what is not in it, a server sends that
// first. Of MariaDB it is the place before the transaction, for which before says what
// came last in its domain.
func (e *executed) without(g gtid) *executed {
	c := e.clone()
	tag := gomysql.NewTag(g.tag)
	var list gomysql.IntervalSlice
	for _, in := range c.mysql[g.sid][tag] {
		if g.gno < in.Start || g.gno >= in.Stop {
			list = append(list, in)
			continue
		}
		if in.Start < g.gno {
			list = append(list, gomysql.Interval{Start: in.Start, Stop: g.gno})
		}
		if g.gno+1 < in.Stop {
			list = append(list, gomysql.Interval{Start: g.gno + 1, Stop: in.Stop})
		}
	}
	if len(list) == 0 {
		delete(c.mysql[g.sid], tag)
		if len(c.mysql[g.sid]) == 0 {
			delete(c.mysql, g.sid)
		}
	} else {
		c.mysql[g.sid][tag] = list
	}
	return c
}

// library gives the set as the library wants it.
func (e *executed) library() gomysql.GTIDSet {
	if e.domains == nil {
		return e.mysql.Clone()
	}
	set := &gomysql.MariadbGTIDSet{Sets: map[uint32]*gomysql.MariadbGTID{}}
	for d, g := range e.domains {
		set.Sets[d] = &gomysql.MariadbGTID{DomainID: g.domain, ServerID: g.server, SequenceNumber: g.sequence}
	}
	return set
}

// append appends the set as parseExecuted reads it.
func (e *executed) append(b []byte) []byte {
	if e.domains == nil {
		if len(e.mysql) == 1 {
			for sid, tags := range e.mysql {
				if list, only := tags[gomysql.Tag{}]; only && len(tags) == 1 && len(list) == 1 {
					return appendOne(b, sid, list[0])
				}
			}
		}
		return append(b, e.mysql.String()...)
	}
	if len(e.domains) == 0 {
		return append(b, '-')
	}
	domains := make([]uint32, 0, 4)
	for d := range e.domains {
		domains = append(domains, d)
	}
	slices.Sort(domains)
	for i, d := range domains {
		if i > 0 {
			b = append(b, ',')
		}
		g := e.domains[d]
		b = strconv.AppendUint(b, uint64(g.domain), 10)
		b = strconv.AppendUint(append(b, '-'), uint64(g.server), 10)
		b = strconv.AppendUint(append(b, '-'), g.sequence, 10)
	}
	return b
}

func (e *executed) String() string { return string(e.append(nil)) }

// appendOne is the set of nearly every server.
func appendOne(b []byte, sid uuid.UUID, in gomysql.Interval) []byte {
	n := len(b)
	b = append(b, make([]byte, 36)...)
	encodeUUID(b[n:], sid[:])
	b = strconv.AppendInt(append(b, ':'), in.Start, 10)
	if in.Stop > in.Start+1 {
		b = strconv.AppendInt(append(b, '-'), in.Stop-1, 10)
	}
	return b
}

const hexDigits = "0123456789abcdef"

// encodeUUID writes the 36 letters of a UUID.
func encodeUUID(dst, sid []byte) {
	at := 0
	for i, c := range sid {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			dst[at] = '-'
			at++
		}
		dst[at], dst[at+1] = hexDigits[c>>4], hexDigits[c&15]
		at += 2
	}
}
