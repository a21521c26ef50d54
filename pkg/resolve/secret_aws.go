package resolve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"
	"gocloud.dev/runtimevar"
	"gocloud.dev/runtimevar/awsparamstore"
	"gocloud.dev/runtimevar/awssecretsmanager"
)

// awsParams are those of gocloud.dev's URLs that the surroundings do not give.
var awsParams = map[string]func(string) bool{
	"region":           pattern(`^[a-z0-9][a-z0-9-]*$`, 63),
	"profile":          func(s string) bool { return s != "" },
	"role":             pattern(`^arn:[a-z0-9-]+:iam::[0-9]{12}:role/[\x21-\x7e]+$`, 2048),
	"role_external_id": func(s string) bool { return s != "" },
	"endpoint": func(s string) bool {
		u, err := url.Parse(s)
		return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil
	},
}

func awsName(s string) bool { return len(s) <= 2048 }

// plainClient gives net/http bodies that can only be read and closed: the SDK closes a
// body when the answer begins, and its WriteTo fails then, for which net/http would close
// the connection under the answer. Answers are not endless.
type plainClient struct{ aws.HTTPClient }

func (c plainClient) Do(req *http.Request) (*http.Response, error) {
	type body struct {
		io.Reader
		io.Closer
	}
	if req.Body != nil {
		req.Body = body{req.Body, req.Body}
	}
	resp, err := c.HTTPClient.Do(req)
	if err == nil {
		resp.Body = body{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	}
	return resp, err
}

// awsConfig reads the surroundings. The SDK alone chooses the addresses, by what the
// operator wrote, so they are dialled as they are.
func awsConfig(ctx context.Context, q url.Values) (aws.Config, error) {
	client := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.Proxy = nil
		t.DisableKeepAlives = true
	})
	options := []func(*config.LoadOptions) error{
		config.WithHTTPClient(plainClient{client}), config.WithAppID("waltrigger"), config.WithLogger(logging.Nop{}),
		// Retries would hide the first error until the time is up.
		config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }),
	}
	if r := q.Get("region"); r != "" {
		options = append(options, config.WithRegion(r))
	}
	if p := q.Get("profile"); p != "" {
		options = append(options, config.WithSharedConfigProfile(p))
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return cfg, fmt.Errorf("load configuration of AWS: %w", err)
	}
	if cfg.Region == "" {
		return cfg, errors.New("there is no region: give ?region=…, or set AWS_REGION")
	}
	if role := q.Get("role"); role != "" {
		cfg.Credentials = aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), role, func(o *stscreds.AssumeRoleOptions) {
			o.RoleSessionName = "waltrigger"
			if id := q.Get("role_external_id"); id != "" {
				o.ExternalID = &id
			}
		}))
	}
	if e := q.Get("endpoint"); e != "" {
		cfg.BaseEndpoint = &e
	}
	return cfg, nil
}

func openSecretsManager(ctx context.Context, name string, q url.Values) (*runtimevar.Variable, func(), error) {
	cfg, err := awsConfig(ctx, q)
	if err != nil {
		return nil, nil, err
	}
	v, err := awssecretsmanager.OpenVariable(secretsmanager.NewFromConfig(cfg), name, runtimevar.BytesDecoder, nil)
	return v, func() {}, err
}

func openParamStore(ctx context.Context, name string, q url.Values) (*runtimevar.Variable, func(), error) {
	cfg, err := awsConfig(ctx, q)
	if err != nil {
		return nil, nil, err
	}
	v, err := awsparamstore.OpenVariable(ssm.NewFromConfig(cfg), name, runtimevar.BytesDecoder, nil)
	return v, func() {}, err
}
