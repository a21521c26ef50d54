package postgres

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waltrigger/waltrigger/pkg/change"
)

// place is a position in the log as one timeline has it. When a standby takes over, it
// goes on from where it is on a timeline of its own: behind the fork, the same lsn stands
// for something else than on the one before.
type place struct {
	at   lsn
	line uint32
}

// append appends the lsn, with sep between its halves, and on all timelines but the first
// -N.
func (p place) append(dst []byte, sep byte) []byte {
	dst = p.at.append(dst, sep)
	if p.line > 1 {
		dst = strconv.AppendUint(append(dst, '-'), uint64(p.line), 10)
	}
	return dst
}

// position is the form that Mark.End and Tx.End have: 0/16B3748, 0/16B3748-2.
func (p place) position() change.Position { return change.Position(p.append(nil, '/')) }

// parsePlace reads a position, and a Tx.Position, which has a - for the /.
func parsePlace(s string) (place, error) {
	p := place{line: 1}
	text := strings.Replace(s, "-", "/", 1)
	if strings.Contains(s, "/") {
		text = s
	}
	text, line, later := strings.Cut(text, "-")
	if later {
		n, err := strconv.ParseUint(line, 10, 32)
		if err != nil || n < 2 {
			return p, fmt.Errorf("read position %q: want the form 0/16B3748 or 0/16B3748-2", s)
		}
		p.line = uint32(n)
	}
	var err error
	p.at, err = parseLSN(text)
	return p, err
}

// parseMark reads a Mark; absent parts are 0.
func parseMark(m change.Mark) (end, tx place, err error) {
	if m.End != "" {
		if end, err = parsePlace(string(m.End)); err != nil {
			return end, tx, err
		}
	}
	if m.Tx != "" {
		tx, err = parsePlace(string(m.Tx))
	}
	return end, tx, err
}

// history says on which timeline each part of a server's log was written.
type history struct {
	current uint32
	past    []fork // in order
}

// fork is where a timeline was left.
type fork struct {
	line uint32
	at   lsn
}

// readHistory asks a server on the given timeline.
func readHistory(ctx context.Context, conn *pgconn.PgConn, timeline int32) (history, error) {
	h := history{current: uint32(timeline)}
	if timeline <= 1 {
		return h, nil
	}
	file, err := pglogrepl.TimelineHistory(ctx, conn, timeline)
	if err != nil {
		return h, fmt.Errorf("read history of timeline %d: %w", timeline, err)
	}
	for line := range strings.Lines(string(file.Content)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		n, err := strconv.ParseUint(fields[0], 10, 32)
		if err != nil {
			return h, fmt.Errorf("read history of timeline %d: %q", timeline, line)
		}
		at, err := parseLSN(fields[1])
		if err != nil {
			return h, fmt.Errorf("read history of timeline %d: %w", timeline, err)
		}
		h.past = append(h.past, fork{uint32(n), at})
	}
	return h, nil
}

// of gives the place of what begins at l.
func (h history) of(l lsn) place {
	for _, f := range h.past {
		if l < f.at {
			return place{l, f.line}
		}
	}
	return place{l, h.current}
}

// end gives the place of what ends at l.
func (h history) end(l lsn) place {
	if l == 0 {
		return place{}
	}
	return place{l, h.of(l - 1).line}
}

// common gives how far the log up to p is in this one: less than p if p lies behind a
// fork that this server did not follow. false: the two have nothing in common that is
// known.
func (h history) common(p place) (place, bool) {
	if p.line == h.current || p.at == 0 {
		return p, true
	}
	for _, f := range h.past {
		if f.line == p.line {
			return place{min(p.at, f.at), p.line}, true
		}
	}
	return p, false
}
