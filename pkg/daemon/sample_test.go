package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/related"
	"github.com/waltrigger/waltrigger/pkg/signal"
	"github.com/waltrigger/waltrigger/pkg/source"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

func TestSampleValue(t *testing.T) {
	for _, c := range []struct {
		typ, json string
		kind      change.Kind
		text      string // "!" and a part of the error
	}{
		{"bigint", "null", change.Null, ""},
		{"bigint", "9223372036854775808", change.Int, "9223372036854775808"},
		{"int(11) unsigned", `"-7"`, change.Int, "-7"},
		{"integer", "1.5", 0, "!is no number, as integer needs it"},
		{"integer", "true", 0, "!is no number"},
		{"integer", `""`, 0, "!is no number"},
		{"double precision", "1e308", change.Float, "1e308"},
		{"real", `"NaN"`, change.Float, "NaN"},
		{"numeric(12,4)", `"1.5000"`, change.Decimal, "1.5000"},
		{"numeric(12,4)", "1.50", change.Decimal, "1.50"},
		{"numeric", `"1,5"`, 0, "!is no number"},
		{"boolean", "true", change.Bool, "true"},
		{"boolean", `"yes"`, 0, "!neither true nor false"},
		{"bytea", `"AP8Q"`, change.Bytes, "\x00\xff\x10"},
		{"bytea", `"???"`, 0, "!no base64"},
		{"bytea", "1234", 0, "!no base64"},
		{"timestamp with time zone", `"2024-02-29T15:05:06.500+02:00"`, change.Timestamp, "2024-02-29T13:05:06.5Z"},
		{"timestamp(3) without time zone", `"2024-02-29T13:05:06"`, change.DateTime, "2024-02-29T13:05:06"},
		{"timestamp with time zone", `"yesterday"`, 0, "!no time such as"},
		{"datetime(6)", `"2024-02-29T13:05:06Z"`, 0, "!no time such as"},
		{"date", `"2024-02-30"`, 0, "!no date such as"},
		{"date", `"2024-02-29"`, change.Date, "2024-02-29"},
		{"time without time zone", `"13:05:06"`, change.Time, "13:05:06"},
		{"interval", "5", 0, "!no text"},
		{"uuid", `"0e37df36-f698-11e6-8dd4-cb9ced3df976"`, change.UUID, "0e37df36-f698-11e6-8dd4-cb9ced3df976"},
		{"jsonb", `{"a": [1.50]}`, change.JSON, `{"a": [1.50]}`},
		{"json", `"x"`, change.JSON, `"x"`},
		{"bigint[]", "[1,null]", change.Array, "[1,null]"},
		{"bigint[]", "1", 0, "!no list"},
		{"character varying(255)", `"O'Brien"`, change.String, "O'Brien"},
		{"character varying(255)", "7", change.String, "7"},
		{"hstore", `{"a":"1"}`, change.Object, `{"a":"1"}`},
		{"mood", `["a"]`, change.Array, `["a"]`},
	} {
		got, err := sampleValue(c.typ, json.RawMessage(c.json))
		if part, bad := strings.CutPrefix(c.text, "!"); bad {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%s as %s: %v, want %q", c.json, c.typ, err, part)
			}
		} else if err != nil || got != (change.Value{Kind: c.kind, Text: c.text}) {
			t.Errorf("%s as %s: %v %q, %v", c.json, c.typ, got.Kind, got.Text, err)
		}
	}
}

// rowsOf is a source that has rows besides a catalog.
type rowsOf struct {
	catalogOf
	set source.RowSet
}

func (r *rowsOf) Latest(context.Context, source.TableName) (source.RowSet, error) {
	return r.set, r.err
}

func (r *rowsOf) Rows(_ context.Context, q source.Query) (source.RowSet, error) {
	out := r.set
	if out.Rows = nil; fmt.Sprint(q.Columns, q.Keys) == "[id] [[7]]" {
		out.Rows = r.set.Rows
	}
	return out, r.err
}

func tailOver(name string, src source.Source) *tail {
	return &tail{name: name, src: src, neighbours: newNeighbours(name, related.NewCatalog(src.Tables, nil, nil, slog.New(slog.DiscardHandler)))}
}

func TestMakeUp(t *testing.T) {
	tables := []source.TableInfo{table("public", "myapp_a", "name", "gen"), identity(table("public", "myapp_full", "name"), change.IdentityFull, true)}
	tables[0].Columns[2].Generated = true
	tables[0].Columns[0].Type, tables[1].Columns[0].Type = "bigint", "bigint"
	stored := change.NewTable("public", "myapp_a", []change.Column{{Name: "gen"}, {Name: "name"}, {Name: "id"}}, nil, false, 0)
	src := &rowsOf{catalogOf: catalogOf{tables: tables}, set: source.RowSet{Table: stored, Rows: [][]change.Value{{
		{Kind: change.String, Text: "g"}, {Kind: change.String, Text: "stored"}, {Kind: change.Int, Text: "7"},
	}}}}
	s := &sources{tails: []*tail{tailOver("shop", src), tailOver("old", &catalogOf{})}}
	saves, deletes := []signal.Kind{signal.PostSave}, []signal.Kind{signal.PostDelete}
	row := func(row []change.Value) string {
		if row == nil {
			return "-"
		}
		out := ""
		for _, v := range row {
			out += "/" + v.Text
			if v.Kind == change.Missing {
				out += "?"
			}
		}
		return out
	}
	for _, c := range []struct {
		model   string
		signals []signal.Kind
		sample  string
		want    string // operation, image, before, after; or the problem
	}{
		{"a", saves, `"latest"`, "insert none - /7/stored"},
		{"a", deletes, `"latest"`, "delete key_only /7/? -"},
		{"a", saves, `{"key":{"id":7}}`, "insert none - /7/stored"},
		{"a", saves, `{"key":{"id":"7"},"operation":"update"}`, "update none - /7/stored"},
		{"full", saves, `{"key":{"id":7},"operation":"update"}`, "update full /7/stored /7/stored"},
		{"full", saves, `{"before":{"name":"x"},"after":{"id":1,"name":"y"}}`, "update full /1/x /1/y"},
		{"full", saves, `{"before":{"id":2,"name":null},"after":{"id":1}}`, "update full /2/ /1/?"},
		{"a", saves, `{"before":{"id":2},"after":{"id":1,"name":"y"}}`, "update key_only /2/? /1/y"},
		{"full", saves, `{"before":{"id":2}}`, "delete full /2/? -"},
		{"full", deletes, `{"operation":"truncate"}`, "truncate none - -"},
		{"full", []signal.Kind{signal.Truncate}, `{}`, "truncate none - -"},
		{"a", saves, `{"after":{"ID":1,"nam":"x","gen":1}}`, "/sample/after/nam unknown;/sample/after/gen unknown"},
		{"a", saves, `{"after":{"id":"x"},"before":{"id":[]}}`, "/sample/after/id invalid_type;/sample/before/id invalid_type"},
		{"a", saves, `{"key":{"id":8}}`, "/sample/key unknown"},
		{"a", saves, `{"key":{}}`, "/sample/key required"},
		{"a", saves, `{"key":{"x":1}}`, "/sample/key/x unknown"},
		{"a", saves, `{"after":{},"content_type":{"app_label":"myapp","model":"full"}}`, "/sample/content_type unknown"},
		{"none", saves, `{"after":{}}`, "/sample/content_type unknown"},
	} {
		tr := &trigger.Trigger{ContentTypes: []trigger.ContentType{{AppLabel: "myapp", ModelName: c.model, Source: "shop"}}}
		for _, k := range c.signals {
			tr.ConfigSignals = append(tr.ConfigSignals, trigger.ConfigSignal{Signal: k})
		}
		_, sample, problems := trigger.DecodePreview([]byte(`{"sample":`+c.sample+`}`), false)
		if len(problems) > 0 {
			t.Fatalf("%s: %v", c.sample, problems)
		}
		m, err := s.makeUp(t.Context(), tr, sample, "preview")
		got := ""
		if bad := (*trigger.InvalidError)(nil); errors.As(err, &bad) {
			var said []string
			for _, p := range bad.Problems {
				said = append(said, p.Pointer+" "+p.Code)
			}
			got = strings.Join(said, ";")
		} else if err != nil {
			t.Fatal(err)
		} else {
			got = fmt.Sprintf("%s %s %s %s", m.c.Op, m.c.Image, row(m.c.Before), row(m.c.After))
			if key := m.c.Op == change.Delete || m.c.Op == change.Update; (len(m.warnings) > 0) != (key && c.model == "a") {
				t.Errorf("%s: warnings %q", c.sample, m.warnings)
			}
		}
		if got != c.want {
			t.Errorf("%s of %s: %s, want %s", c.sample, c.model, got, c.want)
		}
	}
	ask := func(model string) error {
		_, err := s.makeUp(t.Context(), &trigger.Trigger{ContentTypes: []trigger.ContentType{{AppLabel: "myapp", ModelName: model, Source: "shop"}}}, &trigger.Sample{Latest: true, Operation: "insert"}, "preview")
		return err
	}
	src.set.Rows = nil
	if err := ask("a"); err == nil || !strings.Contains(err.Error(), "has 0 such rows") {
		t.Errorf("an empty table: %v", err)
	}
	src.err = errors.New("away")
	if err := ask("a"); err == nil || !strings.Contains(err.Error(), "source_unavailable") {
		t.Errorf("a source that is away: %v", err)
	}
	s.tails[0] = tailOver("shop", &catalogOf{tables: tables})
	if err := ask("a"); err == nil || !strings.Contains(err.Error(), "cannot tell its latest row") {
		t.Errorf("a source without latest rows: %v", err)
	}
}
