package mysql

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/waltrigger/waltrigger/pkg/source"
)

// history knows the tables as they were at each place of the log that may still be read.
// A server's log, by default, says of its rows neither the names of columns nor what the
// numbers of an enum mean, and today's catalog may be that of a later table. So it is
// read once, when a table is wanted, and what changes is taken from the statements in
// the log, as they pass. Any goroutine.
//
// It is kept in the source's notes. What a statement makes is saved before anything
// behind the statement is handed on, so the notes are never behind the saved position;
// where they are ahead of it, reading again comes to the same.
type history struct {
	notes source.Notes

	mu         sync.Mutex
	tables     map[source.TableName][]version
	databases  map[string]database
	want       map[source.TableName]bool
	touched    map[source.TableName]uint64 // Seq of the last statement of the log that named a table; not kept
	floor      uint64                      // nothing below it is read again
	generation atomic.Uint64               // grows with every change
}

// version is a table from a place of the log on.
type version struct {
	Seq uint64      `json:"seq"` // of the statement, or of the end of the log when the catalog was read
	Def *definition `json:"def,omitempty"`
	// Unknown says why Def is not known; "" and no Def: there is no such table.
	Unknown string `json:"unknown,omitempty"`
}

// database is a database's character set for tables that name none.
type database struct {
	Seq     uint64 `json:"seq"`
	Charset string `json:"charset"`
}

// Names of notes.
const (
	noteWant      = "want"
	noteDatabases = "databases"
	noteTable     = "table " // and schema.name
)

// tableNote is the text of a table's note.
type tableNote struct {
	Schema   string    `json:"schema"`
	Name     string    `json:"name"`
	Versions []version `json:"versions"`
}

func newHistory(notes source.Notes) *history {
	h := &history{notes: notes}
	h.clear()
	return h
}

func (h *history) clear() {
	h.tables, h.databases, h.want = map[source.TableName][]version{}, map[string]database{}, map[source.TableName]bool{}
	h.touched = map[source.TableName]uint64{}
	h.generation.Add(1)
}

// load takes what was kept.
func (h *history) load(notes map[string]string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clear()
	for name, text := range notes {
		var err error
		switch {
		case name == noteWant:
			var list []source.TableName
			err = json.Unmarshal([]byte(text), &list)
			for _, t := range list {
				h.want[t] = true
			}
		case name == noteDatabases:
			err = json.Unmarshal([]byte(text), &h.databases)
		case strings.HasPrefix(name, noteTable):
			var n tableNote
			err = json.Unmarshal([]byte(text), &n)
			h.tables[source.TableName{Schema: n.Schema, Name: n.Name}] = n.Versions
		}
		if err != nil {
			return fmt.Errorf("read note %q: %w", name, err)
		}
	}
	return nil
}

// wanted reports whether the rows of a table are to be decoded.
func (h *history) wanted(t source.TableName) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.want[t]
}

// touches is the Seq of the last statement of the log that named a wanted table.
func (h *history) touches(t source.TableName) (seq uint64, wanted bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.touched[t], h.want[t]
}

// at gives the table as it is for the rows of the group that begins at seq; false if
// nothing was known of it yet. It holds for groups that begin before until.
func (h *history) at(t source.TableName, seq uint64) (v version, until uint64, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := h.tables[t]
	v, ok = latest(list, seq+1)
	until = math.MaxUint64
	if i := slices.IndexFunc(list, func(v version) bool { return v.Seq > seq+1 }); i >= 0 {
		until = list[i].Seq
	}
	return v, until, ok
}

func latest(list []version, seq uint64) (version, bool) {
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].Seq <= seq {
			return list[i], true
		}
	}
	return version{}, false
}

// tracked reports whether the tables of a schema are followed: those that are not wanted
// too, since one may take a wanted one's name.
func (h *history) tracked(schema string) bool {
	for t := range h.want {
		if t.Schema == schema {
			return true
		}
	}
	return false
}

// follows is tracked for others.
func (h *history) follows(schema string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.tracked(schema)
}

// missing lists those of tables of which nothing is known at the end of the log.
func (h *history) missing(tables []source.TableName) []source.TableName {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(tables), func(t source.TableName) bool {
		list := h.tables[t]
		return len(list) > 0 && list[len(list)-1].Def != nil
	})
}

// publish makes exactly tables wanted. found is what the catalog says of the schemas that
// were not followed before, at seq, and of single tables.
func (h *history) publish(ctx context.Context, tables []source.TableName, found map[source.TableName]*definition, charsets map[string]string, seq uint64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	want := map[source.TableName]bool{}
	for _, t := range tables {
		want[t] = true
	}
	old := h.want
	h.want = want
	e := h.edit()
	for t, def := range found {
		e.put(t, version{Seq: seq, Def: def})
	}
	for name, charset := range charsets {
		e.database(name, database{seq, charset})
	}
	for t := range h.tables {
		if !h.tracked(t.Schema) {
			e.remove(t)
		}
	}
	list := slices.Collect(func(yield func(source.TableName) bool) {
		for t := range want {
			if !yield(t) {
				return
			}
		}
	})
	slices.SortFunc(list, func(a, b source.TableName) int {
		return cmp.Or(strings.Compare(a.Schema, b.Schema), strings.Compare(a.Name, b.Name))
	})
	text, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("write note: %w", err)
	}
	e.notes[noteWant] = string(text)
	if err := e.save(ctx); err != nil {
		h.want = old
		return err
	}
	return nil
}

// correct puts what the catalog says in the place of what was known from seq on.
func (h *history) correct(ctx context.Context, t source.TableName, def *definition, seq uint64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.edit()
	e.put(t, version{Seq: seq, Def: def})
	return e.save(ctx)
}

// settle says that nothing below seq is read again.
func (h *history) settle(seq uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.floor = max(h.floor, seq)
}

// edit is a change of the history that is made once it is saved; mu is held meanwhile.
type edit struct {
	h         *history
	tables    map[source.TableName][]version
	databases map[string]database
	notes     map[string]string
}

func (h *history) edit() *edit {
	return &edit{h: h, tables: map[source.TableName][]version{}, notes: map[string]string{}}
}

// list gives the versions of a table as they will be.
func (e *edit) list(t source.TableName) []version {
	if list, ok := e.tables[t]; ok {
		return list
	}
	return e.h.tables[t]
}

// def gives a table as it will be at seq.
func (e *edit) def(t source.TableName, seq uint64) (version, bool) {
	return latest(e.list(t), seq)
}

// put adds a version; one of the same place is replaced. What is not known is no news
// where it is known from a later place on.
func (e *edit) put(t source.TableName, v version) {
	list := slices.Clone(e.list(t))
	i, found := slices.BinarySearchFunc(list, v.Seq, func(v version, seq uint64) int { return cmp.Compare(v.Seq, seq) })
	switch {
	case v.Unknown != "" && i < len(list) && !found:
		return
	case found:
		list[i] = v
	default:
		list = slices.Insert(list, i, v)
	}
	for len(list) > 1 && list[1].Seq <= e.h.floor { // an older one is not needed any more
		list = list[1:]
	}
	e.tables[t] = list
}

func (e *edit) remove(t source.TableName) { e.tables[t] = nil }

func (e *edit) database(name string, d database) {
	if e.databases == nil {
		e.databases = map[string]database{}
		for n, old := range e.h.databases {
			e.databases[n] = old
		}
	}
	if e.databases[name].Seq <= d.Seq {
		e.databases[name] = d
	}
}

func (e *edit) save(ctx context.Context) error {
	for t, list := range e.tables {
		if len(list) == 0 {
			e.notes[noteTable+t.String()] = ""
			continue
		}
		text, err := json.Marshal(tableNote{t.Schema, t.Name, list})
		if err != nil {
			return fmt.Errorf("write note: %w", err)
		}
		e.notes[noteTable+t.String()] = string(text)
	}
	if e.databases != nil {
		text, err := json.Marshal(e.databases)
		if err != nil {
			return fmt.Errorf("write note: %w", err)
		}
		e.notes[noteDatabases] = string(text)
	}
	if len(e.notes) == 0 {
		return nil
	}
	if err := e.h.notes.SaveNotes(ctx, e.notes); err != nil {
		return fmt.Errorf("save what is known of tables: %w", err)
	}
	for t, list := range e.tables {
		if len(list) == 0 {
			delete(e.h.tables, t)
		} else {
			e.h.tables[t] = list
		}
	}
	if e.databases != nil {
		e.h.databases = e.databases
	}
	e.h.generation.Add(1)
	return nil
}
