package daemon

import (
	"bufio"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// releaseStartup takes the pages of the program's own file out of this process. Most of
// them were mapped for the packages that set themselves up and are not touched again;
// they stay resident, and are counted against the memory of a container, until the
// kernel is short of memory. What is used later is mapped again from the page cache, or
// from the file. A part that cannot be released stays as it is.
func releaseStartup() {
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return
	}
	defer f.Close()
	program, err := os.Executable()
	if err != nil {
		return
	}
	for _, m := range cleanMappings(f, program) {
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, m.start, m.end-m.start, unix.MADV_DONTNEED)
	}
}

// mapping is a range of addresses.
type mapping struct{ start, end uintptr }

// cleanMappings gives the mappings of a file that are read-only and of which every page
// is the file's. MADV_DONTNEED would undo what was written to the others: variables, and
// relocations and break points, which are in mappings that are read-only by now.
func cleanMappings(smaps io.Reader, file string) []mapping {
	var found []mapping
	var m mapping
	lines := bufio.NewScanner(smaps)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) == 6 && strings.Contains(fields[0], "-"):
			m = mapping{}
			if fields[5] == file && strings.HasPrefix(fields[1], "r-") {
				m = addresses(fields[0])
			}
		case len(fields) == 3 && fields[0] == "Anonymous:" && fields[1] == "0" && m.end > m.start:
			found = append(found, m)
		}
	}
	return found
}

// addresses reads start-end in hexadecimal; what is none is empty.
func addresses(s string) mapping {
	start, end, _ := strings.Cut(s, "-")
	a, err := strconv.ParseUint(start, 16, 64)
	b, err2 := strconv.ParseUint(end, 16, 64)
	if err != nil || err2 != nil {
		return mapping{}
	}
	return mapping{uintptr(a), uintptr(b)}
}
