package template

import (
	"sort"
	"strings"
)

// pprintWidth is the line length of Python's pprint.
const pprintWidth = 80

// filterPPrint is Python's pprint.pformat.
func filterPPrint(c *call, in Value) (Value, error) {
	p := pretty{st: c.st}
	err := p.format(in, 0, 0, 0)
	return String(p.b.String()), err
}

type pretty struct {
	st *state
	b  strings.Builder
}

// repr is pprint's own repr: like Python's, with the keys of dicts sorted.
func (p *pretty) repr(v Value, depth int) (string, error) {
	if depth > maxNested {
		return "", fail(classBudget, "value is nested more than %d deep", maxNested)
	}
	v = v.norm()
	_, named := v.o.(*group)
	switch {
	case v.k == kObject:
		d, ok := v.o.(Keyed)
		if !ok {
			break
		}
		parts := []string{}
		for _, k := range sortedKeys(d) {
			item, _ := d.Get(k)
			s, err := p.repr(item, depth+1)
			if err != nil {
				return "", err
			}
			parts = append(parts, string(appendQuoted(nil, k))+": "+s)
		}
		return "{" + strings.Join(parts, ", ") + "}", nil
	case v.k == kList && !isView(v) && !named:
		parts := []string{}
		l := v.o.(List)
		for i := range l.Len() {
			s, err := p.repr(l.At(i), depth+1)
			if err != nil {
				return "", err
			}
			parts = append(parts, s)
		}
		joined := strings.Join(parts, ", ")
		switch {
		case v.f&fTuple == 0:
			return "[" + joined + "]", nil
		case len(parts) == 1:
			return "(" + joined + ",)", nil
		}
		return "(" + joined + ")", nil
	}
	b, err := p.st.appendRepr(nil, v)
	return string(b), err
}

func sortedKeys(d Keyed) []string {
	keys := append([]string(nil), d.Keys()...)
	sort.Strings(keys)
	return keys
}

// format writes v; it breaks what does not fit between indent and the line's end,
// of which allowance is needed for what follows.
func (p *pretty) format(v Value, indent, allowance, level int) error {
	if p.b.Len() > p.st.opt.Limits.Output {
		return fail(classBudget, "value over %d bytes", p.st.opt.Limits.Output)
	}
	v = v.norm()
	rep, err := p.repr(v, 0)
	if err != nil {
		return err
	}
	if err := p.st.spend(1 + len(rep)>>6); err != nil {
		return err
	}
	if runeLen(rep) <= pprintWidth-indent-allowance {
		p.b.WriteString(rep)
		return nil
	}
	switch v.k {
	case kString:
		p.text(v.s, rep, indent, allowance, level+1)
		return nil
	case kObject:
		if d, ok := v.o.(Keyed); ok {
			return p.dict(d, indent, allowance+1, level+1)
		}
	case kList:
		if _, named := v.o.(*group); !named && !isView(v) {
			return p.list(v, indent, allowance, level+1)
		}
	}
	p.b.WriteString(rep)
	return nil
}

func (p *pretty) newline(indent int) {
	p.b.WriteString(",\n" + strings.Repeat(" ", indent))
}

func (p *pretty) dict(d Keyed, indent, allowance, level int) error {
	p.b.WriteByte('{')
	keys := sortedKeys(d)
	for i, k := range keys {
		if i > 0 {
			p.newline(indent + 1)
		}
		rep := string(appendQuoted(nil, k))
		p.b.WriteString(rep + ": ")
		item, _ := d.Get(k)
		rest := 1
		if i == len(keys)-1 {
			rest = allowance
		}
		if err := p.format(item, indent+1+runeLen(rep)+2, rest, level); err != nil {
			return err
		}
	}
	p.b.WriteByte('}')
	return nil
}

func (p *pretty) list(v Value, indent, allowance, level int) error {
	l := v.o.(List)
	opening, closing := "[", "]"
	if v.f&fTuple != 0 {
		opening, closing = "(", ")"
		if l.Len() == 1 {
			closing = ",)"
		}
	}
	p.b.WriteString(opening)
	for i := range l.Len() {
		if i > 0 {
			p.newline(indent + 1)
		}
		rest := 1
		if i == l.Len()-1 {
			rest = allowance + len(closing)
		}
		if err := p.format(l.At(i), indent+1, rest, level); err != nil {
			return err
		}
	}
	p.b.WriteString(closing)
	return nil
}

// text writes a str as several literals, broken at line ends and between words.
func (p *pretty) text(s, rep string, indent, allowance, level int) {
	if level == 1 {
		indent++
		allowance++
	}
	chunks, last := textChunks(s, pprintWidth-indent, allowance)
	if len(chunks) == 1 {
		p.b.WriteString(last)
		return
	}
	if level == 1 {
		p.b.WriteByte('(')
	}
	p.b.WriteString(strings.Join(chunks, "\n"+strings.Repeat(" ", indent)))
	if level == 1 {
		p.b.WriteByte(')')
	}
}

// textChunks returns the literals, and the repr of the last line.
func textChunks(s string, width, allowance int) (chunks []string, rep string) {
	quoted := func(s string) string { return string(appendQuoted(nil, s)) }
	lines := splitLines(s, true)
	first := width
	for i, line := range lines {
		lastLine := i == len(lines)-1
		rep = quoted(line)
		if lastLine {
			first -= allowance
		}
		if runeLen(rep) <= first {
			chunks = append(chunks, rep)
			continue
		}
		parts := wordsWithSpace(line)
		limit := width
		current := ""
		for j, part := range parts {
			if lastLine && j == len(parts)-1 {
				limit -= allowance
			}
			if runeLen(quoted(current+part)) > limit {
				if current != "" {
					chunks = append(chunks, quoted(current))
				}
				current = part
			} else {
				current += part
			}
		}
		if current != "" {
			chunks = append(chunks, quoted(current))
		}
	}
	return chunks, rep
}

// wordsWithSpace splits into words, each with the white space behind it.
func wordsWithSpace(s string) []string {
	var out []string
	start, space := 0, false
	for i, r := range s {
		if sp := isSpace(r); space && !sp {
			out = append(out, s[start:i])
			start, space = i, false
		} else {
			space = sp
		}
	}
	return append(out, s[start:])
}
