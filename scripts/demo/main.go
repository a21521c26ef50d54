// Command demo shows waltrigger at work: it prepares a database as Django would, starts
// the daemon, creates three triggers through its API, writes rows and prints every
// request and message as it arrives. scripts/demo.sh starts it.
//
//	demo -postgres DSN -waltrigger BINARY -dir FOLDER [-kafka BROKER] [-once]
//
// With -once it ends when everything expected has arrived (exit 0) or did not within
// the time allowed (exit 1), or something arrived that must not. Without it, it stays
// until it is interrupted, and prints what the user's own writes cause.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// settings of one run.
type settings struct {
	postgres   string // DSN of a superuser; a database of its own is created there
	kafka      string // bootstrap server, "" = leave the queues out
	waltrigger string // path of the binary
	dir        string // configuration, store and log go there
	once       bool
}

// token is what the receiver wants to see in Authorization; the triggers name it only
// as a dynamic value.
const token = "demo-token"

func main() {
	var s settings
	flag.StringVar(&s.postgres, "postgres", "", "DSN of a private PostgreSQL")
	flag.StringVar(&s.kafka, "kafka", "", "Kafka bootstrap server")
	flag.StringVar(&s.waltrigger, "waltrigger", "bin/waltrigger", "the binary")
	flag.StringVar(&s.dir, "dir", "", "folder for configuration, store and log")
	flag.BoolVar(&s.once, "once", false, "end by itself")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, s)
	stop()
	switch {
	case errors.Is(err, context.Canceled):
		fmt.Println("\ndemo: interrupted; everything is stopped")
	case err != nil:
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run goes through the whole demonstration.
func run(ctx context.Context, s settings) error {
	screen := newScreen(os.Stdout)
	in, err := newInbox(screen)
	if err != nil {
		return err
	}
	defer in.close()
	if s.kafka != "" {
		if err := in.consume(s.kafka); err != nil {
			return fmt.Errorf("read from Kafka: %w", err)
		}
	}
	db, err := createShop(ctx, s.postgres)
	if err != nil {
		return fmt.Errorf("create the tables: %w", err)
	}
	defer func() { _ = db.conn.Close(context.WithoutCancel(ctx)) }()
	screen.title("Tables myapp_customer, myapp_product, myapp_sale are in database " + db.name)

	d, err := startDaemon(ctx, s, db.dsn)
	if err != nil {
		return err
	}
	defer d.stop()
	screen.title("waltrigger runs: API on " + d.admin + ", configuration and log in " + s.dir)

	for i, t := range triggers(in.url(), s.kafka != "") {
		if err := d.create(ctx, screen, i+1, t); err != nil {
			return err
		}
	}
	if s.kafka == "" {
		screen.title("There is no Kafka: example 2 goes without its two broker queues")
	}
	for _, st := range scenario(s.kafka != "") {
		screen.sql(st.title, st.sql)
		if err := db.exec(ctx, st.sql); err != nil {
			return fmt.Errorf("write rows: %w", err)
		}
		if err := in.await(ctx, st.want, 30*time.Second); err != nil {
			return errors.Join(fmt.Errorf("%s: %w", st.title, err), d.ended())
		}
	}
	return finish(ctx, s, screen, in, d, db)
}

// finish waits for what must not arrive (-once), or for the user.
func finish(ctx context.Context, s settings, screen *screen, in *inbox, d *daemon, db *shop) error {
	if s.once {
		if err := in.quiet(ctx, time.Second); err != nil {
			return err
		}
		screen.title(fmt.Sprintf("All %d expected requests and messages arrived, and nothing else", in.count()))
		return nil
	}
	in.anything()
	screen.title("Your turn; what you write is shown here. Ctrl-C ends everything.")
	screen.text("  psql '" + db.dsn + "'")
	screen.text("  curl " + d.admin + "/api/action-triggers")
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-d.done:
		return d.ended()
	}
}
