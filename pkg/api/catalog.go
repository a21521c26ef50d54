package api

import (
	"context"
	_ "embed"
	"errors"
	"net/http"

	"github.com/waltrigger/waltrigger/pkg/trigger"
)

func (a *api) listContentTypes(ctx context.Context, r *request) (*response, error) {
	if err := onlyQuery(r.query, "source"); err != nil {
		return nil, err
	}
	types, err := a.ContentTypes(ctx, r.query.Get("source"))
	if errors.Is(err, trigger.ErrNotFound) {
		return nil, &problem{Status: http.StatusNotFound, Code: "not_found", Detail: "there is no such source"}
	}
	return list(types), err
}

func (a *api) listSources(ctx context.Context, _ *request) (*response, error) {
	return list(a.Sources(ctx)), nil
}

func (a *api) listBrokers(context.Context, *request) (*response, error) {
	return list(a.Brokers), nil
}

func (a *api) listDynamicValues(context.Context, *request) (*response, error) {
	type name struct {
		Name string `json:"name"`
	}
	var names []name
	for _, n := range a.DynamicValues {
		names = append(names, name{n})
	}
	return list(names), nil
}

// list answers with a JSON list, never null.
func list[T any](items []T) *response {
	if items == nil {
		items = []T{}
	}
	return &response{status: http.StatusOK, body: items}
}

// openAPIYAML describes every route; a test holds the routes to it.
//
//go:embed openapi.yaml
var openAPIYAML []byte

func (a *api) openAPI(context.Context, *request) (*response, error) {
	return &response{status: http.StatusOK, body: raw{"application/yaml", openAPIYAML}}, nil
}
