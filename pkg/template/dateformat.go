package template

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Formats that Django knows by name, in English.
func namedFormat(name string) string {
	switch name {
	case "DATE_FORMAT":
		return "N j, Y"
	case "TIME_FORMAT":
		return "P"
	case "DATETIME_FORMAT":
		return "N j, Y, P"
	case "YEAR_MONTH_FORMAT":
		return "F Y"
	case "MONTH_DAY_FORMAT":
		return "F j"
	case "SHORT_DATE_FORMAT":
		return "m/d/Y"
	case "SHORT_DATETIME_FORMAT":
		return "m/d/Y P"
	case "FIRST_DAY_OF_WEEK":
		return "0"
	case "DECIMAL_SEPARATOR":
		return "."
	case "THOUSAND_SEPARATOR":
		return ","
	case "NUMBER_GROUPING":
		return "3"
	}
	return name
}

const (
	timeChars = "aAefgGhHiOPsTuZ"
	dateChars = "bcdDEFIjlLmMnNorStUwWyYz"
)

// formatter formats one value. clockOnly is Django's TimeFormat: it knows no dates.
type formatter struct {
	st        *state
	v         Value
	t         time.Time
	clockOnly bool
	zoned     bool // the offset is known and unambiguous
	off       int  // seconds
	zone      string
	dst       bool
}

// formatDate formats v by a format string of Django's.
func (st *state) formatDate(v Value, format string, clockOnly bool) (string, error) {
	f := formatter{st: st, v: v, clockOnly: clockOnly}
	switch v.k {
	case kDateTime, kDate, kTime:
		f.t = v.wall()
	}
	if v.k == kDateTime {
		f.findZone()
	}
	var out, piece []byte
	escaped := false // the character before is a backslash
	for _, r := range format {
		known := r < utf8.RuneSelf && !escaped && strings.ContainsRune(timeChars+dateChars, r)
		escaped = r == '\\'
		if !known {
			piece = utf8.AppendRune(piece, r)
			continue
		}
		out = append(out, unescapeFormat(piece)...)
		piece = piece[:0]
		s, err := f.char(byte(r))
		if err != nil {
			return "", err
		}
		out = append(out, s...)
	}
	return string(append(out, unescapeFormat(piece)...)), nil
}

func unescapeFormat(piece []byte) []byte {
	out := piece[:0:0]
	for i := 0; i < len(piece); i++ {
		if piece[i] == '\\' && i+1 < len(piece) && piece[i+1] != '\n' {
			i++
		}
		out = append(out, piece[i])
	}
	return out
}

// findZone finds the offset of a datetime: its own, or for one without zone that of
// Options.Location.
func (f *formatter) findZone() {
	loc := f.st.opt.Location
	if f.v.f&fZone != 0 && f.v.s == "" {
		f.zoned, f.off, f.zone = true, int(f.v.off), zoneName(f.v)
		return
	}
	w := f.t
	_, before := w.Add(-36 * time.Hour).In(loc).Zone()
	_, after := w.Add(36 * time.Hour).In(loc).Zone()
	a := time.Unix(w.Unix()-int64(before), 0).In(loc)
	b := time.Unix(w.Unix()-int64(after), 0).In(loc)
	_, aoff := a.Zone()
	_, boff := b.Zone()
	if aoff != boff {
		// The wall clock showed this twice, or never: the offset is not printed.
		if f.off = before; f.v.f&fZone != 0 {
			f.off = int(f.v.off)
		}
		return
	}
	if aoff != before {
		a = b
	}
	f.zone, f.off = a.Zone()
	f.zoned, f.dst = true, a.IsDST()
}

// char formats one format character.
func (f *formatter) char(c byte) (string, error) {
	isClock := strings.IndexByte(timeChars, c) >= 0
	noAttribute := fail(classAttribute, "%s has no attribute for format %q", f.v.typeName(), c)
	switch {
	case f.v.k == kDate && isClock:
		return "", fail(classType, "the format for date objects may not contain time-related format specifiers (found %q)", c)
	case f.clockOnly && !isClock:
		return "", noAttribute
	}
	switch c {
	case 'e', 'O', 'T', 'Z', 'I':
		return f.zoneChar(c), nil
	case 'r', 'U':
		return f.instantChar(c)
	}
	switch {
	case f.v.k == kDateTime, f.v.k == kTime && isClock, f.v.k == kDate && !isClock:
	case f.v.k == kTime && c == 'c':
	default:
		return "", noAttribute
	}
	if isClock {
		return f.clockChar(c), nil
	}
	return f.dateChar(c), nil
}

func (f *formatter) zoneChar(c byte) string {
	if !f.zoned {
		return ""
	}
	switch c {
	case 'e':
		if f.v.f&fZone == 0 {
			return ""
		}
		return zoneName(f.v)
	case 'T':
		return f.zone
	case 'Z':
		return strconv.Itoa(f.off)
	case 'I':
		if f.dst {
			return "1"
		}
		return "0"
	}
	return offsetDigits(f.off, false)
}

// offsetDigits writes +0200.
func offsetDigits(off int, seconds bool) string {
	sgn := "+"
	if off < 0 {
		sgn, off = "-", -off
	}
	s := fmt.Sprintf("%s%02d%02d", sgn, off/3600, off/60%60)
	if seconds && off%60 != 0 {
		s += fmt.Sprintf("%02d", off%60)
	}
	return s
}

func (f *formatter) instantChar(c byte) (string, error) {
	if f.v.k != kDateTime && f.v.k != kDate {
		return "", fail(classType, "combine() argument 1 must be datetime.date, not %s", f.v.typeName())
	}
	if f.v.k == kDate {
		f.findZone()
	}
	if c == 'r' {
		return f.t.Format("Mon, 02 Jan 2006 15:04:05 ") + offsetDigits(f.off, true), nil
	}
	if f.v.f&fZone == 0 && f.v.n < minMicros+day {
		return "", fail(classValue, "year 0 is out of range") // Python looks a day back
	}
	return strconv.FormatInt(int64(timestamp(f.v.n-int64(f.off)*second)), 10), nil
}

func (f *formatter) clockChar(c byte) string {
	h, h12 := f.t.Hour(), (f.t.Hour()+11)%12+1
	switch c {
	case 'a':
		if h > 11 {
			return "p.m."
		}
		return "a.m."
	case 'A':
		if h > 11 {
			return "PM"
		}
		return "AM"
	case 'f':
		return f.hours(h12)
	case 'g':
		return strconv.Itoa(h12)
	case 'G':
		return strconv.Itoa(h)
	case 'h':
		return fmt.Sprintf("%02d", h12)
	case 'H':
		return fmt.Sprintf("%02d", h)
	case 'i':
		return fmt.Sprintf("%02d", f.t.Minute())
	case 's':
		return fmt.Sprintf("%02d", f.t.Second())
	case 'u':
		return fmt.Sprintf("%06d", f.t.Nanosecond()/1000)
	}
	switch { // 'P'
	case f.t.Minute() == 0 && h == 0:
		return "midnight"
	case f.t.Minute() == 0 && h == 12:
		return "noon"
	}
	return f.hours(h12) + " " + f.clockChar('a')
}

func (f *formatter) hours(h12 int) string {
	if f.t.Minute() == 0 {
		return strconv.Itoa(h12)
	}
	return fmt.Sprintf("%d:%02d", h12, f.t.Minute())
}

func (f *formatter) dateChar(c byte) string {
	t := f.t
	switch c {
	case 'b':
		return strings.ToLower(t.Month().String()[:3])
	case 'c':
		return isoFormat(f.v)
	case 'd':
		return fmt.Sprintf("%02d", t.Day())
	case 'D':
		return t.Weekday().String()[:3]
	case 'E', 'F':
		return t.Month().String()
	case 'j':
		return strconv.Itoa(t.Day())
	case 'l':
		return t.Weekday().String()
	case 'L':
		if daysIn(t.Year(), time.February) == 29 {
			return "True"
		}
		return "False"
	case 'm':
		return fmt.Sprintf("%02d", t.Month())
	case 'M':
		return t.Month().String()[:3]
	case 'n':
		return strconv.Itoa(int(t.Month()))
	case 'N':
		return monthAP(t.Month())
	case 'S':
		return ordinalSuffix(t.Day())
	case 't':
		return strconv.Itoa(daysIn(t.Year(), t.Month()))
	case 'w':
		return strconv.Itoa(int(t.Weekday()))
	case 'y':
		return fmt.Sprintf("%02d", t.Year()%100)
	case 'Y':
		return fmt.Sprintf("%04d", t.Year())
	case 'z':
		return strconv.Itoa(t.YearDay())
	}
	year, week := t.ISOWeek()
	if c == 'o' {
		return strconv.Itoa(year)
	}
	return strconv.Itoa(week)
}

// monthAP is the month in the style of the Associated Press.
func monthAP(m time.Month) string {
	switch m {
	case time.March, time.April, time.May, time.June, time.July:
		return m.String()
	case time.September:
		return "Sept."
	}
	return m.String()[:3] + "."
}

func ordinalSuffix(d int) string {
	if d < 11 || d > 13 {
		switch d % 10 {
		case 1:
			return "st"
		case 2:
			return "nd"
		case 3:
			return "rd"
		}
	}
	return "th"
}

// appendLocalized appends a date or time as {{ }} prints it in Django.
func (st *state) appendLocalized(dst []byte, v Value) ([]byte, error) {
	format := "N j, Y"
	switch v.k {
	case kDateTime:
		v, format = st.localtime(v), "N j, Y, P"
	case kTime:
		format = "P"
	case kString:
		return append(dst, v.s...), nil
	}
	s, err := st.formatDate(v, format, v.k == kTime)
	return append(dst, s...), err
}
