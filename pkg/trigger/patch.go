package trigger

import (
	"slices"

	"github.com/waltrigger/waltrigger/pkg/change"
)

// MergePatch applies a JSON merge patch (RFC 7396) to t, and gives the body that Decode
// reads as the outcome. Keys keep their order, new ones follow.
func MergePatch(t *Trigger, patch []byte) ([]byte, []Problem) {
	p, problems := parseJSON(patch)
	if len(problems) > 0 {
		return nil, problems
	}
	if p.kind != kindObject {
		return nil, []Problem{{Code: CodeType, Detail: "is " + p.kind.String() + "; an object is expected"}}
	}
	base, problems := parseJSON(t.JSON())
	if len(problems) > 0 { // a payload at the very bound of size
		return nil, problems
	}
	// A patch may name a field by its synonym, which would otherwise be given twice.
	if slices.ContainsFunc(p.members, func(m member) bool { return m.name == "message_broker_queues" }) {
		base.members = slices.DeleteFunc(base.members, func(m member) bool { return m.name == "msg_broker_queues" })
	}
	merge(base, p)
	return base.append(nil), nil
}

// merge changes base, an object, by patch, an object.
func merge(base, patch *node) {
	for _, m := range patch.members {
		i := slices.IndexFunc(base.members, func(b member) bool { return b.name == m.name })
		if m.value.kind == kindNull {
			if i >= 0 {
				base.members = slices.Delete(base.members, i, i+1)
			}
			continue
		}
		if i < 0 {
			base.members = append(base.members, member{name: m.name})
			i = len(base.members) - 1
		}
		into := &base.members[i].value
		if m.value.kind != kindObject {
			*into = m.value
			continue
		}
		if into.kind != kindObject {
			*into = node{kind: kindObject}
		}
		merge(into, &m.value)
	}
}

// append writes n. Objects are written from their members, which merge changes; all
// else as it was read.
func (n *node) append(dst []byte) []byte {
	if n.kind != kindObject {
		return append(dst, n.raw...)
	}
	dst = append(dst, '{')
	for i := range n.members {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = change.AppendString(dst, n.members[i].name)
		dst = append(dst, ':')
		dst = n.members[i].value.append(dst)
	}
	return append(dst, '}')
}
