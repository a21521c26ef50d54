package pipeline

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/deliver"
	"github.com/waltrigger/waltrigger/pkg/sink"
)

func TestSignalsOutsideTriggersInside(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		both := func(id string) string {
			return strings.Replace(hook(id, "{{ signal }}"), `{"signal":"post_save"}`, `{"signal":"post_save"},{"signal":"pre_save"}`, 1)
		}
		b.use(both("a"), both("b"))
		b.log.batches <- transaction(1, insert("1", "0", "null"))
		synctest.Wait()
		ids := b.receiver.ids()
		for _, w := range []string{"a", "b"} {
			pre, post := slices.Index(ids, "shop_tx1_1_pre_save_"+w), slices.Index(ids, "shop_tx1_1_post_save_"+w)
			if pre < 0 || post < pre {
				t.Errorf("received %v", ids)
			}
		}
		b.stop() // the pipeline's own goroutine has ended
		b.done <- <-b.done
		hits, n := b.r.match(b.plan(sale), &change.Change{Op: change.Insert, Tx: tx(1), Table: sale, After: values("1", "0", "null")})
		var order []string
		for _, h := range hits {
			order = append(order, h.Kind.String()+" "+h.Trigger.Destinations[0].ID)
		}
		if want := []string{"pre_save a", "pre_save b", "post_save a", "post_save b"}; n != 4 || !slices.Equal(order, want) {
			t.Errorf("%d deliveries, order %v, want %v", n, order, want)
		}
	})
}

// TestOrder checks which lanes a delivery is in: equal lanes keep their order.
func TestOrder(t *testing.T) {
	pair := change.NewTable("public", "sale", []change.Column{{Name: "id"}, {Name: "n"}, {Name: "customer_id"}}, []int{0, 1}, true, change.IdentityIndex)
	keyless := change.NewTable("public", "sale", sale.Columns, nil, false, change.IdentityNothing)
	other := change.NewTable("public", "other", sale.Columns, []int{0}, true, change.IdentityFull)
	keyMoved := change.Change{Op: change.Update, Image: change.ImageKeyOnly, Before: values("1", "-", "-"), After: values("2", "0", "5")}
	on := func(t *change.Table, c change.Change) change.Change {
		c.Table = t
		return c
	}
	truncate := change.Change{Op: change.Truncate, Table: sale}
	const lane, two, barrier, none = "lane", "two lanes", "barrier", "none"
	for _, c := range []struct {
		name     string
		fields   string
		a, b     change.Change
		what     string // of b
		together bool   // a and b share a lane, or one waits for all of the table
		key      string // of b
	}{
		{"same row", "", insert("1", "0", "5"), remove("1", "0", "5"), lane, true, "1"},
		{"other row", "", insert("1", "0", "5"), insert("2", "0", "5"), lane, false, "2"},
		{"same key of another table", "", insert("1", "0", "5"), on(other, insert("1", "0", "5")), lane, false, "1"},
		{"after the old key", "", insert("1", "0", "5"), keyMoved, two, true, "2"},
		{"before the new key", "", insert("2", "0", "5"), keyMoved, two, true, "2"},
		{"moved from elsewhere", "", insert("3", "0", "5"), keyMoved, two, false, "2"},
		{"truncate", "", insert("1", "0", "5"), truncate, barrier, true, "public.sale"},
		{"two columns", "", on(pair, insert("1", "0", "5")), on(pair, remove("1", "0", "5")), lane, true, "[1,0]"},
		{"two columns, other row", "", on(pair, insert("1", "0", "5")), on(pair, remove("1", "2", "5")), lane, false, "[1,2]"},
		{"delete that does not know its key", "", on(pair, insert("1", "0", "5")), on(pair, remove("-", "-", "5")), barrier, true, "public.sale"},
		{"update that does not know its old key", "", on(pair, insert("1", "0", "5")), on(pair, update(values("2", "-", "-"), values("1", "0", "5"))), barrier, true, "[1,0]"},
		{"update that does not know the part that may have changed", "", on(pair, insert("2", "0", "5")), on(pair, update(values("-", "0", "4"), values("1", "0", "5"))), barrier, true, "[1,0]"},
		{"without key", "", on(keyless, insert("1", "0", "5")), on(keyless, insert("2", "0", "5")), lane, true, "public.sale"},
		{"strict", `"ordering":"source"`, insert("1", "0", "5"), on(other, insert("2", "0", "5")), lane, true, "shop"},
		{"strict truncate", `"ordering":"source"`, insert("1", "0", "5"), truncate, lane, true, "shop"},
		{"no order", `"ordering":"none"`, insert("1", "0", "5"), insert("1", "0", "5"), none, false, ""},
		{"key of the author", `"ordering_key":"{{ instance.customer_id }}"`, insert("1", "0", "5"), insert("2", "0", "5"), lane, true, "5"},
		{"key of the author, another table", `"ordering_key":"{{ instance.customer_id }}"`, insert("1", "0", "5"), on(other, insert("2", "0", "5")), lane, true, "5"},
		{"key of the author, other key", `"ordering_key":"{{ instance.customer_id }}"`, insert("1", "0", "5"), insert("1", "0", "6"), lane, false, "6"},
		{"key of the author changes", `"ordering_key":"{{ instance.customer_id }}"`, insert("1", "0", "5"), update(values("1", "0", "5"), values("1", "0", "6")), two, true, "6"},
		{"key of the author, truncate", `"ordering_key":"{{ instance.customer_id }}"`, insert("1", "0", "5"), truncate, barrier, true, "public.sale"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, DefaultConfig(), deliver.DefaultConfig(), change.Mark{})
			defer b.deliver.Close()
			fields := []string{}
			if c.fields != "" {
				fields = append(fields, c.fields)
			}
			body := strings.Replace(hook("w", "x", fields...), `{"app_label":"x","model_name":"sale"}`, `{"app_label":"x","model_name":"sale"},{"app_label":"x","model_name":"other"}`, 1)
			b.use(body)
			b.adopt(b.view.Load())
			var dl [2]deliver.Delivery
			for i, x := range []*change.Change{&c.a, &c.b} {
				if x.Tx = tx(i); x.Table == nil {
					x.Table = sale
				}
				pl := b.plan(x.Table)
				s := &pl.byOp[x.Op][0]
				h := hit{step: s, c: x}
				b.r.set(&h)
				if err := b.r.order(&dl[i], pl, &h); err != nil {
					t.Fatal(err)
				}
			}
			d := &dl[1]
			what := [...]string{none, lane, two}[d.NLane]
			if d.Barrier {
				what = barrier
			}
			if what != c.what || string(d.Message.Key) != c.key {
				t.Errorf("%s with key %q, want %s with %q", what, d.Message.Key, c.what, c.key)
			}
			together := d.Barrier && d.Table == dl[0].Table
			for _, l := range dl[0].Lanes[:dl[0].NLane] {
				together = together || slices.Contains(d.Lanes[:d.NLane], l)
			}
			if together != c.together {
				t.Errorf("ordered: %v, want %v", together, c.together)
			}
		})
	}
}

func TestCondition(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.use(hook("w", "{{ instance.id }}", `"condition":"instance.n > 10 or \"n\" in changed"`))
		b.log.batches <- transaction(1, insert("1", "5", "null"), insert("2", "11", "null"),
			update(values("3", "1", "null"), values("3", "1", "2")), update(values("4", "1", "null"), values("4", "2", "null")),
			change.Change{Op: change.Update, After: values("5", "1", "null")}) // changed is unknown
		time.Sleep(time.Second)
		wantInAnyOrder(t, b.receiver, "1", "2", "4") // an insert changes every column
	})
}

// TestRenderLater mends a template while events wait for it: they are rendered with
// what holds by then, and what follows them in their lane waits.
func TestRenderLater(t *testing.T) {
	const endless = "{% for a in instance.n|rjust:999 %}{% for b in instance.n|rjust:999 %}{% endfor %}{% endfor %}"
	for _, c := range []struct {
		name   string
		before []string
		after  []string // the trigger, mended
		want   []string
	}{
		{"payload", []string{hook("w", endless)}, []string{hook("w", "mended {{ instance.id }}.{{ instance.n }}")}, []string{"mended 1.1", "mended 1.2"}},
		{
			"condition",
			[]string{hook("w", "x", `"condition":"instance.n|rjust:99999999"`)},
			[]string{hook("w", "{{ instance.n }}", `"condition":"instance.n > 1"`)},
			[]string{"2"},
		},
		{"ordering key", []string{hook("w", "x", `"ordering_key":"`+endless+`"`)}, []string{hook("w", "{{ instance.n }}", `"ordering_key":"k{{ instance.id }}"`)}, []string{"1", "2"}},
		{"does not compile", []string{hook("w", "x", `"condition":"instance.n >"`)}, []string{hook("w", "{{ instance.n }}")}, []string{"1", "2"}},
		{"trigger deleted", []string{hook("w", endless)}, nil, nil},
		{"destination replaced", []string{hook("w", endless)}, []string{hook("v", "x")}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				b.use(c.before...)
				b.log.batches <- transaction(1, insert("1", "1", "null"), update(values("1", "1", "null"), values("1", "2", "null")))
				time.Sleep(time.Hour)
				wantBodies(t, b.receiver)
				if b.InFlight() != 2 {
					t.Fatalf("%d in flight, want 2", b.InFlight())
				}
				b.use(c.after...)
				time.Sleep(5 * time.Minute)
				wantBodies(t, b.receiver, c.want...)
				if b.InFlight() != 0 || b.log.mark().End != "end1" {
					t.Errorf("%d in flight, saved %+v", b.InFlight(), b.log.mark())
				}
				if c.name == "ordering key" && !slices.Equal(b.receiver.keys, []string{"k1", "k1"}) {
					t.Errorf("keys %v", b.receiver.keys)
				}
			})
		})
	}
}

// TestEditWhileDeliveriesWait changes headers that are taken from the row: a value
// rendered before goes to the header of its name or nowhere.
func TestEditWhileDeliveriesWait(t *testing.T) {
	with := func(headers string) string {
		return strings.Replace(hook("w", "x"), `"url":`, `"headers":{`+headers+`},"url":`, 1)
	}
	run(t, func(t *testing.T, b *bench) {
		b.use(with(`"X-Id":"{{ instance.id }}","X-N":"n{{ instance.n }}"`))
		b.receiver.set(func() {
			b.receiver.answer = func(*sink.Message) error {
				return &sink.Error{Class: sink.Rejected, Code: "http_401", Err: errors.New("401")}
			}
		})
		b.log.batches <- transaction(1, insert("1", "2", "3"))
		time.Sleep(time.Minute)
		b.receiver.set(func() { b.receiver.answer = nil })
		b.use(with(`"X-Customer":"{{ instance.customer_id }}","X-N":"m{{ instance.n }}","X-Fixed":"f","X-Id":"none"`))
		b.log.batches <- transaction(2, insert("4", "5", "6"))
		time.Sleep(5 * time.Minute)
		wantInAnyOrder(t, b.receiver, "x X-N=n2 X-Fixed=f X-Id=none", "x X-Customer=6 X-N=m5 X-Fixed=f X-Id=none")
	})
}

func TestFailureOfOneDestinationLeavesTheOthers(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.use(strings.Replace(hook("w", "{{ instance.id }}"), `"webhooks":[`,
			`"webhooks":[{"id":"bad","url":"https://example.com/","headers":{"X":"{{ instance.id|rjust:99999999 }}"}},`, 1))
		b.log.batches <- transaction(1, insert("1", "0", "null"))
		synctest.Wait()
		wantBodies(t, b.receiver, "1")
		b.use()
	})
}
