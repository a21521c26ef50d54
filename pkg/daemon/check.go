package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"

	"github.com/waltrigger/waltrigger/config"
	"github.com/waltrigger/waltrigger/pkg/related"
	"github.com/waltrigger/waltrigger/pkg/source/postgres"
)

// Report is what Check found of one source.
type Report struct {
	Source   string             `json:"source"`
	Findings []postgres.Finding `json:"findings"`
}

// Check asks each source for all that tailing needs, prints what it finds and reports
// whether nothing stands in the way. It changes nothing.
func Check(ctx context.Context, cfg *config.Config, w io.Writer, asJSON bool) (ok bool, err error) {
	ok = true
	var reports []Report
	for _, c := range cfg.Sources {
		src, err := postgres.New(c.Postgres(), nil, slog.New(slog.DiscardHandler))
		if err != nil {
			return false, err
		}
		findings := append(src.Check(ctx), checkRelations(ctx, src, c)...)
		if err := src.Close(); err != nil {
			return false, err
		}
		for _, f := range findings {
			ok = ok && f.Level != postgres.LevelError
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
func checkRelations(ctx context.Context, src *postgres.Source, c config.Source) []postgres.Finding {
	if len(c.Relations) == 0 {
		return nil
	}
	tables, err := src.Tables(ctx)
	if err != nil {
		return nil // what keeps it from answering is told
	}
	var out []postgres.Finding
	for _, p := range related.NewCatalog(src.Tables, c.Relations, c.Models(), slog.New(slog.DiscardHandler)).Learn(tables).Problems() {
		out = append(out, postgres.Finding{Level: postgres.LevelWarn, Text: fmt.Sprintf("relations[%d] cannot be used: %s", p.At, p.Text), Mend: "correct the relations of the source in the configuration"})
	}
	return out
}

// Grants prints, for each source, the SQL of a role that may do just what is needed.
func Grants(cfg *config.Config, w io.Writer) error {
	for _, c := range cfg.Sources {
		if _, err := fmt.Fprintln(w, c.Postgres().Grants()); err != nil {
			return err
		}
	}
	return nil
}
