package template

import (
	"errors"
	"strconv"
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
	clock    time.Time
	clockAt  int // steps left when the clock was read
	elapsed  time.Duration
	nested   int // depth of the value being printed or compared
	failedAt int // offset of the innermost node that failed, -1: none
}

// clockEvery is how many steps pass between two looks at the clock. A template that
// takes fewer steps never pays for one.
const clockEvery = 256

// maxStep is the most that one step can add to the time used. Without it, a template
// would fail because the machine is busy and not because the template is.
const maxStep = 4 * time.Microsecond

// maxNested bounds the nesting of values that are printed or compared.
const maxNested = 100

func (st *state) reset(opt *Options, slots int, vars Object, dst []byte) {
	st.opt, st.vars, st.out, st.base, st.auto = opt, vars, dst, len(dst), opt.Autoescape
	st.left = opt.Limits.Steps
	st.checkAt = max(st.left-clockEvery, 0)
	st.clock, st.elapsed = time.Time{}, 0
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
	now := time.Now()
	if !st.clock.IsZero() {
		st.elapsed += min(now.Sub(st.clock), time.Duration(st.clockAt-st.left)*maxStep)
		if st.elapsed > st.opt.Limits.Time {
			return fail(classBudget, "more than %v", st.opt.Limits.Time)
		}
	}
	st.clock, st.clockAt = now, st.left
	st.checkAt = max(st.left-clockEvery, 0)
	return nil
}

func (st *state) renderAll(nodes []node) error {
	for _, n := range nodes {
		if st.left--; st.left < st.checkAt {
			if err := st.check(); err != nil {
				return st.failed(n, err)
			}
		}
		if t, ok := n.(*textNode); ok {
			st.out = append(st.out, t.text...)
		} else if err := n.render(st); err != nil {
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
	var cause error
	if !errors.As(err, &f) {
		f, cause = &failure{"Error", err.Error()}, err
	}
	e := &RenderError{Class: f.class, Msg: f.msg, cause: cause}
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

// The look-ups below write their result to *out: values are too large for the compiler
// to return them through several calls without copying at each.

// get looks a name up from the innermost frame outwards.
func (st *state) get(name string, out *Value) bool {
	for i := len(st.bound) - 1; i >= 0; i-- {
		if b := &st.bound[i]; b.name == name {
			*out = b.val
			return true
		}
	}
	var ok bool
	if st.vars != nil {
		if *out, ok = st.vars.Get(name); ok {
			return true
		}
	}
	switch name {
	case "True":
		*out = Bool(true)
	case "False":
		*out = Bool(false)
	case "None":
		*out = Value{}
	default:
		return false
	}
	return true
}

// operand looks a variable up.
func (st *state) operand(o *operand, out *Value) bool {
	if o.loop != 0 {
		for i := len(st.bound) - 1; i >= 0; i-- {
			b := &st.bound[i]
			if b.name == "forloop" {
				if l, ok := b.val.o.(*loopState); ok {
					l.field(o.loop, out)
					return true
				}
				break
			}
		}
	}
	return st.lookup(o.path, out)
}

// lookup follows a dotted path.
func (st *state) lookup(path []string, out *Value) bool {
	if !st.get(path[0], out) {
		return false
	}
	for _, name := range path[1:] {
		var ok bool
		if out.k == kObject {
			var part Value
			if part, ok = out.o.(Object).Get(name); ok {
				*out = part
				continue
			}
		}
		if *out, ok = st.attr(*out, name); !ok {
			return false
		}
	}
	return true
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
	var v Value
	ok := false
	if n.x.bare() {
		ok = st.operand(&n.x.v, &v)
	}
	if !ok {
		var err error
		if v, err = n.x.resolve(st, false); err != nil {
			return err
		}
	}
	switch { // the usual values, in short
	case v.k == kString && (!st.auto || v.f&fSafe != 0), v.k == kInt && v.f&fText != 0:
		st.out = append(st.out, v.s...)
		return nil
	case v.k == kInt && v.f&fBig == 0:
		st.out = strconv.AppendInt(st.out, v.n, 10)
		return nil
	}
	return st.print(v)
}

func (n *varNode) pos() int { return n.at }
