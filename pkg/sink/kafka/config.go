package kafka

import (
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/IBM/sarama"
	"github.com/xdg-go/scram"

	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/sink/details"
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

// oneOf reads a string that is one of values, in any case.
func oneOf(r *details.Reader, name, otherwise string, values []string) string {
	s := strings.ToUpper(r.String(name))
	if s == "" {
		return otherwise
	}
	if !slices.Contains(values, s) {
		r.Add(name, "invalid", "must be one of %s", strings.Join(values, ", "))
	}
	return s
}

// servers are the addresses that are known.
func servers(r *details.Reader) (out []string) {
	for _, s := range r.Strings("bootstrap_servers") {
		if r.Checking() && details.IsTemplate(s) {
			continue
		}
		if !strings.Contains(s, ":") {
			s += ":9092"
		}
		host, port, err := net.SplitHostPort(s)
		if n, perr := strconv.Atoi(port); err != nil || perr != nil || host == "" || n < 1 || n > 65535 {
			r.Add("bootstrap_servers", "invalid", "%q is no host:port", s)
			continue
		}
		out = append(out, s)
	}
	return out
}

func read(r *details.Reader) *config {
	c := &config{brokers: servers(r), sarama: sarama.NewConfig()}
	s := c.sarama
	s.MetricRegistry = noMetrics{}
	s.ClientID = "waltrigger"
	if id := r.String("client_id"); id != "" {
		if s.ClientID = id; !clientPattern.MatchString(id) {
			r.Add("client_id", "invalid", "must be letters, digits, dot, dash and _")
		}
	}
	codec, ok := compressions[strings.ToLower(r.String("compression_type"))]
	if !ok {
		r.Add("compression_type", "invalid", "must be one of none, gzip, snappy, lz4, zstd")
	}
	c.codec = codec
	c.maxRequest = r.Int("max_request_size", defaultMaxRequest, 1024, 100<<20)
	if acks := r.Value("acks"); acks != nil && !slices.Contains([]string{"all", "-1"}, fmt.Sprint(acks)) {
		r.Add("acks", "invalid", "is always all: nothing counts as delivered that one broker alone could lose")
	}
	s.Metadata.AllowAutoTopicCreation = r.Bool("allow_auto_create_topics", false)
	s.Metadata.Full = false
	s.Metadata.RefreshFrequency = 0 // Send asks when it needs to
	s.Metadata.Retry.Max = 1
	s.Metadata.Retry.Backoff = 100 * time.Millisecond
	s.Net.MaxOpenRequests = 1
	s.Version = sarama.V2_1_0_0
	security(r, s)
	return c
}

func security(r *details.Reader, s *sarama.Config) {
	if r.Present("security_protocol") && r.Value("security_protocol") == nil {
		return // not known yet
	}
	protocol := oneOf(r, "security_protocol", "PLAINTEXT", protocols)
	s.Net.TLS.Config = r.TLS(strings.HasSuffix(protocol, "SSL"), "")
	s.Net.TLS.Enable = s.Net.TLS.Config != nil
	if !strings.HasPrefix(protocol, "SASL_") {
		if r.Present("sasl_mechanism") {
			r.Add("sasl_mechanism", "invalid", "has no meaning unless security_protocol is SASL_PLAINTEXT or SASL_SSL")
		}
		return
	}
	s.Net.SASL.Enable = true
	s.Net.SASL.User, s.Net.SASL.Password = r.String("sasl_plain_username"), r.String("sasl_plain_password")
	for _, name := range []string{"sasl_plain_username", "sasl_plain_password"} {
		if !r.Present(name) {
			r.Add(name, "required", "is required with security_protocol %s", protocol)
		}
	}
	switch m := oneOf(r, "sasl_mechanism", "PLAIN", mechanisms); m {
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

func newConfig(conn map[string]any) (*config, error) {
	r := details.Read(conn)
	c := read(r)
	if err := r.Err(); err != nil {
		return nil, err
	}
	if err := c.sarama.Validate(); err != nil {
		return nil, &sink.Error{Class: sink.Misconfigured, Code: details.CodeConfig, Err: err}
	}
	return c, nil
}

// check is Kind.Check.
func check(conn, params map[string]any) []sink.Problem {
	r := details.Check(conn, connParams)
	read(r)
	switch topic, ok := params["topic"].(string); {
	case !ok || topic == "":
		r.AddParam("topic", "required", "is required")
	case !details.IsTemplate(topic) && (!topicPattern.MatchString(topic) || topic == "." || topic == ".."):
		r.AddParam("topic", "invalid", "must be 1 to 249 letters, digits, dots, dashes and _")
	}
	return r.Problems()
}
