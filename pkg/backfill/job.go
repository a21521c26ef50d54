// Package backfill sends the rows that tables have already: jobs, which a store keeps, and
// the runner that works through them, part by part. How the rows of a part get in between
// the changes of the log is the pipeline's.
package backfill

import (
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"github.com/waltrigger/waltrigger/pkg/source"
)

// Wish is what people want of a job. They alone write it.
type Wish string

// Wishes.
const (
	Run    Wish = "run"
	Pause  Wish = "pause"
	Cancel Wish = "cancel"
)

// State is where a job is. The active instance alone writes it, once the job is made.
type State string

// States.
const (
	Queued    State = "queued"  // behind another job of its source
	Running   State = "running" // Detail says what it waits for, if it does
	Paused    State = "paused"
	Done      State = "done"
	Failed    State = "failed" // some of its tables could not be read to their ends
	Cancelled State = "cancelled"
)

// Over reports whether nothing more is done in s.
func (s State) Over() bool { return s == Done || s == Failed || s == Cancelled }

// Job is a backfill of some tables of a source for some triggers.
type Job struct {
	ID       string // part of the ids of its events: no other job ever has it
	Source   string
	Triggers []int64 // as they were when it was made
	MaxRate  float64 // rows a second at most; 0 = as fast as they are delivered
	Wish     Wish
	Created  time.Time
	Progress
}

// Progress is what the active instance writes of a job.
type Progress struct {
	State    State
	Detail   string
	Tables   []Table
	Rate     float64 // rows a second, of late
	Started  time.Time
	Finished time.Time
}

// Table is a table of a job, and how far it is read.
type Table struct {
	source.TableName
	After []string `json:",omitempty"` // source.Scan.After of the next part
	Rows  int64    // of which everything is delivered, parked or of no interest
	Size  int64    // about, when the job came to it; -1 = unknown
	Over  bool
	Error string `json:",omitempty"` // why it was not read to its end
}

// NewID makes the id of a job: short, and unlike any other that was ever made, also by
// other stores.
func NewID() string { return strings.ToLower(rand.Text()[:12]) }

// Rows counts the rows that are done.
func (j *Job) Rows() int64 {
	n := int64(0)
	for i := range j.Tables {
		n += j.Tables[i].Rows
	}
	return n
}

// Size is about how many rows there are, done ones included; -1 = nobody knows.
func (j *Job) Size() int64 {
	n := int64(0)
	for i := range j.Tables {
		switch t := &j.Tables[i]; {
		case t.Over:
			n += t.Rows
		case t.Size < 0:
			return -1
		default:
			n += max(t.Size, t.Rows)
		}
	}
	return n
}

// Errors of the store.
var (
	ErrNotFound = errors.New("there is no such backfill")
	ErrOver     = errors.New("the backfill is over")
)

// Shown is the state as people see it: a wish that nobody has come to yet is part of it.
func (j *Job) Shown() string {
	switch {
	case j.State.Over():
	case j.Wish == Cancel:
		return "cancelling"
	case j.Wish == Pause && j.State == Running:
		return "pausing"
	case j.Wish == Pause:
		return string(Paused)
	case j.State == Paused:
		return string(Queued)
	}
	return string(j.State)
}
