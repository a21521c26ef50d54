package template

import (
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Path is a dotted path that a template can read while it is rendered.
type Path struct {
	// Names are the steps: instance, customer, name. A variable of a loop or a with
	// block is replaced by what it stands for; "*" is any item of a list.
	Names []string
	// Line and Column are where it is first read, counted from 1.
	Line, Column int
	// Bound is set if the value was only given another name (by with, for, regroup or a
	// filter's list): everything read through that name is listed by itself.
	Bound bool
}

// Paths lists every path that the template can read from its variables, each once. What
// the template itself defines (forloop, the result of a cycle) is not listed.
func (t *Template) Paths() []Path {
	a := analysis{src: t.src}
	a.nodes(t.nodes)
	return a.result()
}

// Paths lists every path that the condition can read.
func (c *Condition) Paths() []Path {
	a := analysis{src: c.src}
	a.cond(c.cond)
	return a.result()
}

// alias is what a name set by a tag stands for: a path, or a value made by the template
// (own). maybe: the tag may not have run, so that the caller's variable may show.
type alias struct {
	name  string
	path  []string
	own   bool
	maybe bool
}

type analysis struct {
	src   string
	scope []alias
	start []int // frames
	found []foundPath
	index map[string]int // of found, by the joined path
	group []grouping
}

// grouping is a regroup tag: what it groups, and by what of an item.
type grouping struct{ items, by [][]string }

type foundPath struct {
	Path
	at int // offset in the source
}

func (a *analysis) result() []Path {
	sort.SliceStable(a.found, func(i, j int) bool { return a.found[i].at < a.found[j].at })
	out := make([]Path, len(a.found))
	line, column, seen := 1, 1, 0 // of the place looked at last
	for i, f := range a.found {
		for ; seen < f.at; seen++ {
			switch c := a.src[seen]; {
			case c == '\n':
				line, column = line+1, 1
			case utf8.RuneStart(c):
				column++
			}
		}
		out[i] = f.Path
		out[i].Line, out[i].Column = line, column
	}
	return out
}

func (a *analysis) add(path []string, at int, bound bool) {
	key := strings.Join(path, "\x00")
	if i, ok := a.index[key]; ok {
		a.found[i].Bound = a.found[i].Bound && bound
		return
	}
	if a.index == nil {
		a.index = make(map[string]int)
	}
	a.index[key] = len(a.found)
	a.found = append(a.found, foundPath{Path{Names: append([]string(nil), path...), Bound: bound}, at})
}

// readWhole notes that a path that was found is more than bound.
func (a *analysis) readWhole(path []string) {
	if i, ok := a.index[strings.Join(path, "\x00")]; ok {
		a.found[i].Bound = false
	}
}

func samePath(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// resolve gives the paths in the caller's variables that a written path can mean.
func (a *analysis) resolve(path []string) [][]string {
	var out [][]string
	for i := len(a.scope) - 1; i >= 0; i-- {
		al := a.scope[i]
		if al.name != path[0] {
			continue
		}
		if !al.own {
			out = append(out, a.regrouped(append(append([]string(nil), al.path...), path[1:]...))...)
		}
		if !al.maybe {
			return out
		}
	}
	if len(path) == 1 && (path[0] == "True" || path[0] == "False" || path[0] == "None") {
		return out
	}
	return append(out, path)
}

// read notes what an operand reads and returns the paths it stands for.
func (a *analysis) read(o *operand, bound bool) [][]string {
	if o.path == nil {
		return nil
	}
	paths := a.resolve(o.path)
	for _, p := range paths {
		if !strings.HasPrefix(p[0], groupMark) {
			a.add(p, o.at, bound)
		}
	}
	return paths
}

// expr notes what an expression reads. keep says that the value is given a name, so
// that a bare path is only bound; the paths that the name then stands for are returned.
func (a *analysis) expr(x *expr, keep bool) [][]string {
	transparent := true
	for i := range x.filters {
		switch x.filters[i].def.name {
		case "dictsort", "dictsortreversed", "slice", "first", "last", "random":
		default:
			transparent = false
		}
	}
	paths := a.read(&x.v, keep && transparent)
	for i := range x.filters {
		paths = a.filtered(&x.filters[i], paths, keep)
	}
	return paths
}

// filtered notes what a filter reads and gives the paths that its result stands for.
func (a *analysis) filtered(f *filterCall, paths [][]string, keep bool) [][]string {
	name := f.def.name
	either := name == "default" || name == "default_if_none" || name == "add"
	var arg [][]string
	if f.hasArg {
		arg = a.read(&f.arg, keep && either)
	}
	switch {
	case either:
		return append(paths, arg...)
	case name == "slice":
		return paths
	case name == "first" || name == "last" || name == "random":
		return each(paths)
	case name == "dictsort" || name == "dictsortreversed":
		if f.arg.path == nil && f.arg.lit.isText() && f.arg.lit.s != "" {
			for _, p := range each(paths) {
				a.add(append(p, strings.Split(f.arg.lit.s, ".")...), f.arg.at, false)
			}
		}
		return paths
	}
	return nil
}

// each gives the paths of the items of what paths stand for.
func each(paths [][]string) [][]string {
	var out [][]string
	for _, p := range paths {
		out = append(out, append(append([]string(nil), p...), "*"))
	}
	return out
}

func (a *analysis) cond(c cond) {
	switch c := c.(type) {
	case *leaf:
		a.expr(c.x, false)
	case *negation:
		a.cond(c.x)
	case *binary:
		a.cond(c.left)
		a.cond(c.right)
	}
}

func (a *analysis) push() { a.start = append(a.start, len(a.scope)) }

func (a *analysis) pop() {
	a.scope = a.scope[:a.start[len(a.start)-1]]
	a.start = a.start[:len(a.start)-1]
}

// bind gives a name to the paths of a value; several paths are all possible.
func (a *analysis) bind(name string, paths [][]string, step ...string) {
	if len(paths) == 0 {
		a.scope = append(a.scope, alias{name: name, own: true})
		return
	}
	for i, p := range paths {
		path := append(append([]string(nil), p...), step...)
		a.scope = append(a.scope, alias{name: name, path: path, maybe: i > 0})
	}
}

func (a *analysis) nodes(nodes []node) {
	for _, n := range nodes {
		a.node(n)
	}
}

// optional analyses nodes that may not run: what they bind is uncertain afterwards.
func (a *analysis) optional(nodes []node) {
	before := len(a.scope)
	a.nodes(nodes)
	for i := before; i < len(a.scope); i++ {
		a.scope[i].maybe = true
	}
}

func (a *analysis) node(n node) {
	switch n := n.(type) {
	case *varNode:
		a.expr(n.x, false)
	case *ifNode:
		for _, b := range n.branches {
			if b.cond != nil {
				a.cond(b.cond)
			}
			a.optional(b.body)
		}
	case *forNode:
		a.loop(n)
	case *ifChangedNode:
		for _, x := range n.exprs {
			a.expr(x, false)
		}
		a.optional(n.body)
		a.optional(n.els)
	case *cycleNode:
		var paths [][]string
		for _, x := range n.exprs {
			paths = append(paths, a.expr(x, false)...)
		}
		if n.name != "" {
			a.bind(n.name, paths)
		}
	case *autoescapeNode:
		a.nodes(n.body)
	case *spacelessNode:
		a.nodes(n.body)
	case *filterNode:
		a.nodes(n.body)
		a.push()
		a.bind(filterVar, nil)
		a.expr(n.x, false)
		a.pop()
	case *withNode:
		a.with(n)
	default:
		a.valueTag(n)
	}
}

func (a *analysis) valueTag(n node) {
	switch n := n.(type) {
	case *firstOfNode:
		for _, x := range n.exprs {
			a.expr(x, false)
		}
		a.bindResult(n.name)
	case *nowNode:
		a.bindResult(n.name)
	case *widthRatioNode:
		a.expr(n.value, false)
		a.expr(n.limit, false)
		a.expr(n.width, false)
		a.bindResult(n.name)
	case *loremNode:
		a.expr(n.count, false)
	case *regroupNode:
		paths := a.expr(n.target, true)
		for _, p := range paths {
			a.readWhole(p)
		}
		a.bind(n.name, paths, "*")
		by := a.expr(n.key, true)
		for _, p := range by {
			a.readWhole(p)
		}
		a.group = append(a.group, grouping{paths, by})
		a.bind(n.name, [][]string{{groupMark + strconv.Itoa(len(a.group)-1)}})
	}
}

// groupMark begins the path of what regroup made; the number of the grouping follows.
const groupMark = "\x00"

// regrouped replaces the path of a part of what regroup made by what that stands for: the
// list of a group has items of what was grouped, its grouper is what they were grouped
// by. The groups themselves are the template's own.
func (a *analysis) regrouped(path []string) [][]string {
	n, ok := strings.CutPrefix(path[0], groupMark)
	if !ok || len(path) < 3 {
		return [][]string{path}
	}
	i, _ := strconv.Atoi(n)
	g, from := a.group[i], [][]string(nil)
	switch path[2] {
	case "grouper", "0":
		from = g.by
	case "list", "1":
		from = g.items
	}
	var out [][]string
	for _, p := range from {
		out = append(out, append(append([]string(nil), p...), path[3:]...))
	}
	return out
}

func (a *analysis) bindResult(name string) {
	if name != "" {
		a.bind(name, nil)
	}
}

func (a *analysis) with(n *withNode) {
	var paths [][][]string
	for _, x := range n.exprs {
		paths = append(paths, a.expr(x, true))
	}
	a.push()
	for i, name := range n.names {
		a.bind(name, paths[i])
	}
	a.nodes(n.body)
	a.pop()
}

func (a *analysis) loop(n *forNode) {
	paths := a.expr(n.seq, true)
	a.push()
	a.bind("forloop", nil)
	items := a.items(paths)
	for i, name := range n.names {
		if len(n.names) == 2 && len(items) == 1 && strings.HasPrefix(items[0][0], groupMark) {
			a.bind(name, items, "*", strconv.Itoa(i)) // grouper and list
			continue
		}
		a.bind(name, items, "*")
	}
	a.optional(n.body)
	a.pop()
	a.push()
	a.nodes(n.empty)
	a.pop()
}

// items drops the .items of a dict: its values are the dict's.
func (a *analysis) items(paths [][]string) [][]string {
	var out [][]string
	for _, p := range paths {
		if len(p) > 1 && p[len(p)-1] == "items" {
			p = p[:len(p)-1]
			// Looping over a dict's items reads all of it.
			a.readWhole(append(append([]string(nil), p...), "items"))
		}
		out = append(out, p)
	}
	return out
}
