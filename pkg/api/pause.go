package api

import (
	"context"

	"github.com/waltrigger/waltrigger/pkg/trigger"
)

func (a *api) pauseTrigger(ctx context.Context, r *request) (*response, error) {
	mode := string(trigger.PausedKeep)
	problems := readBodyOf(r.body, "", map[string]field{"mode": {read: textField(&mode, string(trigger.PausedKeep), string(trigger.PausedDrop))}})
	if len(problems) > 0 {
		return nil, invalidBody(problems)
	}
	return a.pause(ctx, r, trigger.Paused(mode))
}

func (a *api) resumeTrigger(ctx context.Context, r *request) (*response, error) {
	return a.pause(ctx, r, "")
}

func (a *api) pause(ctx context.Context, r *request, mode trigger.Paused) (*response, error) {
	id, err := pathID(r)
	if err != nil {
		return nil, err
	}
	o, err := writeOptions(r)
	if err != nil {
		return nil, err
	}
	rec, err := a.Triggers.Pause(ctx, id, mode, o)
	return a.changed(rec, err)
}
