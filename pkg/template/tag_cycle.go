package template

// cycleNode is {% cycle %}; {% cycle name %} is the same node again.
type cycleNode struct {
	exprs    []*expr
	name     string
	silent   bool
	slot, at int
}

func parseCycle(p *parser, t token) (node, error) {
	args, err := p.split(t)
	if err != nil {
		return nil, err
	}
	switch len(args) {
	case 1:
		return nil, errAt(t.pos, "'cycle' needs at least one argument")
	case 2:
		n, ok := p.cycles[args[1].s]
		if !ok {
			return nil, errAt(args[1].at, "named cycle %q does not exist", args[1].s)
		}
		return n, nil
	}
	n := &cycleNode{at: t.pos}
	values := args[1:]
	if size := len(args); size > 4 {
		switch {
		case args[size-3].s == "as":
			if args[size-1].s != "silent" {
				return nil, errAt(args[size-1].at, "only 'silent' is allowed after the cycle's name, not %q", args[size-1].s)
			}
			n.name, n.silent, values = args[size-2].s, true, args[1:size-3]
		case args[size-2].s == "as":
			n.name, values = args[size-1].s, args[1:size-2]
		}
	}
	if n.exprs, err = p.exprs(values); err != nil {
		return nil, err
	}
	n.slot = p.slots
	p.slots++
	if n.name != "" {
		if p.cycles == nil {
			p.cycles = make(map[string]*cycleNode)
		}
		p.cycles[n.name] = n
	}
	p.last = n
	return n, nil
}

func (n *cycleNode) pos() int { return n.at }

func (n *cycleNode) render(st *state) error {
	x := n.exprs[st.cycles[n.slot]]
	st.cycles[n.slot] = (st.cycles[n.slot] + 1) % len(n.exprs)
	v, err := x.resolve(st, false)
	if err != nil {
		return err
	}
	if n.name != "" {
		st.setUpward(n.name, v)
	}
	if n.silent {
		return nil
	}
	return st.print(v)
}

type resetCycleNode struct {
	cycle *cycleNode
	at    int
}

func parseResetCycle(p *parser, t token) (node, error) {
	args, err := p.split(t)
	if err != nil {
		return nil, err
	}
	n := &resetCycleNode{cycle: p.last, at: t.pos}
	switch {
	case len(args) > 2:
		return nil, errAt(t.pos, "'resetcycle' accepts at most one argument")
	case len(args) == 2:
		n.cycle = p.cycles[args[1].s]
		if n.cycle == nil {
			return nil, errAt(args[1].at, "named cycle %q does not exist", args[1].s)
		}
	case p.last == nil:
		return nil, errAt(t.pos, "no cycles in template")
	}
	return n, nil
}

func (n *resetCycleNode) pos() int { return n.at }

func (n *resetCycleNode) render(st *state) error {
	st.cycles[n.cycle.slot] = 0
	return nil
}
