package config

import (
	"strings"
	"testing"
	"time"

	"github.com/waltrigger/waltrigger/pkg/deliver"
)

func TestHistory(t *testing.T) {
	c := mustLoad(t, oneSource+"history: {keep: 24h, max_bytes: 5}\ndelivery: {bodies: failed}\n").Deliver()
	if c.History != (deliver.HistoryConfig{Keep: 24 * time.Hour, MaxBytes: 5}) || c.Bodies != deliver.FailedBodies {
		t.Errorf("%+v %v", c.History, c.Bodies)
	}
	if d := mustLoad(t, oneSource).Deliver(); d.History.Keep != 0 || d.Bodies != deliver.AllBodies {
		t.Errorf("by default %+v %v", d.History, d.Bodies)
	}
	for text, want := range map[string]string{
		"history: {keep: 1h}\ndelivery: {park: {max_bytes: 0}}": "w.yaml:2: history.keep: needs delivery.park.max_bytes",
		"history: {max_bytes: -1}":                              "w.yaml:2: history.max_bytes: must be from 0",
		"delivery: {bodies: some}":                              "w.yaml:2: delivery.bodies: must be all, failed or none",
	} {
		if _, _, err := load(t, oneSource+text); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

// TestVariablesOfCommands: what says where the daemon is, is no setting of it.
func TestVariablesOfCommands(t *testing.T) {
	if _, warnings, err := load(t, oneSource, APIURL+"=http://h", APIToken+"=x"); err != nil || len(warnings) > 0 {
		t.Errorf("%q, %v", warnings, err)
	}
}
