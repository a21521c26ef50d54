package mysql

import (
	"slices"
	"strings"
	"testing"

	"github.com/waltrigger/waltrigger/pkg/source"
)

// TestRowsOfEqualTexts: keys that the database holds to be equal are other texts.
func TestRowsOfEqualTexts(t *testing.T) {
	everywhere(t, func(t *testing.T, db *testDB) {
		db.exec("create table part (code varchar(20) primary key, owner varchar(20), n int)\ninsert into part values ('a1', 'ann', 1), ('B2', 'Ann', 2), ('c3', 'bob', 3)")
		s := newSource(t, db.config(), &memory{})
		defer s.Close()
		for _, c := range []struct {
			column string
			limit  int
			keys   [][]string
			want   string
		}{
			{"code", 0, [][]string{{"A1"}, {"B2"}, {"b2"}, {"x"}}, "A1=1 B2=2 b2=2"},
			{"owner", 0, [][]string{{"ANN"}, {"ann"}, {"bob"}}, "ANN=1 ANN=2 ann=1 ann=2 bob=3"},
			{"owner", 1, [][]string{{"ANN"}, {"bob"}}, "ANN=1 bob=3"},
		} {
			q := source.Query{Table: db.table("part"), Columns: []string{c.column}, Keys: c.keys, Limit: c.limit, First: c.limit > 0}
			set, err := s.Rows(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for i, row := range set.Rows {
				got = append(got, c.keys[set.Of[i]][0]+"="+row[2].Text)
			}
			slices.Sort(got)
			if strings.Join(got, " ") != c.want {
				t.Errorf("%s, limit %d: %q, want %s", c.column, c.limit, got, c.want)
			}
		}
	})
}

// TestCarriedCascades: a table that foreign keys change without the log's knowing is not all there.
func TestCarriedCascades(t *testing.T) {
	everywhere(t, func(t *testing.T, db *testDB) {
		db.exec("create table a (id int primary key)\ncreate table b (id int primary key, a int, foreign key (a) references a (id) on delete cascade)\n" +
			"create table c (id int auto_increment primary key, a int, foreign key (a) references a (id))")
		r := start(t, db, "a", "b", "c")
		srv := r.known.Load()
		tables := []source.TableName{db.table("a"), db.table("b"), db.table("c")}
		first, err := r.Carried(t.Context(), tables)
		if err != nil || first[0] == "" || (first[1] == "") != srv.cascading() || first[2] == "" {
			t.Fatalf("words %q, error %v", first, err)
		}
		db.exec("insert into a values (1)\ninsert into c (a) values (1), (1)")
		if again, err := r.Carried(t.Context(), tables); err != nil || !slices.Equal(again, first) {
			t.Errorf("words %q, then %q, error %v", first, again, err)
		}
	})
}
