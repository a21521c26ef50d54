package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pglogrepl"
)

// limit is what decode and post print, as one JSON line.
type limit struct {
	PerSecond float64 `json:"per_second"`
	CPU       float64 `json:"cpu_s_per_100k"`
	HWM       float64 `json:"hwm_mb"`
}

// pause is the wait before each read that gives the highest decoding rate.
const pause = 100 * time.Microsecond

// decode reads rows inserts and drops them.
func decode(ctx context.Context, r *ref, rows int) error {
	if r.mysql != "" {
		return r.mysqlDecode(ctx, rows)
	}
	s, err := open(ctx, r.dsn, r.slot, pause)
	if err != nil {
		return err
	}
	var first time.Time
	n := 0
	for n < rows {
		m, err := s.next(ctx)
		if err != nil {
			return err
		}
		if _, ok := m.(*pglogrepl.InsertMessage); ok {
			if n == 0 {
				first = time.Now()
			}
			n++
		}
	}
	return printLimit(n, time.Since(first))
}

// post sends n bodies over as many connections as fast as they are taken.
func post(ctx context.Context, target string, workers, n int) error {
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, workers)
	start := time.Now()
	for range workers {
		wg.Go(func() {
			w, err := dialWire(target)
			for err == nil && ctx.Err() == nil {
				id := next.Add(1)
				if id > int64(n) {
					return
				}
				err = w.post(fmt.Appendf(nil, `{"id":%d,"customer_id":%d,"product_id":1,"quantity":1,"created_at":"2026-01-01T00:00:00.000000Z","price":"12.34"}`, id, id%customers+1))
			}
			errs <- err
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return err
		}
	}
	return printLimit(n, time.Since(start))
}

func printLimit(n int, took time.Duration) error {
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		return err
	}
	cpu := time.Duration(ru.Utime.Nano() + ru.Stime.Nano()).Seconds()
	return json.NewEncoder(os.Stdout).Encode(limit{
		PerSecond: float64(n) / took.Seconds(), CPU: cpu / float64(n) * 1e5, HWM: float64(ru.Maxrss) / 1024,
	})
}
