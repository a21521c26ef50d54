package pipeline

import (
	"testing"

	"github.com/waltrigger/waltrigger/pkg/change"
)

// TestRowOf names rows by their key, so that what is kept about one can be found whatever
// the order of the deliveries.
func TestRowOf(t *testing.T) {
	pair := change.NewTable("public", "sale", []change.Column{{Name: "id"}, {Name: "n"}, {Name: "customer_id"}}, []int{0, 1}, true, change.IdentityIndex)
	keyless := change.NewTable("public", "sale", sale.Columns, nil, false, change.IdentityNothing)
	for name, c := range map[string]struct {
		change.Change
		table  *change.Table
		hidden bool
		want   string
	}{
		"insert":          {insert("1", "0", "5"), sale, false, "1"},
		"update":          {update(values("1", "0", "5"), values("2", "0", "5")), sale, false, "2"},
		"delete":          {remove("1", "0", "5"), sale, false, "1"},
		"several columns": {insert("1", "0", "5"), pair, false, "[1,0]"},
		"unknown":         {remove("-", "0", "5"), sale, false, ""},
		"without key":     {insert("1", "0", "5"), keyless, false, ""},
		"truncate":        {change.Change{Op: change.Truncate}, sale, false, ""},
		"hidden":          {insert("1", "0", "5"), sale, true, ""},
	} {
		c.Table = c.table
		pl := plan{row: "public.sale", hiddenKey: c.hidden}
		if row := pl.rowOf(&c.Change); row.Table != "public.sale" || string(row.Key) != c.want {
			t.Errorf("%s: %s %q, want %q", name, row.Table, row.Key, c.want)
		}
	}
}
