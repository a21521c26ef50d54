package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
	"github.com/waltrigger/waltrigger/pkg/source/sourcetest"
)

// typeCase is a line of testdata/types/postgres.jsonl: a column's type, a value in SQL
// and what must come out, to the byte.
type typeCase struct {
	Type  string `json:"type"`
	SQL   string `json:"sql"`
	Kind  string `json:"kind"`
	JSON  string `json:"json"`
	Since int    `json:"since"` // the first major version that has it
}

var kindNames = map[string]change.Kind{
	"null": change.Null, "bool": change.Bool, "int": change.Int, "float": change.Float, "decimal": change.Decimal,
	"string": change.String, "bytes": change.Bytes, "timestamp": change.Timestamp, "datetime": change.DateTime,
	"date": change.Date, "time": change.Time, "interval": change.Interval, "uuid": change.UUID, "json": change.JSON,
	"array": change.Array, "object": change.Object,
}

// typeCases reads the matrix. TYPES.md is the table in words.
func typeCases(tb testing.TB) []typeCase {
	tb.Helper()
	text, err := os.ReadFile("../../../testdata/types/postgres.jsonl")
	if err != nil {
		tb.Fatal(err)
	}
	var out []typeCase
	for line := range strings.Lines(string(text)) {
		var c typeCase
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			tb.Fatalf("%s: %v", line, err)
		}
		if _, ok := kindNames[c.Kind]; !ok {
			tb.Fatalf("%s: there is no such kind", line)
		}
		out = append(out, c)
	}
	return out
}

// userTypes are the types that the matrix names beside the built-in ones. Types of
// pgvector and PostGIS are told by their name and by belonging to an extension: these
// print what they are given.
const userTypes = `
create extension hstore; create extension citext; create extension ltree; create extension cube; create extension seg; create extension isn; create extension intarray;
create schema far;
create type mood as enum ('sad', 'happy', 'it''s "odd"');
create type far."Mood Ring" as enum ('blue');
create domain price as numeric(10,2);
create domain dearprice as price check (value > 10);
create domain prices as numeric(10,2)[];
create domain doc as json;
create domain flag as bool;
create type pair as (n int, "Label" text);
create type nest as (p pair, list int[], at timestamptz, raw bytea, doc json, cost numeric, m mood);
create domain goodpair as pair;
create type nothing as ();
create type shrunk as (a int, b text); alter type shrunk drop attribute a;
create table rowlike (id int, note text);
create type span as range (subtype = int4%s);
create type words as range (subtype = text, collation = "C");
do $$ declare name text; begin
  foreach name in array array['weird', 'vector', 'halfvec', 'sparsevec', 'geometry', 'geography'] loop
    execute format('create type %%1$s;
      create function %%1$s_in(cstring) returns %%1$s language internal immutable strict as ''textin'';
      create function %%1$s_out(%%1$s) returns cstring language internal immutable strict as ''textout'';
      create type %%1$s (input = %%1$s_in, output = %%1$s_out, like = text)', name);
    if name <> 'weird' then
      execute format('alter extension cube add type %%s', name);
    end if;
  end loop;
end $$`

func createUserTypes(db *database) {
	db.exec(fmt.Sprintf(userTypes, ", multirange_type_name = spans"))
}

// typesTable makes a table with one column a case, and returns the cases that the
// server knows and the insert.
func typesTable(db *database) (cases []typeCase, insert string) {
	createUserTypes(db)
	var columns, values []string
	for _, c := range typeCases(db.tb) {
		if c.Since > db.major {
			continue
		}
		columns = append(columns, fmt.Sprintf("c%d %s", len(cases), c.Type))
		values = append(values, c.SQL)
		cases = append(cases, c)
	}
	db.exec("create table kinds (id int primary key, " + strings.Join(columns, ", ") + ")")
	return cases, "insert into kinds values (1, " + strings.Join(values, ", ") + ")"
}

func checkTypes(t *testing.T, cases []typeCase, row []change.Value) {
	t.Helper()
	for i, c := range cases {
		v := row[i+1]
		got := string(v.AppendJSON(nil))
		if got != c.JSON || v.Kind != kindNames[c.Kind] {
			t.Errorf("%s %s: got kind %d %s, want kind %d %s", c.Type, c.SQL, v.Kind, got, kindNames[c.Kind], c.JSON)
		}
		if !json.Valid([]byte(got)) {
			t.Errorf("%s %s: %s is not JSON", c.Type, c.SQL, got)
		}
	}
}

// settings are what changes how PostgreSQL prints values; each must not show through.
var settings = []string{
	"datestyle = 'SQL, DMY'", "intervalstyle = 'postgres_verbose'", "timezone = 'Asia/Kolkata'", "bytea_output = 'escape'",
	"extra_float_digits = -15", "client_encoding = 'LATIN1'", "quote_all_identifiers = on", "standard_conforming_strings = off",
	"xmlbinary = 'hex'", "lc_monetary = '%s'",
}

// strangeMoney finds a locale of the server in which money is not printed as in C.
func strangeMoney(db *database) string {
	for _, name := range []string{"de_DE.UTF-8", "de_DE.utf8", "en_GB.UTF-8", "en_GB.utf8", "fr_FR.UTF-8"} {
		if _, err := db.Exec(context.Background(), "set lc_monetary = "+literal(name)); err == nil {
			db.exec("reset lc_monetary")
			return name
		}
	}
	return "POSIX"
}

// TestTypes runs the matrix with the settings made where they can be: for the database,
// for the role in it, and in the url.
func TestTypes(t *testing.T) {
	everyMajor(t, func(t *testing.T, db *database) {
		cases, insert := typesTable(db)
		var own []string // of our table's settings, as options of the url
		for _, set := range settings {
			set = strings.Replace(set, "%s", strangeMoney(db), 1)
			db.exec("alter database " + db.name + " set " + set)
			name, value, _ := strings.Cut(set, " = ")
			own = append(own, "-c "+name+"="+strings.ReplaceAll(strings.Trim(value, "'"), " ", `\ `))
		}
		for i, where := range []string{"database", "role", "url"} {
			t.Run(where, func(t *testing.T) {
				cfg := db.config()
				cfg.Slot += where
				switch where {
				case "role":
					for _, set := range settings {
						set = strings.Replace(set, "%s", strangeMoney(db), 1)
						db.exec("alter role postgres in database " + db.name + " set " + set)
					}
				case "url":
					cfg.URL += "?options=" + strings.ReplaceAll(url.PathEscape(strings.Join(own, " ")), "=", "%3D") + "&DateStyle=German&TimeZone=Asia/Tokyo&Bytea_Output=escape"
				}
				checkStreamAndRows(t, db, cfg, cases, strings.Replace(insert, "(1,", fmt.Sprintf("(%d,", i), 1), i)
			})
		}
	})
}

// checkStreamAndRows: what the log gives and what the table gives are the same bytes.
func checkStreamAndRows(t *testing.T, db *database, cfg Config, cases []typeCase, insert string, id int) {
	t.Helper()
	r := start(t, cfg, &memory{}, "kinds")
	db.exec(insert)
	c := r.row()
	checkTypes(t, cases, c.After)
	got, err := r.Rows(context.Background(), source.Query{Table: names("kinds")[0], Columns: []string{"id"}, Keys: [][]string{{fmt.Sprint(id)}, {"77"}}})
	if err != nil || len(got.Rows) != 1 {
		t.Fatalf("%d rows, error %v", len(got.Rows), err)
	}
	for i, v := range got.Rows[0] {
		if v != c.After[i] {
			t.Errorf("%s: the table gives %+v, the log %+v", got.Table.Columns[i].Type, v, c.After[i])
		}
	}
	scanned := sourcetest.ScanAll(t, r, source.TableName{Schema: "public", Name: "kinds"}, 1)
	if last := scanned[len(scanned)-1]; !slices.Equal(last, c.After) {
		t.Errorf("read as a whole the table gives %+v, the log %+v", last, c.After)
	}
	if got.Seq <= c.Tx.Seq {
		t.Errorf("rows of %d promise less than the change at %d", got.Seq, c.Tx.Seq)
	}
	if !slices.Equal(got.Table.Columns, c.Table.Columns) || !slices.Equal(got.Table.Key, c.Table.Key) {
		t.Error("the table's columns are not those of the log")
	}
}

// TestTypesWarnOnce: a type without a mapping is text, and said once, whoever meets it.
func TestTypesWarnOnce(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		createUserTypes(db)
		db.exec("create table odd (id int primary key, a weird, b weird[], c weird, d query_int, e mood, f vector)")
		var log logged
		s, err := New(db.config(), nil, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		r := startSource(t, s, &memory{}, "odd")
		for i := range 2 {
			db.exec("insert into odd values ($1, 'x', null, 'y', '1', 'sad', '[1]')", i)
			r.row()
			db.exec("alter table odd add column more" + fmt.Sprint(i) + " weird") // another shape of the table
		}
		if _, err := r.Rows(context.Background(), source.Query{Table: names("odd")[0], Columns: []string{"id"}, Keys: [][]string{{"1"}}}); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(log.String(), "no mapping of its own"); n != 2 || !strings.Contains(log.String(), "type=weird") || !strings.Contains(log.String(), "type=query_int") {
			t.Errorf("%d warnings: %s", n, &log)
		}
	})
}

// TestServerEncodings: values are UTF-8 whatever the database keeps. Bytes that a
// database without an encoding (SQL_ASCII) keeps, and that are no UTF-8, are replaced.
func TestServerEncodings(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		for encoding, c := range map[string]struct{ sql, want string }{
			"LATIN1":    {`U&'\00E9\00FC', '{"a": "' || U&'\00E9' || '"}'`, `id=1 a="éü" j={"a": "é"} l=["éü"]`},
			"EUC_JP":    {`U&'\3042', '{"a": "' || U&'\3042' || '"}'`, `id=1 a="あ" j={"a": "あ"} l=["あ"]`},
			"SQL_ASCII": {`E'\xC3\xA9\xFF', E'{"a": "\xFF\xC3\xA9"}'`, "id=1 a=\"é\uFFFD\" j={\"a\": \"\uFFFDé\"} l=[\"é\uFFFD\"]"},
		} {
			other := newDatabaseWith(t, db.dsn, " template template0 lc_collate 'C' lc_ctype 'C' encoding "+literal(encoding))
			other.exec("create table t (id int primary key, a text, j json, l text[])")
			r := start(t, other.config(), &memory{}, "t")
			other.exec("insert into t select 1, a, j::json, array[a] from (values (" + c.sql + ")) v (a, j)")
			got := r.row()
			if s := show(got, got.After); s != c.want || !utf8.ValidString(s) {
				t.Errorf("%s: got %s, want %s", encoding, s, c.want)
			}
			rows, err := r.Rows(context.Background(), source.Query{Table: names("t")[0], Columns: []string{"id"}, Keys: [][]string{{"1"}}})
			if err != nil || len(rows.Rows) != 1 || !slices.Equal(rows.Rows[0], got.After) {
				t.Errorf("%s: the table gives %+v, the log %+v (%v)", encoding, rows.Rows, got.After, err)
			}
			r.close()
		}
	})
}

// TestChar: a "char" may be any byte. Version 14 sends it as it is, whatever the encoding.
func TestChar(t *testing.T) {
	everyMajor(t, func(t *testing.T, db *database) {
		db.exec(`create domain byte as "char"; create table t (id int primary key, a "char", b byte, l "char"[])`)
		r := start(t, db.config(), &memory{}, "t")
		db.exec(`insert into t select 1, c, c, array[c] from (values ((-56)::"char")) v (c)`)
		want := `id=1 a="\\310" b="\\310" l=["\\310"]`
		if db.major < 15 {
			want = "id=1 a=\"\uFFFD\" b=\"\uFFFD\" l=[\"\uFFFD\"]"
		}
		got := r.row()
		if s := show(got, got.After); s != want || !utf8.ValidString(got.After[1].Text) {
			t.Errorf("got %s, %q, want %s", s, got.After[1].Text, want)
		}
		rows, err := r.Rows(context.Background(), source.Query{Table: names("t")[0], Columns: []string{"id"}, Keys: [][]string{{"1"}}})
		if err != nil || len(rows.Rows) != 1 || !slices.Equal(rows.Rows[0], got.After) {
			t.Errorf("the table gives %+v, the log %+v (%v)", rows.Rows, got.After, err)
		}
	})
}

// TestTypesChange alters types while they are in use.
func TestTypesChange(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		createUserTypes(db)
		db.exec("create table a (id int primary key, p pair, m mood); create table b (id int primary key, ps pair[])")
		r := start(t, db.config(), &memory{}, "a", "b")
		db.exec("insert into a values (1, row(1, 'x'), 'sad')")
		first := r.row()
		if got, want := show(first, first.After), `id=1 p={"n":1,"Label":"x"} m="sad"`; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		db.exec("alter type pair add attribute extra int; alter type mood add value 'glad'; alter table a add column n int")
		db.exec("insert into a values (2, row(1, 'x', 3), 'glad', 4)")
		c := r.row()
		if got, want := show(c, c.After), `id=2 p={"n":1,"Label":"x","extra":3} m="glad" n=4`; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		db.exec("insert into b values (1, array[row(1, 'x', 3)::pair])")
		c = r.row()
		if got, want := show(c, c.After), `id=1 ps=[{"n":1,"Label":"x","extra":3}]`; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

// TestTypesChangeAlone alters a type and nothing else: the server does not describe the
// tables again. Another number of fields shows at once, other names within seconds.
func TestTypesChangeAlone(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		db.exec(`create type pair as (n int, label text); create domain two as pair; create type nest as (p pair);
			create table a (id int primary key, p pair); create table b (id int primary key, ps two[], q nest)`)
		r := start(t, db.config(), &memory{}, "a", "b")
		step := func(row, a, b string) {
			t.Helper()
			db.exec("insert into a values (1, " + row + "); insert into b values (1, array[" + row + "::pair::two], row(" + row + ")); delete from a; delete from b")
			r.wantLines("insert a none / none -> id=1 p="+a, "insert b none / none -> id=1 ps=["+b+`] q={"p":`+b+"}", "delete a key_only / id=1 p=missing -> none", "delete b key_only / id=1 ps=missing q=missing -> none")
		}
		step("row(1, 'x')", `{"n":1,"label":"x"}`, `{"n":1,"label":"x"}`)
		db.exec("alter type pair add attribute extra int")
		step("row(1, 'x', 3)", `{"n":1,"label":"x","extra":3}`, `{"n":1,"label":"x","extra":3}`)
		db.exec("alter type pair drop attribute label")
		step("row(1, 3)", `{"n":1,"extra":3}`, `{"n":1,"extra":3}`)
		db.exec("alter type pair rename attribute extra to more")
		time.Sleep(relationFor + 100*time.Millisecond)
		step("row(1, 3)", `{"n":1,"more":3}`, `{"n":1,"more":3}`)
	})
}
