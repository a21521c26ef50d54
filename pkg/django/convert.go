package django

import (
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/waltrigger/waltrigger/pkg/payload"
	"github.com/waltrigger/waltrigger/pkg/source"
)

// Options say how configs are converted.
type Options struct {
	NamePrefix   string // of the triggers' names; the id of the config follows
	Source       string // of the content types; "" where no other source has the tables
	KeepEscaping bool   // payloads print HTML escaped, as Django does
	Shadow       bool   // the triggers render and send nothing

	Models *Models                                          // nil: nobody has asked the project
	Tables []source.TableInfo                               // of the database
	Hides  func(table source.TableName, column string) bool // what never leaves; nil: nothing is hidden
	Known  Known
}

// Trigger is a config in the API's words.
type Trigger struct {
	ID       int64 // of the config
	Name     string
	Body     []byte // JSON in the shape of the API
	Findings []Finding
}

// Finding is something that a person has to look at.
type Finding struct {
	At      string // JSON pointer into the body; "" = all of it
	Text    string
	Refused bool // it keeps the trigger from being right
}

// Refused reports whether the trigger cannot be taken as it is.
func (t *Trigger) Refused() bool {
	return slices.ContainsFunc(t.Findings, func(f Finding) bool { return f.Refused })
}

// Refuse notes what a daemon says is wrong with the trigger, unless something is said of
// the place.
func (t *Trigger) Refuse(at, text string) {
	if !slices.ContainsFunc(t.Findings, func(f Finding) bool { return f.Refused && f.At == at }) {
		t.Findings = append(t.Findings, Finding{at, text, true})
	}
}

// Convert says configs in the API's words, and what the configuration needs for them.
func Convert(configs []Config, o Options) ([]Trigger, *Needs) {
	needs := newNeeds()
	if o.Models != nil {
		needs.Settings = o.Models.ProjectSettings
	}
	out := make([]Trigger, 0, len(configs))
	for i := range configs {
		c := conversion{opt: o, needs: needs, t: Trigger{ID: configs[i].ID, Name: fmt.Sprint(o.NamePrefix, configs[i].ID)}}
		c.config(&configs[i])
		out = append(out, c.t)
	}
	needs.drop(o.Known)
	return out, needs
}

// conversion is that of one config.
type conversion struct {
	opt    Options
	needs  *Needs
	t      Trigger
	out    body
	models []*Model // of the content types, as far as they are known
}

// body is a trigger as the API takes it. What a person wrote stays as it was written, be
// it right or wrong.
type body struct {
	Name          string          `json:"name"`
	Description   string          `json:"description"`
	Active        bool            `json:"active"`
	Mode          string          `json:"mode,omitempty"`
	ConfigSignals []configSignal  `json:"config_signals"`
	ContentTypes  []contentType   `json:"content_types"`
	Webhooks      []webhook       `json:"webhooks,omitempty"`
	Queues        []queue         `json:"msg_broker_queues,omitempty"`
	Actions       []queue         `json:"actions,omitempty"`
	Payload       json.RawMessage `json:"payload,omitempty"`
	PayloadFormat string          `json:"payload_format,omitempty"`
}

type configSignal struct {
	Signal string `json:"signal"`
}

type contentType struct {
	AppLabel  string `json:"app_label"`
	ModelName string `json:"model_name"`
	Source    string `json:"source,omitempty"`
}

type webhook struct {
	URL         string          `json:"url"`
	HTTPMethod  string          `json:"http_method"`
	Headers     json.RawMessage `json:"headers,omitempty"`
	TimeoutSecs *float64        `json:"timeout_secs,omitempty"`
}

type queue struct {
	Name        string          `json:"name"`
	ConnDetails json.RawMessage `json:"conn_details,omitempty"`
	Parameters  json.RawMessage `json:"parameters,omitempty"`
	TimeoutSecs *float64        `json:"timeout_secs,omitempty"`
}

func (c *conversion) note(at, format string, args ...any) {
	c.t.Findings = append(c.t.Findings, Finding{At: at, Text: fmt.Sprintf(format, args...)})
}

func (c *conversion) refuse(at, format string, args ...any) {
	if f := (Finding{at, fmt.Sprintf(format, args...), true}); !slices.Contains(c.t.Findings, f) {
		c.t.Findings = append(c.t.Findings, f)
	}
}

func (c *conversion) config(from *Config) {
	c.out = body{
		Name: c.t.Name, Description: fmt.Sprintf("Config %d of Django Action Triggers", from.ID), Active: from.Active,
		ConfigSignals: []configSignal{}, ContentTypes: []contentType{},
	}
	if c.opt.Shadow {
		c.out.Mode = "shadow"
	}
	c.signals(from)
	c.contentTypes(from)
	for i := range from.Webhooks {
		c.webhook(i, &from.Webhooks[i])
	}
	for i := range from.Queues {
		at := fmt.Sprintf("/msg_broker_queues/%d", i)
		c.out.Queues = append(c.out.Queues, c.queue(at, &from.Queues[i], c.opt.Known.Brokers, c.needs.Brokers, c.brokers()))
	}
	for i := range from.Actions {
		at := fmt.Sprintf("/actions/%d", i)
		c.out.Actions = append(c.out.Actions, c.queue(at, &from.Actions[i], c.opt.Known.Actions, c.needs.Actions, c.actions()))
	}
	c.payload(from.Payload)
	c.messages(from.Payload)
	var err error
	if c.t.Body, err = json.Marshal(c.out); err != nil { // its documents were read
		panic(fmt.Sprintf("encode config %d: %v", from.ID, err))
	}
}

func (c *conversion) signals(from *Config) {
	for _, s := range from.Signals {
		if slices.Contains(c.out.ConfigSignals, configSignal{s}) {
			c.note("/config_signals", "%s is named twice, and the package fires twice; waltrigger fires once", s)
			continue
		}
		c.out.ConfigSignals = append(c.out.ConfigSignals, configSignal{s})
	}
	if len(from.Signals) == 0 {
		c.refuse("/config_signals", "names no signal: the trigger never fires")
	}
}

func (c *conversion) contentTypes(from *Config) {
	for _, ct := range from.ContentTypes {
		if m := c.model(ct); m == nil || c.described(m) {
			c.out.ContentTypes = append(c.out.ContentTypes, contentType{ct.AppLabel, ct.Model, c.opt.Source})
		}
	}
	if len(c.out.ContentTypes) == 0 {
		c.refuse("/content_types", "names no model: the trigger never fires")
	}
}

func (c *conversion) model(ct ContentType) *Model {
	if c.opt.Models == nil {
		return nil
	}
	m := c.opt.Models.find(ct.label())
	if m == nil {
		c.note("/content_types", "models.json has no model %s: is it gone?", ct.label())
	}
	return m
}

// described takes in what models.json says of a content type. It reports whether the
// package fires for it at all.
func (c *conversion) described(m *Model) bool {
	if m.ProxyFor != "" {
		c.note("/content_types", "%s is a proxy of %s: the package fires for the latter only, so this one is left out", m, m.ProxyFor)
		return false
	}
	c.models = append(c.models, m)
	switch table := c.opt.Models.table(m, c.opt.Tables); {
	case table.Schema == "":
		c.refuse("/content_types", "the database has no table %s, which is that of %s", m.Table, m)
	case m.Table != strings.ToLower(m.AppLabel+"_"+m.Model):
		c.needs.ContentTypes[m.label()] = table
	}
	if len(m.Parents) > 0 {
		c.note("/content_types", "%s has its parent's columns in another table: waltrigger fires for changes of its own table only", m)
	}
	for i := range c.opt.Models.Models {
		child := &c.opt.Models.Models[i]
		if _, ok := child.Parents[m.label()]; ok {
			c.note("/content_types", "%s is the parent of %s: waltrigger fires for the rows of the child as well", m, child)
		}
	}
	return true
}

func (c *conversion) webhook(i int, from *Webhook) {
	at := fmt.Sprintf("/webhooks/%d", i)
	w := webhook{URL: from.URL, HTTPMethod: strings.ToUpper(from.Method), TimeoutSecs: c.timeout(at, from.Timeout.Float64, from.Timeout.Valid)}
	host := ""
	if u, err := url.Parse(from.URL); err == nil {
		host = u.Hostname()
	}
	if strings.Contains(from.URL, "{{") || strings.Contains(from.URL, "{%") {
		c.refuse(at+"/url", "the package sends braces as they are; waltrigger takes them for a template")
	}
	if !falsy(from.Headers) {
		w.Headers = c.values(at+"/headers", from.Headers, host)
	}
	c.out.Webhooks = append(c.out.Webhooks, w)
}

func (c *conversion) timeout(at string, secs float64, set bool) *float64 {
	switch {
	case !set:
		return nil
	case math.IsNaN(secs) || math.IsInf(secs, 0):
		c.note(at+"/timeout_secs", "%v is left out", secs)
		return nil
	}
	return &secs
}

func (c *conversion) queue(at string, from *Queue, known, needed, project map[string]Endpoint) queue {
	q := queue{Name: from.Name, TimeoutSecs: c.timeout(at, from.Timeout.Float64, from.Timeout.Valid)}
	base, ok := known[from.Name]
	if !ok {
		base = project[from.Name]
		needed[from.Name] = base
	}
	if !falsy(from.ConnDetails) {
		q.ConnDetails = c.values(at+"/conn_details", c.open(at+"/conn_details", from.ConnDetails, base.ConnDetails), "")
	}
	if !falsy(from.Parameters) {
		q.Parameters = c.values(at+"/parameters", c.open(at+"/parameters", from.Parameters, base.Params), "")
	}
	return q
}

func (c *conversion) brokers() map[string]Endpoint {
	if c.opt.Models == nil {
		return nil
	}
	return c.opt.Models.Brokers
}

func (c *conversion) actions() map[string]Endpoint {
	if c.opt.Models == nil {
		return nil
	}
	return c.opt.Models.Actions
}

// open leaves out the keys that the settings fix: the package takes no notice of them,
// and waltrigger refuses them.
func (c *conversion) open(at string, doc json.RawMessage, fixed []string) json.RawMessage {
	var given map[string]json.RawMessage
	if len(fixed) == 0 || json.Unmarshal(doc, &given) != nil {
		return doc
	}
	for _, name := range fixed {
		if _, ok := given[name]; ok {
			delete(given, name)
			c.note(at+"/"+escape(name), "is fixed by the settings, which the package follows without a word; left out")
		}
	}
	out, err := json.Marshal(given)
	if err != nil { // its parts were read
		return doc
	}
	return out
}

var (
	references = regexp.MustCompile(`(?s)\{\{(.*?)\}\}`)
	importPath = regexp.MustCompile(`^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$`)
)

// values notes the dynamic values that headers, connection details or parameters name.
func (c *conversion) values(at string, doc json.RawMessage, host string) json.RawMessage {
	out, err := mapStrings(doc, func(pointer, s string, key bool) string {
		if key { // the package leaves these alone
			return s
		}
		for _, m := range references.FindAllStringSubmatch(s, -1) {
			path := strings.TrimSpace(m[1])
			first, _, _ := strings.Cut(path, ".")
			switch {
			case !importPath.MatchString(path):
				c.refuse(at+pointer, "{{ %s }} is no import path, which the package expects there", path)
			case slices.Contains(payload.Names, first):
				c.refuse(at+pointer, "{{ %s }} is an import path for the package, and for waltrigger something of the row: name the dynamic value otherwise", path)
			default:
				c.needs.value(path, host)
			}
		}
		if strings.Contains(s, "{%") || strings.Contains(s, "{#") {
			c.refuse(at+pointer, "the package sends {%% and {# as they are; waltrigger takes them for a template")
		}
		return s
	})
	if err != nil {
		c.refuse(at, "cannot be read: %v", err)
		return nil
	}
	return out
}

// fields says where the fields of the row are not what the package sends without a
// payload.
func (c *conversion) fields() {
	for _, m := range c.models {
		w := walk{models: c.opt.Models, tables: c.opt.Tables, needs: c.needs}
		for i := range m.Fields {
			f := &m.Fields[i]
			switch {
			case f.Key || !strings.EqualFold(f.Model, m.label()):
			case f.To != "":
				w.name(m, f)
			case f.Column != f.Name:
				c.note("/payload_format", "what the package calls %s goes by the name of its column, %s", f.Name, f.Column)
			}
		}
		for _, name := range m.OwnMany {
			c.note("/payload_format", "%s of %s, which is many-to-many, is not in the body: it is not in the row", name, m)
		}
	}
	if c.opt.Hides == nil {
		return
	}
	for _, ct := range c.out.ContentTypes {
		for _, info := range c.opt.Tables {
			if !c.isTable(ct, info.TableName) {
				continue
			}
			for _, col := range info.Columns {
				if c.opt.Hides(info.TableName, col.Name) {
					c.note("/payload_format", "%s is not in the body: the configuration hides it (settings.hidden_columns)", col.Name)
				}
			}
		}
	}
}

// isTable reports whether a content type stands for a table.
func (c *conversion) isTable(ct contentType, t source.TableName) bool {
	label := strings.ToLower(ct.AppLabel + "." + ct.ModelName)
	for _, named := range []map[string]source.TableName{c.needs.ContentTypes, c.opt.Known.ContentTypes} {
		if name, ok := named[label]; ok {
			return name == t
		}
	}
	return t.Name == strings.ReplaceAll(label, ".", "_")
}
