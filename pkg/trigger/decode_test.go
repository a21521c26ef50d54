package trigger

import (
	"fmt"
	"strings"
	"testing"

	"github.com/waltrigger/waltrigger/pkg/signal"
)

const minimal = `{"config_signals":[{"signal":"post_save"}],"content_types":[{"app_label":"myapp","model_name":"Sale"}]`

// with gives a valid body with more fields.
func with(fields string) string { return minimal + "," + fields + "}" }

func TestDecodeKeepsWhatWasSent(t *testing.T) {
	body := `{
	"name": "sales <&>", "description": "two\nlines",
	"config_signals": [{"signal": "post_save"}, {"signal": "post_delete"}, {"signal": "post_save"}],
	"content_types": [{"app_label": "myapp", "model_name": "Sale", "source": "shop", "allow_missing": true, "allow_insert_only": true}],
	"webhooks": [{"id": "crm", "url": "https://example.com/a?b=c", "http_method": "PUT", "timeout_secs": 2.25,
		"headers": {"Z-First": "1", "Authorization": "Bearer {{ myapp.utils.get_token }}"}, "secret": ["whsec_a", "whsec_b"]},
		{"url": "https://example.com/", "secret": "whsec_c"}, {"url": "https://example.com/", "secret": ["whsec_d"]}],
	"message_broker_queues": [{"name": "kafka", "connection_details": {"b": "x", "a": 1}, "parameters": {"topic": "t", "n": 1.50, "on": true}}],
	"actions": [{"name": "fn"}],
	"active": false,
	"payload": {"z": "{{ instance.id }}", "a": [1.10, null, {"deep": "<b>"}]},
	"condition": "instance.quantity > 10", "ordering": "key", "ordering_key": "{{ instance.order_id }}",
	"payload_format": "cloudevents", "fields": ["status", "customer"], "mode": "shadow", "on_missing_value": "park", "on_missing_column": "empty",
	"status": {"state": "active"}, "warnings": ["x"], "created_at": null, "updated_at": "now"}`
	got, problems := Decode([]byte(body))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	want := `{"id":0,"name":"sales <&>","description":"two\nlines","active":false,` +
		`"config_signals":[{"signal":"post_save"},{"signal":"post_delete"}],` +
		`"content_types":[{"app_label":"myapp","model_name":"Sale","source":"shop","allow_missing":true,"allow_insert_only":true}],` +
		`"webhooks":[{"id":"crm","url":"https://example.com/a?b=c","http_method":"PUT","headers":{"Z-First":"1","Authorization":"Bearer {{ myapp.utils.get_token }}"},"secret":["whsec_a","whsec_b"],"timeout_secs":2.25},` +
		`{"url":"https://example.com/","http_method":"POST","secret":"whsec_c"},{"url":"https://example.com/","http_method":"POST","secret":["whsec_d"]}],` +
		`"msg_broker_queues":[{"name":"kafka","conn_details":{"b":"x","a":1},"parameters":{"topic":"t","n":1.50,"on":true}}],` +
		`"actions":[{"name":"fn"}],"payload":{"z":"{{ instance.id }}","a":[1.10,null,{"deep":"<b>"}]},` +
		`"payload_format":"cloudevents","condition":"instance.quantity > 10","fields":["status","customer"],"ordering":"key","ordering_key":"{{ instance.order_id }}",` +
		`"mode":"shadow","on_missing_value":"park","on_missing_column":"empty"}`
	if string(got.JSON()) != want {
		t.Errorf("got  %s\nwant %s", got.JSON(), want)
	}
	again, err := FromJSON(got.JSON())
	if err != nil || string(again.JSON()) != want {
		t.Errorf("read back: %v\n%s", err, again.JSON())
	}
	if s := got.Signals(); !s.Has(signal.PostSave) || !s.Has(signal.PostDelete) || s.Has(signal.PreSave) {
		t.Errorf("signals = %b", s)
	}
	if m := got.Queues[0].Parameters.Map(); m["n"] != 1.5 || m["topic"] != "t" || m["on"] != true {
		t.Errorf("parameters = %v", m)
	}
}

func TestDecodeDefaults(t *testing.T) {
	for _, payload := range []string{"", `,"payload":null`} {
		got, problems := Decode([]byte(minimal + payload + "}"))
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		if !got.Active || got.Webhooks == nil || got.Queues == nil || got.Actions == nil || got.Payload != nil {
			t.Errorf("got %+v", got)
		}
	}
	got, _ := Decode([]byte(with(`"webhooks":[{"url":"https://example.com"}]`)))
	if got.Webhooks[0].HTTPMethod != "POST" || got.Webhooks[0].Headers != nil {
		t.Errorf("got %+v", got.Webhooks[0])
	}
}

// TestDecodeSaysWhereFieldsBelong, if they are looked for in the trigger itself.
func TestDecodeSaysWhereFieldsBelong(t *testing.T) {
	for field, want := range map[string]string{
		`"allow_insert_only":true`: "is no field of this object: it belongs into an element of content_types",
		`"headers":{}`:             "is no field of this object: it belongs into an element of webhooks",
		`"webhook":[]`:             "is no field of this object; did you mean webhooks?",
	} {
		if _, problems := Decode([]byte(with(field))); len(problems) != 1 || problems[0].Code != CodeUnknownField || problems[0].Detail != want {
			t.Errorf("%s: %v", field, problems)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	hook := func(fields string) string { return with(`"webhooks":[{"url":"https://example.com"` + fields + `}]`) }
	queue := func(fields string) string { return with(`"msg_broker_queues":[{"name":"k"` + fields + `}]`) }
	for _, c := range []struct {
		name, body string
		want       string // "pointer code" of each problem, in order
	}{
		{"empty", "", " malformed_json"},
		{"blank", " \n ", " malformed_json"},
		{"byte order mark", "\xef\xbb\xbf" + minimal + "}", " malformed_json"},
		{"UTF-16 with mark", "\xff\xfe{\x00}\x00", " malformed_json"},
		{"UTF-16 without mark", "{\x00}\x00", " malformed_json"},
		{"garbage", "hello", " malformed_json"},
		{"trailing garbage", minimal + "} x", " malformed_json"},
		{"two values", minimal + "}{}", " malformed_json"},
		{"comment", minimal + "/* x */}", " malformed_json"},
		{"trailing comma", minimal + ",}", " malformed_json"},
		{"single quotes", "{'active':true}", " malformed_json"},
		{"cut off", minimal, " malformed_json"},
		{"cut off in a string", `{"name":"x`, "/name malformed_json"},
		{"NaN", with(`"payload":NaN`), "/payload malformed_json"},
		{"Infinity", with(`"payload":[1,-Infinity]`), "/payload/1 malformed_json"},
		{"leading zero", with(`"payload":01`), "/payload malformed_json"},
		{"no fraction", with(`"payload":1.`), "/payload malformed_json"},
		{"no exponent", with(`"payload":1e`), "/payload malformed_json"},
		{"plus", with(`"payload":+1`), "/payload malformed_json"},
		{"raw newline", with("\"name\":\"a\nb\""), "/name malformed_json"},
		{"bad escape", with(`"name":"\x41"`), "/name malformed_json"},
		{"bad unicode escape", with(`"name":"\u12g4"`), "/name malformed_json"},
		{"lone surrogate", with(`"name":"\ud800x"`), "/name malformed_json"},
		{"two high surrogates", with(`"name":"\ud800\ud800"`), "/name malformed_json"},
		{"no UTF-8", with("\"name\":\"\xff\""), "/name malformed_json"},
		{"duplicate key", with(`"active":true,"active":false`), "/active duplicate_key"},
		{"duplicate key by case", with(`"Active":true,"active":false`), "/Active unknown_field;/active duplicate_key"},
		{"duplicate id by case", with(`"id":1,"ID":2`), "/ID duplicate_key;/ID unknown_field"},
		{"duplicate key in payload", with(`"payload":{"a":{"b":1,"b":2}}`), "/payload/a/b duplicate_key"},
		{"two duplicates", with(`"name":"a","name":"b","payload":{"c":1,"c":1}`), "/name duplicate_key;/payload/c duplicate_key"},
		{"deep", with(`"payload":` + strings.Repeat("[", 32) + strings.Repeat("]", 32)), "/payload" + strings.Repeat("/0", 31) + " too_deep"},
		{"very deep", strings.Repeat(`{"a":`, 10000), strings.Repeat("/a", 32) + " too_deep"},
		{"huge", `"` + strings.Repeat("x", MaxBody) + `"`, " too_large"},
		{"many values", with(`"payload":[` + strings.Repeat("1,", 60000) + `1]`), "/payload/49991 too_large"},

		{"list", "[]", " invalid_type"},
		{"string", `"x"`, " invalid_type"},
		{"null", "null", " invalid_type"},
		{"empty object", "{}", "/config_signals required;/content_types required"},
		{"unknown field", with(`"webhook":[]`), "/webhook unknown_field"},
		{"field of a later version", with(`"modes":"shadow"`), "/modes unknown_field"},
		{"prototype", with(`"__proto__":{}`), "/__proto__ unknown_field"},
		{"pointer is escaped", with(`"a/b~c":1`), "/a~1b~0c unknown_field"},
		{"no signals", `{"config_signals":[],"content_types":[]}`, "/config_signals required;/content_types required"},
		{"signals null", `{"config_signals":null,"content_types":{}}`, "/config_signals null;/content_types invalid_type"},
		{"signal as string", `{"config_signals":["post_save"],"content_types":[{"app_label":"a","model":"b"}]}`, "/config_signals/0 invalid_type"},
		{"signal empty", `{"config_signals":[{}],"content_types":[{"app_label":"a","model":"b"}]}`, "/config_signals/0/signal required"},
		{
			"signal wrong", `{"config_signals":[{"signal":"m2m_changed"},{"signal":1}],"content_types":[{"app_label":"a","model":"b"}]}`,
			"/config_signals/0/signal invalid;/config_signals/1/signal invalid_type",
		},
		{"content type empty", `{"config_signals":[{"signal":"post_save"}],"content_types":[{}]}`, "/content_types/0/app_label required;/content_types/0/model_name required"},
		{
			"content type names", `{"config_signals":[{"signal":"post_save"}],"content_types":[{"app_label":"auth\"; DROP TABLE x","model_name":"a.b"},{"app_label":"","model":"` + strings.Repeat("x", 64) + `"},{"app_label":"pg_catalog","model":"pg_class"}]}`,
			"/content_types/0/app_label invalid;/content_types/0/model_name invalid;/content_types/1/app_label required;/content_types/1/model too_long;/content_types/2/app_label not_allowed",
		},
		{"both model names", `{"config_signals":[{"signal":"post_save"}],"content_types":[{"app_label":"a","model":"b","model_name":"b"}]}`, "/content_types/0/model conflict"},
		{"both queue names", with(`"msg_broker_queues":[],"message_broker_queues":[]`), "/message_broker_queues conflict"},
		{"both connection names", queue(`,"conn_details":{},"connection_details":{}`), "/msg_broker_queues/0/connection_details conflict"},
		{
			"wrong types", with(`"id":"1","name":1,"active":"true","webhooks":{},"actions":null,"ordering":"lane","condition":[]`),
			"/id invalid_type;/name invalid_type;/active invalid_type;/webhooks invalid_type;/actions null;/ordering invalid;/condition invalid_type",
		},
		{"active null", with(`"active":null`), "/active null"},
		{"active number", with(`"active":1`), "/active invalid_type"},
		{"id zero", with(`"id":0`), "/id invalid"},
		{"id fraction", with(`"id":1.5`), "/id invalid"},
		{"id huge", with(`"id":9223372036854775808`), "/id invalid"},
		{"name empty", with(`"name":""`), "/name required"},
		{"name blank around", with(`"name":" x"`), "/name invalid"},
		{"name control", with(`"name":"a\u0000b"`), "/name invalid"},
		{"name long", with(`"name":"` + strings.Repeat("é", 256) + `"`), "/name too_long"},
		{"hook without url", with(`"webhooks":[{}, 5, {"url":""}, {"url":7}]`), "/webhooks/0/url required;/webhooks/1 invalid_type;/webhooks/2/url required;/webhooks/3/url invalid_type"},
		{"hook url long", with(`"webhooks":[{"url":"https://example.com/` + strings.Repeat("x", 2048) + `"}]`), "/webhooks/0/url too_long"},
		{"method lower", hook(`,"http_method":"post"`), "/webhooks/0/http_method invalid"},
		{"method connect", hook(`,"http_method":"CONNECT"`), "/webhooks/0/http_method invalid"},
		{"method break", hook(`,"http_method":"POST\r\n"`), "/webhooks/0/http_method invalid"},
		{"method null", hook(`,"http_method":null`), "/webhooks/0/http_method null"},
		{"timeout string", hook(`,"timeout_secs":"5"`), "/webhooks/0/timeout_secs invalid_type"},
		{"timeout zero", hook(`,"timeout_secs":0`), "/webhooks/0/timeout_secs out_of_range"},
		{"timeout negative", hook(`,"timeout_secs":-1`), "/webhooks/0/timeout_secs out_of_range"},
		{"timeout infinite", hook(`,"timeout_secs":1e999`), "/webhooks/0/timeout_secs out_of_range"},
		{"headers list", hook(`,"headers":["a"]`), "/webhooks/0/headers invalid_type"},
		{"header values", hook(`,"headers":{"A":1,"B":null,"C":{}}`), "/webhooks/0/headers/A invalid_type;/webhooks/0/headers/B invalid_type;/webhooks/0/headers/C invalid_type"},
		{"header twice", hook(`,"headers":{"X-A":"1","x-a":"2"}`), "/webhooks/0/headers/x-a conflict"},
		{"header huge", hook(`,"headers":{"X-A":"` + strings.Repeat("x", 17000) + `"}`), "/webhooks/0/headers too_long"},
		{"queue without name", with(`"msg_broker_queues":[{}],"actions":[{"name":""}]`), "/msg_broker_queues/0/name required;/actions/0/name required"},
		{
			"queue values", queue(`,"parameters":{"a":null,"b":[],"c":{}},"conn_details":"x"`),
			"/msg_broker_queues/0/parameters/a invalid_type;/msg_broker_queues/0/parameters/b invalid_type;/msg_broker_queues/0/parameters/c invalid_type;/msg_broker_queues/0/conn_details invalid_type",
		},
		{
			"destination ids", with(`"webhooks":[{"id":"a","url":"u"},{"id":"a","url":"u"},{"id":"x y","url":"u"},{"id":1,"url":"u"}]`),
			"/webhooks/2/id invalid;/webhooks/3/id invalid_type;/webhooks/1/id conflict",
		},
		{"payload number", with(`"payload":{"a":[1e999]}`), "/payload/a/0 out_of_range"},
		{"ordering key without keys", with(`"ordering":"source","ordering_key":"{{ instance.id }}"`), "/ordering_key conflict"},
		{"words", with(`"mode":"off","payload_format":"xml","on_missing_value":"drop","on_missing_column":"fetch"`), "/mode invalid;/payload_format invalid;/on_missing_value invalid;/on_missing_column invalid"},
		{"words of another type", with(`"mode":1,"payload_format":[],"on_missing_value":{},"on_missing_column":true`), "/mode invalid_type;/payload_format invalid_type;/on_missing_value invalid_type;/on_missing_column invalid_type"},
		{"payload and a format without room for it", with(`"payload":{},"payload_format":"fields"`), "/payload_format conflict"},
		{"fields", with(`"fields":["",1,"` + strings.Repeat("x", 256) + `","a b"]`), "/fields/0 required;/fields/1 invalid_type;/fields/2 too_long"},
		{"fields as text", with(`"fields":"status"`), "/fields invalid_type"},
		{"secrets", hook(`,"secret":5`), "/webhooks/0/secret invalid_type"},
		{"secret empty", hook(`,"secret":""`), "/webhooks/0/secret required"},
		{"secrets empty", hook(`,"secret":[]`), "/webhooks/0/secret required"},
		{"secrets in secrets", hook(`,"secret":["a",["b"],""]`), "/webhooks/0/secret/1 invalid_type;/webhooks/0/secret/2 required"},
		{"many secrets", hook(`,"secret":[` + strings.Repeat(`"a",`, 10) + `"a"]`), "/webhooks/0/secret too_many"},
		{"long secret", hook(`,"secret":"` + strings.Repeat("a", 4097) + `"`), "/webhooks/0/secret too_long"},
		{"many hooks", with(`"webhooks":[` + strings.Repeat(`{"url":"u"},`, 100) + `{"url":"u"}]`), "/webhooks too_many"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, problems := Decode([]byte(c.body))
			var said []string
			for _, p := range problems {
				said = append(said, p.Pointer+" "+p.Code)
				if p.Detail == "" {
					t.Errorf("%s: no detail", p.Pointer)
				}
			}
			if s := strings.Join(said, ";"); s != c.want {
				t.Errorf("got  %s\nwant %s", s, c.want)
			}
			if (got == nil) != Malformed(problems) {
				t.Errorf("trigger %v although malformed = %v", got, Malformed(problems))
			}
		})
	}
}

func TestDecodeBoundsItsAnswer(t *testing.T) {
	var b strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&b, `"k%d":1,"k%d":2,`, i, i)
	}
	_, problems := Decode([]byte(with(b.String() + `"active":true`)))
	if len(problems) == 0 || len(problems) > maxProblems {
		t.Errorf("%d problems", len(problems))
	}
}

func TestDecodeSuggestsNames(t *testing.T) {
	_, problems := Decode([]byte(with(`"webhoks":[]`)))
	if len(problems) != 1 || !strings.Contains(problems[0].Detail, "did you mean webhooks?") {
		t.Errorf("got %v", problems)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(with(`"webhooks":[{"url":"u","headers":{"a":"\ud83d\ude00"}}],"payload":[1.5e3,"x"]`)))
	f.Fuzz(func(t *testing.T, body []byte) {
		got, problems := Decode(body)
		if len(problems) > 0 {
			return
		}
		again, err := FromJSON(got.JSON())
		if err != nil || string(again.JSON()) != string(got.JSON()) {
			t.Errorf("not the same read back: %v\n%s\n%s", err, got.JSON(), again.JSON())
		}
	})
}
