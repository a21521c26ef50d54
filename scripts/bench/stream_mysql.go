package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"
)

// rowsHandler takes the rows of inserted sales from go-mysql's reader of the log, which
// hands it each event as soon as it is decoded.
type rowsHandler func(rows [][]any) error

// HandleEvent implements replication.EventHandler.
func (h rowsHandler) HandleEvent(e *replication.BinlogEvent) error {
	if r, ok := e.Event.(*replication.RowsEvent); ok && string(r.Table.Table) == "sale" && r.Type() == replication.EnumRowsEventTypeInsert {
		return h(r.Rows)
	}
	return nil
}

var errEnough = errors.New("enough")

// mysqlRows reads the log until handle returns errEnough or ctx ends.
func (r *ref) mysqlRows(ctx context.Context, handle rowsHandler) error {
	u, err := url.Parse(r.mysql)
	if err != nil {
		return err
	}
	port, _ := strconv.Atoi(u.Port())
	password, _ := u.User.Password()
	file, at, _ := strings.Cut(r.from, ":")
	pos, err := strconv.ParseUint(at, 10, 32)
	if err != nil {
		return fmt.Errorf("read -from: %w", err)
	}
	ended := make(chan error, 1)
	s := replication.NewBinlogSyncer(replication.BinlogSyncerConfig{
		ServerID: uint32(time.Now().UnixNano()) | 1<<31, Flavor: gomysql.MySQLFlavor, Host: u.Hostname(), Port: uint16(port), User: u.User.Username(), Password: password,
		Logger: slog.New(slog.DiscardHandler), DisableRetrySync: true, VerifyChecksum: true,
		Dialer: (&net.Dialer{}).DialContext,
		SynchronousEventHandler: rowsHandler(func(rows [][]any) error {
			err := handle(rows)
			if err != nil {
				select {
				case ended <- err:
				default:
				}
			}
			return err
		}),
	})
	defer s.Close()
	stream, err := s.StartSync(gomysql.Position{Name: file, Pos: uint32(pos)})
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() {
		_, err := stream.GetEvent(ctx) // the handler takes the events: what comes here is the end
		failed <- err
	}()
	select {
	case err = <-ended:
	case err = <-failed:
		select {
		case err = <-ended:
		default:
		}
	case <-ctx.Done():
	}
	if errors.Is(err, errEnough) || ctx.Err() != nil {
		return nil
	}
	return err
}

// mysqlDecode reads rows inserts and drops them.
func (r *ref) mysqlDecode(ctx context.Context, rows int) error {
	var first time.Time
	n := 0
	err := r.mysqlRows(ctx, func(got [][]any) error {
		if n == 0 {
			first = time.Now()
		}
		if n += len(got); n >= rows {
			return errEnough
		}
		return nil
	})
	if err != nil {
		return err
	}
	return printLimit(n, time.Since(first))
}

// mysqlLoop is loop for MySQL, where nothing is to be confirmed.
func (r *ref) mysqlLoop(ctx context.Context, send func(event) error) error {
	tx := &txn{}
	return r.mysqlRows(ctx, func(rows [][]any) error {
		for _, row := range rows {
			body, key := appendSale(make([]byte, 0, 256), row)
			tx.pending.Add(1)
			if err := send(event{body, key, tx}); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
}

var saleColumns = [...]string{"id", "customer_id", "product_id", "quantity", "created_at", "price"}

// appendSale writes a row as JSON and gives its customer, the ordering key.
func appendSale(b []byte, row []any) ([]byte, string) {
	key := ""
	b = append(b, '{')
	for i, v := range row[:len(saleColumns)] {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), saleColumns[i]...), `":`...)
		switch v := v.(type) {
		case int64:
			b = strconv.AppendInt(b, v, 10)
			if i == 1 {
				key = strconv.FormatInt(v, 10)
			}
		case int32:
			b = strconv.AppendInt(b, int64(v), 10)
		default:
			b = append(fmt.Append(append(b, '"'), v), '"')
		}
	}
	return append(b, '}'), key
}
