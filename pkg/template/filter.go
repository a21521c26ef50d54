package template

// arity is what a filter's argument may be.
type arity uint8

const (
	argNone arity = iota
	argOptional
	argRequired
	argWrong // accepted when parsing, as by Django, and then a TypeError
)

// call is one application of a filter.
type call struct {
	st  *state
	arg Value // normalised
	has bool
}

// filterDef is a filter. in is normalised, and text if text is set.
type filterDef struct {
	name      string
	fn        func(c *call, in Value) (Value, error)
	args      arity
	safe      bool // a safe input gives a safe output
	text      bool // the input is turned into text first
	localtime bool // the input is converted into Options.Location first
	raw       bool // the input is not normalised
}

func findFilter(name string) (*filterDef, bool) {
	f, ok := filters[name]
	return f, ok
}

// filters is the table of all filters; it is never changed.
var filters = table(
	textFilters, htmlFilters, listFilters, numberFilters, dateFilters, valueFilters,
)

func table(groups ...[]filterDef) map[string]*filterDef {
	m := make(map[string]*filterDef)
	for _, g := range groups {
		for i := range g {
			m[g[i].name] = &g[i]
		}
	}
	return m
}

// text makes a filter of a function from text to text.
func textFn(fn func(string) string) func(*call, Value) (Value, error) {
	return func(_ *call, in Value) (Value, error) { return String(fn(in.s)), nil }
}

// room refuses a result of n characters that would be over budget.
func (c *call) room(n int) error {
	if n > c.st.opt.Limits.Output {
		return fail(classBudget, "value over %d bytes", c.st.opt.Limits.Output)
	}
	return nil
}
