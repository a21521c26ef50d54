package postgres

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Publication modes of Config.PublicationMode.
const (
	ModeAuto     = "auto"     // created if absent; altered only if this program created it
	ModeManaged  = "managed"  // created if absent, always altered to hold the tables of the triggers
	ModeExisting = "existing" // made by the operator, never altered
)

// Values of Config.Origin.
const (
	OriginAny  = "any"  // all changes
	OriginNone = "none" // those made here, not those replicated from elsewhere: no loops
)

// The first versions that do what their names say.
const (
	minVersion       = 140000
	schemasVersion   = 150000 // publishes schemas
	originVersion    = 160000 // filters by origin itself
	standbyVersion   = 160000 // decodes on standbys
	failoverVersion  = 170000 // copies slots to standbys
	generatedVersion = 180000 // publishes stored generated columns
)

// Config is one entry of `sources:` for PostgreSQL 14 and later.
type Config struct {
	// Name is part of every event id.
	Name string `yaml:"name"`
	// URL is a connection URI or key=value string of libpq. It must reach the server
	// itself, not a pooler: replication is a property of the session.
	URL string `yaml:"url"`
	// Slot is the replication slot, created if absent; default waltrigger_<name>.
	Slot string `yaml:"slot"`
	// Publication says which tables are in the log; default is the slot's name.
	Publication string `yaml:"publication"`
	// PublicationMode is auto (default), managed or existing.
	PublicationMode string `yaml:"publication_mode"`
	// Origin is any (default) or none.
	Origin string `yaml:"origin"`
	// IgnoreSkip makes transactions fire that ask not to (logical messages with the
	// prefix waltrigger.skip).
	IgnoreSkip bool `yaml:"ignore_skip"`
	// NoFailover makes the slot one that standbys keep no copy of. From version 17 on they
	// do; where synchronized_standby_slots is set, the log is then read no further than
	// those standbys have received it.
	NoFailover bool `yaml:"no_failover"`
}

var (
	slotName   = regexp.MustCompile(`^[a-z0-9_]{1,63}$`)
	sourceName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,40}$`)
	notInSlot  = regexp.MustCompile(`[^a-z0-9_]`)
)

// WithDefaults returns c with every absent optional field filled in.
func (c Config) WithDefaults() Config {
	if c.Slot == "" && c.Name != "" {
		c.Slot = "waltrigger_" + notInSlot.ReplaceAllString(strings.ToLower(c.Name), "_")
	}
	if c.Publication == "" {
		c.Publication = c.Slot
	}
	if c.PublicationMode == "" {
		c.PublicationMode = ModeAuto
	}
	if c.Origin == "" {
		c.Origin = OriginAny
	}
	return c
}

// parseURL names the database also where the url does not: as for the server and libpq it
// is then that of the user's name.
func parseURL(url string) (*pgx.ConnConfig, error) {
	p, err := pgx.ParseConfig(url)
	if err == nil && p.Database == "" {
		p.Database = p.User
	}
	return p, err
}

// Database is the name of the database, "" if the URL does not parse.
func (c Config) Database() string {
	p, err := parseURL(c.URL)
	if err != nil {
		return ""
	}
	return p.Database
}

// Validate returns everything that is wrong with c, nil if nothing is. It does not
// connect. No error carries the password.
func (c Config) Validate() []error {
	c = c.WithDefaults()
	var errs []error
	if !sourceName.MatchString(c.Name) {
		errs = append(errs, fmt.Errorf("name %q: want 1 to 40 letters, digits, _ or -, it is part of every event id", c.Name))
	}
	if c.URL == "" {
		errs = append(errs, errors.New("url: is missing; want for example postgres://user@host:5432/database"))
	} else if _, err := pgx.ParseConfig(c.URL); err != nil {
		errs = append(errs, fmt.Errorf("url: %w", err))
	}
	if !slotName.MatchString(c.Slot) {
		errs = append(errs, fmt.Errorf("slot %q: want 1 to 63 lower-case letters, digits or _", c.Slot))
	}
	if p := c.Publication; p == "" || len(p) > 63 || strings.ContainsAny(p, "\x00") {
		errs = append(errs, fmt.Errorf("publication %q: want 1 to 63 bytes", p))
	}
	switch c.PublicationMode {
	case ModeAuto, ModeManaged, ModeExisting:
	default:
		errs = append(errs, fmt.Errorf("publication_mode %q: want auto, managed or existing", c.PublicationMode))
	}
	if c.Origin != OriginAny && c.Origin != OriginNone {
		errs = append(errs, fmt.Errorf("origin %q: want any or none", c.Origin))
	}
	return errs
}
