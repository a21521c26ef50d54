package mysql

import (
	"context"
	"slices"

	"github.com/waltrigger/waltrigger/pkg/source"
)

// charset gives the character set of a database.
func (h *history) charset(schema, server string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if d, ok := h.databases[schema]; ok && d.Charset != "" {
		return d.Charset
	}
	return server
}

// apply takes in what a statement does to tables, in the group that begins at seq: it
// holds from behind the beginning on, where the catalog, if it was read just before, is
// that of before. err is that of reading it: then the tables it names are not known from
// there on.
func (h *history) apply(ctx context.Context, s statement, err error, seq uint64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	seq++
	for _, t := range s.tables {
		if h.want[t] {
			h.touched[t] = seq
		}
	}
	for _, t := range s.tables {
		if slices.ContainsFunc(h.tables[t], func(v version) bool { return v.Seq == seq }) {
			return nil // read again after a crash
		}
	}
	e := h.edit()
	if err != nil {
		for _, t := range s.tables {
			if h.tracked(t.Schema) {
				e.put(t, version{Seq: seq, Unknown: err.Error()})
			}
		}
		return e.save(ctx)
	}
	switch s.verb {
	case verbCreate:
		e.create(s, s.definition, seq)
	case verbCreateLike:
		if v, ok := e.def(s.like, seq); ok && v.Def != nil {
			e.create(s, v.Def, seq)
		} else if h.tracked(s.tables[0].Schema) {
			e.put(s.tables[0], version{Seq: seq, Unknown: "it was made like " + s.like.String() + ", which is not known"})
		}
	case verbAlter:
		e.alter(s, seq)
	case verbRename:
		for pair := range slices.Chunk(s.tables, 2) {
			e.rename(pair[0], pair[1], seq)
		}
	case verbDrop:
		for _, t := range s.tables {
			e.drop(t, seq)
		}
	case verbDropDatabase:
		for t := range h.tables {
			if t.Schema == s.database {
				e.drop(t, seq)
			}
		}
	case verbDatabase:
		if s.charset != "" {
			e.database(s.database, database{seq, s.charset})
		}
	}
	return e.save(ctx)
}

func (e *edit) create(s statement, def *definition, seq uint64) {
	t := s.tables[0]
	if !e.h.tracked(t.Schema) {
		return
	}
	if v, ok := e.def(t, seq); ok && v.Def != nil && s.ifNotExists {
		return
	}
	e.put(t, version{Seq: seq, Def: def})
}

func (e *edit) drop(t source.TableName, seq uint64) {
	if v, ok := e.def(t, seq); ok && (v.Def != nil || v.Unknown != "") {
		e.put(t, version{Seq: seq})
	}
}

func (e *edit) rename(from, to source.TableName, seq uint64) {
	v, ok := e.def(from, seq)
	e.drop(from, seq)
	if !e.h.tracked(to.Schema) {
		return
	}
	if !ok || v.Def == nil && v.Unknown == "" {
		v.Unknown = "it was called " + from.String() + " before, which is not known"
	}
	v.Seq = seq
	e.put(to, v)
}

func (e *edit) alter(s statement, seq uint64) {
	t := s.tables[0]
	v, ok := e.def(t, seq)
	def, renamed, err := s.changes.applyTo(v.Def)
	switch {
	case err != nil && e.h.tracked(t.Schema) && ok:
		e.put(t, version{Seq: seq, Unknown: err.Error()})
	case err == nil && def != nil && !def.equal(v.Def):
		e.put(t, version{Seq: seq, Def: def})
	}
	if renamed != nil && *renamed != t {
		e.rename(t, *renamed, seq)
	}
}
