package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// Deliveries are the deliveries that are kept, and the destinations that they are for.
// Errors are those of Triggers, ErrNoDelivery, ErrNoDestination and *RefusedError.
type Deliveries interface {
	// List gives those that f picks, ordered by id; with f.Newest, by commit and the
	// newest first.
	List(ctx context.Context, f DeliveryFilter) ([]Delivery, error)
	// Get gives one, with all that is kept of it.
	Get(ctx context.Context, id uint64) (Delivery, error)
	// Amend does what is asked for to all that the filter picks. One that is named
	// alone (by One) and cannot be changed is a *RefusedError.
	Amend(ctx context.Context, a Amendment) (Amended, error)
	// History gives what was sent for a trigger, the newest first.
	History(ctx context.Context, f DeliveryFilter) ([]Delivery, error)
	// Replay sends it once more.
	Replay(ctx context.Context, a Amendment) (Amended, error)
	// Destinations lists the destinations of all triggers, or of one (0 = all).
	Destinations(ctx context.Context, trigger int64) ([]Destination, error)
	// RetryNow has everything tried at once that waits for a destination.
	RetryNow(ctx context.Context, id string) (Destination, error)
}

// Errors of Deliveries.
var (
	ErrNoDelivery    = errors.New("there is no such delivery: it was delivered, erased, or removed because it was old")
	ErrNoDestination = errors.New("there is no such destination")
)

// RefusedError says why something that exists cannot be done as it is now.
type RefusedError struct {
	Code     string
	Detail   string    // in words, with what would help
	Earliest time.Time // where what was asked for is kept from then on only
}

func (e *RefusedError) Error() string { return e.Code + ": " + e.Detail }

// Statuses of deliveries.
const (
	StatusParked = "parked" // is still to be sent
	StatusDead   = "dead"   // is sent no more unless somebody asks for it
	StatusSent   = "sent"   // was accepted
)

// DeliveryFilter picks deliveries: those to which all that is set applies.
type DeliveryFilter struct {
	IDs         []uint64
	Status      string // "" = parked and dead
	Trigger     int64
	Destination string
	Source      string
	Table       string  // of the row: schema.table
	Key         *string // of the row
	Class, Code string
	From, To    time.Time // of the commit
	Newest      bool
	After       Place
	Limit       int
}

// Place is where a list goes on: behind a delivery.
type Place struct {
	ID uint64
	At time.Time // of its commit
}

// Verbs of an Amendment.
const (
	VerbRetry = "retry"
	VerbSkip  = "skip"
	VerbErase = "erase"
)

// Amendment is what somebody wants done to deliveries.
type Amendment struct {
	Verb    string
	One     uint64 // this delivery, whatever its status; 0 = those of Filter
	Filter  DeliveryFilter
	Current bool      // retry: rendered once more by the trigger as it is now
	MaxRate float64   // retry: tried in a second at most; 0 = as many as the destinations take
	From    time.Time // retry: the first is not tried before
}

// Amended is what became of it.
type Amended struct {
	Deliveries int    // changed
	Left       Left   // as they are
	More       *Place // there are more behind it: it took too long
	From       time.Time
}

// Left counts the deliveries that stay as they are, by the reason.
type Left struct {
	Body        int `json:"body_not_kept,omitempty"`
	Row         int `json:"row_not_kept,omitempty"` // from which it could be rendered once more
	Destination int `json:"destination_deleted,omitempty"`
}

// Delivery is one message for one destination.
type Delivery struct {
	ID          uint64     `json:"id,string"`
	Status      string     `json:"status"`
	MessageID   string     `json:"message_id"` // webhook-id
	Trigger     int64      `json:"trigger"`
	Destination string     `json:"destination"`
	Source      string     `json:"source"`
	Signal      string     `json:"signal"`
	ContentType string     `json:"content_type"` // app_label.model
	Table       string     `json:"table,omitempty"`
	Key         string     `json:"key,omitempty"`
	OrderingKey string     `json:"ordering_key,omitempty"`
	CommittedAt time.Time  `json:"committed_at"`
	ParkedAt    *time.Time `json:"parked_at,omitempty"`
	FailedAt    *time.Time `json:"failed_at,omitempty"`
	NextAt      *time.Time `json:"next_at,omitempty"` // not tried before
	SentAt      *time.Time `json:"sent_at,omitempty"`
	Failures    int        `json:"failures"`
	Class       string     `json:"class,omitempty"` // of the last failure
	Code        string     `json:"code,omitempty"`
	Error       string     `json:"error,omitempty"`
	*Details
}

// Details are what of a delivery only its own path shows.
type Details struct {
	Attempts []Attempt `json:"attempts"` // the last that failed
	Rendered bool      `json:"rendered"` // false: it could not be so far
	BodyKept bool      `json:"body_kept"`
	RowKept  bool      `json:"row_kept"` // what it is rendered from: it can be rendered once more
	*Content
}

// Content is what a delivery says: it is shown to admins only.
type Content struct {
	BodyType string   `json:"body_content_type"`
	Body     string   `json:"body"`
	Encoding string   `json:"body_encoding"` // text or base64
	Headers  []Header `json:"headers"`       // and parameters, as far as the row takes part in them
}

// Header is a header or parameter.
type Header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Attempt is one that failed.
type Attempt struct {
	At    time.Time `json:"at"`
	Class string    `json:"class"`
	Code  string    `json:"code"`
	Error string    `json:"error"`
}

// SetBody shows a body as text if it is some.
func (c *Content) SetBody(body []byte, isText bool) {
	c.Body, c.Encoding = string(body), "text"
	if !isText {
		c.Body, c.Encoding = base64.StdEncoding.EncodeToString(body), "base64"
	}
}

// deliveryQuery are the query parameters of lists of deliveries.
var deliveryQuery = []string{"status", "trigger", "destination", "source", "table", "key", "class", "code", "limit", "cursor"}

// defaultLimit is the length of a page where nothing else is said.
const defaultLimit = 100

func (a *api) listDeliveries(ctx context.Context, r *request) (*response, error) {
	if err := onlyQuery(r.query, deliveryQuery...); err != nil {
		return nil, err
	}
	f, err := deliveryFilter(r.query)
	if err != nil {
		return nil, err
	}
	return a.page(r, "/api/deliveries", f, func(f DeliveryFilter) ([]Delivery, error) { return a.Deliveries.List(ctx, f) })
}

// page answers with a page of a list and a link to the next one.
func (a *api) page(r *request, path string, f DeliveryFilter, find func(DeliveryFilter) ([]Delivery, error)) (*response, error) {
	limit := f.Limit
	f.Limit++ // one more tells whether there is a next page
	ds, err := find(f)
	if err != nil {
		return nil, err
	}
	header := map[string]string{}
	if len(ds) > limit {
		ds = ds[:limit]
		next := url.Values{}
		for k, v := range r.query {
			next[k] = v
		}
		last := ds[limit-1]
		next.Set("cursor", placeCursor(Place{last.ID, last.CommittedAt}, time.Time{}))
		header["Link"] = fmt.Sprintf(`<%s?%s>; rel="next"`, path, next.Encode())
	}
	res := list(ds)
	res.header = header
	return res, nil
}

func deliveryFilter(v url.Values) (DeliveryFilter, error) {
	f := DeliveryFilter{
		Status: v.Get("status"), Destination: v.Get("destination"), Source: v.Get("source"), Table: v.Get("table"),
		Class: v.Get("class"), Code: v.Get("code"),
	}
	if v.Has("status") && !isStatus(f.Status) {
		return f, badRequest("invalid_query", "status must be parked, dead or sent")
	}
	var err error
	if f.Trigger, err = triggerOf(v); err != nil {
		return f, err
	}
	if v.Has("key") {
		key := v.Get("key")
		f.Key = &key
	}
	if f.Limit, err = pageLimit(v); err != nil {
		return f, err
	}
	if v.Has("cursor") {
		p, _, ok := parsePlaceCursor(v.Get("cursor"))
		if !ok {
			return f, badRequest("invalid_query", "cursor is none that this API gave out")
		}
		f.After = p
	}
	for name, into := range map[string]*time.Time{"from": &f.From, "to": &f.To} {
		if !v.Has(name) {
			continue
		}
		at, err := time.Parse(time.RFC3339Nano, v.Get(name))
		if err != nil {
			return f, badRequest("invalid_query", "%s must be a time such as 2026-01-02T15:04:05Z", name)
		}
		*into = at
	}
	return f, nil
}

// pageLimit reads the length of a page.
func pageLimit(v url.Values) (int, error) {
	if !v.Has("limit") {
		return defaultLimit, nil
	}
	n, err := strconv.Atoi(v.Get("limit"))
	if err != nil || n < 1 || n > maxLimit {
		return 0, badRequest("invalid_query", "limit must be a whole number from 1 to %d", maxLimit)
	}
	return n, nil
}

func isStatus(s string) bool { return s == StatusParked || s == StatusDead || s == StatusSent }

// placeCursor is opaque to clients. from is when the next delivery may be tried, for a
// change that goes on.
func placeCursor(p Place, from time.Time) string {
	text := fmt.Sprintf("place:%d:%d:", p.ID, p.At.UnixMicro())
	if !from.IsZero() {
		text += strconv.FormatInt(from.UnixMicro(), 10)
	}
	return base64.RawURLEncoding.EncodeToString([]byte(text))
}

func parsePlaceCursor(s string) (p Place, from time.Time, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	parts := strings.Split(string(b), ":")
	if err != nil || len(parts) != 4 || parts[0] != "place" {
		return p, from, false
	}
	id, idErr := strconv.ParseUint(parts[1], 10, 64)
	at, atErr := strconv.ParseInt(parts[2], 10, 64)
	if idErr != nil || atErr != nil || id == 0 {
		return p, from, false
	}
	if parts[3] != "" {
		n, err := strconv.ParseInt(parts[3], 10, 64)
		if err != nil {
			return p, from, false
		}
		from = time.UnixMicro(n)
	}
	return Place{id, time.UnixMicro(at)}, from, true
}

func (a *api) getDelivery(ctx context.Context, r *request) (*response, error) {
	id, err := deliveryID(r)
	if err != nil {
		return nil, err
	}
	d, err := a.Deliveries.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	if i := infoOf(ctx); i != nil && !i.admin {
		d.Content = nil
	}
	return &response{status: http.StatusOK, body: d}, nil
}

// deliveryID reads the id of the path. What is no id names no delivery.
func deliveryID(r *request) (uint64, error) {
	text := r.param("id")
	id, err := strconv.ParseUint(text, 10, 63)
	if err != nil || id == 0 || strconv.FormatUint(id, 10) != text {
		return 0, ErrNoDelivery
	}
	return id, nil
}

func (a *api) retryDelivery(ctx context.Context, r *request) (*response, error) {
	am := Amendment{Verb: VerbRetry}
	if problems := readBodyOf(r.body, "", am.retryFields()); len(problems) > 0 {
		return nil, invalidBody(problems)
	}
	return a.amendOne(ctx, r, am)
}

func (a *api) skipDelivery(ctx context.Context, r *request) (*response, error) {
	return a.amendOne(ctx, r, Amendment{Verb: VerbSkip})
}

func (a *api) amendOne(ctx context.Context, r *request, am Amendment) (*response, error) {
	var err error
	if am.One, err = deliveryID(r); err != nil {
		return nil, err
	}
	out, err := a.Deliveries.Amend(ctx, am)
	return amended(out, err)
}

func (a *api) eraseDelivery(ctx context.Context, r *request) (*response, error) {
	id, err := deliveryID(r)
	if err != nil {
		return nil, err
	}
	if _, err := a.Deliveries.Amend(ctx, Amendment{Verb: VerbErase, One: id}); err != nil {
		return nil, err
	}
	return &response{status: http.StatusNoContent}, nil
}

// amendDeliveries changes all that a filter picks.
func (a *api) amendDeliveries(verb string) handler {
	return func(ctx context.Context, r *request) (*response, error) {
		am := Amendment{Verb: verb}
		given := false
		fields := map[string]field{
			"filter": {required: true, read: func(raw json.RawMessage, at string) []trigger.Problem {
				problems := readBodyOf(raw, at, am.Filter.fields(&given))
				if len(problems) == 0 && !given {
					problems = []trigger.Problem{{Pointer: at, Code: trigger.CodeRequired, Detail: "is empty: name at least one thing, such as {\"status\": \"dead\"}"}}
				}
				return problems
			}},
			"limit":  {read: wholeField(&am.Filter.Limit, 1, 1_000_000_000)},
			"cursor": {read: cursorField(&am)},
		}
		if verb == VerbRetry {
			for name, f := range am.retryFields() {
				fields[name] = f
			}
			fields["max_rate"] = field{read: rateField(&am.MaxRate)}
		}
		if problems := readBodyOf(r.body, "", fields); len(problems) > 0 {
			return nil, invalidBody(problems)
		}
		out, err := a.Deliveries.Amend(ctx, am)
		return amended(out, err)
	}
}

func amended(out Amended, err error) (*response, error) {
	if err != nil {
		return nil, err
	}
	body := struct {
		Deliveries int    `json:"deliveries"`
		Left       Left   `json:"left"`
		Complete   bool   `json:"complete"`
		Cursor     string `json:"cursor,omitempty"`
	}{out.Deliveries, out.Left, out.More == nil, ""}
	if out.More != nil {
		body.Cursor = placeCursor(*out.More, out.From)
	}
	return &response{status: http.StatusOK, body: body}, nil
}
