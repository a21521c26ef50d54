package mysql

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/waltrigger/waltrigger/pkg/source"
)

// Barrier implements source.Catalog. There is nothing to wait for: whether a transaction
// that is open wrote its rows before the call or after it, they are written to the log
// together, when it commits. So the end of the log is the place that is asked for.
//
//   - A commit is acknowledged once its group is in the log; the end that is read after
//     that lies behind it, and a group's Seq is that of its beginning.
//   - A commit that is issued after the end was read writes its group behind the end. The
//     rows of an XA transaction were written when it was prepared, but are sent as those
//     of the group of XA COMMIT.
//
// The decoder must want the tables before that: Publish has returned then.
func (s *Source) Barrier(ctx context.Context, _ []source.TableName, _ func(blockers string)) (seq uint64, err error) {
	err = s.admin.do(ctx, func(c *sql.Conn) error {
		seq, err = s.endOfLog(ctx, c)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("find the end of the log: %w", refused(err))
	}
	return seq, nil
}

func (s *Source) endOfLog(ctx context.Context, c *sql.Conn) (uint64, error) {
	srv, err := s.server(ctx, c)
	if err != nil {
		return 0, err
	}
	e, err := readEnd(ctx, c, srv)
	if err != nil {
		return 0, err
	}
	return s.clock.end(ctx, srv.identity, e.file, e.pos)
}
