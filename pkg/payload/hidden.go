package payload

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/signal"
)

// Hidden are the columns whose values never leave: templates do not find them, and whole
// rows go without them. That one of them changed may be told. Safe for concurrent use.
type Hidden struct {
	patterns [][3]string // schema, table, column, in lower case

	mu    sync.Mutex
	masks map[*change.Table][]bool
}

// maxMasks bounds the tables that are remembered: most are shapes that no longer exist.
const maxMasks = 10_000

// NewHidden reads patterns table.column and schema.table.column, in which * stands for
// any number of characters; case does not count.
func NewHidden(patterns []string) (*Hidden, error) {
	h := &Hidden{masks: map[*change.Table][]bool{}}
	for _, p := range patterns {
		parts := strings.Split(strings.ToLower(p), ".")
		if len(parts) == 2 {
			parts = slices.Insert(parts, 0, "*")
		}
		if len(parts) != 3 || slices.Contains(parts, "") || len(p) > 200 {
			return nil, fmt.Errorf("%.200q is no pattern such as *.password, app_user.email or public.app_user.*", p)
		}
		h.patterns = append(h.patterns, [3]string(parts))
	}
	return h, nil
}

// Hides reports whether a column is hidden. A nil Hidden hides nothing.
func (h *Hidden) Hides(schema, table, column string) bool {
	if h == nil {
		return false
	}
	name := [3]string{strings.ToLower(schema), strings.ToLower(table), strings.ToLower(column)}
	return slices.ContainsFunc(h.patterns, func(p [3]string) bool {
		return signal.Glob(p[0], name[0]) && signal.Glob(p[1], name[1]) && signal.Glob(p[2], name[2])
	})
}

// Of tells for each column of t whether it is hidden; nil if none is.
func (h *Hidden) Of(t *change.Table) []bool {
	if h == nil || len(h.patterns) == 0 {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	mask, known := h.masks[t]
	if known {
		return mask
	}
	for i, c := range t.Columns {
		if h.Hides(t.Schema, t.Name, c.Name) {
			if mask == nil {
				mask = make([]bool, len(t.Columns))
			}
			mask[i] = true
		}
	}
	if len(h.masks) >= maxMasks {
		clear(h.masks)
	}
	h.masks[t] = mask
	return mask
}

// HidesKey reports whether a column of t's key is hidden.
func (h *Hidden) HidesKey(t *change.Table) bool {
	mask := h.Of(t)
	return mask != nil && slices.ContainsFunc(t.Key, func(k int) bool { return mask[k] })
}
