package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/waltrigger/waltrigger/pkg/api"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// The examples of the page that describes the API, with the commas it lacks.
var examples = []string{
	`{"config_signals":[{"signal":"post_save"},{"signal":"post_delete"}],
	"content_types":[{"app_label":"myapp","model_name":"Customer"}],
	"webhooks":[{"url":"https://my-webhook.com","http_method":"POST","headers":{"Authorization":"Bearer {{ myapp.utils.get_token }}"},"timeout_secs":10.0}],
	"active":true}`,
	`{"config_signals":[{"signal":"post_save"}],
	"content_types":[{"app_label":"myapp","model_name":"Product"},{"app_label":"myapp","model_name":"Sale"}],
	"webhooks":[{"url":"https://my-webhook.com","http_method":"POST","headers":{"Authorization":"Bearer {{ myapp.utils.get_token }}"},"timeout_secs":2.25},
		{"url":"https://my-other-webhook.com","http_method":"POST","headers":{"Authorization":"Bearer {{ myapp.utils.get_token }}"}}],
	"msg_broker_queues":[{"name":"my-msg-broker-config","parameters":{"product_id":"{{ myapp.utils.get_product_id }}"},"timeout_secs":5.75},
		{"name":"my-other-msg-broker-config","parameters":{"sale_id":"{{ myapp.utils.get_sale_id }}"}}],
	"active":true}`,
	`{"config_signals":[{"signal":"post_save"}],
	"content_types":[{"app_label":"myapp","model_name":"Sale"}],
	"webhooks":[{"url":"https://my-webhook.com","http_method":"POST","headers":{"Authorization":"Bearer {{ myapp.utils.get_token }}"},"timeout_secs":12.25}],
	"active":true,
	"payload":{"action":"new_sale","customer_name":"{{ instance.customer.name }}","product_name":"{{ instance.product.name }}"}}`,
}

const collection = "/api/action-triggers"

// contains fails unless everything in want is in got, at the same place.
func contains(t *testing.T, got, want any, at string) {
	t.Helper()
	switch w := want.(type) {
	case map[string]any:
		g, _ := got.(map[string]any)
		for k, v := range w {
			contains(t, g[k], v, at+"/"+k)
		}
	case []any:
		g, _ := got.([]any)
		if len(g) != len(w) {
			t.Errorf("%s: got %v, want %v", at, got, want)
			return
		}
		for i, v := range w {
			contains(t, g[i], v, fmt.Sprintf("%s/%d", at, i))
		}
	default:
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v, want %v", at, got, want)
		}
	}
}

func TestExamplesAreAcceptedAndEchoed(t *testing.T) {
	s := newServer(t)
	for i, body := range examples {
		path := collection
		if i%2 == 1 {
			path += "/"
		}
		res := s.do("POST", path, body)
		got := s.want(http.StatusCreated, res)
		var sent map[string]any
		if err := json.Unmarshal([]byte(body), &sent); err != nil {
			t.Fatal(err)
		}
		contains(t, got, sent, "")
		location := res.header.Get("Location")
		if location != fmt.Sprintf("%s/%v", collection, got["id"]) || res.header.Get("ETag") == "" {
			t.Errorf("Location %q, ETag %q", location, res.header.Get("ETag"))
		}
		if got["status"].(map[string]any)["state"] != "active" || got["created_at"] == "" || got["webhooks"].([]any)[0].(map[string]any)["id"] == "" {
			t.Errorf("got %v", got)
		}
		for _, p := range []string{location, location + "/"} {
			read := s.do("GET", p, "")
			if s.want(http.StatusOK, read); string(read.body) != string(res.body) || read.header.Get("ETag") != res.header.Get("ETag") {
				t.Errorf("GET %s gives\n%s\nPOST gave\n%s", p, read.body, res.body)
			}
		}
		head := s.do("HEAD", location, "")
		if head.status != http.StatusOK || len(head.body) > 0 || head.header.Get("ETag") == "" {
			t.Errorf("HEAD: %d %q", head.status, head.body)
		}
	}
	all := s.do("GET", collection, "")
	var list []map[string]any
	if err := json.Unmarshal(all.body, &list); err != nil || len(list) != 3 || list[0]["id"].(float64) >= list[2]["id"].(float64) {
		t.Errorf("list: %v %s", err, all.body)
	}
}

func TestGetThenPutChangesNothing(t *testing.T) {
	s := newServer(t)
	for _, body := range examples {
		res := s.do("POST", collection, body)
		s.want(http.StatusCreated, res)
		for _, path := range []string{res.header.Get("Location"), res.header.Get("Location") + "/", collection, collection + "/"} {
			put := s.do("PUT", path, string(res.body), "If-Match: "+res.header.Get("ETag"))
			if s.want(http.StatusOK, put); put.header.Get("ETag") != res.header.Get("ETag") || string(put.body) != string(res.body) {
				t.Errorf("PUT %s: %s\n%s\nwas\n%s", path, put.header.Get("ETag"), put.body, res.body)
			}
		}
		put := s.do("PUT", res.header.Get("Location"), body) // without ids: they are matched by place
		if s.want(http.StatusOK, put); string(put.body) != string(res.body) {
			t.Errorf("PUT as posted gives\n%s\nwas\n%s", put.body, res.body)
		}
	}
}

func TestPutReplacesWhole(t *testing.T) {
	s := newServer(t)
	res := s.do("POST", collection, examples[2])
	was := s.want(http.StatusCreated, res)
	got := s.want(http.StatusOK, s.do("PUT", collection, fmt.Sprintf(`{"id":%v,"config_signals":[{"signal":"pre_save"}],"content_types":[{"app_label":"myapp","model":"sale"}]}`, was["id"])))
	if got["payload"] != nil || len(got["webhooks"].([]any)) != 0 || got["active"] != true {
		t.Errorf("got %v", got)
	}
	if ws := fmt.Sprint(got["warnings"]); !strings.Contains(ws, "pre_save fires after the commit") || !strings.Contains(ws, "no destination") {
		t.Errorf("warnings %s", ws)
	}
}

func TestPatch(t *testing.T) {
	s := newServer(t)
	res := s.do("POST", collection, examples[2])
	was := s.want(http.StatusCreated, res)
	at := res.header.Get("Location")
	got := s.want(http.StatusOK, s.do("PATCH", at, `{"active":false,"name":"n","payload":{"action":null,"extra":{"b":1,"a":2}}}`, "Content-Type: application/merge-patch+json"))
	if got["active"] != false || got["name"] != "n" || !reflect.DeepEqual(got["webhooks"], was["webhooks"]) {
		t.Errorf("got %v", got)
	}
	if got["status"].(map[string]any)["state"] != "inactive" {
		t.Errorf("status %v", got["status"])
	}
	read := string(s.do("GET", at, "").body)
	if want := `"payload":{"customer_name":"{{ instance.customer.name }}","product_name":"{{ instance.product.name }}","extra":{"b":1,"a":2}}`; !strings.Contains(read, want) {
		t.Errorf("%s lacks %s", read, want)
	}
	got = s.want(http.StatusOK, s.do("PATCH", at, `{"name":null,"message_broker_queues":[{"name":"my-msg-broker-config"}],"payload":null}`))
	if got["name"] != nil || got["payload"] != nil || len(got["msg_broker_queues"].([]any)) != 1 {
		t.Errorf("got %v", got)
	}
	for body, want := range map[string]string{
		`[]`:                        " invalid_type",
		`{"config_signals":null}`:   "/config_signals required",
		`{"id":99}`:                 "/id read_only",
		`{"active":1,"webhooks":0}`: "/active invalid_type;/webhooks invalid_type",
		`{"webhooks":[{"url":"https://x.com"},{"url":"x"}],"nane":1}`: "/nane unknown_field;/webhooks/1/url invalid",
	} {
		bad := s.do("PATCH", at, body)
		s.want(http.StatusUnprocessableEntity, bad)
		if p := bad.problems(t); p != want {
			t.Errorf("%s: got %s, want %s", body, p, want)
		}
	}
	s.want(http.StatusBadRequest, s.do("PATCH", at, `{"a":1,"a":2}`))
	s.want(http.StatusNotFound, s.do("PATCH", collection+"/999", `{}`))
}

func TestIfMatch(t *testing.T) {
	s := newServer(t)
	res := s.do("POST", collection, examples[0])
	s.want(http.StatusCreated, res)
	at, first := res.header.Get("Location"), res.header.Get("ETag")
	second := s.do("PATCH", at, `{"active":false}`, "If-Match: "+first).header.Get("ETag")
	if second == first {
		t.Fatal("a change keeps the ETag")
	}
	for _, stale := range []string{first, `"x"`, "W/" + second, `"r99"`, `"r-1"`, "r2"} {
		s.want(http.StatusPreconditionFailed, s.do("PUT", at, examples[0], "If-Match: "+stale))
		s.want(http.StatusPreconditionFailed, s.do("PATCH", at, `{}`, "If-Match: "+stale))
		s.want(http.StatusPreconditionFailed, s.do("DELETE", at, "", "If-Match: "+stale))
	}
	s.want(http.StatusBadRequest, s.do("DELETE", at, "", `If-Match: "r1", "r2"`))
	s.want(http.StatusOK, s.do("PATCH", at, `{"active":true}`, "If-Match: *"))
	s.want(http.StatusNotFound, s.do("DELETE", collection+"/99", "", "If-Match: "+second))
	s.want(http.StatusNoContent, s.do("DELETE", at, "", `If-Match: "r3"`))
}

func TestPatchBeginsAnewWhenOvertaken(t *testing.T) {
	s := newServer(t)
	at := s.do("POST", collection, examples[0]).header.Get("Location")
	s.service.race = func() { s.want(http.StatusOK, s.do("PATCH", at, `{"description":"other"}`)) }
	got := s.want(http.StatusOK, s.do("PATCH", at, `{"active":false}`))
	if got["description"] != "other" || got["active"] != false {
		t.Errorf("one of two changes is lost: %v", got)
	}
}

func TestByName(t *testing.T) {
	s := newServer(t)
	for _, name := range []string{"sales", "a%20b", "a%2Fb", "%C3%A9", "100%25"} {
		at := collection + "/by-name/" + name
		s.want(http.StatusNotFound, s.do("GET", at, ""))
		created := s.do("PUT", at, examples[0])
		got := s.want(http.StatusCreated, created)
		again := s.do("PUT", at+"/", examples[0])
		if s.want(http.StatusOK, again); again.header.Get("ETag") != created.header.Get("ETag") {
			t.Errorf("%s: the second PUT changed the trigger", name)
		}
		if read := s.want(http.StatusOK, s.do("GET", at, "")); read["id"] != got["id"] {
			t.Errorf("%s: got %v", name, read)
		}
		s.want(http.StatusPreconditionFailed, s.do("PUT", at, examples[0], "If-None-Match: *"))
	}
	if got := s.want(http.StatusOK, s.do("GET", collection+"/by-name/a%2Fb", "")); got["name"] != "a/b" {
		t.Errorf("name %v", got["name"])
	}
	bad := s.do("PUT", collection+"/by-name/sales", `{"name":"other"`+strings.TrimPrefix(examples[0], "{")[:0]+`,"config_signals":[{"signal":"post_save"}],"content_types":[{"app_label":"myapp","model":"Sale"}]}`)
	if s.want(http.StatusUnprocessableEntity, bad); bad.problems(t) != "/name conflict" {
		t.Error(bad.problems(t))
	}
	s.want(http.StatusUnprocessableEntity, s.do("PUT", collection+"/by-name/%01", examples[0]))
	s.want(http.StatusUnprocessableEntity, s.do("PUT", collection+"/by-name/"+strings.Repeat("x", 300), examples[0]))
	s.want(http.StatusPreconditionFailed, s.do("PUT", collection+"/by-name/new", examples[0], `If-Match: "r1"`))
	s.service.race = func() { s.want(http.StatusCreated, s.do("PUT", collection+"/by-name/raced", examples[0])) }
	s.want(http.StatusOK, s.do("PUT", collection+"/by-name/raced", examples[1]))
}

func TestDelete(t *testing.T) {
	s := newServer(t)
	id := func() string {
		return strings.TrimPrefix(s.do("POST", collection, examples[0]).header.Get("Location"), collection+"/")
	}
	a, b, c, d := id(), id(), id(), id()
	s.want(http.StatusNoContent, s.do("DELETE", collection+"?id="+a, ""))
	s.want(http.StatusNoContent, s.do("DELETE", collection+"/", `{"id":`+b+`}`))
	s.want(http.StatusNoContent, s.do("DELETE", collection+"/"+c+"/", ""))
	s.want(http.StatusNoContent, s.do("DELETE", collection+"?id="+d, `{"id":`+d+`}`))
	for _, gone := range []string{a, b, c, d} {
		s.want(http.StatusNotFound, s.do("GET", collection+"/"+gone, ""))
		s.want(http.StatusNotFound, s.do("DELETE", collection+"/"+gone, ""))
	}
	kept := id()
	for _, c := range []struct {
		path, body string
		status     int
	}{
		{"", "", 400},
		{"", "{}", 400},
		{"?id=", "", 400},
		{"?id=0", "", 400},
		{"?id=1&id=2", "", 400},
		{"?id=" + kept, `{"id":999}`, 400},
		{"?all=true", "", 400},
		{"", `{"id":"` + kept + `"}`, 422},
		{"", `{"id":` + kept + `,"ID":1}`, 400},
		{"", `[` + kept + `]`, 422},
		{"", `{"id":` + kept, 400},
		{"/*", "", 404},
	} {
		if got := s.do("DELETE", collection+c.path, c.body).status; got != c.status {
			t.Errorf("DELETE %s %s: got %d, want %d", c.path, c.body, got, c.status)
		}
	}
	s.want(http.StatusOK, s.do("GET", collection+"/"+kept, ""))
}

func TestIDsAreWrittenOneWay(t *testing.T) {
	s := newServer(t)
	s.want(http.StatusCreated, s.do("POST", collection, examples[0]))
	for _, id := range []string{"01", "+1", "-1", "0", "1.0", "1e0", "%31x", "1%2f2", "1%00", "..%2f1", "9223372036854775808", "1%20OR%201=1", "%F0%9F%98%80"} {
		s.want(http.StatusNotFound, s.do("GET", collection+"/"+id, ""))
		s.want(http.StatusNotFound, s.do("DELETE", collection+"/"+id, ""))
	}
	s.want(http.StatusOK, s.do("GET", collection+"/1", ""))
}

func TestConflicts(t *testing.T) {
	s := newServer(t)
	named := func(name, webhookID string) string {
		return `{"name":"` + name + `","config_signals":[{"signal":"post_save"}],"content_types":[{"app_label":"myapp","model":"Sale"}],"webhooks":[{"id":"` + webhookID + `","url":"https://example.com"}]}`
	}
	s.want(http.StatusCreated, s.do("POST", collection, named("a", "x")))
	res := s.do("POST", collection, named("a", "y"))
	if s.want(http.StatusConflict, res); res.problems(t) != "/name conflict" {
		t.Error(res.problems(t))
	}
	res = s.do("POST", collection, named("b", "x"))
	if s.want(http.StatusConflict, res); res.problems(t) != "/webhooks/0/id conflict" {
		t.Error(res.problems(t))
	}
	s.want(http.StatusUnprocessableEntity, s.do("POST", collection, named("b", "d99")))
}

func TestActivationOutcomes(t *testing.T) {
	s := newServer(t)
	s.service.blocker = "transaction 7 of pid 8, open for 9 s"
	res := s.do("POST", collection, examples[0])
	got := s.want(http.StatusAccepted, res)
	if st := got["status"].(map[string]any); st["state"] != "activating" || st["blocker"] != s.service.blocker || res.header.Get("Location") == "" {
		t.Errorf("status %v", st)
	}
	s.want(http.StatusAccepted, s.do("PATCH", res.header.Get("Location"), `{"name":"x"}`))
	s.service.blocker = ""
	s.service.down = true
	down := s.do("POST", collection, examples[0])
	if got := s.want(http.StatusServiceUnavailable, down); got["code"] != "source_unavailable" || down.header.Get("Retry-After") != "5" {
		t.Errorf("%v, Retry-After %q", got, down.header.Get("Retry-After"))
	}
	if strings.Contains(string(down.body), "db-internal") {
		t.Error("the answer tells about the inside")
	}
	got = s.want(http.StatusCreated, s.do("POST", collection+"?wait=false", examples[0]))
	if st := got["status"].(map[string]any); st["state"] != "pending" {
		t.Errorf("status %v", st)
	}
	s.want(http.StatusBadRequest, s.do("POST", collection+"?wait=maybe", examples[0]))
	s.want(http.StatusBadRequest, s.do("POST", collection+"?dry_run=true", examples[0]))
	s.service.down = false
	got = s.want(http.StatusCreated, s.do("POST", collection, `{"config_signals":[{"signal":"post_save"}],"content_types":[{"app_label":"future","model":"Thing","allow_missing":true}],"actions":[{"name":"fn"}]}`))
	if st := got["status"].(map[string]any); st["state"] != "pending" || !strings.Contains(fmt.Sprint(got["warnings"]), "no such table yet") {
		t.Errorf("got %v", got)
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	s := newServer(t)
	secret := `{"config_signals":[{"signal":"post_save"}],"content_types":[{"app_label":"myapp","model":"Sale"}],
		"webhooks":[{"url":"https://a.example.com/x","headers":{"Authorization":"Bearer hunter2","X-Other":"plain","Cookie":"{{ a.b }}","X-Api-Key":"hunter2 {{ a.b }}"}}],
		"msg_broker_queues":[{"name":"open-broker","conn_details":{"sasl_password":"hunter2","bootstrap_servers":"k:1"},"parameters":{"topic":"t"}}]}`
	res := s.do("POST", collection, secret)
	s.want(http.StatusCreated, res)
	at := res.header.Get("Location")
	stored := func() string {
		rec, err := s.service.store.Trigger(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		return string(rec.Trigger.JSON())
	}
	for _, path := range []string{at, collection} {
		body := string(s.do("GET", path, "").body)
		if strings.Contains(body, "hunter2") || strings.Count(body, "[redacted]") != 3 || !strings.Contains(body, "plain") || !strings.Contains(body, "{{ a.b }}") {
			t.Errorf("%s shows %s", path, body)
		}
	}
	before := stored()
	if put := s.do("PUT", at, string(res.body)); put.status != http.StatusOK || put.header.Get("ETag") != res.header.Get("ETag") || stored() != before {
		t.Errorf("sent back unchanged: %d %s\n%s", put.status, put.header.Get("ETag"), stored())
	}
	moved := strings.Replace(string(res.body), "https://a.example.com/x", "https://a.example.com/y?z=1", 1)
	s.want(http.StatusOK, s.do("PUT", at, moved))
	if !strings.Contains(stored(), "Bearer hunter2") {
		t.Errorf("another path lost the secret: %s", stored())
	}
	for what, change := range map[string][2]string{
		"/webhooks/0/headers/Authorization secret_missing;/webhooks/0/headers/X-Api-Key secret_missing": {"https://a.example.com", "https://evil.example.com"},
		"/msg_broker_queues/0/conn_details/sasl_password secret_missing":                                {`"k:1"`, `"evil:1"`},
		"/webhooks/0/headers/X-Token secret_missing":                                                    {`"X-Other":"plain"`, `"X-Token":"[redacted]"`},
	} {
		bad := s.do("PUT", at, strings.Replace(string(res.body), change[0], change[1], 1))
		if s.want(http.StatusUnprocessableEntity, bad); bad.problems(t) != what {
			t.Errorf("got  %s\nwant %s", bad.problems(t), what)
		}
	}
	s.want(http.StatusUnprocessableEntity, s.do("POST", collection, strings.Replace(secret, "Bearer hunter2", "[redacted]", 1)))
	s.want(http.StatusOK, s.do("PUT", at, strings.Replace(string(res.body), "[redacted]", "Bearer new", 1)))
	if strings.Contains(stored(), "Bearer hunter2") || !strings.Contains(stored(), "Bearer new") {
		t.Errorf("a new secret is not stored: %s", stored())
	}
}

func TestList(t *testing.T) {
	s := newServer(t)
	for i := range 5 {
		s.want(http.StatusCreated, s.do("PUT", fmt.Sprintf("%s/by-name/t%d", collection, i), examples[i%3]))
	}
	s.service.broken = map[string]*trigger.Broken{"t2": {
		Source: "shop", Schema: "public", Table: "myapp_sale", Columns: []string{"note"}, Position: "0-7", Reason: "table public.myapp_sale has no column note any more",
	}}
	names := func(a answer) string {
		t.Helper()
		var list []struct{ Name string }
		if err := json.Unmarshal(a.body, &list); err != nil {
			t.Fatalf("%s: %v", a.body, err)
		}
		out := ""
		for _, l := range list {
			out += l.Name
		}
		return out
	}
	for query, want := range map[string]string{
		"":                            "t0t1t2t3t4",
		"/":                           "t0t1t2t3t4",
		"?name=t3":                    "t3",
		"?content_type=MYAPP.product": "t1t4",
		"?signal=post_delete":         "t0t3",
		"?active=false":               "",
		"?limit=1000":                 "t0t1t2t3t4",
		"?mode=live":                  "t0t1t2t3t4",
		"?mode=shadow":                "",
		"?state=active":               "t0t1t3t4",
		"?state=broken":               "t2",
		"?state=inactive":             "",
	} {
		if got := names(s.do("GET", collection+query, "")); got != want {
			t.Errorf("%q: got %s, want %s", query, got, want)
		}
	}
	var pages []string
	for next := collection + "?active=true&limit=2"; next != ""; {
		res := s.do("GET", next, "")
		pages = append(pages, names(res))
		link := res.header.Get("Link")
		next, _, _ = strings.Cut(strings.TrimPrefix(link, "<"), ">")
		if link != "" && !strings.HasSuffix(link, `>; rel="next"`) {
			t.Errorf("Link: %s", link)
		}
	}
	if got := strings.Join(pages, "|"); got != "t0t1|t2t3|t4" {
		t.Errorf("pages %s", got)
	}
	for _, bad := range []string{"limit=0", "limit=1001", "limit=x", "limit=1&limit=2", "cursor=", "cursor=x", "cursor=YWZ0ZXI6LTE", "active=1", "signal=x", "nane=x", "mode=", "mode=off", "state=x"} {
		s.want(http.StatusBadRequest, s.do("GET", collection+"?"+bad, ""))
	}
}

// TestBrokenIsShown says in the status what keeps a trigger from rendering.
func TestBrokenIsShown(t *testing.T) {
	s := newServer(t)
	s.want(http.StatusCreated, s.do("PUT", collection+"/by-name/t", examples[2]))
	s.service.broken = map[string]*trigger.Broken{"t": {
		Source: "shop", Schema: "public", Table: "myapp_sale", Columns: []string{"note"}, Position: "0-7", Reason: "table public.myapp_sale has no column note any more",
	}, "u": {Reason: "/payload of the trigger: does not parse"}}
	list := s.do("GET", collection, "")
	if want := `"status":{"state":"broken","broken":{"detail":"table public.myapp_sale has no column note any more","source":"shop","schema":"public","table":"myapp_sale","columns":["note"],"position":"0-7"},"activations":[{`; !strings.Contains(string(list.body), want) {
		t.Errorf("got %s", list.body)
	}
	s.want(http.StatusCreated, s.do("PUT", collection+"/by-name/u", examples[2]))
	list = s.do("GET", collection+"?name=u", "")
	if want := `"status":{"state":"broken","broken":{"detail":"/payload of the trigger: does not parse"},`; !strings.Contains(string(list.body), want) {
		t.Errorf("got %s", list.body)
	}
}

func TestRoutesAndMethods(t *testing.T) {
	s := newServer(t)
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"PATCH", collection, 405},
		{"POST", collection + "/1", 405},
		{"DELETE", "/api/sources", 405},
		{"TRACE", collection, 405},
		{"BREW", collection, 405},
		{"GET", "/", 404},
		{"GET", "/api", 404},
		{"GET", "//api//action-triggers", 404},
		{"GET", "/api/action-triggers//", 404},
		{"GET", "/api/%2e%2e/action-triggers", 404},
		{"GET", "/metrics", 404},
		{"GET", "/api/sources/", 200},
		{"GET", "/api/brokers", 200},
		{"GET", "/api/dynamic-values", 200},
		{"GET", "/api/content-types?source=shop", 200},
		{"GET", "/api/content-types?source=none", 404},
		{"GET", "/api/content-types?source=broken", 500},
		{"GET", "/api/content-types?src=x", 400},
		{"GET", "/api/openapi.yaml", 200},
	} {
		res := s.do(c.method, c.path, "")
		if res.status != c.status {
			t.Errorf("%s %s: got %d %s, want %d", c.method, c.path, res.status, res.body, c.status)
		}
		if c.status == 405 && res.header.Get("Allow") == "" {
			t.Errorf("%s %s: no Allow", c.method, c.path)
		}
		if strings.Contains(string(res.body), "secret-user") {
			t.Errorf("%s %s tells about the inside: %s", c.method, c.path, res.body)
		}
	}
	if got := string(s.do("GET", "/api/dynamic-values", "").body); got != `[{"name":"myapp.utils.get_token"}]` {
		t.Error(got)
	}
}

var _ api.Triggers = (*service)(nil)
