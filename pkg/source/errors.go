package source

import "fmt"

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
