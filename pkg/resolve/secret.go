package resolve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/smithy-go"
	"gocloud.dev/runtimevar"
	"google.golang.org/grpc/status"
)

// secret is the URL of an entry of a secret manager, as gocloud.dev's runtimevar writes
// them.
//
//	awssecretsmanager://shop/token?region=eu-central-1
//	awsparamstore:///shop/token?region=eu-central-1
//	gcpsecretmanager://projects/my-project/secrets/token
//
// Credentials are the machine's own: environment, files, instance or workload identity.
type secret string

// manager is the kind of service that a scheme names.
type manager struct {
	params map[string]func(string) bool // of the URL's query, with what is a legal value
	name   func(string) bool
	form   string // what a legal name is, in words
	// open makes a variable that is read once. done releases what it needs.
	open func(ctx context.Context, name string, q url.Values) (v *runtimevar.Variable, done func(), err error)
}

var managers = map[string]manager{
	"awssecretsmanager": {awsParams, awsName, "the name of a secret, or /arn:…", openSecretsManager},
	"awsparamstore":     {awsParams, awsName, "the name of a parameter", openParamStore},
	"gcpsecretmanager":  {gcpParams, gcpName, "projects/PROJECT/secrets/SECRET", openGCP},
}

// pattern tells what matches expr, which is compiled when it is first used: most
// installations have no secret manager.
func pattern(expr string, most int) func(string) bool {
	re := sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
	return func(s string) bool { return len(s) <= most && re().MatchString(s) }
}

func (s secret) given() bool        { return s != "" }
func (s secret) ttl() time.Duration { return usualTTL }

func (s secret) fetcher(Env) fetcher {
	u, _ := url.Parse(string(s)) // it was checked
	return &entry{managers[u.Scheme], entryName(u), u.Query()}
}

// entryName is what stands between scheme and query. A path alone keeps its slash,
// which is part of the names of parameters, unless it is an ARN.
func entryName(u *url.URL) string {
	name := path.Join(u.Host, u.Path)
	if strings.HasPrefix(name, "/arn:") {
		name = name[1:]
	}
	return name
}

func (s secret) check(k *checker) {
	const key = "secret"
	u, err := url.Parse(string(s))
	if err != nil {
		k.add(key, "is no URL such as awssecretsmanager://name?region=eu-central-1")
		return
	}
	m, ok := managers[u.Scheme]
	if !ok {
		k.add(key, "must begin with awssecretsmanager://, awsparamstore:// or gcpsecretmanager://")
		return
	}
	if name := entryName(u); name == "" || name == "/" || u.User != nil || u.Fragment != "" || u.Opaque != "" || !m.name(name) {
		k.add(key, "after %s:// must come %s", u.Scheme, m.form)
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		k.add(key, "has a query that cannot be read")
		return
	}
	for _, name := range sortedKeys(q) {
		if legal := m.params[name]; legal == nil {
			k.add(key, "has no parameter %q; there are %s", name, strings.Join(sortedKeys(m.params), ", "))
		} else if len(q[name]) > 1 || !legal(q[name][0]) {
			k.add(key, "has a parameter %s of no legal value", name)
		}
	}
}

// entry is one of a manager.
type entry struct {
	manager manager
	name    string
	query   url.Values
}

func (e *entry) fetch(ctx context.Context) (string, time.Time, error) {
	v, done, err := e.manager.open(ctx, e.name, e.query)
	if err != nil {
		return "", time.Time{}, managerError(ctx, err)
	}
	defer done()
	defer v.Close()
	s, err := v.Watch(ctx) // its first answer is the value or an error
	if err != nil {
		return "", time.Time{}, managerError(ctx, err)
	}
	b, _ := s.Value.([]byte) // by the decoder
	return withoutNewline(b), time.Time{}, nil
}

// managerError words what a service said. What it says of signatures repeats what was
// signed, a session's token among it.
func managerError(ctx context.Context, err error) error {
	var (
		api smithy.APIError
		rpc interface{ GRPCStatus() *status.Status }
		op  *net.OpError
	)
	switch {
	case ctx.Err() != nil:
		return failure(ctx.Err())
	case errors.As(err, &api) && strings.Contains(api.ErrorCode(), "Signature"):
		return errors.New(api.ErrorCode())
	case errors.As(err, &api):
		return fmt.Errorf("%s: %s", api.ErrorCode(), api.ErrorMessage())
	case errors.As(err, &op):
		return op
	case errors.As(err, &rpc):
		return fmt.Errorf("%s: %s", rpc.GRPCStatus().Code(), rpc.GRPCStatus().Message())
	}
	return err
}

func sortedKeys[V any](m map[string]V) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
