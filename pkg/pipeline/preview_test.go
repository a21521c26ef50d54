package pipeline

import (
	"strings"
	"testing"
	"time"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/signal"
	"github.com/waltrigger/waltrigger/pkg/sink"
)

func TestPreview(t *testing.T) {
	for _, c := range []struct {
		name   string
		body   string
		change change.Change
		want   string // of each signal: a message, or the reason
	}{
		{"save", hook("w", "{{ instance.id }} {{ signal }}"), insert("1", "5", "7"), `shop_preview_1_post_save_w key 1: 1 post_save`},
		{"signal of another operation", hook("w", "x"), remove("1", "5", "7"), "shop_preview_1_post_delete_w key 1: x"},
		{"two signals", strings.Replace(hook("w", "{{ signal }}"), `{"signal":"truncate"}`, `{"signal":"pre_save"}`, 1), insert("1", "5", "7"), "shop_preview_1_pre_save_w key 1: pre_save; shop_preview_1_post_save_w key 1: post_save"},
		{"no signal", strings.Replace(hook("w", "x"), `,{"signal":"truncate"}`, "", 1), change.Change{Op: change.Truncate}, ""},
		{"condition", hook("w", "x", `"condition":"instance.n > 5"`), insert("1", "5", "7"), "the condition is false"},
		{"fields", hook("w", "x", `"fields":["n"]`), update(values("1", "5", "7"), values("1", "5", "8")), "the update changed customer_id, and none of fields: n"},
		{"nothing changed", hook("w", "x", `"fields":["n"]`), update(values("1", "5", "7"), values("1", "5", "7")), "the update changed nothing, and none of fields: n"},
		{"both", hook("w", "x", `"fields":["n"]`, `"condition":"0"`), update(values("1", "5", "7"), values("1", "6", "7")), "the condition is false"},
		{"relation", hook("w", "{{ instance.customer.age }}"), insert("1", "5", "7"), "shop_preview_1_post_save_w key 1: 70"},
		{"fetched", hook("w", "{{ instance.n }}"), toast("1", "7"), "shop_preview_1_post_save_w key 1: 55"},
		{"ordering key", hook("w", "x", `"ordering_key":"k{{ instance.n }}"`), insert("1", "5", "7"), "shop_preview_1_post_save_w key k5: x"},
		{"cannot be rendered", hook("w", "{{ instance.n|rjust:99999999 }}"), insert("1", "5", "7"), "shop_preview_1_post_save_w error"},
		{"cannot be told", hook("w", "x", `"fields":["n"]`), change.Change{Op: change.Update, After: values("1", "5", "7")}, "shop_preview_1_post_save_w error"},
		{"no destination", strings.Replace(hook("w", "x"), `{"id":"w","url":"https://example.com/"}`, "", 1), insert("1", "5", "7"), "nothing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			run(t, func(t *testing.T, b *bench) {
				b.shop(values("7", "70", "8"))
				b.holds(values("7", "55", "1"))
				b.use(c.body)
				compiled := b.view.Load().Set.Triggers()[0]
				x := c.change
				x.Tx, x.Ordinal, x.Table = &change.Tx{Position: "preview", Committed: time.Now()}, 1, sale
				var got []string
				for _, p := range b.Preview(t.Context(), compiled, signal.ContentType{Source: "shop", AppLabel: "x", ModelName: "sale"}, &x) {
					if !p.Matched {
						got = append(got, p.Reason)
					} else if len(p.Messages) == 0 {
						got = append(got, "nothing")
					}
					for _, m := range p.Messages {
						if m.Err != nil {
							got = append(got, m.Delivery.Message.ID+" error")
						} else {
							got = append(got, m.Delivery.Message.ID+" key "+string(m.Delivery.Message.Key)+": "+string(m.Delivery.Message.Body))
						}
						if m.Delivery.Message.Model != "x.sale" || m.Delivery.Message.Committed.IsZero() {
							t.Errorf("message %+v", m.Delivery.Message)
						}
					}
				}
				if s := strings.Join(got, "; "); s != c.want {
					t.Errorf("got %s, want %s", s, c.want)
				}
				wantBodies(t, b.receiver)
			})
		})
	}
}

// TestPreviewWhileTheDatabaseIsAway says so, and does not wait for it.
func TestPreviewWhileTheDatabaseIsAway(t *testing.T) {
	run(t, func(t *testing.T, b *bench) {
		b.shop()
		b.log.set(func() { b.log.away = true })
		b.use(strings.Replace(hook("w", "{{ instance.customer.age }}"), `"url"`, `"headers":{"X":"{{ instance.id }}"},"url"`, 1))
		x := insert("1", "5", "7")
		x.Tx, x.Table = &change.Tx{Position: "preview"}, sale
		got := b.Preview(t.Context(), b.view.Load().Set.Triggers()[0], signal.ContentType{}, &x)
		if len(got) != 1 || len(got[0].Messages) != 1 || got[0].Messages[0].Err == nil || !strings.Contains(got[0].Messages[0].Err.Error(), "connection refused") {
			t.Errorf("got %+v", got)
		}
		var m sink.Message
		if got[0].Messages[0].Destination.Show(&m, got[0].Messages[0].Delivery.Rendered); m.Params["url"] == "" {
			t.Errorf("shown %+v", m)
		}
	})
}
