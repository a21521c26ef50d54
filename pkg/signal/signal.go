// Package signal says what Django would say: which signals a row change raises, and
// for which content type.
package signal

import (
	"fmt"
	"strings"

	"github.com/waltrigger/waltrigger/pkg/change"
)

// Kind is a signal.
type Kind uint8

// Signals, in the order in which they are raised for one change.
const (
	PreSave Kind = iota
	PostSave
	PreDelete
	PostDelete
	Truncate
	Kinds // number of kinds
)

var names = [Kinds]string{"pre_save", "post_save", "pre_delete", "post_delete", "truncate"}

// String gives the name used in the API and in templates.
func (k Kind) String() string { return names[k] }

// Parse finds a kind by its name.
func Parse(name string) (Kind, error) {
	for k, n := range names {
		if n == name {
			return Kind(k), nil
		}
	}
	return 0, fmt.Errorf("%q is not one of %s", name, strings.Join(names[:], ", "))
}

// Set is a set of kinds.
type Set uint8

// Add adds k.
func (s Set) Add(k Kind) Set { return s | 1<<k }

// Has reports whether k is in s.
func (s Set) Has(k Kind) bool { return s&(1<<k) != 0 }

// Intersect gives the kinds in both.
func (s Set) Intersect(o Set) Set { return s & o }

// Of gives the signals that op raises.
func Of(op change.Op) Set {
	switch op {
	case change.Insert, change.Update, change.Read:
		return Set(0).Add(PreSave).Add(PostSave)
	case change.Delete:
		return Set(0).Add(PreDelete).Add(PostDelete)
	case change.Truncate:
		return Set(0).Add(Truncate)
	}
	return 0
}

// ContentType names a table the way Django does.
type ContentType struct {
	Source    string // "" where only one source has it
	AppLabel  string
	ModelName string
}

// String gives app_label.ModelName.
func (c ContentType) String() string { return c.AppLabel + "." + c.ModelName }

// Glob matches a name against a pattern in which * stands for any number of characters.
func Glob(pattern, name string) bool {
	head, tail, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == name
	}
	if !strings.HasPrefix(name, head) {
		return false
	}
	name = name[len(head):]
	for i := 0; i <= len(name); i++ {
		if Glob(tail, name[i:]) {
			return true
		}
	}
	return false
}
