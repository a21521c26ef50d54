package payload

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/waltrigger/waltrigger/pkg/change"
)

// visits is a Related with a set of rows, which each have one of their own.
type visits struct {
	rows []*Row
	err  error
}

func (v *visits) Follow(_ *change.Table, _ []change.Value, name string) (Reference, bool) {
	switch name {
	case "visit_set":
		return Reference{Set: v}, true
	case "unread":
		return Reference{Key: val(change.Int, "7"), Unread: true}, true
	}
	return Reference{}, false
}

func (v *visits) Field(_ *change.Table, column string) string { return column }

func (v *visits) Count() (int64, error) { return int64(len(v.rows)), v.err }
func (v *visits) All() ([]*Row, error)  { return v.rows, v.err }
func (v *visits) First() (*Row, error) {
	if len(v.rows) == 0 || v.err != nil {
		return nil, v.err
	}
	return v.rows[0], nil
}

func TestSets(t *testing.T) {
	table := change.NewTable("public", "visit", []change.Column{{Name: "id"}, {Name: "name"}}, []int{0}, true, change.IdentityDefault)
	pair := change.NewTable("public", "visit", []change.Column{{Name: "id"}, {Name: "name"}}, []int{0, 1}, true, change.IdentityDefault)
	loose := change.NewTable("public", "visit", []change.Column{{Name: "id"}, {Name: "name"}}, nil, false, change.IdentityFull)
	rows := func(t *change.Table) *visits {
		return &visits{rows: []*Row{{t, []change.Value{val(change.Int, "2"), val(change.String, "Bo")}}, {t, []change.Value{val(change.Int, "1"), val(change.String, "Ada")}}}}
	}
	for _, c := range []struct {
		template string
		related  *visits
		want     string
	}{
		{"{{ instance.visit_set.count }} {{ instance.visit_set.exists }} {{ instance.visit_set.first.name }}", rows(table), "2 True Bo"},
		{"{% for v in instance.visit_set.all %}{{ forloop.counter }}{{ v }}={{ v.name }}={{ v.pk }} {% empty %}none{% endfor %}", rows(table), "12=Bo=2 21=Ada=1 "},
		{"{% for v in instance.visit_set.all %}{{ v }}{% empty %}none{% endfor %}", rows(pair), `[2,"Bo"][1,"Ada"]`},
		{"{% for v in instance.visit_set.all %}{{ v }}{% empty %}none{% endfor %}", rows(loose), "NoneNone"},
		{"{{ instance.visit_set.all|length }}{{ instance.visit_set.all.1.name }}", rows(table), "2Ada"},
		{"{{ instance.visit_set.all|first }}{% for v in instance.visit_set.all|dictsort:'name' %}{{ v.name }}{% endfor %}", rows(table), "2AdaBo"},
		{"{{ instance.visit_set.all|json }}", rows(table), `[{"id":2,"name":"Bo"},{"id":1,"name":"Ada"}]`},
		{"{{ instance.visit_set.all.0|json }}", rows(table), `{"id":2,"name":"Bo"}`},
		{"{% if instance.visit_set.exists and instance.visit_set.count > 1 %}many{% endif %}", rows(table), "many"},
		{"{{ instance.visit_set.count }} {{ instance.visit_set.exists }} {{ instance.visit_set.first.name }}{{ instance.visit_set.all|json }}", &visits{}, "0 False []"},
		{"{% for v in instance.visit_set.all %}{{ v }}{% empty %}none{% endfor %}{% if instance.visit_set.all %}some{% endif %}", &visits{}, "none"},
		{"{{ instance.unread }}", &visits{}, "7"},
		{"{{ instance.unread.name }}", &visits{}, "error: was not looked up"},
		{"{{ instance.unread.pk }}", &visits{}, "error: was not looked up"},
		{"{{ instance.visit_set.nix }}{{ instance.id }}", rows(table), "7"},
		{"{{ instance.visit_set.count }}", &visits{err: errors.New("boom")}, "error: related rows: boom"},
		{"{% if instance.visit_set.exists %}{% endif %}", &visits{err: errors.New("boom")}, "error: related rows: boom"},
		{"{% for v in instance.visit_set.all %}{% endfor %}", &visits{err: errors.New("boom")}, "error: related rows: boom"},
	} {
		e := event(change.Insert, nil, row("new"))
		e.Change.After[0] = val(change.Int, "7")
		e.Related, e.Follows = c.related, true
		r := compile(t, strconv.Quote(c.template))
		b, _, err := r.Append(nil, e)
		got := string(b)
		if err != nil {
			got = "error: " + err.Error()
		}
		if want, failed := strings.CutPrefix(c.want, "error: "); failed && (err == nil || !strings.Contains(got, want)) || !failed && got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.template, got, c.want)
		}
		if err != nil { // it is told once
			if b, _, err := compile(t, `"{{ instance.id }}{% if 1 %}{% endif %}"`).Append(nil, e); err != nil || string(b) != "7" {
				t.Errorf("the next rendering: %s, %v", b, err)
			}
		}
	}
}

// TestStrict: what a related row lacks is not rendered as empty, unless it is no column at
// all.
func TestStrict(t *testing.T) {
	e := event(change.Insert, nil, row("new"))
	e.Related = shop{"3": {val(change.Int, "3"), val(change.String, "Ada"), val(change.Null, "")}}
	e.Follows = true
	for payload, lost := range map[string]bool{
		`["{{ instance.customer.age }}"]`: true, `["{% if instance.customer.age %}{% endif %}"]`: true, `["{% with c=instance.customer %}{{ c.age }}{% endwith %}"]`: true,
		`["{{ instance.customer.name }}{{ instance.customer.pk }}{{ instance.customer.boss }}{{ instance.customer.boss.age }}"]`: false,
		`["{% for k, v in instance.customer.items %}{{ k }}{% endfor %}{{ instance.age }}"]`:                                     false,
	} {
		for _, e.Strict = range []bool{false, true} {
			_, _, err := compile(t, payload).Append(nil, e)
			gone := (*LostError)(nil)
			if errors.As(err, &gone) != (lost && e.Strict) || err != nil && (gone == nil || gone.Name != "age" || gone.Table != customers) {
				t.Errorf("%s, strict %v: %v", payload, e.Strict, err)
			}
		}
	}
}
