package storetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/waltrigger/waltrigger/pkg/backfill"
	"github.com/waltrigger/waltrigger/pkg/source"
)

func job(src string, triggers ...int64) backfill.Job {
	return backfill.Job{
		ID: backfill.NewID(), Source: src, Triggers: triggers, MaxRate: 2.5, Wish: backfill.Run,
		Progress: backfill.Progress{State: backfill.Queued, Tables: []backfill.Table{{TableName: source.TableName{Schema: "public", Name: "Ünï 'quoted'"}, Size: -1}}},
	}
}

func testBackfills(t *testing.T, url string) {
	ctx := context.Background()
	s := open(t, url)
	first, second, other := job("shop", 1, 2), job("shop", 3), job("bar", 1)
	for _, j := range []backfill.Job{first, second, other} {
		if conflict, err := s.AddBackfill(ctx, j); err != nil || conflict != nil {
			t.Fatal(conflict, err)
		}
	}
	if conflict, err := s.AddBackfill(ctx, job("shop", 9, 2)); err != nil || conflict == nil || conflict.ID != first.ID {
		t.Fatalf("a second job for trigger 2: %v, %v", conflict, err)
	}
	got, err := s.Backfill(ctx, first.ID)
	if err != nil || got.Created.IsZero() {
		t.Fatal(got, err)
	}
	if got.Created = first.Created; !reflect.DeepEqual(got, first) {
		t.Errorf("got %+v, want %+v", got, first)
	}
	open, err := s.Open(ctx, "shop")
	if err != nil || len(open) != 2 || open[0].ID != first.ID || open[1].ID != second.ID {
		t.Errorf("open: %+v, %v", open, err)
	}
	if all, err := s.Backfills(ctx, ""); err != nil || len(all) != 3 || all[0].ID != other.ID {
		t.Errorf("all: %+v, %v", all, err)
	}
	if err := s.SetWish(ctx, first.ID, backfill.Cancel); err != nil {
		t.Error(err)
	}
	if w, err := s.Wish(ctx, first.ID); err != nil || w != backfill.Cancel {
		t.Errorf("wish %q, %v", w, err)
	}
	if conflict, err := s.AddBackfill(ctx, job("shop", 1)); err != nil || conflict != nil {
		t.Errorf("beside a job that is being cancelled: %v, %v", conflict, err)
	}
	testProgress(t, s.Held(""), first)
	if err := s.SetWish(ctx, first.ID, backfill.Run); !errors.Is(err, backfill.ErrOver) {
		t.Errorf("a wish of a job that is over: %v", err)
	}
	if err := s.SetWish(ctx, "none", backfill.Run); !errors.Is(err, backfill.ErrNotFound) {
		t.Errorf("a wish of no job: %v", err)
	}
	if w, err := s.Wish(ctx, "none"); err != nil || w != backfill.Cancel {
		t.Errorf("no job: %q, %v", w, err)
	}
}

// progress is what is saved of a job.
type progress interface {
	SaveProgress(ctx context.Context, id string, p backfill.Progress) error
	Backfill(ctx context.Context, id string) (backfill.Job, error)
	Open(ctx context.Context, source string) ([]backfill.Job, error)
}

func testProgress(t *testing.T, s progress, j backfill.Job) {
	t.Helper()
	ctx := context.Background()
	p := j.Progress
	p.State, p.Detail, p.Started = backfill.Running, "it waits", time.UnixMicro(1_700_000_000_000_001).UTC()
	p.Rate = 1234.5
	p.Tables[0].After, p.Tables[0].Rows, p.Tables[0].Size = []string{"7", "a\"b\\\n\u00e9"}, 1<<40, 1<<41
	if err := s.SaveProgress(ctx, j.ID, p); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Backfill(ctx, j.ID); err != nil || !reflect.DeepEqual(got.Progress, p) {
		t.Errorf("got %+v, want %+v (%v)", got.Progress, p, err)
	}
	p.State, p.Finished = backfill.Failed, p.Started.Add(time.Hour)
	p.Tables[0].Over, p.Tables[0].Error = true, fmt.Sprint(errors.New("gone"))
	if err := s.SaveProgress(ctx, j.ID, p); err != nil {
		t.Fatal(err)
	}
	open, err := s.Open(ctx, j.Source)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range open {
		if o.ID == j.ID {
			t.Error("a job that is over is open")
		}
	}
}
