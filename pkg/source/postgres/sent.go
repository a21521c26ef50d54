package postgres

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
)

// maxSent bounds what is remembered of transactions that were sent, in transactions. It
// is looked through every few seconds.
const maxSent = 1 << 18

// sent are the transactions that Run has sent and that a query may not see yet. It is
// usually a matter of microseconds, but a commit that waits for a synchronous standby
// is in the log for as long as it waits. Any goroutine.
type sent struct {
	mu     sync.Mutex
	seq    lsn // of the newest
	unseen []sentTx
	forgot *uint32 // the newest of those that were too many; nil: none
}

type sentTx struct {
	seq lsn
	xid uint32
}

// reset forgets what an earlier Run has sent.
func (s *sent) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seq, s.unseen, s.forgot = 0, nil, nil
}

func (s *sent) add(txs []sentTx) {
	if len(txs) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seq = max(s.seq, txs[len(txs)-1].seq)
	s.unseen = append(s.unseen, txs...)
	if more := len(s.unseen) - maxSent; more > 0 {
		for _, tx := range s.unseen[:more] {
			if s.forgot == nil || int32(tx.xid-*s.forgot) > 0 {
				s.forgot = &tx.xid
			}
		}
		s.unseen = append(s.unseen[:0], s.unseen[more:]...)
	}
}

// newest is where the newest of them was committed; what is sent later lies behind it.
func (s *sent) newest() lsn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seq
}

// shownBy reports whether a snapshot, as the server prints it, shows all that lies at or
// before newest. It forgets those that it shows: every later snapshot shows them too.
func (s *sent) shownBy(text string, newest lsn) (bool, error) {
	snap, err := parseSnapshot(text)
	if err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	all := true
	rest := s.unseen[:0]
	for _, tx := range s.unseen {
		if !snap.shows(tx.xid) {
			rest = append(rest, tx)
			all = all && tx.seq > newest
		}
	}
	s.unseen = rest
	if s.forgot != nil && int32(snap.min-*s.forgot) > 0 {
		s.forgot = nil
	}
	return all && s.forgot == nil, nil
}

// snapshotText is what parseSnapshot reads. A standby does not tell which of the primary's
// transactions are open, only that those before min have ended.
const snapshotText = `(select case when pg_catalog.pg_is_in_recovery() then pg_catalog.concat(pg_catalog.pg_snapshot_xmin(s)::text, ':', pg_catalog.pg_snapshot_xmin(s)::text, ':')
    else s::text end from pg_catalog.pg_current_snapshot() s)`

// snapshot says which transactions a query sees: those before min, and those before max
// that are not open. The numbers are the last 32 bits of what the server counts, as in
// the log.
type snapshot struct {
	min, max uint32
	open     map[uint32]bool
}

func (s snapshot) shows(xid uint32) bool {
	return int32(xid-s.min) < 0 || int32(xid-s.max) < 0 && !s.open[xid]
}

// parseSnapshot reads min, max and those that are open, as 5:9:5,7.
func parseSnapshot(text string) (snapshot, error) {
	parts := strings.Split(text, ":")
	if len(parts) != 3 {
		return snapshot{}, fmt.Errorf("read snapshot: %q", text)
	}
	var numbers []uint32
	for _, t := range append(parts[:2:2], strings.FieldsFunc(parts[2], func(r rune) bool { return r == ',' })...) {
		n, err := strconv.ParseUint(t, 10, 64)
		if err != nil {
			return snapshot{}, fmt.Errorf("read snapshot: %w", err)
		}
		numbers = append(numbers, uint32(n))
	}
	s := snapshot{min: numbers[0], max: numbers[1], open: make(map[uint32]bool, len(numbers)-2)}
	for _, xid := range numbers[2:] {
		s.open[xid] = true
	}
	return s, nil
}
