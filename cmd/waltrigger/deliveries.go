package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// delivery is one as the API shows it.
type delivery struct {
	ID          string
	Status      string
	MessageID   string `json:"message_id"`
	Trigger     int64
	Destination string
	Source      string
	Signal      string
	ContentType string `json:"content_type"`
	Table       string
	Key         string
	OrderingKey string     `json:"ordering_key"`
	Committed   *time.Time `json:"committed_at"`
	Parked      *time.Time `json:"parked_at"`
	Failed      *time.Time `json:"failed_at"`
	Next        *time.Time `json:"next_at"`
	Sent        *time.Time `json:"sent_at"`
	Failures    int
	Class       string
	Code        string
	Error       string
	Attempts    []struct {
		At           time.Time
		Class, Error string
	}
	Rendered *bool
	BodyKept bool   `json:"body_kept"`
	BodyType string `json:"body_content_type"`
	Encoding string `json:"body_encoding"`
	Body     string
	Headers  []struct{ Name, Value string }
}

// pick are the flags that pick deliveries.
type pick struct {
	status, destination, source, table, key, class, code, from, to string
	trigger                                                        int64
	limit                                                          int
}

// filter gives what the flags pick, as the API has it.
func (p *pick) filter(c *cobra.Command) map[string]any {
	out := map[string]any{}
	for name, v := range map[string]any{
		"status": p.status, "destination": p.destination, "source": p.source, "table": p.table, "key": p.key, "class": p.class, "code": p.code,
		"from": p.from, "to": p.to, "trigger": p.trigger,
	} {
		if f := c.Flags().Lookup(name); f != nil && f.Changed {
			out[name] = v
		}
	}
	return out
}

func (p *pick) flags(c *cobra.Command, times bool) {
	f := c.Flags()
	f.StringVar(&p.status, "status", "", "parked, dead or sent")
	f.Var((*triggerID)(&p.trigger), "trigger", "`id` of the trigger")
	f.StringVar(&p.destination, "destination", "", "`id` of the destination")
	f.StringVar(&p.source, "source", "", "`name` of the source")
	f.StringVar(&p.table, "table", "", "of the row: `schema.table`")
	f.StringVar(&p.key, "key", "", "of the row: the `text` of its key, or of several columns a JSON list")
	f.StringVar(&p.class, "class", "", "of the last failure: unavailable, rejected, permanent, blocked, misconfigured, gone, deleted or skipped")
	f.StringVar(&p.code, "code", "", "of the last failure, such as http_400")
	if times {
		f.StringVar(&p.from, "from", "", "commits from this `time` on, such as 2026-01-02T15:04:05Z")
		f.StringVar(&p.to, "to", "", "commits before this `time`")
	}
}

func deliveriesCommand(file *string) *cobra.Command {
	r := &remote{file: file}
	cmd := &cobra.Command{
		Use: "deliveries", Short: "See, retry, skip and erase deliveries that are parked, dead or kept",
		Long: "deliveries asks the running daemon. A parked delivery is still to be sent, a dead one is\nnot unless somebody retries it, a sent one is kept where there is a history.",
		Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	r.flags(cmd)
	cmd.AddCommand(listCommand(r), showCommand(r), retryCommand(r), skipCommand(r), eraseCommand(r), replayCommand(r))
	return cmd
}

func listCommand(r *remote) *cobra.Command {
	var p pick
	var asJSON, all bool
	cmd := &cobra.Command{
		Use: "list", Short: "List deliveries: parked and dead ones, or those of --status", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			api, err := r.client(c)
			if err != nil {
				return err
			}
			query := url.Values{}
			for name, v := range p.filter(c) {
				query.Set(name, fmt.Sprint(v))
			}
			return listDeliveries(c, api, query, p.limit, all, asJSON)
		},
	}
	p.flags(cmd, false)
	cmd.Flags().IntVar(&p.limit, "limit", 100, "at most so `many`")
	cmd.Flags().BoolVar(&all, "all", false, "all of them")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print them as JSON")
	return cmd
}

// longestPage is the most that the API gives at once.
const longestPage = 1000

func listDeliveries(c *cobra.Command, api *client, query url.Values, limit int, all, asJSON bool) error {
	if limit < 1 {
		return errors.New("--limit must be 1 at least")
	}
	var raw []json.RawMessage
	query.Set("limit", strconv.Itoa(min(limit, longestPage)))
	if all {
		query.Set("limit", strconv.Itoa(longestPage))
	}
	next := "/api/deliveries?" + query.Encode()
	for next != "" && (all || len(raw) < limit) {
		var page []json.RawMessage
		var err error
		if next, err = api.call(c.Context(), http.MethodGet, next, nil, &page); err != nil {
			return err
		}
		raw = append(raw, page...)
	}
	more := next != ""
	if !all && len(raw) > limit {
		raw, more = raw[:limit], true
	}
	if asJSON {
		if raw == nil {
			raw = []json.RawMessage{}
		}
		return printJSON(c.OutOrStdout(), raw)
	}
	var rows [][]string
	for _, b := range raw {
		var d delivery
		if err := json.Unmarshal(b, &d); err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		next, failure := when(d.Next), d.Code
		if d.Status == "sent" {
			next = when(d.Sent)
		}
		if failure == "" {
			failure = "-"
		}
		rows = append(rows, []string{
			d.ID, d.Status, fmt.Sprint(d.Trigger), plain(d.Destination), plain(d.Signal + " " + d.ContentType), short(d.Key, 40), when(d.Committed), fmt.Sprint(d.Failures), next, plain(failure),
		})
	}
	if err := table(c.OutOrStdout(), []string{"ID", "STATUS", "TRIGGER", "DESTINATION", "EVENT", "KEY", "COMMITTED", "FAILURES", "NEXT OR SENT", "LAST FAILURE"}, rows); err != nil {
		return err
	}
	if more {
		fmt.Fprintf(c.ErrOrStderr(), "there are more than %d: --all lists them, --limit more of them\n", limit)
	}
	return nil
}

func showCommand(r *remote) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "show ID", Short: "Show a delivery, its last attempts and what it says", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			api, err := r.client(c)
			if err != nil {
				return err
			}
			var raw json.RawMessage
			if _, err := api.call(c.Context(), http.MethodGet, "/api/deliveries/"+url.PathEscape(args[0]), nil, &raw); err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), raw)
			}
			var d delivery
			if err := json.Unmarshal(raw, &d); err != nil {
				return fmt.Errorf("read the answer: %w", err)
			}
			return d.print(c.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	return cmd
}

func (d *delivery) print(w io.Writer) error {
	rows := [][]string{
		{"status", d.Status},
		{"message id", d.MessageID},
		{"trigger", fmt.Sprint(d.Trigger)},
		{"destination", d.Destination},
		{"event", d.Signal + " " + d.ContentType},
		{"source", d.Source},
		{"row", strings.TrimSpace(d.Table + " " + d.Key)},
		{"ordering key", d.OrderingKey},
		{"committed", when(d.Committed)},
		{"parked", when(d.Parked)},
		{"failures", fmt.Sprint(d.Failures)},
		{"last failure", strings.TrimSpace(strings.TrimSuffix(when(d.Failed), "-") + " " + d.Class + " " + d.Error)},
		{"next attempt", when(d.Next)},
		{"sent", when(d.Sent)},
		{"body", d.bodyNote()},
	}
	for _, h := range d.Headers {
		rows = append(rows, []string{"header " + h.Name, h.Value})
	}
	var kept [][]string
	for _, r := range rows {
		if r[1] != "" && r[1] != "-" {
			kept = append(kept, []string{r[0], plain(r[1])})
		}
	}
	if err := table(w, []string{"delivery", d.ID}, kept); err != nil {
		return err
	}
	for i, a := range d.Attempts {
		if i == 0 {
			fmt.Fprintln(w, "\nlast attempts")
		}
		fmt.Fprintf(w, "%s  %s  %s\n", when(&a.At), plain(a.Class), plain(a.Error))
	}
	if d.Body != "" {
		fmt.Fprintln(w)
		for line := range strings.Lines(d.Body) {
			fmt.Fprintln(w, plain(strings.ReplaceAll(strings.TrimRight(line, "\r\n"), "\t", "    ")))
		}
	}
	return nil
}

func (d *delivery) bodyNote() string {
	switch {
	case d.Rendered != nil && !*d.Rendered:
		return "could not be rendered so far"
	case d.Rendered != nil && !d.BodyKept:
		return "is not kept"
	case d.Encoding == "base64":
		return d.BodyType + ", in base64"
	}
	return d.BodyType
}
