package kafka

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"go.uber.org/goleak"
)

// sarama counts in a global registry when a connection is closed under it, which starts
// one goroutine for the life of the process.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}

// testBrokers are those of WALTRIGGER_TEST_KAFKA.
func testBrokers(t testing.TB) []string {
	t.Helper()
	v := os.Getenv("WALTRIGGER_TEST_KAFKA")
	if v == "" {
		if os.Getenv("WALTRIGGER_TEST_REQUIRED") == "1" {
			t.Fatal("WALTRIGGER_TEST_KAFKA is not set")
		}
		t.Skip("WALTRIGGER_TEST_KAFKA is not set")
	}
	return strings.Split(v, ",")
}

// testTopic makes a topic of the test's own.
func testTopic(t testing.TB, brokers []string, partitions int32) string {
	t.Helper()
	conf := sarama.NewConfig()
	conf.Version = sarama.V2_1_0_0
	conf.MetricRegistry = noMetrics{}
	admin, err := sarama.NewClusterAdmin(brokers, conf)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	name := fmt.Sprintf("waltrigger-test-%d", time.Now().UnixNano())
	limit := "1048588"
	if err := admin.CreateTopic(name, &sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: 1, ConfigEntries: map[string]*string{"max.message.bytes": &limit}}, false); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		admin, err := sarama.NewClusterAdmin(brokers, conf)
		if err != nil {
			t.Error(err)
			return
		}
		defer admin.Close()
		if err := admin.DeleteTopic(name); err != nil {
			t.Error(err)
		}
	})
	return name
}
