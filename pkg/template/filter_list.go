package template

import (
	"math/rand/v2"
	"sort"
	"strings"
)

var listFilters = []filterDef{
	{name: "dictsort", fn: filterDictSort, args: argRequired},
	{name: "dictsortreversed", fn: filterDictSortReversed, args: argRequired},
	{name: "first", fn: filterFirst},
	{name: "join", fn: filterJoin, args: argRequired, safe: true},
	{name: "last", fn: filterLast, safe: true},
	{name: "length", fn: filterLength},
	{name: "random", fn: filterRandom, safe: true},
	{name: "slice", fn: filterSlice, args: argRequired, safe: true},
	{name: "unordered_list", fn: filterUnorderedList, args: argWrong, safe: true},
}

func filterFirst(c *call, in Value) (Value, error) { return itemOrEmpty(c.st.index(in, 0)) }

func filterLast(c *call, in Value) (Value, error) { return itemOrEmpty(c.st.index(in, -1)) }

func itemOrEmpty(v Value, err error) (Value, error) {
	if caught(err, classIndex) {
		return String(""), nil
	}
	return v, err
}

func filterLength(_ *call, in Value) (Value, error) {
	n, _ := length(in)
	return Int(int64(n)), nil
}

func filterRandom(c *call, in Value) (Value, error) {
	n, ok := length(in)
	if !ok {
		return in, fail(classType, "object of type %s has no len()", in.typeName())
	}
	if n == 0 {
		return String(""), nil
	}
	return c.st.index(in, rand.IntN(n)) //nolint:gosec // a random item, no secret
}

func filterJoin(c *call, in Value) (Value, error) {
	if !c.st.auto && !c.arg.isText() {
		return in, fail(classAttribute, "%s has no attribute 'join'", c.arg.typeName())
	}
	items, err := c.st.iterate(in)
	if caught(err, classType) {
		return in, nil
	}
	if err != nil {
		return in, err
	}
	sep := c.arg.s
	if c.st.auto {
		v, err := c.st.conditionalEscape(c.arg)
		if err != nil {
			return in, err
		}
		sep = v.s
	}
	var b strings.Builder
	for i := range items.Len() {
		if i > 0 {
			b.WriteString(sep)
		}
		item := items.At(i).norm()
		if !c.st.auto && !item.isStr() {
			return in, nil // Python's join wants text only
		}
		if c.st.auto {
			if item, err = c.st.conditionalEscape(item); err != nil {
				return in, err
			}
		}
		b.WriteString(item.s)
		if err := c.room(b.Len()); err != nil {
			return in, err
		}
	}
	return Safe(b.String()), nil
}

func filterSlice(c *call, in Value) (Value, error) {
	arg, err := c.st.str(c.arg)
	if err != nil {
		return in, err
	}
	var bounds [3]*int
	parts := strings.Split(arg, ":")
	if len(parts) > 3 {
		return in, nil
	}
	for i, p := range parts {
		if p == "" {
			continue
		}
		n, err := smallInt(String(p))
		if err != nil {
			return in, nil //nolint:nilerr // Django keeps the value
		}
		bounds[i] = &n
	}
	if len(parts) == 1 {
		bounds[1], bounds[0] = bounds[0], nil
	}
	return slicing(in, bounds), nil
}

// slicing is Python's v[start:stop:step]; what cannot be sliced is returned as it is.
func slicing(in Value, bounds [3]*int) Value {
	n, ok := length(in)
	if _, view := in.o.(dictView); !ok || view || in.k == kObject || in.k == kBytes || (bounds[2] != nil && *bounds[2] == 0) {
		return in
	}
	start, stop, step := sliceIndices(bounds, n)
	if in.k == kString {
		return String(sliceText(in.s, start, stop, step, n))
	}
	l := in.o.(List)
	var out []Value
	for i := start; (step > 0 && i < stop) || (step < 0 && i > stop); i += step {
		out = append(out, l.At(i))
	}
	v := listValue(out)
	v.f = in.f & fTuple
	return v
}

func sliceText(s string, start, stop, step, n int) string {
	if n == len(s) && step == 1 { // ASCII
		return s[start:max(stop, start)]
	}
	rs := []rune(s)
	var out []rune
	for i := start; (step > 0 && i < stop) || (step < 0 && i > stop); i += step {
		out = append(out, rs[i])
	}
	return string(out)
}

// sliceIndices is Python's slice.indices.
func sliceIndices(bounds [3]*int, n int) (start, stop, step int) {
	step = 1
	if bounds[2] != nil {
		step = *bounds[2]
	}
	low, high := 0, n
	start, stop = 0, n
	if step < 0 {
		low, high = -1, n-1
		start, stop = n-1, -1
	}
	clamp := func(p *int, def int) int {
		if p == nil {
			return def
		}
		i := *p
		if i < 0 {
			i += n
		}
		return min(max(i, low), high)
	}
	return clamp(bounds[0], start), clamp(bounds[1], stop), step
}

func filterDictSort(c *call, in Value) (Value, error) { return c.dictSort(in, false) }

func filterDictSortReversed(c *call, in Value) (Value, error) { return c.dictSort(in, true) }

func (c *call) dictSort(in Value, reverse bool) (Value, error) {
	out, err := c.sorted(in, reverse)
	if caught(err, classAttribute, classType) {
		return String(""), nil
	}
	return out, err
}

func (c *call) sorted(in Value, reverse bool) (Value, error) {
	key, err := propertyResolver(c.st, c.arg)
	if err != nil {
		return in, err
	}
	items, err := c.st.iterate(in)
	if err != nil {
		return in, err
	}
	out := make([]Value, items.Len())
	keys := make([]Value, items.Len())
	for i := range out {
		out[i] = items.At(i)
		k, err := key(out[i])
		if err != nil {
			return in, err
		}
		keys[i] = k.norm()
	}
	s := &sorter{st: c.st, vals: out, keys: keys, reverse: reverse}
	sort.Stable(s)
	return listValue(out), s.err
}

// sorter sorts by keys and remembers the first comparison that failed.
type sorter struct {
	st         *state
	vals, keys []Value
	reverse    bool
	err        error
}

func (s *sorter) Len() int { return len(s.vals) }

func (s *sorter) Swap(i, j int) {
	s.vals[i], s.vals[j] = s.vals[j], s.vals[i]
	s.keys[i], s.keys[j] = s.keys[j], s.keys[i]
}

func (s *sorter) Less(i, j int) bool {
	if s.err != nil {
		return false
	}
	cmp, ok, err := s.st.compare(s.keys[i], s.keys[j])
	if err != nil {
		s.err = err
		return false
	}
	if s.reverse {
		cmp = -cmp
	}
	return ok && cmp < 0
}

// propertyResolver is what dictsort sorts by: an index, or a dotted path.
func propertyResolver(st *state, arg Value) (func(Value) (Value, error), error) {
	_, err := toFloat(arg)
	if err == nil {
		return func(v Value) (Value, error) { return st.item(v.norm(), arg) }, nil
	}
	if !caught(err, classValue) {
		return nil, err
	}
	if arg.s == "" {
		return nil, fail(classIndex, "string index out of range")
	}
	if strings.HasPrefix(arg.s, "_") || strings.Contains(arg.s, "._") {
		return nil, fail(classAttribute, "access to private variables is forbidden")
	}
	parts := strings.Split(arg.s, ".")
	return func(v Value) (Value, error) {
		for _, part := range parts {
			next, ok := member(st, v, part)
			if !ok {
				return v, fail(classAttribute, "%s has no attribute %q", v.typeName(), part)
			}
			v = next
		}
		return v, nil
	}, nil
}

// member is Python's v[name], else getattr; methods are not called.
func member(st *state, v Value, name string) (Value, bool) {
	if v.k == kObject { // also one that prints as something else
		return v.o.(Object).Get(name)
	}
	if v.k != kJSON {
		v = v.norm()
	}
	switch v.k {
	case kJSON:
		if v.s[0] == '{' {
			return jsonMember(v.s, name)
		}
		return Value{}, false
	case kList:
		if g, ok := v.o.(*group); ok && (name == "grouper" || name == "list") {
			return st.listAttr(Value{k: kList, o: g}, name)
		}
		return Value{}, false
	case kDateTime, kDate, kTime, kDuration:
		switch name {
		case "year", "month", "day", "hour", "minute", "second", "microsecond", "days", "seconds", "microseconds":
			return st.temporalAttr(v, name)
		}
	case kInt, kBool, kFloat:
		switch name {
		case "real", "imag", "numerator", "denominator":
			return st.attr(v, name)
		}
	}
	return Value{}, false
}

// item is Python's v[arg].
func (st *state) item(v, arg Value) (Value, error) {
	switch v.k {
	case kObject:
		d, ok := v.o.(Keyed)
		if !ok {
			break
		}
		if arg.isStr() {
			if r, ok := d.Get(arg.s); ok {
				return r, nil
			}
		}
		return v, fail(classKey, "no such key")
	case kList, kString:
		if arg.k != kInt && arg.k != kBool {
			return v, fail(classType, "indices must be integers, not %s", arg.typeName())
		}
		i, err := smallInt(arg)
		if err != nil {
			return v, err
		}
		return st.index(v, i)
	}
	return v, fail(classType, "%s object is not subscriptable", v.typeName())
}

func filterUnorderedList(c *call, in Value) (Value, error) {
	var b strings.Builder
	err := c.unorderedList(&b, in, 1)
	return Safe(b.String()), err
}

func (c *call) unorderedList(b *strings.Builder, in Value, depth int) error {
	if depth > maxNested {
		return fail(classBudget, "list is nested more than %d deep", maxNested)
	}
	items, err := c.st.iterate(in)
	if err != nil {
		return err
	}
	indent := strings.Repeat("\t", depth)
	for i := 0; i < items.Len(); i++ {
		if err := c.st.spend(1); err != nil {
			return err
		}
		if err := c.room(b.Len()); err != nil {
			return err
		}
		item := items.At(i)
		text, err := c.st.str(item)
		if err != nil {
			return err
		}
		if c.st.auto && !item.safe() {
			text = escape(text).s
		}
		if i > 0 {
			b.WriteString("\n")
		}
		b.WriteString(indent + "<li>" + text)
		if i+1 < items.Len() {
			if sub := items.At(i + 1).norm(); sub.k == kList && !isView(sub) {
				i++
				if sub.o.(List).Len() > 0 {
					b.WriteString("\n" + indent + "<ul>\n")
					if err := c.unorderedList(b, sub, depth+1); err != nil {
						return err
					}
					b.WriteString("\n" + indent + "</ul>\n" + indent)
				}
			}
		}
		b.WriteString("</li>")
	}
	return nil
}

func isView(v Value) bool {
	_, ok := v.o.(dictView)
	return ok
}
