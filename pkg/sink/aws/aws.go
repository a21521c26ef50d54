// Package aws is what the sinks of Amazon's services share: connection details, the
// client's configuration, the meaning of errors, and the form of messages. It is no
// kind of its own.
//
//	connection details ── Open ── Session ── client of a service ── Send
//	                               │ credentials: the details', else the SDK's chain
//	                               │ (environment, files, web identity, ECS, EC2)
//	                               └ connections by Env.Dial, no retries
package aws

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"

	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/sink/details"
)

// Params are the connection details, named as the arguments of clients in Python. verify
// is a file of certificates to trust; role_arn is assumed with what the others give.
var Params = []sink.Param{
	{Name: "region"},
	{Name: "region_name"},
	{Name: "endpoint_url"},
	{Name: "aws_access_key_id"},
	{Name: "aws_secret_access_key", Secret: true},
	{Name: "aws_session_token", Secret: true},
	{Name: "role_arn"},
	{Name: "external_id", Secret: true},
	{Name: "verify"},
}

// Pattern compiles when it is first used: most installations use none of these sinks.
func Pattern(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}

var (
	regionPattern = Pattern(`^[a-z0-9][a-z0-9-]{0,62}$`)
	rolePattern   = Pattern(`^arn:[a-z0-9-]+:iam::[0-9]{12}:role/[\x21-\x7e]{1,600}$`)
)

var ports = map[string]int{"http": 80, "https": 443}

// Addresses is Kind.Addresses.
func Addresses(conn map[string]any) []string {
	r := details.Check(conn, Params)
	if _, address := r.URL("endpoint_url", r.String("endpoint_url"), ports); address != "" {
		return []string{address}
	}
	return nil
}

// settings are the connection details, read.
type settings struct {
	region, endpoint  string
	id, secret, token string
	role, externalID  string
	certificates      string // file, "" = those of the system
}

func read(r *details.Reader) settings {
	s := settings{
		region: r.String("region"), endpoint: r.String("endpoint_url"),
		id: r.String("aws_access_key_id"), secret: r.String("aws_secret_access_key"), token: r.String("aws_session_token"),
		role: r.String("role_arn"), externalID: r.String("external_id"),
	}
	if name := r.String("region_name"); s.region == "" {
		s.region = name
	} else if name != "" && name != s.region {
		r.Add("region_name", "invalid", "says something else than region; one of them is enough")
	}
	if s.region != "" && !regionPattern().MatchString(s.region) {
		r.Add("region", "invalid", "must be the name of a region such as eu-central-1")
	}
	if u, _ := r.URL("endpoint_url", s.endpoint, ports); u != nil && (u.User != nil || u.RawQuery != "" || u.Fragment != "") {
		r.Add("endpoint_url", "invalid", "must be scheme, host, port and path alone")
	}
	if r.Present("aws_access_key_id") != r.Present("aws_secret_access_key") {
		r.Add("aws_secret_access_key", "invalid", "and aws_access_key_id need each other")
	}
	if r.Present("aws_session_token") && !r.Present("aws_access_key_id") {
		r.Add("aws_session_token", "invalid", "needs aws_access_key_id and aws_secret_access_key")
	}
	if s.role != "" && !rolePattern().MatchString(s.role) {
		r.Add("role_arn", "invalid", "must be like arn:aws:iam::123456789012:role/name")
	}
	if r.Present("external_id") && !r.Present("role_arn") {
		r.Add("external_id", "invalid", "has no meaning without role_arn")
	}
	switch v := r.Value("verify").(type) {
	case nil:
	case string:
		if v != "true" {
			s.certificates = v
		}
	default:
		if v != true {
			r.Add("verify", "invalid", "must be true or a file of certificates: the peer is always verified")
		}
	}
	return s
}

// Check is for Kind.Check: it looks at connection details. Parameters are added to the
// Reader by the kind.
func Check(conn map[string]any) *details.Reader {
	r := details.Check(conn, Params)
	read(r)
	return r
}

// Session is one sink's way to AWS. Safe for concurrent use.
type Session struct {
	// Config is for the constructor of a client; it has the region, the credentials,
	// the HTTP client, the end point and no retries.
	Config sdk.Config

	conns   *conns
	secrets []string
}

// Open reads conn and the environment. It connects to nothing: credentials are fetched
// when the first request needs them.
func Open(ctx context.Context, conn map[string]any, env sink.Env) (*Session, error) {
	r := details.Read(conn)
	set := read(r)
	if err := r.Err(); err != nil {
		return nil, err
	}
	s := &Session{conns: newConns(env.Dial)}
	for _, secret := range []string{set.secret, set.token, set.externalID} {
		if secret != "" {
			s.secrets = append(s.secrets, secret)
		}
	}
	cfg, err := s.load(ctx, set, env)
	if err != nil {
		s.Close()
		return nil, &sink.Error{Class: sink.Misconfigured, Code: details.CodeConfig, Err: err}
	}
	s.Config = cfg
	return s, nil
}

func (s *Session) load(ctx context.Context, set settings, env sink.Env) (sdk.Config, error) {
	// Credentials may come from the machine's own services, which no message can reach.
	own := newConns(credentialDial(env.Dial))
	s.conns.also = own
	options := []func(*config.LoadOptions) error{
		config.WithHTTPClient(awshttp.NewBuildableClient().WithTransportOptions(transport(own))),
		config.WithRetryer(func() sdk.Retryer { return sdk.NopRetryer{} }),
		config.WithAppID("waltrigger"),
		config.WithLogger(logging.Nop{}), // else to stderr; what matters comes as an error
	}
	if set.region != "" {
		options = append(options, config.WithRegion(set.region))
	}
	if set.certificates != "" {
		pem, err := os.ReadFile(set.certificates)
		if err != nil {
			return sdk.Config{}, fmt.Errorf("read verify: %w", err)
		}
		options = append(options, config.WithCustomCABundle(bytes.NewReader(pem)))
	}
	if set.id != "" {
		options = append(options, config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(set.id, set.secret, set.token)))
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return cfg, fmt.Errorf("load configuration of AWS: %w", err)
	}
	if cfg.Region == "" {
		return cfg, errors.New("region is required, as neither AWS_REGION nor a profile names one")
	}
	cfg.Credentials = sdk.NewCredentialsCache(provider{s.credentials(cfg, set)}, func(o *sdk.CredentialsCacheOptions) {
		o.ExpiryWindow = time.Minute // never sign with what ends under way
	})
	client, ok := cfg.HTTPClient.(*awshttp.BuildableClient) // with the certificates
	if !ok {
		return cfg, fmt.Errorf("unexpected HTTP client %T", cfg.HTTPClient)
	}
	cfg.HTTPClient = bounded{client.WithTransportOptions(transport(s.conns))}
	if set.endpoint != "" {
		cfg.BaseEndpoint = &set.endpoint
	}
	return cfg, nil
}

func (s *Session) credentials(cfg sdk.Config, set settings) sdk.CredentialsProvider {
	if set.role == "" {
		return cfg.Credentials
	}
	return stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), set.role, func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName = "waltrigger"
		if set.externalID != "" {
			o.ExternalID = &set.externalID
		}
	})
}

// Close closes all connections. No request is running or follows.
func (s *Session) Close() { s.conns.Close() }

// maxConns is how many idle connections are kept: as many as a destination has requests
// under way by default.
const maxConns = 128

func transport(c *conns) func(*http.Transport) {
	return func(t *http.Transport) {
		t.DialContext = c.Dial
		t.Proxy = nil // the guard of addresses would see the proxy's alone
		t.ForceAttemptHTTP2 = false
		t.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
		t.MaxIdleConns, t.MaxIdleConnsPerHost = maxConns, maxConns
		t.IdleConnTimeout = 50 * time.Second
		t.DisableCompression = true
		t.MaxResponseHeaderBytes = 64 << 10
	}
}

// maxResponse is more than any answer that matters: a function's result may have 6 MB.
const maxResponse = 8 << 20

// bounded does not read endless answers.
type bounded struct{ sdk.HTTPClient }

func (b bounded) Do(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		// The SDK closes the body when the answer begins. Its WriteTo then fails with EOF
		// in net/http's last look for more, which would close the connection under the
		// answer; its Read does not.
		req.Body = struct {
			io.Reader
			io.Closer
		}{req.Body, req.Body}
	}
	resp, err := b.HTTPClient.Do(req)
	if err != nil {
		return nil, err
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, maxResponse), resp.Body}
	return resp, nil
}

// credentialServices are the addresses at which AWS gives credentials to its machines
// and containers. The SDK alone names them, never a message or a trigger, and the client
// that uses them sends nothing else; so they need no leave of the operator.
var credentialServices = []string{"169.254.169.254:80", "[fd00:ec2::254]:80", "169.254.170.2:80", "169.254.170.23:80", "[fd00:ec2::23]:80"}

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

func credentialDial(dial dialFunc) dialFunc {
	direct := &net.Dialer{Timeout: 2 * time.Second}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if slices.Contains(credentialServices, address) {
			return direct.DialContext(ctx, network, address)
		}
		return dial(ctx, network, address)
	}
}

// provider marks errors of fetching credentials.
type provider struct{ sdk.CredentialsProvider }

type credentialsError struct{ err error }

func (e *credentialsError) Error() string { return "get credentials: " + e.err.Error() }

func (e *credentialsError) Unwrap() error { return e.err }

func (p provider) Retrieve(ctx context.Context) (sdk.Credentials, error) {
	if p.CredentialsProvider == nil {
		return sdk.Credentials{}, &credentialsError{errors.New("none are configured")}
	}
	c, err := p.CredentialsProvider.Retrieve(ctx)
	if err != nil {
		return c, &credentialsError{err}
	}
	return c, nil
}

// hide removes secrets of the details from a text.
func (s *Session) hide(text string) string {
	for _, secret := range s.secrets {
		text = strings.ReplaceAll(text, secret, "***")
		text = strings.ReplaceAll(text, url.QueryEscape(secret), "***")
	}
	return text
}
