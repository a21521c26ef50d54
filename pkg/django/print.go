package django

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/waltrigger/waltrigger/pkg/source"
)

// YAML writes the needs as parts of a configuration file.
func (n *Needs) YAML(sourceName string) []byte {
	var b bytes.Buffer
	if len(n.ContentTypes)+len(n.Relations) > 0 {
		fmt.Fprintf(&b, "sources:\n  - name: %s\n", plain(sourceName))
	}
	if len(n.ContentTypes) > 0 {
		b.WriteString("    content_types:\n")
		for _, name := range slices.Sorted(maps.Keys(n.ContentTypes)) {
			fmt.Fprintf(&b, "      %s: %s\n", plain(name), plain(n.ContentTypes[name].String()))
		}
	}
	if len(n.Relations) > 0 {
		b.WriteString("    relations:\n")
		for _, r := range n.Relations {
			fmt.Fprintf(&b, "      - {%s}\n", r.yaml())
		}
	}
	endpoints(&b, "brokers", n.Brokers)
	endpoints(&b, "actions", n.Actions)
	if len(n.Values) > 0 {
		b.WriteString("dynamic_values:\n")
		for _, name := range slices.Sorted(maps.Keys(n.Values)) {
			hosts := ""
			if h := n.Values[name]; len(h) > 0 {
				hosts = ", hosts: " + flow(h)
			}
			fmt.Fprintf(&b, "  %s: {env: %s%s}\n", plain(name), strings.ToUpper(strings.ReplaceAll(name, ".", "_")), hosts)
		}
	}
	n.Settings.yaml(&b)
	return b.Bytes()
}

func (r Relation) yaml() string {
	var parts []string
	add := func(key, value string) {
		if value != "" {
			parts = append(parts, key+": "+value)
		}
	}
	add("table", plain(r.Table.String()))
	add("columns", flow([]string{r.Column}))
	if r.References != (source.TableName{}) {
		add("references", plain(r.References.String()))
		add("referenced_columns", flow([]string{r.RefColumn}))
	}
	for _, name := range [][2]string{{"name", r.Name}, {"reverse_name", r.ReverseName}} {
		if name[1] != "" {
			add(name[0], plain(name[1]))
		}
	}
	return strings.Join(parts, ", ")
}

func endpoints(b *bytes.Buffer, key string, of map[string]Endpoint) {
	if len(of) > 0 {
		fmt.Fprintf(b, "%s:\n", key)
	}
	for _, name := range slices.Sorted(maps.Keys(of)) {
		e := of[name]
		kind, hint := "kafka", "  # or another; as settings.ACTION_TRIGGERS says"
		if key == "actions" {
			kind = "aws_lambda"
		}
		if e.BrokerType != "" {
			kind, hint = strings.ToLower(e.BrokerType), fmt.Sprintf("  # the project sets conn_details %s and params %s", flow(e.ConnDetails), flow(e.Params))
		}
		fmt.Fprintf(b, "  %s: {broker_type: %s, conn_details: {}, params: {}}%s\n", plain(name), plain(kind), hint)
	}
}

func (s *Settings) yaml(b *bytes.Buffer) {
	if s.empty() {
		return
	}
	b.WriteString("settings:\n")
	if len(s.ContentTypes) > 0 {
		fmt.Fprintf(b, "  allowed_content_types: %s\n", flow(s.ContentTypes))
	}
	if s.WebhookPatterns != nil { // the package looks at the beginning only
		patterns := make([]string, len(s.WebhookPatterns))
		for i, p := range s.WebhookPatterns {
			patterns[i] = "(?:" + p + ").*"
		}
		fmt.Fprintf(b, "  allowed_webhook_urls: %s  # or the whole URLs, without .*\n", flow(patterns))
	}
	for _, t := range []struct {
		key  string
		secs *float64
	}{{"max_webhook_timeout", s.WebhookTimeout}, {"max_broker_timeout", s.BrokerTimeout}, {"max_action_timeout", s.ActionTimeout}} {
		if t.secs != nil {
			fmt.Fprintf(b, "  %s: %v\n", t.key, *t.secs)
		}
	}
}

var (
	plainText = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)
	yamlWords = []string{"true", "false", "yes", "no", "on", "off", "null", "y", "n"}
)

// plain writes a text for YAML: as it is where that can be nothing else than text.
func plain(s string) string {
	if plainText.MatchString(s) && !slices.Contains(yamlWords, strings.ToLower(s)) {
		return s
	}
	b, err := json.Marshal(s)
	if err != nil { // texts always encode
		return `""`
	}
	return string(b)
}

func flow(items []string) string {
	out := make([]string, len(items))
	for i, s := range items {
		out[i] = plain(s)
	}
	return "[" + strings.Join(out, ", ") + "]"
}
