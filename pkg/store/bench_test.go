package store_test

import (
	"fmt"
	"log/slog"
	"maps"
	neturl "net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waltrigger/waltrigger/pkg/deliver"
	"github.com/waltrigger/waltrigger/pkg/store"
)

// BenchmarkPark parks, puts back and removes deliveries of 500 bytes, as many at once as
// the clerk gathers under load, in each kind of store that there is.
func BenchmarkPark(b *testing.B) {
	urls := map[string]string{"sqlite": "sqlite:" + filepath.Join(b.TempDir(), "store.db")}
	if server := os.Getenv("WALTRIGGER_TEST_POSTGRES"); server != "" {
		name := fresh()
		admin := raw(b, "pgx", server)
		b.Cleanup(func() { run(b, admin, "DROP SCHEMA IF EXISTS "+name+" CASCADE") })
		urls["postgres"] = server + "&schema=" + name
	}
	for _, kind := range []string{"mysql", "mariadb"} {
		if server := os.Getenv("WALTRIGGER_TEST_" + strings.ToUpper(kind)); server != "" {
			name := fresh()
			admin := raw(b, "mysql", dsn(b, server))
			b.Cleanup(func() { run(b, admin, "DROP DATABASE IF EXISTS "+name) })
			urls[kind] = edit(b, server, func(u *neturl.URL) { u.Path = "/" + name })
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(urls)) {
		b.Run(kind, func(b *testing.B) { benchmarkPark(b, urls[kind]) })
	}
}

func benchmarkPark(b *testing.B, url string) {
	s, err := store.Open(b.Context(), url, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	const batch = 2000
	ds, done := make([]*deliver.Delivery, batch), make([]uint64, batch)
	next := uint64(0)
	settle := func(c *deliver.Changes) {
		if err := s.Settle(b.Context(), c); err != nil {
			b.Fatal(err)
		}
	}
	park := func() {
		for i := range ds {
			next++
			d := &deliver.Delivery{ID: next, Destination: "d1", Source: "shop", NLane: 1, Lanes: [2]uint64{next}, Table: 1, ParkedAt: time.Now()}
			d.Message.ID, d.Message.Key, d.Message.Body, d.Message.Signal = fmt.Sprintf("shop_0-1935228_%d_post_save_d1", next), []byte("12345"), make([]byte, 500), "post_save"
			ds[i], done[i] = d, next
		}
		settle(&deliver.Changes{Park: ds})
	}
	b.Run("in", func(b *testing.B) {
		for b.Loop() {
			park()
		}
		b.ReportMetric(float64(b.N)*batch/b.Elapsed().Seconds(), "deliveries/s")
	})
	b.Run("back", func(b *testing.B) {
		park()
		for b.Loop() {
			for _, d := range ds {
				d.Attempts, d.NextAt = d.Attempts+1, time.Now()
			}
			settle(&deliver.Changes{Back: ds})
		}
		b.ReportMetric(float64(b.N)*batch/b.Elapsed().Seconds(), "deliveries/s")
	})
	b.Run("out", func(b *testing.B) {
		after, n := uint64(0), 0
		for b.Loop() {
			places, err := s.Places(b.Context(), "d1", after, 1000)
			if err != nil {
				b.Fatal(err)
			}
			if len(places) == 0 {
				b.StopTimer()
				park()
				b.StartTimer()
				continue
			}
			ids := make([]uint64, len(places))
			for i, p := range places {
				ids[i] = p.ID
			}
			ds, err := s.Load(b.Context(), ids)
			if err != nil {
				b.Fatal(err)
			}
			settle(&deliver.Changes{Done: ids})
			after, n = ids[len(ids)-1], n+len(ds)
		}
		b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "deliveries/s")
	})
}
