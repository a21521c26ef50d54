package mysql

import "strconv"

// decimalBytes is how many bytes so many digits take, up to 9.
var decimalBytes = [10]int{0, 1, 1, 2, 2, 3, 3, 4, 4, 4}

// decimalSize is the length of a decimal of so many digits, scale of them after the point.
func decimalSize(precision, scale int) int {
	whole := precision - scale
	return whole/9*4 + decimalBytes[whole%9] + scale/9*4 + decimalBytes[scale%9]
}

// appendDecimal prints a decimal. Its digits are stored in groups of 9, those before the
// point aligned to it; a negative number has all bits turned over but the first.
func appendDecimal(dst, raw []byte, precision, scale int) []byte {
	var mask byte
	if raw[0]&0x80 == 0 {
		mask, dst = 0xff, append(dst, '-')
	}
	group := func(at, size int) uint64 {
		var n uint64
		for i := range size {
			b := raw[at+i] ^ mask
			if at+i == 0 {
				b ^= 0x80
			}
			n = n<<8 | uint64(b)
		}
		return n
	}
	at, begun := 0, false
	digits := func(count int) {
		size := decimalBytes[count]
		n := group(at, size)
		at += size
		switch {
		case begun:
			dst = appendPadded(dst, n, count)
		case n != 0:
			dst, begun = strconv.AppendUint(dst, n, 10), true
		}
	}
	whole := precision - scale
	if whole%9 > 0 {
		digits(whole % 9)
	}
	for range whole / 9 {
		digits(9)
	}
	if !begun {
		dst = append(dst, '0')
	}
	if scale == 0 {
		return dst
	}
	dst, begun = append(dst, '.'), true
	for range scale / 9 {
		digits(9)
	}
	if scale%9 > 0 {
		digits(scale % 9)
	}
	return dst
}

// appendPadded prints n with zeros before it, count digits in all.
func appendPadded(dst []byte, n uint64, count int) []byte {
	for range count {
		dst = append(dst, '0')
	}
	for i := len(dst) - 1; n > 0; i-- {
		dst[i] += byte(n % 10)
		n /= 10
	}
	return dst
}
