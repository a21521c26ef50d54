package source

import (
	"errors"
	"fmt"
	"slices"

	"github.com/waltrigger/waltrigger/pkg/change"
)

// TableError says why one table cannot be tailed as it is. The source as a whole goes
// on: Publish joins one for each such table (errors.As, errors.Join) after it has
// dealt with the others. It is the answer to a caller, not a fault of the source.
type TableError struct {
	Table  TableName
	Reason string // what was found
	Mend   string // the SQL that mends it
}

func (e *TableError) Error() string {
	return fmt.Sprintf("table %s: %s; mend with: %s", e.Table, e.Reason, e.Mend)
}

// OnlyTables reports whether err consists of refusals of single tables.
func OnlyTables(err error) bool {
	if many, ok := err.(interface{ Unwrap() []error }); ok { // each of the joined ones is asked
		for _, e := range many.Unwrap() {
			if !OnlyTables(e) {
				return false
			}
		}
		return true
	}
	_, ok := err.(*TableError) //nolint:errorlint // Publish joins them bare
	return ok
}

// NoColumnError names a column that a table does not have.
type NoColumnError string

func (e NoColumnError) Error() string { return fmt.Sprintf("column %q does not exist", string(e)) }

// lasting are the classes of SQLSTATE that say what is wrong with the question, or with who
// asks: data, authorization, syntax or access.
var lasting = []string{"22", "28", "42"}

// Lasting reports whether err is an answer of the database that will be the same if it is
// asked again at once. Who asks for one table of several goes on with the others.
func Lasting(err error) bool {
	table, column, state := (*TableError)(nil), NoColumnError(""), interface{ SQLState() string }(nil)
	if errors.As(err, &table) || errors.As(err, &column) {
		return true
	}
	return errors.As(err, &state) && len(state.SQLState()) == 5 && slices.Contains(lasting, state.SQLState()[:2])
}

// RewoundError ends Run: what was read after To is not in the server's log any more. A
// server took over that had not received it. What was delivered of it was committed, and
// lost by the database. Prepare with what was saved by then, and Run, go on.
type RewoundError struct{ From, To change.Position }

func (e *RewoundError) Error() string {
	return fmt.Sprintf("the server's log agrees with what was read up to %s only, not %s: reading goes on from there", e.To, e.From)
}
