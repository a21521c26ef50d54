package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/waltrigger/waltrigger/config"
	"github.com/waltrigger/waltrigger/pkg/api"
	"github.com/waltrigger/waltrigger/pkg/store"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// filesEvery is how often the trigger files are looked at.
const filesEvery = 2 * time.Second

// files keeps the stored triggers as the configuration's trigger files say. While one
// of the files is bad, all stays as it was.
type files struct {
	cfg      *config.Config
	triggers *triggers
	seen     string // names, sizes and times of the files as they were applied
}

// watch applies the files now and whenever they change, until ctx ends.
func (f *files) watch(ctx context.Context) error {
	if len(f.cfg.Triggers) == 0 {
		return nil
	}
	tick := time.NewTicker(filesEvery)
	defer tick.Stop()
	said := ""
	for {
		switch err := f.apply(ctx); {
		case err == nil:
			said = ""
		case ctx.Err() == nil && err.Error() != said:
			said = err.Error()
			f.triggers.log.Error("trigger files: the set from before stays", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (f *files) apply(ctx context.Context) error {
	paths, err := f.cfg.TriggerFiles()
	if err != nil {
		return err
	}
	state := fingerprint(paths)
	if state == f.seen {
		return nil
	}
	wanted, err := decodeFiles(paths)
	if err == nil {
		err = f.replace(ctx, wanted)
	}
	if !passing(err) { // else the next look tries again
		f.seen = state
	}
	if err == nil {
		f.triggers.log.Info("trigger files applied", "files", len(paths), "triggers", len(wanted))
	}
	return err
}

// passing reports whether err may be gone at the next attempt. Another instance may be
// storing the same files.
func passing(err error) bool {
	return errors.As(err, new(*api.UnavailableError)) || errors.As(err, new(*lateError)) || errors.As(err, new(*trigger.ConflictError)) ||
		errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrInDoubt)
}

func fingerprint(paths []string) string {
	var b strings.Builder
	for _, p := range paths {
		if i, err := os.Stat(p); err == nil {
			fmt.Fprintf(&b, "%s %d %d\n", p, i.Size(), i.ModTime().UnixNano())
		}
	}
	return b.String()
}

// decodeFiles reads all triggers; one without a name is named after its place.
func decodeFiles(paths []string) ([]*trigger.Trigger, error) {
	var out []*trigger.Trigger
	var errs []error
	names := map[string]string{}
	for _, p := range paths {
		bodies, err := config.ReadTriggers(p)
		errs = append(errs, err)
		for i, b := range bodies {
			at := fmt.Sprintf("%s:%d", b.File, b.Line)
			t, problems := trigger.Decode(b.JSON)
			for _, pr := range problems {
				errs = append(errs, fmt.Errorf("%s: %s: %s", at, pr.Pointer, pr.Detail))
			}
			if len(problems) > 0 {
				continue
			}
			if t.Name == "" {
				t.Name = fmt.Sprintf("%s %d", filepath.Base(p), i+1)
			}
			if other, taken := names[t.Name]; taken {
				errs = append(errs, fmt.Errorf("%s: the name %q is taken by %s", at, t.Name, other))
			}
			names[t.Name] = at
			out = append(out, t)
		}
	}
	return out, errors.Join(errs...)
}

// replace makes the stored triggers of files be wanted. All are validated before the
// first is stored.
func (f *files) replace(ctx context.Context, wanted []*trigger.Trigger) error {
	stored, err := f.triggers.store.Triggers(ctx, trigger.Query{})
	if err != nil {
		return err
	}
	was := map[string]trigger.Record{}
	for _, r := range stored {
		was[r.Trigger.Name] = r
	}
	var errs []error
	for _, t := range wanted {
		if r, ok := was[t.Name]; ok && r.Origin != trigger.FromFile {
			errs = append(errs, fmt.Errorf("%s: trigger %d of the API has this name", t.Name, r.Trigger.ID))
		}
		v := trigger.Validate(ctx, t.Clone(), f.triggers.env)
		for _, p := range v.Problems {
			errs = append(errs, fmt.Errorf("%s: %s: %s", t.Name, p.Pointer, p.Detail))
		}
		if v.Unavailable != nil {
			return unavailable(v.Unavailable)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, t := range wanted {
		r, exists := was[t.Name]
		delete(was, t.Name)
		if exists {
			_, err = f.triggers.replace(ctx, r.Trigger.ID, t, api.WriteOptions{Wait: true})
		} else {
			_, err = f.triggers.create(ctx, t, trigger.FromFile, api.WriteOptions{Wait: true})
		}
		if err != nil {
			return fmt.Errorf("%s: %w", t.Name, err)
		}
	}
	for name, r := range was {
		if r.Origin == trigger.FromFile {
			if err := f.triggers.remove(ctx, r.Trigger.ID, 0); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}
