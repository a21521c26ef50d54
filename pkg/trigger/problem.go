package trigger

import (
	"errors"
	"fmt"
	"strings"
)

// Problem is one thing wrong with a trigger as it was sent.
type Problem struct {
	Pointer string `json:"pointer"` // RFC 6901, into the body as sent; "" is the whole body
	Code    string `json:"code"`    // one of the Code constants; stable
	Detail  string `json:"detail"`  // what is wrong and what would be right, in words; never a secret
}

// Codes of problems. Those of the first group make a body malformed (HTTP 400; too
// large: 413), the others make it invalid (422).
const (
	CodeMalformed    = "malformed_json"
	CodeDuplicateKey = "duplicate_key"
	CodeTooDeep      = "too_deep"
	CodeTooLarge     = "too_large"

	CodeRequired     = "required"
	CodeNull         = "null"
	CodeType         = "invalid_type"
	CodeInvalid      = "invalid"
	CodeUnknownField = "unknown_field"
	CodeUnknown      = "unknown" // names something that does not exist
	CodeTooLong      = "too_long"
	CodeTooMany      = "too_many"
	CodeRange        = "out_of_range"
	CodeConflict     = "conflict"
	CodeReadOnly     = "read_only"
	CodeNotAllowed   = "not_allowed" // refused by the operator's configuration
	CodeSecret       = "secret_missing"
	CodeTemplate     = "template"
)

// maxProblems bounds an answer: a body of nothing but errors is told the first ones.
const maxProblems = 100

// Malformed reports whether one of problems says that the body is not the JSON it
// should be, so that nothing said about its fields can be relied on.
func Malformed(problems []Problem) bool {
	for _, p := range problems {
		switch p.Code {
		case CodeMalformed, CodeDuplicateKey, CodeTooDeep, CodeTooLarge:
			return true
		}
	}
	return false
}

// Errors of whoever keeps triggers.
var (
	ErrNotFound = errors.New("no such trigger")
	ErrStale    = errors.New("the trigger was changed since it was read")
)

// InvalidError refuses a trigger.
type InvalidError struct{ Problems []Problem }

func (e *InvalidError) Error() string {
	if len(e.Problems) == 0 {
		return "the trigger is invalid"
	}
	p := e.Problems[0]
	if n := len(e.Problems) - 1; n > 0 {
		return fmt.Sprintf("%s: %s (and %d more)", p.Pointer, p.Detail, n)
	}
	return fmt.Sprintf("%s: %s", p.Pointer, p.Detail)
}

// ConflictError says that something which must be unique is taken by another trigger.
type ConflictError struct {
	Pointer string // to the field that is taken
	Detail  string
}

func (e *ConflictError) Error() string { return e.Detail }

// nearest gives those of names that look like name, closest first, at most three.
func nearest(name string, names []string) []string {
	var best [4][]string
	lower := strings.ToLower(name)
	for _, n := range names {
		d := distance(lower, strings.ToLower(n), len(best)-1)
		if d < len(best) && d <= 1+len(n)/4 {
			best[d] = append(best[d], n)
		}
	}
	var out []string
	for _, ns := range best {
		out = append(out, ns...)
	}
	return out[:min(len(out), 3)]
}

// distance is the number of edits between a and b, or limit+1 if there are more.
func distance(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit || len(a) > 64 || len(b) > 64 {
		return limit + 1
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}

// DidYouMean words the nearest of names, or the empty string.
func DidYouMean(name string, names []string) string {
	near := nearest(name, names)
	if len(near) == 0 {
		return ""
	}
	return "; did you mean " + strings.Join(near, ", ") + "?"
}
