package api_test

import (
	"net/url"
	"regexp"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

var token = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")

// webhookKind stands for the kind of webhooks.
var webhookKind = sink.Kind{
	Name: "webhook",
	Check: func(_, params map[string]any) (out []sink.Problem) {
		u, err := url.Parse(params["url"].(string))
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
			out = append(out, sink.Problem{Field: "url", Code: "invalid", Detail: "is no http or https URL"})
		}
		for name := range params["headers"].(map[string]any) {
			if !token.MatchString(name) {
				out = append(out, sink.Problem{Field: "headers/" + name, Code: "invalid", Detail: "is no header"})
			}
		}
		return out
	},
}
