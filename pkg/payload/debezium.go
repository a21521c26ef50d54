package payload

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/waltrigger/waltrigger/pkg/change"
)

// unavailable is what Debezium puts for a value that the log does not hold because the
// update did not touch it.
const unavailable = `"__debezium_unavailable_value"`

// appendDebezium appends what Debezium's connectors send as value when they are told to
// leave out the schema, decimals being strings, times ISO 8601 and binary data base64.
// Both times are that of the commit, so that a body is the same whenever it is rendered.
func (e *Event) appendDebezium(dst []byte) []byte {
	c := e.Change
	dst = append(dst, `{"before":`...)
	dst = e.appendRow(dst, c.Table, c.Before)
	dst = append(dst, `,"after":`...)
	dst = e.appendAfter(dst)
	dst = append(dst, `,"source":`...)
	dst = e.appendOrigin(dst)
	dst = append(dst, `,"op":"`...)
	dst = append(dst, debeziumOp(c.Op))
	dst = append(dst, `","ts_ms":`...)
	dst = strconv.AppendInt(dst, c.Tx.Committed.UnixMilli(), 10)
	return append(dst, `,"transaction":null}`...)
}

func debeziumOp(op change.Op) byte {
	switch op {
	case change.Insert:
		return 'c'
	case change.Update:
		return 'u'
	case change.Delete:
		return 'd'
	case change.Truncate:
		return 't'
	}
	return 'r'
}

// appendAfter appends the new row, which Debezium never shortens.
func (e *Event) appendAfter(dst []byte) []byte {
	row, t := e.Change.After, e.Change.Table
	if row == nil {
		return append(dst, "null"...)
	}
	dst = append(dst, '{')
	first := true
	mask := e.hidden(t)
	for i, v := range row {
		switch {
		case mask != nil && mask[i]:
		case v.Kind == change.Missing:
			dst = appendMember(dst, &first, t.Columns[i].Name, change.Value{Kind: change.JSON, Text: unavailable})
		default:
			dst = appendMember(dst, &first, t.Columns[i].Name, v)
		}
	}
	return append(dst, '}')
}

func (e *Event) appendOrigin(dst []byte) []byte {
	c, o := e.Change, e.Origin
	if o == nil {
		o = &Origin{}
	}
	dst = append(dst, `{"version":`...)
	dst = change.AppendString(dst, o.Version)
	dst = append(dst, `,"connector":`...)
	dst = change.AppendString(dst, o.Connector)
	dst = append(dst, `,"name":"`...)
	dst = append(dst, e.Source...)
	dst = append(dst, `","ts_ms":`...)
	dst = strconv.AppendInt(dst, c.Tx.Committed.UnixMilli(), 10)
	dst = append(dst, `,"snapshot":"`...)
	dst = strconv.AppendBool(dst, c.Op == change.Read)
	dst = append(dst, `","db":`...)
	dst = change.AppendString(dst, cmp.Or(o.Database, c.Table.Schema))
	if o.Database != "" {
		dst = append(dst, `,"schema":`...)
		dst = change.AppendString(dst, c.Table.Schema)
	}
	dst = append(dst, `,"table":`...)
	dst = change.AppendString(dst, c.Table.Name)
	dst = append(dst, `,"ts_us":`...)
	dst = strconv.AppendInt(dst, c.Tx.Committed.UnixMicro(), 10)
	switch o.Connector {
	case "postgresql":
		if id, err := strconv.ParseUint(c.Tx.ID, 10, 64); err == nil {
			dst = append(dst, `,"txId":`...)
			dst = strconv.AppendUint(dst, id, 10)
		}
		dst = append(dst, `,"lsn":`...)
		dst = strconv.AppendUint(dst, c.Tx.Seq, 10)
	case "mysql", "mariadb":
		dst = appendGroup(dst, c.Tx.ID)
	}
	return append(dst, '}')
}

// appendGroup tells where MySQL's log has a transaction: by its GTID, or by file:position
// if it has none.
func appendGroup(dst []byte, id string) []byte {
	file, at, _ := strings.Cut(id, ":")
	if pos, err := strconv.ParseUint(at, 10, 64); err == nil && strings.Contains(file, ".") {
		dst = append(dst, `,"file":`...)
		dst = change.AppendString(dst, file)
		dst = append(dst, `,"pos":`...)
		return strconv.AppendUint(dst, pos, 10)
	}
	if id != "" {
		dst = append(dst, `,"gtid":`...)
		dst = change.AppendString(dst, id)
	}
	return dst
}
