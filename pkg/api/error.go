package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// problem is an error as RFC 9457 has it.
type problem struct {
	Type      string            `json:"type"`
	Title     string            `json:"title"`
	Status    int               `json:"status"`
	Code      string            `json:"code"` // short and stable
	Detail    string            `json:"detail,omitempty"`
	RequestID string            `json:"request_id,omitempty"`
	Errors    []trigger.Problem `json:"errors,omitempty"`   // everything that is wrong with the body
	Earliest  *time.Time        `json:"earliest,omitempty"` // what was asked for is kept from then on only

	RetryAfter time.Duration `json:"-"`
}

func (p *problem) Error() string { return fmt.Sprintf("%d %s: %s", p.Status, p.Code, p.Detail) }

// invalid makes the answer to a body with problems.
func invalid(problems []trigger.Problem) *problem {
	p := &problem{Status: http.StatusUnprocessableEntity, Code: "invalid", Detail: "the body is not a valid trigger; errors lists everything that is wrong", Errors: problems}
	if trigger.Malformed(problems) {
		p.Status, p.Code, p.Detail = http.StatusBadRequest, "malformed", "the body is not proper JSON"
		for _, e := range problems {
			if e.Code == trigger.CodeTooLarge {
				p.Status, p.Code, p.Detail = http.StatusRequestEntityTooLarge, trigger.CodeTooLarge, "the body is too large"
			}
		}
	}
	return p
}

// badRequest makes the answer to a request whose URL or headers are wrong.
func badRequest(code, format string, args ...any) *problem {
	return &problem{Status: http.StatusBadRequest, Code: code, Detail: fmt.Sprintf(format, args...)}
}

// asProblem says err in HTTP. Errors of unknown kind may hold anything: they are not
// shown.
func asProblem(err error) *problem {
	var p *problem
	var bad *trigger.InvalidError
	var conflict *trigger.ConflictError
	var unavailable *UnavailableError
	var refused *RefusedError
	var he *echo.HTTPError
	switch {
	case errors.As(err, &p):
		c := *p
		return &c
	case errors.As(err, &bad):
		return invalid(bad.Problems)
	case errors.As(err, &conflict):
		return &problem{
			Status: http.StatusConflict, Code: "conflict", Detail: conflict.Detail,
			Errors: []trigger.Problem{{Pointer: conflict.Pointer, Code: trigger.CodeConflict, Detail: conflict.Detail}},
		}
	case errors.As(err, &unavailable):
		return &problem{Status: http.StatusServiceUnavailable, Code: unavailable.Code, Detail: unavailable.Detail, RetryAfter: max(unavailable.RetryAfter, time.Second)}
	case errors.As(err, &refused):
		p := &problem{Status: http.StatusConflict, Code: refused.Code, Detail: refused.Detail}
		if !refused.Earliest.IsZero() {
			p.Earliest = &refused.Earliest
		}
		return p
	case errors.Is(err, ErrNoDelivery), errors.Is(err, ErrNoDestination), errors.Is(err, ErrNoBackfill), errors.Is(err, ErrNoSource):
		return &problem{Status: http.StatusNotFound, Code: "not_found", Detail: err.Error()}
	case errors.Is(err, trigger.ErrNotFound):
		return &problem{Status: http.StatusNotFound, Code: "not_found", Detail: "there is no such trigger"}
	case errors.Is(err, trigger.ErrStale):
		return &problem{Status: http.StatusPreconditionFailed, Code: "stale", Detail: "the trigger was changed since; read it again"}
	case errors.As(err, &he) && he.Code == http.StatusMethodNotAllowed:
		return &problem{Status: he.Code, Code: "method_not_allowed", Detail: "Allow lists what is"}
	case errors.As(err, &he) && he.Code < http.StatusInternalServerError:
		return &problem{Status: he.Code, Code: "not_found", Detail: "there is nothing at this path"}
	}
	return &problem{Status: http.StatusInternalServerError, Code: "internal"}
}

// fail is echo's error handler.
func (a *api) fail(err error, c echo.Context) {
	p := asProblem(err)
	i := infoOf(c.Request().Context())
	if p.Status == http.StatusInternalServerError {
		p.Detail = "something went wrong here; the log has more under the request id"
		a.Log.ErrorContext(c.Request().Context(), "answer request", "request_id", i.id, "error", err)
	}
	a.answer(c.Response(), i, p)
}

func (a *api) answer(w http.ResponseWriter, i *info, p *problem) {
	p.Type, p.Title = "about:blank", http.StatusText(p.Status)
	if i != nil {
		p.RequestID = i.id
	}
	body, err := json.Marshal(p)
	if err != nil { // strings always encode
		panic(fmt.Sprintf("encode problem: %v", err))
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if p.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(p.RetryAfter.Seconds()))))
	}
	w.WriteHeader(p.Status)
	w.Write(body) //nolint:errcheck // a client that has gone cannot be told
}
