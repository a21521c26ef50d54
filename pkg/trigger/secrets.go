package trigger

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Redacted stands in answers for a literal secret. Sent back in the same place it
// keeps the stored value.
const Redacted = "[redacted]"

// SecretParam reports whether a connection detail ("conn_details") or parameter
// ("parameters") of the broker or action is a secret. list is msg_broker_queues or
// actions.
type SecretParam func(list, name, group, param string) bool

var (
	// reference is what the daemon fills in when it sends. A string literal within one
	// is as literal as the text around it.
	reference = regexp.MustCompile(`\{\{[^"'{}]*\}\}|\{%[^"'{}]*%\}`)
	// scheme is what may stand beside a reference without being secret.
	scheme = regexp.MustCompile(`(?i)^\s*(bearer|basic|token|apikey|key|digest|negotiate)?\s*$`)
	// secretName matches names whose literal values are taken for secrets.
	secretName = regexp.MustCompile(`(?i)^(authorization|proxy-authorization|cookie)$|token|secret|password|passwd|key|credential|signature`)
)

// literalSecret reports whether value, under a name of secrets, holds more than
// references to values that are kept elsewhere.
func literalSecret(value string) bool {
	rest := reference.ReplaceAllString(value, "")
	return strings.TrimSpace(value) != "" && (rest == value || !scheme.MatchString(rest))
}

// SecretHeader reports whether a header of this name is taken for a secret where its
// value is literal.
func SecretHeader(name string) bool { return secretName.MatchString(name) }

// Redact gives t as it may be shown: literal secrets are replaced by the marker.
// References such as {{ myapp.utils.get_token }} are no secrets.
func (t *Trigger) Redact(secret SecretParam) *Trigger {
	c := t.Clone()
	for i := range c.Webhooks {
		for j, h := range c.Webhooks[i].Headers {
			if SecretHeader(h.Name) && literalSecret(h.Value) {
				c.Webhooks[i].Headers[j].Value = Redacted
			}
		}
		for j, v := range c.Webhooks[i].Secret.Values {
			if literalSecret(v) {
				c.Webhooks[i].Secret.Values[j] = Redacted
			}
		}
	}
	c.queueLists(func(list string, qs []Queue) {
		for _, q := range qs {
			redactParams(q.ConnDetails, list, q.Name, "conn_details", secret)
			redactParams(q.Parameters, list, q.Name, "parameters", secret)
		}
	})
	return c
}

// MapSecrets gives a copy of t in which f has put another value in the place of each
// one that may be a secret, or that a secret may be a part of: all headers, signing
// secrets, connection details and parameters. at tells the values of one trigger apart.
func (t *Trigger) MapSecrets(f func(at string, value any) (any, error)) (*Trigger, error) {
	c := t.Clone()
	for i := range c.Webhooks {
		for j, h := range c.Webhooks[i].Headers {
			v, err := f(fmt.Sprintf("/webhooks/%d/headers/%s", i, h.Name), h.Value)
			if err != nil {
				return nil, err
			}
			c.Webhooks[i].Headers[j].Value = fmt.Sprint(v)
		}
		for j, s := range c.Webhooks[i].Secret.Values {
			v, err := f(fmt.Sprintf("/webhooks/%d/secret/%d", i, j), s)
			if err != nil {
				return nil, err
			}
			c.Webhooks[i].Secret.Values[j] = fmt.Sprint(v)
		}
	}
	var errs []error
	c.queueLists(func(list string, qs []Queue) {
		for i, q := range qs {
			for group, ps := range map[string]Params{"conn_details": q.ConnDetails, "parameters": q.Parameters} {
				for j, p := range ps {
					v, err := f(fmt.Sprintf("/%s/%d/%s/%s", list, i, group, p.Name), p.Value)
					ps[j].Value = v
					errs = append(errs, err)
				}
			}
		}
	})
	return c, errors.Join(errs...)
}

func redactParams(ps Params, list, name, group string, secret SecretParam) {
	for i, p := range ps {
		if secret != nil && secret(list, name, group, p.Name) && literalSecret(p.Text()) {
			ps[i].Value = Redacted
		}
	}
}

func (t *Trigger) queueLists(f func(list string, qs []Queue)) {
	f("msg_broker_queues", t.Queues)
	f("actions", t.Actions)
}

// Inherit fills in what t, sent to replace old, leaves to it: destinations without id
// take that of the destination at the same place, and markers of secrets become the
// stored secrets. A secret is only kept while it goes to the same place: otherwise
// whoever may edit a trigger could send it to a host of his own. old is nil for a new
// trigger. t is changed.
func Inherit(t, old *Trigger) []Problem {
	if old == nil {
		old = &Trigger{}
	}
	problems := inheritIDs(t, old)
	in := &inheritance{problems: problems}
	for i := range t.Webhooks {
		w := &t.Webhooks[i]
		from := byID(old.Webhooks, w.ID, func(w *Webhook) string { return w.ID })
		for j, h := range w.Headers {
			at := fmt.Sprintf("/webhooks/%d/headers/%s", i, escapePointer(h.Name))
			if h.Value == Redacted {
				w.Headers[j].Value = in.header(at, w, from, h.Name)
			}
		}
		in.secrets(fmt.Sprintf("/webhooks/%d", i), w, from)
	}
	t.queueLists(func(list string, qs []Queue) {
		before := old.Queues
		if list == "actions" {
			before = old.Actions
		}
		for i := range qs {
			at := fmt.Sprintf("/%s/%d", list, i)
			in.queue(at, &qs[i], byID(before, qs[i].ID, func(q *Queue) string { return q.ID }))
		}
	})
	return in.problems
}

// inheritIDs matches destinations without id by their place, and refuses ids that the
// server gives out by itself.
func inheritIDs(t, old *Trigger) []Problem {
	was := map[string]string{} // pointer -> id
	owned := map[string]bool{}
	for at, id := range old.destinations() {
		was[at], owned[*id] = *id, true
	}
	taken := map[string]bool{}
	var problems []Problem
	for at, id := range t.destinations() {
		taken[*id] = true
		if *id != "" && !owned[*id] && Assigned(*id) {
			problems = append(problems, Problem{
				at + "/id", CodeUnknown,
				"this trigger has no destination with this id; d and a number is what the server assigns",
			})
		}
	}
	for at, id := range t.destinations() {
		if *id == "" && was[at] != "" && !taken[was[at]] {
			*id = was[at]
		}
	}
	return problems
}

var assigned = regexp.MustCompile(`^d[0-9]+$`)

// Assigned reports whether id has the form of those that the store gives out.
func Assigned(id string) bool { return assigned.MatchString(id) }

func byID[T any](items []T, id string, of func(*T) string) *T {
	i := slices.IndexFunc(items, func(t T) bool { return of(&t) == id })
	if i < 0 || id == "" {
		return nil
	}
	return &items[i]
}

type inheritance struct{ problems []Problem }

// missing says that a marker stands for nothing, or for something that must not move.
func (in *inheritance) missing(at, why string) string {
	in.problems = append(in.problems, Problem{at, CodeSecret, why})
	return Redacted
}

const (
	nothingStored = "stands for a stored secret, but none is stored here; send the value"
	movedSecret   = "the stored secret is not sent to another address; send the value again"
)

func (in *inheritance) header(at string, w, from *Webhook, name string) string {
	if from == nil {
		return in.missing(at, nothingStored)
	}
	for _, h := range from.Headers {
		if strings.EqualFold(h.Name, name) {
			if origin(w.URL) != origin(from.URL) {
				return in.missing(at, movedSecret)
			}
			return h.Value
		}
	}
	return in.missing(at, nothingStored)
}

// secrets restores signing secrets: the markers stand for the stored literal ones, in
// order.
func (in *inheritance) secrets(at string, w, from *Webhook) {
	var stored []string
	if from != nil {
		stored = slices.DeleteFunc(slices.Clone(from.Secret.Values), func(v string) bool { return !literalSecret(v) })
	}
	next := 0
	for i, v := range w.Secret.Values {
		if v != Redacted {
			continue
		}
		at := at + w.Secret.pointer(i)
		switch {
		case next >= len(stored):
			in.missing(at, nothingStored)
		case origin(w.URL) != origin(from.URL):
			in.missing(at, movedSecret)
		default:
			w.Secret.Values[i] = stored[next]
		}
		next++
	}
}

// pointer is where a secret stands in its webhook.
func (s Secrets) pointer(i int) string {
	if !s.Listed {
		return "/secret"
	}
	return fmt.Sprintf("/secret/%d", i)
}

// origin is scheme, host and port of a URL as written, user information included.
func origin(u string) string {
	scheme, rest, ok := strings.Cut(u, "://")
	if !ok {
		return u
	}
	if i := strings.IndexAny(rest, `/?#\`); i >= 0 {
		rest = rest[:i]
	}
	return strings.ToLower(scheme + "://" + rest)
}

func (in *inheritance) queue(at string, q, from *Queue) {
	same := from != nil && q.Name == from.Name && sameConn(q.ConnDetails, from.ConnDetails)
	restore := func(group string, ps, stored Params) {
		for i, p := range ps {
			if p.Value != Redacted {
				continue
			}
			at := at + "/" + group + "/" + escapePointer(p.Name)
			old, ok := stored.Get(p.Name)
			switch {
			case !ok:
				in.missing(at, nothingStored)
			case !same:
				in.missing(at, movedSecret)
			default:
				ps[i].Value = old.Value
			}
		}
	}
	var stored Queue
	if from != nil {
		stored = *from
	}
	restore("conn_details", q.ConnDetails, stored.ConnDetails)
	restore("parameters", q.Parameters, stored.Parameters)
}

// sameConn reports whether a and b connect to the same place: everything but what is
// redacted in a is equal.
func sameConn(a, b Params) bool {
	if len(a) != len(b) {
		return false
	}
	for _, p := range a {
		o, ok := b.Get(p.Name)
		if !ok || p.Value != Redacted && p.Value != o.Value {
			return false
		}
	}
	return true
}
