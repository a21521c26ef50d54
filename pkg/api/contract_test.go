package api_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// spec is the description that the API gives of itself.
var spec = sync.OnceValues(func() (*openapi3.T, error) {
	b, err := os.ReadFile("openapi.yaml")
	if err != nil {
		return nil, err
	}
	return openapi3.NewLoader().LoadFromData(b)
})

func TestDescriptionIsValid(t *testing.T) {
	doc, err := spec()
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(context.Background()); err != nil {
		t.Fatal(err)
	}
	s := newServer(t)
	for path, item := range doc.Paths.Map() {
		at := strings.NewReplacer("{id}", "1", "{name}", "x").Replace(path)
		allowed := strings.Split(strings.ReplaceAll(s.do("BREW", at, "").header.Get("Allow"), " ", ""), ",")
		for _, m := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
			if described := item.GetOperation(m) != nil; described != slices.Contains(allowed, m) {
				t.Errorf("%s %s: described %v, served %v", m, path, described, !described)
			}
		}
	}
}

// TestTriggerIsDescribed: what a trigger can say is described, and what is described can be
// said.
func TestTriggerIsDescribed(t *testing.T) {
	doc, err := spec()
	if err != nil {
		t.Fatal(err)
	}
	for name, of := range map[string]reflect.Type{
		"TriggerInput": reflect.TypeFor[trigger.Trigger](), "ContentType": reflect.TypeFor[trigger.ContentType](),
		"Webhook": reflect.TypeFor[trigger.Webhook](), "Queue": reflect.TypeFor[trigger.Queue](), "Retry": reflect.TypeFor[trigger.Retry](),
	} {
		described := doc.Components.Schemas[name].Value.Properties
		for _, f := range reflect.VisibleFields(of) {
			key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if key != "" && key != "-" && described[key] == nil {
				t.Errorf("%s is not described: %s", name, key)
			}
		}
		for key, property := range described {
			body := fmt.Sprintf(map[string]string{
				"TriggerInput": `{%q:null}`, "ContentType": `{"content_types":[{%q:null}]}`, "Webhook": `{"webhooks":[{%q:null}]}`,
				"Queue": `{"actions":[{%q:null}]}`, "Retry": `{"webhooks":[{"retry":{%q:null}}]}`,
			}[name], key)
			_, problems := trigger.Decode([]byte(body))
			if slices.ContainsFunc(problems, func(p trigger.Problem) bool { return p.Code == trigger.CodeUnknownField }) {
				t.Errorf("%s is described with %s, which there is not", name, key)
			}
			refused := slices.ContainsFunc(problems, func(p trigger.Problem) bool { return p.Code == trigger.CodeNull })
			if v := property.Value; !v.ReadOnly && v.Nullable == refused {
				t.Errorf("%s of %s: described as nullable %v", key, name, v.Nullable)
			}
		}
	}
}

// routeOf finds the description of a path as it was requested; nil = none.
func routeOf(doc *openapi3.T, method, path string) *routers.Route {
	path = strings.TrimSuffix(path, "/")
	for template, item := range doc.Paths.Map() {
		want, got := strings.Split(template, "/"), strings.Split(path, "/")
		same := len(want) == len(got) && slices.EqualFunc(want, got, func(w, g string) bool { return w == g || strings.HasPrefix(w, "{") && g != "by-name" })
		if op := item.GetOperation(method); same && op != nil {
			return &routers.Route{Spec: doc, Path: template, PathItem: item, Method: method, Operation: op}
		}
	}
	return nil
}

// keepsContract fails if an answer is not one that the description allows.
func keepsContract(t *testing.T, r *http.Request, res *http.Response, body []byte) {
	t.Helper()
	doc, err := spec()
	if err != nil {
		t.Fatal(err)
	}
	route := routeOf(doc, r.Method, r.URL.EscapedPath())
	if route == nil {
		return
	}
	err = openapi3filter.ValidateResponse(r.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: r, Route: route},
		Status:                 res.StatusCode, Header: res.Header, Body: io.NopCloser(bytes.NewReader(body)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true},
	})
	if err != nil {
		t.Errorf("%s %s: the answer %d %.300s is none that openapi.yaml describes: %v", r.Method, r.URL, res.StatusCode, body, err)
	}
}
