package template

import (
	"errors"
	"fmt"
	"strings"
)

// parser builds the tree. Tags read their own content and their blocks.
type parser struct {
	src    string
	opt    Options
	lex    lexer
	queued *token
	depth  int
	slots  int
	cycles map[string]*cycleNode
	last   *cycleNode // the last {% cycle %}, for {% resetcycle %}
}

// parseError is a SyntaxError whose place still is an offset.
type parseError struct {
	at  int
	msg string
}

func (e *parseError) Error() string { return e.msg }

func errAt(at int, format string, args ...any) error {
	return &parseError{at, fmt.Sprintf(format, args...)}
}

func newParser(src string, opt Options) (*parser, error) {
	if len(src) > opt.Limits.Source {
		return nil, &SyntaxError{1, 1, fmt.Sprintf("template is longer than %d bytes", opt.Limits.Source)}
	}
	return &parser{src: src, opt: opt, lex: newLexer(src)}, nil
}

func (p *parser) syntaxError(err error) error {
	var pe *parseError
	if !errors.As(err, &pe) {
		return &SyntaxError{1, 1, err.Error()}
	}
	line, col := lineColumn(p.src, pe.at)
	return &SyntaxError{line, col, pe.msg}
}

func (p *parser) nextToken() (token, bool) {
	if p.queued != nil {
		t := *p.queued
		p.queued = nil
		return t, true
	}
	return p.lex.next()
}

// parse reads the whole template.
func (p *parser) parse() ([]node, error) {
	nodes, _, err := p.block(token{}, nil)
	return nodes, err
}

// block reads nodes until one of the tags in until, which it returns. owner is the tag
// that is to be closed.
func (p *parser) block(owner token, until []string) ([]node, token, error) {
	if p.depth++; p.depth > p.opt.Limits.Depth {
		return nil, token{}, errAt(owner.pos, "tags are nested more than %d deep", p.opt.Limits.Depth)
	}
	defer func() { p.depth-- }()
	var nodes []node
	for {
		t, ok := p.nextToken()
		if !ok {
			break
		}
		switch t.kind {
		case tokText:
			nodes = append(nodes, &textNode{t.text})
		case tokVar:
			if t.text == "" {
				return nil, t, errAt(t.pos, "empty variable tag")
			}
			x, err := p.compileExpr(t.text, t.at)
			if err != nil {
				return nil, t, err
			}
			nodes = append(nodes, &varNode{x: x, at: t.pos})
		case tokBlock:
			if t.text == "" {
				return nil, t, errAt(t.pos, "empty block tag")
			}
			command := fields(t.text)[0]
			for _, u := range until {
				if u == command {
					return nodes, t, nil
				}
			}
			n, err := p.tag(t, command, until)
			if err != nil {
				return nil, t, err
			}
			nodes = append(nodes, n)
		}
	}
	if until != nil {
		return nil, token{}, errAt(owner.pos, "unclosed tag %q: looking for %s", fields(owner.text)[0], strings.Join(until, ", "))
	}
	return nodes, token{}, nil
}

// compileTag is what compiles one kind of tag.
type compileTag func(p *parser, t token) (node, error)

// tagTable lists the tags.
func tagTable(name string) compileTag {
	switch name {
	case "autoescape":
		return parseAutoescape
	case "comment":
		return parseComment
	case "cycle":
		return parseCycle
	case "filter":
		return parseFilterTag
	case "firstof":
		return parseFirstOf
	case "for":
		return parseFor
	case "if":
		return parseIf
	case "ifchanged":
		return parseIfChanged
	case "lorem":
		return parseLorem
	case "now":
		return parseNow
	case "regroup":
		return parseRegroup
	case "resetcycle":
		return parseResetCycle
	case "spaceless":
		return parseSpaceless
	case "templatetag":
		return parseTemplateTag
	case "verbatim":
		return parseVerbatim
	case "widthratio":
		return parseWidthRatio
	case "with":
		return parseWith
	}
	return nil
}

// refused tells why a tag of Django's is not available here.
func refused(name string) string {
	switch name {
	case "load", "include", "extends", "block", "csrf_token", "url", "static", "debug", "querystring",
		"trans", "translate", "blocktrans", "blocktranslate", "cache", "localize", "localtime", "timezone":
		return "tag %q is not available: templates cannot load, include or reach a server"
	}
	return "unknown tag %q"
}

func (p *parser) tag(t token, command string, until []string) (node, error) {
	compile := tagTable(command)
	if compile == nil {
		if len(until) > 0 {
			return nil, errAt(t.pos, refused(command)+"; expected %s", command, strings.Join(until, ", "))
		}
		return nil, errAt(t.pos, refused(command), command)
	}
	return compile(p, t)
}

// skipPast reads until the tag that is exactly end.
func (p *parser) skipPast(owner token, end string) error {
	for {
		t, ok := p.nextToken()
		if !ok {
			return errAt(owner.pos, "unclosed tag %q: looking for %s", fields(owner.text)[0], end)
		}
		if t.kind == tokBlock && t.text == end {
			return nil
		}
	}
}

// split returns the words of a tag, its name first.
func (p *parser) split(t token) ([]bit, error) { return splitContents(t.text, t.at) }

// exprs compiles words.
func (p *parser) exprs(bits []bit) ([]*expr, error) {
	out := make([]*expr, 0, len(bits))
	for _, b := range bits {
		x, err := p.compileExpr(b.s, b.at)
		if err != nil {
			return nil, err
		}
		out = append(out, x)
	}
	return out, nil
}
