package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

// typeCases are column types, SQL values and the JSON that must come out, whatever the
// settings of server, database and role. TYPES.md is the table in words.
var typeCases = []struct {
	typ, sql, want string
	kind           change.Kind
}{
	{"bool", "true", `true`, change.Bool},
	{"bool", "false", `false`, change.Bool},
	{"int2", "-32768", `-32768`, change.Int},
	{"int4", "2147483647", `2147483647`, change.Int},
	{"int8", "9223372036854775807", `9223372036854775807`, change.Int},
	{"oid", "4294967295", `4294967295`, change.Int},
	{"xid", "'4294967295'", `4294967295`, change.Int},
	{"float4", "0.1", `0.1`, change.Float},
	{"float8", "0.1::float8 + 0.2", `0.30000000000000004`, change.Float},
	{"float8", "'-0'", `-0`, change.Float},
	{"float8", "1e308", `1e+308`, change.Float},
	{"float8", "'NaN'", `"NaN"`, change.Float},
	{"float8", "'-Infinity'", `"-Infinity"`, change.Float},
	{"numeric(12,2)", "12345678.9", `"12345678.90"`, change.Decimal},
	{"numeric", "0.00000000000000000001", `"0.00000000000000000001"`, change.Decimal},
	{"numeric", "'NaN'", `"NaN"`, change.Decimal},
	{"numeric", "'Infinity'", `"Infinity"`, change.Decimal},
	{"text", `E'a "b" \\ \n \u00e4 \U0001F600'`, `"a \"b\" \\ \n ä 😀"`, change.String},
	{"text", "''", `""`, change.String},
	{"varchar(5)", "'ab'", `"ab"`, change.String},
	{"char(5)", "'ab'", `"ab   "`, change.String},
	{`"char"`, "'x'", `"x"`, change.String},
	{"name", "'n'", `"n"`, change.String},
	{"bytea", `'\x00ff61'`, `"AP9h"`, change.Bytes},
	{"bytea", `''`, `""`, change.Bytes},
	{"date", "'2024-02-03'", `"2024-02-03"`, change.Date},
	{"date", "'0044-03-15 BC'", `"0044-03-15 BC"`, change.Date},
	{"date", "'5874897-12-31'", `"5874897-12-31"`, change.Date},
	{"date", "'infinity'", `"infinity"`, change.Date},
	{"time", "'24:00:00'", `"24:00:00"`, change.Time},
	{"time", "'21:00:00.5'", `"21:00:00.5"`, change.Time},
	{"timetz", "'24:00:00+15:59'", `"24:00:00+15:59"`, change.Time},
	{"timestamp", "'2024-03-09 21:00:00'", `"2024-03-09T21:00:00"`, change.DateTime},
	{"timestamp", "'2024-03-09 21:00:00.123456'", `"2024-03-09T21:00:00.123456"`, change.DateTime},
	{"timestamp", "'294276-12-31 23:59:59.999999'", `"294276-12-31 23:59:59.999999"`, change.DateTime},
	{"timestamptz", "'2024-03-09 21:00:00.5+05:30'", `"2024-03-09T15:30:00.5Z"`, change.Timestamp},
	{"timestamptz", "'0001-01-01 00:00:00+00 BC'", `"0001-01-01 00:00:00+00 BC"`, change.Timestamp},
	{"timestamptz", "'-infinity'", `"-infinity"`, change.Timestamp},
	{"interval", "'1 year -2 mons +3 days -04:05:06.789'", `"P10M3DT-4H-5M-6.789S"`, change.Interval},
	{"json", `'{"a": 1,  "a":2}'`, `{"a": 1,  "a":2}`, change.JSON},
	{"json", `'null'`, `null`, change.JSON},
	{"jsonb", `'{"n": 12345678901234567890.123, "a":2}'`, `{"a": 2, "n": 12345678901234567890.123}`, change.JSON},
	{"uuid", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", `"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"`, change.UUID},
	{"inet", "'192.168.0.1/24'", `"192.168.0.1/24"`, change.String},
	{"cidr", "'10.0.0.0/8'", `"10.0.0.0/8"`, change.String},
	{"macaddr", "'08:00:2b:01:02:03'", `"08:00:2b:01:02:03"`, change.String},
	{"pg_lsn", "'0/16B3748'", `"0/16B3748"`, change.String},
	{"bit(3)", "B'101'", `"101"`, change.String},
	{"varbit", "B'10'", `"10"`, change.String},
	{"money", "1234.56", `"$1,234.56"`, change.String},
	{"point", "'(1.5,2)'", `"(1.5,2)"`, change.String},
	{"box", "'(0,0),(1,1)'", `"(1,1),(0,0)"`, change.String},
	{"path", "'[(0,0),(1,1)]'", `"[(0,0),(1,1)]"`, change.String},
	{"xml", "'<a/>'", `"<a/>"`, change.String},
	{"tsvector", "'a b'", `"'a' 'b'"`, change.String},
	{"jsonpath", "'$.a'", `"$.\"a\""`, change.String},
	{"int4range", "'[1,5)'", `"[1,5)"`, change.String},
	{"numrange", "'(,1.5]'", `"(,1.5]"`, change.String},
	{"tstzrange", "'[2020-01-01 00:00:00+00,infinity)'", `"[\"2020-01-01 00:00:00+00\",infinity)"`, change.String},
	{"int4multirange", "'{[1,3),[5,7)}'", `"{[1,3),[5,7)}"`, change.String},
	{"int4[]", "'{1,NULL,3}'", `[1,null,3]`, change.Array},
	{"int4[]", "'{{1,2},{3,4}}'", `[[1,2],[3,4]]`, change.Array},
	{"int4[]", "'{}'", `[]`, change.Array},
	{"int4[]", "'[5:7]={1,2,3}'", `[1,2,3]`, change.Array},
	{"text[]", `array['a,b', null, 'NULL', 'q"x\', '']`, `["a,b",null,"NULL","q\"x\\",""]`, change.Array},
	{"numeric[]", "'{1.50}'", `["1.50"]`, change.Array},
	{"timestamptz[]", "'{2024-03-09 21:00:00+00}'", `["2024-03-09T21:00:00Z"]`, change.Array},
	{"bytea[]", `array['\x00ff'::bytea]`, `["AP8="]`, change.Array},
	{"bool[]", "'{t,f}'", `[true,false]`, change.Array},
	{"jsonb[]", `array['{"a":1}'::jsonb, 'null'::jsonb, null]`, `[{"a": 1},null,null]`, change.Array},
	{"box[]", "'{(1,1),(0,0);(3,3),(2,2)}'", `["(1,1),(0,0)","(3,3),(2,2)"]`, change.Array},
	{"mood", "'sad'", `"sad"`, change.String},
	{"mood[]", "'{sad,happy}'", `["sad","happy"]`, change.Array},
	{"price", "3.10", `"3.10"`, change.Decimal},
	{"dearprice", "31.50", `"31.50"`, change.Decimal},
	{"prices", "'{1.00,2.00}'", `["1.00","2.00"]`, change.Array},
	{"pair", `row(1, 'x,"y')`, `{"n":1,"Label":"x,\"y"}`, change.Object},
	{"pair", `row(null, '')`, `{"n":null,"Label":""}`, change.Object},
	{"pair[]", `array[row(1, 'a')::pair, row(2, 'b,c')::pair]`, `[{"n":1,"Label":"a"},{"n":2,"Label":"b,c"}]`, change.Array},
	{"nest", `row(row(1, 'a')::pair, '{1,2}')`, `{"p":{"n":1,"Label":"a"},"list":[1,2]}`, change.Object},
	{"span", "'[1,2)'", `"[1,2)"`, change.String},
	{"hstore", `'a=>1, b=>NULL, "c d"=>"x\"y"'`, `{"a":"1","b":null,"c d":"x\"y"}`, change.Object},
	{"hstore", `''`, `{}`, change.Object},
	{"citext", "'MiXed'", `"MiXed"`, change.String},
	{"ltree", "'a.b.c'", `"a.b.c"`, change.String},
	{"cube", "'(1,2)'", `"(1, 2)"`, change.String},
	{"int4", "null", `null`, change.Null},
}

const userTypes = `
create extension hstore; create extension citext; create extension ltree; create extension cube;
create type mood as enum ('sad', 'happy');
create domain price as numeric(10,2);
create domain dearprice as price check (value > 10);
create domain prices as numeric(10,2)[];
create type pair as (n int, "Label" text);
create type nest as (p pair, list int[]);
create type span as range (subtype = int4)`

// typesTable makes a table with one column a case, and returns the insert.
func typesTable(db *database) (insert string) {
	db.exec(userTypes)
	var columns, values []string
	for i, c := range typeCases {
		columns = append(columns, fmt.Sprintf("c%d %s", i, c.typ))
		values = append(values, c.sql)
	}
	db.exec("create table kinds (id int primary key, " + strings.Join(columns, ", ") + ")")
	return "insert into kinds values (1, " + strings.Join(values, ", ") + ")"
}

// awkward are settings that change how PostgreSQL prints values.
func awkward(db *database) {
	for _, set := range []string{"datestyle = 'SQL, DMY'", "intervalstyle = 'postgres_verbose'", "timezone = 'Asia/Kolkata'", "bytea_output = 'escape'", "extra_float_digits = 0"} {
		db.exec("alter database " + db.name + " set " + set)
	}
}

func checkTypes(t *testing.T, row []change.Value) {
	t.Helper()
	for i, c := range typeCases {
		v := row[i+1]
		got := string(v.AppendJSON(nil))
		if got != c.want || v.Kind != c.kind {
			t.Errorf("%s %s: got kind %d %s, want kind %d %s", c.typ, c.sql, v.Kind, got, c.kind, c.want)
		}
		if !json.Valid([]byte(got)) {
			t.Errorf("%s %s: %s is not JSON", c.typ, c.sql, got)
		}
	}
}

func TestTypes(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		insert := typesTable(db)
		awkward(db)
		r := start(t, db.config(), &memory{}, "kinds")
		db.exec(insert)
		c := r.row()
		checkTypes(t, c.After)
		// Rows read from the table are the same to the byte.
		got, err := r.Rows(context.Background(), source.Query{Table: source.TableName{Schema: "public", Name: "kinds"}, Columns: []string{"id"}, Keys: [][]string{{"1"}, {"2"}}})
		if err != nil || len(got.Rows) != 1 {
			t.Fatalf("%d rows, error %v", len(got.Rows), err)
		}
		checkTypes(t, got.Rows[0])
		if got.Seq <= c.Tx.Seq {
			t.Errorf("rows of %d promise less than the change at %d", got.Seq, c.Tx.Seq)
		}
	})
}

// TestTypesChange alters types while they are in use.
func TestTypesChange(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		db.exec(userTypes + "; create table a (id int primary key, p pair, m mood); create table b (id int primary key, ps pair[])")
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
