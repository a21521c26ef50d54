package template

import "strings"

var valueFilters = []filterDef{
	{name: "default", fn: filterDefault, args: argRequired, raw: true},
	{name: "default_if_none", fn: filterDefaultIfNone, args: argRequired, raw: true},
	{name: "pprint", fn: filterPPrint, safe: true},
	{name: "yesno", fn: filterYesNo, args: argOptional},
}

func filterDefault(c *call, in Value) (Value, error) {
	ok, err := c.st.truth(in)
	if err != nil || ok {
		return in, err
	}
	return c.arg, nil
}

func filterDefaultIfNone(c *call, in Value) (Value, error) {
	if in.IsNone() {
		return c.arg, nil
	}
	return in, nil
}

func filterYesNo(c *call, in Value) (Value, error) {
	arg := "yes,no,maybe"
	if c.has && !c.arg.IsNone() {
		if !c.arg.isText() {
			return in, fail(classAttribute, "%s has no attribute 'split'", c.arg.typeName())
		}
		arg = c.arg.s
	}
	bits := strings.Split(arg, ",")
	if len(bits) < 2 {
		return in, nil
	}
	if len(bits) != 3 {
		bits = []string{bits[0], bits[1], bits[1]}
	}
	if in.IsNone() {
		return String(bits[2]), nil
	}
	ok, err := c.st.truth(in)
	if err != nil {
		return in, err
	}
	if ok {
		return String(bits[0]), nil
	}
	return String(bits[1]), nil
}
