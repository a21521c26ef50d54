package config

import (
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/waltrigger/waltrigger/pkg/api"
	"github.com/waltrigger/waltrigger/pkg/egress"
	"github.com/waltrigger/waltrigger/pkg/payload"
	"github.com/waltrigger/waltrigger/pkg/resolve"
	"github.com/waltrigger/waltrigger/pkg/sink"
	"github.com/waltrigger/waltrigger/pkg/sink/all"
	"github.com/waltrigger/waltrigger/pkg/store"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

const (
	maxTimeout  = time.Hour
	shortSecret = 16 // a token of fewer characters is warned of
)

var (
	contentTypeName    = regexp.MustCompile(`^[^.\s]+\.[^.\s]+$`)
	contentTypePattern = regexp.MustCompile(`^[\pL\pN_$*-]+(\.[\pL\pN_$*-]+)?$`)
	brokerName         = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,254}$`)
)

// validate says what is wrong with settings that could be read.
func (l *loader) validate(c *Config) {
	l.sources(c)
	l.store(c.Store)
	l.listeners(c)
	l.tokens(c)
	for name, b := range c.Brokers {
		c.Brokers[name] = l.broker("brokers."+name, name, b, false)
	}
	for name, b := range c.Actions {
		c.Actions[name] = l.broker("actions."+name, name, b, true)
	}
	l.dynamicValues(c)
	l.references(c)
	l.settings(c)
	l.egress(c)
	l.delivery(c)
	l.history(c)
	for i, p := range c.Triggers {
		if _, err := filepath.Match(p, ""); err != nil || p == "" {
			l.at(index("triggers", i), "is no pattern of files such as triggers/*.yaml")
		}
	}
}

func (l *loader) store(s Store) {
	if err := store.CheckURL(string(s.URL)); err != nil {
		l.at("store.url", "%v", err)
	}
	bad := false
	for i, k := range s.EncryptionKeys {
		at := index("store.encryption_keys", i)
		if _, err := store.ParseKey(string(k.Key)); err != nil && (k.Name != store.KeepClear || k.Key != "") {
			l.at(at+".key", "%v", err)
			bad = true
		}
	}
	if _, err := store.NewKeys(s.Keys()...); err != nil && !bad {
		l.at("store.encryption_keys", "%v", err)
	}
}

func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

func (l *loader) sources(c *Config) {
	if len(c.Sources) == 0 {
		l.at("sources", "there must be one at least")
	}
	names, slots := map[string]int{}, map[string]int{}
	for i, s := range c.Sources {
		at := index("sources", i)
		switch scheme, _, ok := strings.Cut(string(s.URL), "://"); {
		case s.IsMySQL():
			l.mysqlSource(at, s)
		case ok && scheme != "postgres" && scheme != "postgresql":
			l.at(at+".url", "must begin with postgres://, mysql:// or mariadb://")
			l.sourceName(at, s)
		default:
			l.postgresSource(at, s)
		}
		if other, twice := names[strings.ToLower(s.Name)]; twice {
			l.at(at+".name", "sources[%d] has this name", other)
		}
		names[strings.ToLower(s.Name)] = i
		if !s.IsMySQL() {
			slot := s.Postgres().WithDefaults().Slot
			if other, twice := slots[string(s.URL)+"\x00"+slot]; twice {
				l.at(at+".slot", "sources[%d] reads this slot", other)
			}
			slots[string(s.URL)+"\x00"+slot] = i
		}
		l.contentTypes(at+".content_types", s.ContentTypes)
		for j, r := range s.Relations {
			for _, f := range r.Check() {
				l.at(index(at+".relations", j)+"."+f[0], "%s", f[1])
			}
		}
	}
}

// sourceName checks what is the same for sources of all kinds.
func (l *loader) sourceName(at string, s Source) {
	errs := slices.DeleteFunc(s.Postgres().Validate(), func(err error) bool { return !strings.HasPrefix(err.Error(), "name ") })
	l.settingErrors(at, errs, "name")
}

func (l *loader) postgresSource(at string, s Source) {
	l.settingErrors(at, s.Postgres().Validate(), "name", "url", "slot", "publication", "publication_mode")
	if s.ServerID != 0 {
		l.at(at+".server_id", "is of MySQL and MariaDB only")
	}
}

func (l *loader) mysqlSource(at string, s Source) {
	l.settingErrors(at, s.MySQL().Validate(), "name", "url", "server_id")
	for _, of := range [][2]string{{"slot", s.Slot}, {"publication", s.Publication}, {"publication_mode", s.PublicationMode}} {
		if of[1] != "" {
			l.at(at+"."+of[0], "is of PostgreSQL only")
		}
	}
}

// settingErrors tells errors at the settings whose names they begin with.
func (l *loader) settingErrors(at string, errs []error, settings ...string) {
	for _, err := range errs {
		setting := at
		text := err.Error()
		for _, f := range settings {
			if strings.HasPrefix(text, f+" ") || strings.HasPrefix(text, f+":") {
				setting = at + "." + f
				text = strings.TrimPrefix(strings.TrimPrefix(text, f), ":")
			}
		}
		l.at(setting, "%s", strings.TrimSpace(text))
	}
}

func (l *loader) contentTypes(at string, types map[string]string) {
	seen := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(types)) {
		here, table := join(at, name), types[name]
		if !contentTypeName.MatchString(name) {
			l.at(here, "the key must be app_label.ModelName")
		}
		if schema, rest, ok := strings.Cut(table, "."); !ok || schema == "" || rest == "" || strings.ContainsAny(table, "\x00\n") {
			l.at(here, "must be schema.table")
		}
		if other := seen[strings.ToLower(name)]; other != "" {
			l.at(here, "is the same content type as %s: case does not count", other)
		}
		seen[strings.ToLower(name)] = name
	}
}

func (l *loader) listeners(c *Config) {
	if err := api.CheckListen(c.Admin.Listen, len(c.Admin.Tokens)); err != nil {
		l.at("admin.listen", "%v", err)
	}
	if err := api.CheckListen(c.Ops.Listen, 1); err != nil {
		l.at("ops.listen", "%v", err)
	}
	for at, listen := range map[string]string{"admin.listen": c.Admin.Listen, "ops.listen": c.Ops.Listen} {
		if _, port, err := net.SplitHostPort(listen); err == nil {
			if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 && port != "0" {
				l.at(at, "%q is no port", port)
			}
		}
	}
	if _, port, _ := net.SplitHostPort(c.Admin.Listen); c.Ops.Listen == c.Admin.Listen && port != "0" {
		l.at("ops.listen", "is the address of admin.listen")
	}
}

func (l *loader) tokens(c *Config) {
	names, secrets := map[string]bool{}, map[Secret]bool{}
	for i, t := range c.Admin.Tokens {
		at := index("admin.tokens", i)
		if why := trigger.CheckName(t.Name); why != "" {
			l.at(at+".name", "%s", why)
		} else if names[t.Name] {
			l.at(at+".name", "another token has this name")
		}
		names[t.Name] = true
		secret := string(t.Token)
		switch {
		case secret == "":
			l.at(at+".token", "is required")
		case strings.ContainsFunc(secret, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
			l.at(at+".token", "may hold only printable ASCII characters, without spaces")
		case secrets[t.Token]:
			l.at(at+".token", "another token is the same")
		case len(secret) < shortSecret:
			l.warnings = append(l.warnings, at+".token has fewer than 16 characters: it can be guessed")
		}
		secrets[t.Token] = true
		for j, s := range t.Scopes {
			if s != api.ScopeAdmin && s != api.ScopeRead {
				l.at(index(at+".scopes", j), "%q is neither admin nor read", s)
			}
		}
	}
}

// broker checks one broker or action. What it leaves open a trigger may fill in, so
// nothing is required of it but its type.
func (l *loader) broker(at, name string, b Broker, action bool) Broker {
	if !brokerName.MatchString(name) {
		l.at(at, "the name may hold letters, digits, _, . and - only")
	}
	kind, ok := all.Find(b.BrokerType)
	known := []string{}
	for _, k := range all.Kinds {
		if actionKind(k.Name) == action && k.Name != "webhook" {
			known = append(known, k.Name)
		}
	}
	switch {
	case b.BrokerType == "":
		l.at(at+".broker_type", "is required; there is %s", list(known))
	case !ok || !slices.Contains(known, kind.Name):
		l.at(at+".broker_type", "%q is unknown here; there is %s", b.BrokerType, list(known))
	default:
		b.BrokerType = kind.Name
		if kind.Check == nil {
			break
		}
		for _, p := range kind.Check(orEmpty(b.ConnDetails), orEmpty(b.Params)) {
			if p.Code == "required" {
				continue
			}
			l.at(at+"."+strings.ReplaceAll(strings.Replace(p.Field, "parameters", "params", 1), "/", "."), "%s", p.Detail)
		}
	}
	return b
}

func actionKind(name string) bool { return name == "aws_lambda" }

func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func orEmpty(d Details) map[string]any {
	if d == nil {
		return map[string]any{}
	}
	return d
}

func (l *loader) dynamicValues(c *Config) {
	for _, name := range slices.Sorted(maps.Keys(c.DynamicValues)) {
		v, at := c.DynamicValues[name], "dynamic_values."+name
		for _, p := range resolve.Check(name, v, reserved) {
			l.at(at+p.At(), "%s", p.Text)
		}
		if src := v.SQL.Source; src != "" && !slices.ContainsFunc(c.Sources, func(s Source) bool { return s.Name == src }) {
			l.at(at+".sql.source", "there is no source %q", src)
		}
	}
}

func reserved(first string) bool { return slices.Contains(payload.Names, first) }

// references checks what brokers and actions name in {{ … }}: each is compiled as that of
// a trigger which adds nothing.
func (l *loader) references(c *Config) {
	declared := map[string]resolve.Config{}
	for name, v := range c.DynamicValues {
		if len(resolve.Check(name, v, reserved)) > 0 {
			v = resolve.Config{Env: "x", Hosts: v.Hosts} // what is wrong with it is said already
		}
		if len(resolve.Check(name, v, reserved)) == 0 {
			declared[name] = v
		}
	}
	r, err := resolve.New(declared, resolve.Env{Reserved: reserved})
	if err != nil { // all of them were checked
		l.at("dynamic_values", "%v", err)
		return
	}
	defer r.Close()
	for list, brokers := range map[string]map[string]Broker{"brokers": c.Brokers, "actions": c.Actions} {
		for _, name := range slices.Sorted(maps.Keys(brokers)) {
			b := brokers[name]
			kind, _ := all.Find(b.BrokerType)
			k := trigger.Compiler{Resolver: r, Webhook: &sink.Kind{}, Broker: func(string) (trigger.Endpoint, bool) {
				return trigger.Endpoint{Kind: kind, Conn: b.ConnDetails, Params: b.Params}, true
			}}
			_, problems := k.Compile(&trigger.Record{Trigger: &trigger.Trigger{Queues: []trigger.Queue{{Name: name}}}})
			for _, p := range problems {
				at := strings.Replace(strings.TrimPrefix(p.Pointer, "/msg_broker_queues/0/"), "parameters/", "params/", 1)
				l.at(list+"."+name+"."+strings.NewReplacer("/", ".", "~1", "/", "~0", "~").Replace(at), "%s", p.Detail)
			}
		}
	}
}

func (l *loader) settings(c *Config) {
	s := c.Settings
	for i, p := range s.AllowedContentTypes {
		if !contentTypePattern.MatchString(p) {
			l.at(l.either("settings.allowed_content_types", "settings.whitelisted_content_types", i), "%q is no pattern such as myapp.* or myapp.Sale", p)
		}
	}
	for i, p := range s.AllowedWebhookURLs {
		if _, err := trigger.CompileURLPatterns([]string{p}); err != nil {
			l.at(l.either("settings.allowed_webhook_urls", "settings.whitelisted_webhook_endpoint_patterns", i), "%v", err)
		}
	}
	for i, p := range s.HiddenColumns {
		if _, err := payload.NewHidden([]string{p}); err != nil {
			l.at(index("settings.hidden_columns", i), "%v", err)
		}
	}
	if _, err := payload.ParseFormat(s.PayloadFormat); err != nil {
		l.at("settings.default_payload_format", "%v", err)
	}
	for at, d := range map[string]Duration{"settings.max_webhook_timeout": s.MaxWebhookTimeout, "settings.max_broker_timeout": s.MaxBrokerTimeout, "settings.max_action_timeout": s.MaxActionTimeout} {
		if d <= 0 || d.Std() > maxTimeout {
			l.at(at, "must be more than 0 and at most %s", maxTimeout)
		}
	}
}

// either gives the path that the file uses of two.
func (l *loader) either(name, synonym string, i int) string {
	if l.places[synonym] != nil {
		name = synonym
	}
	return index(name, i)
}

func (l *loader) egress(c *Config) {
	_, err := egress.New(c.Egress)
	if err == nil {
		return
	}
	errs := []error{err}
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		errs = several.Unwrap()
	}
	for _, e := range errs {
		at, text, ok := strings.Cut(e.Error(), ": ")
		if !ok {
			at, text = "egress", e.Error()
		}
		l.at(at, "%s", text)
	}
}

// Bounds of delivery.retry.
const (
	maxRetries = 50
	maxDelay   = 7 * 24 * time.Hour
)

func (l *loader) delivery(c *Config) {
	d := c.Delivery
	for _, b := range []struct {
		setting   string
		value     int64
		low, high int64
	}{
		{"max_in_flight", int64(d.MaxInFlight), 1, 10_000},
		{"queue", int64(d.Queue), 1, 1_000_000},
		{"queue_bytes", d.QueueBytes, 1 << 20, 64 << 30},
		{"window", int64(d.Window), 1, 100_000_000},
		{"related_bytes", d.RelatedBytes, 1 << 16, 64 << 30},
		{"park.slow", int64(d.Park.Slow), 0, 1_000_000},
		{"park.max_bytes", d.Park.MaxBytes, 0, 1 << 50},
		{"dead.max_bytes", d.Dead.MaxBytes, 0, 1 << 50},
	} {
		if b.value < b.low || b.value > b.high {
			l.at("delivery."+b.setting, "must be from %d to %d", b.low, b.high)
		}
	}
	if d.ShutdownGrace <= 0 || d.ShutdownGrace.Std() > maxTimeout {
		l.at("delivery.shutdown_grace", "must be more than 0 and at most %s", maxTimeout)
	}
	if d.Park.After < 0 || d.Park.After.Std() > time.Hour {
		l.at("delivery.park.after", "must be at most 1h, and not negative")
	}
	if d.Dead.MaxAge < 0 {
		l.at("delivery.dead.max_age", "must not be negative")
	}
	if _, ok := bodies[d.Bodies]; !ok {
		l.at("delivery.bodies", "must be all, failed or none")
	}
	if len(d.Retry) > maxRetries {
		l.at("delivery.retry", "has more than %d items", maxRetries)
	}
	for i, delay := range d.Retry {
		if delay <= 0 || delay.Std() > maxDelay {
			l.at(fmt.Sprintf("delivery.retry[%d]", i), "must be more than 0 and at most %s", maxDelay)
		}
	}
}

func (l *loader) history(c *Config) {
	h := c.History
	if h.Keep < 0 {
		l.at("history.keep", "must not be negative")
	}
	if h.MaxBytes < 0 || h.MaxBytes > 1<<50 {
		l.at("history.max_bytes", "must be from 0 to %d", int64(1)<<50)
	}
	if h.Keep > 0 && c.Delivery.Park.MaxBytes == 0 {
		l.at("history.keep", "needs delivery.park.max_bytes: what is replayed is parked until it is sent")
	}
}
