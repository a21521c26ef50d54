package aws

import (
	"errors"
	"strconv"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

// Outcome collects what an answer says of each message of a request. The id of a
// message is its index in the request.
type Outcome struct {
	batch []*Entry
	errs  []error
}

// ID is the id of the message with index i.
func ID(i int) *string {
	s := strconv.Itoa(i)
	return &s
}

// Set notes the outcome of a message, nil = accepted. Ids that were not sent are ignored.
func (o *Outcome) Set(id *string, err *sink.Error) {
	if id == nil {
		return
	}
	i, aerr := strconv.Atoi(*id)
	if aerr != nil || i < 0 || i >= len(o.batch) {
		return
	}
	if err == nil {
		o.errs[o.batch[i].Index] = nil
		return
	}
	o.errs[o.batch[i].Index] = err
}

// Request sends one batch and notes the outcome of its messages, or returns why it
// failed as a whole.
type Request func(batch []*Entry, o *Outcome) *sink.Error

// Deliver divides entries into requests and makes them one after the other; errs, one
// for each message of the Send, gets the outcome. A request that was refused whole, so
// that nothing of it was accepted, is repeated message by message if one of them may be
// the reason.
func Deliver(entries []*Entry, errs []error, request Request) {
	for _, batch := range batches(entries) {
		o := &Outcome{batch, errs}
		for _, e := range batch {
			errs[e.Index] = &sink.Error{Code: CodeResponse, Err: errors.New("the answer does not mention the message")}
		}
		err := request(batch, o)
		if err == nil {
			continue
		}
		if len(batch) > 1 && (err.Class == sink.Rejected || err.Class == sink.Permanent) {
			for i := range batch {
				Deliver(batch[i:i+1], errs, request)
			}
			continue
		}
		for _, e := range batch {
			errs[e.Index] = err
		}
	}
}

// Group divides the messages of a Send by where they go, in the order in which they
// come; errs gets the errors of newEntry.
func Group[K comparable](msgs []*sink.Message, errs []error, to func(*sink.Message) K, newEntry func(int, *sink.Message) (*Entry, error), send func(K, []*Entry)) {
	var order []K
	entries := map[K][]*Entry{}
	for i, m := range msgs {
		e, err := newEntry(i, m)
		if err != nil {
			errs[i] = err
			continue
		}
		k := to(m)
		if entries[k] == nil {
			order = append(order, k)
		}
		entries[k] = append(entries[k], e)
	}
	for _, k := range order {
		send(k, entries[k])
	}
}

// Result is what Send returns: nil if errs holds no error.
func Result(errs []error) []error {
	for _, err := range errs {
		if err != nil {
			return errs
		}
	}
	return nil
}

// batches divides entries into requests.
func batches(entries []*Entry) [][]*Entry {
	var out [][]*Entry
	from, size := 0, 0
	for i, e := range entries {
		if i > from && (i-from == MaxEntries || size+e.Size > MaxRequest) {
			out = append(out, entries[from:i])
			from, size = i, 0
		}
		size += e.Size
	}
	if from < len(entries) {
		out = append(out, entries[from:])
	}
	return out
}
