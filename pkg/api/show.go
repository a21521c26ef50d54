package api

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// readOnly is what an answer says beyond what was sent.
type readOnly struct {
	Status    status    `json:"status"`
	Warnings  []string  `json:"warnings"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

type status struct {
	State       string       `json:"state"`            // active, activating, pending, inactive, paused, broken
	Paused      string       `json:"paused,omitempty"` // keep or drop
	Blocker     string       `json:"blocker,omitempty"`
	Broken      *broken      `json:"broken,omitempty"`
	Activations []activation `json:"activations"`
}

// broken is what keeps a trigger from rendering.
type broken struct {
	Detail   string   `json:"detail"`
	Source   string   `json:"source,omitempty"`
	Schema   string   `json:"schema,omitempty"`
	Table    string   `json:"table,omitempty"`
	Columns  []string `json:"columns,omitempty"`
	Position string   `json:"position,omitempty"`
}

func showBroken(b *trigger.Broken) *broken {
	if b == nil {
		return nil
	}
	return &broken{b.Reason, b.Source, b.Schema, b.Table, b.Columns, string(b.Position)}
}

type activation struct {
	Source    string `json:"source,omitempty"`
	AppLabel  string `json:"app_label"`
	ModelName string `json:"model_name"`
	Signal    string `json:"signal"`
	Schema    string `json:"schema,omitempty"`
	Table     string `json:"table,omitempty"`
	State     string `json:"state"`
	Position  string `json:"position,omitempty"`
	Blocker   string `json:"blocker,omitempty"`
}

// show writes a trigger as the API answers it: what was sent, then what is read-only.
func show(rec trigger.Record, secret trigger.SecretParam) []byte {
	ro := readOnly{
		Status:    status{State: rec.State(), Paused: string(rec.Paused), Activations: []activation{}, Broken: showBroken(rec.Broken)},
		Warnings:  rec.Warnings,
		CreatedAt: rec.Trigger.CreatedAt, UpdatedAt: rec.Trigger.UpdatedAt,
	}
	if ro.Warnings == nil {
		ro.Warnings = []string{}
	}
	for _, a := range rec.Activations {
		if ro.Status.Blocker == "" && a.State != trigger.Active {
			ro.Status.Blocker = a.Blocker
		}
		ro.Status.Activations = append(ro.Status.Activations, activation{
			a.ContentType.Source, a.ContentType.AppLabel, a.ContentType.ModelName,
			a.Signal.String(), a.Schema, a.Table, string(a.State), string(a.Position), a.Blocker,
		})
	}
	more, err := json.Marshal(ro)
	if err != nil { // strings and times of this age always encode
		panic(fmt.Sprintf("encode status: %v", err))
	}
	out := rec.Trigger.Redact(secret).JSON()
	out[len(out)-1] = ',' // two objects become one
	return append(out, more[1:]...)
}
