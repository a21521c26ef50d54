package payload

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/template"
)

// formatted renders e in a format, with a payload or "".
func formatted(t *testing.T, f Format, payload string, e *Event) (body, contentType string) {
	t.Helper()
	r, problems := Compile(json.RawMessage(payload), f, template.Options{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	b, contentType, err := r.Append([]byte("kept"), e)
	if err != nil {
		t.Fatal(err)
	}
	body, ok := strings.CutPrefix(string(b), "kept")
	if !ok || contentType != TextType && !json.Valid([]byte(body)) {
		t.Errorf("no JSON: %s", b)
	}
	return body, contentType
}

func TestFields(t *testing.T) {
	e := event(change.Insert, nil, row("é"))
	if got, contentType := formatted(t, Fields, "", e); got != `{"customer_id": 3, "status": "\u00e9", "price": "1.50", "note": null, "data": {"a": [1, null]}}` || contentType != JSONType {
		t.Errorf("without relations: %s as %s", got, contentType)
	}
	e.Related = shop{}
	e.Change.After[4] = change.Value{}
	if got, _ := formatted(t, Fields, "", e); got != `{"customer": 3, "status": "\u00e9", "price": "1.50", "data": {"a": [1, null]}}` {
		t.Errorf("got %s", got)
	}
	if got, _ := formatted(t, Fields, `{"a":"{{ instance.id|json }}"}`, e); got != `{"a":7}` {
		t.Errorf("a payload of its own: %s", got)
	}
	if got, _ := formatted(t, Fields, "", event(change.Truncate, nil, nil)); got != "{}" {
		t.Errorf("truncate: %s", got)
	}
}

// TestDjangoValues has what testdata/payload cannot have: what Django itself fails at.
func TestDjangoValues(t *testing.T) {
	for _, c := range []struct {
		v    change.Value
		want string
	}{
		{val(change.Float, "NaN"), `"NaN"`},
		{val(change.Float, "-Infinity"), `"-Infinity"`},
		{val(change.Timestamp, "infinity"), `"infinity"`},
		{val(change.Timestamp, "12024-02-29 13:05:06.123456+00"), `"12024-02-29 13:05:06.123456+00"`},
		{val(change.DateTime, "0044-03-15 12:00:00.5 BC"), `"0044-03-15 12:00:00.500 BC"`},
		{val(change.Time, "13:05:06.123456+02"), `"13:05:06.123+02"`},
		{val(change.Interval, "infinity"), `"infinity"`},
		{val(change.Interval, "P1.5D"), `"P1.5D"`},
		{val(change.Interval, "PT1.1234567S"), `"PT1.1234567S"`},
		{val(change.Interval, "P"), `"00:00:00"`},
		{val(change.Interval, "PD"), `"PD"`},
		{val(change.Interval, "P1"), `"P1"`},
		{val(change.Interval, "PT1H1"), `"PT1H1"`},
		{val(change.Interval, "P99999999999999999D"), `"P99999999999999999D"`},
		{val(change.Decimal, "0.0000000x"), `"0.0000000x"`},
		{val(change.Array, "[1"), `"[1"`},
		{val(change.Object, `{"a\\":"x,\"y:","b":[1,2]}`), `"{\"a\\\\\": \"x,\\\"y:\", \"b\": [1, 2]}"`},
	} {
		if got := string(appendDjango(nil, c.v)); got != c.want || !json.Valid([]byte(got)) {
			t.Errorf("%q: %s, want %s", c.v.Text, got, c.want)
		}
	}
}

func TestCloudEvents(t *testing.T) {
	e := event(change.Update, row("old"), row("new"))
	const head = `{"specversion":"1.0","id":"shop_0-16B3748_12_post_save","source":"/waltrigger/shop","type":"myapp.Sale.post_save",`
	const rest = `"time":"2024-03-09T20:00:00.5Z","datacontenttype":`
	envelope, _ := formatted(t, Envelope, "", e)
	for _, c := range []struct{ payload, data string }{
		{"", `"application/json","data":` + envelope + "}"},
		{`{"a":"{{ instance.status }}"}`, `"application/json","data":{"a":"new"}}`},
		{`"sale \"{{ instance.status }}\""`, `"text/plain; charset=utf-8","data":"sale \"new\""}`},
		{`"{{ instance.id }}"`, `"application/json","data":7}`},
	} {
		got, contentType := formatted(t, CloudEvents, c.payload, e)
		if want := head + `"subject":"7",` + rest + c.data; got != want || contentType != CloudEventType {
			t.Errorf("%s as %s\nwant %s", got, contentType, want)
		}
	}
	e.Change = event(change.Truncate, nil, nil).Change
	if got, _ := formatted(t, CloudEvents, `1`, e); got != head+rest+`"application/json","data":1}` {
		t.Errorf("without a row: %s", got)
	}
	r, _ := Compile(json.RawMessage(`["{% for a in instance.status|rjust:999 %}{% for b in instance.status|rjust:999 %}{% endfor %}{% endfor %}"]`), CloudEvents, template.Options{})
	if b, _, err := r.Append([]byte("kept"), event(change.Insert, nil, row("x"))); err == nil || string(b) != "kept" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestDebezium(t *testing.T) {
	const all = `{"id":7,"customer_id":3,"status":"new","price":"1.50","note":null,"data":{"a": [1, null]}}`
	old := strings.Replace(all, "new", "old", 1)
	const source = `{"version":"1.2.3","connector":"postgresql","name":"shop","ts_ms":1710014400500,"snapshot":"false","db":"shopdb","schema":"public","table":"myapp_sale","ts_us":1710014400500000,"txId":741,"lsn":99}`
	toast := row("new")
	toast[5] = change.Value{}
	key := make([]change.Value, 6)
	key[0] = val(change.Int, "7")
	for _, c := range []struct {
		e    *Event
		want string
	}{
		{event(change.Insert, nil, row("new")), `{"before":null,"after":` + all + `,"source":` + source + `,"op":"c"`},
		{event(change.Update, row("old"), row("new")), `{"before":` + old + `,"after":` + all + `,"source":` + source + `,"op":"u"`},
		{event(change.Update, nil, toast), `{"before":null,"after":` + strings.Replace(all, `{"a": [1, null]}`, `"__debezium_unavailable_value"`, 1) + `,"source":` + source + `,"op":"u"`},
		{event(change.Delete, key, nil), `{"before":{"id":7},"after":null,"source":` + source + `,"op":"d"`},
		{event(change.Truncate, nil, nil), `{"before":null,"after":null,"source":` + source + `,"op":"t"`},
		{event(change.Read, nil, row("new")), `{"before":null,"after":` + all + `,"source":` + strings.Replace(source, "false", "true", 1) + `,"op":"r"`},
	} {
		c.e.Origin = &Origin{Connector: "postgresql", Version: "1.2.3", Database: "shopdb"}
		c.e.Change.Tx.Seq = 99
		if got, _ := formatted(t, Debezium, "", c.e); got != c.want+`,"ts_ms":1710014400500,"transaction":null}` {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
	e := event(change.Insert, nil, row("new"))
	e.Origin = &Origin{Connector: "mysql"}
	for id, want := range map[string]string{
		"": "", "binlog.000003:1234": `,"file":"binlog.000003","pos":1234`, "bf8f7e60-e9a5-11f1-940a-02fc00000001:7": `,"gtid":"bf8f7e60-e9a5-11f1-940a-02fc00000001:7"`, "0-1-5": `,"gtid":"0-1-5"`,
	} {
		e.Change.Tx.ID = id
		if got, _ := formatted(t, Debezium, "", e); !strings.Contains(got, `"connector":"mysql","name":"shop","ts_ms":1710014400500,"snapshot":"false","db":"public","table":"myapp_sale","ts_us":1710014400500000`+want+"}") {
			t.Errorf("a schema that is the database: %s", got)
		}
	}
	e.Origin = nil
	formatted(t, Debezium, "", e)
}

func TestParseFormat(t *testing.T) {
	for name, want := range map[string]Format{"": Envelope, "envelope": Envelope, "fields": Fields, "cloudevents": CloudEvents, "debezium": Debezium} {
		if f, err := ParseFormat(name); f != want || err != nil || name != "" && f.String() != name {
			t.Errorf("%q: %v, %v", name, f, err)
		}
	}
	if _, err := ParseFormat("Fields"); err == nil {
		t.Error("Fields is a format")
	}
}
