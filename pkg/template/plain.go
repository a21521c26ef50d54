package template

import "strings"

// maxPlain is how many nodes a plain template may have: below, no budget of steps or
// time can be reached.
const maxPlain = 64

// isPlain tells whether a template is only text and variables without filters, which is
// what most leaves of payloads are. Such a template needs no state.
func isPlain(nodes []node) bool {
	if len(nodes) > maxPlain {
		return false
	}
	for _, n := range nodes {
		switch n := n.(type) {
		case *textNode:
		case *varNode:
			if len(n.x.filters) > 0 || n.x.v.path == nil {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// appendPlain renders a plain template as long as everything it meets is simple: objects
// on the way and values that print as their text. If ok is false, nothing was rendered
// and the general way must be taken.
func (t *Template) appendPlain(dst []byte, vars Object) (out []byte, ok bool) {
	out = dst
	parent, of := vars, []string(nil) // the object that the last variable was a part of
	for _, n := range t.nodes {
		switch n := n.(type) {
		case *textNode:
			out = append(out, n.text...)
		case *varNode:
			path := n.x.v.path
			last := len(path) - 1
			if !samePath(of, path[:last]) {
				if parent, ok = followPlain(vars, path[:last]); !ok {
					return dst, false
				}
				of = path[:last]
			}
			v, ok := parent.Get(path[last])
			if !ok || !t.printsAsText(&v) {
				return dst, false
			}
			out = append(out, v.s...)
		}
	}
	return out, len(out)-len(dst) <= t.opt.Limits.Output
}

func followPlain(o Object, path []string) (Object, bool) {
	for _, name := range path {
		v, ok := o.Get(name)
		if !ok || v.k != kObject {
			return nil, false
		}
		o = v.o.(Object)
	}
	return o, true
}

// printsAsText tells whether v prints as v.s without a change.
func (t *Template) printsAsText(v *Value) bool {
	switch v.k {
	case kString:
		return !t.opt.Autoescape || v.f&fSafe != 0
	case kInt:
		return v.f&fText != 0
	case kFloat:
		return v.f&fText != 0 && plainFloat(v.s)
	case kDecimal:
		return len(v.s) <= 200 && canonicalDecimal(v.s)
	case kDateTime, kDate, kTime:
		return v.f&fText != 0 && !t.opt.Django && (!t.opt.Autoescape || !strings.ContainsAny(v.s, `&<>"'`))
	case kJSON:
		return !t.opt.Django && !t.opt.Autoescape
	}
	return false
}
