package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/waltrigger/waltrigger/pkg/api"
	"github.com/waltrigger/waltrigger/pkg/deliver"
)

// What deliveries wait for is in the memory of the active instance alone. Others ask it
// through the store that they share:
//
//	another   Ask ──▶ store ◀── Calls (every callEvery) the active one
//	          AnswerTo ◀── store ◀── Answer ─────────────────┘

const (
	callEvery = 200 * time.Millisecond
	callWait  = 30 * time.Second // longer than a take-over, and than it takes to answer
)

// call asks for one thing.
type call struct {
	Amend    *deliver.Request `json:",omitempty"`
	Status   bool             `json:",omitempty"`
	RetryNow string           `json:",omitempty"`
}

// reply is the answer to a call.
type reply struct {
	Outcome deliver.Outcome  `json:",omitzero"`
	Status  []deliver.Status `json:",omitempty"`
	Found   bool             `json:",omitempty"` // what was to be tried
	NoStore bool             `json:",omitempty"`
	Error   string           `json:",omitempty"`
}

// ask has the active instance do c, be it this one or another.
func (s *deliveries) ask(ctx context.Context, c call) (reply, error) {
	s.triggers.mu.Lock()
	d := s.triggers.deliver
	s.triggers.mu.Unlock()
	if d != nil {
		r, err := do(ctx, d, c)
		if s.triggers.leader == nil || !superseded(err) {
			return r, err
		}
	}
	if s.triggers.leader == nil {
		return reply{}, errStopping
	}
	return s.askOther(ctx, c)
}

var errStopping = &api.UnavailableError{Code: "stopping", Detail: "the daemon is stopping"}

// superseded reports whether another instance has become the active one, or will.
func superseded(err error) bool {
	return errors.Is(err, deliver.ErrTaken) || errors.Is(err, deliver.ErrClosed) || errors.Is(err, context.Canceled)
}

func do(ctx context.Context, d *deliver.Deliverer, c call) (r reply, err error) {
	switch {
	case c.Amend != nil:
		r.Outcome, err = d.Amend(ctx, *c.Amend)
	case c.Status:
		r.Status = d.Status()
	default:
		r.Found = d.RetryNow(c.RetryNow)
	}
	return r, err
}

func (s *deliveries) askOther(ctx context.Context, c call) (reply, error) {
	body, err := json.Marshal(c)
	if err != nil {
		return reply{}, fmt.Errorf("encode call: %w", err)
	}
	id, err := s.store.Ask(ctx, string(body))
	if err != nil {
		return reply{}, err
	}
	defer func() {
		if err := s.store.ForgetCall(context.WithoutCancel(ctx), id); err != nil {
			s.triggers.log.Warn("forget a call of the active instance", "err", err)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, callWait)
	defer cancel()
	for {
		answer, err := s.store.AnswerTo(ctx, id)
		if err == nil && answer != "" {
			return decode(answer)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return reply{}, &api.UnavailableError{Code: "no_active_instance", Detail: "no instance is active, or it does not answer", RetryAfter: 5 * time.Second}
		}
	}
}

func decode(answer string) (r reply, err error) {
	if err := json.Unmarshal([]byte(answer), &r); err != nil {
		return r, fmt.Errorf("read the answer of the active instance: %w", err)
	}
	switch {
	case r.NoStore:
		err = deliver.ErrNoStore
	case r.Error != "":
		err = &api.UnavailableError{Code: "store_unavailable", Detail: "the active instance could not do it; its log says why", RetryAfter: 5 * time.Second}
	}
	return r, err
}

// answer answers the calls of other instances until ctx ends.
func (d *daemon) answer(ctx context.Context, dv *deliver.Deliverer) {
	tick := time.NewTicker(callEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		calls, err := d.store.Calls(ctx)
		if err != nil {
			continue // the leader says that the store is away
		}
		for _, c := range calls {
			if err := d.answerOne(ctx, dv, c.ID, c.Body); err != nil && ctx.Err() == nil {
				d.log.Error("answer another instance", "err", err)
			}
		}
	}
}

func (d *daemon) answerOne(ctx context.Context, dv *deliver.Deliverer, id int64, body string) error {
	var c call
	err := json.Unmarshal([]byte(body), &c)
	var r reply
	if err == nil {
		r, err = do(ctx, dv, c)
	}
	if superseded(err) {
		return err // the next one answers
	}
	if r.NoStore = errors.Is(err, deliver.ErrNoStore); err != nil && !r.NoStore {
		r.Error = err.Error()
	}
	text, jsonErr := json.Marshal(r)
	if jsonErr != nil {
		return jsonErr
	}
	if r.NoStore {
		err = nil
	}
	return errors.Join(err, d.store.Answer(ctx, id, string(text)))
}
