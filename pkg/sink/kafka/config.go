package kafka

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/IBM/sarama"
	"github.com/xdg-go/scram"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

// connParams are the connection details, named as in the clients of the Python world.
var connParams = []sink.Param{
	{Name: "bootstrap_servers", Required: true},
	{Name: "client_id"},
	{Name: "security_protocol"},
	{Name: "sasl_mechanism"},
	{Name: "sasl_plain_username"},
	{Name: "sasl_plain_password", Secret: true},
	{Name: "ssl_cafile"},
	{Name: "ssl_certfile"},
	{Name: "ssl_keyfile"},
	{Name: "ssl_check_hostname"},
	{Name: "compression_type"},
	{Name: "max_request_size"},
	{Name: "acks"},
	{Name: "allow_auto_create_topics"},
}

// defaultMaxRequest is what brokers accept by default as one batch, in bytes.
const defaultMaxRequest = 1_000_000

var (
	protocols    = []string{"PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"}
	mechanisms   = []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}
	compressions = map[string]sarama.CompressionCodec{
		"": sarama.CompressionNone, "none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP, "snappy": sarama.CompressionSnappy,
		"lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD,
	}
	topicPattern  = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)
	clientPattern = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)
)

// config is the connection details, read.
type config struct {
	brokers    []string
	codec      sarama.CompressionCodec
	maxRequest int
	sarama     *sarama.Config
}

// reader reads connection details and collects what is wrong with them.
type reader struct {
	conn  map[string]any
	check bool // templates are of any value
	found []sink.Problem
}

func (r *reader) add(field, code, format string, args ...any) {
	r.found = append(r.found, sink.Problem{Field: "conn_details/" + field, Code: code, Detail: fmt.Sprintf(format, args...)})
}

func isTemplate(v any) bool {
	s, ok := v.(string)
	return ok && (strings.Contains(s, "{{") || strings.Contains(s, "{%"))
}

func (r *reader) given(name string) (any, bool) {
	v, ok := r.conn[name]
	if !ok || v == nil || r.check && isTemplate(v) {
		return nil, false
	}
	return v, true
}

func (r *reader) str(name string) string {
	v, ok := r.given(name)
	if !ok {
		return ""
	}
	s, ok := v.(string)
	if !ok {
		r.add(name, "invalid", "must be a string")
	}
	return s
}

func (r *reader) boolean(name string, otherwise bool) bool {
	switch v, _ := r.given(name); v := v.(type) {
	case nil:
	case bool:
		return v
	case string:
		if b, err := strconv.ParseBool(strings.ToLower(v)); err == nil {
			return b
		}
		r.add(name, "invalid", "must be true or false")
	default:
		r.add(name, "invalid", "must be true or false")
	}
	return otherwise
}

// oneOf reads a string that is one of values, in any case.
func (r *reader) oneOf(name, otherwise string, values []string) string {
	s := strings.ToUpper(r.str(name))
	if s == "" {
		return otherwise
	}
	if !slices.Contains(values, s) {
		r.add(name, "invalid", "must be one of %s", strings.Join(values, ", "))
	}
	return s
}

func (r *reader) size(name string, otherwise int) int {
	v, ok := r.given(name)
	if !ok {
		return otherwise
	}
	n, err := strconv.ParseFloat(fmt.Sprint(v), 64)
	if err != nil || n != float64(int(n)) || n < 1024 || n > 100<<20 {
		r.add(name, "invalid", "must be a number of bytes from 1024 to 104857600")
		return otherwise
	}
	return int(n)
}

// servers reads a list, or a string with commas.
func (r *reader) servers() []string {
	var list []string
	v, present := r.conn["bootstrap_servers"]
	switch v := v.(type) {
	case string:
		if r.check && isTemplate(v) {
			return nil
		}
		list = strings.Split(v, ",")
	case []string:
		list = v
	case []any:
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				r.add("bootstrap_servers", "invalid", "must hold strings only")
				return nil
			}
			list = append(list, s)
		}
	case nil:
		present = false
	default:
		r.add("bootstrap_servers", "invalid", "must be a string such as host:9092, or a list of such")
		return nil
	}
	var out []string
	for _, s := range list {
		if s = strings.TrimSpace(s); s == "" {
			continue
		}
		if r.check && isTemplate(s) {
			out = append(out, s)
			continue
		}
		if !strings.Contains(s, ":") {
			s += ":9092"
		}
		host, port, err := net.SplitHostPort(s)
		if n, perr := strconv.Atoi(port); err != nil || perr != nil || host == "" || n < 1 || n > 65535 {
			r.add("bootstrap_servers", "invalid", "%q is no host:port", s)
			continue
		}
		out = append(out, s)
	}
	if len(out) == 0 && len(r.found) == 0 {
		if present {
			r.add("bootstrap_servers", "invalid", "names no server")
		} else {
			r.add("bootstrap_servers", "required", "is required")
		}
	}
	return out
}

func (r *reader) read() *config {
	c := &config{brokers: r.servers(), sarama: sarama.NewConfig()}
	s := c.sarama
	s.MetricRegistry = noMetrics{}
	s.ClientID = "waltrigger"
	if id := r.str("client_id"); id != "" {
		if !clientPattern.MatchString(id) {
			r.add("client_id", "invalid", "must be letters, digits, dot, dash and _")
		} else {
			s.ClientID = id
		}
	}
	compression := strings.ToLower(r.str("compression_type"))
	codec, ok := compressions[compression]
	if !ok {
		r.add("compression_type", "invalid", "must be one of none, gzip, snappy, lz4, zstd")
	}
	c.codec = codec
	c.maxRequest = r.size("max_request_size", defaultMaxRequest)
	if acks, ok := r.given("acks"); ok && !slices.Contains([]string{"all", "-1"}, fmt.Sprint(acks)) {
		r.add("acks", "invalid", "is always all: nothing counts as delivered that one broker alone could lose")
	}
	s.Metadata.AllowAutoTopicCreation = r.boolean("allow_auto_create_topics", false)
	s.Metadata.Full = false
	s.Metadata.RefreshFrequency = 0 // Send asks when it needs to
	s.Metadata.Retry.Max = 1
	s.Metadata.Retry.Backoff = 100 * time.Millisecond
	s.Net.MaxOpenRequests = 1
	s.Version = sarama.V2_1_0_0
	r.security(s)
	return c
}

func (r *reader) security(s *sarama.Config) {
	protocol := r.oneOf("security_protocol", "PLAINTEXT", protocols)
	s.Net.TLS.Enable = protocol == "SSL" || protocol == "SASL_SSL"
	checkHost := r.boolean("ssl_check_hostname", true)
	ca, cert, key := r.str("ssl_cafile"), r.str("ssl_certfile"), r.str("ssl_keyfile")
	if !r.check && s.Net.TLS.Enable {
		t, err := tlsConfig(ca, cert, key, checkHost)
		if err != nil {
			r.add("security_protocol", "invalid", "%v", err)
		}
		s.Net.TLS.Config = t
	}
	if !strings.HasPrefix(protocol, "SASL_") {
		if _, ok := r.given("sasl_mechanism"); ok && protocol != "" && r.found == nil {
			r.add("security_protocol", "invalid", "must be SASL_PLAINTEXT or SASL_SSL, as sasl_mechanism is given")
		}
		return
	}
	s.Net.SASL.Enable = true
	s.Net.SASL.User, s.Net.SASL.Password = r.str("sasl_plain_username"), r.str("sasl_plain_password")
	for _, name := range []string{"sasl_plain_username", "sasl_plain_password"} {
		if v, ok := r.conn[name]; !ok || v == nil || v == "" {
			r.add(name, "required", "is required with security_protocol %s", protocol)
		}
	}
	switch m := r.oneOf("sasl_mechanism", "PLAIN", mechanisms); m {
	case "SCRAM-SHA-256":
		s.Net.SASL.SCRAMClientGeneratorFunc = newSCRAM(scram.SHA256)
		s.Net.SASL.Mechanism = sarama.SASLMechanism(m)
	case "SCRAM-SHA-512":
		s.Net.SASL.SCRAMClientGeneratorFunc = newSCRAM(scram.SHA512)
		s.Net.SASL.Mechanism = sarama.SASLMechanism(m)
	default:
		s.Net.SASL.Mechanism = sarama.SASLTypePlaintext
	}
}

func tlsConfig(ca, cert, key string, checkHost bool) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("read ssl_cafile: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("ssl_cafile holds no certificate")
		}
	}
	if cert != "" || key != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("read ssl_certfile and ssl_keyfile: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	if !checkHost {
		// Only the name is not compared; the chain is verified all the same.
		c.InsecureSkipVerify = true
		c.VerifyConnection = func(cs tls.ConnectionState) error {
			opts := x509.VerifyOptions{Roots: c.RootCAs, Intermediates: x509.NewCertPool()}
			for _, ic := range cs.PeerCertificates[1:] {
				opts.Intermediates.AddCert(ic)
			}
			_, err := cs.PeerCertificates[0].Verify(opts)
			return err
		}
	}
	return c, nil
}

func newConfig(conn map[string]any) (*config, error) {
	r := &reader{conn: conn}
	c := r.read()
	if len(r.found) > 0 {
		var errs []error
		for _, p := range r.found {
			errs = append(errs, fmt.Errorf("%s %s", strings.TrimPrefix(p.Field, "conn_details/"), p.Detail))
		}
		return nil, errors.Join(errs...)
	}
	if err := c.sarama.Validate(); err != nil {
		return nil, err
	}
	return c, nil
}

// check is Kind.Check.
func check(conn, params map[string]any) []sink.Problem {
	r := &reader{conn: conn, check: true}
	r.read()
	switch topic, ok := params["topic"].(string); {
	case !ok || topic == "":
		r.found = append(r.found, sink.Problem{Field: "parameters/topic", Code: "required", Detail: "is required"})
	case !isTemplate(topic) && (!topicPattern.MatchString(topic) || topic == "." || topic == ".."):
		r.found = append(r.found, sink.Problem{Field: "parameters/topic", Code: "invalid", Detail: "must be 1 to 249 letters, digits, dots, dashes and _"})
	}
	return r.found
}
