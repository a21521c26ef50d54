package resolve

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// OAuth2 gets an access token by the client credentials grant of RFC 6749.
type OAuth2 struct {
	TokenURL     string            `koanf:"token_url" secret:"true"`
	ClientID     string            `koanf:"client_id"`
	ClientSecret string            `koanf:"client_secret" secret:"true"`
	Scopes       []string          `koanf:"scopes"`
	Params       map[string]string `koanf:"params" secret:"true"` // further parameters, such as audience
	// AuthStyle is where the server wants id and secret: header, params, or auto (the
	// default), which tries both in this order.
	AuthStyle string `koanf:"auth_style"`
}

func (o *OAuth2) given() bool {
	return o.TokenURL != "" || o.ClientID != "" || o.ClientSecret != "" || o.Scopes != nil || o.Params != nil || o.AuthStyle != ""
}

func (o *OAuth2) ttl() time.Duration { return usualTTL }

// ownParams are sent by the grant itself.
var ownParams = []string{"grant_type", "client_id", "client_secret", "scope"}

func (o *OAuth2) check(k *checker) {
	checkURL(k, "oauth2.token_url", o.TokenURL)
	for _, s := range [][2]string{{"oauth2.client_id", o.ClientID}, {"oauth2.client_secret", o.ClientSecret}} {
		if s[1] == "" {
			k.add(s[0], "is required")
		} else if references(s[1]) {
			k.add(s[0], "%s", noReferences)
		}
	}
	for i, s := range o.Scopes {
		if s == "" {
			k.add(fmt.Sprintf("oauth2.scopes[%d]", i), "is empty")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(o.Params)) {
		if slices.Contains(ownParams, name) {
			k.add("oauth2.params."+name, "has a setting of its own, or none")
		}
	}
	if !legal(o.AuthStyle, "auto", "header", "params") {
		k.add("oauth2.auth_style", "must be auto, header or params")
	}
}

func (o *OAuth2) fetcher(env Env) fetcher {
	params := url.Values{}
	for name, v := range o.Params {
		params.Set(name, v)
	}
	style := map[string]oauth2.AuthStyle{"header": oauth2.AuthStyleInHeader, "params": oauth2.AuthStyleInParams}[o.AuthStyle]
	return &grant{
		client: newClient(env, o.TokenURL),
		config: &clientcredentials.Config{
			ClientID: o.ClientID, ClientSecret: o.ClientSecret, TokenURL: o.TokenURL, Scopes: o.Scopes, EndpointParams: params, AuthStyle: style,
		},
	}
}

// grant is kept between fetches: it learns how the server wants id and secret.
type grant struct {
	client *http.Client
	config *clientcredentials.Config
}

func (g *grant) fetch(ctx context.Context) (string, time.Time, error) {
	t, err := g.config.Token(context.WithValue(ctx, oauth2.HTTPClient, g.client))
	if err == nil {
		return t.AccessToken, t.Expiry, nil
	}
	var answer *oauth2.RetrieveError
	var asked *url.Error
	switch {
	case errors.As(err, &answer):
		err = refusal(answer)
	case errors.As(err, &asked):
		err = failure(err)
	case ctx.Err() != nil:
		err = failure(ctx.Err())
	default: // its text may repeat the answer
		err = errors.New("the answer holds no access token")
	}
	return "", time.Time{}, err
}

var errorCode = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// refusal words an answer by its status and the code that RFC 6749 gives it; what else
// it says may repeat what was sent.
func refusal(e *oauth2.RetrieveError) error {
	if errorCode.MatchString(e.ErrorCode) {
		return fmt.Errorf("the answer is %d, %s", e.Response.StatusCode, e.ErrorCode)
	}
	if err := checkStatus(e.Response.StatusCode); err != nil {
		return err
	}
	return errors.New("the answer is an error")
}
