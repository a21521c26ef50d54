package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestWebhookBatch sends several payloads in one request, keeps the order of each row, and
// finds the one that a receiver does not take.
func TestWebhookBatch(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	p := startDaemon(t, db.url, loopback)
	refuses(hook, `"row 50 `)
	out := p.create(strings.Replace(simple("customer", "row {{ instance.id }} {{ instance.name }}", hook.URL), `"url"`, `"batch":25,"max_in_flight":2,"url"`, 1))
	if w := out["webhooks"].([]any)[0].(map[string]any); w["batch"] != 25.0 {
		t.Errorf("created %v", w)
	}
	db.exec(`INSERT INTO myapp_customer (name, email) SELECT '0', '' FROM generate_series(1, 100)`)
	for i := range 5 {
		db.exec(`UPDATE myapp_customer SET name = $1`, fmt.Sprint(i+1))
	}
	const rest = 99 * 6 // of the rows whose events are taken
	accepted := func() map[string][]string {
		rows := map[string][]string{}
		for _, q := range hook.requests() {
			var items []string
			if err := json.Unmarshal([]byte(q.Body), &items); err != nil {
				t.Fatalf("%s: %v", q.Body, err)
			}
			ids := strings.Split(q.Header.Get("Webhook-Batch-Ids"), ",")
			if len(ids) != len(items) || len(items) > 25 {
				t.Fatalf("%d ids for %d payloads", len(ids), len(items))
			}
			if strings.Contains(q.Body, `"row 50 `) {
				continue
			}
			for _, item := range items {
				_, row, _ := strings.Cut(item, " ")
				row, n, _ := strings.Cut(row, " ")
				rows[row] = append(rows[row], n)
			}
		}
		return rows
	}
	count := func() (n int) {
		for _, events := range accepted() {
			n += len(events)
		}
		return n
	}
	waitFor(t, "all but one row", func() bool { return count() >= rest })
	for row, events := range accepted() {
		if !slices.Equal(events, []string{"0", "1", "2", "3", "4", "5"}) {
			t.Errorf("row %s: %v", row, events)
		}
	}
	waitFor(t, "parked", func() bool { return len(p.deliveries("status=parked&key=50")) == 6 })
	parked := p.deliveries("")
	if len(parked) != 6 || parked[0]["failures"] != 1.0 {
		t.Errorf("parked %v", parked)
	}
	if n := len(hook.requests()); n > rest/2 {
		t.Errorf("%d requests for %d events", n, rest)
	}
	refuses(hook, "")
	hook.setAnswer(func(w http.ResponseWriter, _ request) {})
	hook.reset()
	p.call(http.MethodPost, "/api/destinations/d1/retry-now", "")
	waitFor(t, "the last row", func() bool { return len(p.deliveries("")) == 0 })
	for i, q := range hook.requests() {
		if want := fmt.Sprintf(`["row 50 %d"]`, i); q.Body != want || q.Header.Get("Webhook-Id") != parked[i]["message_id"] {
			t.Errorf("sent %s as %s, want %s", q.Body, q.Header.Get("Webhook-Id"), want)
		}
	}
}
