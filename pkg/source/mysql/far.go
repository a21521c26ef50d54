package mysql

import "github.com/go-mysql-org/go-mysql/replication"

// fileStart is where the first event of a file stands.
const fileStart = 4

// passOver lets a file be read from a position beyond 4 GiB, which only a transaction of
// that size leads to, and for which a request has no room: it is read from its start, and
// what comes before the position passed over.
func passOver(to uint64, handle func(*replication.BinlogEvent) error) func(*replication.BinlogEvent) error {
	pos, begun := uint64(fileStart), false
	return func(e *replication.BinlogEvent) error {
		switch f := e.Event.(type) {
		case *replication.RotateEvent:
			if begun { // the next file
				pos = to
			} else {
				begun, f.Position = true, to
			}
			return handle(e)
		case *replication.FormatDescriptionEvent:
			return handle(e)
		}
		if pos >= to {
			return handle(e)
		}
		pos = next(pos, e.Header)
		return nil
	}
}
