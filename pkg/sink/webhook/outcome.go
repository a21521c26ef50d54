package webhook

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

// maxRetryAfter bounds what a receiver may ask for.
const maxRetryAfter = 24 * time.Hour

// outcome says what a response means, nil = accepted.
func outcome(t *target, r response) error {
	if r.status < 300 {
		return nil
	}
	e := &sink.Error{Class: sink.Rejected, Code: "http_" + strconv.Itoa(r.status)}
	what := strconv.Itoa(r.status)
	if text := http.StatusText(r.status); text != "" {
		what += " " + text
	}
	e.Err = fmt.Errorf("%s answered %s", t, what)
	switch s := r.status; {
	case s < 400:
		e.Code = "redirect_refused"
		e.Err = fmt.Errorf("%s answered %s: redirects are not followed; %w", t, what, leads(t, r.location))
	case s == http.StatusGone:
		e.Class = sink.Gone
	case s == http.StatusRequestTimeout, s == http.StatusTooEarly, s == http.StatusTooManyRequests, s >= 500:
		e.Class = sink.Unavailable
		e.RetryAfter = retryAfter(r.retryAfter, time.Now())
	}
	return e
}

// leads names where a redirect leads. Path and query may hold a secret and are only
// compared.
func leads(t *target, location string) error {
	if location == "" {
		return errors.New("it names no target")
	}
	base := &url.URL{Scheme: "http", Host: t.host}
	if t.secure {
		base.Scheme = "https"
	}
	from, err := base.Parse(t.path)
	if err != nil {
		return errors.New("its target is no URL")
	}
	to, err := from.Parse(location)
	if err != nil {
		return errors.New("its target is no URL")
	}
	same := to.Host == from.Host
	switch {
	case same && to.Scheme == from.Scheme && to.Path == from.Path+"/":
		return errors.New("its target is the same URL with / at the end of the path")
	case same && to.Scheme == from.Scheme:
		return errors.New("its target is another path of the same host")
	case same && to.Path == from.Path && to.Scheme == "https":
		return errors.New("its target is the same URL with https")
	}
	return fmt.Errorf("its target is %s://%s", to.Scheme, to.Host)
}

// retryAfter reads seconds or a date; 0 = none, or in the past.
func retryAfter(s string, now time.Time) time.Duration {
	if s == "" {
		return 0
	}
	var d time.Duration
	if n, err := strconv.ParseUint(s, 10, 32); err == nil {
		d = time.Duration(n) * time.Second
	} else if at, err := http.ParseTime(s); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), maxRetryAfter)
}
