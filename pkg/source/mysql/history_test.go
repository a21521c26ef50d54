package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

// definitionNow is what the catalog says of a table.
func (db *testDB) definitionNow(s *Source, name string) *definition {
	db.tb.Helper()
	var out map[source.TableName]*definition
	err := s.admin.do(context.Background(), func(c *sql.Conn) error {
		srv, err := readServer(context.Background(), c)
		if err != nil {
			return err
		}
		out, err = readDefinitions(context.Background(), c, srv, []string{db.name}, []string{name})
		return err
	})
	if err != nil {
		db.tb.Fatal(err)
	}
	return out[db.table(name)]
}

// print shows a definition as one line a column.
func (d *definition) print() string {
	if d == nil {
		return "none\n"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "charset %s key %v\n", d.Charset, d.Key)
	for _, c := range d.Columns {
		fmt.Fprintf(&b, "  %s %s %s %v\n", c.Name, normal(c.Type), c.Charset, c.JSON)
	}
	return b.String()
}

// normal leaves out what decoding does not depend on and servers print as they like.
func normal(t string) string {
	p := parseType(t)
	switch p.base {
	case "tinyint":
		if t != "tinyint(1)" {
			p.args = nil
		}
	case "smallint", "mediumint", "int", "bigint", "year", "char", "varchar", "binary", "varbinary", "double", "float", "tinytext", "text", "mediumtext", "longtext", "tinyblob", "blob", "mediumblob", "longblob":
		p.args = nil
	case "geomcollection":
		p.base = "geometrycollection"
	}
	for _, kind := range []string{"text", "blob"} { // grow when their character set does
		if strings.HasSuffix(p.base, kind) {
			p.base = kind
		}
	}
	return p.text(p.unsigned, false)
}

// follows compares what the statements in the log made of a table with the catalog,
// after a row has passed through the log.
func (db *testDB) follows(t *testing.T, r *running, table, insert string) {
	t.Helper()
	db.exec(insert)
	c := r.row()
	for c.Table.Name != table || c.Op != change.Insert {
		c = r.row()
	}
	want := db.definitionNow(r.Source, table)
	v, _, ok := r.history.at(db.table(table), c.Tx.Seq)
	if got := v.Def; !ok || got.print() != want.print() {
		t.Fatalf("the log's statements make\n%sthe catalog has\n%s", got.print(), want.print())
	}
	for i, col := range want.Columns {
		if c.Table.Columns[i].Name != col.Name {
			t.Errorf("column %d is called %s, want %s", i, c.Table.Columns[i].Name, col.Name)
		}
	}
}

// statements that are followed, each with a row after it. %s is the table.
var ddlCases = []struct{ only, sql string }{
	{"", "alter table %s add column a int unsigned not null default 1"},
	{"", "ALTER TABLE %s ADD b VARCHAR(20) CHARACTER SET latin1 DEFAULT 'x,(y' COMMENT 'a, ''b'') first' FIRST, ADD COLUMN (c TINYINT(1), d DECIMAL)"},
	{"", "alter table %s modify column a bigint unsigned after d, drop column b"},
	{"", "alter table %s change a `A b` enum('x','y''z','ü') default 'x'"},
	{"", "alter table %s rename column c to cc"},
	{"", "alter table %s rename column cc to d, rename column d to cc"},
	{"", "alter table %s change cc d int, change d cc varchar(5)"},
	{"", "alter table %s add e text, convert to character set latin1"},
	{"", "alter table %s default character set ucs2, add f varchar(3), add g char(2) collate utf8mb4_bin, add h varchar(2) character set binary"},
	{"", "alter table %s convert to character set utf8mb4"},
	{"", "alter table %s add i int, add index (i), add unique key u (i), add constraint x check (i < 100), order by i"},
	{"", "alter table %s drop index u, drop i"},
	{"", "alter table %s drop primary key, add primary key (id, pk)"},
	{"", "alter table %s modify id int not null, drop primary key, add column n int auto_increment primary key"},
	{"", "alter table %s add j json, add k set('p','q'), add l bit, add m bit(5), add o year, add p double precision, add q real unsigned, add r float(30), add s float(10), add t numeric(7), add v national varchar(5), add w long, add x long varbinary, add y boolean, add z dec(5,2) zerofill"},
	{"", "alter table %s add ts timestamp(3) null default current_timestamp(3) on update current_timestamp(3), add dt datetime default now(), add gen int generated always as (id + (1)) stored, add gen2 varchar(30) as (concat('a,b)', id)) virtual"},
	{"", "alter table %s add inv int invisible default 3, add g1 point, add g2 geometrycollection, add s1 smallint, add m1 mediumint unsigned, add s9 int1, add s8 int8, add s7 middleint, add s6 character varying(7), add s5 integer unsigned zerofill"},
	{"", "/* gh-ost */ alter /* x */ table %s -- comment\n add column com int # other, drop id\n"},
	{"", "alter table %s alter column com set default 5, comment = 'x add column y int', engine = innodb"},
	{"", "/*!40101 alter table %s add column cond int */"},
	{"", "alter table %s /*!99999 add column never int, */ add column cond2 /*!50000 int */ unsigned"},
	{"mysql", "alter table %s add column v1 vector(4), add column sr point srid 4326, algorithm = copy"},
	{"mysql", "alter table %s add column ins int, algorithm = instant"},
	{"mysql", "alter table %s drop column ins, algorithm = instant"},
	{"mysql", "alter table %s add column u8 varchar(3) character set utf8, add column ch varchar(3) charset gbk collate gbk_bin, add bb char(3) byte, add ua char(3) ascii, add uu char(3) unicode"},
	{"mariadb", "alter table %s add column if not exists u1 uuid, add column if not exists id int, drop column if exists nope, change column if exists nope2 x2 int, add i6 inet6"},
	{"mariadb", "alter online table %s add column comp varchar(300) compressed, add lj longtext check (json_valid(lj))"},
	{"mariadb", "alter table if exists %s wait 5 rename column if exists i6 to i66, modify if exists u1 uuid not null default uuid()"},
	{"mariadb", "/*M!100100 alter table %s add column mar int */"},
	{"mariadb-11.8", "alter table %s add column mv vector(3), add column i4 inet4"},
}

// TestFollowsStatements alters a table in every way, with a row after each: what the
// statements make must be what the catalog has.
func TestFollowsStatements(t *testing.T) {
	everywhere(t, func(t *testing.T, db *testDB) {
		db.exec("set sql_mode = ''")
		db.exec("create table t (pk int not null default 7, id int, primary key (pk))")
		r := start(t, db, "t")
		db.follows(t, r, "t", "insert into t () values ()")
		for _, c := range ddlCases {
			if !strings.HasPrefix(db.version, c.only) {
				continue
			}
			q := fmt.Sprintf(c.sql, "t")
			if _, err := db.app.ExecContext(context.Background(), q); err != nil {
				t.Fatalf("%s: %v", q, err)
			}
			t.Run(strings.SplitN(c.sql, "\n", 2)[0][:30], func(t *testing.T) {
				db.exec("delete from t")
				db.follows(t, r, "t", "insert into t () values ()")
			})
		}
	})
}

// TestFollowsTables makes, renames, copies and drops tables.
func TestFollowsTables(t *testing.T) {
	everywhere(t, func(t *testing.T, db *testDB) {
		db.exec("create table sale (id int primary key, note varchar(10))")
		r := start(t, db, "sale")
		// Online schema changes: another table takes the name.
		db.exec("create table _sale_gho like sale")
		db.exec("alter table _sale_gho add column total decimal(10,2) default 3 after id")
		db.exec("insert into _sale_gho (id, note) values (0, 'copied')")
		db.exec("rename table sale to _sale_del, _sale_gho to sale")
		db.exec("drop table _sale_del")
		db.follows(t, r, "sale", "insert into sale (id, note) values (1, 'x')")
		// Exchanged with each other.
		db.exec("create table a1 (x int primary key, y enum('p','q')) default charset latin1")
		db.exec("rename table sale to tmp, a1 to sale, tmp to a1")
		db.follows(t, r, "sale", "insert into sale values (1, 'q')")
		// Dropped and made again.
		db.exec("drop table sale")
		db.exec("create table if not exists sale (`order` int primary key, `select` text, key k (`select`(10)), constraint c unique (`order`)) charset = latin1 comment 'a)'")
		db.exec("create table if not exists sale (other int)")
		db.follows(t, r, "sale", "insert into sale values (5, 'é')")
		db.exec("alter table sale rename to sale2")
		db.exec("alter table sale2 add more int, rename sale")
		db.follows(t, r, "sale", "insert into sale values (6, 'é', 1)")
		// From a query.
		db.exec("drop table sale")
		db.exec("create table sale (id int primary key) select 1 as id, 'é' as name")
		if got := line(r.row()); got != `insert sale -> (id=1 name="é")` {
			t.Errorf("got %s", got)
		}
		db.follows(t, r, "sale", "insert into sale values (2, 'b')")
		// The database's character set.
		db.exec("alter database " + db.name + " character set latin2")
		db.exec("drop table sale")
		db.exec("create table sale (name varchar(10) primary key)")
		db.follows(t, r, "sale", "insert into sale values ('żółw')")
		// Of other tables, and what is no table.
		db.exec("create view v as select * from sale")
		db.exec("create temporary table sale (x int)")
		db.exec("drop temporary table sale")
		db.exec("create trigger tr before insert on sale for each row set new.name = new.name")
		db.exec("create procedure p() begin alter table sale add x int; end")
		db.follows(t, r, "sale", "insert into sale values ('b')")
		db.exec("drop trigger tr")
	})
}

// TestHistoryUnderLag alters a table again and again while nobody reads: each row comes
// with the columns of its time, also after a restart, and with a new trigger's table
// beside it.
func TestHistoryUnderLag(t *testing.T) {
	everywhere(t, func(t *testing.T, db *testDB) {
		db.exec("create table sale (id int primary key, a varchar(10))")
		r := start(t, db, "sale")
		db.exec("insert into sale values (1, 'x')")
		r.want(`insert sale -> (id=1 a="x")`)
		r.next()
		r.close()
		db.exec(`insert into sale values (2, 'y')
			alter table sale change a b varchar(10)
			insert into sale values (3, 'z')
			alter table sale add a varchar(10) after id
			create table late (id int primary key, old int)
			insert into late values (1, 1)
			insert into sale values (4, 'aa', 'bb')
			alter table late change old new int
			insert into late values (2, 2)`)
		r = start(t, db) // wants what it wanted before
		if missing, err := r.Publish(context.Background(), []source.TableName{db.table("sale"), db.table("late")}); err != nil || len(missing) > 0 {
			t.Fatalf("missing %v, error %v", missing, err)
		}
		db.exec("insert into late values (3, 3)")
		// The rows of the new one come as they were written, if they come.
		want := []string{`insert sale -> (id=2 a="y")`, `insert sale -> (id=3 b="z")`, `insert sale -> (id=4 a="aa" b="bb")`, `insert late -> (id=3 new=3)`}
		for len(want) > 0 {
			switch got := line(r.row()); {
			case got == want[0]:
				want = want[1:]
			case got != `insert late -> (id=1 old=1)` && got != `insert late -> (id=2 new=2)`:
				t.Fatalf("got %s, want %s", got, want[0])
			}
		}
	})
}

// TestHistoryIsRefused: what can only be guessed ends the source, loudly, unless the log
// itself says it.
func TestHistoryIsRefused(t *testing.T) {
	everywhere(t, func(t *testing.T, db *testDB) {
		db.exec("create table sale (id int primary key, a int, b int)")
		// A change that the log does not have: the catalog's columns fit, and are taken.
		r := start(t, db, "sale")
		db.exec("set sql_log_bin = 0")
		db.exec("alter table sale add c varchar(5)")
		db.exec("set sql_log_bin = 1")
		db.exec("insert into sale values (1, 2, 3, 'c')")
		r.want(`insert sale -> (id=1 a=2 b=3 c="c")`)
		r.next()
		r.close()
		// Nor does the catalog fit, since it was changed again.
		db.exec("set sql_log_bin = 0")
		db.exec("alter table sale add d int")
		db.exec("set sql_log_bin = 1")
		db.exec("insert into sale values (2, 2, 3, 'c', 4)")
		db.exec("set sql_log_bin = 0")
		db.exec("alter table sale add e int")
		db.exec("set sql_log_bin = 1")
		s := newSource(t, db.config(), db.notes)
		defer s.Close()
		st := db.notes.last()
		if _, err := s.Prepare(context.Background(), st, db.notes.save); err != nil {
			t.Fatal(err)
		}
		err := s.Run(t.Context(), st.Mark, make(chan source.Batch))
		if err == nil || !strings.Contains(err.Error(), "rows of table "+db.name+".sale") || s.Status().State != source.Misconfigured {
			t.Errorf("got %v, state %s", err, s.Status().State)
		}
	})
}

// TestRandomStatements follows a random sequence of statements.
func TestRandomStatements(t *testing.T) {
	everywhere(t, func(t *testing.T, db *testDB) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		rng := rand.New(rand.NewPCG(seed, 2))
		db.exec("set sql_mode = ''")
		db.exec("create table t (k int primary key auto_increment, c0 int)")
		r := start(t, db, "t")
		columns := []string{"c0"}
		types := []string{"int unsigned", "bigint", "varchar(9)", "char(3) character set latin1", "text collate utf8mb4_bin", "enum('a','b')", "set('x','y,z')", "decimal(8,3)", "datetime(3)", "bit(9)", "blob", "json", "tinyint(1)", "binary(3)", "double", "time", "year", "timestamp null"}
		n := 0
		name := func() string { n++; return fmt.Sprintf("c%d", n) }
		place := func() string {
			switch rng.IntN(3) {
			case 0:
				return " first"
			case 1:
				return " after " + columns[rng.IntN(len(columns))]
			}
			return ""
		}
		for range 60 {
			var specs []string
			touched := map[string]bool{}
			for range 1 + rng.IntN(3) {
				i := rng.IntN(len(columns))
				c, typ := columns[i], types[rng.IntN(len(types))]
				if touched[c] {
					continue
				}
				switch rng.IntN(5) {
				case 0, 1:
					specs = append(specs, "add "+[]string{"", "column "}[rng.IntN(2)]+name()+" "+typ)
				case 2:
					touched[c] = true
					specs = append(specs, "change "+c+" "+name()+" "+typ)
				case 3:
					touched[c] = true
					specs = append(specs, "modify "+c+" "+typ)
				case 4:
					if len(columns)-len(touched) > 1 {
						touched[c] = true
						specs = append(specs, "drop "+c)
					}
				}
			}
			if len(specs) == 1 && !strings.HasPrefix(specs[0], "drop") && len(touched) == 0 {
				specs[0] += place()
			}
			if len(specs) == 0 {
				continue
			}
			db.exec("delete from t")
			q := "alter table t " + strings.Join(specs, ", ")
			if _, err := db.app.ExecContext(context.Background(), q); err != nil {
				continue // the server refuses some
			}
			db.follows(t, r, "t", "insert into t () values ()")
			columns = columns[:0]
			for _, c := range db.definitionNow(r.Source, "t").Columns {
				if c.Name != "k" {
					columns = append(columns, c.Name)
				}
			}
		}
	})
}
