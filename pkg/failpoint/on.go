//go:build failpoints

package failpoint

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// armed is where the environment asks for an end: FAILPOINT=name:n:hold ends the process
// when it came to name for the n-th time and stood there for so long (1.5s), while
// everything else went on. left counts down to that.
var armed, left, hold = read(os.Getenv("FAILPOINT"))

func read(text string) (name string, left *atomic.Int64, hold time.Duration) {
	left = new(atomic.Int64)
	if text == "" {
		return "", left, 0
	}
	parts := strings.Split(text, ":")
	if len(parts) != 3 {
		panic("FAILPOINT is name:n:hold, not " + text)
	}
	count, err := strconv.ParseInt(parts[1], 10, 64)
	hold, err2 := time.ParseDuration(parts[2])
	if err := errors.Join(err, err2); err != nil {
		panic("FAILPOINT is name:n:hold: " + err.Error())
	}
	left.Store(count)
	return parts[0], left, hold
}

// Hit ends the process as kill -9 does, if that is asked for here.
func Hit(name string) {
	if name == armed && left.Add(-1) == 0 {
		time.Sleep(hold)
		_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
		select {} // nothing goes on until the signal has come
	}
}
