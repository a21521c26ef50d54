package postgres

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
	"github.com/waltrigger/waltrigger/pkg/source/sourcetest"
)

// workTables are the tables of the workload: each identity, partitions whose rows move,
// rows without large columns.
const workTables = `
create table plain (id int primary key, n int, body text, note text);
create table whole (id int primary key, n int, body text, note text); alter table whole replica identity full;
create table indexed (pk serial, id int not null unique, n int, body text, note text); alter table indexed replica identity using index indexed_id_key;
create table parts (id int primary key, n int, body text, note text) partition by range (id);
create table parts1 partition of parts for values from (0) to (100); create table parts2 partition of parts for values from (100) to (300); create table parts3 partition of parts default;
create table small (id int primary key, n int, body text, note text)`

var workload = []sourcetest.WorkTable{{Name: "plain"}, {Name: "whole"}, {Name: "indexed"}, {Name: "parts"}, {Name: "small", Truncate: true}}

type workConn struct{ *pgx.Conn }

func (c workConn) Exec(sql string) (int64, error) {
	tag, err := c.Conn.Exec(context.Background(), sql)
	return tag.RowsAffected(), err
}

// contents reads a table by SQL alone.
func (db *database) contents(table string) map[string]map[string]string {
	db.tb.Helper()
	rows, err := db.Query(context.Background(), "select to_jsonb(t)::text from "+table+" t")
	if err != nil {
		db.tb.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		db.tb.Fatal(err)
	}
	out := map[string]map[string]string{}
	for _, text := range list {
		var values map[string]json.RawMessage
		if err := json.Unmarshal([]byte(text), &values); err != nil {
			db.tb.Fatal(err)
		}
		row := map[string]string{}
		for name, v := range values {
			row[name] = canonical(db.tb, string(v))
		}
		out[row["id"]] = row
	}
	return out
}

// canonical writes a JSON value in one way.
func canonical(tb testing.TB, text string) string {
	tb.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		tb.Fatalf("%s: %v", text, err)
	}
	b, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}

// TestWorkload replays the log of a random workload, over connections that break and from
// marks of readers that were stopped: the result is what the tables hold.
func TestWorkload(t *testing.T) {
	changes, seeds := 20_000, []uint64{uint64(time.Now().UnixNano())}
	if soak() {
		changes, seeds = 1_000_000, []uint64{1, 2, 3}
	}
	eachServer(t, func(t *testing.T, dsn string) {
		for _, seed := range seeds {
			testWorkload(t, newDatabase(t, dsn), seed, changes)
		}
	})
}

func testWorkload(t *testing.T, db *database, seed uint64, changes int) {
	t.Helper()
	t.Logf("seed %d", seed)
	db.exec(workTables + "; create table last (id int primary key)")
	var tables []string
	for _, table := range workload {
		tables = append(tables, table.Name)
	}
	st := &memory{}
	r := start(t, db.config(), st, append(tables, "last")...)
	done := make(chan struct{})
	w := &sourcetest.Workload{Seed: seed, Changes: changes, Tables: workload, Open: func() sourcetest.WorkConn { return workConn{db.connect()} }}
	defer func() { w.Stop(); <-done }()
	go func() {
		defer close(done)
		w.Run()
		if _, err := db.Exec(context.Background(), "insert into last values (1)"); err != nil {
			t.Error(err)
		}
	}()
	rnd := rand.New(rand.NewPCG(seed, 99))
	replica, mark := sourcetest.Replica{}, change.Mark{}
	var seen change.Tx // without End, which is not there before the commit
	for n, ordinal := 0, uint32(0); ; {
		c := r.next()
		if c.Op == change.Commit {
			mark = change.Mark{End: c.Tx.End}
			r.Ack(c.Tx.End)
			continue
		}
		if c.Tx.Seq < seen.Seq || c.Tx.Position == seen.Position && c.Ordinal != ordinal+1 || c.Tx.Position != seen.Position && c.Ordinal != 1 {
			t.Fatalf("change %d of %s comes after change %d of %s", c.Ordinal, c.Tx.Position, ordinal, seen.Position)
		}
		seen.Seq, seen.Position, ordinal = c.Tx.Seq, c.Tx.Position, c.Ordinal
		mark.Tx, mark.Done = c.Tx.Position, c.Ordinal
		if c.Table.Name == "last" {
			break
		}
		if err := replica.Apply(sourcetest.EventOf(canonicalChange(t, c))); err != nil {
			t.Fatalf("seed %d, change %d: %v", seed, n, err)
		}
		switch n++; rnd.IntN(3000) {
		case 0: // the connection breaks
			suiteDatabase{db}.Kill(t)
		case 1: // another process goes on
			_ = r.end() // over a connection that has just been broken, perhaps
			r = start(t, db.config(), &memory{states: []source.State{{Identity: st.last().Identity, Mark: mark}}})
		}
	}
	<-done
	_ = r.end()
	for _, table := range tables {
		if diff := replica.Compare(table, db.contents(table)); diff != "" {
			t.Errorf("seed %d: %s: %s", seed, table, diff)
		}
		if len(replica[table]) == 0 && table != "small" {
			t.Errorf("seed %d: %s is empty: the workload proves nothing", seed, table)
		}
	}
}

// canonicalChange writes the JSON of c's values as contents does.
func canonicalChange(t *testing.T, c change.Change) change.Change {
	t.Helper()
	for _, row := range [][]change.Value{c.Before, c.After} {
		for i, v := range row {
			if v.Kind != change.Missing {
				row[i] = change.Value{Kind: change.JSON, Text: canonical(t, string(v.AppendJSON(nil)))}
			}
		}
	}
	return c
}
