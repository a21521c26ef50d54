package kafka

import (
	"time"

	"github.com/IBM/sarama"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

// Bytes of a batch and of a record beside keys, values and headers, at most.
const (
	batchOverhead  = 61
	recordOverhead = 36
	headerOverhead = 10
)

// records holds the memory of one Send's records for the next.
type records struct {
	all     []sarama.Record
	headers []sarama.RecordHeader
	refs    []*sarama.RecordHeader
	event   []sink.Header
	bytes   []byte // of headers

	key   bytesEncoder
	keyed sarama.ProducerMessage
}

// bytesEncoder is a sarama.Encoder that can be used again.
type bytesEncoder struct{ b []byte }

func (e *bytesEncoder) Encode() ([]byte, error) { return e.b, nil }

func (e *bytesEncoder) Length() int { return len(e.b) }

// reset makes room for n records.
func (r *records) reset(n int) {
	if cap(r.all) < n {
		r.all = make([]sarama.Record, n)
	}
	r.all = r.all[:n]
	clear(r.all)
	r.headers, r.refs, r.bytes = r.headers[:0], r.refs[:0], r.bytes[:0]
}

func (r *records) now() time.Time { return time.Now().Truncate(time.Millisecond) }

// record gives the record of message i and its size, at most.
func (r *records) record(i int, m *sink.Message) (*sarama.Record, int) {
	rec := &r.all[i]
	if rec.Value != nil {
		return rec, size(rec) // it was in a batch that was split
	}
	if len(m.Key) > 0 {
		rec.Key = m.Key
	}
	if rec.Value = m.Body; rec.Value == nil {
		rec.Value = []byte{} // null would delete the key from a compacted topic
	}
	r.event = m.EventHeaders(r.event[:0])
	first := len(r.refs)
	for _, hs := range [2][]sink.Header{r.event, m.Headers} {
		for _, h := range hs {
			r.refs = append(r.refs, r.header(h))
		}
	}
	rec.Headers = r.refs[first:len(r.refs):len(r.refs)]
	return rec, size(rec)
}

// header gives h a place. Pointers into r.headers and r.bytes must stay good, so these
// never grow: a full one is left to those who point into it.
func (r *records) header(h sink.Header) *sarama.RecordHeader {
	if len(r.headers) == cap(r.headers) {
		r.headers = make([]sarama.RecordHeader, 0, max(2*cap(r.headers), 1024))
	}
	r.headers = append(r.headers, sarama.RecordHeader{Key: r.copy(h.Name), Value: r.copy(h.Value)})
	return &r.headers[len(r.headers)-1]
}

func (r *records) copy(s string) []byte {
	if len(r.bytes)+len(s) > cap(r.bytes) {
		r.bytes = make([]byte, 0, max(min(2*cap(r.bytes), 1<<20), 16<<10, len(s)))
	}
	at := len(r.bytes)
	r.bytes = append(r.bytes, s...)
	return r.bytes[at:len(r.bytes):len(r.bytes)]
}

func size(rec *sarama.Record) int {
	n := recordOverhead + len(rec.Key) + len(rec.Value)
	for _, h := range rec.Headers {
		n += headerOverhead + len(h.Key) + len(h.Value)
	}
	return n
}
