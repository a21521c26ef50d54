package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/payload"
	"github.com/waltrigger/waltrigger/pkg/related"
	"github.com/waltrigger/waltrigger/pkg/signal"
	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/source"
	"github.com/waltrigger/waltrigger/pkg/template"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// catalogOf is a source of which only the catalog can be asked.
type catalogOf struct {
	source.Source
	tables []source.TableInfo
	err    error
}

func (c *catalogOf) AllowInsertOnly([]source.TableName) {}

func (c *catalogOf) Tables(context.Context) ([]source.TableInfo, error) { return c.tables, c.err }

func table(schema, name string, columns ...string) source.TableInfo {
	i := source.TableInfo{TableName: source.TableName{Schema: schema, Name: name}, InSearchPath: schema == "public", IdentityUsable: true, PrimaryKey: []string{"id"}, OldColumns: []string{"id"}, WholeOldRow: "ALTER TABLE " + schema + "." + name + " REPLICA IDENTITY FULL;"}
	for _, c := range append([]string{"id"}, columns...) {
		i.Columns = append(i.Columns, source.ColumnInfo{Name: c})
	}
	return i
}

func refer(i source.TableInfo, to string, columns ...string) source.TableInfo {
	fk := source.ForeignKey{Name: i.Name + "_" + to + "_fkey", Columns: columns, RefTable: source.TableName{Schema: "public", Name: to}, RefColumns: []string{"id"}}
	if len(columns) > 1 {
		fk.RefColumns = columns
	}
	i.ForeignKeys = append(i.ForeignKeys, fk)
	return i
}

func single(i source.TableInfo) source.TableInfo {
	i.ForeignKeys[0].Unique = true
	return i
}

func identity(i source.TableInfo, id change.Identity, usable bool) source.TableInfo {
	i.Identity, i.IdentityUsable = id, usable
	return i
}

func tailOf(name string, content map[string]source.TableName, tables ...source.TableInfo) *tail {
	t := &tail{name: name, src: &catalogOf{tables: tables}, content: content}
	given := []related.Config{
		{Table: "public.plain", Columns: []string{"id"}, References: "public.tbl_clients", Name: "client", ReverseName: "plains"},
		{Table: "public.plain", Columns: []string{"nix"}, References: "public.tbl_clients", Name: "other"},
	}
	t.neighbours = newNeighbours(name, related.NewCatalog(t.src.Tables, given, nil, slog.New(slog.DiscardHandler)))
	return t
}

func shop() *tail {
	return tailOf("shop", map[string]source.TableName{
		"legacy.client": {Schema: "public", Name: "tbl_clients"},
		"legacy.gone":   {Schema: "public", Name: "tbl_gone"},
	},
		table("archive", "myapp_customer", "name"),
		table("archive", "Sale", "quantity"),
		table("public", "auth_user_groups"),
		table("public", "legacy_client"),
		table("public", "myapp_customer", "name", "Email"),
		identity(table("public", "myapp_log"), change.IdentityDefault, false),
		identity(refer(refer(table("public", "myapp_order", "customer_id", "state"), "myapp_customer", "customer_id"), "elsewhere", "else_id"), change.IdentityFull, true),
		refer(refer(table("public", "myapp_sale", "order_id", "a", "b", "quantity"), "myapp_order", "order_id"), "myapp_pair", "a", "b"),
		single(refer(table("public", "myapp_profile", "customer_id", "bio"), "myapp_customer", "customer_id")),
		table("public", "plain"),
		table("public", "tbl_clients"),
	)
}

func TestResolve(t *testing.T) {
	other := tailOf("other", nil, table("public", "myapp_customer"), table("public", "other_only"))
	s := &sources{tails: []*tail{shop(), other}}
	for _, c := range []struct {
		app, model, source string
		want               string // schema.table, or a part of the error
	}{
		{"myapp", "sale", "", "shop public.myapp_sale"},
		{"MyApp", "SALE", "", "shop public.myapp_sale"},
		{"auth", "user_groups", "", "shop public.auth_user_groups"},
		{"public", "plain", "", "shop public.plain"},
		{"public", "Plain", "", "shop public.plain"},
		{"archive", "Sale", "", "shop archive.Sale"},
		{"archive", "sale", "", "shop archive.Sale"},
		{"archive", "myapp_customer", "", "shop archive.myapp_customer"},
		{"legacy", "client", "", "shop public.tbl_clients"}, // the operator's word comes first
		{"Legacy", "Client", "", "shop public.tbl_clients"},
		{"legacy", "gone", "", "no such table"},
		{"other", "only", "", "other public.other_only"},
		{"myapp", "customer", "", "/source: several sources have this table: name one of shop and other"},
		{"myapp", "customer", "other", "other public.myapp_customer"},
		{"myapp", "sale", "other", "no such table"},
		{"myapp", "sale", "shoq", `/source: the configuration has no source "shoq"`},
		{"myapp", "sael", "", "did you mean myapp.sale"},
		{"myapp", "log", "", "myapp_log REPLICA IDENTITY FULL"},
	} {
		got, err := s.resolve(t.Context(), trigger.ContentType{AppLabel: c.app, ModelName: c.model, Source: c.source})
		said := fmt.Sprintf("%s %s.%s", got.Source, got.Schema, got.Name)
		if err != nil {
			said = err.Error()
			if p := (*trigger.Problem)(nil); errors.As(err, &p) {
				said = p.Pointer + ": " + p.Detail
			}
		}
		if (err == nil && said != c.want) || !strings.Contains(said, c.want) {
			t.Errorf("%s.%s of %q: %s, want %s", c.app, c.model, c.source, said, c.want)
		}
	}
	other.src, other.asked = &catalogOf{err: errors.New("away")}, time.Time{}
	if _, err := s.resolve(t.Context(), trigger.ContentType{AppLabel: "myapp", ModelName: "sale"}); !errors.Is(err, trigger.ErrUnavailable) || !strings.Contains(err.Error(), "name the source of myapp.sale") {
		t.Errorf("a source cannot be asked: %v", err)
	}
	if _, err := s.resolve(t.Context(), trigger.ContentType{AppLabel: "myapp", ModelName: "sale", Source: "shop"}); err != nil {
		t.Errorf("another source cannot be asked: %v", err)
	}
}

// TestContentTypesResolve: what the catalog lists is what resolve finds.
// TestInsertOnlyResolves: a table without usable identity will do for whoever says that
// its inserts are enough, and is told what does not come.
func TestInsertOnlyResolves(t *testing.T) {
	s := &sources{tails: []*tail{shop()}}
	s.tails[0].src.(*catalogOf).tables[slices.IndexFunc(s.tails[0].src.(*catalogOf).tables, func(i source.TableInfo) bool { return i.Name == "myapp_log" })].Unlogged = []change.Op{change.Update, change.Delete}
	c := trigger.ContentType{AppLabel: "myapp", ModelName: "log", AllowInsertOnly: true}
	if _, err := s.resolve(t.Context(), c); err != nil {
		t.Error(err)
	}
	for signals, want := range map[string]string{"post_save": "the updates of table public.myapp_log", "post_delete": "the deletes of table", "truncate": ""} {
		tr, problems := trigger.Decode([]byte(`{"config_signals":[{"signal":"` + signals + `"}],"content_types":[{"app_label":"myapp","model":"log","allow_insert_only":true}],"payload":"x"}`))
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		compiled, _ := (&trigger.Compiler{Webhook: &sink.Kind{}}).Compile(&trigger.Record{Trigger: tr})
		if got := strings.Join(s.doubts(compiled), "\n"); !strings.Contains(got, want) || (got == "") != (want == "") {
			t.Errorf("%s: %q, want %q", signals, got, want)
		}
	}
}

func TestContentTypesResolve(t *testing.T) {
	s := &sources{tails: []*tail{shop()}}
	list, err := s.contentTypes(t.Context(), "")
	if err != nil || len(list) != 11 {
		t.Fatalf("%d %v", len(list), err)
	}
	for _, c := range list {
		got, err := s.resolve(t.Context(), trigger.ContentType{AppLabel: c.AppLabel, ModelName: c.ModelName, Source: c.Source})
		refused := c.Table == "myapp_log" || c.Table == "legacy_client" // whose name the operator gave to another table
		if !refused && (err != nil || got.Schema != c.Schema || got.Name != c.Table) {
			t.Errorf("%s.%s is %v %v, want %s.%s", c.AppLabel, c.ModelName, got, err, c.Schema, c.Table)
		}
	}
	if _, err := s.contentTypes(t.Context(), "none"); !errors.Is(err, trigger.ErrNotFound) {
		t.Errorf("unknown source: %v", err)
	}
}

func TestCheckPath(t *testing.T) {
	s := &sources{tails: []*tail{shop()}}
	for _, c := range []struct {
		models, at, path string
		want             string // a part of the error; "" = right
	}{
		{"customer", "/payload", "instance", ""},
		{"customer", "/payload", "instance.name", ""},
		{"customer", "/payload", "instance.NAME", ""},
		{"customer", "/payload", "instance.email", ""},
		{"customer", "/payload", "instance.pk", ""},
		{"customer", "/payload", "instance.name.first", ""}, // looks into the value
		{"customer", "/payload", "instance.nam", "has no column nam; did you mean name"},
		{"customer", "/payload", "after.nam", "has no column nam"},
		{"order", "/payload", "instance.customer", ""},
		{"order", "/payload", "instance.customer_id", ""},
		{"order", "/payload", "instance.customer.name", ""},
		{"order", "/payload", "instance.customer.pk", ""},
		{"order", "/payload", "instance.customer.nix", "table public.myapp_customer has no column nix"},
		{"order", "/payload", "instance.else.x", "cannot be read"},
		{"sale", "/payload", "instance.order.customer.name", ""},
		{"sale", "/payload", "instance.order.customer.nix", "table public.myapp_customer has no column nix"},
		{"sale", "/payload", "instance.myapp_sale_myapp_pair.x", "cannot be read"}, // composite: by its constraint's name
		{"customer", "/payload", "instance.profile.bio", ""},
		{"customer", "/payload", "instance.profile.pk", ""},
		{"customer", "/payload", "instance.profile=", ""},
		{"customer", "/payload", "instance.profile", "name a column of it, or profile.pk"},
		{"customer", "/payload", "instance.profile.nix", "table public.myapp_profile has no column nix"},
		{"customer", "/payload", "instance.order_set.count", ""},
		{"customer", "/payload", "instance.order_set=", ""}, // given a name by {% with %}
		{"customer", "/payload", "instance.order_set", "order_set is a set of rows: name order_set.count, .exists, .first or .all"},
		{"customer", "/payload", "instance.order_set.all", ""},
		{"customer", "/payload", "instance.order_set.all.*.state", ""},
		{"customer", "/payload", "instance.order_set.all.0.customer.order_set.count", ""},
		{"customer", "/payload", "instance.order_set.all.*.nix", "table public.myapp_order has no column nix"},
		{"customer", "/payload", "instance.order_set.first.sale_set.exists", ""},
		{"customer", "/payload", "instance.order_set.exists", ""},
		{"customer", "/payload", "instance.order_set.*.state", "loop over order_set.all"},
		{"customer", "/payload", "instance.order_set.filter", "has no filter"},
		{"customer", "/payload", "instance.order_set.all.count", "name order_set.count"},
		{"customer", "/payload", "instance.order_set.all.*.sale_set.all.*.quantity", "within a loop over another set"},
		{"customer", "/payload", "instance.order_set.all.*.sale_set.count", ""},
		{"customer", "/payload", "instance.oder_set.count", "has no column oder_set; did you mean order_set"},
		{"sale", "/payload", "instance.order.customer.order_set.count", ""},
		{"customer", "/payload", "before.order_set.count", ""}, // the key is in the log
		{"plain", "/payload", "instance.client.plains.count", ""},
		{"plain", "/payload", "instance.client.plain_set.count", "has no column plain_set"},
		{"plain", "/payload", "instance.other.id", "a relation of the configuration cannot be used: table public.plain has no column nix"},
		{"order", "/payload", "before.state", ""}, // identity full
		{"order", "/condition", "before.customer.name", ""},
		{"order", "/condition", "changed", ""},
		{"customer", "/payload", "before", ""},
		{"customer", "/payload", "before.id", ""},
		{"customer", "/payload", "before.name", "ALTER TABLE public.myapp_customer REPLICA IDENTITY FULL"},
		{"sale", "/payload", "before.order.state", "holds no old value of order_id"},
		{"customer", "/payload", "changed", ""}, // null says unknown
		{"customer", "/condition", "changed", "does not tell which columns an update changed; mend with ALTER TABLE public.myapp_customer REPLICA IDENTITY FULL, after which each update and delete also writes the whole old row"},
		{"customer", "/condition", "before", "does not hold the row before an update"},
		{"customer", "/condition", "before.id", ""},
		{"order", "/condition", "before", ""},
		{"order", "/fields/0", "fields.state", ""},
		{"order", "/fields/0", "fields.customer", ""},
		{"order", "/fields/0", "fields.pk", ""},
		{"order", "/fields/0", "fields.stat", "has no column stat; did you mean state"},
		{"customer", "/fields/0", "fields.name", "does not tell which columns"},
		{"customer", "/payload", "key.id", ""},
		{"customer", "/payload", "key.nam", "has no column nam"},
		{"customer", "/payload", "key.name", "is no part of the key"},
		{"customer", "/payload", "instance.items", ""}, // of a loop over the row
		{"customer", "/payload", "instance.*", ""},
		{"order customer", "/payload", "instance.state", ""}, // one of them has it
		{"customer order", "/payload", "instance.state", ""},
		{"customer order", "/payload", "instance.nix", "table public.myapp_customer has no column nix"},
		{"order customer", "/condition", "changed", "the log of public.myapp_customer"}, // each must tell
		{"customer later", "/payload", "instance.nix", ""},                              // may be in the table to come
	} {
		tr := &trigger.Trigger{ConfigSignals: []trigger.ConfigSignal{{Signal: signal.PostSave}}}
		for _, m := range strings.Fields(c.models) {
			app := "myapp"
			if m == "plain" {
				app = "public"
			}
			tr.ContentTypes = append(tr.ContentTypes, trigger.ContentType{AppLabel: app, ModelName: m})
		}
		path, bound := strings.CutSuffix(c.path, "=")
		err := s.checkPath(tr, c.at, template.Path{Names: strings.Split(path, "."), Bound: bound})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s of %s at %s: %v, want %q", c.path, c.models, c.at, err, c.want)
		}
	}
	deletes := &trigger.Trigger{ConfigSignals: []trigger.ConfigSignal{{Signal: signal.PostDelete}}, ContentTypes: []trigger.ContentType{{AppLabel: "myapp", ModelName: "customer"}}}
	for _, path := range []string{"changed", "before", "fields.name"} {
		if err := s.checkPath(deletes, "/condition", template.Path{Names: strings.Split(path, ".")}); err != nil {
			t.Errorf("%s of a delete is known: %v", path, err)
		}
	}
}

func TestHiddenColumnsAreRefused(t *testing.T) {
	h, err := payload.NewHidden([]string{"*.email", "myapp_order.customer_id", "plain.*"})
	if err != nil {
		t.Fatal(err)
	}
	s := &sources{tails: []*tail{shop()}, hidden: h}
	for _, c := range []struct{ model, path, hidden string }{
		{"customer", "instance.email", "Email of table public.myapp_customer"},
		{"customer", "before.EMAIL.x", "Email of table"},
		{"customer", "instance.name", ""},
		{"customer", "instance", ""},
		{"customer", "changed", ""},
		{"customer", "fields.email", ""}, // that it changed is no secret
		{"order", "instance.customer", "customer_id of table public.myapp_order"},
		{"order", "instance.customer.name", "customer_id of table public.myapp_order"},
		{"sale", "instance.order.state", ""},
		{"sale", "instance.order.customer", "customer_id of table public.myapp_order"},
		{"sale", "instance.order.customer_id", "customer_id of table public.myapp_order"},
		{"customer", "instance.order_set.count", "customer_id of table public.myapp_order"}, // by which they are found
		{"customer", "instance.profile.bio", ""},
		{"sale", "instance.order.customer.name", "customer_id of table public.myapp_order"},
		{"order", "instance.sale_set.all.*.quantity", ""},
		{"order", "instance.sale_set.all.*.order.customer_id", "customer_id of table public.myapp_order"},
		{"plain", "instance.pk", "id of table public.plain"},
		{"plain", "key.id", "id of table public.plain"},
	} {
		app := "myapp"
		if c.model == "plain" {
			app = "public"
		}
		tr := &trigger.Trigger{ConfigSignals: []trigger.ConfigSignal{{Signal: signal.PostDelete}}, ContentTypes: []trigger.ContentType{{AppLabel: app, ModelName: c.model}}}
		err := s.checkPath(tr, "/payload", template.Path{Names: strings.Split(c.path, ".")})
		p := (*trigger.Problem)(nil)
		refused := errors.As(err, &p) && p.Code == trigger.CodeNotAllowed && strings.Contains(p.Detail, "settings.hidden_columns")
		if refused != (c.hidden != "") || refused && !strings.Contains(p.Detail, c.hidden) {
			t.Errorf("%s of %s: %v, want %s", c.path, c.model, err, c.hidden)
		}
	}
}

// TestDoubts: what deletes do not carry is said when a trigger is stored.
func TestDoubts(t *testing.T) {
	s := &sources{tails: []*tail{shop()}}
	hidden, err := payload.NewHidden([]string{"myapp_customer.*"})
	if err != nil {
		t.Fatal(err)
	}
	compiler := &trigger.Compiler{Webhook: &sink.Kind{}}
	for _, c := range []struct{ signals, model, fields, want string }{
		{"post_delete", "customer", `"payload":"{{ instance.name }} {{ instance.id }} {{ instance.email }}"`, "myapp.customer: of a deleted row the log holds the key only, name, Email is empty (on_missing_value); mend with ALTER TABLE public.myapp_customer REPLICA IDENTITY FULL"},
		{"pre_delete", "customer", `"payload":"{{ instance.name }}","on_missing_value":"park"`, "name keeps the delivery waiting"},
		{"post_save", "customer", `"payload":"{{ instance.name }}"`, ""},
		{"post_delete", "customer", `"payload":"{{ instance.id }}"`, ""},
		{"post_delete", "customer", `"payload":null`, ""},
		{"post_delete", "customer", `"payload_format":"fields"`, "every other column is empty"},
		{"post_delete", "order", `"payload":"{{ instance.state }}"`, ""},
		{"post_delete", "sale", `"payload":"{{ instance.order.state }}"`, "order_id is empty"},
		{"post_save", "customer", `"payload":null`, "myapp.customer: settings.hidden_columns hides every column of table public.myapp_customer"},
		{"post_delete", "later", `"payload":"{{ instance.state }}"`, ""},
	} {
		tr, problems := trigger.Decode([]byte(`{"config_signals":[{"signal":"` + c.signals + `"}],"content_types":[{"app_label":"myapp","model":"` + c.model + `"}],` + c.fields + `}`))
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		compiled, _ := compiler.Compile(&trigger.Record{Trigger: tr})
		s.hidden = nil
		if strings.Contains(c.want, "hides every column") {
			s.hidden = hidden
		}
		got := strings.Join(s.doubts(compiled), "\n")
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s of %s with %s: %q, want %q", c.signals, c.model, c.fields, got, c.want)
		}
	}
}

func TestColumnsOf(t *testing.T) {
	s := &sources{tails: []*tail{shop()}}
	if got := s.columnsOf(trigger.ContentType{AppLabel: "myapp", ModelName: "order"}, []string{"STATE", "customer", "customer_id", "pk", "nothing"}); !slices.Equal(got, []string{"state", "customer_id"}) {
		t.Errorf("got %q", got)
	}
	if got := s.columnsOf(trigger.ContentType{AppLabel: "myapp", ModelName: "later"}, []string{"state"}); got != nil {
		t.Errorf("of a table that is not known: %q", got)
	}
}

func TestActivationsOfAnEdit(t *testing.T) {
	of := func(signals []signal.Kind, models ...string) *trigger.Trigger {
		tr := &trigger.Trigger{ID: 1, Active: true}
		for _, k := range signals {
			tr.ConfigSignals = append(tr.ConfigSignals, trigger.ConfigSignal{Signal: k})
		}
		for _, m := range models {
			tr.ContentTypes = append(tr.ContentTypes, trigger.ContentType{AppLabel: "myapp", ModelName: m})
		}
		return tr
	}
	in := func(names ...string) (out []trigger.Table) {
		for _, n := range names {
			if n == "" {
				out = append(out, trigger.Table{})
				continue
			}
			out = append(out, trigger.Table{Source: "shop", Schema: "public", Name: n})
		}
		return out
	}
	show := func(as []trigger.Activation) string {
		var out []string
		for _, a := range as {
			out = append(out, fmt.Sprintf("%s/%s %s %s %d", a.ContentType.ModelName, a.Signal, a.Table, a.State, a.Seq))
		}
		return strings.Join(out, ", ")
	}
	save, both := []signal.Kind{signal.PostSave}, []signal.Kind{signal.PostSave, signal.PostDelete}
	active := func(tr *trigger.Trigger, tables []trigger.Table) *trigger.Record {
		r := &trigger.Record{Trigger: tr, Activations: activations(tr, tables, nil)}
		for i := range r.Activations {
			if r.Activations[i].Table != "" {
				r.Activations[i].State, r.Activations[i].Seq = trigger.Active, 7
			}
		}
		return r
	}
	off := of(save, "a")
	off.Active = false
	for name, c := range map[string]struct {
		was    *trigger.Record
		now    *trigger.Trigger
		tables []trigger.Table
		want   string
	}{
		"new":               {nil, of(both, "a"), in("a"), "a/post_save a pending 0, a/post_delete a pending 0"},
		"nothing changes":   {active(of(save, "a"), in("a")), of(save, "a"), in("a"), "a/post_save a active 7"},
		"a signal more":     {active(of(save, "a"), in("a")), of(both, "a"), in("a"), "a/post_save a active 7, a/post_delete a pending 0"},
		"a table more":      {active(of(save, "a"), in("a")), of(save, "b", "a"), in("b", "a"), "b/post_save b pending 0, a/post_save a active 7"},
		"a table less":      {active(of(save, "a", "b"), in("a", "b")), of(save, "b"), in("b"), "b/post_save b active 7"},
		"another table":     {active(of(save, "a"), in("a")), of(save, "a"), in("other"), "a/post_save other pending 0"},
		"source away":       {active(of(save, "a"), in("a")), of(save, "a"), in(""), "a/post_save a active 7"},
		"table found later": {active(of(save, "a"), in("")), of(save, "a"), in("a"), "a/post_save a pending 0"},
		"was switched off":  {active(off, in("a")), of(save, "a"), in("a"), "a/post_save a pending 0"},
	} {
		if got := show(activations(c.now, c.tables, c.was)); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestConcerns(t *testing.T) {
	a, b := source.TableName{Schema: "s", Name: "a"}, source.TableName{Schema: "s", Name: "b"}
	refused := func(n source.TableName) error { return &source.TableError{Table: n} }
	for name, c := range map[string]struct {
		err  error
		want bool
	}{
		"none":          {nil, false},
		"this table":    {refused(a), true},
		"another":       {refused(b), false},
		"joined":        {errors.Join(refused(b), refused(a)), true},
		"joined others": {errors.Join(refused(b), refused(b)), false},
		"the source":    {errors.New("away"), true},
		"wrapped":       {fmt.Errorf("publish: %w", refused(b)), false},
	} {
		if got := concerns(c.err, []source.TableName{a}); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
