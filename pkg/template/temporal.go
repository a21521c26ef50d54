package template

import (
	"strconv"
	"time"
)

// Dates and times are microseconds of the wall clock since 1970 in Value.n, with the
// offset from UTC beside it; a Value with fZone whose s is not empty is in
// Options.Location, and s is that zone's name at the time.

const (
	second = int64(1e6)
	minute = 60 * second
	hour   = 60 * minute
	day    = 24 * hour
)

// fields returns the wall clock as a time in UTC.
func (v Value) wall() time.Time { return time.UnixMicro(v.n).UTC() }

// instant is the point in time in microseconds since 1970 in UTC.
func (v Value) instant() int64 { return v.n - int64(v.off)*second }

// parseTemporal decodes what was kept as text; text that is no date or time, such as
// infinity, stays text.
func parseTemporal(v Value) Value {
	p := temporalParser{s: v.s}
	out := Value{k: v.k}
	switch v.k {
	case kDate:
		out.n = p.date()
	case kTime:
		out.n = p.clock()
		p.offset(&out)
	default:
		out.n = p.date()
		if !p.any("T t") {
			return String(v.s)
		}
		out.n += p.clock()
		p.offset(&out)
	}
	if p.bad || p.i != len(p.s) {
		return String(v.s)
	}
	return out
}

type temporalParser struct {
	s   string
	i   int
	bad bool
}

// num reads exactly n digits.
func (p *temporalParser) num(n, low, high int) int64 {
	if p.bad || p.i+n > len(p.s) {
		p.bad = true
		return 0
	}
	x, err := strconv.ParseUint(p.s[p.i:p.i+n], 10, 32)
	if err != nil || int(x) < low || int(x) > high {
		p.bad = true
	}
	p.i += n
	return int64(x)
}

// any reads one of the characters in set.
func (p *temporalParser) any(set string) bool {
	if p.i < len(p.s) {
		for j := range len(set) {
			if p.s[p.i] == set[j] {
				p.i++
				return true
			}
		}
	}
	return false
}

func (p *temporalParser) date() int64 {
	y := p.num(4, 1, 9999)
	p.bad = !p.any("-") || p.bad
	m := p.num(2, 1, 12)
	p.bad = !p.any("-") || p.bad
	d := p.num(2, 1, 31)
	if p.bad || int(d) > daysIn(int(y), time.Month(m)) {
		p.bad = true
		return 0
	}
	return time.Date(int(y), time.Month(m), int(d), 0, 0, 0, 0, time.UTC).UnixMicro()
}

func (p *temporalParser) clock() int64 {
	n := p.num(2, 0, 23) * hour
	p.bad = !p.any(":") || p.bad
	n += p.num(2, 0, 59) * minute
	if !p.any(":") {
		return n
	}
	n += p.num(2, 0, 59) * second
	if p.any(".,") {
		start := p.i
		for unit := second / 10; p.i < len(p.s) && p.s[p.i] >= '0' && p.s[p.i] <= '9'; unit /= 10 {
			n += int64(p.s[p.i]-'0') * unit
			p.i++
		}
		p.bad = p.bad || p.i == start
	}
	return n
}

func (p *temporalParser) offset(v *Value) {
	switch {
	case p.any("Zz"):
		v.f = fZone
		return
	case p.i >= len(p.s):
		return
	}
	negative := p.s[p.i] == '-'
	if !p.any("+-") {
		p.bad = true
		return
	}
	off := p.num(2, 0, 23) * 3600
	if p.i < len(p.s) {
		p.any(":")
		off += p.num(2, 0, 59) * 60
	}
	if p.any(":") {
		off += p.num(2, 0, 59)
	}
	if negative {
		off = -off
	}
	v.f, v.off = fZone, int32(off)
}

func daysIn(y int, m time.Month) int {
	return time.Date(y, m+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

// localtime converts a date with an offset into Options.Location, as Django does
// before it formats one.
func (st *state) localtime(v Value) Value {
	v = v.norm()
	if v.k != kDateTime || v.f&fZone == 0 {
		return v
	}
	t := time.UnixMicro(v.instant()).In(st.opt.Location)
	name, off := t.Zone()
	return Value{k: kDateTime, f: fZone, off: int32(off), n: v.instant() + int64(off)*second, s: name}
}

// appendTemporal appends Python's str() of a date or time; or, outside Django's ways,
// its RFC 3339 form.
func (st *state) appendTemporal(dst []byte, v Value) []byte {
	if v.f&fText != 0 && (!st.opt.Django || v.norm().k == kString) {
		return append(dst, v.s...)
	}
	v = v.norm()
	switch v.k {
	case kDateTime:
		dst = v.wall().AppendFormat(dst, "2006-01-02")
		if st.opt.Django {
			dst = append(dst, ' ')
		} else {
			dst = append(dst, 'T')
		}
		dst = appendClock(dst, v.n, st.opt.Django)
		return appendOffset(dst, v, !st.opt.Django)
	case kDate:
		return v.wall().AppendFormat(dst, "2006-01-02")
	case kTime:
		dst = appendClock(dst, v.n, st.opt.Django)
		return appendOffset(dst, v, !st.opt.Django)
	}
	return appendDuration(dst, v.n)
}

// appendClock appends HH:MM:SS and the microseconds if there are any.
func appendClock(dst []byte, n int64, sixDigits bool) []byte {
	t := time.UnixMicro(n).UTC()
	dst = t.AppendFormat(dst, "15:04:05")
	if us := n - n/second*second; us != 0 {
		if sixDigits {
			return t.AppendFormat(dst, ".000000")
		}
		return t.AppendFormat(dst, ".999999")
	}
	return dst
}

func appendOffset(dst []byte, v Value, zulu bool) []byte {
	if v.f&fZone == 0 {
		return dst
	}
	if zulu && v.off == 0 {
		return append(dst, 'Z')
	}
	off := int64(v.off)
	sgn := byte('+')
	if off < 0 {
		sgn, off = '-', -off
	}
	dst = append(dst, sgn)
	dst = append2(dst, off/3600)
	dst = append(dst, ':')
	dst = append2(dst, off/60%60)
	if off%60 != 0 {
		dst = append(dst, ':')
		dst = append2(dst, off%60)
	}
	return dst
}

func append2(dst []byte, n int64) []byte {
	return append(dst, byte('0'+n/10%10), byte('0'+n%10))
}

// splitDuration returns days (negative for negative durations), and the rest of the
// day, which never is negative.
func splitDuration(n int64) (days, rest int64) {
	days, rest = n/day, n%day
	if rest < 0 {
		days--
		rest += day
	}
	return days, rest
}

// appendDuration appends Python's str() of a timedelta.
func appendDuration(dst []byte, n int64) []byte {
	days, rest := splitDuration(n)
	if days != 0 {
		dst = strconv.AppendInt(dst, days, 10)
		dst = append(dst, " day"...)
		if days != 1 && days != -1 {
			dst = append(dst, 's')
		}
		dst = append(dst, ", "...)
	}
	dst = strconv.AppendInt(dst, rest/hour, 10)
	dst = append(dst, ':')
	dst = append2(dst, rest/minute%60)
	dst = append(dst, ':')
	dst = append2(dst, rest/second%60)
	if us := rest % second; us != 0 {
		dst = append(dst, '.')
		dst = appendPadded(dst, us, 6)
	}
	return dst
}

func appendPadded(dst []byte, n int64, width int) []byte {
	s := strconv.FormatInt(n, 10)
	for range width - len(s) {
		dst = append(dst, '0')
	}
	return append(dst, s...)
}

// isoDuration is Django's duration_iso_string.
func isoDuration(n int64) string {
	dst := []byte{}
	if n < 0 {
		dst = append(dst, '-')
		n = -n
	}
	days, rest := splitDuration(n)
	dst = append(dst, 'P')
	dst = strconv.AppendInt(dst, days, 10)
	dst = append(dst, "DT"...)
	dst = append(append2(dst, rest/hour), 'H')
	dst = append(append2(dst, rest/minute%60), 'M')
	dst = append2(dst, rest/second%60)
	if us := rest % second; us != 0 {
		dst = append(dst, '.')
		dst = appendPadded(dst, us, 6)
	}
	return string(append(dst, 'S'))
}

// compareTemporal orders two datetimes or times; ok is false if only one has a zone.
func compareTemporal(x, y Value) (int, bool) {
	if (x.f^y.f)&fZone != 0 {
		return 0, false
	}
	return sign(x.instant() - y.instant()), true
}

// temporalAttr gives the attributes and argument-less methods of Python's types.
func (st *state) temporalAttr(v Value, name string) (Value, bool) {
	t := v.wall()
	if v.k == kDuration {
		days, rest := splitDuration(v.n)
		switch name {
		case "days":
			return Int(days), true
		case "seconds":
			return Int(rest / second), true
		case "microseconds":
			return Int(rest % second), true
		case "total_seconds":
			return Float(float64(v.n) / 1e6), true
		}
		return Value{}, false
	}
	if v.k == kDateTime && name == "timestamp" {
		f := formatter{st: st, v: v, t: t}
		f.findZone()
		return Float(timestamp(v.n - int64(f.off)*second)), true
	}
	if v.k != kTime {
		if r, ok := dateAttr(v, t, name); ok {
			return r, true
		}
	}
	if v.k != kDate {
		if r, ok := clockAttr(v, t, name); ok {
			return r, true
		}
	}
	if name == "isoformat" {
		return String(isoFormat(v)), true
	}
	return Value{}, false
}

// isoFormat is Python's isoformat().
func isoFormat(v Value) string {
	var dst []byte
	if v.k != kTime {
		dst = v.wall().AppendFormat(dst, "2006-01-02")
	}
	if v.k == kDateTime {
		dst = append(dst, 'T')
	}
	if v.k != kDate {
		dst = appendOffset(appendClock(dst, v.n, true), v, false)
	}
	return string(dst)
}

func dateAttr(v Value, t time.Time, name string) (Value, bool) {
	switch name {
	case "year":
		return Int(int64(t.Year())), true
	case "month":
		return Int(int64(t.Month())), true
	case "day":
		return Int(int64(t.Day())), true
	case "weekday":
		return Int(int64((t.Weekday() + 6) % 7)), true
	case "isoweekday":
		return Int(int64((t.Weekday()+6)%7) + 1), true
	case "toordinal":
		days, _ := splitDuration(v.n)
		return Int(days + 719163), true
	case "date":
		if v.k == kDateTime {
			return Date(t), true
		}
	}
	return Value{}, false
}

func clockAttr(v Value, t time.Time, name string) (Value, bool) {
	switch name {
	case "hour":
		return Int(int64(t.Hour())), true
	case "minute":
		return Int(int64(t.Minute())), true
	case "second":
		return Int(int64(t.Second())), true
	case "microsecond":
		return Int(int64(t.Nanosecond() / 1000)), true
	case "time":
		if v.k == kDateTime {
			_, rest := splitDuration(v.n)
			return Value{k: kTime, n: rest}, true
		}
	case "utcoffset":
		if v.f&fZone != 0 {
			return Value{k: kDuration, n: int64(v.off) * second}, true
		}
		return Value{}, true
	case "tzname":
		if v.f&fZone != 0 {
			return String(zoneName(v)), true
		}
		return Value{}, true
	}
	return Value{}, false
}

// timestamp is Python's: seconds as a float, which is not exact far from 1970.
func timestamp(micros int64) float64 {
	s, us := micros/second, micros%second
	if us < 0 {
		s, us = s-1, us+second
	}
	return float64(s) + float64(us)/1e6
}

// zoneName is Python's tzname(): the zone's own, or UTC+02:00 for a fixed offset.
func zoneName(v Value) string {
	switch {
	case v.s != "":
		return v.s
	case v.off == 0:
		return "UTC"
	}
	return "UTC" + string(appendOffset(nil, v, false))
}
