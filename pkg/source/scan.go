package source

import (
	"context"
	"slices"
)

// Scanner is a Source whose tables can be read from one end to the other while Run goes
// on. Nothing is written to a table for that, and nothing locked.
type Scanner interface {
	// Scan reads the rows that follow a place in a table, in the order of its primary key.
	// Neither Seq nor Until of its answer is 0. A *TableError says why the table cannot be
	// read at all. Any goroutine.
	Scan(ctx context.Context, s Scan) (Scanned, error)
	// Reached waits until Run has sent all transactions with a Tx.Seq below until, also if
	// nobody writes any more, and gives that of the last Commit which Run had sent then; 0 =
	// none. Any goroutine.
	Reached(ctx context.Context, until uint64) (seq uint64, err error)
	// Size is about how many rows a table has; -1 = nobody knows. Cheap.
	Size(ctx context.Context, table TableName) (int64, error)
}

// Scan asks for a part of a table.
type Scan struct {
	Table TableName
	After []string // Scanned.Next of the part before; nil: from the beginning
	Limit int      // rows at most
	Bytes int      // no more rows than have so many bytes together, but for the last one; 0: no limit
}

// Scanned is a part of a table. Of is not set. What the log does not carry of a row is
// Missing, as in the changes that Run sends.
type Scanned struct {
	RowSet
	Next []string // opaque texts that may be kept; nil: there is no more
}

// ScanPlace is a Scanned.Next: of the last row of a part, the columns of the key and what it has
// in them.
func ScanPlace(key, texts []string) []string {
	place := make([]string, 0, 2*len(key))
	for n, name := range key {
		place = append(place, name, texts[n])
	}
	return place
}

// Texts takes After, a ScanPlace, apart: nil if reading begins. A *TableError says that it was
// one by another key.
func (s Scan) Texts(key []string) ([]string, error) {
	if s.After == nil {
		return nil, nil
	}
	var names, texts []string
	for n := 0; n+1 < len(s.After); n += 2 {
		names, texts = append(names, s.After[n]), append(texts, s.After[n+1])
	}
	if len(s.After)%2 != 0 || !slices.Equal(names, key) {
		return nil, &TableError{Table: s.Table, Reason: "its primary key was changed while its rows were read", Mend: "begin anew"}
	}
	return texts, nil
}
