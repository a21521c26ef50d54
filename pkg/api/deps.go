package api

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// Triggers keeps triggers and makes them fire. Any goroutine may call.
//
// Errors: trigger.ErrNotFound, trigger.ErrStale, *trigger.ConflictError,
// *trigger.InvalidError and *UnavailableError mean what they say; every other error is
// an internal one, which is logged and not shown.
type Triggers interface {
	// List gives the triggers that q picks, ordered by id.
	List(ctx context.Context, q trigger.Query) ([]trigger.Record, error)
	Get(ctx context.Context, id int64) (trigger.Record, error)
	ByName(ctx context.Context, name string) (trigger.Record, error)
	// Check says what Create (id 0) or Replace would refuse about t, and stores
	// nothing. It completes the answer to a body whose form is already wrong, so t may
	// lack what is required.
	Check(ctx context.Context, id int64, t *trigger.Trigger) []trigger.Problem
	// Create stores t and activates it. The record returned has the ids, and says how
	// far the activation came: Active, or Activating with a blocker if older
	// transactions held it up for longer than the call may take, or Pending (wait was
	// false, or a table is still to come). t is the caller's no more.
	Create(ctx context.Context, t *trigger.Trigger, o WriteOptions) (trigger.Record, error)
	// Replace puts t in the place of trigger id: see trigger.Inherit for what it takes
	// over. If nothing changes, the revision stays.
	Replace(ctx context.Context, id int64, t *trigger.Trigger, o WriteOptions) (trigger.Record, error)
	// Pause has nothing of trigger id sent any more until it is resumed (mode "").
	// *RefusedError says why it cannot be paused so.
	Pause(ctx context.Context, id int64, mode trigger.Paused, o WriteOptions) (trigger.Record, error)
	// Delete removes trigger id, if it has ifRevision (0 = any).
	Delete(ctx context.Context, id, ifRevision int64) error
}

// WriteOptions say how a trigger is written.
type WriteOptions struct {
	Wait       bool  // for the activation; else it is begun and not waited for, even if no source can be asked
	IfRevision int64 // refuse with trigger.ErrStale unless the stored revision is this one; 0 = any
}

// UnavailableError says that something outside is needed and cannot be had now.
type UnavailableError struct {
	Code       string // source_unavailable, store_unavailable
	Detail     string // in words, without secrets
	RetryAfter time.Duration
}

func (e *UnavailableError) Error() string { return fmt.Sprintf("%s: %s", e.Code, e.Detail) }

// Deps is what the API answers from.
type Deps struct {
	Triggers   Triggers
	Deliveries Deliveries
	Previewer  Previewer
	Backfills  Backfills
	Audit      Audit // nil = nobody keeps it
	// Secret says which details and parameters of brokers are secrets.
	Secret trigger.SecretParam
	// Sources gives the state of each source, ordered as configured.
	Sources func(ctx context.Context) []Source
	// ContentTypes lists what triggers can name, of one source or (source "") of all.
	// An unknown source is trigger.ErrNotFound, one that cannot be asked an
	// *UnavailableError.
	ContentTypes func(ctx context.Context, source string) ([]ContentType, error)
	// Brokers and actions of the configuration, ordered by name.
	Brokers []Broker
	// DynamicValues are the names that the configuration declares.
	DynamicValues []string
	Log           *slog.Logger
	Metrics       prometheus.Registerer // nil = not measured
}

// Source is the state of a source, as this instance sees it.
type Source struct {
	Name           string `json:"name"`
	State          string `json:"state"`
	Detail         string `json:"detail,omitempty"`
	Active         bool   `json:"active"`                    // this instance reads it and sends for it
	ActiveInstance string `json:"active_instance,omitempty"` // of those that share the store
	Epoch          int64  `json:"epoch,omitempty"`           // grows with each change of the active instance
	Received       string `json:"received_position,omitempty"`
	Acked          string `json:"acknowledged_position,omitempty"`
	LagBytes       uint64 `json:"lag_bytes"`
	RetainedBytes  uint64 `json:"retained_bytes"` // log that the server keeps for it
	Events         uint64 `json:"events"`
	Skipped        uint64 `json:"skipped_transactions"`
	Reconnects     uint64 `json:"reconnects"`
	Unseen         uint64 `json:"unseen_statements"`
	Gaps           []Gap  `json:"gaps,omitempty"` // the latest first
}

// Gap is a part of a source's log for which what was sent is not what the database holds.
type Gap struct {
	Kind    string    `json:"kind"`
	Table   string    `json:"table,omitempty"`
	After   string    `json:"after,omitempty"`
	Before  string    `json:"before,omitempty"`
	Reason  string    `json:"reason"`
	Noticed time.Time `json:"noticed_at"`
}

// ContentType is a table as triggers name it.
type ContentType struct {
	Source    string   `json:"source"`
	AppLabel  string   `json:"app_label"`
	ModelName string   `json:"model_name"`
	Schema    string   `json:"schema"`
	Table     string   `json:"table"`
	Columns   []string `json:"columns"`
	Key       []string `json:"key"`
	Identity  string   `json:"replica_identity,omitempty"`
}

// Broker is a broker or action of the configuration.
type Broker struct {
	Name string `json:"name"`
	Type string `json:"broker_type"`
	List string `json:"list"` // msg_broker_queues or actions: where a trigger names it
}

// Ready is one thing that readiness consists of.
type Ready struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
	// Informative things are shown and do not make the daemon unready.
	Informative bool `json:"informative,omitempty"`
}
