package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"
)

func destinationsCommand(file *string) *cobra.Command {
	r := &remote{file: file}
	var asJSON bool
	var of int64
	cmd := &cobra.Command{
		Use: "destinations", Short: "See how the destinations of triggers are, and try one at once", Args: cobra.NoArgs,
		Long: "destinations asks the running daemon. A failing destination is probed until it answers,\none that is held (410) or paused is not tried until somebody asks for it.",
		RunE: func(c *cobra.Command, _ []string) error {
			api, err := r.client(c)
			if err != nil {
				return err
			}
			path := "/api/destinations"
			if c.Flags().Changed("trigger") {
				path += fmt.Sprintf("?trigger=%d", of)
			}
			var raw json.RawMessage
			if _, err := api.call(c.Context(), http.MethodGet, path, nil, &raw); err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), raw)
			}
			return printDestinations(c, raw)
		},
	}
	r.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print them as JSON")
	cmd.Flags().Var((*triggerID)(&of), "trigger", "those of the trigger of this `id`")
	retry := &cobra.Command{
		Use: "retry-now ID", Short: "Try at once all that waits for a destination, also one that is held", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			api, err := r.client(c)
			if err != nil {
				return err
			}
			if _, err := api.call(c.Context(), http.MethodPost, "/api/destinations/"+url.PathEscape(args[0])+"/retry-now", nil, nil); err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "destination %s is tried\n", plain(args[0]))
			return nil
		},
	}
	cmd.AddCommand(retry)
	return cmd
}

func printDestinations(c *cobra.Command, raw json.RawMessage) error {
	var all []struct {
		ID, Type, Target, State, Error string
		Trigger                        int64
		Name                           string `json:"trigger_name"`
		Waiting, Parked, Dead          int
		Oldest                         *time.Time `json:"oldest_committed_at"`
		RetryAt                        *time.Time `json:"retry_at"`
	}
	if err := json.Unmarshal(raw, &all); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	var rows [][]string
	for _, d := range all {
		name := fmt.Sprint(d.Trigger)
		if d.Name != "" {
			name += " " + short(d.Name, 30)
		}
		rows = append(rows, []string{
			plain(d.ID), name, plain(d.Type), plain(d.Target), d.State, fmt.Sprint(d.Waiting), fmt.Sprint(d.Parked), when(d.Oldest), fmt.Sprint(d.Dead), when(d.RetryAt), short(d.Error, 80),
		})
	}
	return table(c.OutOrStdout(), []string{"ID", "TRIGGER", "TYPE", "TARGET", "STATE", "WAITING", "PARKED", "OLDEST COMMIT", "DEAD", "NEXT TRY", "LAST ERROR"}, rows)
}
