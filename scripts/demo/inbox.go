package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

// topics of the two broker configurations, by their names.
var topics = map[string]string{"my-msg-broker-config": "demo-products", "my-other-msg-broker-config": "demo-sales"}

// topicSuffix keeps two demonstrations on one broker apart.
func topicSuffix() string { return fmt.Sprintf("-%d", os.Getpid()) }

// inbox is the receiving side: an HTTP server on a free loopback port, and a Kafka
// consumer. It boils everything that arrives down to one line and compares that with
// what is expected.
type inbox struct {
	screen *screen
	ln     net.Listener
	srv    *http.Server
	kafka  sarama.Consumer

	mu       sync.Mutex
	arrived  int
	open     []string      // lines that arrived and that nobody has waited for
	lenient  bool          // the user plays: anything may arrive
	wake     chan struct{} // closed and replaced at every arrival
	complain []string      // what is wrong with a request beyond its line
}

func newInbox(s *screen) (*inbox, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("open the receiver's port: %w", err)
	}
	in := &inbox{screen: s, ln: ln, wake: make(chan struct{})}
	in.srv = &http.Server{Handler: http.HandlerFunc(in.serve), ReadHeaderTimeout: 10 * time.Second}
	go in.srv.Serve(ln)
	return in, nil
}

func (in *inbox) url() string { return "http://" + in.ln.Addr().String() }

func (in *inbox) close() {
	in.srv.Close()
	if in.kafka != nil {
		in.kafka.Close()
	}
}

func (in *inbox) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var headers, faults []string
	for _, n := range []string{"Authorization", "Content-Type", "Webhook-Id"} {
		headers = append(headers, n+": "+r.Header.Get(n))
	}
	if got := r.Header.Get("Authorization"); got != "Bearer "+token {
		faults = append(faults, fmt.Sprintf("%s: Authorization is %q", r.URL.Path, got))
	}
	if r.Header.Get("Webhook-Id") == "" {
		faults = append(faults, r.URL.Path+": no webhook-id")
	}
	in.screen.request(r.Method+" "+r.URL.Path, headers, body)
	in.arrive(r.Method+" "+r.URL.Path+" "+boil(body), faults)
	w.WriteHeader(http.StatusOK)
}

// boil gives the line by which a body is recognised.
func boil(body []byte) string {
	var e struct {
		Signal      string
		Operation   string
		ContentType struct {
			Model string `json:"model_name"`
		} `json:"content_type"`
		Key      map[string]any
		Instance map[string]any
	}
	if json.Unmarshal(body, &e) != nil || e.Signal == "" {
		return string(body) // a payload of the trigger's own
	}
	name := e.Instance["name"]
	if e.Operation == "delete" { // the log holds the key only
		name = fmt.Sprint("id ", e.Key["id"])
	} else if e.ContentType.Model == "Sale" {
		name = fmt.Sprint("quantity ", e.Instance["quantity"])
	}
	return fmt.Sprintf("%s %s %s %v", e.Signal, e.Operation, e.ContentType.Model, name)
}

// consume creates the topics and reads them from now on.
func (in *inbox) consume(broker string) error {
	cfg := sarama.NewConfig()
	admin, err := sarama.NewClusterAdmin([]string{broker}, cfg)
	if err != nil {
		return err
	}
	defer admin.Close()
	if in.kafka, err = sarama.NewConsumer([]string{broker}, cfg); err != nil {
		return err
	}
	for _, topic := range topics {
		topic += topicSuffix()
		err := admin.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: 1}, false)
		if err != nil && !errors.Is(err, sarama.ErrTopicAlreadyExists) {
			return err
		}
		pc, err := in.kafka.ConsumePartition(topic, 0, sarama.OffsetNewest)
		if err != nil {
			return err
		}
		go func() {
			for m := range pc.Messages() {
				in.message(m)
			}
		}()
	}
	return nil
}

func (in *inbox) message(m *sarama.ConsumerMessage) {
	var headers []string
	extra := ""
	for _, h := range m.Headers {
		headers = append(headers, string(h.Key)+": "+string(h.Value))
		if k := string(h.Key); k == "product_id" || k == "sale_id" {
			extra = " " + k + "=" + string(h.Value)
		}
	}
	in.screen.request("Kafka "+m.Topic+" key "+string(m.Key), headers, m.Value)
	in.arrive("kafka "+strings.TrimSuffix(m.Topic, topicSuffix())+" "+boil(m.Value)+extra, nil)
}

func (in *inbox) arrive(line string, faults []string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.arrived++
	in.complain = append(in.complain, faults...)
	if !in.lenient {
		in.open = append(in.open, line)
	}
	close(in.wake)
	in.wake = make(chan struct{})
}

// await waits until every line of want has arrived, in any order, and takes them off.
func (in *inbox) await(ctx context.Context, want []string, limit time.Duration) error {
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	want = slices.Clone(want)
	for {
		in.mu.Lock()
		want = slices.DeleteFunc(want, func(w string) bool {
			i := slices.Index(in.open, w)
			if i >= 0 {
				in.open = slices.Delete(in.open, i, i+1)
			}
			return i >= 0
		})
		wake := in.wake
		in.mu.Unlock()
		if len(want) == 0 {
			return nil
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return ctx.Err()
		case <-timeout.C:
			return fmt.Errorf("after %v still missing:\n  %s\nunexpected:\n  %s", limit,
				strings.Join(want, "\n  "), strings.Join(in.leftover(), "\n  "))
		}
	}
}

func (in *inbox) leftover() []string {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.Clone(in.open)
}

// quiet waits and then says what arrived beyond the expected, or was wrong.
func (in *inbox) quiet(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if bad := slices.Concat(in.open, in.complain); len(bad) > 0 {
		return fmt.Errorf("must not have arrived, or not like that:\n  %s", strings.Join(bad, "\n  "))
	}
	return nil
}

// anything ends the comparison.
func (in *inbox) anything() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.lenient = true
}

func (in *inbox) count() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.arrived
}
