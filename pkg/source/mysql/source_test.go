package mysql

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/waltrigger/waltrigger/pkg/source"
	"github.com/waltrigger/waltrigger/pkg/source/sourcetest"
)

// suiteDatabase is a database as the suite wants it.
type suiteDatabase struct{ *testDB }

func (d suiteDatabase) Schema() string { return d.name }

// Source implements sourcetest.Database. A server waits for a reader however long it takes
// nothing: the source asks for that.
func (d suiteDatabase) Source(t *testing.T, _ time.Duration) source.Source {
	return newSource(t, d.config(), d.notes)
}

func (d suiteDatabase) Session(t *testing.T) func(sql string) {
	c := d.connect()
	return func(sql string) {
		t.Helper()
		if _, err := c.ExecContext(context.Background(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

// Kill implements sourcetest.Database.
func (d suiteDatabase) Kill(t *testing.T) {
	t.Helper()
	d.killReader(t)
}

// killReader ends the connection over which the log is read.
func (db *testDB) killReader(tb testing.TB) {
	tb.Helper()
	ctx := context.Background()
	rows, err := db.root.QueryContext(ctx, "select id from information_schema.processlist where user = ? and command like 'Binlog Dump%'", db.name)
	if err != nil {
		tb.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			tb.Fatal(err)
		}
		_, _ = db.root.ExecContext(ctx, fmt.Sprintf("kill %d", id)) // perhaps it has gone already
	}
	if err := rows.Err(); err != nil {
		tb.Fatal(err)
	}
}

func TestSuite(t *testing.T) {
	for _, url := range servers(t) {
		probe := newTestDB(t, url)
		t.Run(probe.version, func(t *testing.T) {
			sourcetest.Run(t, sourcetest.Harness{New: func(t *testing.T) sourcetest.Database {
				return suiteDatabase{newTestDB(t, url)}
			}})
		})
	}
}
