package payload

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/signal"
	"github.com/waltrigger/waltrigger/pkg/template"
)

var sales = change.NewTable("public", "myapp_sale", []change.Column{
	{Name: "id", Type: "bigint", Identity: true}, {Name: "customer_id"}, {Name: "status"}, {Name: "price"}, {Name: "note"}, {Name: "data"},
}, []int{0}, true, change.IdentityDefault)

func val(k change.Kind, text string) change.Value { return change.Value{Kind: k, Text: text} }

// row gives a row of sales whose text columns hold s.
func row(s string) []change.Value {
	return []change.Value{
		val(change.Int, "7"), val(change.Int, "3"), val(change.String, s), val(change.Decimal, "1.50"),
		val(change.Null, ""), val(change.JSON, `{"a": [1, null]}`),
	}
}

func event(op change.Op, before, after []change.Value) *Event {
	kind := signal.PostSave
	if op == change.Delete {
		kind = signal.PostDelete
	} else if op == change.Truncate {
		kind = signal.Truncate
	}
	c := &change.Change{Op: op, Ordinal: 12, Table: sales, Before: before, After: after, Tx: &change.Tx{
		ID: "741", Position: "0-16B3748", Committed: time.Date(2024, 3, 9, 21, 0, 0, 500_000_000, time.FixedZone("", 3600)),
	}}
	if before != nil {
		c.Image = change.ImageFull
	}
	return &Event{Source: "shop", Kind: kind, ContentType: signal.ContentType{AppLabel: "myapp", ModelName: "Sale"}, Change: c}
}

func compile(t testing.TB, payload string) *Renderer {
	t.Helper()
	r, problems := Compile(json.RawMessage(payload), Envelope, template.Options{})
	if len(problems) > 0 {
		t.Fatalf("compile %s: %v", payload, problems)
	}
	return r
}

func render(t testing.TB, payload string, e *Event) (body, contentType string) {
	t.Helper()
	prefix := []byte("kept")
	b, contentType, err := compile(t, payload).Append(prefix, e)
	if err != nil {
		t.Fatalf("render %s: %v", payload, err)
	}
	if !bytes.HasPrefix(b, prefix) {
		t.Fatalf("what was there is gone: %q", b)
	}
	return string(b[len(prefix):]), contentType
}

func TestEnvelope(t *testing.T) {
	const head = `{"version":1,"id":"shop_0-16B3748_12_%[1]s","source":"shop","signal":"%[1]s","operation":"%[2]s",` +
		`"content_type":{"app_label":"myapp","model_name":"Sale"},"table":{"schema":"public","name":"myapp_sale"},` +
		`"committed_at":"2024-03-09T20:00:00.5Z","position":"0-16B3748","transaction":{"id":"741"},`
	const all = `{"id":7,"customer_id":3,"status":"new","price":"1.50","note":null,"data":{"a": [1, null]}}`
	keyOnly := make([]change.Value, 6)
	keyOnly[0] = val(change.Int, "7")
	toast := row("new")
	toast[5] = change.Value{}
	old := row("old")

	update := event(change.Update, nil, row("new"))
	withOld := event(change.Update, old, row("new"))
	moved := event(change.Update, keyOnly, row("new"))
	moved.Change.Image = change.ImageKeyOnly
	keyDelete := event(change.Delete, keyOnly, nil)
	keyDelete.Change.Image = change.ImageKeyOnly
	lost := event(change.Delete, make([]change.Value, 6), nil)
	keyless := event(change.Insert, nil, row("new"))
	keyless.Change.Table = change.NewTable("public", "myapp_sale", sales.Columns, nil, false, change.IdentityNothing)

	for _, c := range []struct {
		name string
		e    *Event
		rest string
	}{
		{"insert", event(change.Insert, nil, row("new")), `"key":{"id":7},"instance":` + all + `,"before":null,"changed":["id","customer_id","status","price","note","data"],"missing":[]}`},
		{"read", event(change.Read, nil, row("new")), `"key":{"id":7},"instance":` + all + `,"before":null,"changed":[],"missing":[]}`},
		{"update, old row unknown", update, `"key":{"id":7},"instance":` + all + `,"before":null,"changed":null,"missing":[]}`},
		{"update, old key known", moved, `"key":{"id":7},"instance":` + all + `,"before":{"id":7},"changed":null,"missing":[]}`},
		{"update, old row known", withOld, `"key":{"id":7},"instance":` + all + `,"before":` + strings.Replace(all, "new", "old", 1) + `,"changed":["status"],"missing":[]}`},
		{"update, unchanged TOAST", event(change.Update, old, toast), `"key":{"id":7},"instance":` + strings.Replace(all, `,"data":{"a": [1, null]}`, "", 1) +
			`,"before":` + strings.Replace(all, "new", "old", 1) + `,"changed":["status"],"missing":["data"]}`},
		{"delete", event(change.Delete, old, nil), `"key":{"id":7},"instance":` + strings.Replace(all, "new", "old", 1) + `,"before":` + strings.Replace(all, "new", "old", 1) + `,"changed":[],"missing":[]}`},
		{"delete, key only", keyDelete, `"key":{"id":7},"instance":{"id":7},"before":{"id":7},"changed":[],"missing":["customer_id","status","price","note","data"]}`},
		{"delete, other identity", lost, `"key":{},"instance":{},"before":{},"changed":[],"missing":["id","customer_id","status","price","note","data"]}`},
		{"truncate", event(change.Truncate, nil, nil), `"key":null,"instance":null,"before":null,"changed":[],"missing":[]}`},
		{"without key", keyless, `"key":null,"instance":` + all + `,"before":null,"changed":["id","customer_id","status","price","note","data"],"missing":[]}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, payload := range []string{"", "null", " null\n"} {
				got, contentType := render(t, payload, c.e)
				if want := fmt.Sprintf(head, c.e.Kind, c.e.Change.Op) + c.rest; got != want {
					t.Errorf("got  %s\nwant %s", got, want)
				}
				if contentType != JSONType || !json.Valid([]byte(got)) {
					t.Errorf("content type %s, valid JSON %v", contentType, json.Valid([]byte(got)))
				}
			}
		})
	}
}

func TestStructureIsKept(t *testing.T) {
	for _, c := range []struct{ payload, want string }{
		{`{"b":1,"a":[true,false,null,1.50,1e400,"x"],"":{}}`, `{"b":1,"a":[true,false,null,1.50,1e400,"x"],"":{}}`},
		{`{"s":"{{ instance.status }}"}`, `{"s":"new"}`},
		{`{"{{ instance.status }}":1,"k{{ instance.id }}":[]}`, `{"new":1,"k7":[]}`},
		{`{"{{ instance.id|json }}":"{{ instance.id|json }}"}`, `{"7":7}`},
		{`["{{ instance.id|json }}","{{ instance.id }}"," {{ instance.id|json }}"]`, `[7,"7"," 7"]`},
		{`["{{ instance.price|json }}","{{ instance.note|json }}","{{ instance.data|json }}","{{ instance.data.a.0 }}"]`, `["1.50",null,{"a": [1, null]},"1"]`},
		{`["{{ instance.gone|json }}","{{ instance.gone }}","{{ before|json }}","{{ changed|json }}"]`, `["","",null,null]`},
		{`["{{ after|json }}"]`, `[{"id":7,"customer_id":3,"status":"new","price":"1.50","note":null,"data":{"a": [1, null]}}]`},
		{`["{{ key|json }}","{{ key.id }}","{{ instance.pk }}","{{ instance.STATUS }}","{{ before_complete }}"]`, `[{"id":7},"7","7","new","none"]`},
		{`["{{ signal }}","{{ operation }}","{{ created|json }}","{{ source }}","{{ position }}"]`, `["post_save","update",false,"shop","0-16B3748"]`},
		{`["{{ content_type.app_label }}.{{ content_type.model_name }}","{{ table.schema }}.{{ table.name }}"]`, `["myapp.Sale","public.myapp_sale"]`},
		{`["{{ event.id }}","{{ event.committed_at }}","{{ transaction.id }}","{{ transaction.annotations|json }}"]`, `["shop_0-16B3748_12_post_save","2024-03-09T20:00:00.5Z","741",null]`},
		{`["{{ missing|json }}","{{ table|json }}","{{ event|json }}"]`, `[[],{"schema":"public","name":"myapp_sale"},{"id":"shop_0-16B3748_12_post_save","committed_at":"2024-03-09T20:00:00.5Z"}]`},
		{`["{# nothing #}","{% if changed %}x{% endif %}","{% if \"status\" in changed %}x{% else %}y{% endif %}"]`, `["","","y"]`},
		{`7`, `7`},
		{`[]`, `[]`},
		{`{}`, `{}`},
		{`true`, `true`},
	} {
		got, contentType := render(t, c.payload, event(change.Update, nil, row("new")))
		if got != c.want || contentType != JSONType {
			t.Errorf("%s\ngot  %s\nwant %s", c.payload, got, c.want)
		}
		if !json.Valid([]byte(got)) {
			t.Errorf("%s gives no JSON: %s", c.payload, got)
		}
	}
}

// hostile are values that a row may hold.
var hostile = []string{
	`","admin":true,"x":"`, `"`, `\`, `\"`, "'", "</script>", "a\nb\r\tc", "\x00\x01\x1f\x7f", "\u2028\u2029", "😀", "O'Brien & <b>",
	"{{ instance.id }}", "{% if %}", "\xff\xfe", "a\xc3", "\xed\xa0\x80", strings.Repeat(`"`, 1000), "", "null", "[1", "}", "#}",
}

func TestValuesCannotChangeTheStructure(t *testing.T) {
	for _, s := range hostile {
		e := event(change.Update, row("old"), row(s))
		want := strings.ToValidUTF8(strings.Join(strings.SplitAfter(s, ""), ""), "\uFFFD")
		body, _ := render(t, `{"a":"{{ instance.status }}","b":"{{ instance.status|json }}","c":["x{{ instance.status }}y"],"{{ instance.status }}k":1,"d":"{{ after|json }}"}`, e)
		var got map[string]any
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Errorf("%q: %v in %s", s, err, body)
			continue
		}
		if len(got) != 5 {
			t.Errorf("%q: %d members in %s", s, len(got), body)
		}
		for _, v := range []any{got["a"], got["b"], strings.TrimSuffix(strings.TrimPrefix(got["c"].([]any)[0].(string), "x"), "y"), got["d"].(map[string]any)["status"]} {
			if v, ok := v.(string); !ok || v != s && strings.ReplaceAll(v, "\uFFFD", "") != strings.ReplaceAll(want, "\uFFFD", "") {
				t.Errorf("%q became %q", s, v)
			}
		}
		if body, _ = render(t, "", e); !json.Valid([]byte(body)) {
			t.Errorf("%q: envelope is no JSON: %s", s, body)
		}
	}
}

func TestTextOrJSON(t *testing.T) {
	for _, c := range []struct{ payload, status, want, contentType string }{
		{`"{{ instance.status }}"`, "new", "new", TextType},
		{`"{{ instance.status }}"`, `{"a":1}`, `{"a":1}`, JSONType},
		{`"{{ instance.status }}"`, "12", "12", JSONType},
		{`"{{ instance.status }}"`, "", "", TextType},
		{`"{{ instance.status }}"`, "{}{}", "{}{}", TextType},
		{`"{{ instance.status }}"`, "a\xffb", "a\uFFFDb", TextType},
		{`"{{ instance.status }}"`, "\"a\xff\"", "\"a\uFFFD\"", JSONType},
		{`"{{ instance.status|json }}"`, "a\"b", `"a\"b"`, JSONType},
		{`"{{ instance.id|json }}"`, "", "7", JSONType},
		{`"{\"id\": {{ instance.id }}, \"s\": \"{{ instance.status }}\"}"`, "new", `{"id": 7, "s": "new"}`, JSONType},
		{`"{\"s\": \"{{ instance.status }}\"}"`, `a"b`, `{"s": "a"b"}`, TextType},
		{`"plain"`, "", "plain", TextType},
		{`""`, "", "", TextType},
	} {
		got, contentType := render(t, c.payload, event(change.Insert, nil, row(c.status)))
		if got != c.want || contentType != c.contentType {
			t.Errorf("%s with %q: %q as %s, want %q as %s", c.payload, c.status, got, contentType, c.want, c.contentType)
		}
	}
}

func TestProblems(t *testing.T) {
	raw := `{"a":"{% if %}","b/c":[1,"{{ instance|no }}"],"{{ x":1,"ok":"{{ instance.id }}"}`
	_, problems := Compile(json.RawMessage(raw), Envelope, template.Options{})
	var at []string
	for _, p := range problems {
		at = append(at, p.Pointer)
	}
	if got := strings.Join(at, " "); got != "/a /b~1c/1" {
		t.Errorf("problems at %s", got)
	}
	for _, raw := range []string{raw, `"{% if %}"`, `{"a":`, `[1,]`, `{"a" 1}`, "[", "x", `{"a":1,}`} {
		r, problems := Compile(json.RawMessage(raw), Envelope, template.Options{})
		if len(problems) == 0 {
			t.Errorf("%s: no problem", raw)
		}
		got, contentType, err := r.Append([]byte("kept"), event(change.Insert, nil, row("x")))
		if err == nil || string(got) != "kept" || contentType != "" {
			t.Errorf("%s renders %q as %q, %v", raw, got, contentType, err)
		}
	}
}

func TestPaths(t *testing.T) {
	r := compile(t, `{"a":"{{ instance.customer.name }}","{{ key.id }}":["{% if changed %}{% endif %}"]}`)
	var got []string
	for _, p := range r.Paths() {
		got = append(got, p.Pointer+"="+strings.Join(p.Names, "."))
	}
	if s := strings.Join(got, " "); s != "/a=instance.customer.name /{{ key.id }}=key.id /{{ key.id }}/0=changed" {
		t.Errorf("paths %s", s)
	}
}

// TestValueKinds gives each kind one JSON form, named or as part of a row, and the
// plain text where it stands alone.
func TestValueKinds(t *testing.T) {
	for _, c := range []struct {
		v           change.Value
		json, plain string
	}{
		{val(change.Null, ""), "null", "None"},
		{val(change.Bool, "true"), "true", "True"},
		{val(change.Bool, "false"), "false", "False"},
		{val(change.Int, "9223372036854775808"), "9223372036854775808", "9223372036854775808"},
		{val(change.Float, "1e+308"), "1e+308", "1e+308"},
		{val(change.Float, "NaN"), `"NaN"`, "nan"},
		{val(change.Decimal, "1.500"), `"1.500"`, "1.500"},
		{val(change.String, "O'Brien"), `"O'Brien"`, "O'Brien"},
		{val(change.Bytes, "\x00\xff"), `"AP8="`, "AP8="},
		{val(change.Timestamp, "2024-03-09T21:00:00.5Z"), `"2024-03-09T21:00:00.5Z"`, "2024-03-09T21:00:00.5Z"},
		{val(change.Timestamp, "infinity"), `"infinity"`, "infinity"},
		{val(change.DateTime, "2024-03-09T21:00:00.5"), `"2024-03-09T21:00:00.5"`, "2024-03-09T21:00:00.5"},
		{val(change.Date, "2024-03-09"), `"2024-03-09"`, "2024-03-09"},
		{val(change.Date, "4713-01-01 BC"), `"4713-01-01 BC"`, "4713-01-01 BC"},
		{val(change.Time, "21:00:00.5"), `"21:00:00.5"`, "21:00:00.5"},
		{val(change.Interval, "P1DT2H"), `"P1DT2H"`, "P1DT2H"},
		{val(change.UUID, "0e37df36-f698-11e6-8dd4-cb9ced3df976"), `"0e37df36-f698-11e6-8dd4-cb9ced3df976"`, "0e37df36-f698-11e6-8dd4-cb9ced3df976"},
		{val(change.JSON, `{"b": 1,  "a": [1.50]}`), `{"b": 1,  "a": [1.50]}`, `{"b": 1,  "a": [1.50]}`},
		{val(change.JSON, `"text"`), `"text"`, "text"},
		{val(change.Array, `[1,null]`), `[1,null]`, `[1,null]`},
	} {
		r := row("x")
		r[5] = c.v
		e := event(change.Insert, nil, r)
		if got, _ := render(t, `["{{ instance.data|json }}"]`, e); got != "["+c.json+"]" {
			t.Errorf("%q as JSON: %s, want %s", c.v.Text, got, c.json)
		}
		if got, _ := render(t, `["{{ after|json }}"]`, e); !strings.Contains(got, `"data":`+c.json) {
			t.Errorf("%q in a row: %s", c.v.Text, got)
		}
		var plain []string
		body, _ := render(t, `["{{ instance.data }}"]`, e)
		if err := json.Unmarshal([]byte(body), &plain); err != nil || plain[0] != c.plain {
			t.Errorf("%q prints %s, want %q", c.v.Text, body, c.plain)
		}
	}
}

func TestObjectsCanBeWalked(t *testing.T) {
	e := event(change.Update, row("old"), row("new"))
	e.Change.After[5] = change.Value{}
	for payload, want := range map[string]string{
		`["{% for k, v in instance.items %}{{ k }}={{ v }};{% endfor %}"]`:                                                      `["id=7;customer_id=3;status=new;price=1.50;note=None;"]`,
		`["{% for k in before %}{{ k }} {% endfor %}{% for k in after %}{{ k }} {% endfor %}"]`:                                 `["id customer_id status price note data id customer_id status price note "]`,
		`["{% for k, v in key.items %}{{ k }}={{ v }}{% endfor %}","{{ key.status }}"]`:                                         `["id=7",""]`,
		`["{{ content_type|json }}","{{ transaction|json }}","{{ missing.0 }}","{{ changed|join:\"+\" }}"]`:                     `[{"app_label":"myapp","model_name":"Sale"},{"id":"741","annotations":null},"data","status"]`,
		`["{{ instance.data|json }}","{{ before.status }}>{{ after.status }}","{{ table.other }}{{ event.other }}{{ other }}"]`: `["","old>new",""]`,
	} {
		if got, _ := render(t, payload, e); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", payload, got, want)
		}
	}
	e.Change.Tx.Annotations = `{"user":"ada"}`
	if got, _ := render(t, `["{{ transaction.annotations.user }}"]`, e); got != `["ada"]` {
		t.Errorf("annotations: %s", got)
	}
}

func TestTooLarge(t *testing.T) {
	big := strings.Repeat("x", 1<<20-10)
	e := event(change.Insert, nil, row(big))
	leaf := `"{{ instance.status }}"`
	many := compile(t, "["+strings.Repeat(leaf+",", 20)+leaf+"]")
	_, _, err := many.Append(nil, e)
	for range 10 { // a busy machine may be too slow to get so far
		if !errors.Is(err, ErrTooSlow) {
			break
		}
		_, _, err = many.Append(nil, e)
	}
	if !errors.Is(err, ErrTooLarge) {
		t.Errorf("many large leaves: %v", err)
	}
	e = event(change.Insert, nil, row(strings.Repeat("\x01", MaxBody/6)))
	if b, _, err := compile(t, "").Append(nil, e); !errors.Is(err, ErrTooLarge) || len(b) != 0 {
		t.Errorf("large envelope: %v", err)
	}
	var tooMuch *template.RenderError
	if _, _, err := compile(t, `["{% for a in data %}x{% endfor %}{{ after|json }}"]`).Append(nil, e); !errors.As(err, &tooMuch) {
		t.Errorf("leaf beyond the template's budget: %v", err)
	}
}

// TestErrorsNamePlaces: which template of the payload could not be rendered.
func TestErrorsNamePlaces(t *testing.T) {
	e := event(change.Insert, nil, row(strings.Repeat("x", 2<<20)))
	for payload, want := range map[string]string{
		`{"a":[1,{"b/c":"{{ instance.status }}"}]}`: "/payload/a/1/b~1c: line 1, column 1: more than 1048576 bytes of output",
		`{"note":"{{ instance.status|json }}"}`:     "/payload/note: line 1, column 1: filter json: value over 1048576 bytes",
		`"{{ instance.status }}"`:                   "/payload: line 1, column 1: more than 1048576 bytes of output",
	} {
		_, _, err := compile(t, payload).Append(nil, e)
		if !errors.Is(err, template.ErrBudget) || err.Error() != want {
			t.Errorf("%s: %v, want %s", payload, err, want)
		}
	}
}

func TestTooSlow(t *testing.T) {
	const leaf = `"{% for a in instance.status %}{% for b in instance.status %}{% endfor %}{% endfor %}"`
	r := compile(t, "["+strings.Repeat(leaf+",", 2000)+leaf+"]")
	began := time.Now()
	_, _, err := r.Append(nil, event(change.Insert, nil, row(strings.Repeat("x", 200))))
	if err == nil || time.Since(began) > 20*maxTime {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}

// shop gives each row the customer that it refers to.
type shop map[string][]change.Value

var customers = change.NewTable("public", "customers", []change.Column{{Name: "id"}, {Name: "Name"}, {Name: "boss"}}, []int{0}, true, change.IdentityDefault)

func (s shop) Follow(t *change.Table, row []change.Value, name string) (Reference, bool) {
	i := t.Lookup(name + "_id")
	if i < 0 {
		i = t.Lookup(name)
	}
	if i < 0 || name != "customer" && name != "boss" {
		return Reference{}, false
	}
	ref := Reference{Key: row[i]}
	if values, ok := s[row[i].Text]; ok {
		ref.Row = &Row{customers, values}
	}
	return ref, true
}

func (s shop) Field(_ *change.Table, column string) string {
	return strings.TrimSuffix(column, "_id")
}

func TestRelations(t *testing.T) {
	e := event(change.Insert, nil, row("new"))
	e.Related = shop{"3": {val(change.Int, "3"), val(change.String, "Ada"), val(change.Int, "4")}, "4": {val(change.Int, "4"), val(change.String, "Bo"), val(change.Null, "")}}
	e.Follows = true
	const payload = `["{{ instance.customer }}","{{ instance.customer_id }}","{{ instance.customer.pk }}","{{ instance.customer.name }}","{{ instance.customer|json }}",` +
		`"{{ instance.customer.boss }}","{{ instance.customer.boss.name }}","{{ instance.customer.boss.boss.name }}","{% if instance.customer %}yes{% endif %}","{{ instance.other.name }}"]`
	if got, _ := render(t, payload, e); got != `["3","3","3","Ada",3,"4","Bo","","yes",""]` {
		t.Errorf("got %s", got)
	}
	e.Related = shop{}
	if got, _ := render(t, payload, e); got != `["3","3","3","",3,"","","","yes",""]` {
		t.Errorf("row gone: %s", got)
	}
	e.Related = nil
	if got, _ := render(t, payload, e); got != `["","3","","","","","","","",""]` {
		t.Errorf("no relations: %s", got)
	}
}

func TestEventID(t *testing.T) {
	e := event(change.Delete, row("x"), nil)
	e.Source = strings.Repeat("s", 64)
	e.Change.Tx.Position = "FFFFFFFF-FFFFFFFF"
	e.Change.Ordinal = 1<<32 - 1
	id := string(e.AppendID(nil))
	if len(id) > 120 || strings.Trim(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != "" {
		t.Errorf("id %s has %d characters", id, len(id))
	}
}

func TestChangedIsToldAnewForEachChange(t *testing.T) {
	e := event(change.Update, row("a"), row("b"))
	if names, known := e.Changed(); !known || strings.Join(names, " ") != "status" {
		t.Errorf("changed %v, %v", names, known)
	}
	e.Change = event(change.Update, row("b"), row("b")).Change
	if names, known := e.Changed(); !known || len(names) != 0 {
		t.Errorf("changed %v, %v, want nothing", names, known)
	}
	if got, _ := render(t, `["{{ changed|json }}"]`, e); got != `[[]]` {
		t.Errorf("got %s", got)
	}
}

func BenchmarkRender(b *testing.B) {
	e := event(change.Update, nil, row("new"))
	for name, payload := range map[string]string{
		"envelope": "", "object": `{"sale_id":"{{ instance.id }}","quantity":"{{ instance.price|json }}","status":"{{ instance.status }}"}`, "text": `"sale {{ instance.id }} is {{ instance.status }}"`,
	} {
		b.Run(name, func(b *testing.B) {
			r := compile(b, payload)
			var dst []byte
			var err error
			b.ReportAllocs()
			for b.Loop() {
				if dst, _, err = r.Append(dst[:0], e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
