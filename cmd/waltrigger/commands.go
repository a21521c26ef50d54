package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/waltrigger/waltrigger/config"
	"github.com/waltrigger/waltrigger/pkg/daemon"
	"github.com/waltrigger/waltrigger/pkg/template"
)

func runCommand(file *string) *cobra.Command {
	var level, format string
	cmd := &cobra.Command{
		Use: "run", Short: "Run the daemon until it is told to stop", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			log, err := newLogger(c.ErrOrStderr(), level, format)
			if err != nil {
				return err
			}
			cfg, err := load(*file, c.ErrOrStderr())
			if err != nil {
				return err
			}
			collectOften()
			return daemon.Run(c.Context(), cfg, version, log)
		},
	}
	cmd.Flags().StringVar(&level, "log-level", "info", "debug, info, warn or error")
	cmd.Flags().StringVar(&format, "log-format", "json", "json or text")
	return cmd
}

// collectOften makes the garbage collector run at three fifths more than what is in
// use, unless GOGC says otherwise: what is in use is small and short-lived, and a daemon
// beside a database should be, too.
func collectOften() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(60)
	}
}

func newLogger(w io.Writer, level, format string) (*slog.Logger, error) {
	var opt slog.HandlerOptions
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level %q: want debug, info, warn or error", level)
	}
	opt.Level = l
	switch format {
	case "json":
		return slog.New(slog.NewJSONHandler(w, &opt)), nil
	case "text":
		return slog.New(slog.NewTextHandler(w, &opt)), nil
	}
	return nil, fmt.Errorf("--log-format %q: want json or text", format)
}

// load reads the configuration and prints its warnings.
func load(file string, stderr io.Writer) (*config.Config, error) {
	path, err := config.Find(file)
	if err != nil {
		return nil, err
	}
	cfg, warnings, err := config.Load(path, os.Environ())
	for _, w := range warnings {
		fmt.Fprintln(stderr, "warning:", w)
	}
	return cfg, err
}

func checkCommand(file *string) *cobra.Command {
	var asJSON, grants bool
	cmd := &cobra.Command{
		Use: "check", Short: "Prove that the sources can be tailed, or say what to mend", Args: cobra.NoArgs,
		Long: "check reads the configuration and asks each source for all that tailing needs:\nprivileges, settings and tables, of PostgreSQL the slot and the publication. It\nchanges nothing. What is missing is printed with the SQL that mends it. The exit\ncode is 0 if nothing is missing, else 1.",
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := load(*file, c.ErrOrStderr())
			if err != nil {
				return err
			}
			if grants {
				return daemon.Grants(cfg, c.OutOrStdout())
			}
			ok, err := daemon.Check(c.Context(), cfg, c.OutOrStdout(), asJSON)
			if err == nil && !ok {
				err = exitError{1}
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the findings as JSON")
	cmd.Flags().BoolVar(&grants, "grants", false, "print the SQL of a role that may do just what is needed")
	return cmd
}

func configCommand(file *string) *cobra.Command {
	var effective bool
	cmd := &cobra.Command{
		Use: "config", Short: "Print the annotated default configuration", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if !effective {
				_, err := c.OutOrStdout().Write(config.Default())
				return err
			}
			cfg, err := load(*file, c.ErrOrStderr())
			if err != nil {
				return err
			}
			return cfg.Print(c.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&effective, "effective", false, "print the configuration in force instead, without its secrets")
	return cmd
}

func renderCommand() *cobra.Command {
	var jsonl bool
	var src, contextFile string
	cmd := &cobra.Command{
		Use: "render", Short: "Render templates offline", Args: cobra.NoArgs,
		Long: "render renders a template with a context, or with --jsonl one template a line:\n  {\"template\": …, \"context\": {…}, \"autoescape\": bool, \"datetimes\": \"rfc3339|django\"}\nfrom standard input gives {\"output\": …} or {\"error\": …}. Typed values of a context\nare written {\"$decimal\": \"1.50\"}, {\"$float\": \"0.1\"}, {\"$datetime\": …}, {\"$date\": …},\n{\"$time\": …}, {\"$duration\": seconds} and {\"$safe\": \"<b>\"}.",
		RunE: func(c *cobra.Command, _ []string) error {
			if jsonl {
				return renderLines(c.InOrStdin(), c.OutOrStdout())
			}
			if !c.Flags().Changed("template") {
				return errors.New("give --template TEXT, or --jsonl and lines on standard input")
			}
			return renderOne(src, contextFile, c.InOrStdin(), c.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&jsonl, "jsonl", false, "read and write JSON lines")
	cmd.Flags().StringVar(&src, "template", "", "the `text` to render")
	cmd.Flags().StringVar(&contextFile, "context", "", "`file` with the context as a JSON object; - is standard input")
	return cmd
}

// maxLine bounds a line of --jsonl, bytes.
const maxLine = 16 << 20

func renderLines(in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLine)
	w := bufio.NewWriter(out)
	var buf []byte
	for lines.Scan() {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		buf = append(template.RenderJSONLine(lines.Bytes(), buf[:0]), '\n')
		if _, err := w.Write(buf); err != nil {
			return fmt.Errorf("write output: %w", err)
		}
		if err := w.Flush(); err != nil { // a caller may wait for the answer before it asks again
			return fmt.Errorf("write output: %w", err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read input: %w", err)
	}
	return nil
}

func renderOne(src, contextFile string, in io.Reader, out io.Writer) error {
	data := []byte("{}")
	var err error
	switch contextFile {
	case "":
	case "-":
		data, err = io.ReadAll(io.LimitReader(in, maxLine))
	default:
		data, err = os.ReadFile(contextFile)
	}
	if err != nil {
		return fmt.Errorf("read context: %w", err)
	}
	if !json.Valid(data) {
		return fmt.Errorf("read context: %s is no JSON", contextFile)
	}
	line, err := json.Marshal(map[string]any{"template": src, "context": json.RawMessage(data)})
	if err != nil {
		return fmt.Errorf("encode context: %w", err)
	}
	var answer struct{ Output, Error string }
	if err := json.Unmarshal(template.RenderJSONLine(line, nil), &answer); err != nil {
		return fmt.Errorf("decode answer: %w", err)
	}
	if answer.Error != "" {
		return errors.New(answer.Error)
	}
	_, err = fmt.Fprintln(out, answer.Output)
	return err
}
