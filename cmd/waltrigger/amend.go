package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"
)

// verb is one of the commands that change deliveries.
type verb struct {
	name, done string
	example    string // flags that pick some
	pick       pick
	how        func(c *cobra.Command, body map[string]any) // adds to a request what flags say
}

// run changes those that args name, or else those that the flags pick.
func (v *verb) run(c *cobra.Command, r *remote, args []string) error {
	filter := v.pick.filter(c)
	switch {
	case len(args) == 0 && len(filter) == 0:
		return fmt.Errorf("say which deliveries: ids, or flags that pick them, such as %s %s", v.name, v.example)
	case len(args) > 0 && len(filter) > 0:
		return errors.New("give either ids or flags that pick deliveries")
	}
	api, err := r.client(c)
	if err != nil {
		return err
	}
	body := map[string]any{}
	if v.how != nil {
		v.how(c, body)
	}
	if len(args) > 0 && body["max_rate"] == nil {
		return v.each(c, api, args, body)
	}
	if body["filter"] = filter; len(args) > 0 {
		body["filter"] = map[string]any{"ids": args}
	}
	return v.all(c, api, "/api/deliveries/"+v.name, body)
}

// each changes deliveries one by one, as far as that can be done.
func (v *verb) each(c *cobra.Command, api *client, ids []string, body map[string]any) error {
	failed := 0
	for _, id := range ids {
		method, path := http.MethodPost, "/api/deliveries/"+url.PathEscape(id)
		var send any
		switch v.name {
		case "erase":
			method = http.MethodDelete
		case "retry":
			path, send = path+"/retry", body
		default:
			path += "/" + v.name
		}
		_, err := api.call(c.Context(), method, path, send, nil)
		var refused *refusedError
		if err != nil && !errors.As(err, &refused) {
			return err
		}
		if err != nil {
			failed++
			fmt.Fprintf(c.ErrOrStderr(), "waltrigger: %s: %v\n", plain(id), err)
		}
	}
	if n := len(ids) - failed; n > 0 || failed == 0 {
		fmt.Fprintf(c.OutOrStdout(), "%s: %d\n", v.done, n)
	}
	if failed > 0 {
		return exitError{1}
	}
	return nil
}

// all sends a request, and what follows it, until there are no more.
func (v *verb) all(c *cobra.Command, api *client, path string, body map[string]any) error {
	total := 0
	left := map[string]int{}
	for {
		var out struct {
			Deliveries int
			Left       map[string]int
			Complete   bool
			Cursor     string
		}
		_, err := api.call(c.Context(), http.MethodPost, path, body, &out)
		if err != nil {
			if total > 0 {
				fmt.Fprintf(c.OutOrStdout(), "%s: %d so far\n", v.done, total)
			}
			return err
		}
		total += out.Deliveries
		for why, n := range out.Left {
			left[why] += n
		}
		if out.Complete || out.Cursor == "" {
			break
		}
		body["cursor"] = out.Cursor
		wait(c.Context(), time.Second) // it may be that no more fit into the store
	}
	fmt.Fprintf(c.OutOrStdout(), "%s: %d\n", v.done, total)
	for _, why := range []struct{ key, text string }{
		{"body_not_kept", "what they say is not kept"}, {"row_not_kept", "the row that they were rendered from is not kept"}, {"destination_deleted", "their destination was deleted"},
	} {
		if n := left[why.key]; n > 0 {
			fmt.Fprintf(c.OutOrStdout(), "left as they are, since %s: %d\n", why.text, n)
		}
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func retryCommand(r *remote) *cobra.Command {
	v := &verb{name: "retry", done: "retried", example: "--status dead --destination d1"}
	var rate float64
	var render string
	cmd := &cobra.Command{
		Use: "retry [ID…]", Short: "Send deliveries, also those that are dead or were sent",
		Long: "retry sends deliveries as soon as their turn comes: those that are named, or all that the\nflags pick. They keep their ids and their order.",
		RunE: func(c *cobra.Command, args []string) error { return v.run(c, r, args) },
	}
	v.how = func(c *cobra.Command, body map[string]any) {
		if c.Flags().Changed("max-rate") {
			body["max_rate"] = rate
		}
		if c.Flags().Changed("render") {
			body["render"] = render
		}
	}
	v.pick.flags(cmd, true)
	cmd.Flags().Float64Var(&rate, "max-rate", 0, "at most so `many` a second")
	cmd.Flags().StringVar(&render, "render", "original", "original, or current: once more by the trigger as it is now")
	return cmd
}

func skipCommand(r *remote) *cobra.Command {
	v := &verb{name: "skip", done: "skipped", example: "--status parked --destination d1"}
	cmd := &cobra.Command{
		Use: "skip [ID…]", Short: "Make parked deliveries dead, so that what waits behind them goes on",
		RunE: func(c *cobra.Command, args []string) error { return v.run(c, r, args) },
	}
	v.pick.flags(cmd, true)
	return cmd
}

func eraseCommand(r *remote) *cobra.Command {
	v := &verb{name: "erase", done: "erased", example: "--status dead --destination d1 --yes"}
	var yes bool
	cmd := &cobra.Command{
		Use: "erase [ID…]", Short: "Remove all that is kept of deliveries",
		Long: "erase removes deliveries and leaves nothing of them: those that are named, or all that the\nflags pick, whatever their status. Flags may pick more than was thought of, and so need --yes;\nids do not. All that is kept about a row:\n  waltrigger deliveries erase --table public.myapp_customer --key 7 --yes",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 && len(v.pick.filter(c)) > 0 && !yes {
				return errors.New("what is erased is not sent, and cannot be had back: say so with --yes")
			}
			return v.run(c, r, args)
		},
	}
	v.pick.flags(cmd, true)
	cmd.Flags().BoolVar(&yes, "yes", false, "erase what flags pick, which cannot be had back")
	return cmd
}

func replayCommand(r *remote) *cobra.Command {
	v := &verb{name: "replay", done: "replayed"}
	var rate float64
	var render string
	cmd := &cobra.Command{
		Use: "replay", Short: "Send once more what a trigger sent in a range of time, where there is a history", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			body := v.pick.filter(c)
			delete(body, "trigger")
			if v.pick.trigger == 0 || v.pick.from == "" {
				return errors.New("say which: --trigger ID --from TIME, and perhaps --to TIME")
			}
			api, err := r.client(c)
			if err != nil {
				return err
			}
			if c.Flags().Changed("max-rate") {
				body["max_rate"] = rate
			}
			if c.Flags().Changed("render") {
				body["render"] = render
			}
			return v.all(c, api, fmt.Sprintf("/api/action-triggers/%d/replay", v.pick.trigger), body)
		},
	}
	f := cmd.Flags()
	f.Var((*triggerID)(&v.pick.trigger), "trigger", "`id` of the trigger")
	f.StringVar(&v.pick.from, "from", "", "commits from this `time` on, such as 2026-01-02T15:04:05Z")
	f.StringVar(&v.pick.to, "to", "", "commits before this `time`")
	f.StringVar(&v.pick.destination, "destination", "", "`id` of the destination, if not of all")
	f.Float64Var(&rate, "max-rate", 0, "at most so `many` a second")
	f.StringVar(&render, "render", "original", "original, or current: once more by the trigger as it is now")
	return cmd
}
