package store

import (
	"slices"
	"strconv"
	"strings"

	"github.com/waltrigger/waltrigger/pkg/deliver"
)

// condition is the part of a query that a filter makes: WHERE … ORDER BY … LIMIT ….
type condition struct {
	parts []string
	args  []any
}

func (c *condition) add(part string, args ...any) {
	c.parts, c.args = append(c.parts, part), append(c.args, args...)
}

// where makes f a condition.
func where(f *deliver.Filter) (string, []any) {
	c := &condition{}
	c.states(f.States)
	if f.IDs != nil {
		if len(f.IDs) == 0 {
			c.add("1 = 0")
		} else {
			c.add("id IN "+list(len(f.IDs)), numbers(f.IDs)...)
		}
	}
	for _, e := range []struct{ column, value string }{{"destination", f.Destination}, {"source", f.Source}, {"row_table", f.Table}, {"failure", f.Class}, {"code", f.Code}} {
		if e.value != "" {
			c.add(e.column+" = ?", e.value)
		}
	}
	if f.Trigger > 0 {
		c.add("trigger_id = ?", f.Trigger)
	}
	if f.Key != nil {
		c.add("key_hash = ? AND row_key = ?", keyHash(*f.Key), []byte(*f.Key))
	}
	if !f.From.IsZero() {
		c.add("committed_at >= ?", micros(f.From))
	}
	if !f.To.IsZero() {
		c.add("committed_at < ?", micros(f.To))
	}
	c.after(f)
	return " WHERE " + strings.Join(c.parts, " AND ") + c.order(f), c.args
}

// states are written out: the planner has to see that an index of some states will do.
func (c *condition) states(states []deliver.State) {
	if len(states) == 0 {
		states = []deliver.State{deliver.Parked, deliver.Dead}
	}
	states = slices.Compact(slices.Sorted(slices.Values(states)))
	if len(states) == 1 {
		c.add("state = " + strconv.Itoa(int(states[0])))
		return
	}
	text := make([]string, len(states))
	for i, s := range states {
		text[i] = strconv.Itoa(int(s))
	}
	c.add("state IN (" + strings.Join(text, ", ") + ")")
}

// after leaves out what stands before the filter's mark, the mark included.
func (c *condition) after(f *deliver.Filter) {
	if f.After == (deliver.Mark{}) {
		return
	}
	sign := ">"
	if f.Newest {
		sign = "<"
	}
	id, at := int64(f.After.ID), micros(f.After.At)
	if f.ByTime {
		c.add("committed_at "+sign+"= ? AND (committed_at "+sign+" ? OR id "+sign+" ?)", at, at, id)
		return
	}
	c.add("id "+sign+" ?", id)
}

func (c *condition) order(f *deliver.Filter) string {
	down := ""
	if f.Newest {
		down = " DESC"
	}
	text := " ORDER BY id" + down
	if f.ByTime {
		text = " ORDER BY committed_at" + down + ", id" + down
	}
	if f.Limit > 0 {
		text += " LIMIT " + strconv.Itoa(f.Limit)
	}
	return text
}
