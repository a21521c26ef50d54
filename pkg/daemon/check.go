package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"

	"github.com/waltrigger/waltrigger/config"
	"github.com/waltrigger/waltrigger/pkg/related"
	"github.com/waltrigger/waltrigger/pkg/source"
	"github.com/waltrigger/waltrigger/pkg/store"
)

// Report is what Check found of one source.
type Report struct {
	Source   string           `json:"source"`
	Findings []source.Finding `json:"findings"`
}

// Check asks each source for all that tailing needs, and whether reading can go on from
// where the store says that it was, prints what it finds and reports whether nothing stands
// in the way. It changes nothing; the daemon may run.
func Check(ctx context.Context, cfg *config.Config, w io.Writer, asJSON bool) (ok bool, err error) {
	ok = true
	var reports []Report
	saved, storeErr := store.Saved(ctx, string(cfg.Store.URL))
	for _, c := range cfg.Sources {
		src, err := openSource(c, notesOf(c.Name, nil), slog.New(slog.DiscardHandler))
		if err != nil {
			return false, err
		}
		findings := append(src.Check(ctx, saved[c.Name]), checkRelations(ctx, src, c)...)
		if storeErr != nil {
			findings = append(findings, source.Finding{Level: source.LevelWarn, Text: "whether reading can go on from where it was is not known: " + storeErr.Error()})
		}
		if err := src.Close(); err != nil {
			return false, err
		}
		for _, f := range findings {
			ok = ok && f.Level != source.LevelError
		}
		reports = append(reports, Report{c.Name, findings})
	}
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return ok, e.Encode(reports)
	}
	for _, r := range reports {
		for _, f := range r.Findings {
			if _, err := fmt.Fprintf(w, "%-5s %s: %s\n", f.Level, r.Source, f.Text); err != nil {
				return ok, err
			}
			if f.Mend != "" {
				if _, err := fmt.Fprintf(w, "      mend: %s\n", f.Mend); err != nil {
					return ok, err
				}
			}
		}
	}
	return ok, nil
}

// checkRelations looks at the relations of the configuration, if the source can be asked.
func checkRelations(ctx context.Context, src source.Source, c config.Source) []source.Finding {
	if len(c.Relations) == 0 {
		return nil
	}
	tables, err := src.Tables(ctx)
	if err != nil {
		return nil // what keeps it from answering is told
	}
	var out []source.Finding
	for _, p := range related.NewCatalog(src.Tables, c.Relations, c.Models(), slog.New(slog.DiscardHandler)).Learn(tables).Problems() {
		out = append(out, source.Finding{Level: source.LevelWarn, Text: fmt.Sprintf("relations[%d] cannot be used: %s", p.At, p.Text), Mend: "correct the relations of the source in the configuration"})
	}
	return out
}

// Grants prints, for each source, the SQL of a role that may do just what is needed.
func Grants(cfg *config.Config, w io.Writer) error {
	for _, c := range cfg.Sources {
		sql := c.Postgres().Grants
		if c.IsMySQL() {
			sql = c.MySQL().Grants
		}
		if _, err := fmt.Fprintln(w, sql()); err != nil {
			return err
		}
	}
	return nil
}
