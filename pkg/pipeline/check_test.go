package pipeline

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/deliver"
	"github.com/waltrigger/waltrigger/pkg/payload"
	"github.com/waltrigger/waltrigger/pkg/sink"
)

func TestFieldsFilter(t *testing.T) {
	unchanged, changed := update(values("1", "5", "7"), values("1", "5", "8")), update(values("2", "5", "7"), values("2", "6", "7"))
	for _, c := range []struct {
		fields  string
		changes []change.Change
		want    []string
	}{
		{`["n"]`, []change.Change{unchanged, changed}, []string{"update 2"}},
		{`["N","nothing"]`, []change.Change{unchanged, changed}, []string{"update 2"}},
		{`["n","customer_id"]`, []change.Change{unchanged, changed}, []string{"update 1", "update 2"}},
		{`["customer"]`, []change.Change{unchanged, changed}, []string{"update 1"}},
		{`["pk"]`, []change.Change{unchanged, changed, update(values("3", "5", "7"), values("4", "5", "7"))}, []string{"update 4"}},
		{`["nothing"]`, []change.Change{unchanged, changed}, nil},
		{`["pair"]`, []change.Change{unchanged, changed}, []string{"update 2"}}, // of id and n
		// Unchanged values that the log left out did not change.
		{`["n"]`, []change.Change{update(values("1", "5", "7"), values("1", "-", "8"))}, nil},
		// What is no update fires whatever it holds.
		{`["n"]`, []change.Change{insert("1", "null", "7"), remove("2", "5", "7"), {Op: change.Truncate}}, []string{"insert 1", "delete 2", "truncate "}},
	} {
		run(t, func(t *testing.T, b *bench) {
			b.shop()
			b.use(hook("w", "{{ operation }} {{ key.id }}", `"fields":`+c.fields))
			b.log.batches <- transaction(1, c.changes...)
			time.Sleep(time.Second)
			wantInAnyOrder(t, b.receiver, c.want...)
		})
	}
}

// TestOldRowIsNotThereAnyMore: a table lost its replica identity after the trigger was
// stored, so nobody can tell which updates fire.
func TestOldRowIsNotThereAnyMore(t *testing.T) {
	unknown := func() change.Change { return change.Change{Op: change.Update, After: values("1", "5", "7")} }
	for name, filter := range map[string]string{
		"fields": `"fields":["n"]`, "changed": `"condition":"\"n\" in changed"`, "before": `"condition":"before.n < 6"`, "whole row": `"condition":"before"`,
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				b.use(hook("w", "{{ operation }}", filter))
				b.log.batches <- transaction(1, unknown())
				b.log.batches <- transaction(2, unknown())
				time.Sleep(time.Minute)
				wantBodies(t, b.receiver)
				why := b.whyBroken(1)
				if why == nil || !strings.Contains(why.Reason, "ALTER TABLE public.sale REPLICA IDENTITY FULL") || why.Table != "sale" || why.Position != "tx1" || why.Columns != nil {
					t.Fatalf("broken: %+v", why)
				}
				b.log.batches <- transaction(3, update(values("9", "5", "7"), values("9", "4", "7"))) // another row goes on
				time.Sleep(time.Second)
				wantBodies(t, b.receiver, "update")
				b.use(hook("w", "{{ operation }} {{ position }}", filter, `"on_missing_column":"empty"`))
				time.Sleep(time.Hour)
				if b.whyBroken(1) != nil || b.InFlight() != 0 {
					t.Errorf("%d in flight, broken: %v", b.InFlight(), b.whyBroken(1))
				}
				if name == "fields" { // a condition is false of what is unknown
					wantBodies(t, b.receiver, "update", "update tx1", "update tx2")
				}
			})
		})
	}
	run(t, func(t *testing.T, b *bench) { // the key is always known
		b.use(hook("w", "{{ operation }}", `"condition":"before.id or 1"`))
		b.log.batches <- transaction(1, unknown())
		time.Sleep(time.Second)
		wantBodies(t, b.receiver, "update")
	})
}

var narrow = change.NewTable("public", "sale", []change.Column{{Name: "id", Identity: true}, {Name: "customer_id"}}, []int{0}, true, change.IdentityFull)

func onNarrow(c change.Change) change.Change {
	c.Table = narrow
	return c
}

// TestLostColumn removes a column that a trigger names while events come.
func TestLostColumn(t *testing.T) {
	gone := func(b *bench) {
		b.use(hook("w", "{{ instance.n }}"), strings.Replace(hook("v", "{{ instance.id }}"), `"url"`, `"headers":{"X":"{{ instance.customer_id }}"},"url"`, 1))
		b.log.batches <- transaction(1, insert("1", "5", "7"))
		b.log.batches <- transaction(2, onNarrow(insert("2", "7")))
		b.log.batches <- transaction(3, onNarrow(update(values("2", "7"), values("2", "8"))))
		b.log.batches <- transaction(4, insert("3", "6", "7")) // of before the change, in a backlog
		time.Sleep(time.Hour)
	}
	received := []string{"1 X=7", "2 X=7", "2 X=8", "3 X=7", "5", "6"}
	t.Run("waits, and says what for", func(t *testing.T) {
		run(t, func(t *testing.T, b *bench) {
			b.use(hook("w", "{{ instance.n }}"))
			b.log.batches <- transaction(2, onNarrow(insert("2", "7")))
			b.log.batches <- transaction(3, onNarrow(insert("3", "7")))
			time.Sleep(time.Minute)
			why := b.whyBroken(1)
			if why == nil || strings.Join(why.Columns, " ") != "n" || why.Schema+"."+why.Table != "public.sale" || why.Position != "tx2" || !strings.Contains(why.Error(), "no column n any more, from position tx2 on") {
				t.Errorf("broken: %+v", why)
			}
			if s := b.deliver.Status(); len(s) != 1 || !strings.Contains(s[0].Err, "no column n any more, from position tx") || s[0].Waiting != 2 {
				t.Errorf("status %+v", s)
			}
			if b.whyBroken(2) != nil {
				t.Error("another trigger is broken")
			}
		})
	})
	t.Run("edit", func(t *testing.T) {
		run(t, func(t *testing.T, b *bench) {
			gone(b)
			wantInAnyOrder(t, b.receiver, received...)
			b.use(hook("w", "edited {{ instance.customer_id }}"), hook("v", "{{ instance.id }}"))
			time.Sleep(10 * time.Minute)
			wantInAnyOrder(t, b.receiver, append(received, "edited 7", "edited 8")...)
			b.log.batches <- transaction(5, onNarrow(insert("9", "9")))
			time.Sleep(time.Second)
			if b.whyBroken(1) != nil || b.InFlight() != 0 {
				t.Errorf("%d in flight, broken: %v", b.InFlight(), b.whyBroken(1))
			}
		})
	})
	t.Run("empty", func(t *testing.T) {
		run(t, func(t *testing.T, b *bench) {
			b.use(hook("w", "[{{ instance.n }}]", `"on_missing_column":"empty"`))
			b.log.batches <- transaction(2, onNarrow(insert("2", "7")))
			time.Sleep(time.Second)
			wantBodies(t, b.receiver, "[]")
			if b.whyBroken(1) != nil {
				t.Error("broken")
			}
		})
	})
	t.Run("put back", func(t *testing.T) {
		run(t, func(t *testing.T, b *bench) {
			b.log.set(func() { b.log.table = narrow })
			gone(b)
			if b.whyBroken(1) == nil {
				t.Error("not broken")
			}
			again := change.NewTable("public", "sale", []change.Column{{Name: "id"}, {Name: "customer_id"}, {Name: "n"}}, []int{0}, true, change.IdentityFull)
			b.log.set(func() {
				b.log.table = again
				b.log.rows["public.sale"] = [][]change.Value{values("2", "8", "55")}
			})
			time.Sleep(24 * time.Hour)
			wantInAnyOrder(t, b.receiver, append(received, "55", "55")...)
			if b.whyBroken(1) != nil {
				t.Error("broken after all could be rendered")
			}
			c := insert("9", "9", "9")
			c.Table = again
			b.log.batches <- transaction(5, c)
			time.Sleep(time.Second)
			if b.whyBroken(1) != nil || b.InFlight() != 0 {
				t.Errorf("%d in flight, broken: %v", b.InFlight(), b.whyBroken(1))
			}
		})
	})
	t.Run("put back without the row", func(t *testing.T) {
		run(t, func(t *testing.T, b *bench) {
			b.log.set(func() { b.log.table = sale })
			gone(b)
			time.Sleep(24 * time.Hour)
			wantInAnyOrder(t, b.receiver, received...)
			for _, s := range b.deliver.Status() {
				if want := map[string]int{"w": 2, "v": 0}[s.ID]; s.Waiting != want {
					t.Errorf("%d deliveries wait for %s", s.Waiting, s.ID)
				}
			}
		})
	})
	t.Run("field", func(t *testing.T) {
		run(t, func(t *testing.T, b *bench) {
			b.use(hook("w", "{{ operation }}", `"fields":["n"]`))
			b.log.batches <- transaction(1, onNarrow(update(values("2", "7"), values("2", "8"))))
			time.Sleep(time.Second)
			if why := b.whyBroken(1); why == nil || strings.Join(why.Columns, " ") != "n" {
				t.Errorf("broken: %+v", why)
			}
		})
	})
}

func hiding(t *testing.T, f func(t *testing.T, b *bench), patterns ...string) {
	synctest.Test(t, func(t *testing.T) {
		cfg := DefaultConfig()
		var err error
		if cfg.Hidden, err = payload.NewHidden(patterns); err != nil {
			t.Fatal(err)
		}
		b := newBench(t, cfg, deliver.DefaultConfig(), change.Mark{End: "start"})
		b.start()
		f(t, b)
		if err := b.end(); err != nil {
			t.Error(err)
		}
	})
}

// TestHiddenColumnIsNamed: the configuration hides what a stored trigger names.
func TestHiddenColumnIsNamed(t *testing.T) {
	hiding(t, func(t *testing.T, b *bench) {
		b.use(hook("w", "{{ instance.n }}"), hook("v", "{{ instance|json }}", `"fields":["n"]`))
		b.log.batches <- transaction(1, update(values("1", "5", "7"), values("1", "6", "7")))
		time.Sleep(time.Minute)
		wantBodies(t, b.receiver, `{"id":1,"customer_id":7}`)
		if why := b.whyBroken(1); why == nil || !strings.Contains(why.Reason, "settings.hidden_columns hides") || b.whyBroken(2) != nil {
			t.Errorf("broken: %+v %+v", why, b.whyBroken(2))
		}
	}, "sale.n")
}

// TestHiddenForeignKey looks nothing up by what may not leave.
func TestHiddenForeignKey(t *testing.T) {
	hiding(t, func(t *testing.T, b *bench) {
		b.shop(values("7", "70", "8"))
		b.use(hook("w", "{{ instance.id }}[{{ instance.customer }}{{ instance.customer.age }}]"))
		b.log.batches <- transaction(1, insert("1", "5", "7"))
		time.Sleep(time.Second)
		wantBodies(t, b.receiver, "1[]")
		if b.log.asked != 0 {
			t.Errorf("asked %d times", b.log.asked)
		}
	}, "sale.customer_id")
}

// TestHiddenKey keeps the order of a row without telling its key.
func TestHiddenKey(t *testing.T) {
	hiding(t, func(t *testing.T, b *bench) {
		b.use(strings.Replace(hook("w", "x"), `"payload":"x"`, `"payload":null`, 1))
		b.receiver.set(func() {
			b.receiver.answer = func(m *sink.Message) error {
				if strings.Contains(string(m.Body)+string(m.Key)+m.ID, "4711") {
					t.Errorf("the key leaves: %s %s %s", m.ID, m.Key, m.Body)
				}
				return nil
			}
		})
		b.log.batches <- transaction(1, insert("4711", "1", "1"), insert("4711", "2", "2"), insert("4712", "1", "1"))
		time.Sleep(time.Second)
		b.receiver.set(func() {
			k := slices.Sorted(slices.Values(b.receiver.keys))
			if len(k) != 3 || len(k[0]) != 32 || len(slices.Compact(k)) != 2 {
				t.Errorf("keys %q", k)
			}
		})
	}, "*.sale.id")
}

// TestFieldsFormat takes the names of foreign keys from the catalog.
func TestFieldsFormat(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.shop()
		b.use(strings.Replace(hook("w", "x"), `"payload":"x"`, `"payload_format":"fields"`, 1))
		b.log.batches <- transaction(1, insert("1", "5", "7"))
		time.Sleep(time.Second)
		wantBodies(t, b.receiver, `{"n": 5, "customer": 7}`)
	})
}

// TestHiddenValuesAreNotKept: what waits in the store holds digests of hidden values,
// which say whether one changed and never pass for the value.
func TestHiddenValuesAreNotKept(t *testing.T) {
	h, err := payload.NewHidden([]string{"sale.n"})
	if err != nil {
		t.Fatal(err)
	}
	c := update(values("1", "4711", "7"), values("1", "4712", "7"))
	c.Tx, c.Table = tx(1), sale
	text := keep(&payload.Event{Kind: 1, Change: &c, Hidden: h}, &c)
	if strings.Contains(string(text), "4711") || strings.Contains(string(text), "4712") {
		t.Errorf("kept %s", text)
	}
	var k kept
	if err := json.Unmarshal(text, &k); err != nil {
		t.Fatal(err)
	}
	e, err := k.event("shop", h)
	if err != nil {
		t.Fatal(err)
	}
	e.Hidden = h
	if names, known := e.Changed(); !known || !slices.Equal(names, []string{"n"}) || len(e.Missing()) != 0 {
		t.Errorf("changed %q, missing %q", names, e.Missing())
	}
	if e, err = k.event("shop", nil); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(e.Missing(), []string{"n"}) { // it is no longer hidden, and not known
		t.Errorf("missing %q", e.Missing())
	}
}

// TestLostColumnOfARelatedTable removes a column that a trigger names through a relation.
func TestLostColumnOfARelatedTable(t *testing.T) {
	young := change.NewTable("public", "customer", []change.Column{{Name: "id"}, {Name: "boss_id"}}, []int{0}, true, change.IdentityDefault)
	old := change.NewTable("public", "customer", []change.Column{{Name: "id"}, {Name: "age"}, {Name: "boss_id"}}, []int{0}, true, change.IdentityDefault)
	drop := func(b *bench) {
		b.log.set(func() {
			b.log.table = young
			b.log.rows["public.customer"] = [][]change.Value{values("7", "8")}
		})
	}
	const named = "{{ instance.id }}:{{ instance.customer.age }}"
	for _, body := range []string{
		hook("w", named), hook("w", "{{ instance.id }}:{% for k, v in instance.customer.items %}{% endfor %}{% with c=instance.customer %}{{ c.age }}{% endwith %}"),
		hook("w", "{{ instance.id }}:70", `"condition":"instance.customer.age > 5"`),
		strings.Replace(hook("w", "{{ instance.id }}:70"), `"url"`, `"headers":{"X":"{{ instance.customer.age }}"},"url"`, 1),
	} {
		run(t, func(t *testing.T, b *bench) {
			b.shop(values("7", "70", "8"))
			drop(b)
			b.use(body)
			b.log.batches <- transaction(1, insert("1", "0", "7"), insert("2", "0", "null"))
			time.Sleep(time.Minute)
			why := b.whyBroken(1)
			if why == nil || why.Table != "customer" || strings.Join(why.Columns, "") != "age" || why.Position != "tx1" || !strings.Contains(why.Reason, "table public.customer has no column age any more") {
				t.Fatalf("%s: broken: %+v", body, why)
			}
			b.log.set(func() {
				b.log.table = old
				b.log.rows["public.customer"] = [][]change.Value{values("7", "70", "8")}
			})
			time.Sleep(24 * time.Hour)
			got := b.receiver.bodies()
			if b.whyBroken(1) != nil || b.InFlight() != 0 || !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "1:70") || s == "1:" }) {
				t.Errorf("%s: %d in flight, broken: %v, received %q", body, b.InFlight(), b.whyBroken(1), got)
			}
		})
	}
	for name, body := range map[string]string{
		"empty":          hook("w", named, `"on_missing_column":"empty"`),
		"several tables": strings.Replace(hook("w", named), `"model_name":"sale"}`, `"model_name":"sale"},{"app_label":"x","model_name":"other"}`, 1),
		"to come":        strings.Replace(hook("w", named), `"model_name":"sale"}`, `"model_name":"sale","allow_missing":true}`, 1),
	} {
		run(t, func(t *testing.T, b *bench) {
			b.shop()
			drop(b)
			b.use(body)
			b.log.batches <- transaction(1, insert("1", "0", "7"))
			time.Sleep(time.Second)
			if wantBodies(t, b.receiver, "1:"); b.whyBroken(1) != nil {
				t.Errorf("%s: broken: %v", name, b.whyBroken(1))
			}
		})
	}
}
