package mysql

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
	"github.com/waltrigger/waltrigger/pkg/source/sourcetest"
)

// typeCase is a line of testdata/types/mysql.jsonl: a column's type, what is written to
// it, and the JSON that must come out, whatever the settings of the server. A column that
// is generated has no value. TYPES.md is the table in words.
type typeCase struct {
	Type  string  `json:"type"`
	Value *string `json:"value"`
	JSON  string  `json:"json"`
	Kind  string  `json:"kind"`
	Only  string  `json:"only"` // servers whose name begins with this
}

var kindNames = map[string]change.Kind{
	"Null": change.Null, "Bool": change.Bool, "Int": change.Int, "Float": change.Float, "Decimal": change.Decimal, "String": change.String, "Bytes": change.Bytes,
	"Timestamp": change.Timestamp, "DateTime": change.DateTime, "Date": change.Date, "Time": change.Time, "UUID": change.UUID, "JSON": change.JSON, "Array": change.Array,
}

func typeCases(t *testing.T, server string) []typeCase {
	t.Helper()
	data, err := os.ReadFile("../../../testdata/types/mysql.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	var out []typeCase
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		var c typeCase
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatalf("%s: %v", lines.Bytes(), err)
		}
		if _, known := kindNames[c.Kind]; !known {
			t.Fatalf("%s: unknown kind", lines.Bytes())
		}
		if strings.HasPrefix(server, c.Only) {
			out = append(out, c)
		}
	}
	return out
}

// typeTables spreads the cases over tables, and gives the statements that fill them.
func typeTables(db *testDB, cases []typeCase) (tables []string, inserts []string, at [][]int) {
	const columns = 60
	for first := 0; first < len(cases); first += columns {
		name := fmt.Sprintf("kinds%d", len(tables))
		var defs, names, values []string
		var here []int
		for i := first; i < min(first+columns, len(cases)); i++ {
			c := cases[i]
			col := fmt.Sprintf("c%d", i)
			defs = append(defs, col+" "+strings.ReplaceAll(c.Type, "COLUMN", col))
			if c.Value != nil {
				names, values = append(names, col), append(values, *c.Value)
			}
			here = append(here, i)
		}
		db.exec("create table " + name + " (id int primary key, " + strings.Join(defs, ", ") + ") default charset utf8mb4")
		inserts = append(inserts, "insert into "+name+" (id, "+strings.Join(names, ", ")+") values (1, "+strings.Join(values, ", ")+")")
		tables, at = append(tables, name), append(at, here)
	}
	return tables, inserts, at
}

func checkTypes(t *testing.T, what string, cases []typeCase, at []int, row []change.Value) {
	t.Helper()
	for n, i := range at {
		c, v := cases[i], row[n+1]
		got := string(v.AppendJSON(nil))
		if got != c.JSON || v.Kind != kindNames[c.Kind] {
			value := "generated"
			if c.Value != nil {
				value = *c.Value
			}
			t.Errorf("%s: %.60s %.60s: got kind %d %.200s, want %s %.200s", what, c.Type, value, v.Kind, got, c.Kind, c.JSON)
		}
		if !json.Valid([]byte(got)) {
			t.Errorf("%s: %.60s: %.200s is not JSON", what, c.Type, got)
		}
	}
}

// withMetadata runs f with the server's default metadata, and with all of it.
func withMetadata(t *testing.T, db *testDB, f func(t *testing.T)) {
	t.Helper()
	var old string
	if err := db.root.QueryRowContext(context.Background(), "select @@global.binlog_row_metadata").Scan(&old); err != nil {
		t.Fatal(err)
	}
	t.Run(old, f)
	db.admin("set global binlog_row_metadata = 'FULL'")
	defer db.admin("set global binlog_row_metadata = '" + old + "'")
	t.Run("FULL", f)
}

func TestTypes(t *testing.T) {
	everywhere(t, func(t *testing.T, db *testDB) {
		cases := typeCases(t, db.version)
		tables, inserts, at := typeTables(db, cases)
		// Dates that strict modes refuse, and a time zone that must not show through.
		db.exec("set sql_mode = '', time_zone = '+05:30'")
		withMetadata(t, db, func(t *testing.T) {
			db.notes = &memory{}
			r := start(t, db, tables...)
			for i, insert := range inserts {
				db.exec("delete from " + tables[i])
				db.exec(insert)
				c := r.row()
				for c.Op == change.Delete { // of the other kind of metadata
					c = r.row()
				}
				checkTypes(t, "log", cases, at[i], c.After)
				got, err := r.Rows(context.Background(), source.Query{Table: db.table(tables[i]), Columns: []string{"id"}, Keys: [][]string{{"1"}, {"2"}}})
				if err != nil || len(got.Rows) != 1 {
					t.Fatalf("%d rows, error %v", len(got.Rows), err)
				}
				checkTypes(t, "table", cases, at[i], got.Rows[0])
				if whole := sourcetest.ScanAll(t, r, db.table(tables[i]), 1); len(whole) != 1 || !slices.Equal(whole[0], c.After) {
					t.Errorf("read as a whole the table gives %+v, the log %+v", whole, c.After)
				}
				if got.Seq <= c.Tx.Seq {
					t.Errorf("rows of %d promise less than the change at %d", got.Seq, c.Tx.Seq)
				}
				if got.Table.Columns[1] != c.Table.Columns[1] {
					t.Errorf("the log has column %+v, the catalog %+v", c.Table.Columns[1], got.Table.Columns[1])
				}
			}
		})
	})
}

// TestRowsByKey looks rows up by every kind of value.
func TestRowsByKey(t *testing.T) {
	everywhere(t, func(t *testing.T, db *testDB) {
		cases := typeCases(t, db.version)
		tables, inserts, at := typeTables(db, cases)
		db.exec("set sql_mode = '', time_zone = '+00:00'")
		s := newSource(t, db.config(), db.notes)
		defer s.Close()
		for i, insert := range inserts {
			db.exec(insert)
			all, err := s.Rows(context.Background(), source.Query{Table: db.table(tables[i]), Columns: []string{"id"}, Keys: [][]string{{"1"}}})
			if err != nil {
				t.Fatal(err)
			}
			for n, k := range at[i] {
				v := all.Rows[0][n+1]
				switch v.Kind {
				case change.Null, change.JSON, change.Array:
					continue
				}
				col := fmt.Sprintf("c%d", k)
				if strings.Contains(cases[k].Type, "geometry") || strings.Contains(cases[k].Type, "point") || strings.Contains(cases[k].Type, "linestring") || strings.HasPrefix(cases[k].Type, "float") {
					continue // not for looking up
				}
				if strings.Contains(v.Text, "-00") || strings.HasPrefix(v.Text, "0000") { // dates that only old modes compare
					continue
				}
				got, err := s.Rows(context.Background(), source.Query{Table: db.table(tables[i]), Columns: []string{col}, Keys: [][]string{{v.Text}}})
				if err != nil || len(got.Rows) != 1 {
					t.Errorf("%.60s = %.60q: %d rows, error %v", cases[k].Type, v.Text, len(got.Rows), err)
				}
			}
		}
		name := source.TableName{Schema: db.name, Name: tables[0]}
		for _, bad := range []struct {
			columns []string
			key     []string
		}{{[]string{"nope"}, []string{"1"}}, {[]string{"id"}, []string{"not a number"}}, {[]string{"id"}, []string{"1", "2"}}} {
			if _, err := s.Rows(context.Background(), source.Query{Table: name, Columns: bad.columns, Keys: [][]string{bad.key}}); err == nil {
				t.Errorf("%v = %q: no error", bad.columns, bad.key)
			}
		}
	})
}
