package sourcetest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/waltrigger/waltrigger/pkg/source"
)

// ask reads rows and gives each as `key: values of the columns`, sorted.
func (r *Reader) ask(vague bool, q source.Query, columns ...string) []string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	set, err := r.Rows(ctx, q)
	if err != nil {
		r.t.Fatalf("Rows: %v", err)
	}
	if set.Of != nil && len(set.Of) != len(set.Rows) {
		r.t.Fatalf("%d rows, the keys of %d", len(set.Rows), len(set.Of))
	}
	if !vague && set.Seq <= r.seq {
		r.t.Errorf("rows promise to show what lies below %d, and %d was read", set.Seq, r.seq)
	}
	if set.Until != 0 && set.Until < set.Seq {
		r.t.Errorf("rows show all below %d and nothing from %d", set.Seq, set.Until)
	}
	var out []string
	for i, row := range set.Rows {
		var s string
		if set.Of != nil {
			s = fmt.Sprint(q.Keys[set.Of[i]])
		} else {
			key := make([]string, len(q.Columns))
			for j, c := range q.Columns {
				key[j] = row[set.Table.Lookup(c)].Text
			}
			s = fmt.Sprint(key)
		}
		s += ":"
		for _, c := range columns {
			s += " " + row[set.Table.Lookup(c)].Text
		}
		out = append(out, s)
	}
	slices.Sort(out)
	return out
}

// testRows reads what the application wrote, by key.
func testRows(t *testing.T, db Database, vague bool) {
	run := db.Session(t)
	run("create table part (a int not null, b varchar(20) not null, owner int, primary key (a, b))")
	run("create index part_owner on part (owner)")
	run("insert into part values (3, 'x', 1), (1, 'x', 1), (2, 'y', 1), (2, 'x', 2), (5, 'x', null)")
	r := Open(t, db, source.State{}, 0, "part")
	table := source.TableName{Schema: db.Schema(), Name: "part"}
	owned := source.Query{Table: table, Columns: []string{"owner"}, Keys: [][]string{{"1"}, {"2"}, {"9"}}}
	all := []string{"[1]: 1 x", "[1]: 2 y", "[1]: 3 x", "[2]: 2 x"}
	for _, c := range []struct {
		name string
		q    source.Query
		want []string
	}{
		{"by the whole key", source.Query{Table: table, Columns: []string{"a", "b"}, Keys: [][]string{{"2", "x"}, {"3", "y"}, {"3", "x"}}}, []string{"[2 x]: 2 x", "[3 x]: 3 x"}},
		{"by columns in another order", source.Query{Table: table, Columns: []string{"b", "a"}, Keys: [][]string{{"x", "2"}}}, []string{"[x 2]: 2 x"}},
		{"without limit", owned, all},
		{"with a limit that is not reached", limited(owned, 3, false), all},
		{"the first", limited(owned, 1, true), []string{"[1]: 1 x", "[2]: 2 x"}},
		{"the first two", limited(owned, 2, true), []string{"[1]: 1 x", "[1]: 2 y", "[2]: 2 x"}},
	} {
		if got := r.ask(vague, c.q, "a", "b"); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
	if got := r.ask(vague, limited(owned, 2, false), "a"); len(got) != 3 {
		t.Errorf("any two: got %q", got)
	}
	counts, err := r.Counts(context.Background(), owned)
	if err != nil || !slices.Equal(counts.Counts, []int64{3, 1, 0}) || !vague && counts.Seq <= r.seq {
		t.Errorf("counts %+v, error %v", counts, err)
	}
	owned.Table.Name = "nowhere"
	if _, err := r.Rows(context.Background(), owned); !source.Lasting(err) {
		t.Errorf("rows of a table that does not exist: error %v", err)
	}
	if _, err := r.Counts(context.Background(), owned); !source.Lasting(err) {
		t.Errorf("counts of a table that does not exist: error %v", err)
	}
	owned.Table.Name, owned.Columns = "part", []string{"nobody"}
	if _, err := r.Rows(context.Background(), owned); !source.Lasting(err) {
		t.Errorf("rows by a column that does not exist: error %v", err)
	}
	owned.Columns = []string{"owner"}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := r.Rows(ended, owned); err == nil || source.Lasting(err) {
		t.Errorf("after the end of the context: error %v", err)
	}
}

func limited(q source.Query, limit int, first bool) source.Query {
	q.Limit, q.First = limit, first
	return q
}

// testRowsShowWhatWasRead asks for each row at the very moment at which its change comes
// out of the log.
func testRowsShowWhatWasRead(t *testing.T, db Database) {
	run := db.Session(t)
	run(createItem)
	run("insert into item values (1, '0')")
	r := Open(t, db, source.State{}, 0, "item")
	write := db.Session(t)
	const n = 300
	written := make(chan struct{})
	go func() {
		defer close(written)
		for i := 1; i <= n; i++ {
			write(fmt.Sprintf("update item set note = '%d' where id = 1", i))
		}
	}()
	defer func() { <-written }()
	q := source.Query{Table: source.TableName{Schema: db.Schema(), Name: "item"}, Columns: []string{"id"}, Keys: [][]string{{"1"}}}
	for i := 1; i <= n; i++ {
		c := r.Row()
		set, err := r.Rows(context.Background(), q)
		if err != nil || len(set.Rows) != 1 {
			t.Fatalf("%d rows, error %v", len(set.Rows), err)
		}
		var shown int
		if _, err := fmt.Sscan(set.Rows[0][1].Text, &shown); err != nil || shown < i || set.Seq <= c.Tx.Seq {
			t.Fatalf("after change %d of transaction %d the row shows %q and promises what is below %d", i, c.Tx.Seq, set.Rows[0][1].Text, set.Seq)
		}
	}
}

// testUntil changes a row after it was read: no such change may be one that the answer
// could show.
func testUntil(t *testing.T, db Database) {
	run := db.Session(t)
	run(createItem)
	run("insert into item values (1, '0')")
	r := Open(t, db, source.State{}, 0, "item")
	q := source.Query{Table: source.TableName{Schema: db.Schema(), Name: "item"}, Columns: []string{"id"}, Keys: [][]string{{"1"}}}
	for i := 1; i <= 20; i++ {
		set, err := r.Rows(context.Background(), q)
		if err != nil {
			t.Fatal(err)
		}
		run(fmt.Sprintf("update item set note = '%d' where id = 1", i))
		if c := r.Row(); c.Tx.Seq < set.Until {
			t.Errorf("the row was read before the change at %d, and may show what lies below %d", c.Tx.Seq, set.Until)
		}
	}
}

func testCarried(t *testing.T, db Database) {
	run := db.Session(t)
	run(createItem)
	r := Open(t, db, source.State{}, 0, "item")
	names := []source.TableName{{Schema: db.Schema(), Name: "item"}, {Schema: db.Schema(), Name: "nowhere"}}
	look := func() string {
		t.Helper()
		words, err := r.Carried(context.Background(), names)
		if err != nil || len(words) != 2 || words[1] != "" {
			t.Fatalf("words %q, error %v", words, err)
		}
		return words[0]
	}
	first := look()
	run("insert into item values (1, 'a')")
	run("update item set note = 'b'")
	if again := look(); first == "" || again != first {
		t.Errorf("word %q, after changes of rows %q", first, again)
	}
	r.Row()
	r.Row()
	run("alter table item add more int default 7")
	altered := look()
	run("drop table item")
	if gone := look(); gone != "" {
		t.Errorf("word %q for a table that is gone", gone)
	}
	run(createItem)
	if _, err := r.Publish(context.Background(), names[:1]); err != nil {
		t.Fatal(err)
	}
	// That it is another table may show only once the log was read up to that.
	recreated := look()
	for late := time.Now().Add(patience); (recreated == altered || recreated == first) && time.Now().Before(late); recreated = look() {
		time.Sleep(10 * time.Millisecond)
	}
	if altered == first || recreated == "" || recreated == altered || recreated == first {
		t.Errorf("words %q, altered %q, recreated %q", first, altered, recreated)
	}
}
