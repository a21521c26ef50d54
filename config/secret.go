package config

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"time"
)

const redacted = "[redacted]"

// Secret is text that is never printed: not by fmt, slog, JSON or YAML. string(s) gives
// it to whoever needs it.
type Secret string

func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// Format hides the text from every verb.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) } //nolint:errcheck // fmt has no use for it

// LogValue hides the text from slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText hides the text from JSON.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Details are settings of a broker, secrets among them: only their names are printed.
type Details map[string]any

func (d Details) String() string { return fmt.Sprint(slices.Sorted(maps.Keys(d))) }

// Format hides the values from every verb.
func (d Details) Format(f fmt.State, _ rune) { io.WriteString(f, d.String()) } //nolint:errcheck // fmt has no use for it

// LogValue hides the values from slog.
func (d Details) LogValue() slog.Value { return slog.StringValue(d.String()) }

// MarshalJSON hides the values.
func (d Details) MarshalJSON() ([]byte, error) {
	m := make(map[string]string, len(d))
	for k := range d {
		m[k] = redacted
	}
	return json.Marshal(m)
}

// Duration is written "30s" or as a number of seconds.
type Duration time.Duration

// Std gives d for use.
func (d Duration) Std() time.Duration { return time.Duration(d) }

func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText writes d as it is read.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }
