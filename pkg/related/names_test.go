package related

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waltrigger/waltrigger/pkg/source"
)

func public(name string) source.TableName { return source.TableName{Schema: "public", Name: name} }

// info describes a table: its key is id, columns are ints.
func info(name string, columns ...string) source.TableInfo {
	i := source.TableInfo{TableName: public(name), PrimaryKey: []string{"id"}, IdentityUsable: true}
	for _, c := range append([]string{"id"}, columns...) {
		i.Columns = append(i.Columns, source.ColumnInfo{Name: c, Type: "integer", Equal: "int"})
	}
	return i
}

// refers adds a foreign key to the keys of a table.
func refers(i source.TableInfo, to string, columns ...string) source.TableInfo {
	fk := source.ForeignKey{Name: i.Name + "_" + strings.Join(columns, "_") + "_fkey", Columns: columns, RefTable: public(to), RefColumns: []string{"id", "b"}[:len(columns)], Indexed: true}
	i.ForeignKeys = append(i.ForeignKeys, fk)
	return i
}

func catalog() []source.TableInfo {
	leaf := refers(info("my_app_sale_2024", "customer_id"), "my_app_customer", "customer_id")
	leaf.Leaf = true
	lazy := refers(info("my_app_note", "customer_id"), "my_app_customer", "customer_id")
	lazy.IdentityUsable = false
	double := refers(info("twice", "customer_id"), "my_app_customer", "customer_id")
	profile := refers(info("my_app_profile", "customer_id"), "my_app_customer", "customer_id")
	profile.ForeignKeys[0].Unique = true
	double.ForeignKeys = append(double.ForeignKeys, double.ForeignKeys[0])
	return []source.TableInfo{
		refers(info("my_app_customer", "boss_id", "city", "city_id"), "my_app_customer", "boss_id"),
		refers(info("my_app_sale", "customer_id", "b"), "my_app_customer", "customer_id"), leaf, lazy, double, profile,
		refers(refers(info("my_app_transfer", "payer_id", "payee_id"), "my_app_customer", "payer_id"), "my_app_customer", "payee_id"),
		refers(info("a_visit", "customer_id"), "my_app_customer", "customer_id"), refers(info("b_visit", "customer_id"), "my_app_customer", "customer_id"),
		refers(info("tbl_9", "customer"), "my_app_customer", "customer"),
		refers(info("line", "sale", "b"), "my_app_sale", "sale", "b"),
		info("loose", "who", "b"),
	}
}

func TestConventions(t *testing.T) {
	n := learn(catalog(), nil, map[source.TableName]string{public("tbl_9"): "address"})
	for _, c := range []struct{ table, name, want string }{
		{"my_app_sale", "customer", "my_app_sale.customer_id"},
		{"my_app_sale", "customer_id", ""}, // the column
		{"my_app_customer", "boss", "my_app_customer.boss_id"},
		{"my_app_customer", "customer_set", "my_app_customer.boss_id <"}, // to itself
		{"my_app_customer", "sale_set", "my_app_sale.customer_id <"},
		{"my_app_customer", "app_sale_set", "my_app_sale.customer_id <"},
		{"my_app_customer", "my_app_sale_set", "my_app_sale.customer_id <"},
		{"my_app_customer", "sale_customer_set", "my_app_sale.customer_id <"},
		{"my_app_customer", "sale_customer_id_set", "my_app_sale.customer_id <"},
		{"my_app_customer", "ale_set", ""},
		{"my_app_customer", "sale", ""},
		{"my_app_customer", "2024_set", ""}, // a partition: its rows are those of the whole
		{"my_app_customer", "transfer_set", ""},
		{"my_app_customer", "transfer_payer_set", "my_app_transfer.payer_id <"},
		{"my_app_customer", "transfer_payee_id_set", "my_app_transfer.payee_id <"},
		{"my_app_customer", "visit_set", ""}, // two tables
		{"my_app_customer", "a_visit_set", "a_visit.customer_id <"},
		{"my_app_customer", "address_set", "tbl_9.customer <"}, // by the operator's content type
		{"my_app_customer", "9_set", "tbl_9.customer <"},
		{"my_app_customer", "twice_set", "twice.customer_id <"}, // one foreign key, twice
		{"my_app_customer", "_set", ""},
		{"my_app_customer", "profile", "my_app_profile.customer_id ="}, // one at most
		{"my_app_customer", "my_app_profile", "my_app_profile.customer_id ="},
		{"my_app_customer", "profile_set", "my_app_profile.customer_id <"},
		{"my_app_customer", "profile_customer_id", "my_app_profile.customer_id ="},
		{"my_app_profile", "customer", "my_app_profile.customer_id"},
		{"tbl_9", "customer", "tbl_9.customer"},
		{"line", "line_sale_b", "line.sale,b"},
		{"my_app_sale", "line_set", "line.sale,b <"},
		{"line", "sale", ""},
		{"nowhere", "x", ""},
	} {
		got := ""
		if r, way := n.Find(public(c.table), c.name); r != nil {
			got = r.From.Name + "." + strings.Join(r.Columns, ",") + map[Way]string{Back: " =", Set: " <"}[way]
		}
		if got != c.want {
			t.Errorf("%s of %s: %q, want %q", c.name, c.table, got, c.want)
		}
	}
	got := n.Offers(public("my_app_customer"))
	slices.Sort(got)
	if want := "a_visit_set address_set app_customer_set app_note_set app_profile app_sale_set app_transfer_payee_set app_transfer_payer_set b_visit_set boss twice_set"; strings.Join(got, " ") != want {
		t.Errorf("offers %v", got)
	}
}

func TestGivenRelations(t *testing.T) {
	for _, c := range []struct {
		name       string
		given      Config
		table, ask string
		want       string // what Find gives, or the problem
	}{
		{"renames", Config{Table: "public.my_app_sale", Columns: []string{"customer_id"}, Name: "buyer"}, "my_app_sale", "buyer", "my_app_customer"},
		{"renames the other way", Config{Table: "public.my_app_sale", Columns: []string{"customer_id"}, ReverseName: "purchases"}, "my_app_customer", "purchases", "my_app_sale"},
		{"the old name is gone", Config{Table: "public.my_app_sale", Columns: []string{"customer_id"}, ReverseName: "purchases"}, "my_app_customer", "sale_set", ""},
		{"keeps the other name", Config{Table: "public.my_app_sale", Columns: []string{"customer_id"}, ReverseName: "purchases"}, "my_app_sale", "customer", "my_app_customer"},
		{"makes one", Config{Table: "public.loose", Columns: []string{"who"}, References: "public.my_app_customer", Name: "visitor"}, "loose", "visitor", "my_app_customer"},
		{"makes one the other way", Config{Table: "public.loose", Columns: []string{"who"}, References: "public.my_app_customer", Name: "visitor"}, "my_app_customer", "loose_set", "loose"},
		{"makes one of two columns", Config{Table: "public.loose", Columns: []string{"who", "b"}, References: "public.my_app_sale", ReferencedColumns: []string{"id", "b"}, Name: "sale"}, "loose", "sale", "my_app_sale"},
		{"its own column's name", Config{Table: "public.loose", Columns: []string{"who"}, References: "public.my_app_customer", Name: "who"}, "loose", "who", "my_app_customer"},
		{"renames what is one at most", Config{Table: "public.my_app_profile", Columns: []string{"customer_id"}, ReverseName: "details"}, "my_app_customer", "details", "my_app_profile"},
		{"no table", Config{Table: "public.nix", Columns: []string{"a"}, Name: "x"}, "nix", "x", "table public.nix does not exist"},
		{"no column", Config{Table: "public.loose", Columns: []string{"nix"}, Name: "x"}, "loose", "x", "table public.loose has no column nix"},
		{"no foreign key", Config{Table: "public.loose", Columns: []string{"who"}, Name: "x"}, "loose", "x", "say with references"},
		{"no table referred to", Config{Table: "public.loose", Columns: []string{"who"}, References: "public.nix", Name: "x"}, "loose", "x", "table public.nix does not exist"},
		{"no column referred to", Config{Table: "public.loose", Columns: []string{"who"}, References: "public.my_app_sale", ReferencedColumns: []string{"nix"}, Name: "x"}, "loose", "x", "no column nix"},
		{"too few columns", Config{Table: "public.loose", Columns: []string{"who", "b"}, References: "public.my_app_sale", Name: "x"}, "loose", "x", "primary key of 1 columns"},
		{"another type", Config{Table: "public.loose", Columns: []string{"who"}, References: "public.words", Name: "x"}, "loose", "x", "cannot be compared"},
		{"a column's name", Config{Table: "public.my_app_customer", Columns: []string{"boss_id"}, Name: "city"}, "my_app_customer", "boss", "has a column city, which wins"},
		{"a column's name, the other way", Config{Table: "public.my_app_sale", Columns: []string{"customer_id"}, ReverseName: "city"}, "my_app_customer", "x", "has a column city, which wins"},
		{"another's name", Config{Table: "public.my_app_transfer", Columns: []string{"payer_id"}, Name: "payee"}, "my_app_transfer", "x", "another foreign key of table public.my_app_transfer goes by the name payee"},
	} {
		words := info("words")
		words.Columns[0] = source.ColumnInfo{Name: "id", Type: "text", Equal: "text"}
		n := learn(append(catalog(), words), []Config{c.given}, nil)
		got := ""
		if r, way := n.Find(public(c.table), c.ask); r != nil && len(n.Problems()) == 0 {
			if got = r.RefTable.Name; way != To {
				got = r.From.Name
			}
		}
		for _, p := range n.Problems() {
			got += p.Text
		}
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if faults := c.given.Check(); len(faults) > 0 {
			t.Errorf("%s: %v", c.name, faults)
		}
	}
}

func TestConfig(t *testing.T) {
	for _, c := range []struct {
		given Config
		want  string
	}{
		{Config{Table: "sale", Columns: []string{"a"}, Name: "x"}, "table"},
		{Config{Table: "public.sale", Columns: []string{"a"}, Name: "x", References: "customer"}, "references"},
		{Config{Table: "public.sale", Name: "x"}, "columns"},
		{Config{Table: "public.sale", Columns: []string{"a"}, Name: "x", ReferencedColumns: []string{"b"}}, "referenced_columns"},
		{Config{Table: "public.sale", Columns: []string{"a"}, Name: "x", References: "public.c", ReferencedColumns: []string{"b", "c"}}, "referenced_columns"},
		{Config{Table: "public.sale", Columns: []string{"a"}, Name: "x.y"}, "name"},
		{Config{Table: "public.sale", Columns: []string{"a"}, Name: "pk"}, "name"},
		{Config{Table: "public.sale", Columns: []string{"a"}}, "name"},
		{Config{Table: "public.sale", Columns: []string{"a"}, ReverseName: "a-b"}, "reverse_name"},
	} {
		got := c.given.Check()
		if len(got) != 1 || got[0][0] != c.want {
			t.Errorf("%+v: %v, want one fault of %s", c.given, got, c.want)
		}
	}
}

// asked is a catalog that counts.
type asked struct {
	source.Catalog
	n    int
	away bool
}

func (a *asked) Tables(context.Context) ([]source.TableInfo, error) {
	a.n++
	if a.away {
		return nil, errors.New("connection refused")
	}
	return catalog(), nil
}

// TestNamesAreAskedForSeldom, and are good enough for a while when they cannot be had.
func TestNamesAreAskedForSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &asked{away: true}
		c := NewCatalog(src.Tables, nil, nil, slog.New(slog.DiscardHandler))
		want := func(unknown bool, n int, ok bool) {
			t.Helper()
			names, err := c.Names(t.Context(), unknown)
			if src.n != n || (err == nil) != ok || ok && names == nil {
				t.Errorf("asked %d times, want %d; error %v", src.n, n, err)
			}
		}
		want(false, 1, false)
		src.away = false
		want(false, 2, true)
		want(true, 2, true)
		time.Sleep(unknownFor)
		want(false, 2, true)
		want(true, 3, true)
		time.Sleep(knownFor)
		src.away = true
		want(true, 4, false) // something is looked for that those of before have not
		want(false, 5, true)
		want(false, 5, true)
		time.Sleep(unknownFor)
		want(false, 6, true)
		src.away = false
		c.Learn(catalog())
		want(true, 6, true)
	})
}

func TestTablesAndIndexes(t *testing.T) {
	tables := catalog()
	tables[1].ForeignKeys[0].Indexed = false
	n := learn(tables, nil, nil)
	set := map[source.TableName]bool{}
	n.Tables(set, public("my_app_sale"), [][]string{{"customer", "boss", "name"}, {"customer"}, {"nix", "x"}, {"line_set", "all", "*", "x"}})
	n.Tables(set, public("my_app_customer"), [][]string{{"note_set", "count"}, {"sale_set", "count"}, {"transfer_payer_set"}})
	if len(set) != 3 || !set[public("my_app_customer")] || !set[public("line")] || !set[public("my_app_sale")] {
		t.Errorf("tables %v", set) // not that which cannot be published without harm
	}
	if got := n.Unindexed(public("my_app_customer"), []string{"sale_set", "count"}); len(got) != 1 || got[0] != "public.my_app_sale (customer_id)" {
		t.Errorf("unindexed %v", got)
	}
	if got := n.Unindexed(public("my_app_sale"), []string{"customer", "transfer_payer_set", "all"}); len(got) != 0 {
		t.Errorf("unindexed %v", got)
	}
}
