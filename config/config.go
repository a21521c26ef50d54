// Package config reads the one file that an operator writes. Everything that is wrong
// with it is said at once, with the line.
//
//	file ── YAML nodes ── environment over them ── ${…} expanded ── typed ── validated
package config

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/waltrigger/waltrigger/pkg/api"
	"github.com/waltrigger/waltrigger/pkg/deliver"
	"github.com/waltrigger/waltrigger/pkg/egress"
	"github.com/waltrigger/waltrigger/pkg/payload"
	"github.com/waltrigger/waltrigger/pkg/related"
	"github.com/waltrigger/waltrigger/pkg/resolve"
	"github.com/waltrigger/waltrigger/pkg/source"
	"github.com/waltrigger/waltrigger/pkg/source/mysql"
	"github.com/waltrigger/waltrigger/pkg/source/postgres"
	"github.com/waltrigger/waltrigger/pkg/store"
)

// Config is the configuration. It is not changed once it is loaded, and prints without
// its secrets.
type Config struct {
	Sources       []Source                  `yaml:"sources"`
	Store         Store                     `yaml:"store"`
	Admin         Admin                     `yaml:"admin"`
	Ops           Ops                       `yaml:"ops"`
	Brokers       map[string]Broker         `yaml:"brokers"`
	Actions       map[string]Broker         `yaml:"actions"`
	DynamicValues map[string]resolve.Config `yaml:"dynamic_values"`
	Settings      Settings                  `yaml:"settings"`
	Egress        egress.Policy             `yaml:"egress"`
	Delivery      Delivery                  `yaml:"delivery"`
	History       History                   `yaml:"history"`
	Triggers      []string                  `yaml:"triggers"` // patterns of files; relative ones start at the folder of the configuration

	// Files are those that ${file:…} named.
	Files []string `yaml:"-"`
	dir   string
}

// Source is a database to be tailed.
type Source struct {
	Name            string            `yaml:"name"`
	URL             Secret            `yaml:"url" address:"true"`
	Slot            string            `yaml:"slot"`
	Publication     string            `yaml:"publication"`
	PublicationMode string            `yaml:"publication_mode"`
	ServerID        int64             `yaml:"server_id"`
	Origin          string            `yaml:"origin"`
	IgnoreSkip      bool              `yaml:"ignore_skip"`
	NoFailover      bool              `yaml:"no_failover"`
	ContentTypes    map[string]string `yaml:"content_types"` // app_label.Model -> schema.table
	Relations       []related.Config  `yaml:"relations"`
}

// Store is where the daemon keeps its own data.
type Store struct {
	URL            Secret          `yaml:"url" address:"true"`
	EncryptionKeys []EncryptionKey `yaml:"encryption_keys"` // the first encrypts, all decrypt
}

// EncryptionKey encrypts secrets in the store.
type EncryptionKey struct {
	Name string `yaml:"name"` // is kept with what it encrypted
	Key  Secret `yaml:"key"`  // 32 bytes in base64; none for the name none, which encrypts nothing
}

// Keys gives the keys for use. They were validated.
func (s Store) Keys() []store.Key {
	out := make([]store.Key, len(s.EncryptionKeys))
	for i, k := range s.EncryptionKeys {
		out[i].Name = k.Name
		out[i].Bytes, _ = store.ParseKey(string(k.Key))
	}
	return out
}

// Admin is the listener of the API.
type Admin struct {
	Listen string  `yaml:"listen"`
	Tokens []Token `yaml:"tokens"`
}

// Token lets its bearer use the API.
type Token struct {
	Name   string   `yaml:"name"`
	Token  Secret   `yaml:"token"`
	Scopes []string `yaml:"scopes"` // admin, read; none = read
}

// Ops is the listener of probes and metrics.
type Ops struct {
	Listen string `yaml:"listen"`
}

// Broker is a broker or an action. What it sets, no trigger can set otherwise.
type Broker struct {
	BrokerType  string  `yaml:"broker_type"` // lower case once it is loaded
	ConnDetails Details `yaml:"conn_details"`
	Params      Details `yaml:"params"`
}

// Settings bound what triggers may do. Of lists, nil allows all and an empty one
// nothing.
type Settings struct {
	AllowedContentTypes []string `yaml:"allowed_content_types" synonym:"whitelisted_content_types"`
	AllowedWebhookURLs  []string `yaml:"allowed_webhook_urls" synonym:"whitelisted_webhook_endpoint_patterns"`
	MaxWebhookTimeout   Duration `yaml:"max_webhook_timeout"`
	MaxBrokerTimeout    Duration `yaml:"max_broker_timeout"`
	MaxActionTimeout    Duration `yaml:"max_action_timeout"`
	HiddenColumns       []string `yaml:"hidden_columns"`         // whose values never leave
	PayloadFormat       string   `yaml:"default_payload_format"` // of triggers without payload and format
}

// Delivery bounds what is under way.
type Delivery struct {
	MaxInFlight   int        `yaml:"max_in_flight"`  // requests a destination
	Queue         int        `yaml:"queue"`          // deliveries that wait in memory for a destination
	QueueBytes    int64      `yaml:"queue_bytes"`    // memory of what waits for all destinations, bytes
	Window        int        `yaml:"window"`         // events done beyond the saved position: what a crash may repeat
	RelatedBytes  int64      `yaml:"related_bytes"`  // memory of related rows that are kept, for each source, bytes
	ShutdownGrace Duration   `yaml:"shutdown_grace"` // for what is under way at a stop
	Retry         []Duration `yaml:"retry"`          // delays before the retries of a delivery that is refused
	Park          Park       `yaml:"park"`
	Dead          Dead       `yaml:"dead"`
	Bodies        string     `yaml:"bodies"`    // kept of deliveries that are over: all, failed, none
	KeepRows      bool       `yaml:"keep_rows"` // with what is kept, so that it can be rendered once more
}

// Park says when deliveries that cannot be sent are written to the store.
type Park struct {
	After    Duration `yaml:"after"`     // a destination fails
	Slow     int      `yaml:"slow"`      // deliveries a second below which one whose queue is full is parked
	MaxBytes int64    `yaml:"max_bytes"` // of all that is parked; 0 = nothing is
}

// Dead bounds what is kept of deliveries that are not tried any more; 0 = no bound.
type Dead struct {
	MaxAge   Duration `yaml:"max_age"`
	MaxBytes int64    `yaml:"max_bytes"`
}

// History says how long, and how much of, what was delivered is kept.
type History struct {
	Keep     Duration `yaml:"keep"`      // 0 = none of it
	MaxBytes int64    `yaml:"max_bytes"` // 0 = no bound
}

// bodies are the values of delivery.bodies.
var bodies = map[string]deliver.Bodies{"all": deliver.AllBodies, "failed": deliver.FailedBodies, "none": deliver.NoBodies}

//go:embed waltrigger.yaml
var annotated []byte

// Default gives the annotated configuration file. It sets every default as it is.
func Default() []byte { return slices.Clone(annotated) }

// defaults are what a file changes.
func defaults() *Config {
	return &Config{
		Store: Store{URL: "sqlite:waltrigger.db"},
		Admin: Admin{Listen: "127.0.0.1:8080"},
		Ops:   Ops{Listen: "127.0.0.1:9090"},
		Settings: Settings{
			MaxWebhookTimeout: Duration(30 * time.Second), MaxBrokerTimeout: Duration(30 * time.Second), MaxActionTimeout: Duration(30 * time.Second),
			HiddenColumns: []string{"*.password", "django_session.*", "authtoken_token.*"}, PayloadFormat: payload.Envelope.String(),
		},
		Delivery: Delivery{
			MaxInFlight: 128, Queue: 4096, QueueBytes: 16 << 20, Window: 65536, RelatedBytes: 8 << 20, ShutdownGrace: Duration(25 * time.Second),
			Retry: durations(deliver.DefaultBackoff.Schedule),
			Park:  Park{After: Duration(deliver.DefaultPark.After), Slow: deliver.DefaultPark.Slow, MaxBytes: deliver.DefaultPark.MaxBytes},
			Dead:  Dead{MaxAge: Duration(deliver.DefaultPark.DeadAge), MaxBytes: deliver.DefaultPark.DeadBytes}, Bodies: "all",
		},
		History: History{MaxBytes: 1 << 30},
	}
}

func durations(ds []time.Duration) []Duration {
	out := make([]Duration, len(ds))
	for i, d := range ds {
		out[i] = Duration(d)
	}
	return out
}

// Deliver gives the configuration of deliveries.
func (c *Config) Deliver() deliver.Config {
	out, d, set := deliver.DefaultConfig(), c.Delivery, c.Settings
	out.MaxInFlight, out.Queue, out.QueueBytes = d.MaxInFlight, d.Queue, d.QueueBytes
	out.MaxTimeout = max(set.MaxWebhookTimeout, set.MaxBrokerTimeout, set.MaxActionTimeout).Std()
	out.Backoff.Schedule = make([]time.Duration, len(d.Retry))
	for i, delay := range d.Retry {
		out.Backoff.Schedule[i] = delay.Std()
	}
	out.Park = deliver.ParkConfig{
		After: d.Park.After.Std(), Slow: d.Park.Slow, MaxBytes: d.Park.MaxBytes, DeadAge: d.Dead.MaxAge.Std(), DeadBytes: d.Dead.MaxBytes,
	}
	out.History = deliver.HistoryConfig{Keep: c.History.Keep.Std(), MaxBytes: c.History.MaxBytes}
	out.Bodies = bodies[d.Bodies]
	return out
}

// Find gives the path of the configuration file: file, or if that is empty the first
// that exists of those looked for.
func Find(file string) (string, error) {
	if file != "" {
		return file, nil
	}
	places := []string{"waltrigger.yaml", "/etc/waltrigger/waltrigger.yaml"}
	for _, p := range places {
		switch _, err := os.Stat(p); {
		case err == nil:
			return p, nil
		case !errors.Is(err, fs.ErrNotExist):
			return "", fmt.Errorf("look for the configuration: %w", err)
		}
	}
	return "", fmt.Errorf("there is no configuration: neither %s exists; name one with -c, or begin with the output of waltrigger config", strings.Join(places, " nor "))
}

// maxFile bounds the configuration file.
const maxFile = 1 << 20

// Load reads the file at path, with the environment (NAME=value) over it. An error is
// Errors where the file could be read: everything that is wrong. Warnings are about
// what is right but perhaps not meant.
func Load(path string, environ []string) (*Config, []string, error) {
	data, err := readSmall(path, maxFile)
	if err != nil {
		return nil, nil, fmt.Errorf("read configuration: %w", err)
	}
	return parse(path, data, environ)
}

// ForSource is the configuration that consists of nothing but a source.
func ForSource(name, url string) (*Config, error) {
	text, err := yaml.Marshal(map[string]any{"sources": []map[string]string{{"name": name, "url": strings.ReplaceAll(url, "$", "$$")}}})
	if err != nil {
		return nil, fmt.Errorf("configure source: %w", err)
	}
	cfg, _, err := parse("", text, nil)
	if es := Errors(nil); errors.As(err, &es) {
		return nil, fmt.Errorf("%s: %s", strings.TrimPrefix(es[0].Path, "sources[0]."), es[0].Text)
	}
	return cfg, err
}

func parse(path string, data []byte, environ []string) (*Config, []string, error) {
	l := &loader{file: path, env: environment(environ)}
	cfg := defaults()
	cfg.dir = filepath.Dir(path)
	root := l.nodes(data)
	if root != nil {
		l.override(root)
		l.expand(root)
		l.into(root, cfg)
		cfg.Files = l.files
	}
	if root != nil {
		form := l.errs
		l.errs = nil
		l.validate(cfg)
		l.errs = append(form, slices.DeleteFunc(l.errs, form.cover)...)
	}
	if len(l.errs) > 0 {
		slices.SortStableFunc(l.errs, func(a, b Error) int { return a.Line - b.Line })
		return nil, l.warnings, l.errs
	}
	return cfg, l.warnings, nil
}

// Error is one thing wrong with the configuration.
type Error struct {
	Origin string // the file, or the environment variable
	Line   int    // of the file; 0 = no single one
	Path   string // sources[0].url
	Text   string
}

// cover reports whether one of es is about the same setting as e, a part of it or what
// it is a part of: one mistake is told once.
func (es Errors) cover(e Error) bool {
	return slices.ContainsFunc(es, func(o Error) bool { return within(e.Path, o.Path) || within(o.Path, e.Path) })
}

func within(path, outer string) bool {
	rest, ok := strings.CutPrefix(path, outer)
	return ok && (outer == "" || rest == "" || rest[0] == '.' || rest[0] == '[')
}

func (e Error) Error() string {
	s := e.Origin
	if e.Line > 0 {
		s = fmt.Sprintf("%s:%d", s, e.Line)
	}
	if e.Path != "" {
		s += ": " + e.Path
	}
	return s + ": " + e.Text
}

// Errors are all that is wrong, by line.
type Errors []Error

func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// API gives the configuration of the API.
func (c *Config) API() api.Config {
	out := api.Config{Listen: c.Admin.Listen}
	for _, t := range c.Admin.Tokens {
		out.Tokens = append(out.Tokens, api.NewToken(t.Name, string(t.Token), t.Scopes))
	}
	return out
}

// Postgres gives the configuration of the source, if it is one.
func (s Source) Postgres() postgres.Config {
	return postgres.Config{
		Name: s.Name, URL: string(s.URL), Slot: s.Slot, Publication: s.Publication, PublicationMode: s.PublicationMode,
		Origin: s.Origin, IgnoreSkip: s.IgnoreSkip, NoFailover: s.NoFailover,
	}
}

// IsMySQL reports whether the source is a MySQL or MariaDB.
func (s Source) IsMySQL() bool {
	scheme, _, _ := strings.Cut(string(s.URL), "://")
	return scheme == "mysql" || scheme == "mariadb"
}

// MySQL gives the configuration of the source, if it is one.
func (s Source) MySQL() mysql.Config {
	return mysql.Config{Name: s.Name, URL: string(s.URL), ServerID: s.ServerID}
}

// Tables gives the explicit content types: lower-case app_label.model -> table.
func (s Source) Tables() map[string]source.TableName {
	out := make(map[string]source.TableName, len(s.ContentTypes))
	for name, table := range s.ContentTypes {
		schema, rest, _ := strings.Cut(table, ".")
		out[strings.ToLower(name)] = source.TableName{Schema: schema, Name: rest}
	}
	return out
}

// Models gives the model names, in lower case, of the tables that ContentTypes names.
func (s Source) Models() map[source.TableName]string {
	out := make(map[source.TableName]string, len(s.ContentTypes))
	for name, table := range s.Tables() {
		_, model, _ := strings.Cut(name, ".")
		out[table] = model
	}
	return out
}

// TriggerFiles gives the files that Triggers names now, in the order of the patterns,
// each once.
func (c *Config) TriggerFiles() ([]string, error) {
	var out []string
	for _, p := range c.Triggers {
		if !filepath.IsAbs(p) {
			p = filepath.Join(c.dir, p)
		}
		files, err := filepath.Glob(p)
		if err != nil {
			return nil, fmt.Errorf("find triggers %s: %w", p, err)
		}
		for _, f := range files {
			if !slices.Contains(out, f) {
				out = append(out, f)
			}
		}
	}
	return out, nil
}
