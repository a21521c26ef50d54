package template

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// ErrBudget is what a RenderError wraps when the template used up one of its Limits.
var ErrBudget = errors.New("template budget exhausted")

// SyntaxError says that a template does not parse. Line and Column (in characters)
// count from 1 and name the tag, or the part of it, that is wrong.
type SyntaxError struct {
	Line, Column int
	Msg          string
}

// Error implements error.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Msg)
}

// RenderError says that a template parsed but could not be rendered with this data.
type RenderError struct {
	Line, Column int
	Class        string // Python's exception, as TypeError; "Budget" for Limits
	Msg          string
	cause        error // of a Failer
}

// Error implements error.
func (e *RenderError) Error() string {
	if e.Class == classBudget { // says it all
		return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Msg)
	}
	return fmt.Sprintf("line %d, column %d: %s: %s", e.Line, e.Column, e.Class, e.Msg)
}

// Unwrap returns ErrBudget if a limit was exceeded, and what a Failer said.
func (e *RenderError) Unwrap() error {
	if e.Class == classBudget {
		return ErrBudget
	}
	return e.cause
}

// Classes of failures: the exceptions that Django's code tells apart.
const (
	classType      = "TypeError"
	classValue     = "ValueError"
	classOverflow  = "OverflowError"
	classAttribute = "AttributeError"
	classKey       = "KeyError"
	classIndex     = "IndexError"
	classZero      = "ZeroDivisionError"
	classMissing   = "VariableDoesNotExist"
	classSyntax    = "TemplateSyntaxError"
	classDecimal   = "InvalidOperation"
	classSuspect   = "SuspiciousOperation"
	classAssert    = "AssertionError"
	classBudget    = "Budget"
)

// failure is an exception on its way to whoever catches it, as Python's code does.
type failure struct{ class, msg string }

func (f *failure) Error() string { return f.class + ": " + f.msg }

func fail(class, format string, args ...any) error {
	return &failure{class, fmt.Sprintf(format, args...)}
}

// caught tells whether err is an exception of one of the classes.
func caught(err error, classes ...string) bool {
	f, ok := err.(*failure) //nolint:errorlint // never wrapped before it is caught
	if !ok {
		return false
	}
	for _, c := range classes {
		if f.class == c {
			return true
		}
	}
	return false
}

// caughtAny tells whether Python's "except Exception" would catch err. A spent budget
// is never caught.
func caughtAny(err error) bool {
	f, ok := err.(*failure) //nolint:errorlint // never wrapped before it is caught
	return ok && f.class != classBudget
}

// lineColumn turns an offset into a place, both counting from 1.
func lineColumn(src string, offset int) (line, column int) {
	offset = max(min(offset, len(src)), 0)
	line, start := 1, 0
	for i := range offset {
		if src[i] == '\n' {
			line++
			start = i + 1
		}
	}
	return line, utf8.RuneCountInString(src[start:offset]) + 1
}
