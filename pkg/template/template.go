package template

import (
	"fmt"
	"sync"
	"time"
)

// Options say how a template behaves. The zero Options are those of payloads.
type Options struct {
	// Autoescape escapes HTML in printed values, as Django does unless told otherwise.
	Autoescape bool
	// Django makes everything print as Django prints it, with its default settings;
	// without it, dates and times print as ISO 8601 (RFC 3339) and JSON as itself.
	Django bool
	// StringIfInvalid is printed for a variable that does not exist; %s in it is the
	// variable's name.
	StringIfInvalid string
	// Location is the time zone into which dates with an offset are converted before
	// they are formatted. nil is UTC.
	Location *time.Location
	// Limits bound what a template may use.
	Limits Limits
	// Now is the clock of {% now %}, |timesince and |timeuntil. nil is time.Now.
	Now func() time.Time
}

// Limits bound one template. A zero field has the default that its comment names.
type Limits struct {
	Depth  int           // nested blocks: 64
	Source int           // bytes of source: 256 KiB
	Steps  int           // nodes, iterations and kilobytes handled by filters: 100,000
	Output int           // bytes of output and of any intermediate value: 1 MiB
	Time   time.Duration // time of one rendering, at most 4 us for a step: 50 ms
}

// maxOperators bounds one {% if %} expression.
const maxOperators = 400

func (l Limits) withDefaults() Limits {
	if l.Depth <= 0 {
		l.Depth = 64
	}
	if l.Source <= 0 {
		l.Source = 1 << 18
	}
	if l.Steps <= 0 {
		l.Steps = 100_000
	}
	if l.Output <= 0 {
		l.Output = 1 << 20
	}
	if l.Time <= 0 {
		l.Time = 50 * time.Millisecond
	}
	return l
}

func (o Options) withDefaults() Options {
	o.Limits = o.Limits.withDefaults()
	if o.Location == nil {
		o.Location = time.UTC
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Template is a compiled template. It is immutable and safe for concurrent use.
type Template struct {
	opt   Options
	src   string
	nodes []node
	slots int // places for the state of cycle and ifchanged
	plain bool
	pool  sync.Pool
}

// Parse compiles src. An error is a *SyntaxError.
func Parse(src string, opt Options) (*Template, error) {
	opt = opt.withDefaults()
	p, err := newParser(src, opt)
	if err != nil {
		return nil, err
	}
	nodes, err := p.parse()
	if err != nil {
		return nil, p.syntaxError(err)
	}
	t := &Template{opt: opt, src: src, nodes: nodes, slots: p.slots, plain: isPlain(nodes)}
	t.pool.New = func() any { return &state{} }
	return t, nil
}

// Append renders the template with vars and appends the result to dst. vars may be nil.
// An error is a *RenderError; dst is then returned as it was.
func (t *Template) Append(dst []byte, vars Object) (out []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			// A defect here or in the caller's Object must not end the process
			// that renders other people's templates. The state is not reused.
			out, err = dst, &RenderError{Line: 1, Column: 1, Class: "panic", Msg: fmt.Sprint(r)}
		}
	}()
	if t.plain && vars != nil {
		if out, ok := t.appendPlain(dst, vars); ok {
			return out, nil
		}
	}
	st := t.pool.Get().(*state)
	st.reset(&t.opt, t.slots, vars, dst)
	err = st.renderAll(t.nodes)
	if missed := failed(vars); err == nil {
		err = missed
	}
	if err != nil {
		err = st.renderError(t.src, err)
		out = dst
	} else {
		out = st.out
	}
	st.release()
	t.pool.Put(st)
	return out, err
}

// Static returns the text of a template that has no templating in it.
func (t *Template) Static() (string, bool) {
	switch len(t.nodes) {
	case 0:
		return "", true
	case 1:
		if n, ok := t.nodes[0].(*textNode); ok {
			return n.text, true
		}
	}
	return "", false
}

// JSONLeaf tells whether the template is exactly one {{ expression|json }}: its output
// is a JSON value.
func (t *Template) JSONLeaf() bool {
	if len(t.nodes) != 1 {
		return false
	}
	n, ok := t.nodes[0].(*varNode)
	if !ok || len(n.x.filters) == 0 {
		return false
	}
	return n.x.filters[len(n.x.filters)-1].def.name == "json" && !t.opt.Autoescape
}

// Condition is a compiled {% if %} expression. It is immutable and safe for
// concurrent use.
type Condition struct {
	opt  Options
	src  string
	cond cond
	pool sync.Pool
}

// ParseCondition compiles what stands in an {% if %} tag. An error is a *SyntaxError.
func ParseCondition(src string, opt Options) (*Condition, error) {
	opt = opt.withDefaults()
	p := &parser{src: src, opt: opt}
	if len(src) > opt.Limits.Source {
		return nil, &SyntaxError{1, 1, "condition is too long"}
	}
	bits, err := splitContents(src, 0)
	if err != nil {
		return nil, p.syntaxError(err)
	}
	c, err := p.condition(bits, len(src))
	if err != nil {
		return nil, p.syntaxError(err)
	}
	res := &Condition{opt: opt, src: src, cond: c}
	res.pool.New = func() any { return &state{} }
	return res, nil
}

// Eval evaluates the condition with vars. As in a template, a comparison that Python
// would not make (1 < "a") is false and no error; an error is a *RenderError.
func (c *Condition) Eval(vars Object) (ok bool, err error) {
	st := c.pool.Get().(*state)
	st.reset(&c.opt, 0, vars, nil)
	defer func() {
		if r := recover(); r != nil {
			ok, err = false, &RenderError{Line: 1, Column: 1, Class: "panic", Msg: fmt.Sprint(r)}
		}
	}()
	ok, err = st.test(c.cond)
	if missed := failed(vars); err == nil {
		err = missed
	}
	if err != nil {
		err = st.renderError(c.src, err)
	}
	st.release()
	c.pool.Put(st)
	return ok, err
}

// failed asks the caller's Object what it could not give.
func failed(vars Object) error {
	if f, ok := vars.(Failer); ok {
		return f.Failure()
	}
	return nil
}
