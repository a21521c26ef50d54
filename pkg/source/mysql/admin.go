package mysql

import (
	"context"
	"database/sql"
	"errors"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

var _ source.Managed = (*Source)(nil)

// Place implements source.Managed: where the log ends, and how much of it was not read.
func (s *Source) Place(ctx context.Context, saved source.State) (source.Place, error) {
	p := source.Place{Name: "binary log"}
	err := s.admin.do(ctx, func(c *sql.Conn) error {
		srv, err := s.server(ctx, c)
		if err != nil {
			return err
		}
		end, err := readEnd(ctx, c, srv)
		if err != nil {
			return err
		}
		p.At = change.Position(place{file: end.file, pos: end.pos}.String())
		if saved.Mark.End == "" {
			p.Remark = "reading begins at the end of the log at the first start"
			return nil
		}
		at, err := parsePlace(saved.Mark.End)
		if err != nil {
			return err
		}
		if err := s.readable(ctx, c, srv, at, saved.Identity); err != nil {
			p.Remark = err.Error()
			return nil
		}
		names, sizes, err := files(ctx, c)
		p.Held = int64(behind(at, names, sizes))
		return err
	})
	return p, err
}

// Adopt implements source.Managed.
func (s *Source) Adopt(context.Context) (source.State, error) {
	return source.State{}, errors.New("a server keeps no place in its binary log for anybody, so there is nothing to adopt: start waltrigger, and it reads from then on")
}

// Resync implements source.Managed.
func (s *Source) Resync(ctx context.Context, tables []source.TableName, save func(source.State) error) (st source.State, seq uint64, err error) {
	if err := s.loadNotes(ctx); err != nil {
		return st, 0, err
	}
	err = s.admin.do(ctx, func(c *sql.Conn) error {
		srv, err := s.server(ctx, c)
		if err == nil {
			err = srv.check()
		}
		if err != nil {
			return err
		}
		st, err = s.begin(ctx, c, srv)
		return err
	})
	if err != nil {
		return st, 0, refused(err)
	}
	if err := save(source.State{Identity: st.Identity}); err != nil { // if we are stopped now, the next start begins
		return st, 0, err
	}
	missing, err := s.Publish(ctx, tables)
	for _, t := range missing {
		s.log.Warn("table does not exist", "table", t.String())
	}
	if err != nil && !source.OnlyTables(err) {
		return st, 0, err
	}
	if err != nil {
		s.log.Warn("some tables cannot be tailed", "err", err)
	}
	err = s.admin.do(ctx, func(c *sql.Conn) error {
		srv, err := s.server(ctx, c)
		if err != nil {
			return err
		}
		at, err := srv.place(ctx, c) // behind what was read of the tables
		if err != nil {
			return err
		}
		seq = s.clock.seq(at.file, at.pos)
		st = source.State{Identity: srv.identity, Mark: change.Mark{End: at.position()}}
		return nil
	})
	if err != nil {
		return st, 0, refused(err)
	}
	return st, seq, save(st)
}

// Drop implements source.Managed. On the server there is nothing to remove.
func (s *Source) Drop(ctx context.Context) error {
	if err := s.loadNotes(ctx); err != nil {
		return err
	}
	return s.forget(ctx)
}

// behind is how many bytes of the log lie behind at.
func behind(at place, names []string, sizes []uint64) uint64 {
	var n uint64
	for i, name := range names {
		switch number := fileNumber(name); {
		case number > fileNumber(at.file):
			n += sizes[i]
		case name == at.file && sizes[i] > at.pos:
			n += sizes[i] - at.pos
		}
	}
	return n
}

// reach says what to do about a server that does not let us in.
func reach(err error) string {
	if number(err) == errTooMany {
		return "raise max_connections, or close some"
	}
	return "make the server reachable at the source's url"
}
