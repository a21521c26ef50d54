package mysql

import (
	"encoding/binary"
	"time"

	"github.com/waltrigger/waltrigger/pkg/change"
)

// Dates that RFC 3339 has no form for (a zero month or day, which MySQL allows) keep
// MySQL's text. Fractions end with their last digit that is not zero, as in PostgreSQL.

func append2(dst []byte, n int) []byte { return append(dst, '0'+byte(n/10%10), '0'+byte(n%10)) }

func appendYMD(dst []byte, year, month, day int) []byte {
	dst = append2(append2(dst, year/100), year%100)
	dst = append2(append(dst, '-'), month)
	return append2(append(dst, '-'), day)
}

func appendHMS(dst []byte, hour, minute, second int) []byte {
	dst = append2(dst, hour)
	dst = append2(append(dst, ':'), minute)
	return append2(append(dst, ':'), second)
}

// appendMicros appends .5 for 500000, nothing for 0.
func appendMicros(dst []byte, micros int) []byte {
	if micros == 0 {
		return dst
	}
	dst = append2(append2(append2(append(dst, '.'), micros/10000), micros/100), micros)
	for dst[len(dst)-1] == '0' {
		dst = dst[:len(dst)-1]
	}
	return dst
}

func appendDate(dst []byte, packed int) []byte {
	return appendYMD(dst, packed>>9, packed>>5&15, packed&31)
}

// appendMoment joins date and time.
func appendMoment(dst []byte, year, month, day, hour, minute, second, micros int) []byte {
	dst = appendYMD(dst, year, month, day)
	if year == 0 || month == 0 || day == 0 {
		dst = append(dst, ' ')
	} else {
		dst = append(dst, 'T')
	}
	return appendMicros(appendHMS(dst, hour, minute, second), micros)
}

// fraction reads the digits after a second, of which two make a byte, as microseconds.
func fraction(b []byte) int {
	n := int(big(b))
	for i := len(b); i < 3; i++ {
		n *= 100
	}
	return n
}

func appendDateTime2(dst, raw []byte) []byte {
	packed := big(raw[:5]) - 1<<39
	ymd, hms := packed>>17, int(packed&(1<<17-1))
	month := int(ymd >> 5)
	return appendMoment(dst, month/13, month%13, int(ymd&31), hms>>12, hms>>6&63, hms&63, fraction(raw[5:]))
}

// zeroTimestamp is what 0 stands for: no time at all.
const zeroTimestamp = "0000-00-00 00:00:00"

func appendTimestamp(dst []byte, seconds uint32, micros int) []byte {
	if seconds == 0 {
		return append(dst, zeroTimestamp...)
	}
	t := time.Unix(int64(seconds), 0).UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	return append(appendMoment(dst, year, int(month), day, hour, minute, second, micros), 'Z')
}

// appendTime2 reads a span of up to 838 hours, of either sign. Its number, fraction
// included, is stored with an offset that makes it positive.
func appendTime2(dst, raw []byte) []byte {
	bits := uint(8 * len(raw))
	n := int64(big(raw)) - 1<<(bits-1)
	if n < 0 {
		n, dst = -n, append(dst, '-')
	}
	hms := int(n >> (bits - 24))
	micros := int(n & (1<<(bits-24) - 1))
	for i := len(raw); i < 6; i++ {
		micros *= 100
	}
	return appendSpan(dst, hms>>12&1023, hms>>6&63, hms&63, micros)
}

func appendSpan(dst []byte, hours, minute, second, micros int) []byte {
	if hours > 99 {
		dst = append(dst, '0'+byte(hours/100))
	}
	return appendMicros(appendHMS(dst, hours%100, minute, second), micros)
}

// appendOld reads the types without fractions that tables made before MySQL 5.6 have.
func appendOld(dst []byte, c class, raw []byte) (change.Kind, []byte) {
	switch c {
	case classOldTimestamp:
		return change.Timestamp, appendTimestamp(dst, binary.LittleEndian.Uint32(raw), 0)
	case classOldDateTime:
		n := little(raw)
		date, clock := int(n/1e6), int(n%1e6)
		return change.DateTime, appendMoment(dst, date/1e4, date/100%100, date%100, clock/1e4, clock/100%100, clock%100, 0)
	}
	n := int(int32(little(raw)<<8)) >> 8
	if n < 0 {
		n, dst = -n, append(dst, '-')
	}
	return change.Time, appendSpan(dst, n/1e4, n/100%100, n%100, 0)
}
