package payload

import (
	"strings"
	"testing"

	"github.com/waltrigger/waltrigger/pkg/change"
)

func hidden(t *testing.T, patterns ...string) *Hidden {
	t.Helper()
	h, err := NewHidden(patterns)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestHiddenPatterns(t *testing.T) {
	h := hidden(t, "*.password", "django_session.*", "private.users.e*l", "Mixed.Case")
	for name, want := range map[string]bool{
		"public.auth_user.password": true, "public.auth_user.Password": true, "public.auth_user.password2": false, "x.DJANGO_SESSION.session_key": true,
		"private.users.email": true, "public.users.email": false, "private.users.e": false, "s.mixed.CASE": true, "public.django_session2.a": false,
	} {
		parts := strings.Split(name, ".")
		if got := h.Hides(parts[0], parts[1], parts[2]); got != want {
			t.Errorf("%s is hidden: %v", name, got)
		}
	}
	for _, bad := range []string{"", "password", "a.b.c.d", "a..b", ".b", "a.", strings.Repeat("a", 200) + ".b"} {
		if _, err := NewHidden([]string{bad}); err == nil {
			t.Errorf("%.20q is a pattern", bad)
		}
	}
	var none *Hidden
	if none.Hides("a", "b", "c") || none.Of(sales) != nil || none.HidesKey(sales) || hidden(t, "*.none").Of(sales) != nil {
		t.Error("something is hidden")
	}
	if !hidden(t, "myapp_sale.id").HidesKey(sales) || hidden(t, "myapp_sale.status").HidesKey(sales) {
		t.Error("the key")
	}
}

// TestHiddenValuesNeverLeave renders all that a template can reach of a row, and every
// format.
func TestHiddenValuesNeverLeave(t *testing.T) {
	const secret, id = "s3cret", "4711"
	for _, op := range []change.Op{change.Insert, change.Update, change.Delete} {
		old, now := row(secret), row(secret+"2")
		for _, r := range [][]change.Value{old, now} {
			r[0], r[1] = val(change.Int, id), val(change.Int, "888")
		}
		e := event(op, old, now)
		switch op {
		case change.Insert:
			e.Change.Before = nil
		case change.Delete:
			e.Change.After = nil
		}
		e.Related = shop{"888": {val(change.Int, "888"), val(change.String, secret), val(change.Int, "4")}}
		e.Follows = true
		e.Hidden = hidden(t, "myapp_sale.status", "myapp_sale.id", "*.customer_id", "customers.name")
		bodies := []string{}
		for _, f := range []Format{Envelope, Fields, CloudEvents, Debezium} {
			body, _ := formatted(t, f, "", e)
			bodies = append(bodies, body)
		}
		for _, payload := range []string{
			`["{{ instance|json }}","{{ before|json }}","{{ after|json }}","{{ key|json }}","{{ instance.pk }}","{{ key.id }}","{{ instance.id }}"]`,
			`["{{ instance }}","{{ before }}","{{ instance.status }}","{{ before.status|json }}","{{ instance.STATUS }}","{{ instance.customer }}","{{ instance.customer_id }}"]`,
			`["{% for k, v in instance.items %}{{ k }}{{ v }}{% endfor %}","{% for v in before.values %}{{ v }}{% endfor %}","{% for k, v in key.items %}{{ v }}{% endfor %}"]`,
			`["{{ instance.customer.name }}","{% for v in instance.customer.values %}{{ v }}{% endfor %}","{{ missing|json }}"]`,
			`"{{ instance|pprint }} {{ instance.items|join:\"\" }} {% with i=instance %}{{ i.status }}{% endwith %}"`,
		} {
			body, _ := render(t, payload, e)
			bodies = append(bodies, body)
		}
		for _, body := range bodies {
			if strings.Contains(body, secret) || strings.Contains(body, id) || strings.Contains(body, "888") {
				t.Errorf("%v: %s", op, body)
			}
			if strings.Contains(body, `"missing":["`) {
				t.Errorf("what is hidden is missing: %s", body)
			}
		}
	}
}

// TestHiddenChangesAreTold: that a column changed is no secret.
func TestHiddenChangesAreTold(t *testing.T) {
	e := event(change.Update, row("old"), row("new"))
	e.Hidden = hidden(t, "*.status")
	if got, _ := render(t, `["{{ changed|json }}","{{ instance.price }}"]`, e); got != `[["status"],"1.50"]` {
		t.Errorf("got %s", got)
	}
}

func TestHiddenColumnsOfRelatedRows(t *testing.T) {
	e := event(change.Insert, nil, row("new"))
	e.Related = shop{"3": {val(change.Int, "3"), val(change.String, "Ada"), val(change.Int, "4")}, "4": {val(change.Int, "4"), val(change.String, "Bo"), val(change.Null, "")}}
	e.Follows = true
	e.Hidden = hidden(t, "customers.name")
	if got, _ := render(t, `["{{ instance.customer.name }}","{{ instance.customer.boss.name }}","{{ instance.customer.boss }}","{{ instance.customer }}"]`, e); got != `["","","4","3"]` {
		t.Errorf("got %s", got)
	}
}
