package trigger

import (
	"errors"
	"fmt"
	"slices"

	"github.com/waltrigger/waltrigger/pkg/template"
)

// path checks a path that a template reads, and notes the relations on its way.
func (k *compilation) path(at string, p template.Path) {
	names := p.Names
	if len(names) == 0 {
		return
	}
	if !reserved(names[0]) {
		k.beside(at, p)
		return
	}
	row := names[0] == "instance" || names[0] == "before" || names[0] == "after"
	if k.CheckPath != nil && (row || names[0] == "changed" || names[0] == "key") {
		if err := k.CheckPath(k.t, at, p); err != nil {
			k.unfit(at, err, fmt.Sprintf("line %d, column %d: ", p.Line, p.Column))
			return
		}
	}
	if at == "/condition" {
		k.old(names)
	}
	if !row || len(names) == 1 || names[1] == "*" { // the whole row says itself what it lacks
		return
	}
	add(&k.out.Names, names[1])
	if names[0] != "before" {
		add(&k.out.Instance, names[1])
	}
	if path := names[1:]; len(path) > 1 && !slices.ContainsFunc(k.out.Relations, func(r []string) bool { return slices.Equal(r, path) }) {
		k.out.Relations = append(k.out.Relations, path)
	}
}

// unfit notes what is wrong with a name, of which a *Problem has a code of its own.
func (k *compilation) unfit(at string, err error, place string) {
	p := &Problem{Code: CodeUnknown, Detail: err.Error()}
	errors.As(err, &p)
	k.problem(at, p.Code, errors.New(place+p.Detail))
}

// old notes what the condition reads of the old row.
func (k *compilation) old(names []string) {
	switch {
	case names[0] == "changed", names[0] == "before" && len(names) == 1:
		add(&k.out.Old, "")
	case names[0] == "before":
		add(&k.out.Old, names[1])
	}
}

func add(to *[]string, name string) {
	if !slices.Contains(*to, name) {
		*to = append(*to, name)
	}
}
