package django

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/waltrigger/waltrigger/pkg/source"
)

// project is what the script writes of scripts/django/shop.
func project(t *testing.T) *Models {
	t.Helper()
	data, err := os.ReadFile("../../testdata/django/models.json")
	if err != nil {
		t.Fatal(err)
	}
	m, err := ParseModels(data)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// catalog is the part of testdata/django/tables.sql that matters for names.
func catalog() []source.TableInfo {
	name := func(s string) source.TableName { return source.TableName{Schema: "public", Name: s} }
	table := func(s string, fks ...source.ForeignKey) source.TableInfo {
		return source.TableInfo{TableName: name(s), InSearchPath: true, ForeignKeys: fks}
	}
	fk := func(column, to string) source.ForeignKey {
		return source.ForeignKey{Columns: []string{column}, RefTable: name(to), RefColumns: []string{"id"}}
	}
	return []source.TableInfo{
		{TableName: source.TableName{Schema: "old", Name: "shop_customer"}},
		table("shop_customer"), table("shop_tag"), table("stock_item"), table("shop_document"),
		table("shop_sale", fk("customer_id", "shop_customer"), fk("item", "stock_item"), fk("ref", "shop_customer")),
		table("shop_profile", fk("customer_id", "shop_customer")),
		table("shop_invoice", fk("document_ptr_id", "shop_document")),
	}
}

func TestPathsOfDjango(t *testing.T) {
	models := project(t)
	const (
		product   = "{table: public.shop_sale, columns: [item], name: product}"
		reference = "{table: public.shop_sale, columns: [ref], name: recommended_by}"
		sales     = "{table: public.shop_sale, columns: [customer_id], reverse_name: sale_set}"
		recommend = "{table: public.shop_sale, columns: [ref], name: recommended_by, reverse_name: recommendations}"
		noKey     = "{table: public.shop_invoice, columns: [sale_id], references: public.shop_sale, referenced_columns: [id], name: sale}"
	)
	for _, c := range []struct {
		model, path, want string // want begins with ! if it is an error
		end               ending
		relations         string
	}{
		{"shop.customer", "name", "name", toValue, ""},
		{"shop.customer", "pk", "pk", toValue, ""},
		{"shop.customer", "name.upper", "name.upper", toValue, ""},
		{"shop.customer", "greeting", "!greeting is Python code of shop.Customer", 0, ""},
		{"shop.customer", "namee", "!shop.Customer has no namee; did you mean name?; it has id, name, email, vip, note, sale_set, recommendations, profile", 0, ""},
		{"shop.customer", "get_next_by_date", "!shop.Customer has no get_next_by_date", 0, ""},
		{"shop.customer", "*", "!a row of shop.Customer is no list", 0, ""},
		{"shop.product", "price", "price_eur", toValue, ""},
		{"shop.product", "price_eur", "price_eur", toValue, ""},
		{"shop.product", "details.sizes.0", "details.sizes.0", toValue, ""},
		{"shop.product", "since", "since", toTime, ""},
		{"shop.product", "added.year", "added.year", toValue, ""},
		{"shop.product", "tags", "!tags of shop.Product is many-to-many", 0, ""},
		{"shop.tag", "product_set.count", "!product_set of shop.Tag is many-to-many", 0, ""},
		{"shop.sale", "customer", "customer", toReference, ""},
		{"shop.sale", "customer_id", "customer_id", toValue, ""},
		{"shop.sale", "customer.name", "customer.name", toValue, ""},
		{"shop.sale", "customer.greeting", "!greeting is Python code of shop.Customer", 0, ""},
		{"shop.sale", "product.price", "product.price_eur", toValue, product},
		{"shop.sale", "product_id", "item", toValue, ""},
		{"shop.sale", "recommended_by.profile.motto", "recommended_by.profile.motto", toValue, reference},
		{"shop.customer", "profile", "profile", toValue, ""},
		{"shop.customer", "profile.customer.name", "profile.customer.name", toValue, ""},
		{"shop.customer", "profile.nix", "!shop.Profile has no nix", 0, ""},
		{"shop.customer", "sale_set", "sale_set", toRows, sales},
		{"shop.customer", "sale_set.all", "sale_set.all", toRows, sales},
		{"shop.customer", "sale_set.count", "sale_set.count", toValue, sales},
		{"shop.customer", "sale_set.all.0", "sale_set.all.0", toRow, sales},
		{"shop.customer", "sale_set.all.*.product.price", "sale_set.all.*.product.price_eur", toValue, sales + " " + product},
		{"shop.customer", "sale_set.first.nix", "!shop.Sale has no nix", 0, ""},
		{"shop.customer", "recommendations.first.quantity", "recommendations.first.quantity", toValue, recommend},
		{"shop.invoice", "title", "document_ptr.heading", toValue, ""},
		{"shop.invoice", "document_ptr.title", "document_ptr.heading", toValue, ""},
		{"shop.invoice", "id", "document_ptr.id", toValue, ""},
		{"shop.invoice", "document_ptr_id", "document_ptr_id", toValue, ""},
		{"shop.invoice", "sale.quantity", "sale.quantity", toValue, noKey},
		{"shop.document", "invoice.total", "invoice.total", toValue, ""},
	} {
		w := &walk{models: models, tables: catalog(), needs: newNeeds()}
		err := w.row(models.concrete(c.model), strings.Split(c.path, "."))
		if text, wrong := strings.CutPrefix(c.want, "!"); wrong {
			if err == nil || !strings.HasPrefix(err.Error(), text) {
				t.Errorf("%s %s: %v, want %s", c.model, c.path, err, text)
			}
			continue
		}
		if got := strings.Join(w.out, "."); err != nil || got != c.want || w.end != c.end {
			t.Errorf("%s %s: %s ends at %d, %v; want %s, %d", c.model, c.path, got, w.end, err, c.want, c.end)
		}
		var relations []string
		for _, r := range w.needs.Relations {
			relations = append(relations, "{"+r.yaml()+"}")
		}
		if got := strings.Join(relations, " "); got != c.relations {
			t.Errorf("%s %s: relations %s, want %s", c.model, c.path, got, c.relations)
		}
	}
}

// TestModelsThatLeadNowhere: models.json is a file that anybody may have edited.
func TestModelsThatLeadNowhere(t *testing.T) {
	m := &Models{Models: []Model{
		{AppLabel: "a", Model: "x", Name: "X", Fields: []Field{
			{Name: "far", Attname: "far", Column: "far", Model: "a.gone"},
			{Name: "loop", Attname: "loop", Column: "loop", Model: "a.y"},
			{Name: "to", Attname: "to_id", Column: "to_id", Model: "a.x", To: "a.gone"},
			{Name: "one", Attname: "one", Column: "two", Model: "a.x"},
			{Name: "two", Attname: "two", Column: "one", Model: "a.x"},
		}, Parents: map[string]string{"a.x": "loop"}, Reverse: []Reverse{{Name: "r", Model: "a.gone", Field: "f", Many: true}}},
	}}
	for path, want := range map[string]string{
		"far": "does not say how a.X leads to a.gone", "loop": "does not say how", "to.name": "has no model a.gone", "r.count": "has no field f of a.gone",
		"one": "is the name of another field", "two": "is the name of another field", "": "a.X has no ",
	} {
		w := &walk{models: m, needs: newNeeds()}
		if err := w.row(&m.Models[0], strings.Split(path, ".")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", path, err, want)
		}
	}
	for _, text := range []string{"", "[]", "{}", `{"format":2,"models":[{}]}`, `{"format":1}`, `{"format":1,"models":{}}`} {
		if _, err := ParseModels([]byte(text)); err == nil {
			t.Errorf("%q is read", text)
		}
	}
}

func TestTableOfAModel(t *testing.T) {
	models := project(t)
	for table, want := range map[string]string{
		"shop_customer": "public.shop_customer", "stock_item": "public.stock_item", "nowhere": ".nowhere", `old"."things`: "old.things", `"old"."things"`: "old.things",
	} {
		if got := models.table(&Model{Table: table}, catalog()).String(); got != want {
			t.Errorf("%s: %s, want %s", table, got, want)
		}
	}
	if got := models.table(&Model{Table: "shop_customer"}, catalog()[:1]).String(); got != "old.shop_customer" {
		t.Errorf("outside of the search path: %s", got)
	}
}

func TestNeedsAreToldOnce(t *testing.T) {
	n := newNeeds()
	n.relation(Relation{Column: "a", Name: "x"})
	n.relation(Relation{Column: "a", ReverseName: "y"})
	n.relation(Relation{Column: "b", Name: "z"})
	n.value("v", "h1")
	n.value("v", "h2")
	n.value("v", "h1")
	n.value("w", "h1")
	n.value("w", "")
	n.value("w", "h2")
	if got := fmt.Sprint(n.Relations, n.Values); got != "[{. a .  x y} {. b .  z }] map[v:[h1 h2] w:[]]" {
		t.Errorf("got %s", got)
	}
	n.drop(Known{Relations: []Relation{{Column: "a", Name: "x", ReverseName: "y"}, {Column: "b", Name: "old", ReverseName: "r"}, {Column: "c"}}})
	if got := fmt.Sprint(n.Relations); got != "[{. b .  z r}]" {
		t.Errorf("left are %s", got)
	}
	if !slices.Equal(n.Values["w"], nil) || n.Empty() || !newNeeds().Empty() {
		t.Error("what is needed is miscounted")
	}
}
