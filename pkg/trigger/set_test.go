package trigger

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/signal"
)

// on gives a compiled trigger for signals of tables, all active from seq on.
func on(id int64, seq uint64, signals, tables string) *Compiled {
	r := &Record{Trigger: &Trigger{ID: id, Active: true}}
	for _, table := range strings.Fields(tables) {
		for _, name := range strings.Fields(signals) {
			kind, err := signal.Parse(name)
			if err != nil {
				panic(err)
			}
			r.Activations = append(r.Activations, Activation{
				ContentType: signal.ContentType{Source: "shop", AppLabel: "a", ModelName: table}, Signal: kind,
				Schema: "public", Table: table, State: Active, Seq: seq,
			})
		}
	}
	return &Compiled{Record: r}
}

func fired(m *Matches, op change.Op) string {
	if m == nil {
		return ""
	}
	var out []string
	for _, x := range m.For(op) {
		out = append(out, fmt.Sprintf("%s:%d", x.Kind, x.Trigger.Trigger.ID))
	}
	return strings.Join(out, " ")
}

func TestSetOrder(t *testing.T) {
	s := NewSet([]*Compiled{
		on(1, 0, "post_save pre_save", "sale"), on(2, 0, "post_delete truncate", "sale order"), on(3, 0, "pre_save post_save post_delete pre_delete", "sale"),
	})
	sale := s.Table("shop", "public", "sale")
	for op, want := range map[change.Op]string{
		change.Insert:   "pre_save:1 pre_save:3 post_save:1 post_save:3",
		change.Update:   "pre_save:1 pre_save:3 post_save:1 post_save:3",
		change.Read:     "pre_save:1 pre_save:3 post_save:1 post_save:3",
		change.Delete:   "pre_delete:3 post_delete:2 post_delete:3",
		change.Truncate: "truncate:2",
		change.Commit:   "",
	} {
		if got := fired(sale, op); got != want {
			t.Errorf("%s fires %q, want %q", op, got, want)
		}
	}
	if got := fired(s.Table("shop", "public", "order"), change.Insert); got != "" {
		t.Errorf("order: %s", got)
	}
	for _, other := range []Table{{"shop", "public", "Sale"}, {"shop", "private", "sale"}, {"other", "public", "sale"}, {}} {
		if m := s.Table(other.Source, other.Schema, other.Name); m != nil {
			t.Errorf("%v has triggers", other)
		}
	}
	tables := s.Tables("shop")
	slices.SortFunc(tables, func(a, b Table) int { return strings.Compare(a.Name, b.Name) })
	if want := []Table{{"shop", "public", "order"}, {"shop", "public", "sale"}}; !slices.Equal(tables, want) {
		t.Errorf("tables %v", tables)
	}
	if s.Tables("other") != nil || len(s.Triggers()) != 3 {
		t.Error("tables of another source, or triggers lost")
	}
}

func TestSetActivation(t *testing.T) {
	inactive := on(1, 0, "post_save", "sale")
	inactive.Trigger.Active = false
	pending := on(2, 5, "post_save", "sale")
	pending.Activations[0].State = Pending
	activating := on(3, 5, "post_save", "sale")
	activating.Activations[0].State = Activating
	active := on(4, 17, "post_save", "sale")
	unresolved := on(5, 17, "post_save", "sale")
	unresolved.Activations[0].Table = ""
	m := NewSet([]*Compiled{inactive, pending, activating, active, unresolved}).Table("shop", "public", "sale")
	if got := fired(m, change.Insert); got != "post_save:2 post_save:3 post_save:4" {
		t.Fatalf("fires %s", got)
	}
	for i, from := range []uint64{1<<64 - 1, 1<<64 - 1, 17} {
		if got := m.For(change.Insert)[i].From; got != from {
			t.Errorf("match %d fires from %d, want %d", i, got, from)
		}
	}
}

// TestSetFiresOnceForATable names one table by two content types, the first of which
// an edit has just added.
func TestSetFiresOnceForATable(t *testing.T) {
	c := on(1, 9, "post_save", "sale sale sale")
	c.Activations[0].ContentType.ModelName = "Sale"
	c.Activations[0].State = Pending
	c.Activations[1].Seq = 12
	matches := NewSet([]*Compiled{c}).Table("shop", "public", "sale").For(change.Update)
	if len(matches) != 1 || matches[0].From != 9 || matches[0].ContentType.ModelName != "Sale" {
		t.Errorf("matches %+v", matches)
	}
}

// BenchmarkSet looks up a table beside any number of triggers of other tables.
func BenchmarkSet(b *testing.B) {
	for _, n := range []int{0, 100, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			all := []*Compiled{on(1, 0, "post_save", "sale")}
			for i := range n {
				all = append(all, on(int64(i+2), 0, "post_save post_delete", fmt.Sprintf("table%d", i)))
			}
			s := NewSet(all)
			b.ReportAllocs()
			for b.Loop() {
				if m := s.Table("shop", "public", "sale"); len(m.For(change.Insert)) != 1 {
					b.Fatal("no match")
				}
			}
		})
	}
}

func BenchmarkNewSet(b *testing.B) {
	var all []*Compiled
	for i := range 10000 {
		all = append(all, on(int64(i), 0, "post_save post_delete", fmt.Sprintf("table%d", i%500)))
	}
	b.ReportAllocs()
	for b.Loop() {
		NewSet(all)
	}
}
