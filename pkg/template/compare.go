package template

import (
	"strings"
	"unsafe"
)

// truth is Python's bool().
func (st *state) truth(v Value) (bool, error) {
	switch v.k {
	case kNone:
		return false, nil
	case kBool:
		return v.n != 0, nil
	case kString, kBytes:
		return v.s != "", nil
	}
	v = v.norm()
	switch v.k {
	case kInt:
		return v.f&fBig != 0 || v.n != 0, nil
	case kFloat:
		return v.float() != 0, nil
	case kDecimal:
		d, err := parseDecimal(v.s)
		return err != nil || d.special != 0 || d.coef.Sign() != 0, nil
	case kDuration:
		return v.n != 0, nil
	case kList:
		return v.o.(List).Len() > 0, nil
	case kObject:
		if k, ok := v.o.(Keyed); ok {
			return len(k.Keys()) > 0, nil
		}
		return true, nil
	case kString, kBytes, kBool, kNone:
		return st.truth(v)
	}
	return true, nil
}

// identical is Python's `is`: None, booleans and small integers are themselves; other
// things are identical if they are the same thing in memory.
func identical(x, y Value) bool {
	x, y = identity(x), identity(y)
	if x.k != y.k {
		return false
	}
	switch x.k {
	case kNone:
		return true
	case kBool:
		return x.n == y.n
	case kInt:
		return x.f&fBig == 0 && y.f&fBig == 0 && x.n == y.n && x.n >= -5 && x.n <= 256
	case kString, kDecimal, kJSON, kBytes:
		return len(x.s) == len(y.s) && unsafe.StringData(x.s) == unsafe.StringData(y.s) && x.f == y.f
	case kList:
		a, aok := x.o.(slice)
		b, bok := y.o.(slice)
		if aok || bok {
			return aok && bok && len(a) == len(b) && len(a) > 0 && &a[0] == &b[0]
		}
		return comparable(x.o) && comparable(y.o) && x.o == y.o
	case kObject:
		return comparable(x.o) && comparable(y.o) && x.o == y.o
	}
	return x.n == y.n && x.off == y.off
}

// identity normalises scalars but leaves what has an address alone.
func identity(v Value) Value {
	if v.k == kJSON || v.k == kObject {
		return v
	}
	return v.norm()
}

// comparable guards == on interfaces, which panics for types like slices.
func comparable(o any) (ok bool) {
	defer func() { _ = recover() }()
	return o == o
}

// equal is Python's == of normalised values.
func (st *state) equal(x, y Value) (bool, error) {
	if err := st.spend(1); err != nil {
		return false, err
	}
	if isNumber(x) && isNumber(y) {
		c, ok, err := compareNumbers(x, y, true)
		return ok && c == 0, err
	}
	if x.k != y.k {
		return false, nil
	}
	switch x.k {
	case kNone:
		return true, nil
	case kString, kBytes:
		return x.s == y.s, nil
	case kDateTime, kTime:
		c, ok := compareTemporal(x, y)
		return ok && c == 0, nil
	case kDate, kDuration:
		return x.n == y.n, nil
	case kList:
		return st.equalLists(x, y)
	case kObject:
		return st.equalObjects(x, y)
	}
	return false, nil
}

func (st *state) equalLists(x, y Value) (bool, error) {
	a, b := x.o.(List), y.o.(List)
	av, aview := a.(dictView)
	bv, bview := b.(dictView)
	if aview != bview || x.f&fTuple != y.f&fTuple {
		return false, nil
	}
	if aview && (av.what == "values" || av.what != bv.what) {
		return false, nil
	}
	if a.Len() != b.Len() {
		return false, nil
	}
	if st.nested++; st.nested > maxNested {
		return false, fail(classBudget, "value is nested more than %d deep", maxNested)
	}
	defer func() { st.nested-- }()
	for i := range a.Len() {
		same := identical(a.At(i), b.At(i))
		var err error
		if !same {
			if aview {
				same, err = st.contains(y, a.At(i).norm())
			} else {
				same, err = st.equal(a.At(i).norm(), b.At(i).norm())
			}
		}
		if err != nil || !same {
			return false, err
		}
	}
	return true, nil
}

func (st *state) equalObjects(x, y Value) (bool, error) {
	if comparable(x.o) && comparable(y.o) && x.o == y.o {
		return true, nil
	}
	a, aok := x.o.(Keyed)
	b, bok := y.o.(Keyed)
	if !aok || !bok || len(a.Keys()) != len(b.Keys()) {
		return false, nil
	}
	if st.nested++; st.nested > maxNested {
		return false, fail(classBudget, "value is nested more than %d deep", maxNested)
	}
	defer func() { st.nested-- }()
	for _, k := range a.Keys() {
		p, _ := a.Get(k)
		q, ok := b.Get(k)
		if !ok {
			return false, nil
		}
		same, err := st.equal(p.norm(), q.norm())
		if err != nil || !same {
			return false, err
		}
	}
	return true, nil
}

// ordered is Python's < <= > >= of normalised values.
func (st *state) ordered(op operator, x, y Value) (bool, error) {
	c, ok, err := st.compare(x, y)
	if err != nil || !ok {
		return false, err
	}
	switch op {
	case opLt:
		return c < 0, nil
	case opLe:
		return c <= 0, nil
	case opGt:
		return c > 0, nil
	}
	return c >= 0, nil
}

// compare orders two values; ok is false for a NaN, and what Python cannot order is a
// TypeError.
func (st *state) compare(x, y Value) (c int, ok bool, err error) {
	if err := st.spend(1); err != nil {
		return 0, false, err
	}
	if isNumber(x) && isNumber(y) {
		return compareNumbers(x, y, false)
	}
	if x.k == y.k {
		switch x.k {
		case kString, kBytes:
			return strings.Compare(x.s, y.s), true, nil
		case kDateTime, kTime:
			if c, ok := compareTemporal(x, y); ok {
				return c, true, nil
			}
			return 0, false, fail(classType, "can't compare offset-naive and offset-aware datetimes")
		case kDate, kDuration:
			return sign(x.n - y.n), true, nil
		case kList:
			return st.compareLists(x, y)
		}
	}
	return 0, false, fail(classType, "'<' not supported between instances of %s and %s", x.typeName(), y.typeName())
}

func (st *state) compareLists(x, y Value) (c int, ok bool, err error) {
	a, b := x.o.(List), y.o.(List)
	_, aview := a.(dictView)
	_, bview := b.(dictView)
	if aview || bview || x.f&fTuple != y.f&fTuple {
		return 0, false, fail(classType, "'<' not supported between these values")
	}
	if st.nested++; st.nested > maxNested {
		return 0, false, fail(classBudget, "value is nested more than %d deep", maxNested)
	}
	defer func() { st.nested-- }()
	for i := range min(a.Len(), b.Len()) {
		p, q := a.At(i).norm(), b.At(i).norm()
		if identical(p, q) {
			continue
		}
		same, err := st.equal(p, q)
		if err != nil {
			return 0, false, err
		}
		if !same {
			return st.compare(p, q)
		}
	}
	return sign(int64(a.Len() - b.Len())), true, nil
}

func sign(n int64) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}

// contains is Python's `item in container` of normalised values.
func (st *state) contains(container, item Value) (bool, error) {
	switch container.k {
	case kString:
		if !item.isText() || (!item.isStr() && container.isStr()) {
			return false, fail(classType, "'in <string>' requires string as left operand, not %s", item.typeName())
		}
		return strings.Contains(container.s, item.s), nil
	case kObject:
		if d, ok := container.o.(Keyed); ok {
			return st.hasKey(d, item)
		}
	case kList:
		l := container.o.(List)
		if view, ok := l.(dictView); ok && view.what == "keys" {
			return st.hasKey(view.d, item)
		}
		for i := range l.Len() {
			at := l.At(i)
			if identical(at, item) {
				return true, nil
			}
			same, err := st.equal(at.norm(), item)
			if err != nil || same {
				return same, err
			}
		}
		return false, nil
	}
	return false, fail(classType, "argument of type %s is not iterable", container.typeName())
}

func (st *state) hasKey(d Keyed, item Value) (bool, error) {
	if item.k == kObject || (item.k == kList && item.f&fTuple == 0) {
		return false, fail(classType, "unhashable type: %s", item.typeName())
	}
	if item.k != kString {
		return false, nil
	}
	for _, k := range d.Keys() {
		if k == item.s {
			return true, nil
		}
	}
	return false, nil
}

// iterate returns what Python's iter() would give; a str gives its characters and a
// dict its keys.
func (st *state) iterate(v Value) (List, error) {
	v = v.norm()
	switch v.k {
	case kList:
		return v.o.(List), nil
	case kString:
		if err := st.spend(len(v.s) >> 6); err != nil {
			return nil, err
		}
		return characters(v.s), nil
	case kObject:
		if d, ok := v.o.(Keyed); ok {
			return dictView{d, "keys", d.Keys()}, nil
		}
	}
	return nil, fail(classType, "%s object is not iterable", v.typeName())
}

func characters(s string) slice {
	out := make(slice, 0, len(s))
	for i, r := range s {
		_ = r
		c, _ := runeAt(s[i:], 0)
		out = append(out, String(c))
	}
	return out
}

// length is Python's len(); ok is false where there is none.
func length(v Value) (n int, ok bool) {
	v = v.norm()
	switch v.k {
	case kString:
		return runeLen(v.s), true
	case kBytes:
		return len(v.s), true
	case kList:
		return v.o.(List).Len(), true
	case kObject:
		if d, ok := v.o.(Keyed); ok {
			return len(d.Keys()), true
		}
	}
	return 0, false
}

// index is Python's v[i] for an int i, negative from the end.
func (st *state) index(v Value, i int) (Value, error) {
	v = v.norm()
	switch v.k {
	case kString:
		c, ok := runeAt(v.s, i)
		if !ok {
			return v, fail(classIndex, "string index out of range")
		}
		return String(c), nil
	case kList:
		l := v.o.(List)
		if _, ok := l.(dictView); ok {
			break
		}
		if i < 0 {
			i += l.Len()
		}
		if i < 0 || i >= l.Len() {
			return v, fail(classIndex, "list index out of range")
		}
		return l.At(i), nil
	case kObject:
		if _, ok := v.o.(Keyed); ok {
			return v, fail(classKey, "%d", i)
		}
	}
	return v, fail(classType, "%s object is not subscriptable", v.typeName())
}
