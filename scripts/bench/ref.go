package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
	"github.com/jackc/pglogrepl"
)

// ref is a bare loop: what is reachable if nothing is done but the work itself. It
// retries nothing and ends at the first error.
type ref struct {
	dsn, slot         string // PostgreSQL
	mysql, from       string // MySQL: the server, and file:position
	url, kafka, topic string
	workers           int
}

// txn is a transaction on its way; it may be confirmed once nothing of it is pending.
type txn struct {
	end     pglogrepl.LSN
	pending atomic.Int64 // events not yet accepted, and one while it is being read
}

type event struct {
	body []byte
	key  string
	tx   *txn
}

// loop reads the stream, hands each inserted row to send, and confirms once a second
// what is done. send must lower tx.pending when the event is accepted.
func (r *ref) loop(ctx context.Context, send func(event) error) error {
	if r.mysql != "" {
		return r.mysqlLoop(ctx, send)
	}
	s, err := open(ctx, r.dsn, r.slot, 0)
	if err != nil {
		return err
	}
	relations := map[uint32]*pglogrepl.RelationMessage{}
	var openTxs []*txn
	var cur *txn
	var done pglogrepl.LSN
	next := time.Now().Add(time.Second)
	for ctx.Err() == nil {
		if !time.Now().Before(next) {
			for len(openTxs) > 0 && openTxs[0].pending.Load() == 0 {
				done, openTxs = openTxs[0].end, openTxs[1:]
			}
			if done > 0 {
				if err := s.confirm(ctx, done); err != nil {
					return err
				}
			}
			next = time.Now().Add(time.Second)
		}
		until, cancel := context.WithDeadline(ctx, next)
		m, err := s.next(until)
		cancel()
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case *pglogrepl.RelationMessage:
			relations[m.RelationID] = m
		case *pglogrepl.BeginMessage:
			cur = &txn{}
			cur.pending.Add(1)
			openTxs = append(openTxs, cur)
		case *pglogrepl.CommitMessage:
			cur.end = m.TransactionEndLSN
			cur.pending.Add(-1)
		case *pglogrepl.InsertMessage:
			body, key := appendRow(make([]byte, 0, 256), relations[m.RelationID], m.Tuple)
			cur.pending.Add(1)
			if err := send(event{body, key, cur}); err != nil {
				return err
			}
		}
	}
	return nil
}

// http posts each event, those of one customer over one connection and so in order.
func (r *ref) http(ctx context.Context) error {
	failed := make(chan error, r.workers)
	queues := make([]chan event, r.workers)
	for i := range queues {
		queues[i] = make(chan event, 1024)
		go func() { failed <- postAll(r.url, queues[i]) }()
	}
	return r.loop(ctx, func(e event) error {
		h := fnv.New32a()
		_, _ = io.WriteString(h, e.key)
		select {
		case queues[h.Sum32()%uint32(len(queues))] <- e:
			return nil
		case err := <-failed:
			return err
		case <-ctx.Done():
			return nil
		}
	})
}

// wire is one keep-alive connection, written to by hand.
type wire struct {
	conn net.Conn
	br   *bufio.Reader
	head []byte
	out  []byte
}

func dialWire(target string) (*wire, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	c, err := net.Dial("tcp", u.Host)
	if err != nil {
		return nil, err
	}
	head := "POST " + u.RequestURI() + " HTTP/1.1\r\nHost: " + u.Host + "\r\nContent-Type: application/json\r\nContent-Length: "
	return &wire{conn: c, br: bufio.NewReaderSize(c, 4096), head: []byte(head)}, nil
}

func (w *wire) post(body []byte) error {
	w.out = append(w.out[:0], w.head...)
	w.out = strconv.AppendInt(w.out, int64(len(body)), 10)
	w.out = append(append(w.out, "\r\n\r\n"...), body...)
	if _, err := w.conn.Write(w.out); err != nil {
		return err
	}
	resp, err := http.ReadResponse(w.br, nil)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("receiver answers %s", resp.Status)
	}
	return err
}

func postAll(target string, q <-chan event) error {
	w, err := dialWire(target)
	if err != nil {
		return err
	}
	for e := range q {
		if err := w.post(e.body); err != nil {
			return err
		}
		e.tx.pending.Add(-1)
	}
	return nil
}

// producer is the configuration that the product's Kafka sink promises as well:
// acknowledged by all replicas, idempotent.
func producer() *sarama.Config {
	c := sarama.NewConfig()
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Producer.Idempotent = true
	c.Net.MaxOpenRequests = 1
	c.Producer.Return.Successes = true
	c.Producer.Return.Errors = true
	return c
}

func (r *ref) kafkaLoop(ctx context.Context) error {
	p, err := sarama.NewAsyncProducer([]string{r.kafka}, producer())
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() {
		for e := range p.Errors() {
			select {
			case failed <- e:
			default:
			}
		}
	}()
	go func() {
		for m := range p.Successes() {
			m.Metadata.(*txn).pending.Add(-1)
		}
	}()
	err = r.loop(ctx, func(e event) error {
		select {
		case p.Input() <- &sarama.ProducerMessage{Topic: r.topic, Key: sarama.StringEncoder(e.key), Value: sarama.ByteEncoder(e.body), Metadata: e.tx}:
			return nil
		case err := <-failed:
			return err
		case <-ctx.Done():
			return nil
		}
	})
	p.AsyncClose()
	return errors.Join(err)
}
