package pubsub

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/credentials"

	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/sink/details"
)

// connParams are the connection details. Without credentials the machine's own are used:
// GOOGLE_APPLICATION_CREDENTIALS, gcloud's, or those of the metadata service.
var connParams = []sink.Param{
	{Name: "project", Required: true},
	{Name: "topic", Required: true},
	{Name: "credentials_file"},
	{Name: "credentials_json", Secret: true},
	{Name: "quota_project"},
	{Name: "endpoint"},
	{Name: "emulator_host"},
	{Name: "enable_message_ordering"},
}

const (
	codeConfig     = details.CodeConfig
	defaultAddress = "pubsub.googleapis.com:443"
	scope          = "https://www.googleapis.com/auth/pubsub"
)

// They are compiled when they are first used: most installations have no such broker.
var (
	projectPattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,61}[a-z0-9]$`) })
	topicPattern   = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._~+%-]{2,254}$`) })
)

// config is the connection details, read.
type config struct {
	project, topic  string
	address         string // host:port
	emulator        bool   // no TLS, no credentials
	ordering        bool
	quotaProject    string
	credentialsFile string
	credentialsJSON string
	tls             *tls.Config
}

func read(r *details.Reader) *config {
	c := &config{
		project: r.String("project"), topic: r.String("topic"), quotaProject: r.String("quota_project"), address: defaultAddress,
		credentialsFile: r.String("credentials_file"), ordering: r.Bool("enable_message_ordering", true),
		tls: &tls.Config{MinVersion: tls.VersionTLS12},
	}
	for name, v := range map[string]string{"project": c.project, "topic": c.topic} {
		if !r.Present(name) {
			r.Add(name, "required", "is required")
		} else if pattern := map[string]*regexp.Regexp{"project": projectPattern(), "topic": topicPattern()}[name]; v != "" && !pattern.MatchString(v) {
			r.Add(name, "invalid", "is no legal name of a %s; it stands without projects/… and topics/…", name)
		}
	}
	if c.quotaProject != "" && !projectPattern().MatchString(c.quotaProject) {
		r.Add("quota_project", "invalid", "is no legal name of a project")
	}
	if strings.HasPrefix(strings.ToLower(c.topic), "goog") {
		r.Add("topic", "invalid", "must not begin with goog")
	}
	if e := r.String("endpoint"); e != "" {
		c.address = address(r, "endpoint", e, "443")
	}
	emulator := r.String("emulator_host")
	if emulator == "" && !r.Present("endpoint") && !r.Checking() {
		emulator = os.Getenv("PUBSUB_EMULATOR_HOST")
	}
	if emulator != "" {
		if r.Present("endpoint") {
			r.Add("emulator_host", "invalid", "and endpoint exclude each other")
		}
		c.emulator, c.address = true, address(r, "emulator_host", emulator, "8085")
	}
	c.credentialsJSON = secretJSON(r)
	if r.Present("credentials_file") && r.Present("credentials_json") {
		r.Add("credentials_json", "invalid", "and credentials_file exclude each other")
	}
	return c
}

// secretJSON reads credentials_json, which is a text or, in YAML, an object.
func secretJSON(r *details.Reader) string {
	switch v := r.Value("credentials_json").(type) {
	case nil:
		return ""
	case string:
		if !json.Valid([]byte(v)) {
			r.Add("credentials_json", "invalid", "is no JSON")
		}
		return v
	case map[string]any:
		if b, err := json.Marshal(v); err == nil {
			return string(b)
		}
	}
	r.Add("credentials_json", "invalid", "must be the JSON of a service account's key")
	return ""
}

// address completes host:port.
func address(r *details.Reader, name, text, port string) string {
	if !strings.Contains(text, ":") {
		text += ":" + port
	}
	host, p, err := net.SplitHostPort(text)
	n, perr := strconv.ParseUint(p, 10, 16)
	if err != nil || perr != nil || n == 0 || host == "" || strings.ContainsAny(host, "/@? ") {
		r.Add(name, "invalid", "must be host:port")
		return ""
	}
	return text
}

func newConfig(conn map[string]any) (*config, error) {
	r := details.Read(conn)
	c := read(r)
	return c, r.Err()
}

func check(conn, params map[string]any) []sink.Problem {
	r := details.Check(conn, connParams)
	read(r)
	for name := range params { // they become attributes
		if err := checkName(name); err != nil {
			r.AddParam(name, "invalid", "%v", err)
		} else if isEventHeader(name) {
			r.AddParam(name, "not_allowed", "is set by waltrigger and cannot be set by a trigger")
		}
	}
	return r.Problems()
}

// addresses is Kind.Addresses.
func addresses(conn map[string]any) []string {
	r := details.Check(conn, connParams)
	c := read(r)
	if c.address == "" {
		return nil
	}
	return []string{c.address}
}

// orderingKey is the key as the service takes it: hashed if it is no UTF-8 or too long.
func orderingKey(key []byte) string {
	if len(key) <= maxOrderingKey && utf8.Valid(key) {
		return string(key)
	}
	h := sha256.Sum256(key)
	return hex.EncodeToString(h[:])
}

// tokens fetches what requests are authorized by.
type tokens struct {
	client  *http.Client
	found   chan struct{} // closed when the machine's own credentials were looked for
	creds   *auth.Credentials
	findErr error
}

// newTokens reads credentials that the details give. It looks for the machine's own in
// the background, as that may ask the metadata service.
func newTokens(c *config, dial func(ctx context.Context, network, address string) (net.Conn, error)) (*tokens, error) {
	t := &tokens{found: make(chan struct{}), client: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DialContext: dial, TLSClientConfig: c.tls.Clone(), DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10,
	}}}
	// A service account signs its tokens itself and asks nobody.
	options := &credentials.DetectOptions{Scopes: []string{scope}, UseSelfSignedJWT: true, DisableAsyncRefresh: true, Client: t.client, Logger: discard}
	if c.credentialsFile == "" && c.credentialsJSON == "" {
		go func() {
			defer close(t.found)
			t.creds, t.findErr = credentials.DetectDefault(options)
		}()
		return t, nil
	}
	defer close(t.found)
	key := []byte(c.credentialsJSON)
	if c.credentialsFile != "" {
		b, err := os.ReadFile(c.credentialsFile)
		if err != nil {
			return nil, fmt.Errorf("read credentials_file: %w", err)
		}
		key = b
	}
	// Other types name addresses to ask and programs to run, which whoever writes a
	// trigger must not choose; the operator gives those by the environment.
	creds, err := credentials.NewCredentialsFromJSON(credentials.ServiceAccount, key, options)
	if err != nil {
		return nil, errors.New("the credentials are no key of a service account")
	}
	t.creds = creds
	return t, nil
}

// token returns a token that holds for a while; the error is classified.
func (t *tokens) token(ctx context.Context) (string, error) {
	select {
	case <-t.found:
	case <-ctx.Done():
		return "", sink.Network(ctx.Err())
	}
	if t.findErr != nil {
		return "", &sink.Error{Class: sink.Misconfigured, Code: codeAuth, Err: errors.New("no credentials are found: set credentials_file, or GOOGLE_APPLICATION_CREDENTIALS")}
	}
	token, err := t.creds.Token(ctx)
	if err == nil {
		return token.Value, nil
	}
	var (
		answer  *auth.Error
		refusal interface{ Blocked() bool }
	)
	switch {
	case ctx.Err() != nil:
		return "", sink.Network(ctx.Err())
	case errors.As(err, &refusal) && refusal.Blocked():
		return "", sink.Network(err)
	case errors.As(err, &answer) && answer.Response != nil && answer.Response.StatusCode < 500 && answer.Response.StatusCode != http.StatusTooManyRequests:
		return "", &sink.Error{Class: sink.Misconfigured, Code: codeAuth, Err: fmt.Errorf("fetch token: answered %d", answer.Response.StatusCode)}
	}
	var ne net.Error
	if errors.As(err, &ne) {
		e := sink.Network(ne)
		e.Err = fmt.Errorf("fetch token: %w", e.Err)
		return "", e
	}
	return "", &sink.Error{Class: sink.Misconfigured, Code: codeAuth, Err: errors.New("the credentials give no token: is the private key whole?")}
}

func (t *tokens) close() {
	t.client.CloseIdleConnections()
	<-t.found
}
