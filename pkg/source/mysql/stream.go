package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-mysql-org/go-mysql/client"
	gomysql "github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

const steadyAfter = 10 * time.Second // a connection that lasted so long had worked

// Run implements source.Source.
func (s *Source) Run(ctx context.Context, from change.Mark, out chan<- source.Batch) error {
	dec, err := newDecoder(s.cfg.Name, from, s.history, s.clock, s.notes, s.log)
	if err != nil {
		s.link.Ended(err)
		return fmt.Errorf("start reading: %w", err)
	}
	if err := dec.loadXA(s.loaded, dec.end.seq); err != nil {
		s.link.Ended(err)
		return fmt.Errorf("start reading: %w", err)
	}
	dec.events = &s.events
	dec.look = func(ctx context.Context, t source.TableName, at groupPlace) (*definition, bool, error) {
		return s.look(ctx, dec, t, at)
	}
	dec.flush = func(ctx context.Context) error { return s.emit(ctx, dec, out) }
	s.handed.Reset()
	s.mu.Lock()
	s.progress = dec.shared
	if s.acked.file == "" {
		s.acked = dec.end
	}
	s.mu.Unlock()
	watching, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.watch(watching)
	}()
	defer func() { stop(); <-done }()
	err = s.link.Retry(ctx, func() error { return s.read(ctx, dec, out) }, s.judge())
	if ctx.Err() != nil {
		s.link.Set("stopped", "")
		return nil
	}
	s.link.Ended(err)
	return err
}

// read reads on one connection, until that fails or ctx ends.
func (s *Source) read(ctx context.Context, dec *decoder, out chan<- source.Batch) error {
	var srv *server
	cs := newCharsets(s.lookup.do)
	err := s.admin.do(ctx, func(c *sql.Conn) (err error) {
		if srv, err = s.server(ctx, c); err != nil {
			return err
		}
		if err = srv.check(); err != nil {
			return err
		}
		if err = s.readable(ctx, c, srv, dec.end, s.clock.server()); err != nil {
			return err
		}
		return cs.readCollations(ctx, c, srv)
	})
	if err != nil {
		return refused(err)
	}
	dec.connect(srv, cs)
	dec.reread = func(ctx context.Context, at groupPlace, read *executed, handle func(*replication.EventHeader, []byte) error) error {
		return s.reread(ctx, srv, at, read, handle)
	}
	opened, streaming := time.Now(), false
	dump := s.connector.newDump(dumpOptions{
		id: s.cfg.readerID(), mariadb: srv.mariadb, tls: srv.tls,
		prepare: func(c *client.Conn) error { return sameServer(c, srv) },
		handle: func(e *replication.BinlogEvent) error {
			if !streaming {
				streaming = true
				s.connects.Add(1)
				s.link.Set("streaming", "")
				s.log.Info("streaming", "server", srv.product()+" "+srv.text, "position", dec.end.String())
			}
			return dec.event(ctx, e)
		},
		idle: func() error {
			now := time.Now()
			if dec.settle(now) {
				floor := s.ackedSeq()
				dec.settleXA(floor)
				s.history.settle(dec.oldestXA(floor))
			}
			return s.emit(ctx, dec, out)
		},
	})
	// The server finds a file at once, and GTIDs by reading from a file's beginning. What
	// MySQL had executed at the first start need not be what stood before that place.
	var set gomysql.GTIDSet
	if srv.named && dec.end.set != nil && (dec.byName || s.clock.server() != srv.identity || dec.end.seq == 0 && !srv.mariadb) {
		set = dec.end.set.library()
	}
	dec.byPlace = set == nil
	err = dump.run(ctx, set, dec.end.file, dec.end.pos)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if set == nil && srv.named && number(err) == errReadingLog && !streaming {
		dec.byName = true // the file is gone, and what was read of it may have been the end
		return fmt.Errorf("read log: %w", err)
	}
	err = s.streamError(err)
	if time.Since(opened) > steadyAfter {
		err = source.LostError{Err: err}
	}
	return err
}

// emit hands the batch over, once what must be remembered of it is saved. While nobody
// takes it nothing is read, which makes the server wait.
func (s *Source) emit(ctx context.Context, dec *decoder, out chan<- source.Batch) error {
	if len(dec.batch) == 0 {
		s.handed.Through(dec.handedOver())
		return nil
	}
	if len(dec.pending) > 0 {
		if err := s.notes.SaveNotes(ctx, dec.pending); err != nil {
			return fmt.Errorf("save what is held: %w", err)
		}
		clear(dec.pending)
	}
	b := dec.take()
	select {
	case out <- b:
		s.handed.Sent(b)
		s.handed.Through(dec.handedOver())
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// streamError says which of the server's errors end Run.
func (s *Source) streamError(err error) error {
	text := rootText(err)
	switch {
	case strings.Contains(text, "server_uuid/server_id"), strings.Contains(text, "same server_id"): // under the number of other errors, too
		return fmt.Errorf("another reader has the same server_id and takes the log over: give each one of its own: %s", text)
	case number(err) == errReadingLog:
		return lost(s.cfg.Name, "the server cannot send its log from where it was read last: %s", text)
	}
	return fmt.Errorf("read log: %w", err)
}

// look gives a table as it is in the catalog now, nil if there is none, and reads the log
// from at to its end for statements that change the table.
func (s *Source) look(ctx context.Context, dec *decoder, t source.TableName, at groupPlace) (def *definition, certain bool, err error) {
	var end logEnd
	err = s.lookup.do(ctx, func(c *sql.Conn) error {
		found, err := readDefinitions(ctx, c, dec.server, []string{t.Schema}, []string{t.Name})
		if err != nil {
			return err
		}
		def = found[t]
		end, err = readEnd(ctx, c, dec.server)
		return err
	})
	if err != nil || def == nil {
		return def, false, err
	}
	changed := false
	err = s.scan(ctx, dec.server, at, end, func(h *replication.EventHeader, b []byte) error {
		q, err := decodeQuery(h, b)
		if err != nil {
			return err
		}
		st, _, err := dec.parse(ctx, q)
		switch {
		case st.verb == verbOther || st.verb == verbWrite || st.verb == verbTruncate:
		case slices.Contains(st.tables, t), st.verb == verbDropDatabase && st.database == t.Schema:
			changed = true
			return errEndOfGroup
		}
		return err
	})
	return def, !changed, err
}

const (
	watchEvery   = 5 * time.Second
	watchTimeout = 20 * time.Second
)

// watch measures how far behind the end of the log we are, while the stream runs.
func (s *Source) watch(ctx context.Context) {
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	said := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		err := s.measure(ctx)
		if err == nil || ctx.Err() != nil {
			continue
		}
		if text := err.Error(); text != said {
			said = text
			s.log.Warn("asking for the end of the log failed", "error", err)
		}
	}
}

func (s *Source) measure(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	var names []string
	var sizes []uint64
	err := s.admin.do(ctx, func(c *sql.Conn) (err error) {
		names, sizes, err = files(ctx, c)
		return err
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lag = behind(s.acked, names, sizes)
	return nil
}
