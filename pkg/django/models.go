package django

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Script is for manage.py shell of the Django project: it writes models.json.
//
//go:embed models.py
var Script string

// Models are what Script writes of a Django project: what its database cannot tell.
type Models struct {
	Format          int                 `json:"format"`
	TablePrefix     string              `json:"table_prefix"` // of the package's tables
	Models          []Model             `json:"models"`
	Brokers         map[string]Endpoint `json:"brokers"`
	Actions         map[string]Endpoint `json:"actions"`
	ProjectSettings Settings            `json:"settings"`
}

// Model is a model of the project.
type Model struct {
	AppLabel string            `json:"app_label"`
	Model    string            `json:"model"` // in lower case, as in content types
	Name     string            `json:"name"`
	Table    string            `json:"table"`
	ProxyFor string            `json:"proxy_for"` // label of the model whose rows it shares
	Parents  map[string]string `json:"parents"`   // label of a parent that has a table of its own -> the field that leads there
	Fields   []Field           `json:"fields"`    // those of parents included
	Reverse  []Reverse         `json:"reverse"`
	Many     []string          `json:"many_to_many"`     // names of both directions
	OwnMany  []string          `json:"own_many_to_many"` // fields of this very model
	Python   []string          `json:"python"`           // properties and methods
}

// Field is a column, perhaps one of a parent's table.
type Field struct {
	Name     string `json:"name"`
	Attname  string `json:"attname"` // customer_id of a field customer
	Column   string `json:"column"`
	Type     string `json:"type"`
	Key      bool   `json:"key"`
	Model    string `json:"model"` // label of the model whose table has it
	To       string `json:"to"`    // label of the model that a foreign key refers to
	ToColumn string `json:"to_column"`
}

// Reverse is a name for the rows of a model whose field refers to the row.
type Reverse struct {
	Name  string `json:"name"`
	Model string `json:"model"`
	Field string `json:"field"`
	Many  bool   `json:"many"` // not by a one-to-one field
}

// Endpoint is a broker or an action of the project's settings: the names, not the values.
type Endpoint struct {
	BrokerType  string   `json:"broker_type"`
	ConnDetails []string `json:"conn_details"`
	Params      []string `json:"params"`
}

// Settings are those of the package that bound what triggers may do.
type Settings struct {
	ContentTypes    []string `json:"content_types"`    // nil or none: all
	WebhookPatterns []string `json:"webhook_patterns"` // matched from the start; nil: all
	WebhookTimeout  *float64 `json:"webhook_timeout"`
	BrokerTimeout   *float64 `json:"broker_timeout"`
	ActionTimeout   *float64 `json:"action_timeout"`
}

func (s *Settings) empty() bool {
	return len(s.ContentTypes) == 0 && s.WebhookPatterns == nil && s.WebhookTimeout == nil && s.BrokerTimeout == nil && s.ActionTimeout == nil
}

// ParseModels reads what Script wrote.
func ParseModels(data []byte) (*Models, error) {
	var m Models
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("read models: %w", err)
	}
	if m.Format != 1 || len(m.Models) == 0 {
		return nil, errors.New("read models: this is not what the script of --print-script of this version writes")
	}
	return &m, nil
}

// find finds a model by its label, whatever its case; nil if there is none.
func (m *Models) find(label string) *Model {
	i := slices.IndexFunc(m.Models, func(o Model) bool { return strings.EqualFold(o.label(), label) })
	if i < 0 {
		return nil
	}
	return &m.Models[i]
}

func (m *Model) label() string { return m.AppLabel + "." + m.Model }

// String gives the model as Python knows it.
func (m *Model) String() string { return m.AppLabel + "." + m.Name }

// field finds a field by its name or its attname; nil if there is none.
func (m *Model) field(name string) *Field {
	i := slices.IndexFunc(m.Fields, func(f Field) bool { return f.Name == name || f.Attname == name })
	if i < 0 {
		return nil
	}
	return &m.Fields[i]
}

// column finds a field by its column; nil if there is none.
func (m *Model) column(name string) *Field {
	i := slices.IndexFunc(m.Fields, func(f Field) bool { return f.Column == name })
	if i < 0 {
		return nil
	}
	return &m.Fields[i]
}

// names lists what a template may name of a row.
func (m *Model) names() []string {
	var out []string
	for _, f := range m.Fields {
		out = append(out, f.Name)
	}
	for _, r := range m.Reverse {
		out = append(out, r.Name)
	}
	return out
}

// maxParents bounds a line of parents.
const maxParents = 20

// ancestry gives the fields that lead from a model to the one whose table has a field of
// it: none if that is its own.
func (m *Models) ancestry(from *Model, holder string, depth int) ([]*Field, bool) {
	if from == nil || depth > maxParents {
		return nil, false
	}
	if strings.EqualFold(from.label(), holder) {
		return nil, true
	}
	for _, label := range slices.Sorted(maps.Keys(from.Parents)) {
		link := from.field(from.Parents[label])
		if rest, ok := m.ancestry(m.find(label), holder, depth+1); ok && link != nil {
			return append([]*Field{link}, rest...), true
		}
	}
	return nil, false
}

// concrete gives the model that has the table.
func (m *Models) concrete(label string) *Model {
	model := m.find(label)
	if model != nil && model.ProxyFor != "" {
		return m.find(model.ProxyFor)
	}
	return model
}
