package api

import (
	"context"
	"net/http"
	"time"

	"golang.org/x/time/rate"

	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// Previewer shows what triggers would do. Errors are those of Triggers.
type Previewer interface {
	// PreviewNew renders what a trigger that is not stored would send for a sample, and
	// sends nothing. t is the caller's no more.
	PreviewNew(ctx context.Context, t *trigger.Trigger, s *trigger.Sample) (Preview, error)
	// Preview does so for a stored trigger.
	Preview(ctx context.Context, id int64, s *trigger.Sample) (Preview, error)
	// Test sends it, marked as a test, once, and says what became of it.
	Test(ctx context.Context, id int64, s *trigger.Sample) (Preview, error)
	// Shadow lists what the destinations of a trigger in mode shadow would have been sent
	// last, newest first.
	Shadow(ctx context.Context, id int64) ([]ShadowMessage, error)
}

// Preview is what a trigger makes of a sample.
type Preview struct {
	Sample   PreviewSample  `json:"sample"`
	Matched  bool           `json:"matched"`
	Reason   string         `json:"reason,omitempty"` // why not
	Warnings []string       `json:"warnings"`
	Events   []PreviewEvent `json:"events"` // one for each signal of the trigger that the operation raises
}

// PreviewSample says what was looked at.
type PreviewSample struct {
	Source    string `json:"source"`
	AppLabel  string `json:"app_label"`
	ModelName string `json:"model_name"`
	Schema    string `json:"schema"`
	Table     string `json:"table"`
	Operation string `json:"operation"`
	From      string `json:"from"` // given, key, latest
}

// PreviewEvent is a signal.
type PreviewEvent struct {
	Signal   string           `json:"signal"`
	ID       string           `json:"id"`
	Matched  bool             `json:"matched"`
	Reason   string           `json:"reason,omitempty"`
	Requests []PreviewRequest `json:"requests"`
}

// PreviewRequest is what one destination gets. Dynamic values stand there by their names,
// literal secrets as markers.
type PreviewRequest struct {
	At          string            `json:"at"`                    // JSON pointer to the destination in the trigger
	Destination string            `json:"destination,omitempty"` // its id, once it is stored
	Kind        string            `json:"kind"`
	Name        string            `json:"name,omitempty"` // of the broker or action
	ID          string            `json:"id"`
	Method      string            `json:"method,omitempty"`
	URL         string            `json:"url,omitempty"`
	Headers     map[string]string `json:"headers"`
	Parameters  map[string]string `json:"parameters,omitempty"`
	Key         string            `json:"key,omitempty"`
	ContentType string            `json:"content_type,omitempty"`
	Body        string            `json:"body"`
	Bytes       int               `json:"bytes"`
	Truncated   bool              `json:"truncated,omitempty"` // the body is longer than what is shown
	Error       string            `json:"error,omitempty"`     // it cannot be rendered: it would wait
	Result      *TestResult       `json:"result,omitempty"`
}

// TestResult is what became of a test.
type TestResult struct {
	Status string `json:"status"` // accepted, failed, not_sent
	Class  string `json:"class,omitempty"`
	Code   string `json:"code,omitempty"`
	Detail string `json:"detail,omitempty"`
}

// ShadowMessage is a message that was rendered and not sent.
type ShadowMessage struct {
	At          time.Time         `json:"at"`
	Destination string            `json:"destination"`
	ID          string            `json:"id"`
	Signal      string            `json:"signal"`
	Key         string            `json:"key,omitempty"`
	Method      string            `json:"method,omitempty"`
	URL         string            `json:"url,omitempty"`
	Headers     map[string]string `json:"headers"`
	Parameters  map[string]string `json:"parameters,omitempty"`
	ContentType string            `json:"content_type"`
	Body        string            `json:"body"`
	Bytes       int               `json:"bytes"`
	Truncated   bool              `json:"truncated,omitempty"`
}

// limits bound what asks the database or other machines at the caller's word.
type limits struct{ preview, test *rate.Limiter }

func newLimits() limits {
	return limits{preview: rate.NewLimiter(5, 20), test: rate.NewLimiter(1, 5)}
}

func allow(l *rate.Limiter, what string) error {
	if l.Allow() {
		return nil
	}
	return &problem{Status: http.StatusTooManyRequests, Code: "too_many_requests", Detail: "there were many " + what + " of late", RetryAfter: time.Second}
}

func (a *api) previewNew(ctx context.Context, r *request) (*response, error) {
	t, s, problems := trigger.DecodePreview(r.body, true)
	if len(problems) > 0 {
		return nil, invalid(problems)
	}
	if err := allow(a.limits.preview, "previews"); err != nil {
		return nil, err
	}
	p, err := a.Previewer.PreviewNew(ctx, t, s)
	return previewed(p, err)
}

func (a *api) previewStored(ctx context.Context, r *request) (*response, error) {
	return a.try(ctx, r, a.limits.preview, "previews", a.Previewer.Preview)
}

func (a *api) testStored(ctx context.Context, r *request) (*response, error) {
	return a.try(ctx, r, a.limits.test, "tests", a.Previewer.Test)
}

func (a *api) try(ctx context.Context, r *request, l *rate.Limiter, what string, f func(context.Context, int64, *trigger.Sample) (Preview, error)) (*response, error) {
	id, err := pathID(r)
	if err != nil {
		return nil, err
	}
	_, s, problems := trigger.DecodePreview(r.body, false)
	if len(problems) > 0 {
		return nil, invalid(problems)
	}
	if err := allow(l, what); err != nil {
		return nil, err
	}
	p, err := f(ctx, id, s)
	return previewed(p, err)
}

func previewed(p Preview, err error) (*response, error) {
	if err != nil {
		return nil, err
	}
	if p.Warnings == nil {
		p.Warnings = []string{}
	}
	return &response{status: http.StatusOK, body: p}, nil
}

func (a *api) listShadow(ctx context.Context, r *request) (*response, error) {
	id, err := pathID(r)
	if err != nil {
		return nil, err
	}
	messages, err := a.Previewer.Shadow(ctx, id)
	if err != nil {
		return nil, err
	}
	return list(messages), nil
}
