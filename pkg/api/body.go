package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// field is a field of a JSON body. read tells what is wrong with its value.
type field struct {
	required bool
	read     func(raw json.RawMessage, at string) []trigger.Problem
}

// readBodyOf reads a JSON object strictly. An absent body is an empty object.
func readBodyOf(body []byte, at string, fields map[string]field) []trigger.Problem {
	if at == "" {
		if len(body) == 0 {
			body = []byte("{}")
		}
		if problems := trigger.CheckJSON(body); len(problems) > 0 {
			return problems
		}
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil || members == nil {
		return []trigger.Problem{{Pointer: at, Code: trigger.CodeType, Detail: "must be an object"}}
	}
	var names []string
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	var problems []trigger.Problem
	for name := range members {
		if _, known := fields[name]; !known {
			problems = append(problems, trigger.Problem{
				Pointer: at + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name), Code: trigger.CodeUnknownField,
				Detail: "is no field of this object" + trigger.DidYouMean(name, names),
			})
		}
	}
	for _, name := range names {
		raw, given := members[name]
		switch f := fields[name]; {
		case given && string(raw) != "null":
			problems = append(problems, f.read(raw, at+"/"+name)...)
		case f.required:
			problems = append(problems, trigger.Problem{Pointer: at + "/" + name, Code: trigger.CodeRequired, Detail: "is required"})
		}
	}
	slices.SortStableFunc(problems, func(a, b trigger.Problem) int { return strings.Compare(a.Pointer, b.Pointer) })
	return problems
}

// invalidBody makes the answer to a body with problems that is no trigger.
func invalidBody(problems []trigger.Problem) *problem {
	p := invalid(problems)
	if p.Status == http.StatusUnprocessableEntity {
		p.Detail = "the body is not valid; errors lists everything that is wrong"
	}
	return p
}

func wrong(at, code, format string, args ...any) []trigger.Problem {
	return []trigger.Problem{{Pointer: at, Code: code, Detail: fmt.Sprintf(format, args...)}}
}

// textField reads a string; of, if given, are those that it may be.
func textField(into *string, of ...string) func(json.RawMessage, string) []trigger.Problem {
	return func(raw json.RawMessage, at string) []trigger.Problem {
		if err := json.Unmarshal(raw, into); err != nil {
			return wrong(at, trigger.CodeType, "must be a string")
		}
		if len(of) > 0 && !slices.Contains(of, *into) {
			return wrong(at, trigger.CodeInvalid, "must be one of %s", strings.Join(of, ", "))
		}
		if *into == "" {
			return wrong(at, trigger.CodeInvalid, "may not be empty")
		}
		return nil
	}
}

func wholeField[T int | int64](into *T, low, high T) func(json.RawMessage, string) []trigger.Problem {
	return func(raw json.RawMessage, at string) []trigger.Problem {
		n, err := strconv.ParseInt(string(raw), 10, 64)
		if err != nil || T(n) < low || T(n) > high || int64(T(n)) != n {
			return wrong(at, trigger.CodeRange, "must be a whole number from %d to %d", low, high)
		}
		*into = T(n)
		return nil
	}
}

// maxRate bounds max_rate, deliveries a second.
const maxRate = 1e6

func rateField(into *float64) func(json.RawMessage, string) []trigger.Problem {
	return func(raw json.RawMessage, at string) []trigger.Problem {
		f, err := strconv.ParseFloat(string(raw), 64)
		if err != nil || f <= 0 || f > maxRate {
			return wrong(at, trigger.CodeRange, "must be a number above 0, at most %g", float64(maxRate))
		}
		*into = f
		return nil
	}
}

func timeField(into *time.Time) func(json.RawMessage, string) []trigger.Problem {
	return func(raw json.RawMessage, at string) []trigger.Problem {
		var text string
		err := json.Unmarshal(raw, &text)
		if err == nil {
			*into, err = time.Parse(time.RFC3339Nano, text)
		}
		if err != nil {
			return wrong(at, trigger.CodeInvalid, "must be a time such as \"2026-01-02T15:04:05Z\"")
		}
		return nil
	}
}

func cursorField(am *Amendment) func(json.RawMessage, string) []trigger.Problem {
	return func(raw json.RawMessage, at string) []trigger.Problem {
		var text string
		var ok bool
		if json.Unmarshal(raw, &text) == nil {
			am.Filter.After, am.From, ok = parsePlaceCursor(text)
		}
		if !ok {
			return wrong(at, trigger.CodeInvalid, "is none that this API gave out")
		}
		return nil
	}
}

// retryFields are the fields of a body that say how a delivery is retried.
func (am *Amendment) retryFields() map[string]field {
	var render string
	return map[string]field{"render": {read: func(raw json.RawMessage, at string) []trigger.Problem {
		problems := textField(&render, "original", "current")(raw, at)
		am.Current = render == "current"
		return problems
	}}}
}

// maxIDs bounds the ids of a filter.
const maxIDs = 1000

// fields are those of a filter in a body; given is set once there is one.
func (f *DeliveryFilter) fields(given *bool) map[string]field {
	one := func(read func(json.RawMessage, string) []trigger.Problem) field {
		return field{read: func(raw json.RawMessage, at string) []trigger.Problem {
			*given = true
			return read(raw, at)
		}}
	}
	return map[string]field{
		"ids":         one(f.readIDs),
		"status":      one(textField(&f.Status, StatusParked, StatusDead, StatusSent)),
		"trigger":     one(wholeField(&f.Trigger, 1, 1<<53)),
		"destination": one(textField(&f.Destination)),
		"source":      one(textField(&f.Source)),
		"table":       one(textField(&f.Table)),
		"class":       one(textField(&f.Class)),
		"code":        one(textField(&f.Code)),
		"from":        one(timeField(&f.From)),
		"to":          one(timeField(&f.To)),
		"key": one(func(raw json.RawMessage, at string) []trigger.Problem {
			if err := json.Unmarshal(raw, &f.Key); err != nil {
				return wrong(at, trigger.CodeType, "must be a string: the text of the row's key, or of several columns a JSON list")
			}
			return nil
		}),
	}
}

func (f *DeliveryFilter) readIDs(raw json.RawMessage, at string) []trigger.Problem {
	var texts []string
	if err := json.Unmarshal(raw, &texts); err != nil {
		return wrong(at, trigger.CodeType, "must be a list of strings: the ids exceed what numbers of JSON can hold")
	}
	if len(texts) == 0 || len(texts) > maxIDs {
		return wrong(at, trigger.CodeRange, "must have 1 to %d items", maxIDs)
	}
	var problems []trigger.Problem
	for i, text := range texts {
		id, err := strconv.ParseUint(text, 10, 63)
		if err != nil && len(problems) < 100 {
			problems = append(problems, wrong(fmt.Sprintf("%s/%d", at, i), trigger.CodeInvalid, "is no id of a delivery")...)
		}
		f.IDs = append(f.IDs, id)
	}
	return problems
}
