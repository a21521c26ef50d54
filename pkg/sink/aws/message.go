package aws

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

const (
	// MaxAttributes is how many a message of SQS may have; SNS cannot pass on more.
	MaxAttributes = 10
	// MaxEntries is how many messages one request holds.
	MaxEntries = 10
	// MaxRequest is how many bytes of bodies and attributes one request holds, unless a
	// single message has more.
	MaxRequest = 256 << 10
)

var eventHeaders = []string{sink.HeaderEventID, sink.HeaderSignal, sink.HeaderModel, sink.HeaderCommitted, sink.HeaderContentType}

// Entry is a message in the form of SQS and SNS.
type Entry struct {
	*sink.Message
	Index      int // in the Send
	Text       string
	Attributes []sink.Header
	Size       int
}

// NewEntry gives m its form; the error is Permanent. limit is the largest message, in
// bytes.
func NewEntry(i int, m *sink.Message, limit int) (*Entry, error) {
	e := &Entry{Message: m, Index: i, Text: string(m.Body)}
	permanent := func(code, format string, args ...any) error {
		return &sink.Error{Class: sink.Permanent, Code: code, Err: fmt.Errorf(format, args...)}
	}
	// A service that gets such a character puts another one in its place, or refuses.
	switch at := illegal(e.Text); {
	case e.Text == "":
		return nil, permanent(CodeBody, "the body is empty")
	case at >= 0:
		return nil, permanent(CodeBody, "byte %d of the body is a control character or no UTF-8", at)
	}
	all := make([]sink.Header, 0, len(eventHeaders)+len(m.Headers))
	all = append(m.EventHeaders(all), m.Headers...)
	e.Size = len(e.Text)
	for i, h := range all {
		if h.Value == "" {
			continue // has no form
		}
		if i >= len(eventHeaders) && slices.Contains(eventHeaders, h.Name) {
			return nil, permanent(CodeHeader, "attribute %s is set by waltrigger and cannot be set by a trigger", h.Name)
		}
		if err := checkAttribute(h); err != nil {
			return nil, permanent(CodeHeader, "%w", err)
		}
		if slices.ContainsFunc(e.Attributes, func(o sink.Header) bool { return o.Name == h.Name }) {
			return nil, permanent(CodeHeader, "attribute %s is given twice", h.Name)
		}
		e.Attributes = append(e.Attributes, h)
		e.Size += len(h.Name) + len("String") + len(h.Value)
	}
	if len(e.Attributes) > MaxAttributes {
		return nil, permanent(CodeHeader, "%d attributes, more than %d, of which waltrigger sets %d", len(e.Attributes), MaxAttributes, len(eventHeaders))
	}
	if e.Size > limit {
		return nil, permanent(CodeTooLarge, "body and attributes have %d bytes, more than %d", e.Size, limit)
	}
	return e, nil
}

var attributeName = Pattern(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)

// CheckAttributeName tells what is wrong with the name of an attribute.
func CheckAttributeName(name string) error {
	lower := strings.ToLower(name)
	switch {
	case len(name) > 256 || !attributeName().MatchString(name):
		return fmt.Errorf("%q is no legal name of an attribute: letters, digits, _, - and single dots", name)
	case strings.HasPrefix(lower, "aws.") || strings.HasPrefix(lower, "amazon."):
		return fmt.Errorf("attribute %s: names that begin with aws. and amazon. are reserved", name)
	}
	return nil
}

func checkAttribute(h sink.Header) error {
	if err := CheckAttributeName(h.Name); err != nil {
		return err
	}
	if at := illegal(h.Value); at >= 0 {
		return fmt.Errorf("attribute %s holds a control character or no UTF-8 at byte %d", h.Name, at)
	}
	return nil
}

// CheckAttributes looks at the parameters that a kind does not know: they become
// attributes.
func CheckAttributes(params map[string]any, known []sink.Param) error {
	n := len(eventHeaders)
	var errs []error
	names := make([]string, 0, len(params))
	for name := range params {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if slices.ContainsFunc(known, func(p sink.Param) bool { return p.Name == name }) {
			continue
		}
		n++
		if slices.Contains(eventHeaders, name) {
			errs = append(errs, fmt.Errorf("attribute %s is set by waltrigger and cannot be set by a trigger", name))
		} else if err := CheckAttributeName(name); err != nil {
			errs = append(errs, err)
		}
	}
	if n > MaxAttributes {
		errs = append(errs, fmt.Errorf("a message has at most %d attributes beside the %d that waltrigger sets", MaxAttributes-len(eventHeaders), len(eventHeaders)))
	}
	return errors.Join(errs...)
}

// illegal gives the place of what SQS and SNS cannot carry, which is what XML 1.0
// cannot; -1 = nothing.
func illegal(s string) int {
	for i, r := range s {
		switch {
		case r == utf8.RuneError:
			if _, n := utf8.DecodeRuneInString(s[i:]); n == 1 {
				return i
			}
		case r < ' ' && r != '\t' && r != '\n' && r != '\r', r == 0xFFFE, r == 0xFFFF:
			return i
		}
	}
	return -1
}

// MessageGroup is the message group of a FIFO queue or topic: the key, so that its messages
// keep their order. Messages without a key have no order and a group each.
func MessageGroup(m *sink.Message) string {
	if len(m.Key) == 0 {
		return token(m.ID)
	}
	return token(string(m.Key))
}

// Deduplication is the id by which a FIFO queue or topic knows a redelivery, for five
// minutes.
func Deduplication(m *sink.Message) string { return token(m.ID) }

// token returns s, or its hash if it is too long or holds other characters than
// letters, digits and punctuation of ASCII.
func token(s string) string {
	if s != "" && len(s) <= 128 && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return s
	}
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}
