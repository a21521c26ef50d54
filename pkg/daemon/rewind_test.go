package daemon

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/signal"
	"github.com/waltrigger/waltrigger/pkg/source"
	"github.com/waltrigger/waltrigger/pkg/store"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// rewinding is a source whose server is exchanged for one that lacks what was read last.
type rewinding struct {
	source.Source
	prepared int
	join     func(source.TableName, change.Position)
}

func (r *rewinding) Prepare(_ context.Context, saved source.State, save func(source.State) error) (source.State, error) {
	if r.prepared++; r.prepared == 1 {
		st := source.State{Identity: "a", Mark: change.Mark{End: "0/64"}}
		return st, save(st)
	}
	back := source.State{Identity: "a", Mark: change.Mark{End: "0/50"}}
	told := back
	told.Rewound = &source.Rewind{From: saved.Mark.End, Seq: 0x50}
	return back, save(told)
}

func (r *rewinding) Run(ctx context.Context, from change.Mark, out chan<- source.Batch) error {
	if from.End == "0/64" {
		return &source.RewoundError{From: "0/64", To: "0/50"}
	}
	tx := &change.Tx{Position: "0-55-2", Seq: 0x55, Committed: time.Now(), End: "0/58-2"}
	table := change.NewTable("public", "item", []change.Column{{Name: "id", Type: "integer", Identity: true}}, []int{0}, true, change.IdentityDefault)
	row := change.Change{Op: change.Insert, Ordinal: 1, Tx: tx, Table: table, After: []change.Value{{Kind: change.Int, Text: "7"}}}
	out <- source.Batch{row, {Op: change.Commit, Tx: tx}}
	<-ctx.Done()
	return nil
}

func (r *rewinding) OnJoin(f func(source.TableName, change.Position)) { r.join = f }

func (r *rewinding) Ack(change.Position)   {}
func (r *rewinding) Status() source.Status { return source.Status{} }
func (r *rewinding) Close() error          { return nil }
func (r *rewinding) Publish(context.Context, []source.TableName) ([]source.TableName, error) {
	r.join(source.TableName{Schema: "public", Name: "item"}, "0/60")  // a trigger that is active has it
	r.join(source.TableName{Schema: "public", Name: "other"}, "0/60") // no trigger
	return nil, nil
}

// TestRewind: after a failover to a server that lacks what was read, the source goes on
// by itself from where the logs part. What was committed there after a trigger had become
// active fires, although its place in the log is before the one where that was; and the
// record of it stays.
func TestRewind(t *testing.T) {
	fired := make(chan string, 10)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fired <- r.Header.Get("Webhook-Id") + " " + string(b)
	}))
	defer hook.Close()
	d := &daemon{cfg: settings(t, "egress: {allow_cidrs: [127.0.0.0/8]}\n"), log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	defer d.stop()
	if err := d.build(t.Context()); err != nil {
		t.Fatal(err)
	}
	tail := d.sources.tails[0]
	if err := tail.src.Close(); err != nil {
		t.Fatal(err)
	}
	tail.src, tail.open = &rewinding{}, func() (source.Source, error) { return &rewinding{}, nil }
	url, _ := json.Marshal(hook.URL)
	tr, problems := trigger.Decode([]byte(`{"config_signals":[{"signal":"post_save"}],"content_types":[{"app_label":"public","model_name":"item"}],"webhooks":[{"url":` + string(url) + `}],"payload":"{{ instance.id }}"}`))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	r := trigger.Record{Trigger: tr, Activations: []trigger.Activation{{
		ContentType: signal.ContentType{Source: "shop", AppLabel: "public", ModelName: "item"}, Signal: signal.PostSave, Schema: "public", Table: "item", State: trigger.Active, Seq: 0x60,
	}}}
	if err := d.store.CreateTrigger(t.Context(), &r); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); d.lead(ctx) }()
	select {
	case got := <-fired:
		if want := "shop_0-55-2_1_post_save"; len(got) < len(want) || got[:len(want)] != want || got[len(got)-1] != '7' {
			t.Errorf("fired %s", got)
		}
	case <-time.After(20 * time.Second):
		t.Error("what was committed after the failover does not fire")
	}
	stop()
	<-done
	gaps, err := d.store.Gaps(t.Context(), "shop", 10)
	if err != nil || len(gaps) != 2 {
		t.Fatalf("gaps %+v, %v", gaps, err)
	}
	rewound, table := gaps[0], gaps[1]
	if rewound.Kind != store.GapRewound {
		rewound, table = table, rewound
	}
	if rewound.Kind != store.GapRewound || rewound.After != "0/50" || rewound.Before != "0/64" || table.Kind != store.GapTable || table.Table.Name != "item" || table.Before != "0/60" {
		t.Errorf("gaps %+v", gaps)
	}
	if st, _, err := d.store.LoadSource(t.Context(), "shop"); err != nil || st.Mark.End != "0/58-2" {
		t.Errorf("saved %+v, %v", st, err)
	}
}
