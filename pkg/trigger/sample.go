package trigger

import (
	"encoding/json"
	"slices"
	"strings"
)

// Sample is a change that somebody makes up to see what a trigger does of it.
type Sample struct {
	ContentType *ContentType // nil: the first of the trigger's
	Operation   string       // insert, update, delete, truncate; "": what the trigger's signals want
	// The rows, as the envelope writes them; nil = not given. What Before leaves out of an
	// update is as in After.
	Before, After Cells
	// Key names a row of the table that takes the place of After, or of Before in a
	// delete; Latest picks the one with the highest key.
	Key    Cells
	Latest bool
}

// Cells are columns of a row with their JSON values.
type Cells []Cell

// Cell is one of Cells.
type Cell struct {
	Name  string
	Value json.RawMessage
}

// Get finds a cell by its name.
func (cs Cells) Get(name string) (Cell, bool) {
	i := slices.IndexFunc(cs, func(c Cell) bool { return c.Name == name })
	if i < 0 {
		return Cell{}, false
	}
	return cs[i], true
}

var operations = []string{"insert", "update", "delete", "truncate"}

// DecodePreview reads {"trigger": …, "sample": …}. Without a sample it is the latest row.
// The trigger is that of Decode; it is wanted if whole, and else not allowed.
func DecodePreview(body []byte, whole bool) (*Trigger, *Sample, []Problem) {
	if len(body) == 0 {
		body = []byte("{}")
	}
	root, problems := parseJSON(body)
	d := &decoder{problems: problems}
	if root == nil {
		return nil, nil, d.problems
	}
	t := &Trigger{Active: true, Webhooks: []Webhook{}, Queues: []Queue{}, Actions: []Queue{}}
	s := &Sample{Latest: true}
	fields := []field{{name: "sample", nullable: true, read: func(n *node, p string) { d.sample(n, p, s) }}}
	if whole {
		fields = append(fields, field{name: "trigger", required: true, read: func(n *node, p string) {
			inner := &decoder{}
			inner.trigger(n, t)
			for _, q := range inner.problems {
				d.add(p+q.Pointer, q.Code, "%s", q.Detail)
			}
		}})
	}
	d.object(root, "", fields)
	if Malformed(d.problems) {
		return nil, nil, d.problems
	}
	return t, s, d.problems
}

func (d *decoder) sample(n *node, ptr string, s *Sample) {
	if n.kind == kindString {
		if n.str != "latest" {
			d.add(ptr, CodeInvalid, `is neither an object nor "latest"`)
		}
		return
	}
	s.Latest = false
	d.object(n, ptr, []field{
		{name: "content_type", nullable: true, read: func(n *node, p string) {
			s.ContentType = &ContentType{}
			d.contentType(n, p, s.ContentType)
		}},
		{name: "operation", read: func(n *node, p string) { choose(d, n, p, &s.Operation, operations) }},
		{name: "before", nullable: true, read: func(n *node, p string) { d.cells(n, p, &s.Before) }},
		{name: "after", nullable: true, read: func(n *node, p string) { d.cells(n, p, &s.After) }},
		{name: "key", nullable: true, read: func(n *node, p string) { d.cells(n, p, &s.Key) }},
		{name: "latest", read: func(n *node, p string) { d.boolean(n, p, &s.Latest) }},
	})
	read := s.Key != nil || s.Latest
	switch {
	case s.Key != nil && s.Latest:
		d.add(ptr+"/latest", CodeConflict, "is one row and key another; give one of them")
	case read && (s.Before != nil || s.After != nil):
		d.add(ptr, CodeConflict, "names a row of the table and gives one; do one of them")
	case s.Operation == "truncate" && (read || s.Before != nil || s.After != nil):
		d.add(ptr, CodeConflict, "a truncate has no row")
	case s.Operation == "delete" && s.After != nil:
		d.add(ptr+"/after", CodeConflict, "a deleted row is before, there is none after")
	case s.Operation == "insert" && s.Before != nil:
		d.add(ptr+"/before", CodeConflict, "an inserted row is after, there is none before")
	case s.Operation == "update" && s.Before != nil && s.After == nil:
		d.add(ptr+"/after", CodeRequired, "is required of an update")
	case s.Operation != "truncate" && !read && s.Before == nil && s.After == nil:
		s.Latest = true
	}
}

// cells reads a row.
func (d *decoder) cells(n *node, ptr string, into *Cells) {
	if n.kind != kindObject {
		d.add(ptr, CodeType, "is %s; an object of columns is expected", n.kind)
		return
	}
	*into = Cells{}
	for _, m := range n.members {
		*into = append(*into, Cell{m.name, json.RawMessage(m.value.raw)})
	}
}

func (d *decoder) contentType(n *node, ptr string, c *ContentType) {
	d.object(n, ptr, []field{
		{name: "app_label", required: true, read: func(n *node, p string) { d.identifier(n, p, &c.AppLabel) }},
		{name: "model_name", synonym: "model", required: true, read: func(n *node, p string) { d.identifier(n, p, &c.ModelName) }},
		{name: "source", nullable: true, read: func(n *node, p string) { d.name(n, p, &c.Source) }},
		{name: "allow_missing", read: func(n *node, p string) { d.boolean(n, p, &c.AllowMissing) }},
		{name: "allow_insert_only", read: func(n *node, p string) { d.boolean(n, p, &c.AllowInsertOnly) }},
	})
	if l := strings.ToLower(c.AppLabel); l == "information_schema" || strings.HasPrefix(l, "pg_") {
		d.add(ptr+"/app_label", CodeNotAllowed, "names the database's own tables; these never fire")
	}
}
