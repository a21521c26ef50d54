package django

import (
	"cmp"
	"maps"
	"slices"

	"github.com/waltrigger/waltrigger/pkg/source"
)

// Needs are what the configuration has to say for the triggers to be right.
type Needs struct {
	ContentTypes map[string]source.TableName // app_label.model -> a table that goes by another name than Django's
	Relations    []Relation                  // foreign keys that go by another name
	Brokers      map[string]Endpoint         // BrokerType is "" where nobody has said it
	Actions      map[string]Endpoint
	Values       map[string][]string // dynamic values -> the hosts they are sent to; none if those are not known
	Settings     Settings            // the project's, where they are stricter
}

// Relation is one item of a source's relations in the configuration.
type Relation struct {
	Table       source.TableName
	Column      string
	References  source.TableName // set where the database has no foreign key
	RefColumn   string
	Name        string // of the row referred to; "" = as it is
	ReverseName string // of the rows that refer to it; "" = as it is
}

func newNeeds() *Needs {
	return &Needs{
		ContentTypes: map[string]source.TableName{}, Brokers: map[string]Endpoint{}, Actions: map[string]Endpoint{},
		Values: map[string][]string{},
	}
}

// Empty reports whether nothing is needed.
func (n *Needs) Empty() bool {
	return len(n.ContentTypes)+len(n.Relations)+len(n.Brokers)+len(n.Actions)+len(n.Values) == 0 && n.Settings.empty()
}

// relation notes r, together with what is known of the same foreign key.
func (n *Needs) relation(r Relation) {
	i := slices.IndexFunc(n.Relations, r.same)
	if i < 0 {
		n.Relations = append(n.Relations, r)
		return
	}
	n.Relations[i] = r.over(n.Relations[i])
}

// same reports whether o is about the same foreign key.
func (r Relation) same(o Relation) bool { return r.Table == o.Table && r.Column == o.Column }

// over is r with what else o says of the same foreign key.
func (r Relation) over(o Relation) Relation {
	if r.References == (source.TableName{}) {
		r.References, r.RefColumn = o.References, o.RefColumn
	}
	r.Name, r.ReverseName = cmp.Or(r.Name, o.Name), cmp.Or(r.ReverseName, o.ReverseName)
	return r
}

// within reports whether o says all that r says.
func (r Relation) within(o Relation) bool { return r.same(o) && r.over(o) == o }

// value notes that a dynamic value is sent to host; "" says that it is not known where.
func (n *Needs) value(name, host string) {
	hosts, known := n.Values[name]
	switch {
	case host == "" || known && len(hosts) == 0:
		n.Values[name] = nil
	case !slices.Contains(hosts, host):
		n.Values[name] = append(hosts, host)
	}
}

// drop takes out what the configuration says already.
func (n *Needs) drop(known Known) {
	maps.DeleteFunc(n.ContentTypes, func(name string, t source.TableName) bool { return known.ContentTypes[name] == t })
	maps.DeleteFunc(n.Brokers, func(name string, _ Endpoint) bool { _, ok := known.Brokers[name]; return ok })
	maps.DeleteFunc(n.Actions, func(name string, _ Endpoint) bool { _, ok := known.Actions[name]; return ok })
	maps.DeleteFunc(n.Values, func(name string, _ []string) bool { return slices.Contains(known.Values, name) })
	for _, k := range known.Relations {
		n.Relations = slices.DeleteFunc(n.Relations, func(r Relation) bool { return r.within(k) })
		if i := slices.IndexFunc(n.Relations, k.same); i >= 0 { // one item says it all
			n.Relations[i] = n.Relations[i].over(k)
		}
	}
	s, k := &n.Settings, &known.Settings
	if k.ContentTypes != nil {
		s.ContentTypes = nil
	}
	if k.WebhookPatterns != nil {
		s.WebhookPatterns = nil
	}
	for _, t := range [][2]**float64{{&s.WebhookTimeout, &k.WebhookTimeout}, {&s.BrokerTimeout, &k.BrokerTimeout}, {&s.ActionTimeout, &k.ActionTimeout}} {
		if ours := *t[1]; *t[0] != nil && ours != nil && *ours <= **t[0] {
			*t[0] = nil
		}
	}
}

// Known is what the configuration says already.
type Known struct {
	ContentTypes map[string]source.TableName // by lower-case app_label.model
	Relations    []Relation
	Brokers      map[string]Endpoint // with the names of what is fixed
	Actions      map[string]Endpoint
	Values       []string
	Settings     Settings
}
