package resolve

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Command is a program that prints the value. No shell is between, so nothing in its
// arguments is expanded. What it prints beside the value is not kept, as that may tell
// of the value: run it by hand to see.
type Command struct {
	Argv []string `koanf:"argv" secret:"true"` // program and arguments
	// Env is its environment, beside PATH and HOME of the daemon.
	Env map[string]string `koanf:"env" secret:"true"`
}

func (c *Command) given() bool         { return c.Argv != nil || c.Env != nil }
func (c *Command) ttl() time.Duration  { return usualTTL }
func (c *Command) fetcher(Env) fetcher { return c }

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func (c *Command) check(k *checker) {
	if len(c.Argv) == 0 || c.Argv[0] == "" {
		k.add("command.argv", "is required: the program and its arguments, as a list")
	}
	for i, a := range c.Argv {
		if strings.Contains(a, "\x00") {
			k.add(fmt.Sprintf("command.argv[%d]", i), "holds a NUL character")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Env)) {
		if !envName.MatchString(name) {
			k.add("command.env."+name, "is no legal name of an environment variable")
		} else if strings.Contains(c.Env[name], "\x00") {
			k.add("command.env."+name, "holds a NUL character")
		}
	}
}

var errPrintedTooMuch = errors.New("it printed more than 64 KiB")

// waitDelay is how long the output is waited for after the program ended, should a
// process that it left behind hold it open.
const waitDelay = time.Second

func (c *Command) fetch(ctx context.Context) (string, time.Time, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	out := &printed{tooMuch: func() { cancel(errPrintedTooMuch) }}
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	cmd.Env = c.environment()
	cmd.Stdout = out
	cmd.WaitDelay = waitDelay
	// A group of its own, so that what the program started ends with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	kill := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel = kill
	if err := cmd.Start(); err != nil {
		return "", time.Time{}, fmt.Errorf("start %s: %w", c.Argv[0], err)
	}
	err := cmd.Wait()
	_ = kill() // what it left behind; as a rule nothing is
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		err = fmt.Errorf("%s was killed: %w", c.Argv[0], context.Cause(ctx))
	case errors.Is(err, exec.ErrWaitDelay):
		err = nil
	case errors.As(err, &exit):
		err = fmt.Errorf("%s: %s", c.Argv[0], exit.ProcessState) // which holds nothing that was printed
	}
	return withoutNewline(out.text), time.Time{}, err
}

func (c *Command) environment() []string {
	out := []string{}
	for _, name := range []string{"PATH", "HOME"} {
		if v, ok := os.LookupEnv(name); ok {
			out = append(out, name+"="+v)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Env)) {
		out = append(out, name+"="+c.Env[name]) // the last one of a name counts
	}
	return out
}

// printed collects what a program prints, up to a limit.
type printed struct {
	text    []byte
	tooMuch func()
}

func (p *printed) Write(b []byte) (int, error) {
	if len(p.text)+len(b) > maxValue+len("\r\n") {
		p.tooMuch()
		return 0, errPrintedTooMuch
	}
	p.text = append(p.text, b...)
	return len(b), nil
}
