package payload

import (
	"github.com/waltrigger/waltrigger/pkg/change"
)

// CloudEventType is the content type of a CloudEvent in structured mode.
const CloudEventType = "application/cloudevents+json; charset=UTF-8"

// appendCloudEvent appends a CloudEvent in structured JSON. Its data is the payload, or
// without one the envelope. Source and id together are unique, type is what filters look
// at, and subject is the row.
func (r *Renderer) appendCloudEvent(dst []byte, e *Event) ([]byte, string, error) {
	c := e.Change
	dst = append(dst, `{"specversion":"1.0","id":"`...)
	dst = e.AppendID(dst)
	dst = append(dst, `","source":"/waltrigger/`...)
	dst = append(dst, e.Source...)
	dst = append(dst, `","type":`...)
	dst = change.AppendString(dst, e.ContentType.AppLabel+"."+e.ContentType.ModelName+"."+e.Kind.String())
	if len(c.Table.Key) > 0 && c.Row() != nil && !e.Hidden.HidesKey(c.Table) {
		e.scratch = AppendKey(e.scratch[:0], c.Table, c.Row())
		if len(e.scratch) > 0 { // the attribute may not be empty
			dst = append(dst, `,"subject":`...)
			dst = change.AppendBytes(dst, e.scratch)
		}
	}
	dst = append(dst, `,"time":"`...)
	dst = appendTime(dst, c.Tx.Committed)
	dst = append(dst, `","datacontenttype":"`...)
	at := len(dst)
	dst = append(dst, JSONType+`","data":`...)
	start := len(dst)
	dst, contentType, err := r.appendBody(dst, e)
	if err != nil {
		return dst, "", err
	}
	if contentType != JSONType {
		text := string(dst[start:])
		dst = append(dst[:at], contentType+`","data":`...)
		dst = change.AppendString(dst, text)
	}
	return append(dst, '}'), CloudEventType, nil
}
