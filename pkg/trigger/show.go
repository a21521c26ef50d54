package trigger

import (
	"errors"
	"strings"

	"github.com/waltrigger/waltrigger/pkg/resolve"
	"github.com/waltrigger/waltrigger/pkg/sink"
)

// secret compiles the secrets of a webhook, which no row can have a part in.
func (k *compilation) secret(d *Destination, at string, s Secrets) {
	for i, v := range s.Values {
		text, err := resolve.Parse(v, reserved)
		if err == nil && strings.Contains(text.Template(), "{{") {
			err = errors.New("may name dynamic values only: a row has no part in a secret")
		}
		if err != nil {
			k.problem(at+s.pointer(i), CodeTemplate, err)
			return
		}
		k.refs(at+s.pointer(i), text, d)
	}
	if len(s.Values) == 0 {
		return
	}
	all := strings.Join(s.Values, " ")
	text, err := resolve.Parse(all, reserved)
	if err != nil { // none of its parts gave one
		k.problem(at+"/secret", CodeTemplate, err)
		return
	}
	d.params = append(d.params, slot{name: "secret", text: text, row: -1, fixed: all})
}

// Describe gives the kind that messages go to, whatever the trigger's mode, and the name of
// the broker or action.
func (d *Destination) Describe() (kind, endpoint string) {
	_, name, _ := strings.Cut(d.endpoint, "/")
	return d.kind.Name, name
}

// Show sets the message's parameters and headers as they may be shown: dynamic values are
// not fetched and stand there by their names, literal secrets are replaced by the marker.
func (d *Destination) Show(m *sink.Message, rendered []sink.Header) {
	m.Params = make(map[string]string, len(d.params))
	for i := range d.params {
		f := &d.params[i]
		if f.name == "secret" && d.endpoint == "" {
			continue // signs, and is not sent
		}
		m.Params[f.name] = f.show(rendered, d.secretParam(f.name))
	}
	if d.url != nil {
		m.Params["url"] = d.showURL(rendered)
	}
	m.Headers = make([]sink.Header, 0, len(d.headers))
	for i := range d.headers {
		f := &d.headers[i]
		m.Headers = append(m.Headers, sink.Header{Name: f.name, Value: f.show(rendered, SecretHeader(f.name))})
	}
}

// secretParam reports whether a parameter of the kind is a secret. The URL of a webhook
// is shown wherever its trigger is.
func (d *Destination) secretParam(name string) bool {
	for _, p := range d.kind.Params {
		if p.Name == name {
			return p.Secret && name != "url"
		}
	}
	return SecretHeader(name)
}

func (f *slot) show(rendered []sink.Header, secret bool) string {
	value := f.fixed
	switch {
	case f.text == nil:
		return value
	case secret && literalSecret(f.text.Source()):
		return Redacted
	case f.row >= 0:
		value = ""
		if at := f.place(rendered); at >= 0 {
			value = resolve.Names(rendered[at].Value)
		}
	case !f.isFixed():
		value = f.text.Source()
	}
	return value
}
