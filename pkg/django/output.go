package django

import (
	"context"
	"fmt"
	"io"
)

// Output is where imported triggers go: to a daemon, into a folder, or else to Stdout.
type Output struct {
	Daemon *Daemon
	Folder string
	Files  Files
	Stdout io.Writer
	Report io.Writer // what there is to be said
	Source string    // by which the configuration calls the database
}

// Write writes the triggers and tells what a person has to see to. It reports whether
// there is anything of that kind.
func (o Output) Write(ctx context.Context, triggers []Trigger, needs *Needs) (human bool, err error) {
	switch {
	case o.Daemon != nil:
		err = o.apply(ctx, triggers)
	case o.Folder != "":
		err = o.Files.Folder(o.Folder, triggers)
	default:
		err = o.Files.Stream(o.Stdout, triggers)
	}
	refused := 0
	for i := range triggers {
		human = human || len(triggers[i].Findings) > 0
		if triggers[i].Refused() {
			refused++
		}
		for _, f := range triggers[i].Findings {
			fmt.Fprintf(o.Report, "%s: %s\n", triggers[i].Name, f)
		}
	}
	if err != nil {
		return human, err
	}
	if !needs.Empty() {
		human = true
		fmt.Fprintf(o.Report, "The configuration needs, with true values in it:\n\n%s\n", needs.YAML(o.Source))
	}
	fmt.Fprintf(o.Report, "%d triggers imported, %d refused\n", len(triggers)-refused, refused)
	return human, nil
}

// apply gives those to the daemon that are not refused already.
func (o Output) apply(ctx context.Context, triggers []Trigger) error {
	for i := range triggers {
		if triggers[i].Refused() {
			continue
		}
		if err := o.Daemon.Apply(ctx, &triggers[i]); err != nil {
			return err
		}
	}
	return nil
}
