// Package kafka sends messages to topics of Apache Kafka and compatible brokers.
//
//	Send ── each message to its partition (Java's hash of the key)
//	     ── a batch a partition, one request a broker, all brokers at once ── wait
//	     ── the next batches, until every message has its outcome
//
// It builds record batches itself, on sarama's client, rather than use sarama's
// producers: these go on with later messages of a partition after an earlier one
// failed. Here, within one Send, a partition's next batch goes out only after the one
// before it was acknowledged by all replicas, and nothing of a key goes out after a
// message of that key failed. So a Send may hold several messages of one key.
package kafka

import (
	"context"
	"net"
	"time"

	"github.com/IBM/sarama"

	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/sink/conns"
	"github.com/waltrigger/waltrigger/pkg/sink/details"
)

// Kind is the kind of Kafka queues.
var Kind = sink.Kind{
	Name:      "kafka",
	Ordered:   true,
	Pipelined: true,
	MaxBatch:  2048,
	Conn:      connParams,
	Params:    []sink.Param{{Name: "topic", Required: true}},
	Check:     check,
	Addresses: func(conn map[string]any) []string {
		return servers(details.Check(conn, connParams))
	},
	Open: func(_ context.Context, conn map[string]any, env sink.Env) (sink.Sink, error) {
		return open(conn, env)
	},
}

// Sink sends to one cluster.
type Sink struct {
	cfg   *config
	conns *conns.Set

	client     sarama.Client // nil = to be made
	topics     map[string]*topic
	queues     map[topicPartition]*queue
	active     []*queue // those with something to send in this Send
	producerID int64    // -1 = to be asked for
	epoch      int16
	records    records
}

// topic is what is known of one.
type topic struct {
	name       string
	partitions []int32
	read       time.Time
	spread     int // for messages without a key
}

// metadataAge is after what time a topic is asked about again, for new partitions.
const metadataAge = 5 * time.Minute

type topicPartition struct {
	topic     string
	partition int32
}

func open(conn map[string]any, env sink.Env) (*Sink, error) {
	cfg, err := newConfig(conn)
	if err != nil {
		return nil, err
	}
	s := &Sink{cfg: cfg, conns: conns.New(env.Dial), producerID: -1, topics: map[string]*topic{}, queues: map[topicPartition]*queue{}}
	cfg.sarama.Net.Proxy.Enable = true
	cfg.sarama.Net.Proxy.Dialer = dialer{s.conns}
	return s, nil
}

// dialer dials for sarama, which knows no contexts.
type dialer struct{ set *conns.Set }

func (d dialer) Dial(network, address string) (net.Conn, error) {
	return d.set.Dial(context.Background(), network, address, nil)
}

// Send sends msgs; see sink.Sink.
func (s *Sink) Send(ctx context.Context, msgs []*sink.Message) []error {
	if err := s.conns.Begin(ctx); err != nil {
		return sink.All(len(msgs), classify(err))
	}
	defer s.conns.End()
	t := &transfer{Sink: s, ctx: ctx, msgs: msgs}
	t.run()
	if t.failed {
		// What the broker has of the failed batches is not known, so their sequence
		// numbers are of no more use.
		s.producerID = -1
	}
	if t.broken || ctx.Err() != nil {
		s.disconnect()
	}
	return t.errs
}

// Close closes the connections.
func (s *Sink) Close() error {
	s.disconnect()
	return nil
}

func (s *Sink) disconnect() {
	s.producerID = -1
	s.conns.CloseAll()
	if s.client != nil {
		_ = s.client.Close() // its connections are closed already
		s.client = nil
	}
	clear(s.topics)
}

// connect makes sure of a client and a producer id.
func (s *Sink) connect(ctx context.Context) error {
	if s.client == nil {
		c, err := sarama.NewClient(s.cfg.brokers, s.cfg.sarama)
		if err != nil {
			return err
		}
		s.client = c
	}
	if s.producerID >= 0 {
		return nil
	}
	r, err := s.client.InitProducerID()
	// A broker that has just started has no ids to give yet.
	for range attempts - 1 {
		if err != nil || r.Err != sarama.ErrOffsetsLoadInProgress || !pause(ctx) {
			break
		}
		r, err = s.client.InitProducerID()
	}
	if err != nil {
		return err
	}
	if r.Err != sarama.ErrNoError {
		return r.Err
	}
	s.producerID, s.epoch = r.ProducerID, r.ProducerEpoch
	clear(s.queues) // their sequences begin anew
	return nil
}

// topic returns what is known of a topic.
func (s *Sink) topic(name string) (*topic, error) {
	t := s.topics[name]
	if t != nil && time.Since(t.read) < metadataAge {
		return t, nil
	}
	if t != nil {
		if err := s.client.RefreshMetadata(name); err != nil {
			return nil, err
		}
	}
	ids, err := s.client.Partitions(name)
	if err != nil {
		return nil, err
	}
	if len(ids) == 0 {
		return nil, sarama.ErrUnknownTopicOrPartition
	}
	fresh := &topic{name: name, partitions: ids, read: time.Now()}
	if t != nil {
		fresh.spread = t.spread
	}
	s.topics[name] = fresh
	return fresh, nil
}

// partition is that of Java's default partitioner. Messages without a key share one
// for the length of a Send, which makes for large batches.
func (s *Sink) partition(t *topic, m *sink.Message) int32 {
	n := int32(len(t.partitions))
	if len(m.Key) == 0 {
		return t.partitions[t.spread%len(t.partitions)]
	}
	pm := &s.records.keyed
	s.records.key.b = m.Key
	pm.Key = &s.records.key
	i, err := murmur2.Partition(pm, n)
	if err != nil || i < 0 || i >= n {
		i = 0
	}
	return t.partitions[i]
}

var murmur2 = sarama.NewMurmur2Partitioner("")

// fail describes err for whoever waits for the message.
func (t *transfer) fail(err error) error { return classify(t.conns.Error(t.ctx, err)) }
