package trigger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/waltrigger/waltrigger/pkg/payload"
	"github.com/waltrigger/waltrigger/pkg/signal"
	"github.com/waltrigger/waltrigger/pkg/sink"
)

// Bounds of single fields, in characters where nothing else is said.
const (
	maxName        = 255
	maxDescription = 10_000
	maxURL         = 2048
	maxTemplate    = 4096 // condition, ordering_key, one parameter
	maxIdentifier  = 63   // bytes, as in PostgreSQL
	maxItems       = 100  // of each list
	maxHeaders     = 64
	maxSecrets     = 10
	maxHeaderBytes = 16 << 10 // names and values of one webhook
	maxParams      = 100
)

var (
	methods   = []string{"GET", "POST", "PUT", "PATCH", "DELETE"}
	orderings = []string{string(OrderKey), string(OrderSource), string(OrderNone)}
	modes     = []string{string(Live), string(Shadow)}
	onValue   = []string{string(Fetch), string(Park), string(Empty)}
	onColumn  = []string{string(Park), string(Empty)}
	// destinationID keeps ids fit for headers, file names and metric labels.
	destinationID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,40}$`)
	// identifier leaves out what only quoting could carry; a source's content_types
	// gives such tables a name.
	identifier = regexp.MustCompile(`^[\pL_][\pL\pN_$-]*$`)
)

// Decode reads a trigger as a client sends it, and says everything that is wrong with
// its form. Malformed tells whether the text is no proper JSON; the trigger is then
// nil. Otherwise the trigger holds what could be read, so that Validate can say more.
// Nothing outside the body is looked at.
func Decode(body []byte) (*Trigger, []Problem) {
	root, problems := parseJSON(body)
	d := &decoder{problems: problems}
	if root == nil {
		return nil, d.problems
	}
	t := &Trigger{Active: true, Webhooks: []Webhook{}, Queues: []Queue{}, Actions: []Queue{}}
	d.trigger(root, t)
	if Malformed(d.problems) {
		return nil, d.problems
	}
	return t, d.problems
}

// DecodeID reads only the id of a body, for a request that may consist of nothing else.
// 0 means that the body has none.
func DecodeID(body []byte) (int64, []Problem) {
	root, problems := parseJSON(body)
	if root == nil || Malformed(problems) {
		return 0, problems
	}
	d := &decoder{}
	var id int64
	if root.kind != kindObject {
		d.add("", CodeType, "is %s; an object is expected", root.kind)
	}
	given := ""
	for i, m := range root.members {
		if !strings.EqualFold(m.name, "id") {
			continue
		}
		if given != "" {
			d.add("/"+m.name, CodeDuplicateKey, "the key is given twice, the other time as %s", given)
		}
		if given = m.name; given == "id" {
			d.id(&root.members[i].value, "/id", &id)
		}
	}
	return id, d.problems
}

type decoder struct{ problems []Problem }

func (d *decoder) add(ptr, code, format string, args ...any) {
	if len(d.problems) < maxProblems {
		d.problems = append(d.problems, Problem{ptr, code, fmt.Sprintf(format, args...)})
	}
}

// field is a key of an object.
type field struct {
	name     string
	synonym  string
	nullable bool // null counts as absent
	required bool
	read     func(n *node, ptr string)
}

// object reads the keys of n by fields. Keys that differ only in case count as given
// twice: other readers take one for the other.
func (d *decoder) object(n *node, ptr string, fields []field, more ...field) {
	fields = append(fields, more...)
	if n.kind != kindObject {
		d.add(ptr, CodeType, "is %s; an object is expected", n.kind)
		return
	}
	seen := map[string]string{} // lower case -> as written
	for i := range n.members {
		m := &n.members[i]
		at := ptr + "/" + escapePointer(m.name)
		lower := strings.ToLower(m.name)
		if other, twice := seen[lower]; twice && other != m.name {
			d.add(at, CodeDuplicateKey, "the key is given twice, the other time as %s", other)
		}
		seen[lower] = m.name
		f := find(fields, m.name)
		switch {
		case f == nil:
			d.add(at, CodeUnknownField, "is no field of this object%s", misplaced(m.name, fields))
		case m.value.kind == kindNull && !f.nullable:
			d.add(at, CodeNull, "may not be null")
		case m.value.kind != kindNull && f.read != nil:
			f.read(&m.value, at)
		}
	}
	for _, f := range fields {
		first, one := seen[f.name]
		second, two := seen[f.synonym]
		two = two && f.synonym != ""
		if one && two && first == f.name && second == f.synonym {
			d.add(ptr+"/"+f.synonym, CodeConflict, "means the same as %s; give one of them", f.name)
		}
		if f.required && !one && !two {
			d.add(ptr+"/"+f.name, CodeRequired, "is required")
		}
	}
}

// belongs says of fields that are looked for in a trigger itself where they are.
var belongs = map[string]string{
	"app_label": "content_types", "model_name": "content_types", "model": "content_types", "source": "content_types",
	"allow_missing": "content_types", "allow_insert_only": "content_types",
	"url": "webhooks", "http_method": "webhooks", "headers": "webhooks", "secret": "webhooks", "batch": "webhooks",
	"timeout_secs": "webhooks, msg_broker_queues or actions", "max_in_flight": "webhooks, msg_broker_queues or actions",
	"rate_limit": "webhooks, msg_broker_queues or actions", "retry": "webhooks, msg_broker_queues or actions",
}

// misplaced hints at what is meant by a name that is none of fields.
func misplaced(name string, fields []field) string {
	if list := belongs[name]; list != "" && find(fields, "content_types") != nil {
		return ": it belongs into an element of " + list
	}
	return DidYouMean(name, names(fields))
}

func find(fields []field, name string) *field {
	for i := range fields {
		if fields[i].name == name || fields[i].synonym == name && name != "" {
			return &fields[i]
		}
	}
	return nil
}

func names(fields []field) []string {
	var out []string
	for _, f := range fields {
		out = append(out, f.name)
		if f.synonym != "" {
			out = append(out, f.synonym)
		}
	}
	return out
}

func (d *decoder) trigger(n *node, t *Trigger) {
	d.object(n, "", []field{
		{name: "id", read: func(n *node, p string) { d.id(n, p, &t.ID) }},
		{name: "name", nullable: true, read: func(n *node, p string) { d.name(n, p, &t.Name) }},
		{name: "description", nullable: true, read: func(n *node, p string) { d.text(n, p, &t.Description, maxDescription) }},
		{name: "active", read: func(n *node, p string) { d.boolean(n, p, &t.Active) }},
		{name: "config_signals", required: true, read: func(n *node, p string) { d.signals(n, p, t) }},
		{name: "content_types", required: true, read: func(n *node, p string) { d.contentTypes(n, p, t) }},
		{name: "webhooks", read: func(n *node, p string) { d.webhooks(n, p, t) }},
		{name: "msg_broker_queues", synonym: "message_broker_queues", read: func(n *node, p string) { d.queues(n, p, &t.Queues) }},
		{name: "actions", read: func(n *node, p string) { d.queues(n, p, &t.Actions) }},
		{name: "payload", nullable: true, read: func(n *node, p string) { d.payload(n, p, t) }},
		{name: "payload_format", nullable: true, read: func(n *node, p string) { choose(d, n, p, &t.PayloadFormat, payload.Formats) }},
		{name: "condition", nullable: true, read: func(n *node, p string) { d.text(n, p, &t.Condition, maxTemplate) }},
		{name: "fields", nullable: true, read: func(n *node, p string) { d.columns(n, p, &t.Fields) }},
		{name: "ordering", nullable: true, read: func(n *node, p string) { choose(d, n, p, &t.Ordering, orderings) }},
		{name: "ordering_key", nullable: true, read: func(n *node, p string) { d.text(n, p, &t.OrderingKey, maxTemplate) }},
		{name: "mode", nullable: true, read: func(n *node, p string) { choose(d, n, p, &t.Mode, modes) }},
		{name: "on_missing_value", nullable: true, read: func(n *node, p string) { choose(d, n, p, &t.OnMissingValue, onValue) }},
		{name: "on_missing_column", nullable: true, read: func(n *node, p string) { choose(d, n, p, &t.OnMissingColumn, onColumn) }},
		// Read-only: a client that sends back what it got is right.
		{name: "status", nullable: true},
		{name: "warnings", nullable: true},
		{name: "created_at", nullable: true},
		{name: "updated_at", nullable: true},
	})
	if t.OrderingKey != "" && (t.Ordering == OrderSource || t.Ordering == OrderNone) {
		d.add("/ordering_key", CodeConflict, "has no meaning with ordering %s", t.Ordering)
	}
	if t.Payload != nil && t.PayloadFormat != "" && t.PayloadFormat != payload.CloudEvents.String() {
		d.add("/payload_format", CodeConflict, "%s is a body of its own: give it or a payload; only a cloudevents event takes a payload, as its data", t.PayloadFormat)
	}
	d.destinationIDs(t)
}

func (d *decoder) id(n *node, ptr string, into *int64) {
	if n.kind != kindNumber {
		d.add(ptr, CodeType, "is %s; a number is expected", n.kind)
		return
	}
	id, err := strconv.ParseInt(n.str, 10, 64)
	if err != nil || id < 1 {
		d.add(ptr, CodeInvalid, "is no id: a whole number from 1 is expected")
		return
	}
	*into = id
}

func (d *decoder) boolean(n *node, ptr string, into *bool) {
	if n.kind != kindBool {
		d.add(ptr, CodeType, "is %s; true or false is expected", n.kind)
		return
	}
	*into = n.str == "true"
}

func (d *decoder) text(n *node, ptr string, into *string, limit int) bool {
	if n.kind != kindString {
		d.add(ptr, CodeType, "is %s; a string is expected", n.kind)
		return false
	}
	if utf8.RuneCountInString(n.str) > limit {
		d.add(ptr, CodeTooLong, "has more than %d characters", limit)
		return false
	}
	*into = n.str
	return true
}

// name reads what people and tools call a thing: one line, no spaces around it.
func (d *decoder) name(n *node, ptr string, into *string) {
	if !d.text(n, ptr, into, maxName) {
		return
	}
	if *into == "" {
		d.add(ptr, CodeRequired, "may not be empty")
	} else if why := CheckName(*into); why != "" {
		d.add(ptr, CodeInvalid, "%s", why)
	}
}

// CheckName says what is wrong with a name, or nothing.
func CheckName(name string) string {
	switch {
	case name == "":
		return "may not be empty"
	case utf8.RuneCountInString(name) > maxName:
		return fmt.Sprintf("has more than %d characters", maxName)
	case !utf8.ValidString(name), strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return "may hold only printable characters and spaces"
	case strings.TrimSpace(name) != name:
		return "may not start or end with a space"
	}
	return ""
}

func (d *decoder) timeout(n *node, ptr string, into **float64) {
	if n.kind != kindNumber {
		d.add(ptr, CodeType, "is %s; a number of seconds is expected", n.kind)
		return
	}
	f, err := strconv.ParseFloat(n.str, 64)
	if err != nil || math.IsInf(f, 0) || f <= 0 {
		d.add(ptr, CodeRange, "must be more than 0 seconds, and finite")
		return
	}
	*into = &f
}

// list gives the items of n.
func (d *decoder) list(n *node, ptr string, notEmpty bool) []node {
	switch {
	case n.kind != kindArray:
		d.add(ptr, CodeType, "is %s; a list is expected", n.kind)
		return nil
	case len(n.items) == 0 && notEmpty:
		d.add(ptr, CodeRequired, "may not be empty")
	case len(n.items) > maxItems:
		d.add(ptr, CodeTooMany, "has more than %d items", maxItems)
		return nil
	}
	return n.items
}

func (d *decoder) signals(n *node, ptr string, t *Trigger) {
	items := d.list(n, ptr, true)
	for i := range items {
		d.object(&items[i], fmt.Sprintf("%s/%d", ptr, i), []field{
			{name: "signal", required: true, read: func(n *node, p string) {
				var s string
				if !d.text(n, p, &s, maxTemplate) {
					return
				}
				k, err := signal.Parse(s)
				if err != nil {
					d.add(p, CodeInvalid, "is not one of pre_save, post_save, pre_delete, post_delete, truncate")
				} else if !t.Signals().Has(k) {
					t.ConfigSignals = append(t.ConfigSignals, ConfigSignal{k})
				}
			}},
		})
	}
}

func (d *decoder) contentTypes(n *node, ptr string, t *Trigger) {
	items := d.list(n, ptr, true)
	for i := range items {
		var c ContentType
		d.contentType(&items[i], fmt.Sprintf("%s/%d", ptr, i), &c)
		t.ContentTypes = append(t.ContentTypes, c)
	}
}

func (d *decoder) identifier(n *node, ptr string, into *string) {
	if !d.text(n, ptr, into, MaxBody) {
		return
	}
	switch {
	case *into == "":
		d.add(ptr, CodeRequired, "may not be empty")
	case len(*into) > maxIdentifier:
		d.add(ptr, CodeTooLong, "has more than %d bytes", maxIdentifier)
	case !identifier.MatchString(*into):
		d.add(ptr, CodeInvalid, "may hold letters, digits, _, $ and - only; name other tables in the source's content_types")
	}
}

func (d *decoder) webhooks(n *node, ptr string, t *Trigger) {
	items := d.list(n, ptr, false)
	for i := range items {
		w := Webhook{HTTPMethod: "POST"}
		d.object(&items[i], fmt.Sprintf("%s/%d", ptr, i), []field{
			{name: "id", read: func(n *node, p string) { d.destinationID(n, p, &w.ID) }},
			{name: "url", required: true, read: func(n *node, p string) {
				if d.text(n, p, &w.URL, maxURL) && w.URL == "" {
					d.add(p, CodeRequired, "may not be empty")
				}
			}},
			{name: "http_method", read: func(n *node, p string) { choose(d, n, p, &w.HTTPMethod, methods) }},
			{name: "headers", nullable: true, read: func(n *node, p string) { d.headers(n, p, &w.Headers) }},
			{name: "secret", nullable: true, read: func(n *node, p string) { d.secrets(n, p, &w.Secret) }},
			{name: "timeout_secs", nullable: true, read: func(n *node, p string) { d.timeout(n, p, &w.TimeoutSecs) }},
			{name: "batch", nullable: true, read: func(n *node, p string) { d.count(n, p, &w.Batch, maxBatch) }},
		}, d.limitFields(&w.Limits)...)
		t.Webhooks = append(t.Webhooks, w)
	}
}

func (d *decoder) queues(n *node, ptr string, into *[]Queue) {
	items := d.list(n, ptr, false)
	for i := range items {
		var q Queue
		d.object(&items[i], fmt.Sprintf("%s/%d", ptr, i), []field{
			{name: "id", read: func(n *node, p string) { d.destinationID(n, p, &q.ID) }},
			{name: "name", required: true, read: func(n *node, p string) { d.name(n, p, &q.Name) }},
			{name: "conn_details", synonym: "connection_details", nullable: true, read: func(n *node, p string) { d.params(n, p, &q.ConnDetails) }},
			{name: "parameters", nullable: true, read: func(n *node, p string) { d.params(n, p, &q.Parameters) }},
			{name: "timeout_secs", nullable: true, read: func(n *node, p string) { d.timeout(n, p, &q.TimeoutSecs) }},
		}, d.limitFields(&q.Limits)...)
		*into = append(*into, q)
	}
}

func (d *decoder) headers(n *node, ptr string, into *Headers) {
	if n.kind != kindObject {
		d.add(ptr, CodeType, "is %s; an object of strings is expected", n.kind)
		return
	}
	if len(n.members) > maxHeaders {
		d.add(ptr, CodeTooMany, "has more than %d headers", maxHeaders)
		return
	}
	*into = Headers{}
	seen, size := map[string]string{}, 0
	for _, m := range n.members {
		at := ptr + "/" + escapePointer(m.name)
		lower := strings.ToLower(m.name)
		if m.value.kind != kindString {
			d.add(at, CodeType, "is %s; a string is expected", m.value.kind)
		} else if other, twice := seen[lower]; twice && other != m.name {
			d.add(at, CodeConflict, "is the same header as %s: case does not count", other)
		}
		seen[lower] = m.name
		size += len(m.name) + len(m.value.str)
		*into = append(*into, sink.Header{Name: m.name, Value: m.value.str})
	}
	if size > maxHeaderBytes {
		d.add(ptr, CodeTooLong, "has more than %d bytes", maxHeaderBytes)
	}
}

func (d *decoder) params(n *node, ptr string, into *Params) {
	if n.kind != kindObject {
		d.add(ptr, CodeType, "is %s; an object is expected", n.kind)
		return
	}
	if len(n.members) > maxParams {
		d.add(ptr, CodeTooMany, "has more than %d entries", maxParams)
		return
	}
	*into = Params{}
	for _, m := range n.members {
		at := ptr + "/" + escapePointer(m.name)
		p := Param{Name: m.name}
		switch m.value.kind {
		case kindString:
			p.Value = m.value.str
		case kindNumber:
			p.Value = json.Number(m.value.str)
		case kindBool:
			p.Value = m.value.str == "true"
		default:
			d.add(at, CodeType, "is %s; a string, number or boolean is expected", m.value.kind)
			continue
		}
		if m.name == "" || strings.ContainsFunc(m.name, unicode.IsControl) {
			d.add(at, CodeInvalid, "is no name")
		}
		if len(m.value.str) > maxTemplate || len(m.name) > maxName {
			d.add(at, CodeTooLong, "has more than %d bytes", maxTemplate)
		}
		*into = append(*into, p)
	}
}

func (d *decoder) payload(n *node, ptr string, t *Trigger) {
	d.finite(n, ptr)
	var b bytes.Buffer
	if err := json.Compact(&b, n.raw); err != nil { // both readers follow RFC 8259
		d.add(ptr, CodeInvalid, "cannot be read")
		return
	}
	t.Payload = b.Bytes()
}

// finite refuses numbers that a receiver would read as infinity.
func (d *decoder) finite(n *node, ptr string) {
	switch n.kind {
	case kindNumber:
		if f, err := strconv.ParseFloat(n.str, 64); err != nil || math.IsInf(f, 0) {
			d.add(ptr, CodeRange, "is too large a number")
		}
	case kindArray:
		for i := range n.items {
			d.finite(&n.items[i], fmt.Sprintf("%s/%d", ptr, i))
		}
	case kindObject:
		for i := range n.members {
			d.finite(&n.members[i].value, ptr+"/"+escapePointer(n.members[i].name))
		}
	}
}

func (d *decoder) destinationID(n *node, ptr string, into *string) {
	if !d.text(n, ptr, into, MaxBody) {
		return
	}
	if !destinationID.MatchString(*into) {
		d.add(ptr, CodeInvalid, "is no id: 1 to 40 letters, digits, _ or - are expected")
	}
}

// destinationIDs refuses an id that two destinations of t bear.
func (d *decoder) destinationIDs(t *Trigger) {
	seen := map[string]bool{}
	for at, id := range t.destinations() {
		if *id != "" && seen[*id] {
			d.add(at+"/id", CodeConflict, "another destination of this trigger has this id")
		}
		seen[*id] = true
	}
}
