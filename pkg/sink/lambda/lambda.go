// Package lambda invokes functions of AWS Lambda, one message an invocation. The body is
// the function's event as it is: a body of JSON is not encoded once more; a text becomes
// a JSON string. What webhooks have in headers is in the client context, below custom.
package lambda

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	client "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/sink/aws"
	"github.com/waltrigger/waltrigger/pkg/sink/details"
)

// Kind is the kind of actions that invoke functions. Keys go in parallel. With
// InvocationType RequestResponse, the default, a message is accepted when its function
// returned, and the next one of its key follows; with Event, when Lambda queued it, and
// functions then run in any order.
var Kind = sink.Kind{
	Name: "aws_lambda", MaxBatch: 1, Conn: aws.Params, Addresses: aws.Addresses, Check: check,
	Params: []sink.Param{{Name: "FunctionName", Required: true}, {Name: "InvocationType"}, {Name: "Qualifier"}},
	Open: func(ctx context.Context, conn map[string]any, env sink.Env) (sink.Sink, error) {
		return open(ctx, conn, env)
	},
}

const (
	maxBody    = 6 << 20 // of RequestResponse, in bytes; Lambda says itself what Event has
	maxContext = 3583    // of the client context in base64, in bytes
)

var (
	functionPattern  = aws.Pattern(`^(arn:[a-z0-9-]+:lambda:[a-z0-9-]+:)?([0-9]{12}:)?(function:)?[A-Za-z0-9_-]{1,64}(:(\$LATEST|[A-Za-z0-9_-]{1,128}))?$`)
	qualifierPattern = aws.Pattern(`^(\$LATEST|[A-Za-z0-9_-]{1,128})$`)
)

func legalType(s string) bool { return s == "" || s == "RequestResponse" || s == "Event" }

func check(conn, params map[string]any) []sink.Problem {
	r := aws.Check(conn)
	text := func(name, wrong string, legal func(string) bool) {
		v := params[name]
		if s, ok := v.(string); v != nil && (!ok || s != "" && !details.IsTemplate(s) && !legal(s)) {
			r.AddParam(name, "invalid", "%s", wrong)
		}
	}
	if v := params["FunctionName"]; v == nil || v == "" {
		r.AddParam("FunctionName", "required", "is required")
	}
	text("FunctionName", "must be the name or the ARN of a function", functionPattern().MatchString)
	text("Qualifier", "must be a version or an alias", qualifierPattern().MatchString)
	text("InvocationType", "must be RequestResponse or Event", legalType)
	return r.Problems()
}

// Sink invokes the functions of one account and region. Safe for concurrent use.
type Sink struct {
	session *aws.Session
	client  *client.Client
}

func open(ctx context.Context, conn map[string]any, env sink.Env) (*Sink, error) {
	session, err := aws.Open(ctx, conn, env)
	if err != nil {
		return nil, err
	}
	return &Sink{session: session, client: client.NewFromConfig(session.Config)}, nil
}

// Close closes all connections.
func (s *Sink) Close() error {
	s.session.Close()
	return nil
}

// Send invokes a function for each of msgs, one after the other. A function that has
// begun when ctx ends goes on, as Lambda ends none.
func (s *Sink) Send(ctx context.Context, msgs []*sink.Message) []error {
	errs := make([]error, len(msgs))
	for i, m := range msgs {
		if err := s.invoke(ctx, m); err != nil {
			errs[i] = err
		}
	}
	return aws.Result(errs)
}

func (s *Sink) invoke(ctx context.Context, m *sink.Message) *sink.Error {
	in, err := input(m)
	if err != nil {
		return err
	}
	name := m.Params["FunctionName"]
	fail := func(e *sink.Error) *sink.Error {
		named := *e
		named.Err = fmt.Errorf("function %s: %w", name, e.Err)
		return &named
	}
	out, ierr := s.client.Invoke(ctx, in)
	switch {
	case ierr != nil:
		return fail(s.session.Classify(ctx, ierr))
	case out.FunctionError != nil:
		return fail(functionError(out.Payload))
	case out.StatusCode != http.StatusOK && out.StatusCode != http.StatusAccepted:
		return fail(&sink.Error{Class: sink.Rejected, Code: aws.CodeResponse, Err: fmt.Errorf("answered %d", out.StatusCode)})
	}
	return nil
}

// functionError is that of a function that ran and failed. It names the type alone, as
// messages of exceptions hold what a program worked with.
func functionError(payload []byte) *sink.Error {
	var p struct{ ErrorType string }
	kind := "an error"
	if json.Unmarshal(payload, &p) == nil && p.ErrorType != "" && len(p.ErrorType) <= 100 && utf8.ValidString(p.ErrorType) {
		kind = p.ErrorType
	}
	return &sink.Error{Class: sink.Rejected, Code: "function_error", Err: fmt.Errorf("ended with %s", kind)}
}

func input(m *sink.Message) (*client.InvokeInput, *sink.Error) {
	permanent := func(code, text string) *sink.Error {
		return &sink.Error{Class: sink.Permanent, Code: code, Err: errors.New(text)}
	}
	name, kind, qualifier := m.Params["FunctionName"], m.Params["InvocationType"], m.Params["Qualifier"]
	switch {
	case !functionPattern().MatchString(name):
		return nil, permanent("function_invalid", "FunctionName is no name or ARN of a function")
	case !legalType(kind):
		return nil, permanent("function_invalid", "InvocationType is neither RequestResponse nor Event")
	case qualifier != "" && !qualifierPattern().MatchString(qualifier):
		return nil, permanent("function_invalid", "Qualifier is no version or alias")
	}
	if kind == "" {
		kind = "RequestResponse"
	}
	body := m.Body
	switch isJSON := strings.HasPrefix(m.ContentType, "application/json"); {
	case !isJSON && !utf8.Valid(body):
		return nil, permanent(aws.CodeBody, "the body is no UTF-8")
	case !isJSON:
		body = quote(string(body))
	case !json.Valid(body):
		return nil, permanent(aws.CodeBody, "the body is no JSON, which is all that functions take")
	}
	if len(body) > maxBody {
		return nil, permanent(aws.CodeTooLarge, fmt.Sprintf("the body has %d bytes, more than %d", len(body), maxBody))
	}
	about := clientContext(m)
	if len(about) > maxContext {
		return nil, permanent(aws.CodeHeader, fmt.Sprintf("names and values of headers have %d bytes as client context, more than %d", len(about), maxContext))
	}
	in := &client.InvokeInput{FunctionName: &name, InvocationType: types.InvocationType(kind), Payload: body, ClientContext: &about}
	if qualifier != "" {
		in.Qualifier = sdk.String(qualifier)
	}
	return in, nil
}

// quote makes a text a JSON string, without escapes for HTML.
func quote(s string) []byte {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string has a form
	return []byte(strings.TrimSuffix(b.String(), "\n"))
}

// clientContext is the form in which Lambda hands on what is not the event.
func clientContext(m *sink.Message) string {
	custom := map[string]string{}
	for _, h := range m.Headers {
		custom[h.Name] = h.Value
	}
	for _, h := range m.EventHeaders(nil) {
		custom[h.Name] = h.Value
	}
	b, err := json.Marshal(map[string]any{"custom": custom})
	if err != nil { // a map of strings has a form
		return ""
	}
	return base64.StdEncoding.EncodeToString(b)
}
