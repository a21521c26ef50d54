package template

import "strconv"

// appendTemporalRepr appends Python's repr().
func appendTemporalRepr(dst []byte, v Value) []byte {
	t := v.wall()
	ints := func(ns ...int) {
		for i, n := range ns {
			if i > 0 {
				dst = append(dst, ", "...)
			}
			dst = strconv.AppendInt(dst, int64(n), 10)
		}
	}
	clock := []int{t.Hour(), t.Minute(), t.Second(), t.Nanosecond() / 1000}
	for len(clock) > 2 && clock[len(clock)-1] == 0 {
		clock = clock[:len(clock)-1]
	}
	switch v.k {
	case kDate:
		dst = append(dst, "datetime.date("...)
		ints(t.Year(), int(t.Month()), t.Day())
	case kTime:
		dst = append(dst, "datetime.time("...)
		ints(clock...)
		dst = appendZoneRepr(dst, v)
	case kDuration:
		return appendDurationRepr(dst, v.n)
	default:
		dst = append(dst, "datetime.datetime("...)
		ints(append([]int{t.Year(), int(t.Month()), t.Day()}, clock...)...)
		dst = appendZoneRepr(dst, v)
	}
	return append(dst, ')')
}

func appendZoneRepr(dst []byte, v Value) []byte {
	switch {
	case v.f&fZone == 0:
		return dst
	case v.s != "":
		dst = append(dst, ", tzinfo=zoneinfo.ZoneInfo(key="...)
		return append(appendQuoted(dst, v.s), ')')
	case v.off == 0:
		return append(dst, ", tzinfo=datetime.timezone.utc"...)
	}
	dst = append(dst, ", tzinfo=datetime.timezone("...)
	dst = appendDurationRepr(dst, int64(v.off)*second)
	return append(dst, ')')
}

func appendDurationRepr(dst []byte, n int64) []byte {
	days, rest := splitDuration(n)
	dst = append(dst, "datetime.timedelta("...)
	if n == 0 {
		return append(dst, "0)"...)
	}
	sep := ""
	part := func(name string, n int64) {
		if n != 0 {
			dst = append(dst, sep+name...)
			dst = strconv.AppendInt(dst, n, 10)
			sep = ", "
		}
	}
	part("days=", days)
	part("seconds=", rest/second)
	part("microseconds=", rest%second)
	return append(dst, ')')
}
