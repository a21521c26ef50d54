package template

import (
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"
)

// Object is anything with named parts: a row, a mapping. Get must be safe for as many
// goroutines as render with the object at once.
type Object interface {
	// Get looks a key or attribute up; false means there is none.
	Get(name string) (Value, bool)
}

// Keyed is an Object whose keys can be listed, in the order in which they are printed.
// A Keyed object behaves as a Python dict: it can be iterated, measured and compared.
type Keyed interface {
	Object
	Keys() []string
}

// Scalar is an Object that also is a plain value: what it prints, compares and filters
// as (a reference to a row, which prints as the row's key).
type Scalar interface {
	Object
	Scalar() Value
}

// Failer is optional for the Object that a template is rendered with: it says what it
// could not give since it was last asked. The rendering then fails.
type Failer interface {
	Failure() error
}

// List is a sequence. At is called with 0 <= i < Len() only.
type List interface {
	Len() int
	At(i int) Value
}

// JSONAppender is optional for an Object or a List: what |json prints, and, unless
// Options.Django is set, what printing it prints.
type JSONAppender interface {
	AppendJSON(dst []byte) ([]byte, error)
}

type kind uint8

const (
	kNone kind = iota
	kBool
	kInt
	kFloat
	kDecimal
	kString
	kDateTime
	kDate
	kTime
	kDuration
	kBytes
	kJSON // text of a JSON object or array, decoded when something looks inside
	kObject
	kList
)

type flags uint8

const (
	fSafe  flags = 1 << iota // a string that needs no escaping
	fText                    // s is the canonical text, parsed when needed
	fZone                    // a date or time with an offset
	fTuple                   // a list that is Python's tuple
	fBig                     // o is a *big.Int
	fLazy                    // a string written _("…"): no str to what insists on one
)

// Value is what a template works with. The zero Value is None. Values are small and
// are passed by value; scalars need no allocation.
type Value struct {
	k   kind
	f   flags
	off int32 // offset from UTC of a date or time, seconds
	n   int64 // int, bool, bits of a float, microseconds
	s   string
	o   any
}

// None returns Python's None, SQL's null.
func None() Value { return Value{} }

// Bool returns a boolean.
func Bool(b bool) Value {
	if b {
		return Value{k: kBool, n: 1}
	}
	return Value{k: kBool}
}

// Int returns an integer.
func Int(i int64) Value { return Value{k: kInt, n: i} }

// BigInt returns the integer of any size that text spells in decimal. Text that is no
// integer gives a string.
func BigInt(text string) Value {
	if i, err := strconv.ParseInt(text, 10, 64); err == nil {
		return Int(i)
	}
	b, ok := new(big.Int).SetString(text, 10)
	if !ok {
		return String(text)
	}
	return fromBig(b)
}

// IntText returns an integer that keeps its canonical decimal text.
func IntText(text string) Value { return Value{k: kInt, f: fText, s: text} }

// Float returns a binary floating point number.
func Float(f float64) Value { return Value{k: kFloat, n: int64(math.Float64bits(f))} }

// FloatText returns a binary floating point number that keeps its shortest decimal text.
func FloatText(text string) Value { return Value{k: kFloat, f: fText, s: text} }

// Decimal returns an exact decimal number, scale kept. NaN and Infinity are allowed.
func Decimal(text string) Value { return Value{k: kDecimal, s: text} }

// String returns text.
func String(s string) Value { return Value{k: kString, s: s} }

// Safe returns text that autoescaping leaves alone.
func Safe(s string) Value { return Value{k: kString, f: fSafe, s: s} }

// Bytes returns binary data. It prints as base64.
func Bytes(s string) Value { return Value{k: kBytes, s: s} }

// DateTime returns a point in time, to the microsecond. Without a zone it is the wall
// clock of t in t's own location.
func DateTime(t time.Time, hasZone bool) Value {
	name, off := t.Zone()
	v := Value{k: kDateTime, n: t.UnixMicro() + int64(off)*1e6}
	if hasZone {
		v.f, v.off, v.s = fZone, int32(off), name
	}
	return v
}

// Timestamp returns the point in time that RFC 3339 text spells, parsed only when a
// filter or a comparison needs it. Text out of the range of RFC 3339 is kept as text.
func Timestamp(text string) Value { return Value{k: kDateTime, f: fText | fZone, s: text} }

// DateTimeText returns a date and time without zone, as 2024-03-09T21:00:00.5.
func DateTimeText(text string) Value { return Value{k: kDateTime, f: fText, s: text} }

// Date returns the calendar day of t in t's own location.
func Date(t time.Time) Value {
	d := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
	return Value{k: kDate, n: d.UnixMicro()}
}

// DateText returns a date, as 2024-03-09.
func DateText(text string) Value { return Value{k: kDate, f: fText, s: text} }

// Time returns a time of day after midnight.
func Time(sinceMidnight time.Duration) Value {
	return Value{k: kTime, n: sinceMidnight.Microseconds()}
}

// TimeText returns a time of day, as 21:00:00.5, with or without offset.
func TimeText(text string) Value { return Value{k: kTime, f: fText, s: text} }

// Duration returns a length of time, to the microsecond.
func Duration(d time.Duration) Value { return Value{k: kDuration, n: d.Microseconds()} }

// JSON returns the value that JSON text spells. Objects and arrays are decoded only
// when a template looks inside; printed whole they are the text itself. Text that is
// no JSON is a string.
func JSON(text string) Value {
	t := strings.TrimLeft(text, " \t\r\n")
	if t != "" && (t[0] == '{' || t[0] == '[') {
		return Value{k: kJSON, s: t}
	}
	v, ok := decodeScalar(strings.TrimRight(t, " \t\r\n"))
	if !ok {
		return String(text)
	}
	return v
}

// Of returns a value for an object. A nil object is None.
func Of(o Object) Value {
	if o == nil {
		return Value{}
	}
	return Value{k: kObject, o: o}
}

// ListOf returns a value for a sequence. A nil list is None.
func ListOf(l List) Value {
	if l == nil {
		return Value{}
	}
	return Value{k: kList, o: l}
}

// IsNone tells whether v is None.
func (v Value) IsNone() bool { return v.k == kNone }

func (v Value) safe() bool { return v.k == kString && v.f&fSafe != 0 }

// isStr tells whether v is a str for Python's isinstance.
func (v Value) isStr() bool { return v.k == kString && v.f&fLazy == 0 }

// isText tells whether v has the methods of a str.
func (v Value) isText() bool { return v.k == kString }

// norm decodes what was kept as text for the sake of printing it: it returns a value
// whose fields can be read directly.
func (v Value) norm() Value {
	switch v.k {
	case kJSON:
		return decodeContainer(v.s)
	case kObject:
		if s, ok := v.o.(Scalar); ok {
			return s.Scalar().norm()
		}
		return v
	}
	if v.f&fText == 0 {
		return v
	}
	switch v.k {
	case kInt:
		return BigInt(v.s)
	case kFloat:
		f, err := strconv.ParseFloat(v.s, 64)
		if err != nil && !math.IsInf(f, 0) {
			return String(v.s)
		}
		return Float(f)
	case kDateTime, kDate, kTime, kDuration:
		return parseTemporal(v)
	}
	return v
}

// float returns the number of a normalised kFloat.
func (v Value) float() float64 { return math.Float64frombits(uint64(v.n)) }

func fromBig(b *big.Int) Value {
	if b.IsInt64() {
		return Int(b.Int64())
	}
	return Value{k: kInt, f: fBig, o: b}
}

// bigInt returns the integer of a normalised kInt or kBool. The result must not be changed.
func (v Value) bigInt() *big.Int {
	if v.f&fBig != 0 {
		return v.o.(*big.Int)
	}
	return big.NewInt(v.n)
}

// typeName is Python's name of the type, for messages.
func (v Value) typeName() string {
	switch v.k {
	case kNone:
		return "NoneType"
	case kBool:
		return "bool"
	case kInt:
		return "int"
	case kFloat:
		return "float"
	case kDecimal:
		return "decimal.Decimal"
	case kString:
		return "str"
	case kDateTime:
		return "datetime.datetime"
	case kDate:
		return "datetime.date"
	case kTime:
		return "datetime.time"
	case kDuration:
		return "datetime.timedelta"
	case kBytes:
		return "bytes"
	case kList:
		if v.f&fTuple != 0 {
			return "tuple"
		}
		return "list"
	}
	return "dict"
}

// slice is the list that the engine makes itself.
type slice []Value

// Len implements List.
func (s slice) Len() int { return len(s) }

// At implements List.
func (s slice) At(i int) Value { return s[i] }

func listValue(vs []Value) Value { return Value{k: kList, o: slice(vs)} }

func tupleValue(vs ...Value) Value { return Value{k: kList, f: fTuple, o: slice(vs)} }

// dict is the mapping that the engine makes itself, in order of insertion.
type dict struct {
	keys  []string
	vals  []Value
	index map[string]int // for more than a few keys
}

// indexFrom is the size from which a map finds a key sooner than a search.
const indexFrom = 9

func (d *dict) find(name string) int {
	if d.index != nil {
		if i, ok := d.index[name]; ok {
			return i
		}
		return -1
	}
	for i, k := range d.keys {
		if k == name {
			return i
		}
	}
	return -1
}

func (d *dict) set(name string, v Value) {
	if i := d.find(name); i >= 0 {
		d.vals[i] = v
		return
	}
	d.keys = append(d.keys, name)
	d.vals = append(d.vals, v)
	if d.index != nil {
		d.index[name] = len(d.keys) - 1
	} else if len(d.keys) >= indexFrom {
		d.index = make(map[string]int, 2*len(d.keys))
		for i, k := range d.keys {
			d.index[k] = i
		}
	}
}

// Get implements Object.
func (d *dict) Get(name string) (Value, bool) {
	if i := d.find(name); i >= 0 {
		return d.vals[i], true
	}
	return Value{}, false
}

// Keys implements Keyed.
func (d *dict) Keys() []string { return d.keys }
