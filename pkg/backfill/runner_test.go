package backfill

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waltrigger/waltrigger/pkg/source"
)

// world is a store of jobs and a sender of tables with so many rows.
type world struct {
	mu    sync.Mutex
	jobs  []Job
	down  error // of the store
	sizes map[string]int
	fail  func(p Part) error
	slow  time.Duration
	sent  []string // table from-to
	parts []int
}

func (w *world) Open(_ context.Context, src string) (out []Job, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, j := range w.jobs {
		if j.Source == src && !j.State.Over() {
			j.Tables = slices.Clone(j.Tables)
			out = append(out, j)
		}
	}
	return out, w.down
}

func (w *world) Wish(_ context.Context, id string) (Wish, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.job(id).Wish, w.down
}

func (w *world) job(id string) *Job {
	i := slices.IndexFunc(w.jobs, func(j Job) bool { return j.ID == id })
	return &w.jobs[i]
}

func (w *world) SaveProgress(ctx context.Context, id string, p Progress) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down != nil || ctx.Err() != nil {
		return errors.Join(w.down, ctx.Err())
	}
	p.Tables = slices.Clone(p.Tables)
	w.job(id).Progress = p
	return nil
}

func (w *world) Size(context.Context, source.TableName) (int64, error) { return 10, nil }

func (w *world) Send(ctx context.Context, p Part) (Sent, error) {
	w.mu.Lock()
	slow := w.slow
	w.mu.Unlock()
	time.Sleep(slow)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fail != nil {
		if err := w.fail(p); err != nil {
			return Sent{}, err
		}
	}
	from := 0
	if p.After != nil {
		from, _ = strconv.Atoi(p.After[0])
	}
	to := min(from+p.Limit, w.sizes[p.Table.Name])
	w.sent = append(w.sent, fmt.Sprintf("%s %d-%d", p.Table.Name, from, to))
	w.parts = append(w.parts, p.Limit)
	out := Sent{Rows: to - from}
	if out.Rows == p.Limit {
		out.Next = []string{strconv.Itoa(to)}
	}
	return out, nil
}

func (w *world) get(id string) Job {
	w.mu.Lock()
	defer w.mu.Unlock()
	j := *w.job(id)
	j.Tables = slices.Clone(j.Tables)
	return j
}

func (w *world) wish(id string, to Wish) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.job(id).Wish = to
}

// run runs f beside a runner, in a bubble of its own.
func run(t *testing.T, w *world, f func()) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		r := &Runner{Source: "shop", Store: w, Sender: w, Log: slog.New(slog.DiscardHandler)}
		go func() {
			defer close(done)
			r.Run(ctx)
		}()
		f()
		cancel()
		<-done
	})
}

func newTestJob(id string, tables ...string) Job {
	j := Job{ID: id, Source: "shop", Wish: Run, Progress: Progress{State: Queued}}
	for _, name := range tables {
		j.Tables = append(j.Tables, Table{TableName: source.TableName{Schema: "public", Name: name}, Size: -1})
	}
	return j
}

func TestRunner(t *testing.T) {
	w := &world{sizes: map[string]int{"a": 450, "b": 0, "c": 3}, jobs: []Job{newTestJob("1", "a", "b"), newTestJob("2", "c")}}
	run(t, w, func() {
		time.Sleep(5 * time.Second)
		one, two := w.get("1"), w.get("2")
		if one.State != Done || two.State != Done || one.Rows() != 450 || one.Size() != 450 || one.Finished.IsZero() || one.Started.After(two.Started) {
			t.Errorf("got %+v and %+v", one, two)
		}
		if want := []string{"a 0-100", "a 100-300", "a 300-450", "b 0-0", "c 0-3"}; !slices.Equal(w.sent, want) {
			t.Errorf("sent %v, want %v", w.sent, want)
		}
	})
}

// TestRunnerResumes goes on where an earlier runner ended, and not before a part is saved.
func TestRunnerResumes(t *testing.T) {
	j := newTestJob("1", "a", "b")
	j.State, j.Tables[0].After, j.Tables[0].Rows = Running, []string{"100"}, 100
	w := &world{sizes: map[string]int{"a": 150, "b": 1}, jobs: []Job{j}}
	run(t, w, func() {
		time.Sleep(2 * time.Second)
		if got := w.get("1"); got.State != Done || got.Rows() != 151 || w.sent[0] != "a 100-150" {
			t.Errorf("got %+v, sent %v", got, w.sent)
		}
	})
}

// TestRunnerWishes pauses, resumes and cancels.
func TestRunnerWishes(t *testing.T) {
	w := &world{sizes: map[string]int{"a": 1 << 30}, slow: 400 * time.Millisecond, jobs: []Job{newTestJob("1", "a"), newTestJob("2", "a")}}
	run(t, w, func() {
		time.Sleep(3 * time.Second)
		w.wish("1", Pause)
		time.Sleep(3 * time.Second)
		one := w.get("1")
		if one.State != Paused || one.Rows() == 0 || w.get("2").State != Running {
			t.Errorf("paused: %+v, the other %+v", one, w.get("2"))
		}
		w.wish("1", Run)
		w.wish("2", Cancel)
		time.Sleep(3 * time.Second)
		if got := w.get("1"); w.get("2").State != Cancelled || got.State != Running || got.Rows() <= one.Rows() {
			t.Errorf("resumed: %+v, the other %+v", got, w.get("2"))
		}
		w.wish("1", Pause)
		time.Sleep(2 * time.Second)
		w.wish("1", Cancel)
		time.Sleep(2 * time.Second)
		if got := w.get("1"); got.State != Cancelled || got.Finished.IsZero() {
			t.Errorf("cancelled: %+v", got)
		}
	})
}

// TestRunnerTends cancels and pauses jobs while another one is worked on.
func TestRunnerTends(t *testing.T) {
	w := &world{sizes: map[string]int{"a": 1 << 30}, slow: 100 * time.Millisecond, jobs: []Job{newTestJob("1", "a"), newTestJob("2", "a"), newTestJob("3", "a")}}
	w.jobs[2].State = Running // by an instance that went on with another one
	run(t, w, func() {
		time.Sleep(3 * time.Second)
		w.wish("2", Cancel)
		if got := w.get("3").State; got != Queued {
			t.Errorf("the last one is %s", got)
		}
		w.wish("3", Pause)
		time.Sleep(3 * time.Second)
		if w.get("2").State != Cancelled || w.get("3").State != Paused || w.get("1").State != Running {
			t.Errorf("got %+v", w.jobs)
		}
	})
}

// TestRunnerWaits shows what it waits for, and tries again.
func TestRunnerWaits(t *testing.T) {
	var mu sync.Mutex
	why := error(&HoldError{Why: "trigger 7 is paused"})
	w := &world{sizes: map[string]int{"a": 5, "b": 1}, jobs: []Job{newTestJob("1", "a")}}
	w.fail = func(Part) error {
		mu.Lock()
		defer mu.Unlock()
		return why
	}
	set := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		why = err
	}
	run(t, w, func() {
		for _, err := range []error{why, errors.New("connection refused"), fmt.Errorf("read rows: %w", ErrAgain)} {
			set(err)
			time.Sleep(25 * time.Second)
			if got := w.get("1"); got.State != Running || !errors.Is(err, ErrAgain) && got.Detail != err.Error() {
				t.Errorf("%v: %+v", err, got)
			}
		}
		w.mu.Lock()
		w.down = errors.New("disk full")
		w.mu.Unlock()
		set(nil)
		time.Sleep(25 * time.Second)
		if got := w.get("1"); got.Rows() != 0 {
			t.Errorf("with the store down: %+v", got)
		}
		w.mu.Lock()
		w.down = nil
		w.mu.Unlock()
		time.Sleep(15 * time.Second)
		if got := w.get("1"); got.State != Done || got.Detail != "" || got.Rows() != 5 {
			t.Errorf("at last: %+v", got)
		}
	})
}

// TestRunnerFails reads the other tables of a job to their ends, and ends one that nobody
// wants any more.
func TestRunnerFails(t *testing.T) {
	w := &world{sizes: map[string]int{"a": 5, "b": 1, "c": 1}, jobs: []Job{newTestJob("1", "a", "b"), newTestJob("2", "c")}}
	w.fail = func(p Part) error {
		switch p.Table.Name {
		case "a":
			return fmt.Errorf("read rows: %w", &source.TableError{Table: p.Table, Reason: "it does not exist", Mend: "create it"})
		case "c":
			return &HoldError{Why: "there is no such trigger any more", Over: true}
		}
		return nil
	}
	run(t, w, func() {
		time.Sleep(5 * time.Second)
		one, two := w.get("1"), w.get("2")
		if one.State != Failed || !strings.Contains(one.Detail, "public.a") || one.Tables[0].Error == "" || one.Tables[1].Rows != 1 {
			t.Errorf("got %+v", one)
		}
		if two.State != Cancelled || !strings.Contains(two.Detail, "no such trigger") {
			t.Errorf("got %+v", two)
		}
	})
}

// TestRunnerPaces keeps to the rate, and asks for parts that take their time.
func TestRunnerPaces(t *testing.T) {
	j := newTestJob("1", "a")
	j.MaxRate = 100
	w := &world{sizes: map[string]int{"a": 1 << 30}, jobs: []Job{j}}
	run(t, w, func() {
		time.Sleep(20 * time.Second)
		if got := w.get("1"); got.Rows() < 1900 || got.Rows() > 2100 {
			t.Errorf("%d rows in 20 s, at 100 a second", got.Rows())
		}
	})
	w = &world{sizes: map[string]int{"a": 1 << 30}, jobs: []Job{newTestJob("1", "a")}, slow: 100 * time.Millisecond}
	run(t, w, func() {
		time.Sleep(2 * time.Second)
		w.mu.Lock()
		if last := w.parts[len(w.parts)-1]; last != maxPart {
			t.Errorf("the last of %v is not %d", w.parts, maxPart)
		}
		w.slow = 3 * time.Second
		w.mu.Unlock()
		time.Sleep(60 * time.Second)
		w.mu.Lock()
		defer w.mu.Unlock()
		if last := w.parts[len(w.parts)-1]; last != minPart {
			t.Errorf("the last of %v is not %d", w.parts, minPart)
		}
	})
}

func TestShown(t *testing.T) {
	for _, c := range []struct {
		state State
		wish  Wish
		want  string
	}{
		{Queued, Run, "queued"},
		{Running, Run, "running"},
		{Running, Pause, "pausing"},
		{Queued, Pause, "paused"},
		{Paused, Pause, "paused"},
		{Paused, Run, "queued"},
		{Running, Cancel, "cancelling"},
		{Done, Run, "done"},
		{Failed, Cancel, "failed"},
		{Cancelled, Cancel, "cancelled"},
	} {
		if got := (&Job{Wish: c.wish, Progress: Progress{State: c.state}}).Shown(); got != c.want {
			t.Errorf("%s, %s: %s, want %s", c.state, c.wish, got, c.want)
		}
	}
	if a, b := NewID(), NewID(); a == b || len(a) != 12 || strings.ToLower(a) != a {
		t.Errorf("ids %q, %q", a, b)
	}
}
