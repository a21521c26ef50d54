package resolve

import (
	"context"
	"net/url"

	secretmanager "cloud.google.com/go/secretmanager/apiv1"
	"gocloud.dev/runtimevar"
	"gocloud.dev/runtimevar/gcpsecretmanager"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
)

var (
	// gcpName is the rule of gocloud.dev, which reads the latest version.
	gcpName   = pattern(`^projects/[a-z][a-z0-9_-]{4,28}[a-z0-9_]/secrets/[a-zA-Z0-9_-]+$`, 300)
	gcpParams = map[string]func(string) bool{"endpoint": pattern(`^[A-Za-z0-9.-]+:[0-9]{1,5}$`, 260)}
)

func openGCP(ctx context.Context, name string, q url.Values) (*runtimevar.Variable, func(), error) {
	options := []option.ClientOption{option.WithGRPCDialOption(grpc.WithNoProxy()), option.WithUserAgent("waltrigger")}
	if e := q.Get("endpoint"); e != "" {
		options = append(options, option.WithEndpoint(e))
	}
	return openGCPWith(ctx, name, options)
}

func openGCPWith(ctx context.Context, name string, options []option.ClientOption) (*runtimevar.Variable, func(), error) {
	client, err := secretmanager.NewClient(ctx, options...)
	if err != nil {
		return nil, nil, err
	}
	done := func() { _ = client.Close() }             // it only fails if it is closed already
	client.CallOptions = &secretmanager.CallOptions{} // no retries, as for AWS
	v, err := gcpsecretmanager.OpenVariable(client, name, runtimevar.BytesDecoder, nil)
	if err != nil {
		done()
		return nil, nil, err
	}
	return v, done, nil
}
