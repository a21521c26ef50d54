package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/waltrigger/waltrigger/config"
)

// remote says where the API of the running daemon is: by flags, the environment, or the
// configuration.
type remote struct {
	file      *string // of the configuration
	url       string
	tokenFile string
}

// Variables that stand in the place of the flags.
const (
	apiURL   = config.APIURL
	apiToken = config.APIToken
)

func (r *remote) flags(c *cobra.Command) {
	c.PersistentFlags().StringVar(&r.url, "api", "", "`URL` of the daemon's API (default "+apiURL+", then the configuration's admin.listen)")
	c.PersistentFlags().StringVar(&r.tokenFile, "token-file", "", "`file` with a token of the API (default "+apiToken+", then the configuration's admin.tokens)")
}

// client speaks with the API.
type client struct {
	url, token string
	flag       func(name string) bool // whether the command has one
}

func (r *remote) client(c *cobra.Command) (*client, error) {
	out := &client{url: r.url, token: os.Getenv(apiToken), flag: func(name string) bool { return c.Flags().Lookup(name) != nil }}
	if out.url == "" {
		out.url = os.Getenv(apiURL)
	}
	if r.tokenFile != "" {
		b, err := os.ReadFile(r.tokenFile)
		if err != nil {
			return nil, fmt.Errorf("read the token: %w", err)
		}
		out.token = string(bytes.TrimSpace(b))
	}
	if strings.ContainsFunc(out.token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return nil, errors.New("the token holds spaces or other characters that no token has")
	}
	if out.url != "" { // a token of the configuration is not for anywhere else
		return out, out.check()
	}
	cfg, err := load(*r.file, c.ErrOrStderr())
	if err != nil {
		return nil, fmt.Errorf("%w\nor say where the daemon is: --api URL, or %s", err, apiURL)
	}
	if out.url, err = localURL(cfg.Admin.Listen); err != nil {
		return nil, err
	}
	if out.token == "" {
		out.token = bestToken(cfg.Admin.Tokens)
	}
	return out, nil
}

func (c *client) check() error {
	u, err := url.Parse(c.url)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("--api %q is no address such as http://127.0.0.1:8080", c.url)
	}
	c.url = strings.TrimSuffix(strings.TrimSuffix(c.url, "/"), "/api")
	return nil
}

// localURL is how to reach a listener from the same machine.
func localURL(listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil || port == "0" {
		return "", fmt.Errorf("the configuration's admin.listen %q names no port to connect to: say --api URL", listen)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port), nil
}

// bestToken is one that may change things, if there is one.
func bestToken(tokens []config.Token) string {
	for _, t := range tokens {
		if slices.Contains(t.Scopes, "admin") {
			return string(t.Token)
		}
	}
	if len(tokens) > 0 {
		return string(tokens[0].Token)
	}
	return ""
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 256 << 20

// call sends a request and decodes the answer into out (nil = not wanted). It returns the
// path of the next page, if there is one.
func (c *client) call(ctx context.Context, method, path string, body, out any) (next string, err error) {
	var b bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&b).Encode(body); err != nil {
			return "", fmt.Errorf("encode request: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, &b)
	if err != nil {
		return "", fmt.Errorf("make request: %w", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", c.unreachable(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return "", fmt.Errorf("read the answer of %s: %w", c.url, err)
	}
	if resp.StatusCode >= 300 {
		return "", c.refused(resp, text)
	}
	if out != nil && len(text) > 0 {
		if err := json.Unmarshal(text, out); err != nil {
			return "", fmt.Errorf("%s answered what is not waltrigger's API: %w", c.url, err)
		}
	}
	return nextPage(resp.Header.Get("Link")), nil
}

func (c *client) unreachable(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	var op *net.OpError
	var sys *os.SyscallError
	switch { // the address was said
	case errors.As(err, &sys):
		err = sys.Err
	case errors.As(err, &op):
		err = op.Err
	}
	return fmt.Errorf("the daemon cannot be reached at %s: %w; does it run? --api or %s say where else it is", c.url, err, apiURL)
}

// refused makes an error of the API's, in the words of the command.
func (c *client) refused(resp *http.Response, text []byte) error {
	var p struct {
		Code, Detail, Earliest string
		Errors                 []struct{ Pointer, Detail string }
	}
	if err := json.Unmarshal(text, &p); err != nil || p.Code == "" {
		return fmt.Errorf("%s answered %s: that is not waltrigger's API", c.url, resp.Status)
	}
	switch {
	case resp.StatusCode == http.StatusUnauthorized && c.token == "":
		return fmt.Errorf("the API wants a token: --token-file FILE, or %s", apiToken)
	case resp.StatusCode == http.StatusUnauthorized:
		return errors.New("the API does not know the token")
	}
	lines := []string{p.Detail}
	switch name, _, _ := strings.Cut(p.Detail, " "); {
	case len(p.Errors) > 0:
		lines = nil // it only says that these are what is wrong
	case p.Code == "invalid_query" && c.flag(name):
		lines[0] = "--" + p.Detail
	}
	for _, e := range p.Errors {
		lines = append(lines, c.said(e.Pointer)+": "+e.Detail)
	}
	if p.Earliest != "" && c.flag("from") {
		lines = append(lines, "say --from "+p.Earliest)
	}
	return &refusedError{status: resp.StatusCode, code: p.Code, text: plain(strings.Join(lines, "; "))}
}

// said is what of the command line a request has at pointer; of a list, the place in it.
func (c *client) said(pointer string) string {
	name, place, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(pointer, "/filter"), "/"), "/")
	var out string
	switch flag := strings.ReplaceAll(name, "_", "-"); {
	case c.flag(flag):
		out = "--" + flag
	case c.flag(strings.TrimSuffix(flag, "s")):
		out = "--" + strings.TrimSuffix(flag, "s")
	case name == "ids":
		out = "ID"
	default:
		return pointer
	}
	if n, err := strconv.Atoi(place); err == nil {
		out += fmt.Sprintf(" %d", n+1)
	}
	return out
}

// refusedError is what the API answered.
type refusedError struct {
	status     int
	code, text string
}

func (e *refusedError) Error() string { return fmt.Sprintf("%s (%s)", e.text, e.code) }

// triggerID is the value of a flag that names a trigger.
type triggerID int64

func (id *triggerID) String() string { return strconv.FormatInt(int64(*id), 10) }
func (id *triggerID) Type() string   { return "id" }

// Set implements pflag.Value.
func (id *triggerID) Set(text string) error {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 {
		return errors.New("want the id of a trigger, a number")
	}
	*id = triggerID(n)
	return nil
}

// nextPage reads a Link header.
func nextPage(link string) string {
	path, rel, ok := strings.Cut(link, ">")
	if !ok || !strings.Contains(rel, `"next"`) {
		return ""
	}
	return strings.TrimPrefix(path, "<")
}
