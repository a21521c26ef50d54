package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/IBM/sarama"
)

// consumer reads a topic of one partition from its start.
type consumer struct {
	sarama.PartitionConsumer
}

// newKafka starts a broker of the test's own, which listens for what comes through a proxy
// as well (KAFKA_BEHIND), and gives its address.
func newKafka(t *testing.T, behind string) string {
	t.Helper()
	service(t, "WALTRIGGER_TEST_KAFKA") // where there is one there are the script's needs
	env := []string{fmt.Sprintf("KAFKA_INSTANCE=t%d", time.Now().UnixNano()), "KAFKA_BEHIND=" + behind}
	t.Cleanup(func() { script(t, "kafka", env, "wipe") })
	script(t, "kafka", env, "start")
	return script(t, "kafka", env, "brokers")
}

type message struct {
	key, body string
	headers   map[string]string
}

func newConsumer(t *testing.T, brokers, topic string) *consumer {
	t.Helper()
	cfg := sarama.NewConfig()
	cfg.Version = sarama.V2_1_0_0
	admin, err := sarama.NewClusterAdmin([]string{brokers}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	if err := admin.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: 1}, false); err != nil {
		t.Fatal(err)
	}
	c, err := sarama.NewConsumer([]string{brokers}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	var pc sarama.PartitionConsumer
	waitFor(t, "readable topic", func() bool {
		pc, err = c.ConsumePartition(topic, 0, sarama.OffsetOldest)
		return err == nil
	})
	t.Cleanup(func() {
		_ = pc.Close()
		_ = c.Close()
	})
	return &consumer{pc}
}

func (c *consumer) next(t *testing.T) message {
	t.Helper()
	select {
	case m := <-c.Messages():
		out := message{key: string(m.Key), body: string(m.Value), headers: map[string]string{}}
		for _, h := range m.Headers {
			out.headers[string(h.Key)] = string(h.Value)
		}
		return out
	case <-time.After(30 * time.Second):
		t.Fatal("no message")
		return message{}
	}
}
