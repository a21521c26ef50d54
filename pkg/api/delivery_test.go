package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waltrigger/waltrigger/pkg/api"
)

// kept is made-up deliveries that notes what it is asked for.
type kept struct {
	all    []api.Delivery
	asked  []api.DeliveryFilter
	did    []api.Amendment
	answer api.Amended
	err    error
}

var committed = time.Date(2026, 1, 2, 3, 4, 5, 678000, time.UTC)

func newKept() *kept {
	k := &kept{}
	for i := range uint64(5) {
		k.all = append(k.all, api.Delivery{
			ID: 1<<62 + i, Status: api.StatusDead, MessageID: "shop_1_1_post_save_d1", Trigger: 1, Destination: "d1", Source: "shop", Signal: "post_save",
			ContentType: "myapp.Sale", CommittedAt: committed, Failures: 1, Class: "rejected", Code: "http_400", Error: "no",
		})
	}
	return k
}

func (k *kept) List(_ context.Context, f api.DeliveryFilter) ([]api.Delivery, error) {
	k.asked = append(k.asked, f)
	var out []api.Delivery
	for _, d := range k.all {
		if d.ID > f.After.ID && len(out) < f.Limit {
			out = append(out, d)
		}
	}
	return out, k.err
}

func (k *kept) History(ctx context.Context, f api.DeliveryFilter) ([]api.Delivery, error) {
	return k.List(ctx, f)
}

func (k *kept) Get(_ context.Context, id uint64) (api.Delivery, error) {
	for _, d := range k.all {
		if d.ID == id {
			d.Details = &api.Details{Attempts: []api.Attempt{{At: committed, Class: "rejected", Code: "http_400", Error: "no"}}, Rendered: true, Content: &api.Content{Headers: []api.Header{{Name: "A", Value: "b"}}}}
			d.SetBody([]byte("hunter2\xff"), false)
			return d, k.err
		}
	}
	return api.Delivery{}, api.ErrNoDelivery
}

func (k *kept) Amend(_ context.Context, a api.Amendment) (api.Amended, error) {
	k.did = append(k.did, a)
	return k.answer, k.err
}

func (k *kept) Replay(ctx context.Context, a api.Amendment) (api.Amended, error) {
	return k.Amend(ctx, a)
}

func (k *kept) Destinations(context.Context, int64) ([]api.Destination, error) {
	return []api.Destination{{ID: "d1", Trigger: 1, List: "webhooks", Type: "webhook", Target: "https://h", State: api.DestinationFailing, RetryAt: &committed}}, k.err
}

func (k *kept) RetryNow(ctx context.Context, id string) (api.Destination, error) {
	if id != "d1" {
		return api.Destination{}, api.ErrNoDestination
	}
	all, err := k.Destinations(ctx, 0)
	return all[0], err
}

func TestListDeliveries(t *testing.T) {
	s := newServer(t)
	var pages []string
	for next := "/api/deliveries?limit=2&status=dead&trigger=1&destination=d1&source=shop&table=public.x&key=&class=rejected&code=http_400"; next != ""; {
		res := s.do("GET", next, "")
		s.want(http.StatusOK, res)
		var list []struct{ ID string }
		if err := json.Unmarshal(res.body, &list); err != nil {
			t.Fatal(err)
		}
		for _, d := range list {
			pages = append(pages, d.ID)
		}
		pages = append(pages, "|")
		next, _, _ = strings.Cut(strings.TrimPrefix(res.header.Get("Link"), "<"), ">")
	}
	if got, want := strings.Join(pages, " "), fmt.Sprintf("%d %d | %d %d | %d |", 1<<62, 1<<62+1, 1<<62+2, 1<<62+3, 1<<62+4); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	f := s.kept.asked[1]
	if f.Status != "dead" || f.Trigger != 1 || f.Destination != "d1" || f.Source != "shop" || f.Table != "public.x" || f.Key == nil || *f.Key != "" || f.Class != "rejected" || f.Code != "http_400" ||
		f.After.ID != 1<<62+1 || !f.After.At.Equal(committed) || f.Limit != 3 {
		t.Errorf("asked for %+v", f)
	}
	s.want(http.StatusOK, s.do("GET", "/api/deliveries", ""))
	if f := s.kept.asked[len(s.kept.asked)-1]; f.Key != nil || f.Limit != 101 {
		t.Errorf("asked for %+v", f)
	}
	for _, bad := range []string{"status=live", "status=", "trigger=x", "trigger=0", "limit=0", "limit=1001", "cursor=", "cursor=YWZ0ZXI6MQ", "cursor=cGxhY2U6MDowOg", "from=2026-01-02T00:00:00Z", "keys=1", "key=1&key=2"} {
		s.want(http.StatusBadRequest, s.do("GET", "/api/deliveries?"+bad, ""))
	}
	s.want(http.StatusOK, s.do("GET", collection+"/1/history?from=2026-01-02T00:00:00Z&to=2026-01-03T00:00:00%2B01:00&key=7", ""))
	if f := s.kept.asked[len(s.kept.asked)-1]; f.Trigger != 1 || f.From.Hour() != 0 || f.To.UTC().Hour() != 23 || *f.Key != "7" {
		t.Errorf("asked for %+v", f)
	}
	for _, bad := range []string{"from=now", "to=1", "status=dead"} {
		s.want(http.StatusBadRequest, s.do("GET", collection+"/1/history?"+bad, ""))
	}
	s.want(http.StatusNotFound, s.do("GET", collection+"/x/history", ""))
}

func TestGetDelivery(t *testing.T) {
	s := newServer(t, api.NewToken("ci", "s3cret-admin", []string{api.ScopeAdmin}), api.NewToken("viewer", "s3cret-read", nil))
	at := fmt.Sprintf("/api/deliveries/%d", uint64(1<<62))
	s.token = "s3cret-admin"
	got := s.want(http.StatusOK, s.do("GET", at, ""))
	if got["id"] != fmt.Sprint(uint64(1<<62)) || got["body"] != "aHVudGVyMv8=" || got["body_encoding"] != "base64" || len(got["attempts"].([]any)) != 1 || len(got["headers"].([]any)) != 1 {
		t.Errorf("got %v", got)
	}
	for _, id := range []string{"1", "0", "x", "01", "-1", "9223372036854775808", "1%2f2"} {
		s.want(http.StatusNotFound, s.do("GET", "/api/deliveries/"+id, ""))
	}
	s.token = "s3cret-read"
	got = s.want(http.StatusOK, s.do("GET", at, ""))
	if got["body"] != nil || got["headers"] != nil || got["attempts"] == nil {
		t.Errorf("who may only read sees %v", got)
	}
	for _, path := range []string{at + "/retry", at + "/skip", "/api/deliveries/retry", "/api/deliveries/skip", "/api/deliveries/erase", "/api/destinations/d1/retry-now", collection + "/1/replay"} {
		s.want(http.StatusForbidden, s.do("POST", path, `{"filter":{"status":"dead"}}`))
	}
	s.want(http.StatusForbidden, s.do("DELETE", at, ""))
	if len(s.kept.did) > 0 {
		t.Errorf("did %+v", s.kept.did)
	}
}

func TestAmendDeliveries(t *testing.T) {
	s := newServer(t)
	at := fmt.Sprintf("/api/deliveries/%d", uint64(1<<62))
	s.kept.answer = api.Amended{Deliveries: 1}
	last := func() api.Amendment { return s.kept.did[len(s.kept.did)-1] }
	s.want(http.StatusOK, s.do("POST", at+"/retry", ""))
	if a := last(); a.Verb != api.VerbRetry || a.One != 1<<62 || a.Current {
		t.Errorf("did %+v", a)
	}
	s.want(http.StatusOK, s.do("POST", at+"/retry/", `{"render":"current"}`))
	if a := last(); !a.Current {
		t.Errorf("did %+v", a)
	}
	s.want(http.StatusOK, s.do("POST", at+"/skip", ""))
	s.want(http.StatusNoContent, s.do("DELETE", at, ""))
	if a := last(); a.Verb != api.VerbErase || a.One != 1<<62 {
		t.Errorf("did %+v", a)
	}

	next := committed.Add(time.Hour)
	s.kept.answer = api.Amended{Deliveries: 7, Left: api.Left{Destination: 2}, More: &api.Place{ID: 9, At: committed}, From: next}
	got := s.want(http.StatusOK, s.do("POST", "/api/deliveries/retry", `{"filter":{"status":"dead","trigger":1,"destination":"d1","source":"s","table":"a.b","key":"7","class":"c","code":"d","ids":["4611686018427387904"],
		"from":"2026-01-02T03:04:05Z","to":"2026-01-02T04:04:05Z"},"max_rate":0.5,"limit":10,"render":"original"}`))
	if got["complete"] != false || got["deliveries"] != 7.0 || fmt.Sprint(got["left"]) != "map[destination_deleted:2]" {
		t.Errorf("got %v", got)
	}
	a := last()
	if f := a.Filter; f.Status != "dead" || f.Trigger != 1 || f.Destination != "d1" || f.Source != "s" || f.Table != "a.b" || *f.Key != "7" || f.Class != "c" || f.Code != "d" || !slices.Equal(f.IDs, []uint64{1 << 62}) ||
		!f.To.Equal(f.From.Add(time.Hour)) || a.MaxRate != 0.5 || f.Limit != 10 || a.One != 0 {
		t.Errorf("did %+v", a)
	}
	s.kept.answer = api.Amended{}
	got = s.want(http.StatusOK, s.do("POST", "/api/deliveries/erase", fmt.Sprintf(`{"filter":{"key":""},"cursor":%q}`, got["cursor"])))
	if a := last(); a.Verb != api.VerbErase || *a.Filter.Key != "" || a.Filter.After.ID != 9 || !a.Filter.After.At.Equal(committed) || !a.From.Equal(next) || got["complete"] != true {
		t.Errorf("did %+v and answered %v", a, got)
	}
	s.want(http.StatusOK, s.do("POST", collection+"/3/replay", `{"from":"2026-01-02T03:04:05Z","max_rate":10,"destination":"d1"}`))
	if a := last(); a.Filter.Trigger != 3 || a.Filter.From.IsZero() || !a.Filter.To.IsZero() || a.MaxRate != 10 || a.Filter.Destination != "d1" {
		t.Errorf("did %+v", a)
	}

	n := len(s.kept.did)
	for path, bodies := range map[string]map[string]string{
		"/api/deliveries/retry": {
			``: "unsupported_media_type", `{}`: "/filter required", `{"filter":{}}`: "/filter required", `{"filter":null}`: "/filter required", `{"filter":[]}`: "/filter invalid_type",
			`{"filter":{"status":"live","triger":1,"key":7,"ids":[1],"trigger":0,"from":"x"},"max_rate":0,"limit":1.5,"render":"new","x":1,"cursor":"x"}`: "/cursor invalid;/filter/from invalid;/filter/ids invalid_type;" +
				"/filter/key invalid_type;/filter/status invalid;/filter/triger unknown_field;/filter/trigger out_of_range;/limit out_of_range;/max_rate out_of_range;/render invalid;/x unknown_field",
			`{"filter":{"ids":["x","-1"]}}`: "/filter/ids/0 invalid;/filter/ids/1 invalid", `{"filter":{"ids":[]}}`: "/filter/ids out_of_range", `{"filter":{"destination":""}}`: "/filter/destination invalid",
			`{"filter":{"status":"dead"},"max_rate":1e400}`: "/max_rate out_of_range", `[]`: " invalid_type", `{"filter":{"status":"dead"},"filter":{}}`: "/filter duplicate_key", `{"filter"`: "/filter malformed_json",
		},
		"/api/deliveries/skip": {`{"filter":{"status":"dead"},"max_rate":1}`: "/max_rate unknown_field"},
		at + "/retry":          {`{"max_rate":1}`: "/max_rate unknown_field", `{"render":1}`: "/render invalid_type"},
		collection + "/3/replay": {
			`{}`: "/from required", `{"from":"2026-01-02T03:04:05Z","to":"2026-01-02T03:04:05Z"}`: "/to out_of_range", `{"from":1,"trigger":3}`: "/from invalid;/trigger unknown_field",
		},
	} {
		for body, want := range bodies {
			res := s.do("POST", path, body)
			if got := res.problems(t); got != want || res.status < 400 || res.status >= 500 {
				t.Errorf("%s %s: got %d %s, want %s", path, body, res.status, got, want)
			}
		}
	}
	if len(s.kept.did) != n {
		t.Errorf("did %+v", s.kept.did[n:])
	}
	s.kept.err = &api.RefusedError{Code: "not_kept", Detail: "it begins later", Earliest: committed}
	got = s.want(http.StatusConflict, s.do("POST", collection+"/3/replay", `{"from":"2026-01-02T03:04:05Z"}`))
	if got["code"] != "not_kept" || got["earliest"] != committed.Format(time.RFC3339Nano) {
		t.Errorf("got %v", got)
	}
}

func TestDestinations(t *testing.T) {
	s := newServer(t)
	for _, path := range []string{"/api/destinations", "/api/destinations/?trigger=1"} {
		if res := s.do("GET", path, ""); res.status != http.StatusOK || !strings.Contains(string(res.body), `"state":"failing"`) {
			t.Errorf("%s: %d %s", path, res.status, res.body)
		}
	}
	s.want(http.StatusBadRequest, s.do("GET", "/api/destinations?trigger=x", ""))
	s.want(http.StatusOK, s.do("POST", "/api/destinations/d1/retry-now", ""))
	s.want(http.StatusNotFound, s.do("POST", "/api/destinations/d2/retry-now", ""))
	s.kept.err = &api.UnavailableError{Code: "store_unavailable"}
	s.want(http.StatusServiceUnavailable, s.do("GET", "/api/destinations", ""))
}
