package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const geography = `
CREATE TABLE myapp_country (id bigserial PRIMARY KEY, name text NOT NULL);
CREATE TABLE myapp_region (id bigserial PRIMARY KEY, name text NOT NULL, country_id bigint NOT NULL REFERENCES myapp_country);
ALTER TABLE myapp_customer ADD region_id bigint REFERENCES myapp_region;
CREATE INDEX ON myapp_sale (customer_id);
INSERT INTO myapp_country (name) SELECT 'Country ' || i FROM generate_series(1, 3) i;
INSERT INTO myapp_region (name, country_id) SELECT 'Region ' || i, i % 3 + 1 FROM generate_series(1, 10) i;
INSERT INTO myapp_customer (name, email, region_id) SELECT 'Customer ' || i, '', i % 10 + 1 FROM generate_series(1, 50) i;
INSERT INTO myapp_product (name, description) SELECT 'Product ' || i, '' FROM generate_series(1, 20) i;`

// counter reads one of the daemon's counters.
func (p *process) counter(name string) int {
	p.t.Helper()
	m := regexp.MustCompile(`(?m)^` + name + `\{source="shop"\} ([0-9.e+]+)$`).FindStringSubmatch(p.metrics())
	if m == nil {
		p.t.Fatalf("there is no %s", name)
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		p.t.Fatal(err)
	}
	return int(v)
}

// published waits until the publication has just these tables.
func (d *database) published(tables ...string) {
	d.t.Helper()
	slices.Sort(tables)
	var got string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		got = d.text("SELECT coalesce(string_agg(tablename, ' ' ORDER BY tablename), '') FROM pg_publication_tables")
		if got == strings.Join(tables, " ") {
			return
		}
	}
	d.t.Fatalf("published are %s, want %v", got, tables)
}

// TestRelatedTableThatMayNotBeRead holds up the trigger that follows it, until the role may
// read it, and no other trigger.
func TestRelatedTableThatMayNotBeRead(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	role := fmt.Sprintf("reader_%d_%d", os.Getpid(), time.Now().UnixNano())
	db.exec("CREATE ROLE " + role + " LOGIN REPLICATION PASSWORD 'pw'")
	t.Cleanup(func() { db.exec("DROP OWNED BY " + role + "; DROP ROLE " + role) })
	db.exec("GRANT SELECT ON myapp_sale, myapp_product, myapp_customer TO " + role)
	db.exec("INSERT INTO myapp_customer VALUES (1, 'Ann', ''); INSERT INTO myapp_product VALUES (1, 'Tea', '')")
	u, err := url.Parse(db.url)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(role, "pw")
	p := newDaemon(t, u.String(), loopback)
	db.exec("CREATE PUBLICATION " + p.slot + " FOR ALL TABLES")
	p.start()
	create := func(path, payload string) {
		p.create(fmt.Sprintf(`{"config_signals":[{"signal":"post_save"}],"content_types":[{"app_label":"myapp","model_name":"sale"}],"webhooks":[{"url":%q}],"payload":%q}`, hook.URL+path, payload))
	}
	create("/customer", "{{ instance.id }} {{ instance.customer.name }}")
	create("/product", "{{ instance.id }} {{ instance.product.name }}")
	create("/plain", "{{ instance.id }}")
	db.exec("REVOKE SELECT ON myapp_customer FROM " + role)
	const n = 5
	for range n {
		began := time.Now()
		db.exec("INSERT INTO myapp_sale (customer_id, product_id, quantity) VALUES (1, 1, 1)")
		hook.wait(t, 2)
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("what needs no customer came after %v", took)
		}
		hook.reset()
	}
	if log := p.log.String(); strings.Contains(log, "trying again") || !strings.Contains(log, `"table":"public.myapp_customer"`) || !strings.Contains(log, "permission denied") {
		t.Error("the log does not name the table once")
	}
	db.exec("GRANT SELECT ON myapp_customer TO " + role)
	for _, r := range hook.wait(t, n) {
		if r.Path != "/customer" || !strings.HasSuffix(r.Body, " Ann") {
			t.Errorf("received %s %s", r.Path, r.Body)
		}
	}
}

// TestRelationsOfThreeSteps follows three foreign keys from each sale, and has a row at
// their end changed in between.
func TestRelationsOfThreeSteps(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	db.exec(geography)
	p := startDaemon(t, db.url, loopback)
	p.create(fmt.Sprintf(`{"config_signals":[{"signal":"post_save"}],"content_types":[{"app_label":"myapp","model_name":"sale"}],"webhooks":[{"url":%q}],
		"payload":"{{ instance.id }}|{{ instance.customer.region.country.name }}|{{ instance.customer.name }}|{{ instance.product.name }}"}`, hook.URL))
	db.published("myapp_sale", "myapp_customer", "myapp_region", "myapp_country", "myapp_product")

	country := map[int]string{} // by id, as it is now
	for i := 1; i <= 3; i++ {
		country[i] = fmt.Sprintf("Country %d", i)
	}
	least := map[int]string{} // the oldest country that a sale may show
	n := 0
	sell := func(count int) {
		db.exec("INSERT INTO myapp_sale (customer_id, product_id, quantity) SELECT i % 50 + 1, i % 20 + 1, 1 FROM generate_series($1::int, $2::int) i", n+1, n+count)
		for range count {
			n++
			customer := n%50 + 1
			region := customer%10 + 1
			least[n] = country[region%3+1]
		}
	}
	rename := func(id int, name string) {
		db.exec("UPDATE myapp_country SET name = $2 WHERE id = $1", id, name)
		country[id] = name
	}
	for i := range 200 {
		sell(1 + i%4)
		if i == 100 {
			rename(2, "Country 2 renamed")
		}
	}
	db.exec("BEGIN") // in one transaction, the sale first: what is shown is how it was committed
	sell(100)
	rename(1, "Country 1 renamed")
	db.exec("COMMIT")
	for i := n - 99; i <= n; i++ {
		least[i] = strings.Replace(least[i], "Country 1", "Country 1 renamed", 1)
	}
	rename(3, "Country 3 renamed")
	sell(1000)

	got := hook.wait(t, n)
	for _, r := range got {
		f := strings.Split(r.Body, "|")
		id, err := strconv.Atoi(f[0])
		if err != nil || len(f) != 4 {
			t.Fatalf("received %s", r.Body)
		}
		if want := fmt.Sprintf("Customer %d", id%50+1); f[2] != want {
			t.Errorf("sale %d of %s, want %s", id, f[2], want)
		}
		if want := fmt.Sprintf("Product %d", id%20+1); f[3] != want {
			t.Errorf("sale %d of %s, want %s", id, f[3], want)
		}
		if f[1] != least[id] && f[1] != least[id]+" renamed" {
			t.Errorf("sale %d in %q, want %q or what it was called later", id, f[1], least[id])
		}
	}
	queries, hits, misses := p.counter("waltrigger_lookups_total"), p.counter("waltrigger_lookup_hits_total"), p.counter("waltrigger_lookup_misses_total")
	p.stop()
	p.start()
	hook.reset()
	sell(1)
	if got := hook.wait(t, 1)[0].Body; !strings.Contains(got, "|"+least[n]+"|") {
		t.Errorf("after a restart: %s, want %s", got, least[n])
	}
	if strings.Contains(p.log.String(), "left the publication") {
		t.Error("related tables left the publication at a restart")
	}
	t.Logf("%d sales: %d queries, %d rows read, %d at hand", n, queries, misses, hits)
	if hits+misses < 4*(n-1) || misses*10 > hits {
		t.Errorf("%d sales: %d rows were read and %d were at hand", n, misses, hits)
	}
}

// TestReverseRelations counts and lists the rows that refer to one.
func TestReverseRelations(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	db.exec(geography)
	db.exec("CREATE TABLE visits (id serial PRIMARY KEY, who bigint); CREATE TABLE myapp_profile (id serial PRIMARY KEY, customer_id bigint UNIQUE REFERENCES myapp_customer, bio text)")
	db.exec("INSERT INTO myapp_sale (customer_id, product_id, quantity) VALUES (1, 3, 1), (1, 2, 1), (2, 1, 1)")
	p := newDaemon(t, db.url, loopback)
	config, err := os.ReadFile(p.config)
	if err != nil {
		t.Fatal(err)
	}
	config = bytes.Replace(config, []byte("{name: shop,"), []byte("{name: shop, relations: ["+
		"{table: public.visits, columns: [who], references: public.myapp_customer, name: visitor, reverse_name: visits}, "+
		"{table: public.myapp_sale, columns: [product_id], name: article}, {table: public.visits, columns: [nix], name: x}],"), 1)
	if err := os.WriteFile(p.config, config, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, _, code := p.cli("check"); code != 0 || !strings.Contains(out, "relations[2] cannot be used: table public.visits has no column nix") {
		t.Errorf("check: %d %s", code, out)
	}
	p.start()
	trigger := func(model, payload string) string {
		return fmt.Sprintf(`{"config_signals":[{"signal":"post_save"}],"content_types":[{"app_label":"myapp","model_name":%q}],"webhooks":[{"url":%q}],"payload":%q}`, model, hook.URL, payload)
	}
	made := p.create(trigger("customer", "{{ instance.id }}: {{ instance.sale_set.count }} {{ instance.sale_set.exists }} {% for s in instance.sale_set.all %}{{ s.id }}={{ s.article.name }},{% endfor %} "+
		"{{ instance.sale_set.first.article.name }} {{ instance.region.customer_set.count }} {{ instance.visits.count }}{{ instance.profile.bio }}"))
	if got := fmt.Sprint(made["warnings"]); !strings.Contains(got, "CREATE INDEX CONCURRENTLY ON public.visits (who)") || strings.Contains(got, "sale") {
		t.Errorf("warnings %v", got)
	}
	want := func(sql string, bodies ...string) {
		t.Helper()
		db.exec(sql)
		var got []string
		for _, r := range hook.wait(t, len(bodies)) {
			got = append(got, r.Body)
		}
		if slices.Sort(got); !slices.Equal(got, bodies) {
			t.Errorf("%s: got %q, want %q", sql, got, bodies)
		}
		hook.reset()
	}
	db.published("myapp_customer", "myapp_region", "myapp_sale", "myapp_product", "visits", "myapp_profile")
	want("UPDATE myapp_customer SET email = 'a' WHERE id in (1, 3)", "1: 2 True 1=Product 3,2=Product 2, Product 3 5 0", "3: 0 False   5 0")
	want("INSERT INTO myapp_sale (customer_id, product_id, quantity) VALUES (3, 5, 1)")
	want("INSERT INTO myapp_profile (customer_id, bio) VALUES (3, ' bio')")
	want("INSERT INTO visits (who) VALUES (3), (3), (1); UPDATE myapp_customer SET email = 'b' WHERE id in (1, 3)", "1: 2 True 1=Product 3,2=Product 2, Product 3 5 1", "3: 1 True 4=Product 5, Product 5 5 2 bio")
	want("DELETE FROM myapp_profile")
	want("UPDATE myapp_sale SET customer_id = 3, product_id = 7 WHERE id = 1") // whose it was is not in the log
	want("UPDATE myapp_customer SET email = 'c' WHERE id in (1, 3)", "1: 1 True 2=Product 2, Product 2 5 1", "3: 2 True 1=Product 7,4=Product 5, Product 7 5 2")
	want("UPDATE myapp_product SET name = 'Renamed' WHERE id = 7; DELETE FROM myapp_sale WHERE id = 4; UPDATE myapp_customer SET email = 'd' WHERE id = 3", "3: 1 True 1=Renamed, Renamed 5 2")
	want("TRUNCATE myapp_sale; UPDATE myapp_customer SET email = 'e', region_id = 5 WHERE id = 3", "3: 0 False   6 2")

	// More rows than a template may go through: the delivery waits, and others do not.
	db.exec("INSERT INTO myapp_sale (customer_id, product_id, quantity) SELECT 3, 1, 1 FROM generate_series(1, 101)")
	want("UPDATE myapp_customer SET email = 'f' WHERE id in (1, 3)", "1: 0 False   5 1")
	if status, out, _ := p.call(http.MethodPut, fmt.Sprintf("/api/action-triggers/%v", made["id"]), trigger("customer", "{{ instance.id }} has {{ instance.sale_set.count }}")); status != http.StatusOK {
		t.Fatalf("mend the trigger: %d %v", status, out)
	}
	if got := hook.wait(t, 1)[0].Body; got != "3 has 101" {
		t.Errorf("got %s", got)
	}

	for _, c := range []struct{ template, want string }{
		{"{{ instance.sale_set }}", "name sale_set.count, .exists, .first or .all"},
		{"{% for s in instance.sale_set %}{{ s.id }}{% endfor %}", "loop over sale_set.all"},
		{"{{ instance.sael_set.count }}", "did you mean sale_set"},
		{"{% for c in instance.region.customer_set.all %}{% for s in c.sale_set.all %}{{ s.id }}{% endfor %}{% endfor %}", "within a loop over another set"},
		{"{% for s in instance.sale_set.all %}{{ s.product.name }}{% endfor %}", "no column product"}, // it has another name
	} {
		if status, body, _ := p.call(http.MethodPost, "/api/action-triggers", trigger("customer", c.template)); status != http.StatusUnprocessableEntity || !strings.Contains(fmt.Sprint(body), c.want) {
			t.Errorf("%s: %d %v, want %q", c.template, status, body, c.want)
		}
	}
}

// TestRelatedTablesOutsideTheLog shows rows of a table that cannot be published, and of
// one that is exchanged for another, a little later than the others.
func TestRelatedTablesOutsideTheLog(t *testing.T) {
	t.Parallel()
	db, hook := newDatabase(t), newReceiver(t)
	db.exec(geography)
	db.exec(`CREATE TABLE grade (code text UNIQUE NOT NULL, name text NOT NULL);
		INSERT INTO grade VALUES ('a', 'Grade A');
		ALTER TABLE myapp_region ADD grade_code text DEFAULT 'a' REFERENCES grade (code)`)
	p := startDaemon(t, db.url, loopback)
	p.create(fmt.Sprintf(`{"config_signals":[{"signal":"post_save"}],"content_types":[{"app_label":"myapp","model_name":"region"}],"webhooks":[{"url":%q}],
		"payload":"{{ instance.grade_code.name }}, {{ instance.country.name }}"}`, hook.URL))
	db.published("myapp_region", "myapp_country")
	shows := func(want string) {
		t.Helper()
		var got string
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
			hook.reset()
			db.exec("UPDATE myapp_region SET name = name WHERE id = 2")
			if got = hook.wait(t, 1)[0].Body; got == want {
				return
			}
		}
		t.Errorf("got %q, want %q", got, want)
	}
	shows("Grade A, Country 3")
	db.exec("UPDATE grade SET name = 'Grade 1'")
	shows("Grade 1, Country 3")
	db.exec(`BEGIN; ALTER TABLE myapp_country RENAME TO old_country;
		CREATE TABLE myapp_country (id bigserial PRIMARY KEY, name text NOT NULL); INSERT INTO myapp_country SELECT id, 'New ' || name FROM old_country;
		ALTER TABLE myapp_region DROP CONSTRAINT myapp_region_country_id_fkey, ADD FOREIGN KEY (country_id) REFERENCES myapp_country; COMMIT`)
	shows("Grade 1, New Country 3")
	db.exec("ALTER TABLE myapp_country ALTER name TYPE varchar(50) USING 'Altered ' || name") // rows change, and the log does not say so
	shows("Grade 1, Altered New Country 3")
	if p.source()["detail"] != "" && p.source()["detail"] != nil {
		t.Errorf("status %v", p.source())
	}
}
