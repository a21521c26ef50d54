package payload

import (
	"fmt"
	"slices"
	"strings"
)

// Format is the form of a body for which the trigger has no payload of its own.
type Format uint8

// Formats.
const (
	Envelope    Format = iota // all that is known, in waltrigger's own form
	Fields                    // the row as Django Action Triggers sends it
	CloudEvents               // a CloudEvent 1.0.2 in structured JSON
	Debezium                  // the value that Debezium's connectors send, without schema
)

// Formats are the names of the formats.
var Formats = []string{"envelope", "fields", "cloudevents", "debezium"}

// String gives the name.
func (f Format) String() string { return Formats[f] }

// ParseFormat finds a format by its name; no name is that of the envelope.
func ParseFormat(name string) (Format, error) {
	if name == "" {
		return Envelope, nil
	}
	if i := slices.Index(Formats, name); i >= 0 {
		return Format(i), nil
	}
	return Envelope, fmt.Errorf("%.40q is not one of %s", name, strings.Join(Formats, ", "))
}

// Origin is what Debezium's envelope says of a source besides its name.
type Origin struct {
	Connector string // postgresql, mysql
	Version   string // of this program
	Database  string // "" where a schema is the database
}
