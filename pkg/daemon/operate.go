package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/waltrigger/waltrigger/config"
	"github.com/waltrigger/waltrigger/pkg/backfill"
	"github.com/waltrigger/waltrigger/pkg/source"
	"github.com/waltrigger/waltrigger/pkg/store"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// Operator takes the steps on sources that only a person may decide on. No daemon may
// run on the store.
type Operator struct {
	Config *config.Config
	Out    io.Writer
	Log    *slog.Logger
}

// operated is one source under an Operator's hands.
type operated struct {
	name  string
	src   source.Managed
	store *store.Held
	saved source.State
	known bool // the store has read it
}

// with opens the store and the source of that name for f.
func (o Operator) with(ctx context.Context, name string, f func(operated) error) (err error) {
	var names []string
	for _, c := range o.Config.Sources {
		if names = append(names, c.Name); c.Name != name {
			continue
		}
		s, err := store.Open(ctx, string(o.Config.Store.URL), o.Log, o.Config.Store.Keys()...)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.Close()) }()
		return hold(ctx, s, name, func(held *store.Held) error { return o.open(ctx, c, held, f) })
	}
	return fmt.Errorf("the configuration has no source %q%s", name, trigger.DidYouMean(name, names))
}

// hold keeps every instance of the daemon from a source while f runs.
func hold(ctx context.Context, s *store.Store, name string, f func(*store.Held) error) error {
	l := newLeader(s, []string{name}, slog.New(slog.DiscardHandler))
	if l == nil {
		return f(s.Held(""))
	}
	if _, err := l.look(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	patience := time.AfterFunc(leaseTTL+leaseGap, cancel) // one that was killed seems to live for so long
	t, err := l.acquire(ctx, func() {})
	if err != nil {
		lease, _ := l.of(name)
		return fmt.Errorf("another waltrigger (%s) is active on source %s: stop all that share the store first", instance(lease.Holder), name)
	}
	patience.Stop()
	defer t.stop()
	return f(s.Held(t.holder))
}

func (o Operator) open(ctx context.Context, c config.Source, s *store.Held, f func(operated) error) error {
	saved, known, err := s.LoadSource(ctx, c.Name)
	if err != nil {
		return err
	}
	src, err := openSource(c, notesOf(c.Name, s), o.Log)
	if err != nil {
		return err
	}
	return errors.Join(f(operated{c.Name, src, s, saved, known && saved.Identity != ""}), src.Close())
}

func (o Operator) say(format string, args ...any) error {
	_, err := fmt.Fprintf(o.Out, format+"\n", args...)
	return err
}

// List prints how far each source was read and where its slot stands.
func (o Operator) List(ctx context.Context) (err error) {
	s, err := store.Open(ctx, string(o.Config.Store.URL), o.Log, o.Config.Store.Keys()...)
	if err != nil {
		return fmt.Errorf("%w; a running daemon tells the same at GET /api/sources", err)
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	w := tabwriter.NewWriter(o.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SOURCE\tREAD UP TO\tSERVER HAS\tAT\tNOT READ\tREMARK")
	for _, c := range o.Config.Sources {
		if err := o.open(ctx, c, s.Held(""), func(x operated) error { return x.line(ctx, w) }); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return o.listGaps(ctx, s)
}

// shownGaps is how many gaps of a source are shown.
const shownGaps = 20

// listGaps prints the gaps of the sources, if there are any.
func (o Operator) listGaps(ctx context.Context, s *store.Store) error {
	w := tabwriter.NewWriter(o.Out, 0, 0, 2, ' ', 0)
	heading := "\nGAPS IN\tKIND\tTABLE\tAFTER\tBEFORE\tNOTICED\tREASON\n"
	for _, c := range o.Config.Sources {
		gaps, err := s.Gaps(ctx, c.Name, shownGaps)
		if err != nil {
			return err
		}
		for _, g := range gaps {
			table := "-"
			if g.Table.Name != "" {
				table = g.Table.String()
			}
			fmt.Fprint(w, heading)
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", g.Source, g.Kind, table, cmp.Or(string(g.After), "-"), g.Before, g.Noticed.Format(time.RFC3339), g.Reason)
			heading = ""
		}
	}
	return w.Flush()
}

func (x operated) line(ctx context.Context, w io.Writer) error {
	p, err := x.src.Place(ctx, x.saved)
	end := string(x.saved.Mark.End)
	if end == "" {
		end = "never"
	}
	at, holds := "-", "-"
	if p.At != "" {
		at, holds = string(p.At), fmt.Sprintf("%d MiB", p.Held>>20)
	}
	if err != nil {
		p.Remark = "cannot be asked: " + err.Error()
	}
	_, err = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", x.name, end, p.Name, at, holds, p.Remark)
	return err
}

// Adopt lets the store go on from where the source's slot stands, which another store
// has read before.
func (o Operator) Adopt(ctx context.Context, name string) error {
	return o.with(ctx, name, func(x operated) error {
		if x.known {
			next := "start waltrigger"
			if p, err := x.src.Place(ctx, x.saved); err == nil && p.At == "" { // a start would only say so
				next = p.Remark + ": what was committed since is lost to it; `waltrigger source resync " + name + "` with --accept-gap or --backfill goes on from now"
			}
			return fmt.Errorf("this store has read source %s itself, up to %s: there is nothing to adopt; %s", name, x.saved.Mark.End, next)
		}
		st, err := x.src.Adopt(ctx)
		if err != nil {
			return err
		}
		if err := x.store.SaveSource(ctx, name, st); err != nil {
			return err
		}
		return o.say("Source %s goes on from %s, where its slot stands. Start waltrigger now.", name, st.Mark.End)
	})
}

// Resync lets a source go on from now, with a new slot. What was committed since it was
// last read is not sent: the gap is printed. With fill the rows that its tables then have
// are sent, once the daemon runs.
func (o Operator) Resync(ctx context.Context, name string, fill bool) error {
	return o.with(ctx, name, func(x operated) error {
		// Asked first: a source that cannot tell keeps what it has.
		place, err := x.src.Place(ctx, x.saved)
		if err != nil {
			return err
		}
		var known []source.TableInfo
		if fill {
			if known, err = x.src.Tables(ctx); err != nil {
				return err
			}
		}
		active, err := x.reset(ctx)
		if err != nil {
			return err
		}
		how := "--accept-gap"
		if fill {
			how = "--backfill"
		}
		save := func(s source.State) error {
			if s.Mark.End == "" {
				return x.store.SaveSource(ctx, name, s)
			}
			return x.store.Skip(ctx, s, store.Gap{
				Source: name, Kind: store.GapSkipped, After: x.saved.Mark.End, Before: s.Mark.End,
				Reason: "source resync " + how + ": " + x.anew(s, place.Name),
			})
		}
		tables, fewer := active.tables()
		if src, ok := x.src.(source.InsertOnly); ok {
			src.AllowInsertOnly(fewer)
		}
		st, seq, err := x.src.Resync(ctx, tables, save)
		if err != nil {
			return errors.Join(err, active.restore(ctx, x.store, nil))
		}
		if err := active.restore(ctx, x.store, &seq); err != nil {
			return err
		}
		filled := ""
		if fill {
			if filled, err = active.fill(ctx, x.store, known); err != nil {
				return err
			}
		}
		from := string(x.saved.Mark.End)
		if from == "" {
			from = "the beginning"
		}
		o.Log.Warn("gap accepted", "source", name, "after", from, "before", string(st.Mark.End), "was", x.saved.Identity, "now", st.Identity)
		return o.say("Source %s goes on from %s. The gap: what was committed after %s and before %s was not sent; `waltrigger source list` and the API keep showing it.%s Start waltrigger now.", name, st.Mark.End, from, st.Mark.End, filled)
	})
}

// anew says why reading on from s leaves a gap. what is the server's place for us.
func (x operated) anew(s source.State, what string) string {
	switch x.saved.Identity {
	case "":
		return "the source was never read before"
	case s.Identity:
		return "server and database are the same, the " + what + " was lost or is read anew"
	}
	return "server, database and slot were " + x.saved.Identity + ", and are " + s.Identity
}

// Drop removes what was made on the source's server, and forgets how far it was read.
func (o Operator) Drop(ctx context.Context, name string) error {
	return o.with(ctx, name, func(x operated) error {
		if !x.known {
			return fmt.Errorf("this store has never read source %s: what is on its server belongs to somebody else; drop that there: SELECT pg_drop_replication_slot(…); DROP PUBLICATION …;", name)
		}
		if err := x.src.Drop(ctx); err != nil {
			return err
		}
		if _, err := x.reset(ctx); err != nil {
			return err
		}
		if err := x.store.DropSource(ctx, name); err != nil {
			return err
		}
		return o.say("Source %s is forgotten, up to %s it was read. Remove it from the configuration, or the next start begins anew with it.", name, x.saved.Mark.End)
	})
}

// activeOf are the activations of triggers that held for a source before a reset.
type activeOf struct {
	source  string
	records []trigger.Record // as they were
}

// reset makes the activations of a source pending: positions of a log that is not read
// on mean nothing. The next start activates them anew.
func (x operated) reset(ctx context.Context) (activeOf, error) {
	out := activeOf{source: x.name}
	all, err := x.store.Triggers(ctx, trigger.Query{})
	if err != nil {
		return out, err
	}
	for _, r := range all {
		if !slices.ContainsFunc(r.Activations, out.holds) {
			continue
		}
		out.records = append(out.records, r)
		err := x.store.UpdateActivations(ctx, r.Trigger.ID, r.Revision, func(as []trigger.Activation) []trigger.Activation {
			for i := range as {
				if out.holds(as[i]) {
					as[i].State, as[i].Seq = trigger.Pending, 0
				}
			}
			return as
		})
		if err != nil {
			return out, err
		}
	}
	return out, nil
}

func (a activeOf) holds(act trigger.Activation) bool {
	return act.ContentType.Source == a.source && act.State == trigger.Active
}

// tables lists the tables that the triggers need, and of these the ones of which the
// inserts alone will do.
func (a activeOf) tables() (all, fewer []source.TableName) {
	for _, r := range a.records {
		for _, act := range r.Activations {
			if !r.Trigger.Active || !a.holds(act) {
				continue
			}
			t := source.TableName{Schema: act.Schema, Name: act.Table}
			if !slices.Contains(all, t) {
				all = append(all, t)
			}
			if c, ok := contentTypeOf(r.Trigger, act); ok && c.AllowInsertOnly && !slices.Contains(fewer, t) {
				fewer = append(fewer, t)
			}
		}
	}
	return all, fewer
}

// restore makes active again what was, from seq on if that is given.
func (a activeOf) restore(ctx context.Context, s *store.Held, seq *uint64) error {
	for _, r := range a.records {
		for i := range r.Activations {
			if seq != nil && a.holds(r.Activations[i]) {
				r.Activations[i].Seq = *seq
			}
		}
		err := s.UpdateActivations(ctx, r.Trigger.ID, r.Revision, func([]trigger.Activation) []trigger.Activation { return r.Activations })
		if err != nil {
			return err
		}
	}
	return nil
}

// fill makes a backfill of all that the triggers save, in the place of those that are not
// over: what these have sent may be older than the gap. Tables that cannot be read in parts
// are left out, and named in what is said.
func (a activeOf) fill(ctx context.Context, s *store.Held, known []source.TableInfo) (said string, err error) {
	open, err := s.Open(ctx, a.source)
	if err != nil {
		return "", err
	}
	for _, j := range open {
		if err := s.SetWish(ctx, j.ID, backfill.Cancel); err != nil {
			return "", err
		}
	}
	out := leftOut{known: known}
	tables, ids := backfilled(a.source, a.records, func(act trigger.Activation) bool { return a.holds(act) && out.readable(act) })
	for _, why := range out.said {
		said += " Not sent are the rows of " + why + "."
	}
	if len(tables) == 0 {
		return " No trigger is fired by rows that are saved and can be read: there is nothing to backfill." + said, nil
	}
	j := newJob(a.source, ids, tables)
	if _, err := s.AddBackfill(ctx, j); err != nil {
		return "", err
	}
	return fmt.Sprintf(" Backfill %s will send the rows of %s as they are then; rows that were deleted in the gap stay unsaid.%s", j.ID, count(len(tables), "table"), said), nil
}

// count says how many there are.
func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
