package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"strconv"

	"github.com/waltrigger/waltrigger/pkg/signal"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

func saveActivations(ctx context.Context, tx *transaction, id int64, as []trigger.Activation) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM activations WHERE trigger_id = ?`, id); err != nil {
		return err
	}
	for i, a := range as {
		columns, err := json.Marshal(a.Columns)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO activations (trigger_id, place, source, app_label, model_name, signal_name,
			table_schema, table_name, state, seq, position, blocker, refused, depends_on) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			id, i, a.ContentType.Source, a.ContentType.AppLabel, a.ContentType.ModelName, a.Signal.String(),
			a.Schema, a.Table, string(a.State), strconv.FormatUint(a.Seq, 10), string(a.Position), a.Blocker, a.Refused, string(columns))
		if err != nil {
			return err
		}
	}
	return nil
}

// loadActivations fills in the activations of rs, which are ordered by id.
func loadActivations(ctx context.Context, tx *transaction, rs []trigger.Record) error {
	if len(rs) == 0 {
		return nil
	}
	rows, err := tx.QueryContext(ctx, `SELECT trigger_id, source, app_label, model_name, signal_name, table_schema, table_name,
		state, seq, position, blocker, refused, depends_on FROM activations WHERE trigger_id BETWEEN ? AND ? ORDER BY trigger_id, place`,
		rs[0].Trigger.ID, rs[len(rs)-1].Trigger.ID)
	if err != nil {
		return err
	}
	defer rows.Close()
	for at := 0; rows.Next(); {
		id, a, err := scanActivation(rows)
		if err != nil {
			return err
		}
		for at < len(rs)-1 && rs[at].Trigger.ID < id {
			at++
		}
		if rs[at].Trigger.ID == id {
			rs[at].Activations = append(rs[at].Activations, a)
		}
	}
	return errors.Join(rows.Err(), rows.Close())
}

func scanActivation(rows *sql.Rows) (id int64, a trigger.Activation, err error) {
	var name, seq, columns string
	err = rows.Scan(&id, &a.ContentType.Source, &a.ContentType.AppLabel, &a.ContentType.ModelName, &name,
		&a.Schema, &a.Table, &a.State, &seq, &a.Position, &a.Blocker, &a.Refused, &columns)
	if err != nil {
		return id, a, err
	}
	if a.Signal, err = signal.Parse(name); err != nil {
		return id, a, damaged("trigger %d: %w", id, err)
	}
	if err = json.Unmarshal([]byte(columns), &a.Columns); err != nil {
		return id, a, damaged("trigger %d: read activation: %w", id, err)
	}
	if a.Seq, err = strconv.ParseUint(seq, 10, 64); err != nil {
		return id, a, damaged("trigger %d: read activation: %w", id, err)
	}
	return id, a, nil
}
