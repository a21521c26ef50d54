package daemon

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/waltrigger/waltrigger/config"
	"github.com/waltrigger/waltrigger/pkg/django"
	"github.com/waltrigger/waltrigger/pkg/related"
	"github.com/waltrigger/waltrigger/pkg/resolve"
	"github.com/waltrigger/waltrigger/pkg/source"
	"github.com/waltrigger/waltrigger/pkg/source/postgres"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// Django reads the triggers of an installation of Django Action Triggers. It changes
// nothing in any database, and needs no running daemon.
type Django struct {
	Config  *config.Config
	Source  string // whose tables the triggers are about; "" = the only one
	URL     string // of the database that has the package's tables; "" = that of the source
	Prefix  string // of the package's tables; "" = what the models say, or the package's default
	Options django.Options
	Log     *slog.Logger
}

// Triggers converts all triggers, validates them as the daemon would, and tells what the
// configuration needs for them.
func (d Django) Triggers(ctx context.Context) ([]django.Trigger, *django.Needs, error) {
	src, err := d.source()
	if err != nil {
		return nil, nil, err
	}
	configs, err := d.read(ctx, src)
	if err != nil {
		return nil, nil, err
	}
	opt := d.Options
	opt.Known = configured(d.Config, src)
	if len(d.Config.Sources) > 1 {
		opt.Source = src.Name
	}
	surround, err := newSurroundings(d.Config, askNobody, d.Log)
	if err != nil {
		return nil, nil, err
	}
	surround.resolver.Close()
	opt.Hides = func(t source.TableName, column string) bool { return surround.hidden.Hides(t.Schema, t.Name, column) }
	if opt.Tables, err = tables(ctx, src, d.Log); err != nil {
		return nil, nil, err
	}
	triggers, needs := django.Convert(configs, opt)
	return triggers, needs, d.validate(ctx, src.Name, triggers, needs)
}

// askNobody is for dynamic values that are declared and not fetched.
func askNobody(context.Context, string, string) (string, error) {
	return "", errors.New("nobody is asked")
}

// source finds the source that the triggers are about.
func (d Django) source() (config.Source, error) {
	var names []string
	for _, s := range d.Config.Sources {
		if s.Name == d.Source || d.Source == "" && len(d.Config.Sources) == 1 {
			return s, nil
		}
		names = append(names, s.Name)
	}
	if d.Source == "" {
		return config.Source{}, fmt.Errorf("the configuration has several sources: name one of %s with --source", strings.Join(names, ", "))
	}
	return config.Source{}, fmt.Errorf("the configuration has no source %q%s", d.Source, trigger.DidYouMean(d.Source, names))
}

func (d Django) read(ctx context.Context, src config.Source) ([]django.Config, error) {
	address, prefix := d.URL, d.Prefix
	if address == "" {
		address = string(src.URL)
	}
	if prefix == "" && d.Options.Models != nil {
		prefix = d.Options.Models.TablePrefix
	}
	if prefix == "" {
		prefix = django.DefaultPrefix
	}
	db, quote, err := openSQL(address)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return django.Read(ctx, db, quote, prefix)
}

// readTimeout bounds the reading of the package's tables: somebody may hold a lock on them.
const readTimeout = time.Minute

// openSQL opens a database for plain queries; quote is its quotation mark for names.
func openSQL(address string) (db *sql.DB, quote string, err error) {
	cfg, err := pgx.ParseConfig(address)
	if err != nil {
		return nil, "", err // it hides the password by itself
	}
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "waltrigger import-django"
	}
	return stdlib.OpenDB(*cfg), `"`, nil
}

// tables lists the tables of a source.
func tables(ctx context.Context, c config.Source, log *slog.Logger) ([]source.TableInfo, error) {
	src, err := postgres.New(c.Postgres(), nil, log)
	if err != nil {
		return nil, err
	}
	list, err := src.Tables(ctx)
	return list, errors.Join(err, src.Close())
}

// configured is what the configuration says already.
func configured(cfg *config.Config, src config.Source) django.Known {
	set := cfg.Settings
	k := django.Known{
		ContentTypes: src.Tables(), Brokers: fixed(cfg.Brokers), Actions: fixed(cfg.Actions), Values: slices.Collect(maps.Keys(cfg.DynamicValues)),
		Settings: django.Settings{ContentTypes: set.AllowedContentTypes, WebhookPatterns: set.AllowedWebhookURLs},
	}
	for _, r := range src.Relations {
		if len(r.Columns) == 1 && len(r.ReferencedColumns) <= 1 {
			k.Relations = append(k.Relations, django.Relation{
				Table: tableName(r.Table), Column: r.Columns[0], References: tableName(r.References), RefColumn: strings.Join(r.ReferencedColumns, ""),
				Name: r.Name, ReverseName: r.ReverseName,
			})
		}
	}
	for _, t := range []struct {
		from config.Duration
		to   **float64
	}{{set.MaxWebhookTimeout, &k.Settings.WebhookTimeout}, {set.MaxBrokerTimeout, &k.Settings.BrokerTimeout}, {set.MaxActionTimeout, &k.Settings.ActionTimeout}} {
		secs := t.from.Std().Seconds()
		*t.to = &secs
	}
	return k
}

// tableName reads schema.table, which was validated; nothing is the zero TableName.
func tableName(text string) source.TableName {
	schema, name, _ := strings.Cut(text, ".")
	return source.TableName{Schema: schema, Name: name}
}

// fixed names what brokers or actions set.
func fixed(brokers map[string]config.Broker) map[string]django.Endpoint {
	out := make(map[string]django.Endpoint, len(brokers))
	for name, b := range brokers {
		out[name] = django.Endpoint{
			BrokerType: b.BrokerType, ConnDetails: slices.Sorted(maps.Keys(b.ConnDetails)), Params: slices.Sorted(maps.Keys(b.Params)),
		}
	}
	return out
}

// validate asks of each trigger what the daemon will ask, once the configuration says
// what is needed.
func (d Django) validate(ctx context.Context, name string, triggers []django.Trigger, needs *django.Needs) error {
	cfg := completed(d.Config, name, needs)
	surround, err := newSurroundings(cfg, askNobody, d.Log)
	if err != nil {
		return err
	}
	defer surround.resolver.Close()
	all := &sources{hidden: surround.hidden}
	for _, c := range cfg.Sources {
		src, err := postgres.New(c.Postgres(), nil, d.Log)
		if err != nil {
			return err
		}
		defer src.Close()
		catalog := related.NewCatalog(src.Tables, c.Relations, c.Models(), d.Log)
		all.tails = append(all.tails, &tail{name: c.Name, src: src, content: c.Tables(), neighbours: newNeighbours(c.Name, catalog)})
	}
	compiler := surround.compiler()
	compiler.CheckPath = all.checkPath
	compiler.Broker, compiler.Action = promised(compiler.Broker, needs.Brokers), promised(compiler.Action, needs.Actions)
	env := surround.env(all, compiler)
	for i := range triggers {
		if err := judge(ctx, &triggers[i], env); err != nil {
			return err
		}
	}
	return nil
}

// completed is the configuration as it will be.
func completed(cfg *config.Config, name string, needs *django.Needs) *config.Config {
	out := *cfg
	out.Sources = slices.Clone(cfg.Sources)
	for i := range out.Sources {
		s := &out.Sources[i]
		if s.Name != name {
			continue
		}
		if s.ContentTypes = maps.Clone(s.ContentTypes); s.ContentTypes == nil {
			s.ContentTypes = map[string]string{}
		}
		for label, table := range needs.ContentTypes {
			s.ContentTypes[label] = table.String()
		}
		s.Relations = slices.Clone(s.Relations)
		for _, r := range needs.Relations {
			s.Relations = append(slices.DeleteFunc(s.Relations, func(o related.Config) bool {
				return o.Table == r.Table.String() && slices.Equal(o.Columns, []string{r.Column})
			}), relation(r))
		}
	}
	if out.DynamicValues = maps.Clone(cfg.DynamicValues); out.DynamicValues == nil {
		out.DynamicValues = map[string]resolve.Config{}
	}
	for value := range needs.Values {
		out.DynamicValues[value] = resolve.Config{Literal: "-"} // for its name alone
	}
	return &out
}

// relation is r as the configuration says it.
func relation(r django.Relation) related.Config {
	c := related.Config{Table: r.Table.String(), Columns: []string{r.Column}, Name: r.Name, ReverseName: r.ReverseName}
	if r.References != (source.TableName{}) {
		c.References, c.ReferencedColumns = r.References.String(), []string{r.RefColumn}
	}
	return c
}

// promised finds what the configuration will have besides; nothing is known of it yet.
func promised(find func(string) (trigger.Endpoint, bool), needed map[string]django.Endpoint) func(string) (trigger.Endpoint, bool) {
	return func(name string) (trigger.Endpoint, bool) {
		if e, ok := find(name); ok {
			return e, true
		}
		_, ok := needed[name]
		return trigger.Endpoint{}, ok
	}
}

// judge notes what the daemon has to say of a trigger. That an address is not allowed is
// for the configuration to mend, not for the trigger.
func judge(ctx context.Context, t *django.Trigger, env trigger.Env) error {
	allowed := env.CheckURL
	env.CheckURL = func(url string) error {
		if err := allowed(url); err != nil {
			t.Findings = append(t.Findings, django.Finding{At: "/webhooks", Text: err.Error()})
		}
		return nil
	}
	decoded, problems := trigger.Decode(t.Body)
	if decoded != nil {
		v := trigger.Validate(ctx, decoded, env)
		if v.Unavailable != nil {
			return v.Unavailable
		}
		problems = trigger.Join(problems, v.Problems)
		for _, w := range v.Warnings {
			t.Findings = append(t.Findings, django.Finding{Text: w})
		}
	}
	for _, p := range problems {
		t.Refuse(p.Pointer, p.Detail)
	}
	return nil
}
