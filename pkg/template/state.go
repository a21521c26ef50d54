package template

import (
	"errors"
	"time"
)

// node is a compiled piece of a template.
type node interface {
	render(st *state) error
	pos() int
}

// binding is a name that a tag has set.
type binding struct {
	name string
	val  Value
}

// state is one rendering. It is pooled: what it holds must be cleared by release.
type state struct {
	opt      *Options
	vars     Object
	out      []byte
	base     int // where the output begins in out
	auto     bool
	bound    []binding
	frames   []int // where each frame of Django's context stack begins in bound
	cycles   []int // position of each cycle tag, by slot
	changed  map[int]Value
	left     int // steps left
	checkAt  int // steps left at which the clock is read next
	deadline time.Time
	nested   int // depth of the value being printed or compared
	failedAt int // offset of the innermost node that failed, -1: none
}

// clockEvery is how many steps pass between two looks at the clock. A template that
// takes fewer steps never pays for one.
const clockEvery = 256

// maxNested bounds the nesting of values that are printed or compared.
const maxNested = 100

func (st *state) reset(opt *Options, slots int, vars Object, dst []byte) {
	st.opt, st.vars, st.out, st.base, st.auto = opt, vars, dst, len(dst), opt.Autoescape
	st.left = opt.Limits.Steps
	st.checkAt = st.left - clockEvery
	st.deadline = time.Time{}
	st.nested, st.failedAt = 0, -1
	st.frames = append(st.frames[:0], 0)
	if slots > len(st.cycles) {
		st.cycles = make([]int, slots)
	}
	clear(st.cycles)
}

// release drops what belongs to the caller.
func (st *state) release() {
	st.out, st.vars = nil, nil
	if c := cap(st.bound); c > 64 {
		st.bound = nil
	} else if c > 0 {
		clear(st.bound[:c])
		st.bound = st.bound[:0]
	}
	if len(st.changed) > 0 {
		clear(st.changed)
	}
}

// spend takes n steps and looks at the clock now and then.
func (st *state) spend(n int) error {
	st.left -= n
	if st.left >= st.checkAt {
		return nil
	}
	return st.check()
}

func (st *state) check() error {
	if st.left < 0 {
		return fail(classBudget, "more than %d steps", st.opt.Limits.Steps)
	}
	st.checkAt = st.left - clockEvery
	now := time.Now()
	if st.deadline.IsZero() {
		st.deadline = now.Add(st.opt.Limits.Time)
	} else if now.After(st.deadline) {
		return fail(classBudget, "more than %v", st.opt.Limits.Time)
	}
	if st.checkAt < 0 {
		st.checkAt = 0
	}
	return nil
}

func (st *state) renderAll(nodes []node) error {
	for _, n := range nodes {
		if err := st.spend(1); err != nil {
			return st.failed(n, err)
		}
		if err := n.render(st); err != nil {
			return st.failed(n, err)
		}
		if len(st.out)-st.base > st.opt.Limits.Output {
			return st.failed(n, fail(classBudget, "more than %d bytes of output", st.opt.Limits.Output))
		}
	}
	return nil
}

func (st *state) failed(n node, err error) error {
	if st.failedAt < 0 {
		st.failedAt = n.pos()
	}
	return err
}

func (st *state) renderError(src string, err error) error {
	var f *failure
	if !errors.As(err, &f) {
		f = &failure{"Error", err.Error()}
	}
	e := &RenderError{Class: f.class, Msg: f.msg}
	e.Line, e.Column = lineColumn(src, max(st.failedAt, 0))
	return e
}

// captured renders nodes aside and returns the text.
func (st *state) captured(nodes []node) (string, error) {
	start := len(st.out)
	if err := st.renderAll(nodes); err != nil {
		return "", err
	}
	s := string(st.out[start:])
	st.out = st.out[:start]
	return s, nil
}

// push opens a frame; the result closes it again.
func (st *state) push() int {
	st.frames = append(st.frames, len(st.bound))
	return len(st.frames) - 1
}

func (st *state) pop(mark int) {
	st.bound = st.bound[:st.frames[mark]]
	st.frames = st.frames[:mark]
}

// set binds a name in the current frame.
func (st *state) set(name string, v Value) {
	for i := st.frames[len(st.frames)-1]; i < len(st.bound); i++ {
		if st.bound[i].name == name {
			st.bound[i].val = v
			return
		}
	}
	st.bound = append(st.bound, binding{name, v})
}

// setUpward binds a name where it is bound already, else in the current frame.
func (st *state) setUpward(name string, v Value) {
	for i := len(st.bound) - 1; i >= 0; i-- {
		if st.bound[i].name == name {
			st.bound[i].val = v
			return
		}
	}
	if st.vars != nil && len(st.frames) > 1 {
		if _, ok := st.vars.Get(name); ok {
			st.setOutermost(name, v)
			return
		}
	}
	st.set(name, v)
}

// setOutermost binds a name in the frame that holds the caller's variables.
func (st *state) setOutermost(name string, v Value) {
	end := st.frames[1]
	st.bound = append(st.bound, binding{})
	copy(st.bound[end+1:], st.bound[end:])
	st.bound[end] = binding{name, v}
	for i := 1; i < len(st.frames); i++ {
		st.frames[i]++
	}
}

// get looks a name up from the innermost frame outwards.
func (st *state) get(name string) (Value, bool) {
	for i := len(st.bound) - 1; i >= 0; i-- {
		if st.bound[i].name == name {
			return st.bound[i].val, true
		}
	}
	if st.vars != nil {
		if v, ok := st.vars.Get(name); ok {
			return v, true
		}
	}
	switch name {
	case "True":
		return Bool(true), true
	case "False":
		return Bool(false), true
	case "None":
		return Value{}, true
	}
	return Value{}, false
}

// lookup follows a dotted path.
func (st *state) lookup(path []string) (Value, bool) {
	v, ok := st.get(path[0])
	for _, name := range path[1:] {
		if !ok {
			break
		}
		v, ok = st.attr(v, name)
	}
	return v, ok
}

// textNode is text between tags.
type textNode struct{ text string }

func (n *textNode) render(st *state) error {
	st.out = append(st.out, n.text...)
	return nil
}

func (n *textNode) pos() int { return 0 }

// varNode prints an expression.
type varNode struct {
	x  *expr
	at int
}

func (n *varNode) render(st *state) error {
	v, err := n.x.resolve(st, false)
	if err != nil {
		return err
	}
	return st.print(v)
}

func (n *varNode) pos() int { return n.at }
