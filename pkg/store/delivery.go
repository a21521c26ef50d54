package store

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	"github.com/waltrigger/waltrigger/pkg/deliver"
	"github.com/waltrigger/waltrigger/pkg/failpoint"
)

var _ deliver.Store = (*Store)(nil)

// deliveryColumns are those of a delivery, as insertDeliveries and scanDelivery have them.
var deliveryColumns = []string{
	"id", "destination", "trigger_id", "source", "state", "sent_at", "bare", "row_table", "row_key", "lanes", "lane1", "lane2", "of_table", "barrier",
	"refusals", "next_at", "attempts", "parked_at", "failed_at", "failure", "code", "error", "tries",
	"message_id", "signal_name", "model", "committed_at", "content_type", "ordering_key", "key_hash", "size",
	"unrendered", "sealed", "content_sum", "rendered", "body", "event",
}

// Settle implements deliver.Store. Doing it twice does no harm: a commit may be in doubt.
func (s *Store) Settle(ctx context.Context, c *deliver.Changes) error {
	return s.transact(ctx, "settle deliveries", func(tx *transaction) error { return s.settle(ctx, tx, c) })
}

func (s *Store) settle(ctx context.Context, tx *transaction, c *deliver.Changes) error {
	if err := s.insertDeliveries(ctx, tx, c.Park); err != nil {
		return err
	}
	if err := s.putBack(ctx, tx, c.Back); err != nil {
		return err
	}
	for _, ids := range chunks(c.Done, 500) {
		if _, err := tx.ExecContext(ctx, `DELETE FROM deliveries WHERE id IN `+list(len(ids)), numbers(ids)...); err != nil {
			return err
		}
		failpoint.Hit("store.done")
	}
	for i := range c.Bury {
		if err := s.bury(ctx, tx, &c.Bury[i], c.Strip); err != nil {
			return err
		}
	}
	for _, id := range c.Free {
		if _, err := tx.ExecContext(ctx, `UPDATE deliveries SET next_at = 0, refusals = 0 WHERE destination = ? AND state = 0`, id); err != nil {
			return err
		}
	}
	return nil
}

// stripped is what of a delivery is set to keep nothing of what it says.
const stripped = `, bare = 1, unrendered = 0, sealed = '', content_sum = 0, rendered = '[]', body = '', event = NULL`

func (s *Store) bury(ctx context.Context, tx *transaction, b *deliver.Burial, strip bool) error {
	err := tx.QueryRowContext(ctx, `SELECT COALESCE(sum(size), 0) FROM deliveries WHERE destination = ? AND state = 0`, b.Destination).Scan(&b.Bytes)
	if err != nil {
		return err
	}
	more := ""
	if strip {
		more = stripped
	}
	_, err = tx.ExecContext(ctx, `UPDATE deliveries SET state = 1, failure = ?, code = ?, error = ?, failed_at = ?`+more+` WHERE destination = ? AND state = 0`,
		b.Class, b.Class, b.Why, micros(s.now()), b.Destination)
	return err
}

// rowsAtOnce is how many deliveries one statement inserts.
const rowsAtOnce = 64

func (s *Store) insertDeliveries(ctx context.Context, tx *transaction, ds []*deliver.Delivery) error {
	for _, some := range chunks(ds, rowsAtOnce) {
		args := make([]any, 0, len(some)*len(deliveryColumns))
		for _, d := range some {
			b, err := s.sealBody(d)
			if err != nil {
				return err
			}
			args = append(args, int64(d.ID), d.Destination, d.Trigger, d.Source, int(d.State), micros(d.SentAt), flag(d.Bare), d.Row.Table, nonNil(d.Row.Key), d.NLane, int64(d.Lanes[0]), int64(d.Lanes[1]), int64(d.Table), flag(d.Barrier),
				d.Refusals, micros(d.NextAt), d.Attempts, micros(d.ParkedAt), micros(d.FailedAt), d.Class, d.Code, d.Error, tries(d),
				d.Message.ID, d.Message.Signal, d.Message.Model, micros(d.Message.Committed), d.Message.ContentType, nonNil(d.Message.Key), keyHash(string(d.Row.Key)), d.Bytes(),
				flag(d.Event != nil), b.sealed, b.sum, b.rendered, b.body, b.event)
		}
		if _, err := tx.ExecContext(ctx, tx.d.insertNew("deliveries", deliveryColumns, len(some)), args...); err != nil {
			return err
		}
		failpoint.Hit("store.parked")
	}
	return nil
}

// Columns of what became of a delivery, as putBack has them.
var (
	fateNumbers = []string{"state", "sent_at", "refusals", "next_at", "attempts", "failed_at"}
	fateTexts   = []string{"failure", "code", "error", "tries"}
)

// putBack stores what became of deliveries that are still parked.
func (s *Store) putBack(ctx context.Context, tx *transaction, ds []*deliver.Delivery) error {
	var bare []*deliver.Delivery
	for _, d := range ds {
		switch {
		case d.Mended:
			if err := s.rewrite(ctx, tx, d); err != nil {
				return err
			}
		case d.Bare:
			bare = append(bare, d)
		}
	}
	for _, some := range chunks(bare, 500) {
		args := []any{some[0].Bytes()} // as all of which nothing is kept
		for _, d := range some {
			args = append(args, int64(d.ID))
		}
		if _, err := tx.ExecContext(ctx, `UPDATE deliveries SET size = ?`+stripped+` WHERE state = 0 AND id IN `+list(len(some)), args...); err != nil {
			return err
		}
	}
	for _, some := range chunks(ds, rowsAtOnce) {
		args := make([]any, 0, len(some)*(1+len(fateNumbers)+len(fateTexts)))
		for _, d := range some {
			args = append(args, int64(d.ID), int(d.State), micros(d.SentAt), d.Refusals, micros(d.NextAt), d.Attempts, micros(d.FailedAt), d.Class, d.Code, d.Error, tries(d))
		}
		// The + keeps SQLite from looking through all that is parked, by an index of states.
		if _, err := tx.ExecContext(ctx, tx.d.updateEach("deliveries", "id", fateNumbers, fateTexts, len(some))+` AND +deliveries.state = 0`, args...); err != nil {
			return err
		}
	}
	return nil
}

// rewrite stores what a parked delivery says anew.
func (s *Store) rewrite(ctx context.Context, tx *transaction, d *deliver.Delivery) error {
	b, err := s.sealBody(d)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE deliveries SET content_type = ?, ordering_key = ?, size = ?, bare = ?, unrendered = ?, sealed = ?, content_sum = ?, rendered = ?, body = ?, event = ? WHERE id = ? AND state = 0`,
		d.Message.ContentType, nonNil(d.Message.Key), d.Bytes(), flag(d.Bare), flag(d.Event != nil), b.sealed, b.sum, b.rendered, b.body, b.event, int64(d.ID))
	return err
}

// sealedBody is what of a delivery may be sealed.
type sealedBody struct {
	sealed                string
	sum                   int64 // of what the others hold in clear
	rendered, body, event []byte
}

// add makes the sum of b, which is in clear and belongs to d.
func (b *sealedBody) add(d *deliver.Delivery) int64 {
	h := fnv.New64a()
	for _, part := range [][]byte{[]byte(d.Message.ID), []byte(d.Message.ContentType), d.Message.Key, b.rendered, b.body, b.event} {
		var n [8]byte
		binary.LittleEndian.PutUint64(n[:], uint64(len(part)))
		h.Write(n[:])
		h.Write(part)
	}
	return max(int64(h.Sum64()>>1), 1) // 0 says that there is none
}

func (s *Store) sealBody(d *deliver.Delivery) (b sealedBody, err error) {
	b.sealed, b.body, b.event, b.rendered = s.keys.Name(), nonNil(d.Message.Body), d.Event, []byte("[]")
	if d.Event == nil {
		b.event = d.Origin
	}
	if len(d.Rendered) > 0 {
		if b.rendered, err = json.Marshal(d.Rendered); err != nil {
			return b, fmt.Errorf("encode what was rendered: %w", err)
		}
	}
	if b.sum = b.add(d); b.sealed == "" {
		return b, nil
	}
	at := fmt.Sprintf("deliveries/%d/", d.ID)
	b.rendered, b.body = s.keys.Seal(nil, b.rendered, at+"rendered"), s.keys.Seal(nil, b.body, at+"body")
	if b.event != nil {
		b.event = s.keys.Seal(nil, b.event, at+"event")
	}
	return b, nil
}

// openBody gives d what b holds. An error says that it is not what was stored.
func (s *Store) openBody(d *deliver.Delivery, b sealedBody, unrendered bool) error {
	if b.sealed != "" {
		at := fmt.Sprintf("deliveries/%d/", d.ID)
		for _, f := range []struct {
			name string
			b    *[]byte
		}{{"rendered", &b.rendered}, {"body", &b.body}, {"event", &b.event}} {
			if *f.b == nil {
				continue
			}
			plain, err := s.keys.Open(nil, *f.b, at+f.name)
			if err != nil {
				return fmt.Errorf("%s %w", f.name, err)
			}
			*f.b = plain
		}
	}
	if b.sum != 0 && b.sum != b.add(d) {
		return errors.New("it is not what was written: the store's file, or its disk, is damaged")
	}
	d.Message.Body = b.body
	if unrendered {
		d.Event = b.event
	} else {
		d.Origin = b.event
	}
	if len(b.rendered) > 2 { // []
		if err := json.Unmarshal(b.rendered, &d.Rendered); err != nil {
			return fmt.Errorf("read what was rendered: %w", err)
		}
	}
	return nil
}

func tries(d *deliver.Delivery) string {
	if len(d.Tries) == 0 {
		return ""
	}
	b, err := json.Marshal(d.Tries)
	if err != nil { // times and strings always encode
		return ""
	}
	return string(b)
}

// keyHash makes an index of keys possible, which may be of any length.
func keyHash(key string) int64 {
	h := fnv.New64a()
	h.Write([]byte(key))
	return int64(h.Sum64())
}

// flag is how a bool is stored.
func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicros(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n).UTC()
}

func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// list is n placeholders in parentheses.
func list(n int) string { return "(?" + strings.Repeat(", ?", n-1) + ")" }

func numbers(ids []uint64) []any {
	out := make([]any, len(ids))
	for i, id := range ids {
		out[i] = int64(id)
	}
	return out
}

// chunks cuts s into parts of at most n.
func chunks[T any](s []T, n int) [][]T {
	var out [][]T
	for len(s) > n {
		out = append(out, s[:n])
		s = s[n:]
	}
	if len(s) > 0 {
		out = append(out, s)
	}
	return out
}
