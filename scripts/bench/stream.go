package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// publication that all bare loops read; made before their slots.
const publication = "bench_ref"

// stream is a running replication connection, reduced to what a bare loop needs.
type stream struct {
	conn *pgconn.PgConn
}

// patient lets the socket fill before each read. The server writes one message a
// send(); who reads each at once pays a wake-up for each, and is slower.
type patient struct {
	net.Conn
	pause time.Duration
}

func (p patient) Read(b []byte) (int, error) {
	time.Sleep(p.pause)
	return p.Conn.Read(b)
}

// open starts replication at the slot's own position. pause 0 reads at once.
func open(ctx context.Context, dsn, slot string, pause time.Duration) (*stream, error) {
	cfg, err := pgconn.ParseConfig(dsn + "&replication=database")
	if err != nil {
		return nil, err
	}
	if pause > 0 {
		dial := cfg.DialFunc
		cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dial(ctx, network, addr)
			return patient{c, pause}, err
		}
		cfg.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
			return pgproto3.NewFrontend(bufio.NewReaderSize(r, 1<<20), w)
		}
	}
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	err = pglogrepl.StartReplication(ctx, conn, slot, 0, pglogrepl.StartReplicationOptions{
		PluginArgs: []string{"proto_version '1'", "publication_names '" + publication + "'"},
	})
	if err != nil {
		return nil, fmt.Errorf("start replication: %w", err)
	}
	return &stream{conn: conn}, nil
}

// next gives the next logical message, or nil at the deadline or for anything else.
func (s *stream) next(ctx context.Context) (pglogrepl.Message, error) {
	m, err := s.conn.ReceiveMessage(ctx)
	if err != nil {
		if pgconn.Timeout(err) {
			return nil, nil
		}
		return nil, err
	}
	switch m := m.(type) {
	case *pgproto3.ErrorResponse:
		return nil, pgconn.ErrorResponseToPgError(m)
	case *pgproto3.CopyData:
		if m.Data[0] != pglogrepl.XLogDataByteID {
			return nil, nil
		}
		x, err := pglogrepl.ParseXLogData(m.Data[1:])
		if err != nil {
			return nil, err
		}
		return pglogrepl.Parse(x.WALData)
	}
	return nil, nil
}

func (s *stream) confirm(ctx context.Context, lsn pglogrepl.LSN) error {
	return pglogrepl.SendStandbyStatusUpdate(ctx, s.conn, pglogrepl.StandbyStatusUpdate{WALWritePosition: lsn})
}

// numeric reports whether a column of this type is a bare number in JSON.
func numeric(oid uint32) bool { return oid == 20 || oid == 21 || oid == 23 }

// appendRow writes a row as JSON and gives its customer, the ordering key.
func appendRow(b []byte, r *pglogrepl.RelationMessage, t *pglogrepl.TupleData) ([]byte, string) {
	key := ""
	b = append(b, '{')
	for i, c := range t.Columns {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), r.Columns[i].Name...), `":`...)
		if r.Columns[i].Name == "customer_id" {
			key = string(c.Data)
		}
		if numeric(r.Columns[i].DataType) {
			b = append(b, c.Data...)
		} else {
			b = append(append(append(b, '"'), strings.ReplaceAll(string(c.Data), `"`, `\"`)...), '"')
		}
	}
	return append(b, '}'), key
}
