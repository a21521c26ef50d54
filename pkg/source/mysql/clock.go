package mysql

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/waltrigger/waltrigger/pkg/source"
)

// clock makes a Tx.Seq of a position in the log. On one server positions grow with the
// log; another one, after a fail-over, counts its own, so an offset keeps them growing.
// It is kept, since what Barrier returned is: a trigger fires from there on. Any
// goroutine.
type clock struct {
	notes source.Notes

	mu sync.Mutex
	clockState
}

type clockState struct {
	Server  string `json:"server"`          // whose positions they are
	Offset  uint64 `json:"offset"`          // is added; may stand for a negative number
	Ceiling uint64 `json:"ceiling"`         // the largest that Barrier returned
	File    string `json:"file,omitempty"`  // a file of the log and when it was begun: a
	Begun   uint32 `json:"begun,omitempty"` // log that was reset has files of the same names
}

const noteClock = "log"

func (c *clock) load(notes map[string]string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clockState = clockState{}
	if text := notes[noteClock]; text != "" {
		if err := json.Unmarshal([]byte(text), &c.clockState); err != nil {
			return fmt.Errorf("read note %q: %w", noteClock, err)
		}
	}
	return nil
}

// change sets the state once it is saved.
func (c *clock) change(ctx context.Context, next clockState) error {
	text, err := json.Marshal(next)
	if err != nil {
		return fmt.Errorf("write note: %w", err)
	}
	if err := c.notes.SaveNotes(ctx, map[string]string{noteClock: string(text)}); err != nil {
		return fmt.Errorf("save the place in the log: %w", err)
	}
	c.clockState = next
	return nil
}

// seq is the Tx.Seq of a group that begins at pos of file.
func (c *clock) seq(file string, pos uint64) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return raw(file, pos) + c.Offset
}

// server is the one that was read last.
func (c *clock) server() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.Server
}

// connected is called when server is read from file on; last is the Seq read last.
func (c *clock) connected(ctx context.Context, server, file string, last uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.Server == server {
		return nil
	}
	next := clockState{Server: server, Ceiling: c.Ceiling}
	if c.Server != "" {
		next.Offset = max(last, c.Ceiling) + 1 - raw(file, 0)
	}
	return c.change(ctx, next)
}

// opened is called when a file of the log is read. It reports whether a file of this
// name was another one before, unless that does not matter.
func (c *clock) opened(ctx context.Context, file string, begun uint32, any bool) (other bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.File == file && (c.Begun == begun || !any) {
		return c.Begun != begun, nil
	}
	next := c.clockState
	next.File, next.Begun = file, begun
	return false, c.change(ctx, next)
}

// end is the Seq of the end of server's log, which Barrier returns.
func (c *clock) end(ctx context.Context, server, file string, pos uint64) (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.Server != server {
		return 0, fmt.Errorf("the log of another server is read (%s, now %s): it is reconnecting", c.Server, server)
	}
	seq := raw(file, pos) + c.Offset
	if seq <= c.Ceiling {
		return seq, nil
	}
	next := c.clockState
	next.Ceiling = seq
	return seq, c.change(ctx, next)
}
