package postgres

import (
	"context"
	"fmt"
	"testing"

	"github.com/waltrigger/waltrigger/pkg/source"
)

func TestLatest(t *testing.T) {
	each(t, func(t *testing.T, db *database) {
		s := newSource(t, db.config())
		defer s.Close()
		db.exec(`create table "T x" (n int, "K ""1" int, k2 text, primary key ("K ""1", k2))`)
		db.exec("create table keyless (a text)")
		latest := func(table string) string {
			t.Helper()
			got, err := s.Latest(context.Background(), source.TableName{Schema: "public", Name: table})
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Rows) == 0 {
				return ""
			}
			out := ""
			for i, v := range got.Rows[0] {
				out += fmt.Sprintf("%s=%s;", got.Table.Columns[i].Name, v.Text)
			}
			return out
		}
		if got := latest("T x"); got != "" {
			t.Errorf("of an empty table: %s", got)
		}
		db.exec(`insert into "T x" values (1, 2, 'a'), (2, 2, 'b'), (3, 1, 'z')`)
		db.exec("insert into keyless values ('only')")
		if got := latest("T x"); got != `n=2;K "1=2;k2=b;` {
			t.Errorf("got %s", got)
		}
		if got := latest("keyless"); got != "a=only;" {
			t.Errorf("got %s", got)
		}
		if _, err := s.Latest(context.Background(), source.TableName{Schema: "public", Name: "none"}); err == nil {
			t.Error("a table that is not there has a row")
		}
	})
}
