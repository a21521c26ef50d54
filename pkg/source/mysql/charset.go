package mysql

import (
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
)

// charset turns the bytes of a text column into UTF-8, exactly as the server does when
// the column is selected.
type charset struct {
	name  string
	plain bool // is UTF-8 already
	known func(dst, b []byte) []byte
	// Of all others the server is asked what a character is, once for each: no two
	// tables for the same old character set agree, and MySQL has its own.
	split func(b []byte) int
	memo  map[string]string
}

// charsets knows the character sets of one server. It belongs to one goroutine.
type charsets struct {
	byName map[string]*charset
	byID   map[uint64]string // names, by the number of a collation
	ask    func(ctx context.Context, f func(*sql.Conn) error) error
}

func newCharsets(ask func(ctx context.Context, f func(*sql.Conn) error) error) *charsets {
	return &charsets{byName: map[string]*charset{}, byID: map[uint64]string{}, ask: ask}
}

// readCollations learns the numbers of the server's collations.
func (c *charsets) readCollations(ctx context.Context, conn *sql.Conn, s *server) error {
	query := "SELECT ID, CHARACTER_SET_NAME FROM information_schema.COLLATIONS WHERE CHARACTER_SET_NAME IS NOT NULL"
	if s.mariadb && s.version >= 101001 { // where a collation may be one of several character sets
		query = "SELECT ID, CHARACTER_SET_NAME FROM information_schema.COLLATION_CHARACTER_SET_APPLICABILITY"
	}
	err := each(ctx, conn, query, nil, func(scan func(...any) error) error {
		var id uint64
		var name string
		err := scan(&id, &name)
		c.byID[id] = name
		return err
	})
	if err != nil {
		return fmt.Errorf("read collations: %w", err)
	}
	return nil
}

// get finds a character set by its name; "binary" is none, nil.
func (c *charsets) get(name string) *charset {
	if name == "binary" {
		return nil
	}
	if cs := c.byName[name]; cs != nil {
		return cs
	}
	cs := &charset{name: name, memo: map[string]string{}}
	switch name {
	case "utf8mb4", "utf8mb3", "utf8", "ascii", "":
		cs.plain = true
	case "latin1":
		cs.known = appendLatin1
	case "ucs2", "utf16":
		cs.known = func(dst, b []byte) []byte { return appendUTF16(dst, b, binary.BigEndian) }
	case "utf16le":
		cs.known = func(dst, b []byte) []byte { return appendUTF16(dst, b, binary.LittleEndian) }
	case "utf32":
		cs.known = appendUTF32
	default:
		cs.split = splitter(name)
	}
	c.byName[name] = cs
	return cs
}

// text gives b in UTF-8. An error means that the server could not be asked.
func (c *charsets) text(ctx context.Context, cs *charset, b []byte) (string, error) {
	switch {
	case cs.plain:
		return text(b), nil
	case cs.known != nil:
		return text(cs.known(make([]byte, 0, len(b)+len(b)/2), b)), nil
	}
	out := make([]byte, 0, len(b)+len(b)/2)
	for rest := b; len(rest) > 0; {
		n := min(cs.split(rest), len(rest))
		if n == 1 && rest[0] < utf8.RuneSelf && cs.name != "swe7" {
			out, rest = append(out, rest[0]), rest[1:]
			continue
		}
		s, ok := cs.memo[string(rest[:n])]
		if !ok {
			if err := c.learn(ctx, cs, rest); err != nil {
				return "", err
			}
			s = cs.memo[string(rest[:n])]
		}
		out, rest = append(out, s...), rest[n:]
	}
	return text(out), nil
}

// maxMemo bounds what is kept of a character set; none in use has more characters.
const maxMemo = 1 << 17

// learn asks the server for the characters of b that are not known.
func (c *charsets) learn(ctx context.Context, cs *charset, b []byte) error {
	if len(cs.memo) > maxMemo {
		clear(cs.memo)
	}
	var codes []string
	for len(b) > 0 && len(codes) < 500 {
		n := min(cs.split(b), len(b))
		code := string(b[:n])
		if _, ok := cs.memo[code]; !ok && !slices.Contains(codes, code) {
			codes = append(codes, code)
		}
		b = b[n:]
	}
	list := make([]string, len(codes))
	for i, code := range codes {
		list[i] = fmt.Sprintf("CONVERT(CONVERT(0x%x USING %s) USING utf8mb4)", code, cs.name)
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	err := c.ask(ctx, func(conn *sql.Conn) error {
		found := make([]sql.NullString, len(codes))
		to := make([]any, len(codes))
		for i := range found {
			to[i] = &found[i]
		}
		if err := conn.QueryRowContext(ctx, "SELECT "+strings.Join(list, ", ")).Scan(to...); err != nil {
			return err
		}
		for i, code := range codes {
			cs.memo[code] = found[i].String
			if !found[i].Valid { // no character of this set
				cs.memo[code] = "?"
			}
		}
		return nil
	})
	if err != nil {
		return unansweredError{fmt.Errorf("ask for characters of %s: %w", cs.name, err)}
	}
	return nil
}

// unansweredError says that a question to the server failed; asked again it may not.
type unansweredError struct{ error }

func (e unansweredError) Unwrap() error { return e.error }

// splitter says how many bytes the first character has.
func splitter(name string) func(b []byte) int {
	two := func(low, high byte) func(b []byte) int {
		return func(b []byte) int {
			if b[0] >= low && b[0] <= high {
				return 2
			}
			return 1
		}
	}
	switch name {
	case "gbk", "euckr":
		return two(0x81, 0xfe)
	case "gb2312":
		return two(0xa1, 0xf7)
	case "big5":
		return two(0xa1, 0xf9)
	case "sjis", "cp932":
		return func(b []byte) int {
			if b[0] >= 0x81 && b[0] <= 0x9f || b[0] >= 0xe0 && b[0] <= 0xfc {
				return 2
			}
			return 1
		}
	case "ujis", "eucjpms":
		return func(b []byte) int {
			switch {
			case b[0] == 0x8f:
				return 3
			case b[0] == 0x8e || b[0] >= 0xa1 && b[0] <= 0xfe:
				return 2
			}
			return 1
		}
	case "gb18030":
		return func(b []byte) int {
			switch {
			case b[0] < 0x81 || b[0] > 0xfe:
				return 1
			case len(b) > 1 && b[1] >= 0x30 && b[1] <= 0x39:
				return 4
			}
			return 2
		}
	}
	return func([]byte) int { return 1 }
}

// appendLatin1 reads MySQL's latin1: Windows-1252, its holes filled as in ISO 8859-1.
func appendLatin1(dst, b []byte) []byte {
	for _, c := range b {
		r := charmap.Windows1252.DecodeByte(c)
		if r == utf8.RuneError {
			r = rune(c)
		}
		dst = utf8.AppendRune(dst, r)
	}
	return dst
}

func appendUTF16(dst, b []byte, order binary.ByteOrder) []byte {
	for len(b) >= 2 {
		r := rune(order.Uint16(b))
		b = b[2:]
		if utf16.IsSurrogate(r) && len(b) >= 2 {
			if both := utf16.DecodeRune(r, rune(order.Uint16(b))); both != utf8.RuneError {
				r, b = both, b[2:]
			}
		}
		dst = utf8.AppendRune(dst, r)
	}
	return dst
}

func appendUTF32(dst, b []byte) []byte {
	for ; len(b) >= 4; b = b[4:] {
		dst = utf8.AppendRune(dst, rune(binary.BigEndian.Uint32(b)))
	}
	return dst
}
