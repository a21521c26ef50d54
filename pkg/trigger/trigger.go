// Package trigger holds what a user declares: which signals of which content types send
// what to which destinations. It reads triggers strictly, says everything that is wrong
// with one at once, and knows which of several triggers a change concerns.
package trigger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/waltrigger/waltrigger/pkg/signal"
	"github.com/waltrigger/waltrigger/pkg/sink"
)

// Ordering says which deliveries of a destination follow one another.
type Ordering string

// Orderings. The empty one is OrderKey.
const (
	OrderKey    Ordering = "key"    // one row's events in order, rows in parallel
	OrderSource Ordering = "source" // strict commit order, one at a time
	OrderNone   Ordering = "none"
)

// Mode says what becomes of the messages of a trigger.
type Mode string

// Modes. The empty one is Live.
const (
	Live   Mode = "live"
	Shadow Mode = "shadow" // they are rendered and recorded, and sent nowhere
)

// OnMissing says what to do about something that templates name and that is not there.
type OnMissing string

// What can be done. For a value that the log does not hold, the empty OnMissing is Fetch,
// and Empty where the row is deleted; for a column that the table lost, it is Park.
const (
	Fetch OnMissing = "fetch" // read the row by its key
	Park  OnMissing = "park"  // the delivery waits until somebody mends it
	Empty OnMissing = "empty" // it is empty
)

// Trigger is one trigger, in the field names of the API. Decode makes it; it is not
// changed once it is shared. Its JSON form is what the API shows, without the
// read-only fields (the secrets are in clear: see Redact).
type Trigger struct {
	ID            int64           `json:"id"` // 0 before it is stored
	Name          string          `json:"name,omitempty"`
	Description   string          `json:"description,omitempty"`
	Active        bool            `json:"active"`
	ConfigSignals []ConfigSignal  `json:"config_signals"`
	ContentTypes  []ContentType   `json:"content_types"`
	Webhooks      []Webhook       `json:"webhooks"`
	Queues        []Queue         `json:"msg_broker_queues"`
	Actions       []Queue         `json:"actions"`
	Payload       json.RawMessage `json:"payload"`                  // as written, keys in the author's order; nil = as the format says
	PayloadFormat string          `json:"payload_format,omitempty"` // of payload.Formats; "" = the configuration's
	Condition     string          `json:"condition,omitempty"`
	Fields        []string        `json:"fields,omitempty"` // an update fires only if it changed one of them
	Ordering      Ordering        `json:"ordering,omitempty"`
	OrderingKey   string          `json:"ordering_key,omitempty"`
	Mode          Mode            `json:"mode,omitempty"`

	OnMissingValue  OnMissing `json:"on_missing_value,omitempty"`  // Fetch, Park or Empty
	OnMissingColumn OnMissing `json:"on_missing_column,omitempty"` // Park or Empty

	CreatedAt time.Time `json:"-"`
	UpdatedAt time.Time `json:"-"`
}

// ConfigSignal names a signal that fires the trigger.
type ConfigSignal struct{ Signal signal.Kind }

// ContentType names a table, spelled as the author did.
type ContentType struct {
	AppLabel     string `json:"app_label"`
	ModelName    string `json:"model_name"`
	Source       string `json:"source,omitempty"`
	AllowMissing bool   `json:"allow_missing,omitempty"` // the table is still to come
	// AllowInsertOnly: where the log cannot carry the table's updates and deletes, its
	// inserts will do.
	AllowInsertOnly bool `json:"allow_insert_only,omitempty"`
}

// Name gives the content type without what is said about it.
func (c ContentType) Name() signal.ContentType {
	return signal.ContentType{Source: c.Source, AppLabel: c.AppLabel, ModelName: c.ModelName}
}

// Webhook is an HTTP destination.
type Webhook struct {
	ID          string   `json:"id,omitempty"` // stable; "" before it is stored
	URL         string   `json:"url"`
	HTTPMethod  string   `json:"http_method"`
	Headers     Headers  `json:"headers,omitzero"`
	Secret      Secrets  `json:"secret,omitzero"`        // signs the requests
	TimeoutSecs *float64 `json:"timeout_secs,omitempty"` // > 0 and finite; nil = the operator's maximum
	Batch       int      `json:"batch,omitempty"`        // payloads in one request, as a JSON array; 0 = each in its own
	Limits
}

// Queue is a broker's queue, or an action: both are named in the configuration.
type Queue struct {
	ID          string   `json:"id,omitempty"`
	Name        string   `json:"name"`
	ConnDetails Params   `json:"conn_details,omitzero"`
	Parameters  Params   `json:"parameters,omitzero"`
	TimeoutSecs *float64 `json:"timeout_secs,omitempty"`
	Limits
}

// Secrets are the secrets of a webhook: several while one takes the place of another. In
// JSON they are a string or a list of strings, as the author wrote.
type Secrets struct {
	Values []string
	Listed bool
}

// Headers are HTTP headers in the author's order, without two of one name. In JSON
// they are an object of strings.
type Headers []sink.Header

// Params are connection details or parameters in the author's order. In JSON they are
// an object.
type Params []Param

// Param is one of Params.
type Param struct {
	Name  string
	Value any // string, json.Number or bool
}

// Signals gives the signals that fire t.
func (t *Trigger) Signals() signal.Set {
	var s signal.Set
	for _, c := range t.ConfigSignals {
		s = s.Add(c.Signal)
	}
	return s
}

// Timeout is the time that one attempt may take: secs, or max if that is less or secs
// is not given.
func Timeout(secs *float64, maximum time.Duration) time.Duration {
	if secs == nil || *secs >= maximum.Seconds() {
		return maximum
	}
	return max(time.Duration(*secs*float64(time.Second)), time.Millisecond)
}

// Map gives the values as a configuration file would: string, int, float64 or bool.
func (ps Params) Map() map[string]any {
	m := make(map[string]any, len(ps))
	for _, p := range ps {
		m[p.Name] = p.plain()
	}
	return m
}

func (p Param) plain() any {
	n, ok := p.Value.(json.Number)
	if !ok {
		return p.Value
	}
	if i, err := strconv.Atoi(string(n)); err == nil {
		return i
	}
	if f, err := n.Float64(); err == nil && !math.IsInf(f, 0) {
		return f
	}
	return string(n)
}

// Text gives the value as it is sent.
func (p Param) Text() string { return fmt.Sprint(p.Value) }

// Get finds a parameter by its name.
func (ps Params) Get(name string) (Param, bool) {
	for _, p := range ps {
		if p.Name == name {
			return p, true
		}
	}
	return Param{}, false
}

// JSON gives t's JSON form. It is the same text for equal triggers.
func (t *Trigger) JSON() []byte {
	b, err := marshal(t)
	if err != nil { // every field was made by Decode or read from JSON
		panic(fmt.Sprintf("encode trigger: %v", err))
	}
	return b
}

// marshal leaves <, > and & as they are: people read and edit these texts.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// FromJSON reads what JSON wrote. It checks nothing: bodies go through Decode.
func FromJSON(b []byte) (*Trigger, error) {
	t := &Trigger{}
	if err := json.Unmarshal(b, t); err != nil {
		return nil, fmt.Errorf("read stored trigger: %w", err)
	}
	if string(t.Payload) == "null" {
		t.Payload = nil
	}
	return t, nil
}

// MarshalJSON writes {"signal": name}.
func (c ConfigSignal) MarshalJSON() ([]byte, error) {
	return []byte(`{"signal":"` + c.Signal.String() + `"}`), nil
}

// UnmarshalJSON reads {"signal": name}.
func (c *ConfigSignal) UnmarshalJSON(b []byte) error {
	var v struct{ Signal string }
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	var err error
	c.Signal, err = signal.Parse(v.Signal)
	return err
}

// MarshalJSON writes a string, or a list if the author did.
func (s Secrets) MarshalJSON() ([]byte, error) {
	if !s.Listed && len(s.Values) == 1 {
		return marshal(s.Values[0])
	}
	return marshal(s.Values)
}

// UnmarshalJSON reads a string or a list of strings.
func (s *Secrets) UnmarshalJSON(b []byte) error {
	*s = Secrets{Listed: bytes.HasPrefix(b, []byte{'['})}
	if s.Listed {
		return json.Unmarshal(b, &s.Values)
	}
	s.Values = make([]string, 1)
	return json.Unmarshal(b, &s.Values[0])
}

// MarshalJSON writes an object in the order of hs.
func (hs Headers) MarshalJSON() ([]byte, error) {
	ps := make(Params, len(hs))
	for i, h := range hs {
		ps[i] = Param{h.Name, h.Value}
	}
	return ps.MarshalJSON()
}

// UnmarshalJSON reads an object of strings.
func (hs *Headers) UnmarshalJSON(b []byte) error {
	var ps Params
	if err := ps.UnmarshalJSON(b); err != nil {
		return err
	}
	*hs = make(Headers, len(ps))
	for i, p := range ps {
		(*hs)[i] = sink.Header{Name: p.Name, Value: p.Text()}
	}
	return nil
}

// MarshalJSON writes an object in the order of ps.
func (ps Params) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, p := range ps {
		if i > 0 {
			b = append(b, ',')
		}
		name, err := marshal(p.Name)
		if err != nil {
			return nil, err
		}
		value, err := marshal(p.Value)
		if err != nil {
			return nil, err
		}
		b = append(append(append(b, name...), ':'), value...)
	}
	return append(b, '}'), nil
}

// UnmarshalJSON reads an object of strings, numbers and booleans.
func (ps *Params) UnmarshalJSON(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if t, err := d.Token(); err != nil {
		return fmt.Errorf("read parameters: %w", err)
	} else if t != json.Delim('{') {
		return fmt.Errorf("read parameters: %v is no object", t)
	}
	*ps = Params{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return fmt.Errorf("read parameter: %w", err)
		}
		p := Param{Name: name.(string)}
		if err := d.Decode(&p.Value); err != nil {
			return fmt.Errorf("read parameter %s: %w", p.Name, err)
		}
		*ps = append(*ps, p)
	}
	return nil
}
