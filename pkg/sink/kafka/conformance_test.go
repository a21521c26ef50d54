package kafka

import (
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/waltrigger/waltrigger/pkg/sink/sinktest"
)

func TestConformance(t *testing.T) {
	brokers := testBrokers(t)
	topic := testTopic(t, brokers, 3)
	sinktest.Run(t, sinktest.Harness{
		Kind: Kind,
		Conn: map[string]any{
			"bootstrap_servers": strings.Join(brokers, ","), "sasl_plain_password": "s3cret",
		},
		Params:   map[string]string{"topic": topic},
		Received: func(t *testing.T) []sinktest.Received { return consume(t, brokers, topic) },
		Key:      true,
		Secrets:  []string{"s3cret"},
		MaxBody:  900 << 10,
	})
}

// consume reads all that the topic holds.
func consume(t *testing.T, brokers []string, topic string) []sinktest.Received {
	t.Helper()
	conf := sarama.NewConfig()
	conf.Version = sarama.V2_1_0_0
	conf.MetricRegistry = noMetrics{}
	client, err := sarama.NewClient(brokers, conf)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	c, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ids, err := client.Partitions(topic)
	if err != nil {
		t.Fatal(err)
	}
	var out []sinktest.Received
	for _, id := range ids {
		end, err := client.GetOffset(topic, id, sarama.OffsetNewest)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, consumePartition(t, c, topic, id, end)...)
	}
	return out
}

func consumePartition(t *testing.T, c sarama.Consumer, topic string, id int32, end int64) []sinktest.Received {
	t.Helper()
	if end == 0 {
		return nil
	}
	p, err := c.ConsumePartition(topic, id, sarama.OffsetOldest)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	timeout := time.NewTimer(20 * time.Second)
	defer timeout.Stop()
	var out []sinktest.Received
	for {
		select {
		case m := <-p.Messages():
			h := map[string]string{}
			for _, rh := range m.Headers {
				h[strings.ToLower(string(rh.Key))] = string(rh.Value)
			}
			out = append(out, sinktest.Received{ID: h["event-id"], Key: string(m.Key), ContentType: h["content-type"], Body: m.Value, Headers: h})
			if m.Offset == end-1 {
				return out
			}
		case <-timeout.C:
			t.Fatalf("partition %d: read %d messages of %d", id, len(out), end)
		}
	}
}
