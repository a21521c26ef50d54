package payload

import (
	"github.com/waltrigger/waltrigger/pkg/change"
)

// appendEnvelope appends the body of a trigger without payload: all that the log says
// of the event.
func (e *Event) appendEnvelope(dst []byte) []byte {
	c := e.Change
	dst = append(dst, `{"version":1,"id":"`...)
	dst = e.AppendID(dst)
	dst = append(dst, `","source":"`...)
	dst = append(dst, e.Source...)
	dst = append(dst, `","signal":"`...)
	dst = append(dst, e.Kind.String()...)
	dst = append(dst, `","operation":"`...)
	dst = append(dst, c.Op.String()...)
	dst = append(dst, `","content_type":{"app_label":`...)
	dst = change.AppendString(dst, e.ContentType.AppLabel)
	dst = append(dst, `,"model_name":`...)
	dst = change.AppendString(dst, e.ContentType.ModelName)
	dst = append(dst, `},"table":{"schema":`...)
	dst = change.AppendString(dst, c.Table.Schema)
	dst = append(dst, `,"name":`...)
	dst = change.AppendString(dst, c.Table.Name)
	dst = append(dst, `},"committed_at":"`...)
	dst = appendTime(dst, c.Tx.Committed)
	dst = append(dst, `","position":"`...)
	dst = append(dst, c.Tx.Position...)
	dst = append(dst, `","transaction":{"id":`...)
	dst = change.AppendString(dst, c.Tx.ID)
	dst = append(dst, `},"key":`...)
	dst = e.appendKey(dst, c.Table, c.Row())
	dst = append(dst, `,"instance":`...)
	dst = e.appendRow(dst, c.Table, c.Row())
	dst = append(dst, `,"before":`...)
	dst = e.appendRow(dst, c.Table, c.Before)
	dst = append(dst, `,"changed":`...)
	if names, known := e.Changed(); known {
		dst = appendNames(dst, names)
	} else {
		dst = append(dst, "null"...)
	}
	dst = append(dst, `,"missing":[`...)
	first := true
	mask := e.hidden(c.Table)
	for i, v := range c.Row() {
		if v.Kind == change.Missing && (mask == nil || !mask[i]) {
			if !first {
				dst = append(dst, ',')
			}
			first = false
			dst = change.AppendString(dst, c.Table.Columns[i].Name)
		}
	}
	return append(dst, "]}"...)
}

// appendRow appends a row as a JSON object of the columns that the log holds and that
// are not hidden; null for no row.
func (e *Event) appendRow(dst []byte, t *change.Table, row []change.Value) []byte {
	if row == nil {
		return append(dst, "null"...)
	}
	dst = append(dst, '{')
	first := true
	mask := e.hidden(t)
	for i, v := range row {
		if mask != nil && mask[i] {
			continue
		}
		dst = appendMember(dst, &first, t.Columns[i].Name, v)
	}
	return append(dst, '}')
}

// appendKey appends the key columns of a row that the log holds and that are not hidden
// as a JSON object; null for a table without key, and for no row.
func (e *Event) appendKey(dst []byte, t *change.Table, row []change.Value) []byte {
	if row == nil || len(t.Key) == 0 {
		return append(dst, "null"...)
	}
	dst = append(dst, '{')
	first := true
	mask := e.hidden(t)
	for _, k := range t.Key {
		if mask != nil && mask[k] {
			continue
		}
		dst = appendMember(dst, &first, t.Columns[k].Name, row[k])
	}
	return append(dst, '}')
}

// appendMember appends a column to a JSON object, unless the log does not hold it.
func appendMember(dst []byte, first *bool, name string, v change.Value) []byte {
	if v.Kind == change.Missing {
		return dst
	}
	if !*first {
		dst = append(dst, ',')
	}
	*first = false
	dst = change.AppendString(dst, name)
	dst = append(dst, ':')
	return v.AppendJSON(dst)
}

func appendNames(dst []byte, names []string) []byte {
	dst = append(dst, '[')
	for i, n := range names {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = change.AppendString(dst, n)
	}
	return append(dst, ']')
}
