package pipeline

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waltrigger/waltrigger/pkg/change"
)

// toast is an update of which the log does not hold n, which it did not change.
func toast(id, customer string) change.Change {
	return change.Change{Op: change.Update, After: values(id, "-", customer)}
}

// holds gives b the rows of sale as they are now.
func (b *bench) holds(rows ...[]change.Value) {
	b.log.set(func() {
		b.log.shapes = map[string]*change.Table{"public.sale": change.NewTable("public", "sale", []change.Column{{Name: "customer_id"}, {Name: "n"}, {Name: "id"}}, []int{2}, true, change.IdentityDefault)}
		b.log.rows["public.sale"] = rows
		b.log.seq = 1000
	})
}

func TestMissingValues(t *testing.T) {
	keyOnly := change.Change{Op: change.Delete, Image: change.ImageKeyOnly, Before: values("1", "-", "-")}
	const named = "{{ instance.id }} {{ instance.n }} {{ missing|json }} {{ event.fetched|json }}"
	for _, c := range []struct {
		name     string
		template string
		fields   []string
		change   change.Change
		want     string // "" = waits
		asked    int
	}{
		{"named", named, nil, toast("1", "7"), `1 55 [] ["n"]`, 1},
		{"by a condition", "{{ instance.id }}", []string{`"condition":"instance.n == 55"`}, toast("1", "7"), "1", 1},
		{"by a condition that is false", "{{ instance.id }}", []string{`"condition":"instance.n != 55"`}, toast("1", "7"), "-", 1},
		{"by the ordering key", "{{ instance.id }}", []string{`"ordering_key":"k{{ instance.n }}"`}, toast("1", "7"), "1", 1},
		{"by a relation", "{{ instance.n.age }}", nil, toast("1", "7"), "550", 2},
		{"whole row", "{{ instance|json }} {{ missing|json }}", nil, toast("1", "7"), `{"id":1,"customer_id":7} ["n"]`, 0},
		{"not named", "{{ instance.customer_id }} {{ missing|json }}", nil, toast("1", "7"), `7 ["n"]`, 0},
		{"of the old row", "{{ before.n }}|{{ before|json }}", nil, toast("1", "7"), "|null", 0},
		{"changed", "{{ changed|json }} {{ instance.n }}", nil, update(values("1", "3", "6"), values("1", "-", "7")), `["customer_id"] 55`, 1},
		{"row gone", named, nil, toast("6", "7"), `6  ["n"] []`, 1},
		{"empty", named, []string{`"on_missing_value":"empty"`}, toast("1", "7"), `1  ["n"] []`, 0},
		{"park", named, []string{`"on_missing_value":"park"`}, toast("1", "7"), "", 0},
		{"delete", named, nil, keyOnly, `1  ["n","customer_id"] []`, 0},
		{"delete, fetch", named, []string{`"on_missing_value":"fetch"`}, keyOnly, `1  ["n","customer_id"] []`, 0},
		{"delete, park", named, []string{`"on_missing_value":"park"`}, keyOnly, "", 0},
		{"delete, nothing missing that is named", "{{ instance.id }}", []string{`"on_missing_value":"park"`}, keyOnly, "1", 0},
		{"fields", "", []string{`"payload_format":"fields"`}, toast("1", "7"), `{"n": 55, "customer": 7}`, 1},
		{"key not known", named, nil, change.Change{Op: change.Update, After: values("-", "-", "7")}, "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				b.shop(values("55", "550", "1"))
				b.holds(values("7", "55", "1"), values("8", "56", "2"))
				body := hook("w", c.template, c.fields...)
				if c.template == "" {
					body = strings.Replace(body, `"payload":"",`, "", 1)
				}
				b.use(body)
				b.log.batches <- transaction(1, c.change)
				time.Sleep(time.Second)
				switch c.want {
				case "", "-":
					wantBodies(t, b.receiver)
					if (b.InFlight() == 0) != (c.want == "-") {
						t.Errorf("%d in flight", b.InFlight())
					}
				default:
					wantBodies(t, b.receiver, c.want)
				}
				if c.name == "by the ordering key" && b.receiver.keys[0] != "k55" {
					t.Errorf("key %s", b.receiver.keys[0])
				}
				b.log.mu.Lock()
				defer b.log.mu.Unlock()
				if b.log.asked != c.asked {
					t.Errorf("asked %d times, want %d", b.log.asked, c.asked)
				}
			})
		})
	}
}

// TestMissingValuesInOneQuery reads each row once for all that need it.
func TestMissingValuesInOneQuery(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.holds(values("7", "55", "1"), values("8", "56", "2"))
		b.use(hook("w", "{{ instance.n }}"), hook("v", "v{{ instance.n }}"), hook("u", "u{{ instance.id }}", `"condition":"instance.n > 55"`))
		b.log.batches <- transaction(1, toast("1", "7"), toast("2", "8"), toast("1", "9"), insert("3", "57", "7"))
		time.Sleep(time.Second)
		wantInAnyOrder(t, b.receiver, "55", "55", "56", "57", "v55", "v55", "v56", "v57", "u2", "u3")
		if b.log.asked != 1 {
			t.Errorf("asked %d times", b.log.asked)
		}
	})
}

// TestMissingValuesThatMayNotBeRead hold up what names them, and nothing else.
func TestMissingValuesThatMayNotBeRead(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.shop(values("7", "70", "8"))
		b.holds(values("7", "55", "1"))
		b.log.set(func() { b.log.denied = "public.sale" })
		b.use(hook("w", "{{ instance.n }}"), hook("v", "plain {{ instance.id }}"), hook("u", "{{ instance.customer.age }}"))
		began := time.Now()
		for i := range 2 {
			b.log.batches <- transaction(i+1, toast("1", "7"))
			synctest.Wait()
		}
		wantInAnyOrder(t, b.receiver, "plain 1", "plain 1", "70", "70")
		if took := time.Since(began); took > 0 {
			t.Errorf("the log waited for %v", took)
		}
		if s := fmt.Sprint(b.deliver.Status()); !strings.Contains(s, "permission denied") {
			t.Error("status", s)
		}
		b.log.set(func() { b.log.denied = "" })
		time.Sleep(5 * time.Minute)
		wantInAnyOrder(t, b.receiver, "plain 1", "plain 1", "70", "70", "55", "55")
	})
}

// TestMissingValuesLater: what waits is rendered once it can be, or as the trigger wants
// it by then.
func TestMissingValuesLater(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.holds(values("7", "55", "1"))
		b.log.set(func() { b.log.away = true })
		b.use(hook("w", "{{ instance.n }}"), hook("v", "plain {{ instance.id }}"))
		b.log.batches <- transaction(1, toast("1", "7"), insert("2", "3", "4"))
		time.Sleep(lookupPatience - 2*time.Second)
		wantBodies(t, b.receiver) // the log waits
		time.Sleep(3 * time.Second)
		wantInAnyOrder(t, b.receiver, "plain 1", "plain 2", "3") // what needs nothing does not
		b.log.set(func() { b.log.away = false })
		time.Sleep(5 * time.Minute)
		wantInAnyOrder(t, b.receiver, "plain 1", "plain 2", "3", "55")
	})
	run(t, func(t *testing.T, b *bench) {
		b.holds(values("7", "55", "1"))
		b.use(hook("w", "{{ instance.n }}", `"on_missing_value":"park"`))
		b.log.batches <- transaction(1, toast("1", "7"), toast("2", "7"))
		time.Sleep(time.Hour)
		wantBodies(t, b.receiver)
		if s := b.deliver.Status(); !strings.Contains(s[0].Err, "the log does not hold n of public.sale") {
			t.Errorf("status %+v", s)
		}
		b.use(hook("w", "[{{ instance.n }}]", `"on_missing_value":"fetch"`))
		time.Sleep(10 * time.Minute)
		wantInAnyOrder(t, b.receiver, "[55]", "[]")
	})
}
