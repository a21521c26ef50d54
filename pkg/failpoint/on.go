//go:build failpoints

package failpoint

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// armed is where the environment asks for an end: FAILPOINT=name:n ends the process when
// it comes to name for the n-th time, left counts down to that.
var armed, left = read(os.Getenv("FAILPOINT"))

func read(text string) (name string, left *atomic.Int64) {
	left = new(atomic.Int64)
	if text == "" {
		return "", left
	}
	name, n, _ := strings.Cut(text, ":")
	count, err := strconv.ParseInt(n, 10, 64)
	if err != nil {
		panic("FAILPOINT is name:n: " + err.Error())
	}
	left.Store(count)
	return name, left
}

// Hit ends the process as kill -9 does, if that is asked for here.
func Hit(name string) {
	if name == armed && left.Add(-1) == 0 {
		_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
		select {} // nothing goes on until the signal has come
	}
}
