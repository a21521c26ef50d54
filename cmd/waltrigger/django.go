package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/waltrigger/waltrigger/config"
	"github.com/waltrigger/waltrigger/pkg/daemon"
	"github.com/waltrigger/waltrigger/pkg/django"
)

// importFlags are those of import-django.
type importFlags struct {
	remote
	source, database, prefix, models string
	out                              string
	apply, force, printScript        bool
	options                          django.Options
}

func importDjangoCommand(file *string) *cobra.Command {
	f := importFlags{remote: remote{file: file}}
	cmd := &cobra.Command{
		Use: "import-django", Short: "Import the triggers of Django Action Triggers", Args: cobra.NoArgs,
		Long: `import-django reads the tables of an installation of the Python package Django Action
Triggers 0.5.2, which it does not change, and writes its triggers as YAML in the API's
shape, or with --apply into a running daemon, where triggers of the same names are
replaced. Standard error then says what is not the same outside of Django, trigger by
trigger, and what the configuration needs. A trigger that is "refused" is not imported,
or commented out, or in a folder has a name that ends in .refused. Secrets are written as
they stand in the rows, into files that nobody else may read.

With --models, names of tables, columns and foreign keys are those of the Django project:
  waltrigger import-django --print-script | python manage.py shell   # writes models.json
  waltrigger import-django --models models.json -o triggers

What differs for every trigger: payloads are not escaped for HTML (--keep-escaping), a
JSON payload stays JSON whatever the values are, dates print in RFC 3339, signals fire
after the commit, and pre_save knows the key of a new row. While the package is still
installed, both fire: --shadow imports triggers that send nothing.

The exit code is 0 if all is imported and nothing is left to do, 2 if a person has to look
at what is said, 1 if it failed.`,
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.source, "source", "", "`name` of the source with the tables of the triggers, if there are several")
	flags.StringVar(&f.database, "url", "", "`url` of the database that has the package's tables, if it is not that of the source; does without a configuration file")
	flags.StringVar(&f.prefix, "prefix", "", "what the names of the package's tables begin with, its DB_TABLE_PREFIX (default that of --models, else action_triggers_)")
	flags.StringVar(&f.models, "models", "", "`file` that the script of --print-script wrote")
	flags.BoolVar(&f.printScript, "print-script", false, "print the script for manage.py shell that writes models.json, and do nothing else")
	flags.StringVarP(&f.out, "out", "o", "-", "`folder` to write a file a trigger into; - is standard output")
	flags.BoolVar(&f.force, "force", false, "overwrite files that say something else")
	flags.BoolVar(&f.apply, "apply", false, "give the triggers to the running daemon")
	flags.StringVar(&f.options.NamePrefix, "name-prefix", "django-", "what the names of the triggers begin with; the package's id follows")
	flags.BoolVar(&f.options.KeepEscaping, "keep-escaping", false, "escape values in payloads for HTML, as the package does")
	flags.BoolVar(&f.options.Shadow, "shadow", false, "import triggers that render and record, and send nothing")
	f.remote.flags(cmd)
	cmd.MarkFlagsMutuallyExclusive("apply", "out")
	return cmd
}

func (f *importFlags) run(c *cobra.Command) error {
	if f.printScript {
		_, err := io.WriteString(c.OutOrStdout(), django.Script)
		return err
	}
	cfg, err := f.config(c)
	if err != nil {
		return err
	}
	if f.models != "" {
		data, err := os.ReadFile(f.models)
		if err != nil {
			return fmt.Errorf("read models: %w", err)
		}
		if f.options.Models, err = django.ParseModels(data); err != nil {
			return err
		}
	}
	out, err := f.output(c, cfg)
	if err != nil {
		return err
	}
	d := daemon.Django{Config: cfg, Source: f.source, URL: f.database, Prefix: f.prefix, Options: f.options, Log: slog.New(slog.DiscardHandler)}
	triggers, needs, err := d.Triggers(c.Context())
	if err != nil {
		return err
	}
	human, err := out.Write(c.Context(), triggers, needs)
	if err == nil && human {
		err = exitError{2}
	}
	return err
}

// config is the configuration, or with --url and without -c one of that source alone.
func (f *importFlags) config(c *cobra.Command) (*config.Config, error) {
	if f.database == "" || *f.file != "" {
		return load(*f.file, c.ErrOrStderr())
	}
	name := f.source
	if name == "" {
		name = "django"
	}
	return config.ForSource(name, f.database)
}

func (f *importFlags) output(c *cobra.Command, cfg *config.Config) (django.Output, error) {
	out := django.Output{Stdout: c.OutOrStdout(), Report: c.ErrOrStderr(), Source: f.source, Files: django.Files{YAML: config.TriggerYAML, Force: f.force}}
	if out.Source == "" {
		out.Source = cfg.Sources[0].Name
	}
	switch {
	case f.apply:
		api, err := f.client(c)
		if err != nil {
			return out, err
		}
		out.Daemon = &django.Daemon{URL: api.url, Token: api.token}
	case f.out != "-":
		out.Folder = f.out
	}
	return out, nil
}
