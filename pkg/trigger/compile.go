package trigger

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/waltrigger/waltrigger/pkg/payload"
	"github.com/waltrigger/waltrigger/pkg/resolve"
	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/template"
)

// Compiler is what triggers are compiled against: the operator's configuration.
type Compiler struct {
	Templates      template.Options
	Resolver       *resolve.Resolver
	Webhook        *sink.Kind
	Broker, Action func(name string) (Endpoint, bool)
	// Env gives a sink what it may use; endpoint is msg_broker_queues/ or actions/ and the
	// name of the broker or action, "" for webhooks; conn is resolved.
	Env func(endpoint string, conn map[string]any) sink.Env
	// CheckPath says what is wrong with a path that the template or condition at the
	// JSON pointer at of t reads of a change; an error that is a *Problem keeps its code.
	// A name in fields is the path fields, name. Nil checks nothing.
	CheckPath func(t *Trigger, at string, path template.Path) error
	// DefaultFormat is that of triggers that name neither a payload nor a format.
	DefaultFormat payload.Format
	// Shadow is the kind that takes the messages of triggers in mode shadow; its
	// connection detail is destination, an id.
	Shadow *sink.Kind

	MaxWebhookTimeout, MaxBrokerTimeout, MaxActionTimeout time.Duration
	Schedule                                              []time.Duration // of retries
	Parks                                                 bool            // deliveries that cannot be sent are parked
}

// Compiled is a trigger that can fire. It is immutable.
type Compiled struct {
	*Record
	Payload      *payload.Renderer
	Condition    *template.Condition // nil: always
	OrderingKey  *template.Template  // nil: the row's key
	KeyPaths     []template.Path     // that OrderingKey reads
	Destinations []*Destination
	Relations    [][]string // paths of its templates from a row that go beyond the row itself, e.g. order.customer.name
	Names        []string   // what its templates name of a row: columns and relations
	Instance     []string   // those of them that are named of instance or after
	// Old are the names of before that the condition reads, and "" if it reads changed or
	// before as a whole: whether it holds cannot be told without them.
	Old []string
	// Broken is set if a template of a stored trigger does not compile any more:
	// nothing of it can be rendered until it is mended.
	Broken error
	// Doubts are what is right in its templates, and perhaps not meant.
	Doubts []string

	resolver *resolve.Resolver
	values   []string // dynamic values that the payload names
}

// Compile compiles a stored or a new trigger; all that is wrong with its templates is
// returned at once. Names of brokers that are not configured are no problem here:
// Validate tells about them.
func (c *Compiler) Compile(r *Record) (*Compiled, []Problem) {
	k := &compilation{Compiler: c, t: r.Trigger, out: &Compiled{Record: r, resolver: c.Resolver}}
	k.body()
	k.conditions()
	for i := range r.Trigger.Webhooks {
		k.webhook(fmt.Sprintf("/webhooks/%d", i), &r.Trigger.Webhooks[i])
	}
	for i := range r.Trigger.Queues {
		k.queue(fmt.Sprintf("/msg_broker_queues/%d", i), &r.Trigger.Queues[i], c.Broker, c.MaxBrokerTimeout)
	}
	for i := range r.Trigger.Actions {
		k.queue(fmt.Sprintf("/actions/%d", i), &r.Trigger.Actions[i], c.Action, c.MaxActionTimeout)
	}
	k.bodyValues()
	return k.out, k.problems
}

type compilation struct {
	*Compiler
	t        *Trigger
	out      *Compiled
	problems []Problem
	bodyAt   []named // of out.values
}

func (k *compilation) problem(at, code string, err error) {
	k.problems = append(k.problems, Problem{at, code, err.Error()})
	if code == CodeTemplate && k.out.Broken == nil {
		k.out.Broken = fmt.Errorf("%s of the trigger: %w", at, err)
	}
}

func (k *compilation) doubt(at string, err error) {
	k.out.Doubts = append(k.out.Doubts, at+": "+err.Error())
}

func (k *compilation) body() {
	format := k.DefaultFormat
	if k.t.Payload != nil {
		format = payload.Envelope
	}
	if k.t.PayloadFormat != "" {
		var err error
		if format, err = payload.ParseFormat(k.t.PayloadFormat); err != nil { // stored by a later version
			k.problem("/payload_format", CodeTemplate, err)
		}
	}
	r, bad := payload.Compile(k.t.Payload, format, k.Templates)
	for _, p := range bad {
		k.problem("/payload"+p.Pointer, CodeTemplate, p.Err)
	}
	for _, p := range r.Unclosed() {
		k.doubt("/payload"+p.Pointer, p.Err)
	}
	for _, p := range r.Paths() {
		k.path("/payload"+p.Pointer, p.Path)
	}
	k.out.Payload = r
}

func (k *compilation) conditions() {
	for i, name := range k.t.Fields {
		if k.CheckPath != nil {
			if err := k.CheckPath(k.t, fmt.Sprintf("/fields/%d", i), template.Path{Names: []string{"fields", name}}); err != nil {
				k.unfit(fmt.Sprintf("/fields/%d", i), err, "")
			}
		}
	}
	if k.t.Condition != "" {
		c, err := template.ParseCondition(k.t.Condition, k.Templates)
		if err != nil {
			k.problem("/condition", CodeTemplate, err)
		} else {
			k.out.Condition = c
			k.allPaths("/condition", c.Paths())
		}
	}
	if k.t.OrderingKey != "" {
		if k.out.OrderingKey = k.template("/ordering_key", k.t.OrderingKey); k.out.OrderingKey != nil {
			k.out.KeyPaths = k.out.OrderingKey.Paths()
		}
	}
}

func (k *compilation) template(at, src string) *template.Template {
	t, err := template.Parse(src, k.Templates)
	if err != nil {
		k.problem(at, CodeTemplate, err)
		return nil
	}
	if open := template.Unclosed(src); open != nil {
		k.doubt(at, open)
	}
	k.allPaths(at, t.Paths())
	return t
}

func (k *compilation) allPaths(at string, paths []template.Path) {
	for _, p := range paths {
		k.path(at, p)
	}
}

// Destination is a webhook, queue or action, compiled. It says where messages go, to
// whoever delivers them.
type Destination struct {
	ID       string
	trigger  int64
	limits   sink.Limits
	kind     *sink.Kind
	timeout  time.Duration
	endpoint string
	hosts    []string // where messages go; nil = not known
	at       string   // see Host
	resolver *resolve.Resolver
	env      func(endpoint string, conn map[string]any) sink.Env
	shadow   *sink.Kind    // in its place, if not nil
	bound    []sink.Header // of boundBody
	url      []segment     // nil: as the parameter has it

	conn        map[string]any // strings in it may be *resolve.Text instead
	connKey     string
	connDynamic bool
	params      []slot
	headers     []slot
	fixedParams map[string]string // if nothing in params changes from message to message
	fixedHeader []sink.Header     // the same for headers
	rows        []row
}

// slot is a header or parameter: a text, perhaps with dynamic values, perhaps with
// parts taken from the row.
type slot struct {
	name  string
	text  *resolve.Text // nil: fixed
	row   int           // place of the row's part among what Render gives; -1: none
	fixed string        // the value, if there is neither
}

func (f *slot) isFixed() bool { return f.row < 0 && (f.text == nil || len(f.text.Refs()) == 0) }

// place finds what was rendered for f, by a version of the trigger that may have had other
// slots; -1 = nothing.
func (f *slot) place(rendered []sink.Header) int {
	if f.row < len(rendered) && rendered[f.row].Name == f.name {
		return f.row
	}
	return slices.IndexFunc(rendered, func(h sink.Header) bool { return h.Name == f.name })
}

// row is a template of a slot's part that is taken from the row.
type row struct {
	name string
	text *resolve.Text
	*template.Template
}

func (k *compilation) webhook(at string, w *Webhook) {
	d := &Destination{ID: w.ID, trigger: k.t.ID, limits: k.limits(&w.Limits), kind: k.Webhook, timeout: Timeout(w.TimeoutSecs, k.MaxWebhookTimeout), resolver: k.Resolver, env: k.Env, connKey: k.Webhook.Name}
	d.limits.Batch = w.Batch
	if u, err := url.Parse(withoutTemplates(w.URL)); err == nil {
		d.hosts, d.at = []string{u.Hostname()}, u.Scheme+"://"+u.Host
	}
	d.params = []slot{{name: "url", row: -1, fixed: w.URL}, {name: "http_method", row: -1, fixed: w.HTTPMethod}}
	if w.Batch > 0 {
		d.params = append(d.params, slot{name: "batch", row: -1, fixed: strconv.Itoa(w.Batch)})
	}
	k.secret(d, at, w.Secret)
	k.url(d, at+"/url", w.URL)
	for _, h := range w.Headers {
		d.headers = k.field(d, d.headers, at+"/headers/"+escapePointer(h.Name), h.Name, h.Value)
	}
	k.destination(d)
}

// destination ends the compilation of d.
func (k *compilation) destination(d *Destination) {
	d.settle()
	if k.t.Mode == Shadow && k.Shadow != nil {
		d.shadow = k.Shadow
	}
	k.out.Destinations = append(k.out.Destinations, d)
}

func (k *compilation) queue(at string, q *Queue, find func(string) (Endpoint, bool), maximum time.Duration) {
	e := Endpoint{Kind: unconfigured(q.Name)}
	if find != nil {
		if found, ok := find(q.Name); ok {
			e = found
		}
	}
	list, _, _ := strings.Cut(at[1:], "/")
	d := &Destination{ID: q.ID, trigger: k.t.ID, limits: k.limits(&q.Limits), kind: &e.Kind, timeout: Timeout(q.TimeoutSecs, maximum), endpoint: list + "/" + q.Name, resolver: k.Resolver, env: k.Env}
	d.at = q.Name
	d.conn = q.ConnDetails.Map()
	maps.Copy(d.conn, e.Conn)
	d.hosts = hosts(d.kind, d.conn)
	k.connection(d, at)
	params := q.Parameters.Map()
	maps.Copy(params, e.Params)
	for _, name := range slices.Sorted(maps.Keys(params)) {
		pointer := at + "/parameters/" + escapePointer(name)
		value := fmt.Sprint(params[name])
		if slices.ContainsFunc(e.Kind.Params, func(p sink.Param) bool { return p.Name == name }) {
			d.params = k.field(d, d.params, pointer, name, value)
		} else {
			d.headers = k.field(d, d.headers, pointer, name, value)
		}
	}
	k.destination(d)
}

// unconfigured is the kind of a queue whose broker was taken out of the configuration:
// what goes there waits until it is back, or the trigger is mended.
func unconfigured(name string) sink.Kind {
	return sink.Kind{Name: "unconfigured", Open: func(context.Context, map[string]any, sink.Env) (sink.Sink, error) {
		return nil, &sink.Error{Class: sink.Misconfigured, Code: "unconfigured", Err: fmt.Errorf("the configuration has no %q any more", name)}
	}}
}

// field compiles one header or parameter and adds it to to.
func (k *compilation) field(d *Destination, to []slot, at, name, value string) []slot {
	text, err := resolve.Parse(value, reserved)
	if err != nil {
		k.problem(at, CodeTemplate, err)
		return to
	}
	k.refs(at, text, d)
	f := slot{name: name, text: text, row: -1}
	t := k.template(at, text.Template())
	if t == nil {
		return to
	}
	var static bool
	if f.fixed, static = t.Static(); !static {
		f.row = len(d.rows)
		d.rows = append(d.rows, row{name, text, t})
	}
	return append(to, f)
}

// settle works out what never changes.
func (d *Destination) settle() {
	fixed := func(fs []slot) bool {
		return !slices.ContainsFunc(fs, func(f slot) bool { return !f.isFixed() })
	}
	if fixed(d.params) {
		d.fixedParams = map[string]string{}
		for _, f := range d.params {
			d.fixedParams[f.name] = f.fixed
		}
	}
	if fixed(d.headers) {
		d.fixedHeader = make([]sink.Header, 0, len(d.headers))
		for _, f := range d.headers {
			d.fixedHeader = append(d.fixedHeader, sink.Header{Name: f.name, Value: f.fixed})
		}
	}
}

// Render renders what the row gives to headers and parameters, by their names, for Fill;
// nil if it gives nothing. It may be kept for long.
func (d *Destination) Render(e *payload.Event) ([]sink.Header, error) {
	if len(d.rows) == 0 {
		return d.bound, nil
	}
	out := make([]sink.Header, len(d.rows), len(d.rows)+len(d.bound))
	for i, t := range d.rows {
		b, err := t.Append(nil, e)
		var sealed string
		if err == nil {
			sealed, err = t.text.Seal(string(b))
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.name, err)
		}
		out[i] = sink.Header{Name: t.name, Value: sealed}
	}
	return append(out, d.bound...), nil
}

// limits are l, and whether the trigger is paused.
func (k *compilation) limits(l *Limits) sink.Limits {
	out := l.compile(k.Schedule)
	// Where nothing is parked, what waits would hold up the log for as long as it waits.
	out.Paused = k.out.Paused == PausedKeep || k.out.Paused == PausedDrop && k.Parks
	return out
}

// Trigger is the id of the destination's trigger.
func (d *Destination) Trigger() int64 { return d.trigger }

// Host is the host and port of a webhook, or the name of a broker.
func (d *Destination) Host() string { return d.at }

// Limits are how the destination is sent to.
func (d *Destination) Limits() sink.Limits { return d.limits }

// Kind is the kind of the destination's sink.
func (d *Destination) Kind() *sink.Kind {
	if d.shadow != nil {
		return d.shadow
	}
	return d.kind
}

// Timeout bounds one attempt.
func (d *Destination) Timeout() time.Duration { return d.timeout }

// Env is what a sink opened for conn may use of its surroundings.
func (d *Destination) Env(conn map[string]any) sink.Env { return d.env(d.endpoint, conn) }

// Fill sets the message's parameters and headers, dynamic values resolved now. What
// Render gave before an edit goes where it was meant for, by its name; a header that an
// edit added from the row is left out of messages rendered before.
func (d *Destination) Fill(ctx context.Context, m *sink.Message, rendered []sink.Header) error {
	if d.shadow != nil {
		d.Show(m, rendered)
		return nil
	}
	if err := d.mayCarry(rendered); err != nil {
		return err
	}
	if m.Params = d.fixedParams; m.Params == nil {
		params, err := d.values(ctx, d.params, rendered)
		if err != nil {
			return err
		}
		m.Params = make(map[string]string, len(params))
		for _, p := range params {
			m.Params[p.Name] = p.Value
		}
	}
	if d.url != nil {
		if err := d.fillURL(ctx, m, rendered); err != nil {
			return err
		}
	}
	if m.Headers = d.fixedHeader; m.Headers == nil {
		headers, err := d.values(ctx, d.headers, rendered)
		if err != nil {
			return err
		}
		m.Headers = headers
	}
	return nil
}

func (d *Destination) values(ctx context.Context, fields []slot, rendered []sink.Header) ([]sink.Header, error) {
	out := make([]sink.Header, 0, len(fields))
	for i := range fields {
		f := &fields[i]
		var v string
		var err error
		switch {
		case f.isFixed():
			v = f.fixed
		case f.row < 0:
			var b []byte
			b, err = f.text.Append(ctx, nil, d.resolver, d.hosts...)
			v = string(b)
		default:
			at := f.place(rendered)
			if at < 0 {
				continue
			}
			v, err = resolve.Fill(ctx, rendered[at].Value, d.resolver, d.hosts...)
		}
		if err != nil {
			return nil, resolveError(err)
		}
		out = append(out, sink.Header{Name: f.name, Value: v})
	}
	return out, nil
}
