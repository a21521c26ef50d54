package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/waltrigger/waltrigger/pkg/failpoint"
	"github.com/waltrigger/waltrigger/pkg/source"
)

const (
	tick         = time.Second      // how late an acknowledgement may reach the server
	writeTimeout = 10 * time.Second // a server that takes no status for so long is gone
	maxStatus    = 10 * time.Second // between two statuses, also if the server wants none
	maxPatience  = 10 * time.Minute
	silence      = 2               // times the patience: a server that says nothing for so long is gone
	openTimeout  = 7 * time.Second // until the stream begins
	drainTimeout = 2 * time.Second
	steadyAfter  = 10 * time.Second // a connection that lasted so long had worked
)

// session is one walsender connection. Its goroutine does all reading and writing.
type session struct {
	s      *Source
	conn   net.Conn
	wire   *wire
	dec    *decoder
	gather gather
	every  time.Duration // between two statuses
	limit  time.Duration // of silence
	kick   <-chan error  // says to let go of the connection
	lost   bool          // it is of no use any more

	opened   time.Time
	heard    time.Time // when the server said something, or could not
	rows     bool      // it sent some of its log
	next     time.Time // next tick
	sent     time.Time // last status
	sentAck  uint64
	sentRecv uint64
	out      [39]byte

	stop chan struct{} // linger: closed by finish
	done chan error
}

// open connects, makes sure that nothing was lost or exchanged behind our back, and
// starts to stream behind what dec has decoded.
func (s *Source) open(ctx context.Context, dec *decoder) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	var found before
	err := s.admin.do(ctx, func(ctx context.Context, c *pgx.Conn) (err error) {
		found.database = c.Config().Database
		if found.slot, err = readSlot(ctx, c, s.cfg.Slot); err != nil {
			return err
		}
		if found.publication, err = s.readPublication(ctx, c); err == nil && found.publication == nil && found.slot != nil {
			err = s.publicationGone()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	conn, err := s.connector.replication(ctx, s.patience)
	if err != nil {
		return nil, s.refused(err)
	}
	sess, err := s.start(ctx, conn, dec, found)
	if err != nil {
		_ = conn.Close(context.WithoutCancel(ctx))
		return nil, err
	}
	return sess, nil
}

// before is what open sees before it connects.
type before struct {
	slot        *slotInfo
	publication *publication
	database    string
}

func (s *Source) start(ctx context.Context, conn walsender, dec *decoder, found before) (*session, error) {
	slot := found.slot
	id, err := s.identify(ctx, conn)
	if err != nil {
		return nil, err
	}
	known := s.server.Load()
	if known != nil && known.identity != id.identity {
		return nil, &source.HaltError{
			State: source.ResyncRequired, Reason: "the url leads to another server or database than before (" + id.identity + ", before " + known.identity + ")",
			Mend: "point it back, or accept the gap: `waltrigger source resync " + s.cfg.Name + " --accept-gap`",
		}
	}
	if dec.end.at == 0 && slot != nil {
		dec.end = id.history.end(slot.Confirmed)
	}
	dec.reset()
	if known != nil && known.standby && !id.standby && known.started == id.started {
		dec.promoted(id.history)
	}
	if _, err := s.meet(id.history, dec.end, dec.cut()); err != nil {
		return nil, err
	}
	if err := s.checkSlot(slot, found.database, dec.end.at, id.end); err != nil {
		return nil, err
	}
	var publications []string
	for _, name := range s.publicationNames(found.publication) {
		publications = append(publications, quote(name))
	}
	options := []string{"proto_version '1'", "publication_names " + literal(strings.Join(publications, ",")), "messages 'true'"}
	if s.cfg.Origin == OriginNone && !dec.rules.localOnly {
		options = append(options, "origin 'none'")
	}
	err = pglogrepl.StartReplication(ctx, conn.PgConn, quote(s.cfg.Slot), pglogrepl.LSN(dec.end.at), pglogrepl.StartReplicationOptions{PluginArgs: options})
	if err != nil {
		return nil, s.streamError(err)
	}
	hijacked, err := conn.Hijack()
	if err != nil {
		return nil, fmt.Errorf("take over connection: %w", err)
	}
	dec.relations.types.serve(conn.PgConn)
	dec.history = id.history
	s.server.Store(&id)
	every, limit := maxStatus, silence*s.patience
	if conn.timeout > 0 {
		every, limit = min(every, conn.timeout/3), silence*conn.timeout
	}
	raise(&s.tip, uint64(id.end))
	return &session{s: s, conn: hijacked.Conn, wire: conn.wire, dec: dec, every: every, limit: limit, opened: time.Now(), heard: time.Now()}, nil
}

func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// slotInUse is the SQLSTATE for a slot that another session reads.
const slotInUse = "55006"

// streamError says which of the server's errors end Run.
func (s *Source) streamError(err error) error {
	switch sqlState(err) {
	case slotInUse:
		return fmt.Errorf("replication slot is in use elsewhere, standing by: %w", err)
	case "42704": // slot or publication is gone
		return &source.HaltError{
			State: source.ResyncRequired, Reason: err.Error(),
			Mend: fmt.Sprintf("the slot %s or the publication %s was dropped while it was in use; `waltrigger source resync %s --accept-gap` makes both anew", s.cfg.Slot, s.cfg.Publication, s.cfg.Name),
		}
	}
	return fmt.Errorf("stream: %w", err)
}

// run reads until ctx ends (nil), the connection fails, or kick says to let go of it.
func (x *session) run(ctx context.Context, out chan<- source.Batch, kick <-chan error) error {
	x.kick = kick
	select {
	case old := <-kick:
		x.s.log.Debug("what was meant for an earlier connection is ignored", "reason", old)
	default:
	}
	x.s.connects.Add(1)
	x.s.link.Set("streaming", "")
	x.s.log.Info("streaming", "slot", x.s.cfg.Slot, "position", x.dec.end.position())
	// A read waits until its deadline: bring that forward when something happens.
	wake := func() { _ = x.conn.SetReadDeadline(time.Unix(1, 0)) }
	defer context.AfterFunc(ctx, wake)()
	err := x.loop(ctx, out)
	if ctx.Err() != nil && !x.lost {
		x.startLinger()
		return nil
	}
	_ = x.conn.Close()
	x.s.learn(x)
	if time.Since(x.opened) > steadyAfter {
		err = source.LostError{Err: err}
	}
	return err
}

// learn doubles the patience with a server that sent nothing before the connection was
// lost: it may be busy with what is none of ours, and would be again, for ever.
func (s *Source) learn(x *session) {
	switch {
	case x.rows:
		s.patience = patience
	case time.Since(x.opened) >= s.patience:
		s.patience = min(2*s.patience, maxPatience)
	}
}

func (x *session) loop(ctx context.Context, out chan<- source.Batch) error {
	if err := x.report(time.Now()); err != nil {
		return err
	}
	for {
		if err := x.decode(ctx, out); err != nil {
			return err
		}
		if now := time.Now(); !now.Before(x.next) {
			x.dec.settle()
			if err := x.report(now); err != nil {
				return err
			}
			x.next = now.Add(min(tick, x.every))
			_ = x.conn.SetReadDeadline(x.next)
			if ctx.Err() != nil { // ended before that, which undid the waking
				return ctx.Err()
			}
		}
		if err := x.emit(ctx, out); err != nil {
			return err
		}
		x.s.handed.Through(x.dec.handedOver())
		select {
		case err := <-x.kick:
			return err
		default:
		}
		if x.gather.wait > 0 {
			time.Sleep(x.gather.wait)
		}
		if err := x.read(ctx); err != nil {
			return err
		}
	}
}

// read waits for data until the next tick.
func (x *session) read(ctx context.Context) error {
	n, err := x.wire.fill()
	x.gather.saw(n, time.Now())
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("read stream: %w", err)
	}
	if n > 0 {
		x.heard = time.Now()
		return nil
	}
	x.wire.idle()
	if ctx.Err() == nil && time.Since(x.heard) > x.limit {
		return fmt.Errorf("read stream: the server has been silent for %s", x.limit)
	}
	return ctx.Err() // its end wakes the read
}

// decode takes every whole frame that has arrived, handing over full batches.
func (x *session) decode(ctx context.Context, out chan<- source.Batch) error {
	for {
		typ, body, ok, err := x.wire.next()
		if err != nil || !ok {
			return err
		}
		switch typ {
		case 'd':
			err = x.copyData(ctx, body)
		case 'E':
			err = x.serverError(body)
		case 'N':
			err = x.notice(body)
		case 'S': // parameter status
		case 'c', 'C', 'Z':
			err = errors.New("stream: ended by the server")
		default:
			err = source.PermanentError{Err: fmt.Errorf("read stream: unknown frame %q", typ)}
		}
		if err == nil && x.dec.full() {
			err = x.emit(ctx, out)
		}
		if err != nil {
			return err
		}
	}
}

func (x *session) copyData(ctx context.Context, body []byte) error {
	if len(body) == 0 {
		return source.PermanentError{Err: errors.New("read stream: empty message")}
	}
	switch body[0] {
	case pglogrepl.XLogDataByteID: // start, end, time, message
		x.rows = true
		if len(body) < 25 {
			return source.PermanentError{Err: errors.New("read stream: row message is cut short")}
		}
		err := x.dec.message(ctx, body[25:])
		if passes := (lookupError{}); err != nil && !errors.As(err, &passes) {
			return source.PermanentError{Err: err}
		}
		return err
	case pglogrepl.PrimaryKeepaliveMessageByteID:
		m, err := pglogrepl.ParsePrimaryKeepaliveMessage(body[1:])
		if err != nil {
			return source.PermanentError{Err: fmt.Errorf("read stream: %w", err)}
		}
		x.dec.alive(lsn(m.ServerWALEnd))
		raise(&x.s.tip, uint64(m.ServerWALEnd))
		if m.ReplyRequested {
			return x.send(time.Now())
		}
	default:
		return source.PermanentError{Err: fmt.Errorf("read stream: unknown message %q", body[0])}
	}
	return nil
}

func (x *session) serverError(body []byte) error {
	var m pgproto3.ErrorResponse
	if err := m.Decode(body); err != nil {
		return fmt.Errorf("read stream: %w", err)
	}
	return x.s.streamError(pgconn.ErrorResponseToPgError(&m))
}

// notice looks for the one that is an error up to version 17: the server decodes changes
// that were made while a publication did not exist, and leaves them out.
func (x *session) notice(body []byte) error {
	var m pgproto3.NoticeResponse
	if err := m.Decode(body); err != nil {
		return fmt.Errorf("read stream: %w", err)
	}
	if m.Routine == "LoadPublications" { // its text may be translated
		x.s.log.Error("the server decodes without a publication", "message", m.Message, "detail", m.Detail)
		return x.s.publicationGone()
	}
	return nil
}

// emit hands the batch over. While nobody takes it the connection is kept alive and
// nothing is read, which makes the server wait. A connection lost meanwhile does not
// lose the batch.
func (x *session) emit(ctx context.Context, out chan<- source.Batch) error {
	if x.dec.ready() == 0 {
		return nil
	}
	x.s.events.Store(x.dec.events)
	raise(&x.s.received, uint64(x.dec.received))
	x.s.sent.add(x.dec.begun)
	x.dec.begun = x.dec.begun[:0]
	b := x.dec.take()
	select {
	case out <- b:
		x.s.handed.Sent(b)
		return nil
	default:
	}
	t := time.NewTicker(min(tick, x.every))
	defer t.Stop()
	defer func() { x.heard = time.Now() }() // what it said meanwhile is still to be read
	var lost error
	for {
		select {
		case out <- b:
			x.s.handed.Sent(b)
			return lost
		case <-ctx.Done():
			return ctx.Err()
		case now := <-t.C:
			if lost == nil {
				lost = x.report(now)
				x.lost = lost != nil
			}
		case lost = <-x.kick:
			x.lost = true
			_ = x.conn.Close() // now, not when the batch is taken
		}
	}
}

// report sends a status if it says something new or is due.
func (x *session) report(now time.Time) error {
	x.s.skipped.Store(x.dec.skipped)
	x.s.received.Store(max(uint64(x.dec.received), x.s.received.Load()))
	if x.s.acked.Load() == x.sentAck && uint64(x.dec.received) == x.sentRecv && now.Sub(x.sent) < x.every {
		return nil
	}
	return x.send(now)
}

// send tells the server what has arrived and what is done. Only the latter lets it
// forget its log; both fields are always given, since a zero one would be taken to
// mean the other.
func (x *session) send(now time.Time) error {
	acked, received := x.s.acked.Load(), uint64(x.dec.received)
	b := append(x.out[:0], 'd', 0, 0, 0, 38, pglogrepl.StandbyStatusUpdateByteID)
	b = binary.BigEndian.AppendUint64(b, max(received, acked))
	b = binary.BigEndian.AppendUint64(b, acked)
	b = binary.BigEndian.AppendUint64(b, acked)
	b = binary.BigEndian.AppendUint64(b, uint64(now.UnixMicro()-epoch*1e6))
	if now.Sub(x.heard) > x.limit/silence { // does it live?
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	_ = x.conn.SetWriteDeadline(now.Add(writeTimeout))
	if _, err := x.conn.Write(b); err != nil {
		return fmt.Errorf("send status: %w", err)
	}
	if acked != x.sentAck {
		failpoint.Hit("source.acked")
	}
	x.sent, x.sentAck, x.sentRecv = now, acked, received
	return nil
}

// startLinger keeps the connection alive after Run, reading nothing any more, until
// finish. The server may be blocked sending to us; it takes our statuses all the same.
func (x *session) startLinger() {
	x.stop, x.done = make(chan struct{}), make(chan error, 1)
	x.s.mu.Lock()
	x.s.linger = x
	x.s.mu.Unlock()
	go func() {
		t := time.NewTicker(min(tick, x.every))
		defer t.Stop()
		var err error
		for err == nil {
			select {
			case <-x.stop:
				x.done <- x.end()
				return
			case now := <-t.C:
				err = x.report(now)
			}
		}
		x.done <- err
	}()
}

// end sends the last status and waits until the server has taken it: closing a
// connection with unread data would discard what we sent.
func (x *session) end() error {
	if err := x.send(time.Now()); err != nil {
		return err
	}
	if _, err := x.conn.Write([]byte{'c', 0, 0, 0, 4, 'X', 0, 0, 0, 4}); err != nil { // end of copy, terminate
		return fmt.Errorf("end stream: %w", err)
	}
	_ = x.conn.SetReadDeadline(time.Now().Add(drainTimeout))
	_, _ = io.Copy(io.Discard, x.conn)
	return nil
}

// finish sends the last acknowledged position and ends the session.
func (x *session) finish() error {
	close(x.stop)
	err := <-x.done
	_ = x.conn.Close()
	if err != nil {
		return fmt.Errorf("close stream: %w", err)
	}
	return nil
}
