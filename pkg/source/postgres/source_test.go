package postgres

import (
	"fmt"
	"testing"
	"time"

	"github.com/waltrigger/waltrigger/pkg/source"
	"github.com/waltrigger/waltrigger/pkg/source/sourcetest"
)

// suiteDatabase is a database as the suite wants it.
type suiteDatabase struct{ *database }

func (d suiteDatabase) Schema() string { return "public" }

func (d suiteDatabase) Source(t *testing.T, patience time.Duration) source.Source {
	cfg := d.config()
	if patience > 0 {
		cfg.URL += fmt.Sprintf("?wal_sender_timeout=%d", patience.Milliseconds())
	}
	return newSource(t, cfg)
}

func (d suiteDatabase) Session(t *testing.T) func(sql string) {
	c := d.connect()
	return func(sql string) {
		t.Helper()
		execOn(t, c, sql)
	}
}

func (d suiteDatabase) Kill(t *testing.T) {
	t.Helper()
	execOn(t, d.server, "select pg_terminate_backend(active_pid) from pg_replication_slots where database = $1 and active", d.name)
}

func TestSuite(t *testing.T) {
	eachServer(t, func(t *testing.T, dsn string) {
		sourcetest.Run(t, sourcetest.Harness{Unchanged: true, Waits: true, New: func(t *testing.T) sourcetest.Database {
			return suiteDatabase{newDatabase(t, dsn)}
		}})
	})
}
