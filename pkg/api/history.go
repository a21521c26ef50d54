package api

import (
	"context"
	"fmt"

	"github.com/waltrigger/waltrigger/pkg/trigger"
)

func (a *api) listHistory(ctx context.Context, r *request) (*response, error) {
	id, err := pathID(r)
	if err != nil {
		return nil, err
	}
	if err := onlyQuery(r.query, "destination", "source", "table", "key", "from", "to", "limit", "cursor"); err != nil {
		return nil, err
	}
	f, err := deliveryFilter(r.query)
	if err != nil {
		return nil, err
	}
	f.Trigger = id
	path := fmt.Sprintf("/api/action-triggers/%d/history", id)
	return a.page(r, path, f, func(f DeliveryFilter) ([]Delivery, error) { return a.Deliveries.History(ctx, f) })
}

func (a *api) replayTrigger(ctx context.Context, r *request) (*response, error) {
	id, err := pathID(r)
	if err != nil {
		return nil, err
	}
	am := Amendment{Verb: VerbRetry}
	fields := am.retryFields()
	fields["from"] = field{required: true, read: timeField(&am.Filter.From)}
	fields["to"] = field{read: timeField(&am.Filter.To)}
	fields["destination"] = field{read: textField(&am.Filter.Destination)}
	fields["table"] = field{read: textField(&am.Filter.Table)}
	fields["max_rate"] = field{read: rateField(&am.MaxRate)}
	fields["cursor"] = field{read: cursorField(&am)}
	problems := readBodyOf(r.body, "", fields)
	if f := am.Filter; len(problems) == 0 && !f.To.IsZero() && !f.From.Before(f.To) {
		problems = wrong("/to", trigger.CodeRange, "must be after from")
	}
	if len(problems) > 0 {
		return nil, invalidBody(problems)
	}
	am.Filter.Trigger = id
	out, err := a.Deliveries.Replay(ctx, am)
	return amended(out, err)
}
