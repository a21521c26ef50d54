package postgres

import (
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"
)

// Prefixes of pg_logical_emit_message(true, …) that mean something to us. They count for
// the whole transaction if they come before its 256th row change and its first 128 KiB
// of rows, so for every transaction that is not larger.
const (
	annotationPrefix = "waltrigger"      // a JSON object: transaction.annotations
	skipPrefix       = "waltrigger.skip" // the transaction fires nothing

	maxAnnotations = 64 << 10 // bytes: they are in the memory of every event
)

// rules say which transactions are not for us.
type rules struct {
	ignoreSkip bool // transactions that ask to be skipped are sent all the same
	localOnly  bool // those with a replication origin are not sent: the server does not filter
}

// logical takes a message of the application's. Messages that are not transactional come
// even from work that is rolled back: they say nothing.
func (d *decoder) logical(p *parser) {
	transactional := p.byte()&1 != 0
	p.uint64()
	prefix := p.cstring()
	content := p.take(int(p.uint32()))
	if p.bad || !transactional || d.tx == nil || prefix != annotationPrefix && prefix != skipPrefix {
		return
	}
	switch {
	case d.mute:
	case prefix == skipPrefix && d.rules.ignoreSkip:
	case d.fixed && d.ordinal <= d.skip: // it was heard when these rows were read before
	case d.fixed:
		d.complain("it comes too late in its transaction", prefix)
	case prefix == skipPrefix:
		d.drop()
		d.mute = true
		d.skipped++
	default:
		d.annotate(content)
	}
}

// annotate adds an object to the annotations of the transaction: later members count.
func (d *decoder) annotate(content []byte) {
	if len(content)+len(d.tx.Annotations) > maxAnnotations {
		d.complain(fmt.Sprintf("the annotations would be larger than %d bytes", maxAnnotations), annotationPrefix)
		return
	}
	if !utf8.Valid(content) { // a bytea may hold anything, and reading it as JSON would not mind
		d.complain("it is not UTF-8", annotationPrefix)
		return
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(content, &members); err != nil || members == nil {
		d.complain("it is not a JSON object", annotationPrefix)
		return
	}
	if d.tx.Annotations == "" {
		d.tx.Annotations = string(content)
		return
	}
	all := map[string]json.RawMessage{}
	if err := json.Unmarshal([]byte(d.tx.Annotations), &all); err != nil {
		return // it was looked at when it came
	}
	for name, value := range members {
		all[name] = value
	}
	if text, err := json.Marshal(all); err == nil {
		d.tx.Annotations = string(text)
	}
}

// origin takes the name of the server that a transaction was replicated from. It comes
// before the transaction's rows, and holds for this one only.
func (d *decoder) origin(*parser) {
	if d.tx != nil && d.rules.localOnly {
		d.drop()
		d.mute = true
	}
}

// complain logs what an application does wrong, at most once a minute.
func (d *decoder) complain(why, prefix string) {
	if now := time.Now(); now.Sub(d.complained) >= time.Minute {
		d.complained = now
		d.log.Warn("message of an application is ignored", "why", why, "prefix", prefix, "position", d.tx.Position)
	}
}
