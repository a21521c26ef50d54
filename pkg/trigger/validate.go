package trigger

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/waltrigger/waltrigger/pkg/signal"
	"github.com/waltrigger/waltrigger/pkg/sink"
)

// Env is what Validate has to know of the daemon around it. Nil functions and nil
// lists check nothing, except that without Broker or Action none is known.
type Env struct {
	// Webhook is the kind of all webhooks; its Check gets url, http_method, headers
	// (map[string]any) and secret ([]string) as params.
	Webhook sink.Kind
	// CheckURL says why the operator does not allow to send to a URL. An error that is
	// a *Problem keeps its code.
	CheckURL func(url string) error
	// AllowedURLs are the operator's patterns; nil allows every URL, an empty list none.
	AllowedURLs URLPatterns
	// AllowedContentTypes are the operator's patterns (myapp.*, case does not count);
	// nil allows every content type, an empty list none.
	AllowedContentTypes []string
	// Broker and Action find what a queue's or an action's name refers to.
	Broker, Action func(name string) (Endpoint, bool)
	// BrokerNames and ActionNames are for the nearest names in errors.
	BrokerNames, ActionNames []string
	// Resolve finds the table of a content type. See Resolution for its errors.
	Resolve func(ctx context.Context, c ContentType) (Table, error)
	// Compile checks everything that is a template, and says what is right but perhaps
	// not meant.
	Compile func(t *Trigger) ([]Problem, []string)
	// Longest time that one attempt may take; 0 = no bound.
	MaxWebhookTimeout, MaxBrokerTimeout, MaxActionTimeout time.Duration
}

// Endpoint is a broker or an action of the configuration.
type Endpoint struct {
	Kind   sink.Kind
	Conn   map[string]any // fixed by the operator
	Params map[string]any // the same
}

// Table is where a content type was found.
type Table struct{ Source, Schema, Name string }

// Errors of Env.Resolve. An error that wraps neither is shown as it is.
var (
	// ErrNoTable: there is no such table. Waived by allow_missing.
	ErrNoTable = errors.New("no such table")
	// ErrUnavailable: the source cannot be asked now.
	ErrUnavailable = errors.New("the source cannot be asked")
)

// Verdict is what Validate has to say.
type Verdict struct {
	Problems []Problem
	Warnings []string
	// Tables has one entry for each content type of the trigger; the zero Table where
	// it could not be resolved.
	Tables []Table
	// Unavailable is set if a source could not be asked, so that a content type is
	// unproven; it wraps ErrUnavailable.
	Unavailable error
}

// URLPatterns are anchored regular expressions.
type URLPatterns []*regexp.Regexp

// maxPattern bounds a pattern of the configuration, in bytes.
const maxPattern = 1000

// CompileURLPatterns anchors and compiles patterns (RE2). nil stays nil.
func CompileURLPatterns(patterns []string) (URLPatterns, error) {
	if patterns == nil {
		return nil, nil
	}
	out := URLPatterns{}
	for _, p := range patterns {
		if len(p) > maxPattern {
			return nil, fmt.Errorf("compile pattern %.40q…: longer than %d bytes", p, maxPattern)
		}
		if _, err := regexp.Compile(p); err != nil { // alone, so that ) and ( of p pair up within it
			return nil, fmt.Errorf("compile pattern %q: %w", p, err)
		}
		re, err := regexp.Compile(`\A(?:` + p + `)\z`)
		if err != nil {
			return nil, fmt.Errorf("compile pattern %q: %w", p, err)
		}
		out = append(out, re)
	}
	return out, nil
}

// Allows reports whether url is one that the patterns name.
func (ps URLPatterns) Allows(url string) bool {
	return ps == nil || slices.ContainsFunc(ps, func(re *regexp.Regexp) bool { return re.MatchString(url) })
}

// Validate says everything that is wrong with t, and what its author should know. t
// comes from Decode, and went through Inherit if it replaces another. What Decode
// complained about is not said again, so a t with such problems may be given too:
// Join puts both together.
func Validate(ctx context.Context, t *Trigger, env Env) Verdict {
	v := &validator{env: env, Verdict: Verdict{Tables: make([]Table, len(t.ContentTypes))}}
	v.signals(t)
	for i, c := range t.ContentTypes {
		v.contentType(ctx, i, c)
	}
	for i := range t.Webhooks {
		v.webhook(fmt.Sprintf("/webhooks/%d", i), &t.Webhooks[i])
	}
	for i := range t.Queues {
		v.queue(fmt.Sprintf("/msg_broker_queues/%d", i), &t.Queues[i], "broker", env.Broker, env.BrokerNames, env.MaxBrokerTimeout)
	}
	for i := range t.Actions {
		v.queue(fmt.Sprintf("/actions/%d", i), &t.Actions[i], "action", env.Action, env.ActionNames, env.MaxActionTimeout)
	}
	if len(t.Webhooks)+len(t.Queues)+len(t.Actions) == 0 {
		v.warn("the trigger has no destination: it sends nothing")
	}
	if t.Mode == Shadow {
		v.warn("mode shadow: everything is rendered and recorded, nothing is sent")
	}
	if s := t.Signals(); len(t.Fields) > 0 && len(t.ConfigSignals) > 0 && !s.Has(signal.PreSave) && !s.Has(signal.PostSave) {
		v.warn("fields concerns updates only, and none of the signals is raised by one")
	}
	if env.Compile != nil {
		problems, warnings := env.Compile(t)
		v.Problems = Join(v.Problems, problems)
		v.Warnings = append(v.Warnings, warnings...)
	}
	return v.Verdict
}

// Join gives problems and those of more that are not about the same place, a part of it
// or what it is a part of: one mistake is told once.
func Join(problems, more []Problem) []Problem {
	for _, p := range more {
		known := slices.ContainsFunc(problems, func(o Problem) bool {
			return within(p.Pointer, o.Pointer) || within(o.Pointer, p.Pointer)
		})
		if !known && len(problems) < maxProblems {
			problems = append(problems, p)
		}
	}
	return problems
}

// within reports whether pointer names outer, which is not the whole body, or a part of
// it.
func within(pointer, outer string) bool {
	return outer != "" && (pointer == outer || strings.HasPrefix(pointer, outer+"/"))
}

type validator struct {
	env Env
	Verdict
}

func (v *validator) add(ptr, code, format string, args ...any) {
	v.Problems = append(v.Problems, Problem{ptr, code, fmt.Sprintf(format, args...)})
}

func (v *validator) warn(format string, args ...any) {
	v.Warnings = append(v.Warnings, fmt.Sprintf(format, args...))
}

func (v *validator) signals(t *Trigger) {
	for _, c := range t.ConfigSignals {
		if name := c.Signal.String(); strings.HasPrefix(name, "pre_") {
			v.warn("%s fires after the commit, before post_%s: it cannot change or prevent the write", name, strings.TrimPrefix(name, "pre_"))
		}
	}
}

func (v *validator) contentType(ctx context.Context, i int, c ContentType) {
	at := fmt.Sprintf("/content_types/%d", i)
	if c.AppLabel == "" || c.ModelName == "" {
		return
	}
	if !contentTypeAllowed(v.env.AllowedContentTypes, c) {
		v.add(at, CodeNotAllowed, "%s is not among the configuration's settings.allowed_content_types", c.Name())
		return
	}
	if v.env.Resolve == nil {
		return
	}
	table, err := v.env.Resolve(ctx, c)
	var p *Problem
	switch {
	case err == nil:
		v.Tables[i] = table
	case errors.Is(err, ErrUnavailable):
		v.Unavailable = err
	case errors.Is(err, ErrNoTable) && c.AllowMissing:
		v.Tables[i] = table
		v.warn("%s: there is no such table yet; the trigger fires once there is", c.Name())
	case errors.As(err, &p):
		v.add(at+p.Pointer, p.Code, "%s", p.Detail)
	default:
		v.add(at, CodeUnknown, "%s: %s", c.Name(), err)
	}
}

// contentTypeAllowed matches app_label.model against patterns in which * stands for
// any number of characters.
func contentTypeAllowed(patterns []string, c ContentType) bool {
	if patterns == nil {
		return true
	}
	name := strings.ToLower(c.Name().String())
	return slices.ContainsFunc(patterns, func(p string) bool { return signal.Glob(strings.ToLower(p), name) })
}

func (v *validator) webhook(at string, w *Webhook) {
	if w.URL != "" {
		v.url(at, w)
	}
	for _, h := range w.Headers {
		if h.Value == Redacted {
			v.add(at+"/headers/"+escapePointer(h.Name), CodeSecret, nothingStored)
		}
	}
	for i, s := range w.Secret.Values {
		if s == Redacted {
			v.add(at+w.Secret.pointer(i), CodeSecret, nothingStored)
		}
	}
	v.timeout(at, w.TimeoutSecs, v.env.MaxWebhookTimeout)
}

// templated is a part of a URL that is filled in when it is sent.
var templated = regexp.MustCompile(`(?s)\{\{.*?\}\}|\{%.*?%\}`)

// withoutTemplates puts a 0 in the place of templates, so that the rest can be checked.
func withoutTemplates(url string) string { return templated.ReplaceAllString(url, "0") }

func (v *validator) url(at string, w *Webhook) {
	var found []Problem
	if strings.Contains(origin(w.URL), "{") {
		v.add(at+"/url", CodeTemplate, "only path and query may be templates: scheme, host and port must be literal")
		return
	}
	if v.env.Webhook.Check != nil {
		headers := make(map[string]any, len(w.Headers))
		for _, h := range w.Headers {
			headers[h.Name] = h.Value
		}
		params := map[string]any{"url": w.URL, "http_method": w.HTTPMethod, "headers": headers, "secret": w.Secret.Values}
		found = fromSink(at, v.env.Webhook.Check(map[string]any{}, params))
	}
	for i, p := range found {
		if !w.Secret.Listed && strings.HasPrefix(p.Pointer, at+"/secret/") {
			found[i].Pointer = at + "/secret"
		}
	}
	if !slices.ContainsFunc(found, func(p Problem) bool { return p.Pointer == at+"/url" }) {
		if v.env.CheckURL != nil {
			if err := v.env.CheckURL(withoutTemplates(w.URL)); err != nil {
				p := &Problem{Code: CodeNotAllowed, Detail: err.Error()}
				errors.As(err, &p)
				found = append(found, Problem{at + "/url", p.Code, p.Detail})
			}
		}
		if !v.env.AllowedURLs.Allows(w.URL) {
			found = append(found, Problem{at + "/url", CodeNotAllowed, "matches none of the configuration's settings.allowed_webhook_urls"})
		}
	}
	v.Problems = append(v.Problems, found...)
}

// Error makes a Problem fit to be returned by Env's functions.
func (p *Problem) Error() string { return p.Detail }

// fromSink places the problems of a kind within the destination at. Kinds call a
// webhook's own fields its params.
func fromSink(at string, found []sink.Problem) []Problem {
	out := make([]Problem, 0, len(found))
	for _, p := range found {
		field := p.Field
		if strings.HasPrefix(at, "/webhooks/") {
			field = strings.TrimPrefix(field, "parameters/")
		}
		if field != "" {
			field = "/" + field
		}
		out = append(out, Problem{at + field, p.Code, p.Detail})
	}
	return out
}

func (v *validator) queue(at string, q *Queue, what string, find func(string) (Endpoint, bool), known []string, limit time.Duration) {
	v.timeout(at, q.TimeoutSecs, limit)
	if q.Name == "" {
		return
	}
	var e Endpoint
	ok := false
	if find != nil {
		e, ok = find(q.Name)
	}
	if !ok {
		v.add(at+"/name", CodeUnknown, "the configuration has no %s %q%s", what, q.Name, DidYouMean(q.Name, known))
		return
	}
	for _, p := range q.ConnDetails {
		if namesFile.MatchString(p.Name) {
			v.add(at+"/conn_details/"+escapePointer(p.Name), CodeNotAllowed, "names a file of the daemon's machine: only the configuration may")
		}
	}
	conn := v.extend(at+"/conn_details/", e.Conn, q.ConnDetails)
	params := v.extend(at+"/parameters/", e.Params, q.Parameters)
	if e.Kind.Check != nil {
		v.Problems = Join(v.Problems, fromSink(at, e.Kind.Check(conn, params)))
	}
}

// namesFile matches connection details that are paths of files.
var namesFile = regexp.MustCompile(`(?i)(file|certs?|creds|credentials|verify|_path)$`)

// extend adds ps to base, whose keys cannot be set anew.
func (v *validator) extend(at string, base map[string]any, ps Params) map[string]any {
	out := ps.Map()
	for _, p := range ps {
		if _, fixed := base[p.Name]; fixed {
			v.add(at+escapePointer(p.Name), CodeNotAllowed, "is fixed by the configuration and cannot be set by a trigger")
		}
		if p.Value == Redacted {
			v.add(at+escapePointer(p.Name), CodeSecret, nothingStored)
		}
	}
	for k, b := range base {
		out[k] = b
	}
	return out
}

func (v *validator) timeout(at string, secs *float64, limit time.Duration) {
	if secs != nil && limit > 0 && *secs > limit.Seconds() {
		v.warn("%s/timeout_secs: the configuration allows at most %g seconds, which is used", at, limit.Seconds())
	}
}
