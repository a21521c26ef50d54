package pipeline

import (
	"context"
	"fmt"
	"strconv"
	"testing"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/deliver"
	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/source"
)

// null accepts everything.
type null struct{}

func (null) Send(context.Context, []*sink.Message) []error { return nil }
func (null) Close() error                                  { return nil }

// BenchmarkPipeline is what an event costs from the source's channel to the sink.
func BenchmarkPipeline(b *testing.B) {
	const object = `{"config_signals":[{"signal":"post_save"}],"content_types":[{"app_label":"x","model_name":"sale"}],"webhooks":[{"id":"w","url":"https://example.com/","headers":{"A":"b"}}],
		"payload":{"sale_id":"{{ instance.id }}","quantity":"{{ instance.n }}","customer":"{{ instance.customer_id }}"}}`
	const related = `{"config_signals":[{"signal":"post_save"}],"content_types":[{"app_label":"x","model_name":"sale"}],"webhooks":[{"id":"w","url":"https://example.com/","headers":{"A":"b"}}],
		"payload":{"sale_id":"{{ instance.customer.age }}","quantity":"{{ instance.customer.boss.age }}","customer":"{{ instance.customer.boss.boss.age }}"}}`
	const envelope = `{"config_signals":[{"signal":"post_save"}],"content_types":[{"app_label":"x","model_name":"sale"}],"webhooks":[{"id":"w","url":"https://example.com/"}]}`
	kinds := map[string]sink.Kind{"lanes": {Name: "lanes", MaxBatch: 1}, "pipelined": {Name: "pipelined", Ordered: true, Pipelined: true, MaxBatch: 500}}
	for name, kind := range kinds {
		for what, body := range map[string]string{"object": object, "envelope": envelope, "related": related} {
			b.Run(name+"/"+what, func(b *testing.B) { benchmark(b, kind, body, 100) })
		}
	}
	b.Run("no match", func(b *testing.B) {
		benchmark(b, kinds["lanes"], `{"config_signals":[{"signal":"post_save"}],"content_types":[{"app_label":"x","model_name":"other"}]}`, 100)
	})
}

// benchmark sends transactions of size rows, one row for each loop.
func benchmark(b *testing.B, kind sink.Kind, body string, size int) {
	x := newBench(b, DefaultConfig(), deliver.DefaultConfig(), change.Mark{End: "start"})
	kind.Open = func(context.Context, map[string]any, sink.Env) (sink.Sink, error) { return null{}, nil }
	x.compiler.Webhook = &kind
	x.use(body)
	x.shop()
	for i := range 1000 {
		x.log.rows["public.customer"] = append(x.log.rows["public.customer"], values(strconv.Itoa(i), strconv.Itoa(i), strconv.Itoa(i/2)))
	}
	x.carried(1<<62, 1<<62)
	x.log.batches = make(chan source.Batch)
	x.start()
	b.ReportAllocs()
	rows := make([][]change.Value, 5000)
	for i := range rows {
		rows[i] = values(strconv.Itoa(i), strconv.Itoa(i), strconv.Itoa(i%1000))
	}
	b.ResetTimer()
	for i := 0; i < b.N; {
		t := &change.Tx{Position: "0-16B3748", Seq: uint64(i), End: change.Position(fmt.Sprint(i))}
		batch := make(source.Batch, 0, size+1)
		for range size {
			i++
			batch = append(batch, change.Change{Op: change.Insert, Tx: t, Table: sale, Ordinal: uint32(i), After: rows[i%len(rows)]})
		}
		x.log.batches <- append(batch, change.Change{Op: change.Commit, Tx: t})
	}
	if err := x.end(); err != nil {
		b.Fatal(err)
	}
}
