package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/deliver"
	"github.com/waltrigger/waltrigger/pkg/payload"
	"github.com/waltrigger/waltrigger/pkg/related"
	"github.com/waltrigger/waltrigger/pkg/signal"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// kept is what of an event a message can still be rendered from, when it could not be in
// its turn. It may lie in the store for long, so fields are only ever added.
type kept struct {
	Signal       string     `json:"signal"`
	AppLabel     string     `json:"app_label"`
	ModelName    string     `json:"model_name"`
	Op           change.Op  `json:"op"`
	Image        int        `json:"image"`
	Ordinal      uint32     `json:"ordinal"`
	TxID         string     `json:"tx"`
	Position     string     `json:"position"`
	Seq          uint64     `json:"seq"`
	Committed    time.Time  `json:"committed"`
	Annotations  string     `json:"annotations,omitempty"`
	Schema       string     `json:"schema"`
	Table        string     `json:"table"`
	Columns      []column   `json:"columns"`
	Key          []int      `json:"key"`
	KeyIsPrimary bool       `json:"primary"`
	Identity     int        `json:"identity"`
	Before       []keptText `json:"before,omitempty"`
	After        []keptText `json:"after,omitempty"`
	// Hidden are the columns that were hidden when the event was kept. Their values are
	// digests, which only tell whether they are the same.
	Hidden []int `json:"hidden,omitempty"`
}

type column struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Identity bool   `json:"identity,omitempty"`
}

// keptText is a value; its text is in Bytes if it is not UTF-8.
type keptText struct {
	Kind  change.Kind `json:"k"`
	Text  string      `json:"t,omitempty"`
	Bytes []byte      `json:"b,omitempty"`
}

// keep gives the form of an event of c in which it is kept.
func keep(e *payload.Event, c *change.Change) []byte {
	mask := e.Hidden.Of(c.Table)
	k := kept{
		Signal: e.Kind.String(), AppLabel: e.ContentType.AppLabel, ModelName: e.ContentType.ModelName,
		Op: c.Op, Image: int(c.Image), Ordinal: c.Ordinal, TxID: c.Tx.ID, Position: string(c.Tx.Position), Seq: c.Tx.Seq,
		Committed: c.Tx.Committed, Annotations: c.Tx.Annotations, Schema: c.Table.Schema, Table: c.Table.Name,
		Key: c.Table.Key, KeyIsPrimary: c.Table.KeyIsPrimary, Identity: int(c.Table.Identity), Before: keepRow(c.Before, mask), After: keepRow(c.After, mask),
	}
	for i, col := range c.Table.Columns {
		k.Columns = append(k.Columns, column(col))
		if mask != nil && mask[i] {
			k.Hidden = append(k.Hidden, i)
		}
	}
	b, err := json.Marshal(&k)
	if err != nil { // nothing in it can fail
		panic(fmt.Sprintf("encode event: %v", err))
	}
	return b
}

func keepRow(row []change.Value, mask []bool) []keptText {
	if row == nil {
		return nil
	}
	out := make([]keptText, len(row))
	for i, v := range row {
		if mask != nil && mask[i] && v.Kind != change.Missing && v.Kind != change.Null {
			sum := sha256.Sum256([]byte(v.Text))
			v = change.Value{Kind: change.String, Text: hex.EncodeToString(sum[:])}
		}
		if out[i] = (keptText{Kind: v.Kind, Text: v.Text}); !utf8.ValidString(v.Text) {
			out[i].Text, out[i].Bytes = "", []byte(v.Text)
		}
	}
	return out
}

// event undoes keep. What was hidden then and is not hidden now is as if the log did not
// hold it.
func (k *kept) event(source string, hides *payload.Hidden) (*payload.Event, error) {
	kind, err := signal.Parse(k.Signal)
	if err != nil {
		return nil, err
	}
	columns := make([]change.Column, len(k.Columns))
	for i, c := range k.Columns {
		columns[i] = change.Column(c)
	}
	t := change.NewTable(k.Schema, k.Table, columns, k.Key, k.KeyIsPrimary, change.Identity(k.Identity))
	c := &change.Change{
		Op: k.Op, Image: change.Image(k.Image), Ordinal: k.Ordinal, Table: t, Before: row(k.Before), After: row(k.After),
		Tx: &change.Tx{ID: k.TxID, Position: change.Position(k.Position), Seq: k.Seq, Committed: k.Committed, Annotations: k.Annotations},
	}
	mask := hides.Of(t)
	for _, i := range k.Hidden {
		for _, row := range [2][]change.Value{c.Before, c.After} {
			if row != nil && (mask == nil || !mask[i]) {
				row[i] = change.Value{}
			}
		}
	}
	return &payload.Event{
		Source: source, Kind: kind, Change: c,
		ContentType: signal.ContentType{Source: source, AppLabel: k.AppLabel, ModelName: k.ModelName},
	}, nil
}

func row(kept []keptText) []change.Value {
	if kept == nil {
		return nil
	}
	out := make([]change.Value, len(kept))
	for i, v := range kept {
		if out[i] = (change.Value{Kind: v.Kind, Text: v.Text}); v.Bytes != nil {
			out[i].Text = string(v.Bytes)
		}
	}
	return out
}

// lateLookup bounds what one delivery asks of the database: it holds up a sender.
const lateLookup = 3 * time.Second

// errGone is shown until what is parked for the trigger is dead as well.
var errGone = errors.New("there is no such trigger or destination any more")

// Render implements deliver.RenderFunc for messages of this source that could not be
// rendered in their turn. Any goroutine.
func (p *Pipeline) Render(ctx context.Context, dl *deliver.Delivery) (send bool, err error) {
	send, err = p.render(ctx, dl)
	if why := (*trigger.Broken)(nil); errors.As(err, &why) {
		err = &deliver.BrokenError{Err: err}
	}
	return send, err
}

func (p *Pipeline) render(ctx context.Context, dl *deliver.Delivery) (send bool, err error) {
	t, d := p.current(dl)
	if t == nil {
		return false, errGone
	}
	if t.Broken != nil {
		return false, t.Broken
	}
	var k kept
	if err := json.Unmarshal(dl.Event, &k); err != nil {
		return false, fmt.Errorf("read event: %w", err)
	}
	e, err := k.event(p.name, p.cfg.Hidden)
	if err != nil {
		return false, fmt.Errorf("read event: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, lateLookup)
	defer cancel()
	return p.renderLate(ctx, dl, trigger.Match{
		Trigger: t, Kind: e.Kind, ContentType: e.ContentType, Columns: t.DependsOn(p.name, e.Change.Table.Schema, e.Change.Table.Name),
	}, d, e.Change)
}

// renderLate renders c for one destination of m's trigger.
func (p *Pipeline) renderLate(ctx context.Context, dl *deliver.Delivery, m trigger.Match, d *trigger.Destination, c *change.Change) (send bool, err error) {
	r := p.newRenderer(related.NewLookup(p.src, p.catalog, related.NewLeases(), 0, p.m.related()))
	h := hit{}
	if h.step, h.c, err = p.putBack(ctx, m, c); err != nil {
		return false, err
	}
	if h.c.Row() != nil && (h.related.Asks() || r.fetches(h.step, h.c)) {
		if err := r.ask(ctx, []event{{h.step, h.c}}); err != nil {
			return false, err
		}
	}
	if !r.fires(&h) {
		return false, nil
	}
	if h.err != nil {
		p.breaks(m.Trigger, c.Table, h.err)
		return false, h.err
	}
	r.set(&h)
	if err := lost(&h, r.renderWhole(ctx, dl, m.Trigger, d)); err != nil {
		p.breaks(m.Trigger, c.Table, err)
		return false, err
	}
	if h.check == nil || h.check.can() && !h.check.compares() {
		p.mended(m.Trigger, c.Table)
	}
	return true, nil
}

// renderWhole renders all of a delivery that a row has a part in.
func (r *renderer) renderWhole(ctx context.Context, dl *deliver.Delivery, t *trigger.Compiled, d *trigger.Destination) (err error) {
	m := &dl.Message
	if m.Body, m.ContentType, err = t.FetchBody(ctx, nil, &r.event); err != nil {
		return err
	}
	if t.OrderingKey != nil && dl.Table == anyTable && r.event.Change.Op != change.Truncate {
		if m.Key, err = t.OrderingKey.Append(nil, &r.event); err != nil {
			return err
		}
	}
	dl.Rendered, err = d.Render(&r.event)
	return err
}

// current gives the trigger and the destination as they are now, nil if they are no more.
func (p *Pipeline) current(dl *deliver.Delivery) (*trigger.Compiled, *trigger.Destination) {
	for _, t := range p.view.Load().Set.Triggers() {
		if t.Trigger.ID != dl.Trigger {
			continue
		}
		for _, d := range t.Destinations {
			if d.ID == dl.Destination {
				return t, d
			}
		}
	}
	return nil, nil
}
