package template

import (
	"strings"
	"testing"
	"time"
)

// reference is an object that also is a plain value, as a foreign key is.
type reference struct {
	key  Value
	part object
}

func (r *reference) Get(name string) (Value, bool) { return r.part.Get(name) }
func (r *reference) Scalar() Value                 { return r.key }
func (r *reference) AppendJSON(dst []byte) ([]byte, error) {
	return append(dst, `{"row":true}`...), nil
}

func TestPrintingOfRows(t *testing.T) {
	t.Parallel()
	at := time.Date(2024, 3, 9, 21, 0, 0, 500_000_000, time.UTC)
	vars := object{
		"none": None(), "yes": Bool(true), "int": Int(-7), "intText": IntText("12345678901234567890"), "big": BigInt("12345678901234567890"),
		"float": Float(0.1), "floatText": FloatText("0.1"), "whole": FloatText("3"), "exp": FloatText("1e+20"), "small": FloatText("1e-05"), "nan": FloatText("NaN"),
		"dec": Decimal("1.50"), "decNaN": Decimal("NaN"), "decSmall": Decimal("0.00000001"),
		"str": String("O'Brien <b>"), "safe": Safe("<b>"), "bytes": Bytes("\x00\xff"),
		"ts": Timestamp("2024-03-09T21:00:00.5Z"), "tsEver": Timestamp("infinity"), "dt": DateTimeText("2024-03-09T21:00:00.5"), "date": DateText("2024-03-09"), "clock": TimeText("21:00:00.5"),
		"at": DateTime(at, true), "naive": DateTime(at, false), "day": Date(at), "noon": Time(12 * time.Hour), "span": Duration(26*time.Hour + 500*time.Millisecond),
		"json": JSON(` {"a": [1, 2.0, {"b": null}], "é": "\u00e9"}`), "jsonList": JSON(`[1,"a"]`), "jsonText": JSON(`"text"`), "jsonNull": JSON("null"), "jsonInt": JSON("5"), "jsonBad": JSON("{oops"),
		"ref": Of(&reference{IntText("42"), object{"name": String("Ada")}}), "list": listValue([]Value{Int(1), String("a"), Timestamp("2024-03-09T21:00:00Z")}),
	}
	for src, want := range map[string]string{
		"{{ none }} {{ yes }} {{ int }} {{ intText }} {{ big }}":                       "None True -7 12345678901234567890 12345678901234567890",
		"{{ float }} {{ floatText }} {{ whole }} {{ exp }} {{ small }} {{ nan }}":      "0.1 0.1 3.0 100000000000000000000 0.00001 nan",
		"{{ dec }} {{ decNaN }} {{ decSmall }}":                                        "1.50 NaN 0.00000001",
		"{{ str }}{{ safe }} {{ bytes }}":                                              "O'Brien <b><b> AP8=",
		"{{ ts }} {{ tsEver }} {{ dt }} {{ date }} {{ clock }}":                        "2024-03-09T21:00:00.5Z infinity 2024-03-09T21:00:00.5 2024-03-09 21:00:00.5",
		"{{ at }} {{ naive }} {{ day }} {{ noon }} {{ span }}":                         "2024-03-09T21:00:00.5Z 2024-03-09T21:00:00.5 2024-03-09 12:00:00 1 day, 2:00:00.500000",
		"{{ ts|upper }} {{ ts|make_list|slice:':10'|join:'' }} {{ ts.year }}":          "2024-03-09T21:00:00.5Z 2024-03-09 2024",
		"{{ ts|date:'D d M Y H:i:s.u e' }}|{{ date|date:'N j' }}|{{ clock|time:'P' }}": "Sat 09 Mar 2024 21:00:00.500000 UTC|March 9|9 p.m.",
		"{{ tsEver|date:'Y' }}|{{ tsEver.year }}|{{ tsEver|default:'x' }}":             "||infinity",
		`{{ json }}`: `{"a": [1, 2.0, {"b": null}], "é": "\u00e9"}`,
		"{{ json.a }} {{ json.a.1 }} {{ json.a.2 }} {{ json.a.2.b }} {{ json.é }} {{ json.x }}":                                 `[1, 2.0, {"b": null}] 2.0 {"b": null} None é `,
		"{{ json.items|length }} {% for k, v in json.items %}{{ k }};{% endfor %} {{ jsonList|join:'-' }}{{ jsonList|length }}": "2 a;é; [1, 'a']2",
		"{{ jsonText }} {{ jsonNull }} {{ jsonInt|add:1 }} {{ jsonBad }}{{ jsonBad.oops }}":                                     "text None 6 {oops",
		"{{ ref }} {{ ref.name }} {{ ref|add:1 }} {% if ref == 42 %}same{% endif %} {% with r=ref %}{{ r.name }}{% endwith %}":  "42 Ada 43 same Ada",
		"{{ list }}": "[1, 'a', '2024-03-09T21:00:00Z']",
		"{{ none|json }} {{ yes|json }} {{ intText|json }} {{ floatText|json }} {{ whole|json }} {{ exp|json }} {{ nan|json }} {{ dec|json }} {{ decNaN|json }}": `null true 12345678901234567890 0.1 3 1e+20 "NaN" "1.50" "NaN"`,
		"{{ str|json }} {{ bytes|json }} {{ ts|json }} {{ at|json }} {{ day|json }} {{ noon|json }} {{ span|json }}":                                             `"O'Brien <b>" "AP8=" "2024-03-09T21:00:00.5Z" "2024-03-09T21:00:00.5Z" "2024-03-09" "12:00:00" "P1DT02H00M00.500000S"`,
		"{{ json|json }} {{ ref|json }} {{ list|json }} {{ missing|json }} {{ list|slice:':2'|json }}":                                                           `{"a": [1, 2.0, {"b": null}], "é": "\u00e9"} {"row":true} [1,"a","2024-03-09T21:00:00Z"] "" [1,"a"]`,
	} {
		if got := render(t, src, Options{}, vars); got != want {
			t.Errorf("%s:\n got %s\nwant %s", src, got, want)
		}
	}
}

// TestTextsPrintAsTheirValues: a value that keeps its text must print as the same value
// without it does, wherever Django's way of printing is asked for.
func TestTextsPrintAsTheirValues(t *testing.T) {
	t.Parallel()
	texts := map[string]func(string) Value{"int": IntText, "float": FloatText, "dec": Decimal, "ts": Timestamp, "dt": DateTimeText, "date": DateText, "time": TimeText, "json": JSON}
	for kind, samples := range map[string]string{
		"int":   "0 -1 12345 123456789012345678901234567890",
		"float": "0 -0 1 1.5 1e+20 1e-07 123456.789 NaN Infinity -Infinity 1.7976931348623157e+308",
		"dec":   "0 0.00 -1.50 12345678901234567890.123 0.0000001 100",
		"ts":    "2024-03-09T21:00:00.5Z 1999-12-31T23:59:59Z 2024-03-09T21:00:00+02:00",
		"dt":    "2024-03-09T21:00:00.5 0001-01-01T00:00:00",
		"date":  "2024-03-09 9999-12-31",
		"time":  "00:00:00 21:00:00.5",
		"json":  `{"a":[1,2.50,null,true,"x"]} [1e5,"é"]`,
	} {
		for text := range strings.FieldsSeq(samples) {
			kept := texts[kind](text)
			plain := kept.norm()
			if kind == "dec" {
				d, err := parseDecimal(text)
				if err != nil {
					t.Fatal(err)
				}
				plain = Decimal(string(d.appendStr(nil)))
			}
			for _, src := range []string{"{{ x }}", "{{ x|upper }}", "{{ x|length }}", "{{ x|default:'' }}", "{{ x|floatformat:2 }}", "{{ x|date:'c' }}", "{% if x %}T{% endif %}{% if x == x %}T{% endif %}", "{{ x|stringformat:'r' }}", "{{ x|add:1 }}"} {
				opt := Options{Django: true, Autoescape: true}
				tmpl := mustParse(t, src, opt)
				got, gotErr := tmpl.Append(nil, object{"x": kept})
				want, wantErr := tmpl.Append(nil, object{"x": plain})
				if string(got) != string(want) || (gotErr == nil) != (wantErr == nil) {
					t.Errorf("%s %s, %s: got %s %v, want %s %v", kind, text, src, got, gotErr, want, wantErr)
				}
			}
		}
	}
}

func TestMalformedTexts(t *testing.T) {
	t.Parallel()
	for _, v := range []Value{
		IntText("x"), IntText(""), FloatText("x"), FloatText(""), Decimal("x"), Decimal(""), Timestamp(""), Timestamp("2024-13-01T00:00:00Z"), Timestamp("2024-02-30T00:00:00Z"),
		Timestamp("2024-02-28T24:00:00Z"), Timestamp("2024-02-28 10:00:00+2"), DateText("2024-1-1"), TimeText("1"), TimeText("10:00:00."), JSON(""), JSON("{"), JSON("["), JSON(`{"a"`), JSON(`{"a":}`),
		JSON(`[1,`), JSON(`"`), JSON("[[[["), BigInt("x"), Of(nil), ListOf(nil), String("\xff\xfe"), Safe("\xc3"), JSON("{\"\xff\":1}"),
	} {
		for _, src := range []string{
			"{{ x }}{{ x|json }}{{ x.a }}{{ x.0 }}", "{{ x|upper }}{{ x|length }}{{ x|slugify }}{{ x|title }}", "{% if x > 1 %}{% endif %}{% if x == x %}{% endif %}{% if 1 in x %}{% endif %}",
			"{{ x|date:'Y' }}{{ x|time }}", "{{ x|floatformat:2 }}", "{{ x|pprint }}{{ x|make_list }}", "{{ x|urlize }}{{ x|striptags }}{{ x|truncatechars:2 }}", "{{ x|slice:'::-1' }}{{ x|yesno }}",
		} {
			for _, django := range []bool{false, true} {
				_, err := mustParse(t, src, Options{Django: django, Autoescape: django}).Append(nil, object{"x": v})
				if err != nil && strings.Contains(err.Error(), "panic") {
					t.Errorf("%+v, %s: %v", v, src, err)
				}
			}
		}
	}
}

func TestDictIndex(t *testing.T) {
	t.Parallel()
	d := &dict{}
	for i := range 40 {
		d.set(string(rune('a'+i)), Int(int64(i)))
		d.set("a", Int(100))
	}
	for i := range 40 {
		want := int64(i)
		if i == 0 {
			want = 100
		}
		if v, ok := d.Get(string(rune('a' + i))); !ok || v.n != want {
			t.Errorf("%d: got %v %v", i, v, ok)
		}
	}
	if _, ok := d.Get("zz"); ok || len(d.Keys()) != 40 {
		t.Errorf("%d keys", len(d.Keys()))
	}
}
