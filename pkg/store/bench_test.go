package store_test

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/waltrigger/waltrigger/pkg/deliver"
	"github.com/waltrigger/waltrigger/pkg/store"
)

// BenchmarkPark parks and removes deliveries of 500 bytes, as many at once as the clerk
// gathers under load.
func BenchmarkPark(b *testing.B) {
	s, err := store.Open(b.Context(), "sqlite:"+filepath.Join(b.TempDir(), "store.db"), slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	const batch = 2000
	ds, done := make([]*deliver.Delivery, batch), make([]uint64, batch)
	next := uint64(0)
	park := func() {
		for i := range ds {
			next++
			d := &deliver.Delivery{ID: next, Destination: "d1", Source: "shop", NLane: 1, Lanes: [2]uint64{next}, Table: 1, ParkedAt: time.Now()}
			d.Message.ID, d.Message.Key, d.Message.Body, d.Message.Signal = fmt.Sprintf("shop_0-1935228_%d_post_save_d1", next), []byte("12345"), make([]byte, 500), "post_save"
			ds[i], done[i] = d, next
		}
		if err := s.Settle(b.Context(), &deliver.Changes{Park: ds}); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("in", func(b *testing.B) {
		for b.Loop() {
			park()
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
			if err := s.Settle(b.Context(), &deliver.Changes{Done: ids}); err != nil {
				b.Fatal(err)
			}
			after, n = ids[len(ids)-1], n+len(ds)
		}
		b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "deliveries/s")
	})
}
