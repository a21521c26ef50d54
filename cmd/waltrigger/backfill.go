package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// backfillJob is a backfill as the API shows it.
type backfillJob struct {
	ID, Source, State, Detail string
	Triggers                  []int64
	Rows                      int64
	Estimate                  *int64   `json:"estimated_rows"`
	Rate                      float64  `json:"rows_per_second"`
	LeftOut                   []string `json:"left_out"`
	Tables                    []struct {
		Table, State, Error string
		Rows                int64
	}
	Created  *time.Time `json:"created_at"`
	Finished *time.Time `json:"finished_at"`
}

func (b *backfillJob) over() bool {
	return b.State == "done" || b.State == "failed" || b.State == "cancelled"
}

func backfillCommand(file *string) *cobra.Command {
	r := &remote{file: file}
	cmd := &cobra.Command{
		Use: "backfill", Short: "Send the rows that tables have already",
		Long: "backfill asks the running daemon. Rows are sent as operation read, in between the changes\nthat go on: none is lost, and none comes after a newer change of it and is older.",
		Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	r.flags(cmd)
	cmd.AddCommand(backfillStart(r), backfillList(r))
	for verb, short := range map[string]string{"pause": "Stop a backfill until it is resumed", "resume": "Go on where a backfill was paused", "cancel": "End a backfill"} {
		cmd.AddCommand(backfillVerb(r, verb, short))
	}
	return cmd
}

func backfillStart(r *remote) *cobra.Command {
	var of int64
	var src string
	var tables []string
	var rate float64
	var wait bool
	cmd := &cobra.Command{
		Use: "start", Short: "Send the rows of the tables of a trigger, or of all triggers of a source", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if of == 0 && src == "" {
				return errors.New("say for whom: --trigger ID, or --source NAME for all triggers of it")
			}
			body := map[string]any{}
			path := "/api/sources/" + url.PathEscape(src) + "/backfill"
			if of != 0 {
				path = fmt.Sprintf("/api/action-triggers/%d/backfill", of)
				if src != "" {
					body["source"] = src
				}
			}
			if len(tables) > 0 {
				body["tables"] = tables
			}
			if c.Flags().Changed("max-rate") {
				body["max_rate"] = rate
			}
			api, err := r.client(c)
			if err != nil {
				return err
			}
			var b backfillJob
			if _, err := api.call(c.Context(), http.MethodPost, path, body, &b); err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "backfill %s: %s, %s rows\n", plain(b.ID), count(len(b.Tables), "table"), about(b.Estimate))
			for _, why := range b.LeftOut {
				fmt.Fprintf(c.ErrOrStderr(), "left out: %s\n", plain(why))
			}
			if !wait {
				return nil
			}
			return awaitBackfill(c, api, b.ID)
		},
	}
	f := cmd.Flags()
	f.Var((*triggerID)(&of), "trigger", "`id` of the trigger")
	f.StringVar(&src, "source", "", "`name` of the source; tables that cannot be read in parts are left out")
	f.StringArrayVar(&tables, "table", nil, "only `schema.table`, or app_label.model; may be given several times")
	f.Float64Var(&rate, "max-rate", 0, "at most so `many` rows a second")
	f.BoolVar(&wait, "wait", false, "until it is over; the exit code is 1 unless it is done")
	return cmd
}

// count says how many there are.
func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// about shows an estimate.
func about(n *int64) string {
	if n == nil {
		return "an unknown number of"
	}
	return fmt.Sprintf("about %d", *n)
}

// awaitBackfill waits until a backfill is over, and shows how it gets on.
func awaitBackfill(c *cobra.Command, api *client, id string) error {
	said := ""
	for {
		var b backfillJob
		if _, err := api.call(c.Context(), http.MethodGet, "/api/backfills/"+url.PathEscape(id), nil, &b); err != nil {
			return err
		}
		line := fmt.Sprintf("%s: %d rows", plain(b.State), b.Rows)
		if b.Detail != "" {
			line += ": " + plain(b.Detail)
		}
		if line != said {
			fmt.Fprintln(c.OutOrStdout(), line)
			said = line
		}
		switch {
		case b.State == "done":
			return nil
		case b.over():
			return exitError{1}
		}
		select {
		case <-time.After(time.Second):
		case <-c.Context().Done():
			return c.Context().Err()
		}
	}
}

func backfillList(r *remote) *cobra.Command {
	var of int64
	var src string
	var open, asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List backfills and how far they are, the latest first", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			api, err := r.client(c)
			if err != nil {
				return err
			}
			query := url.Values{}
			if of != 0 {
				query.Set("trigger", fmt.Sprint(of))
			}
			if src != "" {
				query.Set("source", src)
			}
			if open {
				query.Set("open", "true")
			}
			var raw json.RawMessage
			if _, err := api.call(c.Context(), http.MethodGet, "/api/backfills?"+query.Encode(), nil, &raw); err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), raw)
			}
			return printBackfills(c, raw)
		},
	}
	f := cmd.Flags()
	f.Var((*triggerID)(&of), "trigger", "`id` of the trigger")
	f.StringVar(&src, "source", "", "`name` of the source")
	f.BoolVar(&open, "open", false, "only those that are not over")
	f.BoolVar(&asJSON, "json", false, "print them as JSON")
	return cmd
}

func printBackfills(c *cobra.Command, raw json.RawMessage) error {
	var all []backfillJob
	if err := json.Unmarshal(raw, &all); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	var rows [][]string
	for _, b := range all {
		of, rate, detail := "-", "-", "-"
		if b.Estimate != nil {
			of = fmt.Sprint(*b.Estimate)
		}
		if b.Rate > 0 {
			rate = fmt.Sprintf("%.0f/s", b.Rate)
		}
		if b.Detail != "" {
			detail = short(b.Detail, 100)
		}
		rows = append(rows, []string{plain(b.ID), plain(b.Source), whose(b.Triggers), fmt.Sprint(len(b.Tables)), plain(b.State), fmt.Sprint(b.Rows), of, rate, when(b.Created), when(b.Finished), detail})
	}
	return table(c.OutOrStdout(), []string{"ID", "SOURCE", "TRIGGERS", "TABLES", "STATE", "ROWS", "OF ABOUT", "RATE", "MADE", "OVER", "REMARK"}, rows)
}

// whose names triggers, or says how many there are if they are many.
func whose(ids []int64) string {
	if len(ids) > 3 {
		return count(len(ids), "trigger")
	}
	what := "id "
	if len(ids) > 1 {
		what = "ids "
	}
	return what + strings.Trim(strings.ReplaceAll(fmt.Sprint(ids), " ", ", "), "[]")
}

func backfillVerb(r *remote, verb, short string) *cobra.Command {
	return &cobra.Command{
		Use: verb + " ID", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			api, err := r.client(c)
			if err != nil {
				return err
			}
			var b backfillJob
			if _, err := api.call(c.Context(), http.MethodPost, "/api/backfills/"+url.PathEscape(args[0])+"/"+verb, nil, &b); err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "backfill %s is %s, with %d rows done\n", plain(b.ID), plain(b.State), b.Rows)
			return nil
		},
	}
}
