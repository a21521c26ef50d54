package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/IBM/sarama"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

const (
	attempts    = 3 // of one and the same request; the sequence numbers of a batch let the broker know it again
	attemptWait = 100 * time.Millisecond
	ackTime     = 30 * time.Second // for the replicas, at most
)

// transfer is one Send.
type transfer struct {
	*Sink
	ctx    context.Context
	msgs   []*sink.Message
	errs   []error             // nil as long as nothing failed
	held   map[string]struct{} // keys of which a message was refused
	failed bool
	broken bool // a connection is not to be used again
}

// queue is what of a transfer goes to one partition. It lives as long as the producer
// id, for its sequence numbers.
type queue struct {
	*topic
	id       int32
	sequence int32

	waiting  []int32 // places in msgs
	sent     []int32 // those in batch
	batch    sarama.RecordBatch
	limit    int // messages in a batch; 0 = as many as fit
	attempts int
	active   bool
}

// outcome is the answer of a broker.
type outcome struct {
	broker *sarama.Broker
	queues []*queue
	resp   *sarama.ProduceResponse
	err    error
}

func (t *transfer) run() {
	if err := t.connect(t.ctx); err != nil {
		t.broken = true
		t.failAll(err)
		return
	}
	t.distribute()
	for len(t.active) > 0 {
		again := t.round()
		t.active = slices.DeleteFunc(t.active, func(q *queue) bool {
			q.active = len(q.waiting) > 0 || len(q.sent) > 0
			return !q.active
		})
		if again && !pause(t.ctx) {
			for _, q := range t.active {
				t.failQueue(q, t.ctx.Err())
				q.active = false
			}
			t.active = t.active[:0]
		}
	}
	for _, tp := range t.topics {
		tp.spread++
	}
}

// pause waits before something is sent again; false = the context ended.
func pause(ctx context.Context) bool {
	timer := time.NewTimer(attemptWait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (t *transfer) failAll(err error) {
	e := t.fail(err)
	for i := range t.msgs {
		t.failOne(i, e)
	}
}

func (t *transfer) failOne(i int, err error) {
	if t.errs == nil {
		t.errs = make([]error, len(t.msgs))
	}
	t.errs[i] = err
	t.failed = true
}

// distribute puts every message into its partition's queue.
func (t *transfer) distribute() {
	t.records.reset(len(t.msgs))
	unknown := map[string]error{}
	for i, m := range t.msgs {
		name := m.Params["topic"]
		if err := unknown[name]; err != nil {
			t.failOne(i, err)
			continue
		}
		tp, err := t.topic(name)
		if err != nil {
			if name == "" {
				err = sarama.ErrInvalidTopic
			}
			unknown[name] = t.fail(fmt.Errorf("topic %q: %w", name, err))
			t.failOne(i, unknown[name])
			continue
		}
		key := topicPartition{name, t.partition(tp, m)}
		q := t.queues[key]
		if q == nil {
			q = &queue{topic: tp, id: key.partition}
			t.queues[key] = q
		}
		if !q.active {
			q.active, q.waiting, q.sent, q.limit, q.attempts = true, q.waiting[:0], q.sent[:0], 0, 0
			t.active = append(t.active, q)
		}
		q.waiting = append(q.waiting, int32(i))
	}
}

// round sends one batch of each queue and takes in the outcomes. again = some batch is
// to be sent again after a pause.
func (t *transfer) round() (again bool) {
	byBroker := map[*sarama.Broker][]*queue{}
	for _, q := range t.active {
		if len(q.sent) == 0 {
			t.fill(q)
		}
		if len(q.sent) == 0 {
			continue // all that waited was refused
		}
		leader, err := t.client.Leader(q.name, q.id)
		if err != nil {
			again = t.retry(q, err) || again
			continue
		}
		byBroker[leader] = append(byBroker[leader], q)
	}
	answers := make(chan outcome, len(byBroker))
	for broker, queues := range byBroker {
		t.produce(broker, queues, answers)
	}
	for range byBroker {
		o := <-answers
		if o.err != nil {
			_ = o.broker.Close() // so that it is opened anew
			t.broken = t.broken || t.ctx.Err() != nil
		}
		for _, q := range o.queues {
			again = t.settle(q, o) || again
		}
	}
	return again
}

// produce sends the batches of queues to broker; the outcome comes to answers.
func (t *transfer) produce(broker *sarama.Broker, queues []*queue, answers chan<- outcome) {
	wait := ackTime
	if deadline, ok := t.ctx.Deadline(); ok {
		wait = max(min(wait, time.Until(deadline)), time.Millisecond)
	}
	req := &sarama.ProduceRequest{RequiredAcks: sarama.WaitForAll, Timeout: int32(wait / time.Millisecond), Version: 7}
	for _, q := range queues {
		req.AddBatch(q.name, q.id, &q.batch)
	}
	o := outcome{broker: broker, queues: queues}
	err := broker.AsyncProduce(req, func(resp *sarama.ProduceResponse, err error) {
		o.resp, o.err = resp, err
		answers <- o
	})
	if err != nil { // the function above is not called then
		o.err = err
		answers <- o
	}
}

// settle takes in what became of q's batch.
func (t *transfer) settle(q *queue, o outcome) (again bool) {
	if o.err != nil {
		return t.retry(q, o.err)
	}
	block := o.resp.GetBlock(q.name, q.id)
	if block == nil {
		return t.retry(q, sarama.ErrIncompleteResponse)
	}
	switch err := block.Err; {
	case err == sarama.ErrNoError, err == sarama.ErrDuplicateSequenceNumber: // it had come, only the answer was lost
		q.sequence += int32(len(q.sent))
		q.sent, q.limit, q.attempts = q.sent[:0], 0, 0
		if q.sequence > 1<<30 {
			t.failed = true // no failure, but a new producer id begins at 0 again
		}
	case ofOneMessage(err) && len(q.sent) > 1:
		q.limit = len(q.sent) / 2 // the broker does not say which; smaller batches do
		q.waiting = append(slices.Clone(q.sent), q.waiting...)
		q.sent = q.sent[:0]
	case ofOneMessage(err):
		t.refuse(int(q.sent[0]), t.fail(err))
		q.sent = q.sent[:0]
	case passing(err):
		return t.retry(q, err)
	default:
		t.failQueue(q, err)
	}
	return false
}

// retry has q's batch sent again unless that was done often enough.
func (t *transfer) retry(q *queue, err error) (again bool) {
	q.attempts++
	if q.attempts >= attempts || t.ctx.Err() != nil || !passing(err) {
		t.broken = true
		t.failQueue(q, err)
		return false
	}
	if err := t.client.RefreshMetadata(q.name); err != nil {
		t.broken = true
		t.failQueue(q, err)
		return false
	}
	return true
}

func (t *transfer) failQueue(q *queue, err error) {
	e := t.fail(fmt.Errorf("topic %q, partition %d: %w", q.name, q.id, err))
	for _, i := range q.sent {
		t.failOne(int(i), e)
	}
	for _, i := range q.waiting {
		t.failOne(int(i), e)
	}
	q.sent, q.waiting = q.sent[:0], q.waiting[:0]
}

// refuse fails one message that can never be accepted, and holds back what follows of
// its key.
func (t *transfer) refuse(i int, err error) {
	t.failOne(i, err)
	if key := t.msgs[i].Key; len(key) > 0 {
		if t.held == nil {
			t.held = map[string]struct{}{}
		}
		t.held[string(key)] = struct{}{}
	}
}

var errHeldBack = errors.New("not sent, as an earlier message of its key was refused")

// fill makes q's next batch of what waits.
func (t *transfer) fill(q *queue) {
	r := &t.records
	size := batchOverhead
	now := r.now()
	q.batch = sarama.RecordBatch{
		Version: 2, Codec: t.cfg.codec, CompressionLevel: sarama.CompressionLevelDefault, FirstTimestamp: now, MaxTimestamp: now,
		ProducerID: t.producerID, ProducerEpoch: t.epoch, FirstSequence: q.sequence, Records: q.batch.Records[:0],
	}
	n := 0
	for _, i := range q.waiting {
		m := t.msgs[i]
		if _, held := t.held[string(m.Key)]; held {
			t.failOne(int(i), &sink.Error{Class: sink.Permanent, Code: "held_back", Err: errHeldBack})
			n++
			continue
		}
		rec, bytes := r.record(int(i), m)
		if batchOverhead+bytes > t.cfg.maxRequest {
			t.refuse(int(i), &sink.Error{Class: sink.Permanent, Code: codeTooLarge, Err: fmt.Errorf("a record of %d bytes, more than max_request_size %d", bytes, t.cfg.maxRequest)})
			n++
			continue
		}
		if size+bytes > t.cfg.maxRequest || q.limit > 0 && len(q.sent) >= q.limit {
			break
		}
		size += bytes
		rec.OffsetDelta = int64(len(q.sent))
		q.batch.Records = append(q.batch.Records, rec)
		q.sent = append(q.sent, i)
		n++
	}
	q.waiting = q.waiting[n:]
	q.batch.LastOffsetDelta = int32(len(q.sent) - 1)
}
