package kafka

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

func cpuTime(b *testing.B) time.Duration {
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		b.Fatal(err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// BenchmarkSend compares the sink with a bare loop on sarama's AsyncProducer that sends
// the same keys, bodies and headers. Run it with -benchtime 200000x.
func BenchmarkSend(b *testing.B) {
	brokers := testBrokers(b)
	topic := testTopic(b, brokers, 3)
	body := []byte(`{"id":1,"pad":"` + strings.Repeat("x", 480) + `"}`)
	measure := func(b *testing.B, run func(n int)) {
		b.ReportAllocs()
		run(1)
		before := cpuTime(b)
		b.ResetTimer()
		run(b.N)
		b.StopTimer()
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		b.ReportMetric((cpuTime(b)-before).Seconds()/float64(b.N)*1e5, "cpu-s/100k")
	}
	b.Run("asyncproducer", func(b *testing.B) {
		measure(b, asyncLoop(b, brokers, topic, body))
	})
	for _, size := range []int{256, 1024, 2048, 4096} {
		b.Run(fmt.Sprintf("sink-%d", size), func(b *testing.B) {
			s, err := open(map[string]any{"bootstrap_servers": strings.Join(brokers, ",")}, sink.Env{Dial: (&net.Dialer{}).DialContext})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			params := map[string]string{"topic": topic}
			msgs := make([]sink.Message, size)
			batch := make([]*sink.Message, size)
			committed := time.Now()
			measure(b, func(n int) {
				for i := 0; i < n; i += size {
					batch = batch[:0]
					for j := range min(size, n-i) {
						m := &msgs[j]
						*m = sink.Message{ID: fmt.Sprintf("shop_00000000%08X_1_post_save_d1", i+j), Key: fmt.Appendf(m.Key[:0], "%d", (i+j)%1000), Body: body, ContentType: "application/json", Params: params, Signal: "post_save", Model: "myapp.Sale", Committed: committed}
						batch = append(batch, m)
					}
					if errs := s.Send(b.Context(), batch); errs != nil {
						b.Fatal(errs)
					}
				}
			})
		})
	}
}

func asyncLoop(b *testing.B, brokers []string, topic string, body []byte) func(n int) {
	conf := sarama.NewConfig()
	conf.Producer.RequiredAcks = sarama.WaitForAll
	conf.Producer.Idempotent = true
	conf.Net.MaxOpenRequests = 1
	conf.Producer.Partitioner = sarama.NewMurmur2Partitioner
	conf.Producer.Return.Successes = true
	conf.MetricRegistry = noMetrics{}
	p, err := sarama.NewAsyncProducer(brokers, conf)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { p.Close() })
	return func(n int) {
		var wg sync.WaitGroup
		wg.Go(func() {
			for range n {
				select {
				case <-p.Successes():
				case err := <-p.Errors():
					b.Error(err)
				}
			}
		})
		for i := range n {
			p.Input() <- &sarama.ProducerMessage{
				Topic: topic, Key: sarama.StringEncoder(fmt.Sprint(i % 1000)), Value: sarama.ByteEncoder(body),
				Headers: []sarama.RecordHeader{
					{Key: []byte(sink.HeaderEventID), Value: fmt.Appendf(nil, "shop_00000000%08X_1_post_save_d1", i)},
					{Key: []byte(sink.HeaderSignal), Value: []byte("post_save")},
					{Key: []byte(sink.HeaderModel), Value: []byte("myapp.Sale")},
					{Key: []byte(sink.HeaderCommitted), Value: []byte("2026-01-01T00:00:00.123456Z")},
					{Key: []byte(sink.HeaderContentType), Value: []byte("application/json")},
				},
			}
		}
		wg.Wait()
	}
}
