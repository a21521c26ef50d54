package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

// workload is what several sessions do to a few tables, at random: transactions of every
// kind, of which some are rolled back, with row images and compression as they come,
// while one more session alters the tables.
type workload struct {
	t       *testing.T
	db      *testDB
	ddl     sync.RWMutex // no statement runs while tables are altered: names would not fit
	extra   [3]atomic.Int64
	pending chan string // XA transactions that anybody may decide on
	xid     atomic.Int64
	stop    chan struct{}
	wg      sync.WaitGroup
}

var workloadTables = []string{
	"create table w0 (id int primary key, n bigint unsigned, note varchar(200) character set latin1, kind enum('a','b','ç'), at datetime(3), blb blob)",
	"create table w1 (a int, b varchar(20), v decimal(20,6), j json, f double, primary key (a, b))",
	"create table w2 (k binary(4) primary key, t text, s set('x','y','z'), flag tinyint(1), u int unsigned)",
}

// writer is one session.
type writer struct {
	*workload
	conn *sql.Conn
	r    *rand.Rand
}

func (w *writer) exec(q string) error {
	_, err := w.conn.ExecContext(context.Background(), q)
	return err
}

// value gives a literal for each column of a table.
func (w *writer) values(table, key int) []string {
	r := w.r
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	text := strings.Repeat(pick("a", "é", "x ", "''", `\\`), r.IntN(30))
	switch table {
	case 0:
		return []string{
			fmt.Sprint(key), pick("null", "0", "18446744073709551615", fmt.Sprint(r.Uint32())), "'" + text + "'", pick("null", "'a'", "'ç'"),
			pick("null", fmt.Sprintf("'2024-%02d-%02d 10:20:30.%03d'", 1+r.IntN(12), 1+r.IntN(28), r.IntN(1000))), pick("null", fmt.Sprintf("repeat(x'00ff', %d)", r.IntN(200))),
		}
	case 1:
		return []string{
			fmt.Sprint(key % 50), fmt.Sprintf("'k%d'", key/50), fmt.Sprintf("%d.%06d", r.IntN(1e9)-5e8, r.IntN(1e6)),
			pick("null", `'{"a": [1, 2.5, "x"]}'`, fmt.Sprintf(`'{"n": %d}'`, r.IntN(1000))), fmt.Sprint(r.NormFloat64()),
		}
	}
	return []string{fmt.Sprintf("x'%08x'", key<<8), "'" + text + "'", pick("''", "'x'", "'x,z'", "null"), pick("0", "1", "2", "null"), fmt.Sprint(r.Uint32())}
}

var workloadColumns = [][]string{{"id", "n", "note", "kind", "at", "blb"}, {"a", "b", "v", "j", "f"}, {"k", "t", "s", "flag", "u"}}

// keySize is how many columns of each table are its key.
var keySize = []int{1, 2, 1}

func (w *writer) where(table, key int) string {
	v := w.values(table, key)
	var list []string
	for i := range keySize[table] {
		list = append(list, workloadColumns[table][i]+" = "+v[i])
	}
	return strings.Join(list, " and ")
}

// statement runs one random statement.
func (w *writer) statement() error {
	const keys = 400
	table := w.r.IntN(3)
	name, columns := fmt.Sprintf("w%d", table), strings.Join(workloadColumns[table], ", ")
	key := w.r.IntN(keys)
	switch n := w.r.IntN(20); {
	case n < 8:
		var rows []string
		for range 1 + w.r.IntN(30) {
			rows = append(rows, "("+strings.Join(w.values(table, w.r.IntN(keys)), ", ")+")")
		}
		verb := []string{"insert ignore into ", "replace into ", "insert into "}[w.r.IntN(3)]
		q := verb + name + " (" + columns + ") values " + strings.Join(rows, ", ")
		if verb == "insert into " {
			c := workloadColumns[table][keySize[table]]
			q += " on duplicate key update " + c + " = values(" + c + ")"
		}
		return w.exec(q)
	case n < 14:
		i := keySize[table] + w.r.IntN(len(workloadColumns[table])-keySize[table])
		return w.exec(fmt.Sprintf("update %s set %s = %s where %s", name, workloadColumns[table][i], w.values(table, key)[i], w.where(table, key)))
	case n < 16: // the key itself
		v := w.values(table, w.r.IntN(keys))
		i := w.r.IntN(keySize[table])
		return w.exec(fmt.Sprintf("update ignore %s set %s = %s where %s", name, workloadColumns[table][i], v[i], w.where(table, key)))
	case n < 17:
		return w.exec(fmt.Sprintf("update %s set %s = %s limit %d", name, workloadColumns[table][len(workloadColumns[table])-1], "null", 1+w.r.IntN(100)))
	}
	return w.exec("delete from " + name + " where " + w.where(table, key))
}

// transaction runs one of a few statements and ends it in one of the ways there are.
func (w *writer) transaction() {
	w.ddl.RLock()
	defer w.ddl.RUnlock()
	must := func(q string) {
		if err := w.exec(q); err != nil {
			w.t.Errorf("%s: %v", q, err)
		}
	}
	must("set session binlog_row_image = '" + []string{"FULL", "MINIMAL", "NOBLOB"}[w.r.IntN(3)] + "'")
	if !w.db.mariadb {
		must(fmt.Sprintf("set session binlog_transaction_compression = %d", w.r.IntN(2)))
	}
	xid := ""
	if w.r.IntN(6) == 0 {
		xid = fmt.Sprintf("'%s_%d'", w.db.name[3:], w.xid.Add(1))
		must("xa start " + xid)
	} else {
		must("begin")
	}
	failed := false
	for range 1 + w.r.IntN(5) {
		if err := w.statement(); err != nil { // a deadlock, a wait that was too long
			failed = true
			break
		}
		if xid == "" && w.r.IntN(5) == 0 {
			must("savepoint s")
			if w.statement() == nil && w.r.IntN(2) == 0 {
				_ = w.exec("rollback to s")
			}
		}
	}
	switch {
	case xid != "":
		w.endXA(xid, failed)
	case failed || w.r.IntN(6) == 0:
		_ = w.exec("rollback")
	default:
		must("commit")
	}
}

func (w *writer) endXA(xid string, failed bool) {
	if w.exec("xa end "+xid) != nil || failed {
		_ = w.exec("xa rollback " + xid)
		return
	}
	if w.exec("xa prepare "+xid) != nil {
		_ = w.exec("xa rollback " + xid)
		return
	}
	if w.r.IntN(3) > 0 {
		w.decide(xid)
		return
	}
	// Left behind; somebody else will decide, once the server has noticed. MariaDB loses the
	// end of a transaction whose session is just going, and keeps its locks for ever.
	var id int64
	if err := w.conn.QueryRowContext(context.Background(), "select connection_id()").Scan(&id); err != nil {
		w.t.Error(err)
	}
	_ = w.conn.Raw(func(any) error { return driver.ErrBadConn })
	w.conn = w.db.connect()
	_ = w.exec("set session innodb_lock_wait_timeout = 1")
	for n := 1; n > 0; {
		if err := w.conn.QueryRowContext(context.Background(), "select count(*) from information_schema.processlist where id = ?", id).Scan(&n); err != nil {
			w.t.Error(err)
			break
		}
	}
	w.pending <- xid
}

// decide commits or rolls back a prepared transaction; its session may need a moment to
// let go of it. MariaDB forgets one that changed nothing when its session ends.
func (w *writer) decide(xid string) {
	q := []string{"xa commit ", "xa rollback "}[w.r.IntN(4)/3] + xid
	for range 2000 {
		if w.exec(q) == nil || !w.prepared(xid) {
			return
		}
		time.Sleep(time.Millisecond)
	}
	w.t.Errorf("%s: %v", q, w.exec(q))
}

func (w *writer) prepared(xid string) bool {
	found := false
	err := each(context.Background(), w.conn, "xa recover", nil, func(scan func(...any) error) error {
		var format, gtrid, bqual int
		var data string
		if err := scan(&format, &gtrid, &bqual, &data); err != nil {
			return err
		}
		found = found || "'"+data+"'" == xid
		return nil
	})
	if err != nil {
		w.t.Error(err)
	}
	return found
}

func (w *writer) run() {
	for {
		select {
		case <-w.stop:
			return
		case xid := <-w.pending:
			w.decide(xid)
		default:
			w.transaction()
		}
	}
}

// alter changes a table.
func (w *writer) alter() {
	w.ddl.Lock()
	defer w.ddl.Unlock()
	for len(w.pending) > 0 { // their locks would keep us out
		w.decide(<-w.pending)
	}
	table := w.r.IntN(3)
	n := w.extra[table].Add(1)
	q := fmt.Sprintf("alter table w%d add column x%d int first", table, n)
	switch w.r.IntN(3) {
	case 0:
		q = fmt.Sprintf("alter table w%d add column x%d varchar(10) after %s", table, n, workloadColumns[table][0])
	case 1:
		if n > 1 {
			q = fmt.Sprintf("alter table w%d drop column x%d, add column x%d decimal(5,2)", table, n-1, n)
		}
	}
	if err := w.exec(q); err != nil {
		w.t.Errorf("%s: %v", q, err)
	}
	if w.r.IntN(4) == 0 {
		q = fmt.Sprintf("truncate w%d", table)
		if err := w.exec(q); err != nil {
			w.t.Errorf("%s: %v", q, err)
		}
	}
}

// replica is what the changes make of empty tables.
type replica struct {
	t    *testing.T
	rows [3]map[string]map[string]change.Value
	last change.Change
	seq  uint64
}

// key names a row.
func (p *replica) key(c change.Change, row []change.Value) string {
	var b []byte
	for _, k := range c.Table.Key {
		if row[k].Kind == change.Missing {
			p.t.Fatalf("a key is missing: %s", line(c))
		}
		b = append(row[k].AppendJSON(b), ' ')
	}
	return string(b)
}

func (p *replica) apply(c change.Change) {
	p.t.Helper()
	if c.Tx.Seq < p.seq {
		p.t.Fatalf("Seq goes back from %d to %d", p.seq, c.Tx.Seq)
	}
	p.seq = c.Tx.Seq
	if p.last.Tx != nil && c.Tx.Position == p.last.Tx.Position && c.Ordinal <= p.last.Ordinal {
		p.t.Fatalf("ordinal %d follows %d", c.Ordinal, p.last.Ordinal)
	}
	p.last = c
	rows := p.rows[c.Table.Name[1]-'0']
	if c.Op == change.Truncate {
		clear(rows)
		return
	}
	var row map[string]change.Value
	if c.Op != change.Insert {
		k := p.key(c, c.Before)
		row = rows[k]
		if row == nil {
			p.t.Fatalf("there is no row for %s of %s", line(c), c.Tx.Position)
		}
		for i, v := range c.Before {
			if have, ok := row[c.Table.Columns[i].Name]; ok && v.Kind != change.Missing && have != v {
				p.t.Fatalf("old row has %s %v, want %v: %s", c.Table.Columns[i].Name, v, have, line(c))
			}
		}
		delete(rows, k)
	}
	if c.Op == change.Delete {
		return
	}
	if row == nil {
		row = map[string]change.Value{}
	}
	for i, v := range c.After {
		if v.Kind != change.Missing {
			row[c.Table.Columns[i].Name] = v
		}
	}
	k := p.key(c, c.After)
	if rows[k] != nil {
		p.t.Fatalf("there is a row already for %s of %s", line(c), c.Tx.Position)
	}
	rows[k] = row
}

// equal compares with the tables.
func (p *replica) equal(db *testDB, s *Source) {
	p.t.Helper()
	for i, rows := range p.rows {
		var keys [][]string
		c, err := db.root.Conn(context.Background())
		if err != nil {
			p.t.Fatal(err)
		}
		defer c.Close()
		columns := workloadColumns[i][:keySize[i]]
		err = each(context.Background(), c, fmt.Sprintf("select %s from %s.w%d", strings.Join(columns, ", "), db.name, i), nil, func(scan func(...any) error) error {
			key := make([]string, len(columns))
			to := make([]any, len(columns))
			for n := range key {
				to[n] = &key[n]
			}
			keys = append(keys, key)
			return scan(to...)
		})
		if err != nil {
			p.t.Fatal(err)
		}
		if len(keys) != len(rows) {
			p.t.Errorf("table w%d has %d rows, the changes make %d", i, len(keys), len(rows))
		}
		if len(keys) == 0 {
			continue
		}
		got, err := s.Rows(context.Background(), source.Query{Table: db.table(fmt.Sprintf("w%d", i)), Columns: columns, Keys: keys})
		if err != nil {
			p.t.Fatal(err)
		}
		for _, row := range got.Rows {
			k := p.key(change.Change{Table: got.Table}, row)
			for n, v := range row {
				have, ok := rows[k][got.Table.Columns[n].Name]
				if !ok {
					have.Kind = change.Null // added since
				}
				if have != v {
					p.t.Errorf("w%d %s: the changes make %s %v, the table has %v", i, k, got.Table.Columns[n].Name, have, v)
				}
			}
		}
	}
}

// TestWorkload replays the log of a random workload, with restarts and lost connections:
// it makes the tables. 20,000 changes, in its long form 1,000,000.
func TestWorkload(t *testing.T) {
	changes := 20_000
	if os.Getenv("WALTRIGGER_TEST_SOAK") == "1" {
		changes = 1_000_000
	}
	everywhere(t, func(t *testing.T, db *testDB) { testWorkload(t, db, changes) })
}

func testWorkload(t *testing.T, db *testDB, changes int) {
	for _, q := range workloadTables {
		db.exec(q)
	}
	if db.mariadb {
		db.admin("set global log_bin_compress = 1")
		defer db.admin("set global log_bin_compress = 0")
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	w := &workload{t: t, db: db, pending: make(chan string, 100), stop: make(chan struct{})}
	writers := make([]*writer, 5)
	for i := range writers {
		writers[i] = &writer{workload: w, conn: db.connect(), r: rand.New(rand.NewPCG(seed, uint64(i)))}
		if err := writers[i].exec("set session innodb_lock_wait_timeout = 1"); err != nil {
			t.Fatal(err)
		}
	}
	r := start(t, db, "w0", "w1", "w2")
	for _, wr := range writers[1:] {
		w.wg.Go(wr.run)
	}
	w.wg.Go(func() {
		for {
			select {
			case <-w.stop:
				return
			case <-time.After(300 * time.Millisecond):
				writers[0].alter()
			}
		}
	})
	p := &replica{t: t, rows: [3]map[string]map[string]change.Value{{}, {}, {}}}
	rng := rand.New(rand.NewPCG(seed, 99))
	pause := max(changes/10, 1)
	for n := range changes {
		p.apply(r.row())
		switch {
		case n%pause != pause-1:
		case rng.IntN(2) == 0:
			db.killReader(t)
		default:
			r.close()
			r = start(t, db)
		}
	}
	close(w.stop)
	w.wg.Wait()
	for len(w.pending) > 0 {
		writers[1].decide(<-w.pending)
	}
	db.exec("create table done (id int primary key)")
	if _, err := r.Publish(t.Context(), []source.TableName{db.table("w0"), db.table("w1"), db.table("w2"), db.table("done")}); err != nil {
		t.Fatal(err)
	}
	db.exec("insert into done values (1)")
	n := changes
	for c := r.row(); c.Table.Name != "done"; c = r.row() {
		p.apply(c)
		n++
	}
	p.equal(db, r.Source)
	t.Logf("%d changes; rows %d, %d, %d", n, len(p.rows[0]), len(p.rows[1]), len(p.rows[2]))
}
