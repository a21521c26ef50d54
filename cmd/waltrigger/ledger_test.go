package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/time/rate"
)

// ledger changes rows in every way, notes what is committed for certain, and judges what
// a receiver was sent. Each of its keys k has one row at a time, each change of it a
// number seq that no other change of k has had; a delete carries that of the row.
type ledger struct {
	t        *testing.T
	mu       sync.Mutex
	commits  map[string]bool // "k seq operation" of what is committed for certain
	unknown  map[string]bool // nobody knows: the answer to the commit did not arrive
	stopping chan struct{}
	wg       sync.WaitGroup
}

const (
	ledgerSays  = `"payload":"{{ instance.k }} {{ instance.seq }} {{ operation }}"`
	ledgerFires = `"config_signals":[{"signal":"post_save"},{"signal":"post_delete"}],"content_types":[{"app_label":"public","model_name":"ledger"}]`
	// Ordered by what stays of a row. Without ordering_key it is ordered by its primary
	// key, which changes.
	ledgerTrigger = `{` + ledgerFires + `,"webhooks":[{"url":%q}],` + ledgerSays + `,"ordering_key":"{{ instance.k }}"}`
)

func newLedger(t *testing.T) *ledger {
	return &ledger{t: t, commits: map[string]bool{}, unknown: map[string]bool{}, stopping: make(chan struct{})}
}

// keysEach is how many keys a connection changes.
const keysEach = 10

// ledgerDatabase is where a ledger's rows are.
type ledgerDatabase interface {
	session() (ledgerSession, error)
}

// ledgerSession is one connection to it.
type ledgerSession interface {
	begin() error
	run(queries ...string) error
	end(commit bool) error
	read(query string) ([][3]int64, error)
	broken() bool // the connection, by somebody else
	close()
}

// write starts connections that make so many changes a second, together.
func (l *ledger) write(db ledgerDatabase, connections, perSecond int) {
	limit := rate.NewLimiter(rate.Limit(perSecond), max(perSecond/20, keysEach))
	for c := range connections {
		w := &writer{l: l, db: db, limit: limit}
		for k := range w.rows {
			w.rows[k] = ledgerRow{k: c*keysEach + k, id: int64(c*keysEach+k+1) * 1_000_000}
		}
		l.wg.Go(w.work)
	}
}

func (l *ledger) stop() {
	close(l.stopping)
	l.wg.Wait()
}

// ledgerRow is the row of a key.
type ledgerRow struct {
	k, seq, used int // used: the highest number so far, of what was taken back as well
	id           int64
	lives        bool
}

// next gives the row a number that no change has had.
func (r *ledgerRow) next() int {
	r.used++
	r.seq = r.used
	return r.seq
}

// writer is one connection.
type writer struct {
	l     *ledger
	db    ledgerDatabase
	limit *rate.Limiter
	s     ledgerSession // nil: not connected
	rows  [keysEach]ledgerRow
}

func (w *writer) work() {
	for {
		select {
		case <-w.l.stopping:
			if w.s != nil {
				w.s.close()
			}
			return
		default:
		}
		if w.connect(); w.s != nil {
			w.transaction()
		}
	}
}

// connect connects again if that is needed: the server may be restarted.
func (w *writer) connect() {
	if w.s != nil && w.s.broken() {
		w.s.close()
		w.s = nil
	}
	var err error
	if w.s == nil {
		if w.s, err = w.db.session(); err != nil {
			w.s = nil
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// transaction makes up to four changes and commits, or rolls back, all or some of them.
func (w *writer) transaction() {
	rows := w.rows
	var said []string
	err := w.s.begin()
	for range 1 + rand.IntN(4) {
		if err == nil {
			var what []string
			what, err = w.change(&rows)
			said = append(said, what...)
		}
	}
	if err != nil {
		w.failed(err)
		w.keepUsed(&rows)
		return
	}
	commit := rand.IntN(10) > 0
	err = w.s.end(commit)
	if err != nil {
		w.failed(err)
	}
	switch {
	case !commit:
		w.keepUsed(&rows)
	case err != nil:
		w.note(w.l.unknown, said)
		w.reread(&rows)
	default:
		w.note(w.l.commits, said)
		w.rows = rows
	}
}

// failed complains of an error that nobody broke the connection for.
func (w *writer) failed(err error) {
	if !w.s.broken() {
		w.l.t.Errorf("ledger: %v", err)
	}
}

func (w *writer) note(to map[string]bool, said []string) {
	w.l.mu.Lock()
	defer w.l.mu.Unlock()
	for _, s := range said {
		to[s] = true
	}
}

// keepUsed goes back to the rows as they were, and never uses a number again.
func (w *writer) keepUsed(rows *[keysEach]ledgerRow) {
	for i := range rows {
		w.rows[i].used = rows[i].used
	}
}

// reread finds out what the rows are after a commit in doubt.
func (w *writer) reread(rows *[keysEach]ledgerRow) {
	w.keepUsed(rows)
	for {
		var there [][3]int64
		err := errors.New("not connected")
		if w.connect(); w.s != nil {
			there, err = w.s.read(fmt.Sprintf("SELECT k, id, seq FROM ledger WHERE k BETWEEN %d AND %d", w.rows[0].k, w.rows[keysEach-1].k))
		}
		if err != nil {
			continue
		}
		for i := range w.rows {
			r := &w.rows[i]
			r.lives, r.id = false, rows[i].id // of a row that is gone, before or after: no row has either
			for _, x := range there {
				if int(x[0]) == r.k {
					r.lives, r.id, r.seq = true, x[1], int(x[2])
				}
			}
		}
		return
	}
}

// change makes one change, of several rows at times, and tells what is to be heard of it.
func (w *writer) change(rows *[keysEach]ledgerRow) (said []string, err error) {
	r := &rows[rand.IntN(keysEach)]
	if err := w.limit.Wait(context.Background()); err != nil {
		return nil, err
	}
	switch n := rand.IntN(20); {
	case !r.lives:
		r.lives = true
		err = w.s.run(fmt.Sprintf("INSERT INTO ledger (id, k, seq) VALUES (%d, %d, %d)", r.id, r.k, r.next()))
		return []string{r.says("insert")}, err
	case n < 2:
		r.lives = false
		return []string{r.says("delete")}, w.s.run(fmt.Sprintf("DELETE FROM ledger WHERE id = %d", r.id))
	case n < 4: // the row gets another key
		err = w.s.run(fmt.Sprintf("UPDATE ledger SET id = id + 1, seq = %d WHERE id = %d", r.next(), r.id))
		r.id++
		return []string{r.says("update")}, err
	case n < 5: // a change that is taken back
		r.used++
		return nil, w.s.run("SAVEPOINT s", fmt.Sprintf("UPDATE ledger SET seq = %d WHERE id = %d", r.used, r.id), "ROLLBACK TO SAVEPOINT s")
	case n < 7:
		return w.changeAll(rows)
	}
	err = w.s.run(fmt.Sprintf("UPDATE ledger SET seq = %d WHERE id = %d", r.next(), r.id))
	return []string{r.says("update")}, err
}

// changeAll changes all rows by one statement.
func (w *writer) changeAll(rows *[keysEach]ledgerRow) (said []string, err error) {
	var cases, ids strings.Builder
	for i := range rows {
		if r := &rows[i]; r.lives {
			fmt.Fprintf(&cases, " WHEN %d THEN %d", r.id, r.next())
			fmt.Fprintf(&ids, ", %d", r.id)
			said = append(said, r.says("update"))
		}
	}
	if err := w.limit.WaitN(context.Background(), len(said)-1); err != nil {
		return nil, err
	}
	return said, w.s.run("UPDATE ledger SET seq = CASE id" + cases.String() + " END WHERE id IN (" + ids.String()[2:] + ")")
}

func (r *ledgerRow) says(operation string) string {
	return fmt.Sprintf("%d %d %s", r.k, r.seq, operation)
}

// postgresSession is one to PostgreSQL.
type postgresSession struct{ *pgx.Conn }

func (d *database) session() (ledgerSession, error) {
	c, err := pgx.Connect(context.Background(), d.url)
	return &postgresSession{c}, err
}

func (s *postgresSession) begin() error { return s.run("BEGIN") }

func (s *postgresSession) run(queries ...string) error {
	for _, q := range queries {
		if _, err := s.PgConn().Exec(context.Background(), q).ReadAll(); err != nil {
			return fmt.Errorf("%s: %w", q, err)
		}
	}
	return nil
}

func (s *postgresSession) end(commit bool) error {
	if commit {
		return s.run("COMMIT")
	}
	return s.run("ROLLBACK")
}

func (s *postgresSession) read(query string) (out [][3]int64, err error) {
	rows, err := s.Query(context.Background(), query)
	if err != nil {
		return nil, err
	}
	var x [3]int64
	_, err = pgx.ForEachRow(rows, []any{&x[0], &x[1], &x[2]}, func() error { out = append(out, x); return nil })
	return out, err
}

func (s *postgresSession) broken() bool { return s.IsClosed() }
func (s *postgresSession) close()       { _ = s.Close(context.Background()) }

// arrival is an event that a receiver has accepted.
type arrival struct {
	body, id string
	at       time.Time
}

type arrivals interface{ arrivals() []arrival }

type verdict struct {
	committed, lost, reordered, phantom, duplicates, changed int
	such                                                     []string // some of what is wrong
}

func (v *verdict) note(what string, r arrival) {
	if len(v.such) < 5 {
		v.such = append(v.such, what+": "+r.body+" "+r.id)
	}
}

// wrong counts what must not be.
func (v verdict) wrong() int { return v.lost + v.reordered + v.phantom + v.changed }

// judge compares what arrived with what was committed.
func (l *ledger) judge(got []arrival) verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := verdict{committed: len(l.commits)}
	last := map[int]int{}
	seen := make(map[string]string, len(got))
	for _, r := range got {
		if id, dup := seen[r.body]; dup {
			v.duplicates++
			if id != r.id {
				v.changed++
				v.note("changed from "+id, r)
			}
			continue
		}
		seen[r.body] = r.id
		var k, seq int
		var operation string
		_, err := fmt.Sscan(r.body, &k, &seq, &operation)
		if err != nil || !l.commits[r.body] && !l.unknown[r.body] {
			v.phantom++
			v.note("phantom", r)
		}
		if seq *= 2; operation == "delete" { // it has the number of the change before
			seq++
		}
		if seq < last[k] {
			v.reordered++
			v.note("reordered", r)
		}
		last[k] = seq
	}
	for row := range l.commits {
		if _, ok := seen[row]; !ok {
			v.lost++
			v.note("lost", arrival{body: row})
		}
	}
	return v
}

// settled waits until nothing has arrived for a while and everything committed has, or
// nothing at all has come for much longer.
func (l *ledger) settled(t *testing.T, hook arrivals) verdict {
	t.Helper()
	for n, since := -1, time.Now(); ; time.Sleep(500 * time.Millisecond) {
		got := hook.arrivals()
		if len(got) > n {
			n, since = len(got), time.Now()
			continue
		}
		if v := l.judge(got); v.lost == 0 || time.Since(since) > 90*time.Second {
			return v
		}
	}
}

// repeats gives how many of got came again after each of the kills.
func repeats(got []arrival, kills []time.Time) []int {
	out := make([]int, len(kills)+1)
	seen := make(map[string]bool, len(got))
	for _, r := range got {
		if seen[r.body] {
			i, _ := slices.BinarySearchFunc(kills, r.at, time.Time.Compare)
			out[i]++
		}
		seen[r.body] = true
	}
	return out
}
