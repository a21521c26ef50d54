package template

import (
	"fmt"
	"strings"
	"time"
)

var dateFilters = []filterDef{
	{name: "date", fn: filterDate, args: argOptional, localtime: true},
	{name: "time", fn: filterTime, args: argOptional, localtime: true},
	{name: "timesince", fn: filterTimeSince, args: argOptional},
	{name: "timeuntil", fn: filterTimeUntil, args: argOptional},
}

// formatArg is the format that an argument names.
func (c *call) formatArg(def string) (string, error) {
	if !c.has {
		return def, nil
	}
	ok, err := c.st.truth(c.arg)
	if err != nil || !ok {
		return def, err
	}
	s, err := c.st.str(c.arg)
	return namedFormat(s), err
}

func filterDate(c *call, in Value) (Value, error) {
	if in.k == kNone || (in.k == kString && in.s == "") {
		return String(""), nil
	}
	format, err := c.formatArg("N j, Y")
	if err != nil {
		return in, err
	}
	s, err := c.st.formatDate(in, format, false)
	if caught(err, classAttribute) && c.has {
		// Django tries once more with the argument itself as the format.
		if format, err = c.st.str(c.arg); err == nil {
			s, err = c.st.formatDate(in, format, false)
		}
	}
	if caught(err, classAttribute) {
		return String(""), nil
	}
	return String(s), err
}

// dateFilter is the filter date as {% now %} calls it.
func (st *state) dateFilter(v Value, format string) (string, error) {
	c := call{st: st, arg: String(format), has: true}
	out, err := filterDate(&c, v)
	return out.s, err
}

func filterTime(c *call, in Value) (Value, error) {
	if in.k == kNone || (in.k == kString && in.s == "") {
		return String(""), nil
	}
	format, err := c.formatArg("P")
	if err != nil {
		return in, err
	}
	s, err := c.st.formatDate(in, format, true)
	if caught(err, classAttribute, classType) && c.has {
		if format, err = c.st.str(c.arg); err == nil {
			s, err = c.st.formatDate(in, format, true)
		}
	}
	if caught(err, classAttribute, classType) {
		return String(""), nil
	}
	return String(s), err
}

func filterTimeSince(c *call, in Value) (Value, error) { return c.since(in, false) }

func filterTimeUntil(c *call, in Value) (Value, error) { return c.since(in, true) }

func (c *call) since(in Value, until bool) (Value, error) {
	ok, err := c.st.truth(in)
	if err != nil || !ok {
		return String(""), err
	}
	hasArg := false
	if c.has {
		if hasArg, err = c.st.truth(c.arg); err != nil {
			return in, err
		}
	}
	d, err := asDateTime(in)
	if err != nil {
		return in, err
	}
	now := DateTime(c.st.opt.Now().In(c.st.opt.Location), d.f&fZone != 0)
	if hasArg {
		if now, err = asDateTime(c.arg); err != nil {
			return in, err
		}
	}
	if (d.f^now.f)&fZone != 0 {
		return String(""), nil // Python cannot subtract them
	}
	if d.f&fZone != 0 {
		now.n = now.instant() + int64(d.off)*second
	}
	if until {
		d, now = now, d
	}
	return String(elapsed(d.wall(), now.wall())), nil
}

// asDateTime makes midnight of a date; other values have no year.
func asDateTime(v Value) (Value, error) {
	switch v.k {
	case kDateTime:
		return v, nil
	case kDate:
		return Value{k: kDateTime, n: v.n}, nil
	}
	return v, fail(classAttribute, "%s has no attribute 'year'", v.typeName())
}

// elapsed is Django's timesince: the two largest adjacent units between d and now.
func elapsed(d, now time.Time) string {
	delta := now.UnixMicro() - d.UnixMicro()
	if delta < second {
		return "0" + nbsp + "minutes"
	}
	months := (now.Year()-d.Year())*12 + int(now.Month()-d.Month())
	if d.Day() > now.Day() || (d.Day() == now.Day() && clockOf(d) > clockOf(now)) {
		months--
	}
	pivot := d
	if months != 0 {
		y, m := d.Year()+months/12, int(d.Month())+months%12
		if m > 12 {
			y, m = y+1, m-12
		}
		days := daysIn(2023, time.Month(m)) // Django knows no leap day here
		pivot = time.Date(y, time.Month(m), min(days, d.Day()), d.Hour(), d.Minute(), d.Second(), 0, time.UTC)
	}
	rest := float64(now.UnixMicro()-pivot.UnixMicro()) / 1e6
	counts := []int{months / 12, months % 12}
	for _, chunk := range []float64{604800, 86400, 3600, 60} {
		n := int(rest / chunk)
		counts = append(counts, n)
		rest -= chunk * float64(n)
	}
	return units(counts)
}

func clockOf(t time.Time) time.Duration {
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute +
		time.Duration(t.Second())*time.Second + time.Duration(t.Nanosecond())
}

func units(counts []int) string {
	names := []string{"year", "month", "week", "day", "hour", "minute"}
	var out []string
	for i := range counts {
		if counts[i] == 0 {
			if len(out) > 0 {
				break
			}
			continue
		}
		s := fmt.Sprintf("%d%s%s", counts[i], nbsp, names[i])
		if counts[i] != 1 {
			s += "s"
		}
		if out = append(out, s); len(out) == 2 {
			break
		}
	}
	if out == nil {
		return "0" + nbsp + "minutes"
	}
	return strings.Join(out, ", ")
}
