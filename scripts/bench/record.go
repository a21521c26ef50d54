package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kgo"
)

// customers is the number of ordering keys: customer = id % customers + 1.
const customers = 1000

// recorder is the ledger of what arrived. A row is known by the digits behind `"id":`.
type recorder struct {
	mu          sync.Mutex
	from, to    int64 // ids that count
	seen        []bool
	last        [customers]int64 // highest id of each customer
	unique      int
	dups, back  int // received again; received after a later one of the same customer
	strange     int // bodies without an id
	related     bool
	stale       int // bodies that show a country by a name that it no longer had
	first, done time.Time
}

// expect empties the ledger; ids in [from, to] count from now on.
func (r *recorder) expect(from, to int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.from, r.to, r.seen = from, to, make([]bool, to-from+1)
	r.last = [customers]int64{}
	r.unique, r.dups, r.back, r.strange, r.stale = 0, 0, 0, 0, 0
	r.first, r.done = time.Time{}, time.Time{}
}

// rowID finds the id of a body.
func rowID(body []byte) (int64, bool) {
	_, rest, ok := bytes.Cut(body, []byte(`"id":`))
	if !ok {
		return 0, false
	}
	rest = bytes.TrimLeft(rest, ` "`)
	var id int64
	n := 0
	for n < len(rest) && n < 18 && rest[n] >= '0' && rest[n] <= '9' {
		id = id*10 + int64(rest[n]-'0')
		n++
	}
	return id, n > 0
}

// version finds the version of the country's name in a body, -1 if there is none.
func version(body []byte) int {
	_, rest, ok := bytes.Cut(body, []byte(`"country":"v`))
	end := bytes.IndexByte(rest, '"')
	if !ok || end < 0 {
		return -1
	}
	v, err := strconv.Atoi(string(rest[:end]))
	if err != nil {
		return -1
	}
	return v
}

func (r *recorder) add(body []byte) {
	id, ok := rowID(body)
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !ok {
		r.strange++
		return
	}
	if id < r.from || id > r.to {
		return
	}
	if r.seen[id-r.from] {
		r.dups++
		return
	}
	if r.related && version(body) < edition(id) {
		r.stale++
	}
	r.seen[id-r.from] = true
	r.unique++
	if r.first.IsZero() {
		r.first = now
	}
	r.done = now
	if c := id % customers; id < r.last[c] {
		r.back++
	} else {
		r.last[c] = id
	}
}

// counts is a snapshot of the recorder.
type counts struct {
	unique, dups, back, strange, stale int
	first, done                        time.Time
}

func (r *recorder) counts() counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	return counts{r.unique, r.dups, r.back, r.strange, r.stale, r.first, r.done}
}

// serve receives by HTTP on a free loopback port.
func (r *recorder) serve() (url string, stop func(), err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	pool := sync.Pool{New: func() any { return bytes.NewBuffer(make([]byte, 0, 4096)) }}
	srv := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		b := pool.Get().(*bytes.Buffer)
		b.Reset()
		if _, err := io.Copy(b, q.Body); err == nil {
			r.add(b.Bytes())
		}
		pool.Put(b)
	})}
	go srv.Serve(ln)
	return "http://" + ln.Addr().String() + "/hook", func() { srv.Close() }, nil
}

// consume creates a topic of one partition, if it is not there, and receives from its
// start until stop.
func (r *recorder) consume(ctx context.Context, broker, topic string) (stop func(), err error) {
	admin, err := sarama.NewClusterAdmin([]string{broker}, sarama.NewConfig())
	if err != nil {
		return nil, err
	}
	defer admin.Close()
	if err := admin.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: 1}, false); err != nil && !errors.Is(err, sarama.ErrTopicAlreadyExists) {
		return nil, err
	}
	rc, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(50*time.Millisecond))
	if err != nil {
		return nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			fs := rc.PollFetches(ctx)
			if fs.IsClientClosed() || ctx.Err() != nil {
				return
			}
			fs.EachRecord(func(m *kgo.Record) { r.add(m.Value) })
		}
	}()
	return func() { rc.Close(); <-done }, nil
}
