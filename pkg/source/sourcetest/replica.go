package sourcetest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/waltrigger/waltrigger/pkg/change"
)

// Replica is what the events of a log say that tables hold: table -> key -> column -> the
// JSON of its value.
type Replica map[string]map[string]map[string]string

// Event is a row change, as a replica needs it.
type Event struct {
	Op      change.Op
	Table   string
	Key     string            // of the new row; of a delete, of the old one
	OldKey  string            // of an update that changed the key, else ""
	After   map[string]string // insert, update: JSON by column, without those that are missing
	Missing []string
	Before  map[string]string // set if it is the whole old row
}

// EventOf makes an Event of a change of a table with one key column.
func EventOf(c change.Change) Event {
	e := Event{Op: c.Op, Table: c.Table.Name}
	if c.Op == change.Truncate {
		return e
	}
	key := c.Table.Key[0]
	e.Key = string(c.Row()[key].AppendJSON(nil))
	if c.Op == change.Update && c.Before != nil {
		if old := string(c.Before[key].AppendJSON(nil)); old != e.Key {
			e.OldKey = old
		}
	}
	if c.After != nil {
		e.After = map[string]string{}
	}
	for i, v := range c.After {
		if v.Kind == change.Missing {
			e.Missing = append(e.Missing, c.Table.Columns[i].Name)
		} else {
			e.After[c.Table.Columns[i].Name] = string(v.AppendJSON(nil))
		}
	}
	if c.Image == change.ImageFull {
		e.Before = map[string]string{}
		for i, v := range c.Before {
			e.Before[c.Table.Columns[i].Name] = string(v.AppendJSON(nil))
		}
	}
	return e
}

// Apply does what e says. An error means that it does not fit what came before.
func (r Replica) Apply(e Event) error {
	t := r[e.Table]
	if t == nil || e.Op == change.Truncate {
		t = map[string]map[string]string{}
		r[e.Table] = t
	}
	if e.Op == change.Truncate {
		return nil
	}
	at := e.Key
	if e.OldKey != "" {
		at = e.OldKey
	}
	old, there := t[at]
	if there == (e.Op == change.Insert) {
		return fmt.Errorf("%s of %s %s: the row is there: %v", e.Op, e.Table, at, there)
	}
	for name, value := range e.Before {
		if was, known := old[name]; known && was != value {
			return fmt.Errorf("%s of %s %s: %s was %.40s, and is %.40s before", e.Op, e.Table, at, name, was, value)
		}
	}
	delete(t, at)
	if e.Op == change.Delete {
		return nil
	}
	if _, taken := t[e.Key]; taken {
		return fmt.Errorf("%s of %s %s: another row has the key %s", e.Op, e.Table, at, e.Key)
	}
	row := e.After
	for _, name := range e.Missing {
		value, known := old[name]
		if !known {
			return fmt.Errorf("%s of %s %s: %s is missing, and was never seen", e.Op, e.Table, at, name)
		}
		row[name] = value
	}
	t[e.Key] = row
	return nil
}

// Compare says how the replica of a table differs from rows, key -> column -> JSON, as the
// database has them; "" if it does not. A column that came without changing the rows is
// null.
func (r Replica) Compare(table string, rows map[string]map[string]string) string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		have, ok := r[table][key]
		if !ok {
			out = append(out, fmt.Sprintf("row %s is lost", key))
			continue
		}
		for name, want := range rows[key] {
			got, known := have[name]
			if !known {
				got = "null"
			}
			if got != want {
				out = append(out, fmt.Sprintf("row %s: %s is %.40s, want %.40s", key, name, got, want))
			}
		}
	}
	for key := range r[table] {
		if _, ok := rows[key]; !ok {
			out = append(out, fmt.Sprintf("row %s should not be there", key))
		}
	}
	return strings.Join(out[:min(len(out), 10)], "; ")
}
