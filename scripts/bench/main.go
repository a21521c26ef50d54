// Command bench measures waltrigger beside what the machine can do at all, in one run:
//
//	decode          a bare loop that reads the replication stream and drops it
//	post            keep-alive POSTs as fast as the receiver takes them
//	ref-http        a bare loop: pgoutput, JSON, one hand-written HTTP/1.1 POST an event
//	ref-kafka       the same loop into Kafka by sarama's AsyncProducer
//	waltrigger-*    the product itself, with one trigger
//	without-*       the product with a few columns in the payload
//	relations-*     the same with names of related rows, three steps away, in their
//	                place; then once more while the rows are being written
//
// Each of them but post reads the same backlog of sale rows from a slot of its own.
// Absolute figures say something about the machine; compare the ratios. scripts/bench.sh
// starts the services and this program; the verbs ref-http, ref-kafka, decode and post
// run in child processes of it, so that CPU and memory are theirs alone.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := dispatch(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func dispatch(ctx context.Context, args []string) error {
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		return child(ctx, args[0], args[1:])
	}
	var o options
	fs := flag.NewFlagSet("bench", flag.ExitOnError)
	fs.StringVar(&o.postgres, "postgres", "", "DSN of a superuser; a database of its own is created and dropped")
	fs.StringVar(&o.kafka, "kafka", "", "Kafka bootstrap server; empty: no Kafka scenarios")
	fs.StringVar(&o.waltrigger, "waltrigger", "bin/waltrigger", "the binary; empty: limits and references only")
	fs.StringVar(&o.dir, "dir", ".work/bench", "configuration, logs and results.jsonl go there")
	fs.IntVar(&o.rows, "rows", 200_000, "rows of the backlog")
	fs.IntVar(&o.reps, "reps", 1, "repetitions of everything, one after another")
	fs.IntVar(&o.workers, "workers", 16, "connections of the HTTP reference and of post")
	scenarios := fs.String("scenarios", "limits,http-tx100,http-onetx,kafka-tx100,kafka-onetx", "what to run: limits, and sink-grouping pairs (http|kafka, tx100|onetx|relations)")
	fs.StringVar(&o.ordering, "ordering", "customer", "customer: events of one customer in order, and checked; row: waltrigger's default, nothing to check with rows that are inserted once")
	if err := fs.Parse(args); err != nil {
		return err
	}
	o.scenarios = strings.Split(*scenarios, ",")
	if err := o.check(); err != nil {
		return err
	}
	return runAll(ctx, o)
}

// options of a run.
type options struct {
	postgres, kafka, waltrigger, dir, ordering string
	rows, reps, workers                        int
	scenarios                                  []string
}

func (o *options) check() error {
	if o.postgres == "" {
		return fmt.Errorf("-postgres is required; scripts/bench.sh gives it")
	}
	if o.rows < 1 || o.rows > 10_000_000 || o.reps < 1 || o.workers < 1 || o.workers > 1024 {
		return fmt.Errorf("-rows must be 1 to 10,000,000, -reps at least 1, -workers 1 to 1,024")
	}
	if o.ordering != "customer" && o.ordering != "row" {
		return fmt.Errorf("-ordering is customer or row, not %q", o.ordering)
	}
	for _, s := range o.scenarios {
		switch s {
		case "limits", "http-tx100", "http-onetx", "http-relations":
		case "kafka-tx100", "kafka-onetx", "kafka-relations":
			if o.kafka == "" {
				return fmt.Errorf("scenario %s needs -kafka", s)
			}
		default:
			return fmt.Errorf("there is no scenario %q", s)
		}
	}
	return nil
}

// has reports whether a scenario that begins with prefix was asked for.
func (o *options) has(prefix, suffix string) bool {
	for _, s := range o.scenarios {
		if strings.HasPrefix(s, prefix) && strings.HasSuffix(s, suffix) {
			return true
		}
	}
	return false
}

// child runs a verb in this process; its settings are flags.
func child(ctx context.Context, verb string, args []string) error {
	var r ref
	fs := flag.NewFlagSet(verb, flag.ExitOnError)
	fs.StringVar(&r.dsn, "postgres", "", "")
	fs.StringVar(&r.slot, "slot", "", "")
	fs.StringVar(&r.url, "url", "", "")
	fs.StringVar(&r.kafka, "kafka", "", "")
	fs.StringVar(&r.topic, "topic", "", "")
	fs.IntVar(&r.workers, "workers", 16, "")
	rows := fs.Int("rows", 0, "")
	if err := fs.Parse(args); err != nil {
		return err
	}
	switch verb {
	case "ref-http":
		return r.http(ctx)
	case "ref-kafka":
		return r.kafkaLoop(ctx)
	case "decode":
		return decode(ctx, r.dsn, r.slot, *rows)
	case "post":
		return post(ctx, r.url, r.workers, *rows)
	}
	return fmt.Errorf("there is no verb %q", verb)
}
