package template

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// lineInput is one line that RenderJSONLine reads.
type lineInput struct {
	Template        *string         `json:"template"`
	Condition       *string         `json:"condition"`
	Context         json.RawMessage `json:"context"`
	Autoescape      bool            `json:"autoescape"`
	Datetimes       string          `json:"datetimes"`
	StringIfInvalid string          `json:"string_if_invalid"`
	Zone            string          `json:"zone"`
	Now             string          `json:"now"`
}

// RenderJSONLine renders one line of JSON, {"template":…,"context":{…}}, and appends
// {"output":…} or {"error":…} to dst, without a line break. Optional members are
// "autoescape" (bool), "datetimes" ("rfc3339", the default, or "django": everything as
// Django prints it), "string_if_invalid", "zone" (of tzdata, UTC if absent) and "now"
// (RFC 3339); "condition" in place of "template" evaluates an {% if %} expression and
// outputs true or false.
//
// Values of types that JSON has not are written {"$decimal":"1.50"}, {"$float":"0.1"},
// {"$datetime":"2024-03-09T21:00:00Z"}, {"$date":"2024-03-09"}, {"$time":"21:00:00"},
// {"$duration":seconds} and {"$safe":"<b>"}. The order of a context's keys is kept where
// a template prints a mapping and means nothing else.
//
// An error also has "class" (syntax for a template that does not parse, else Python's
// exception or Budget), "line" and "column".
func RenderJSONLine(line, dst []byte) []byte {
	out, err := renderLine(line)
	if err != nil {
		return appendLineError(dst, err)
	}
	dst = append(dst, `{"output":`...)
	return append(appendStringJSON(dst, out), '}')
}

func appendLineError(dst []byte, err error) []byte {
	var se *SyntaxError
	var re *RenderError
	class, line, column := "input", 0, 0
	switch {
	case errors.As(err, &se):
		class, line, column = "syntax", se.Line, se.Column
	case errors.As(err, &re):
		class, line, column = re.Class, re.Line, re.Column
	}
	dst = appendStringJSON(append(dst, `{"error":`...), err.Error())
	dst = appendStringJSON(append(dst, `,"class":`...), class)
	if line > 0 {
		dst = fmt.Appendf(dst, `,"line":%d,"column":%d`, line, column)
	}
	return append(dst, '}')
}

func renderLine(line []byte) (string, error) {
	var in lineInput
	if err := json.Unmarshal(line, &in); err != nil {
		return "", fmt.Errorf("read line: %w", err)
	}
	opt, err := in.options()
	if err != nil {
		return "", err
	}
	vars, err := in.vars()
	if err != nil {
		return "", err
	}
	switch {
	case (in.Template == nil) == (in.Condition == nil):
		return "", errors.New(`read line: either "template" or "condition" is needed`)
	case in.Condition != nil:
		c, err := ParseCondition(*in.Condition, opt)
		if err != nil {
			return "", err
		}
		ok, err := c.Eval(vars)
		return fmt.Sprint(ok), err
	}
	t, err := Parse(*in.Template, opt)
	if err != nil {
		return "", err
	}
	out, err := t.Append(nil, vars)
	return string(out), err
}

func (in *lineInput) options() (Options, error) {
	opt := Options{Autoescape: in.Autoescape, StringIfInvalid: in.StringIfInvalid}
	switch in.Datetimes {
	case "", "rfc3339":
	case "django":
		opt.Django = true
	default:
		return opt, fmt.Errorf("read line: datetimes must be rfc3339 or django, not %q", in.Datetimes)
	}
	if in.Zone != "" {
		loc, err := time.LoadLocation(in.Zone)
		if err != nil {
			return opt, fmt.Errorf("read line: %w", err)
		}
		opt.Location = loc
	}
	if in.Now != "" {
		now, err := time.Parse(time.RFC3339Nano, in.Now)
		if err != nil {
			return opt, fmt.Errorf("read line: %w", err)
		}
		opt.Now = func() time.Time { return now }
	}
	return opt, nil
}

func (in *lineInput) vars() (Object, error) {
	text := strings.TrimSpace(string(in.Context))
	if text == "" || text == "null" {
		return &dict{}, nil
	}
	v, err := decodeTyped(text, 0)
	if err != nil {
		return nil, fmt.Errorf("read context: %w", err)
	}
	d, ok := v.o.(*dict)
	if !ok {
		return nil, errors.New("read context: it must be an object")
	}
	return d, nil
}

// decodeTyped decodes valid JSON whole, with the typed values.
func decodeTyped(text string, depth int) (Value, error) {
	if depth > maxJSONDepth {
		return Value{}, fmt.Errorf("nested more than %d deep", maxJSONDepth)
	}
	var vs []Value
	var err error
	switch text[0] {
	case '[':
		eachMember(text, func(_, val string) bool {
			var v Value
			v, err = decodeTyped(val, depth+1)
			vs = append(vs, v)
			return err == nil
		})
		return listValue(vs), err
	case '{':
		d := &dict{}
		eachMember(text, func(key, val string) bool {
			k, _ := decodeString(key)
			var v Value
			if v, err = decodeTyped(val, depth+1); err == nil {
				d.set(k, v)
			}
			return err == nil
		})
		if err == nil && len(d.keys) == 1 && strings.HasPrefix(d.keys[0], "$") {
			return typedValue(d.keys[0], d.vals[0])
		}
		return Of(d), err
	}
	return JSON(text).norm(), nil
}

// typedValue makes a value of {"$type": v}.
func typedValue(name string, v Value) (Value, error) {
	bad := fmt.Errorf("%s: malformed value", name)
	if name == "$duration" {
		f, err := toFloat(v)
		if err != nil {
			return v, bad
		}
		return Value{k: kDuration, n: int64(math.RoundToEven(f * 1e6))}, nil
	}
	if !v.isStr() {
		return v, bad
	}
	switch name {
	case "$decimal":
		d, err := parseDecimal(v.s)
		if err != nil {
			return v, bad
		}
		return Decimal(string(d.appendStr(nil))), nil
	case "$float":
		f, ok := parseFloat(v.s)
		if !ok {
			return v, bad
		}
		return Float(f), nil
	case "$safe":
		return Safe(v.s), nil
	case "$bytes":
		b, err := base64.StdEncoding.DecodeString(v.s)
		if err != nil {
			return v, bad
		}
		return Bytes(string(b)), nil
	}
	var t Value
	switch name {
	case "$datetime":
		t = Value{k: kDateTime, f: fText, s: v.s}.norm()
	case "$date":
		t = DateText(v.s).norm()
	case "$time":
		t = TimeText(v.s).norm()
	default:
		return v, fmt.Errorf("unknown type %s", name)
	}
	if t.isStr() {
		return v, bad
	}
	return t, nil
}
