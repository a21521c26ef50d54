package aws

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	smithy "github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

// Codes of errors.
const (
	CodeTooLarge = "too_large"
	CodeMissing  = "not_found"      // the queue, topic or function
	CodeAuth     = "not_authorized" // or the key of an encryption cannot be used
	CodeHeader   = "header_invalid"
	CodeBody     = "body_invalid"
	CodeResponse = "response_invalid"
)

// Error codes of AWS that mean the same for all services, in lower case and without what
// stands before the last dot or # ("AWS.SimpleQueueService.").
var (
	authCodes = []string{
		"accessdenied", "accessdeniedexception", "authorizationerror", "authorizationerrorexception", "expiredtoken", "expiredtokenexception",
		"incompletesignature", "incompletesignatureexception", "invalidaccesskeyid", "invalidclienttokenid", "invalididentitytoken", "invalidsecurity",
		"invalidsignatureexception", "missingauthenticationtoken", "missingauthenticationtokenexception", "notauthorized", "optinrequired",
		"requestexpired", "requesttimetooskewed", "signaturedoesnotmatch", "unrecognizedclientexception", "invalidsecurityexception",
		"kmsaccessdenied", "kmsaccessdeniedexception", "kmsdisabled", "kmsdisabledexception", "kmsinvalidstate", "kmsinvalidstateexception",
		"kmsinvalidkeyusage", "kmsnotfound", "kmsnotfoundexception", "kmsoptinrequired",
	}
	missingCodes = []string{
		"nonexistentqueue", "queuedoesnotexist", "queuedeletedrecently", "notfound", "notfoundexception", "resourcenotfound", "resourcenotfoundexception",
	}
	throttleCodes = []string{
		"throttling", "throttlingexception", "throttled", "throttledexception", "requestthrottled", "requestthrottledexception", "toomanyrequests",
		"toomanyrequestsexception", "requestlimitexceeded", "kmsthrottling", "kmsthrottlingexception", "ec2throttledexception", "overlimit",
		"bandwidthlimitexceeded", "slowdown", "limitexceededexception", "provisionedthroughputexceededexception",
	}
	unavailableCodes = []string{"internalerror", "internalfailure", "internalerrorexception", "serviceexception", "serviceunavailable", "requesttimeout", "requesttimeoutexception"}
	tooLargeCodes    = []string{"batchrequesttoolong", "requesttoolargeexception", "requestentitytoolarge", "requestentitytoolargeexception", "entitytoolarge"}
)

// maxMessage bounds what an error repeats of a service's own words, in bytes.
const maxMessage = 300

// Classify says what err of a request means for its messages; ctx is the request's.
func (s *Session) Classify(ctx context.Context, err error) *sink.Error {
	var (
		known   *sink.Error
		refusal interface{ Blocked() bool }
		api     smithy.APIError
		resp    *smithyhttp.ResponseError
		creds   *credentialsError
	)
	switch {
	case errors.As(err, &known):
		return known
	case ctx.Err() != nil:
		return sink.Network(ctx.Err()) // the SDK's words say no more
	case errors.As(err, &refusal) && refusal.Blocked():
		return sink.Network(err)
	case errors.As(err, &api):
		e := s.Code(api.ErrorCode(), api.ErrorMessage())
		if errors.As(err, &resp) {
			s.status(e, resp)
		}
		if errors.As(err, &creds) {
			e.Err = fmt.Errorf("get credentials: %w", e.Err)
		}
		return e
	case errors.As(err, &creds):
		return &sink.Error{Class: sink.Misconfigured, Code: CodeAuth, Err: errors.New(s.short(creds.Error()))}
	case errors.As(err, &resp) && resp.HTTPStatusCode() >= 300:
		e := &sink.Error{Class: sink.Rejected, Err: fmt.Errorf("answered %d %s", resp.HTTPStatusCode(), http.StatusText(resp.HTTPStatusCode()))}
		s.status(e, resp)
		return e
	}
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	e := sink.Network(err)
	e.Err = hidden{s.short(err.Error()), err}
	return e
}

// hidden is an error with a text of its own.
type hidden struct {
	text string
	error
}

func (h hidden) Error() string { return h.text }

func (h hidden) Unwrap() error { return h.error }

// status refines e by an answer's status, where the code said little.
func (s *Session) status(e *sink.Error, resp *smithyhttp.ResponseError) {
	status := resp.HTTPStatusCode()
	if e.Class == sink.Rejected {
		switch {
		case status == http.StatusUnauthorized || status == http.StatusForbidden:
			e.Class, e.Code = sink.Misconfigured, CodeAuth
		case status == http.StatusNotFound:
			e.Class, e.Code = sink.Misconfigured, CodeMissing
		case status == http.StatusRequestEntityTooLarge:
			e.Class, e.Code = sink.Permanent, CodeTooLarge
		case status == http.StatusTooManyRequests || status == http.StatusRequestTimeout || status >= 500:
			e.Class = sink.Unavailable
		}
	}
	if e.Code == "" {
		e.Code = "http_" + strconv.Itoa(status)
	}
	if e.Class == sink.Unavailable && resp.Response != nil {
		e.RetryAfter = retryAfter(resp.Response.Header.Get("Retry-After"))
	}
}

// maxRetryAfter bounds what a service may ask for.
const maxRetryAfter = 24 * time.Hour

func retryAfter(s string) time.Duration {
	var d time.Duration
	if n, err := strconv.ParseUint(s, 10, 32); err == nil {
		d = time.Duration(n) * time.Second
	} else if at, err := http.ParseTime(s); err == nil {
		d = time.Until(at)
	}
	return min(max(d, 0), maxRetryAfter)
}

// Code classifies an error by its code, for answers that hold one for each message.
func (s *Session) Code(code, message string) *sink.Error {
	name := code
	if i := strings.LastIndexAny(name, ".#"); i >= 0 {
		name = name[i+1:]
	}
	lower := strings.ToLower(name)
	if strings.HasPrefix(strings.ToLower(code), "kms.") {
		lower = "kms" + lower
	}
	is := func(codes []string) bool { return slices.Contains(codes, lower) }
	e := &sink.Error{Class: sink.Rejected, Code: "aws_error"}
	switch {
	case strings.Contains(lower, "signature"):
		// These answers repeat what was signed, and with it the session token.
		e.Class, e.Code, message = sink.Misconfigured, CodeAuth, "the signature is refused: is aws_secret_access_key right, and the clock?"
	case is(authCodes):
		e.Class, e.Code = sink.Misconfigured, CodeAuth
	case is(missingCodes):
		e.Class, e.Code = sink.Misconfigured, CodeMissing
	case is(throttleCodes):
		e.Class, e.Code = sink.Unavailable, "throttled"
	case is(unavailableCodes):
		e.Class = sink.Unavailable
	case is(tooLargeCodes), isTooLarge(lower, message):
		e.Class, e.Code = sink.Permanent, CodeTooLarge
	}
	e.Err = fmt.Errorf("%s: %s", name, s.short(message))
	return e
}

// isTooLarge knows the words of services that have no code of its own for this.
func isTooLarge(code, message string) bool {
	return strings.HasPrefix(code, "invalidparameter") && (strings.Contains(message, "too long") || strings.Contains(message, "must be shorter than"))
}

// short is a text of a service as errors show it.
func (s *Session) short(text string) string {
	text = strings.Join(strings.Fields(strings.ToValidUTF8(s.hide(text), "?")), " ")
	if len(text) > maxMessage {
		text = strings.ToValidUTF8(text[:maxMessage], "") + "…"
	}
	return text
}
