package mysql

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-mysql-org/go-mysql/client"
	"github.com/go-mysql-org/go-mysql/replication"
)

// errEndOfGroup ends reading a group again.
var errEndOfGroup = errors.New("end of group")

// reread reads the group at a place of the log once more, on a connection of its own,
// until handle returns errEndOfGroup. read are the transactions that were read.
func (s *Source) reread(ctx context.Context, srv *server, at groupPlace, read *executed, handle func(*replication.EventHeader, []byte) error) error {
	r := &rereader{at: at, srv: srv, handle: handle}
	d := s.connector.newDump(dumpOptions{
		id: anyReader(), mariadb: srv.mariadb, tls: srv.tls,
		prepare: func(c *client.Conn) error { return sameServer(c, srv) },
		handle:  r.event,
	})
	var err error
	switch {
	case at.Server == srv.identity:
		err = d.run(ctx, nil, at.File, at.Pos)
	case srv.mariadb && at.Before != "":
		var before *executed
		if before, err = parseExecuted(at.Before); err == nil {
			err = d.run(ctx, before.library(), "", 0)
		}
	case at.GTID != "" && read != nil:
		var name gtid
		if name, err = parseGTID(at.GTID); err == nil {
			err = d.run(ctx, read.without(name).library(), "", 0)
		}
	default:
		return lost(s.cfg.Name, "a transaction at %s:%d of server %s is to be read again, and this is server %s", at.File, at.Pos, at.Server, srv.identity)
	}
	switch {
	case errors.Is(err, errEndOfGroup):
		return nil
	case number(err) == errReadingLog:
		return lost(s.cfg.Name, "a transaction at %s:%d is to be read again, and the log does not have it any more: %s", at.File, at.Pos, rootText(err))
	}
	return err
}

type rereader struct {
	at       groupPlace
	srv      *server
	handle   func(*replication.EventHeader, []byte) error
	checksum bool
	inside   bool
}

func (r *rereader) event(e *replication.BinlogEvent) error {
	body := e.RawData[replication.EventHeaderSize:]
	switch f := e.Event.(type) {
	case *replication.FormatDescriptionEvent:
		r.checksum = f.ChecksumAlgorithm == replication.BINLOG_CHECKSUM_ALG_CRC32
		return nil
	case *replication.RotateEvent:
		return nil
	}
	if r.checksum && len(body) >= replication.BinlogChecksumLength {
		body = body[:len(body)-replication.BinlogChecksumLength]
	}
	switch e.Header.EventType {
	case replication.GTID_EVENT, replication.ANONYMOUS_GTID_EVENT, replication.GTID_TAGGED_LOG_EVENT, replication.MARIADB_GTID_EVENT:
		if r.inside {
			return fmt.Errorf("read group again: it has no end")
		}
		s, err := decodeStart(e.Header, body)
		r.inside = r.at.GTID == "" || s.named && s.name.String() == r.at.GTID
		return err
	}
	switch {
	case !r.inside:
		return nil
	case e.Header.EventType == replication.TRANSACTION_PAYLOAD_EVENT:
		return expand(body, r.handle)
	}
	return r.handle(e.Header, body)
}

// scan reads the log from at, where rows are being read, to end, and calls handle with each
// statement, until it returns errEndOfGroup.
func (s *Source) scan(ctx context.Context, srv *server, at groupPlace, end logEnd, handle func(*replication.EventHeader, []byte) error) error {
	file, pos, checksum := at.File, at.Pos, false
	d := s.connector.newDump(dumpOptions{
		id: anyReader(), mariadb: srv.mariadb, tls: srv.tls,
		prepare: func(c *client.Conn) error { return sameServer(c, srv) },
		handle: func(e *replication.BinlogEvent) error {
			switch f := e.Event.(type) {
			case *replication.FormatDescriptionEvent:
				checksum = f.ChecksumAlgorithm == replication.BINLOG_CHECKSUM_ALG_CRC32
				return nil
			case *replication.RotateEvent:
				file, pos = string(f.NextLogName), f.Position
				return nil
			}
			pos = next(pos, e.Header)
			if t := e.Header.EventType; t == replication.QUERY_EVENT || t == replication.MARIADB_QUERY_COMPRESSED_EVENT {
				body := e.RawData[replication.EventHeaderSize:]
				if checksum {
					body = body[:len(body)-replication.BinlogChecksumLength]
				}
				if err := handle(e.Header, body); err != nil {
					return err
				}
			}
			if raw(file, pos) >= raw(end.file, end.pos) {
				return errEndOfGroup
			}
			return nil
		},
	})
	if err := d.run(ctx, nil, at.File, at.Pos); !errors.Is(err, errEndOfGroup) {
		return fmt.Errorf("read ahead: %w", err)
	}
	return nil
}

// sameServer makes sure that a connection leads where the others do.
func sameServer(c *client.Conn, srv *server) error {
	query := "SELECT @@server_uuid"
	if srv.mariadb {
		query = "SELECT CONCAT(@@server_id, '@', @@hostname, ':', @@port)"
	}
	r, err := c.Execute(query)
	if err != nil {
		return err
	}
	got, err := r.GetString(0, 0)
	if err != nil {
		return err
	}
	if got != srv.identity {
		return fmt.Errorf("the url leads to different servers (%s and %s)", srv.identity, got)
	}
	return nil
}
