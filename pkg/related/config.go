package related

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/waltrigger/waltrigger/pkg/source"
)

// Config is the operator's word on one relation of a source: it names the foreign key on
// some columns, or says that there is one although the database does not know.
type Config struct {
	Table             string   `yaml:"table"` // schema.table
	Columns           []string `yaml:"columns"`
	References        string   `yaml:"references"`         // schema.table; may be left out where the database has the foreign key
	ReferencedColumns []string `yaml:"referenced_columns"` // the primary key, if left out
	Name              string   `yaml:"name"`               // of the row referred to; may be left out where the database has the foreign key
	ReverseName       string   `yaml:"reverse_name"`       // of the rows that refer to it, _set included where it is wanted
}

var relationName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]*$`)

// Check says what is wrong with c by itself: setting and text of each fault.
func (c Config) Check() (faults [][2]string) {
	add := func(setting, format string, args ...any) {
		faults = append(faults, [2]string{setting, fmt.Sprintf(format, args...)})
	}
	if _, ok := tableName(c.Table); !ok {
		add("table", "must be schema.table")
	}
	if _, ok := tableName(c.References); !ok && c.References != "" {
		add("references", "must be schema.table")
	}
	if len(c.Columns) == 0 {
		add("columns", "must name one column at least")
	}
	switch {
	case len(c.ReferencedColumns) > 0 && c.References == "":
		add("referenced_columns", "needs references: the table that has them")
	case len(c.ReferencedColumns) > 0 && len(c.ReferencedColumns) != len(c.Columns):
		add("referenced_columns", "must be as many as the columns: %d", len(c.Columns))
	}
	for _, s := range [][2]string{{"name", c.Name}, {"reverse_name", c.ReverseName}} {
		if s[1] != "" && (!relationName.MatchString(s[1]) || s[1] == "pk") {
			add(s[0], "must be a letter and then letters, digits or _")
		}
	}
	if c.Name == "" && (c.ReverseName == "" || c.References != "" && len(c.Columns) > 1) {
		add("name", "is required")
	}
	return faults
}

func tableName(text string) (source.TableName, bool) {
	schema, name, ok := strings.Cut(text, ".")
	return source.TableName{Schema: schema, Name: name}, ok && schema != "" && name != "" && !strings.ContainsAny(text, "\x00\n")
}
