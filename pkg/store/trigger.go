package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// Triggers gives the triggers that q picks, ordered by id.
func (s *Store) Triggers(ctx context.Context, q trigger.Query) ([]trigger.Record, error) {
	var out []trigger.Record
	err := s.view(ctx, "list triggers", func(tx *transaction) error {
		rows, err := tx.QueryContext(ctx, selectTriggers+` WHERE id > ? ORDER BY id`, q.AfterID)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() && (q.Limit <= 0 || len(out) < q.Limit) {
			r, err := s.scanTrigger(rows)
			if err != nil {
				return err
			}
			if q.Match(r.Trigger) {
				out = append(out, r)
			}
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return err
		}
		return loadActivations(ctx, tx, out)
	})
	return out, err
}

// Trigger gives the trigger with this id, or trigger.ErrNotFound.
func (s *Store) Trigger(ctx context.Context, id int64) (trigger.Record, error) {
	return s.one(ctx, "get trigger", ` WHERE id = ?`, id)
}

// TriggerByName gives the trigger with this name, or trigger.ErrNotFound.
func (s *Store) TriggerByName(ctx context.Context, name string) (trigger.Record, error) {
	return s.one(ctx, "get trigger by name", ` WHERE name = ?`, name)
}

func (s *Store) one(ctx context.Context, what, where string, arg any) (trigger.Record, error) {
	rs := make([]trigger.Record, 1)
	err := s.view(ctx, what, func(tx *transaction) error {
		var err error
		if rs[0], err = s.scanTrigger(tx.QueryRowContext(ctx, selectTriggers+where, arg)); err != nil {
			return err
		}
		return loadActivations(ctx, tx, rs)
	})
	return rs[0], err
}

// CreateTrigger stores r.Trigger with r's warnings and activations. It fills in the
// ids, the revision and the times. A name or a destination's id that another trigger
// has is a *trigger.ConflictError.
func (s *Store) CreateTrigger(ctx context.Context, r *trigger.Record) error {
	t := r.Trigger.Clone()
	now := s.now().UTC().Truncate(time.Microsecond)
	t.CreatedAt, t.UpdatedAt = now, now
	err := s.update(ctx, "create trigger", func(tx *transaction) error {
		if err := checkName(ctx, tx, t); err != nil {
			return err
		}
		var err error
		t.ID, err = tx.insert(ctx, "id", `INSERT INTO triggers (name, origin, revision, document, sealed, warnings, created_at, updated_at) VALUES (?, ?, 1, '{}', '', ?, ?, ?)`,
			nullable(t.Name), origin(r.Origin), warnings(r.Warnings), timestamp(now), timestamp(now))
		if err != nil {
			return err
		}
		if err := saveDestinations(ctx, tx, t); err != nil {
			return err
		}
		if err := s.saveDocument(ctx, tx, t); err != nil {
			return err
		}
		return saveActivations(ctx, tx, t.ID, r.Activations)
	})
	if err != nil {
		return err
	}
	r.Trigger, r.Origin, r.Revision = t, origin(r.Origin), 1
	return nil
}

// UpdateTrigger stores r.Trigger in the place of the one with its id, with r's warnings
// and activations, and fills in new destinations' ids, the revision and the times. The
// revision stays if the trigger is the same. ifRevision 0 replaces any revision;
// trigger.ErrStale says that another one is stored.
func (s *Store) UpdateTrigger(ctx context.Context, r *trigger.Record, ifRevision int64) error {
	t := r.Trigger.Clone()
	var revision int64
	var was trigger.Record
	err := s.update(ctx, "update trigger", func(tx *transaction) error {
		old, err := s.scanTrigger(tx.QueryRowContext(ctx, selectTriggers+` WHERE id = ?`, t.ID))
		if err != nil {
			return err
		}
		if ifRevision != 0 && ifRevision != old.Revision {
			return trigger.ErrStale
		}
		revision, was = old.Revision, old
		t.CreatedAt, t.UpdatedAt = old.Trigger.CreatedAt, old.Trigger.UpdatedAt
		if err := checkName(ctx, tx, t); err != nil {
			return err
		}
		if err := saveDestinations(ctx, tx, t); err != nil {
			return err
		}
		if string(t.JSON()) != string(old.Trigger.JSON()) {
			revision++
			t.UpdatedAt = s.now().UTC().Truncate(time.Microsecond)
		}
		_, err = tx.ExecContext(ctx, `UPDATE triggers SET name = ?, revision = ?, warnings = ?, updated_at = ? WHERE id = ?`,
			nullable(t.Name), revision, warnings(r.Warnings), timestamp(t.UpdatedAt), t.ID)
		if err != nil {
			return err
		}
		if err := s.saveDocument(ctx, tx, t); err != nil {
			return err
		}
		return saveActivations(ctx, tx, t.ID, r.Activations)
	})
	if err != nil {
		return err
	}
	r.Trigger, r.Origin, r.Paused, r.Revision = t, was.Origin, was.Paused, revision
	return nil
}

// PauseTrigger stores r.Paused, with r's activations, and fills in the revision and the
// time. ifRevision is as for UpdateTrigger.
func (s *Store) PauseTrigger(ctx context.Context, r *trigger.Record, ifRevision int64) error {
	id, now := r.Trigger.ID, s.now().UTC().Truncate(time.Microsecond)
	var revision int64
	err := s.update(ctx, "pause trigger", func(tx *transaction) error {
		if err := checkRevision(ctx, tx, id, ifRevision); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `UPDATE triggers SET paused = ?, revision = revision + 1, updated_at = ? WHERE id = ?`, string(r.Paused), timestamp(now), id)
		if err != nil {
			return err
		}
		if err := tx.QueryRowContext(ctx, `SELECT revision FROM triggers WHERE id = ?`, id).Scan(&revision); err != nil {
			return err
		}
		return saveActivations(ctx, tx, id, r.Activations)
	})
	if err != nil {
		return err
	}
	r.Trigger = r.Trigger.Clone()
	r.Trigger.UpdatedAt, r.Revision = now, revision
	return nil
}

// DeleteTrigger removes a trigger. Its id is never given out again.
func (s *Store) DeleteTrigger(ctx context.Context, id, ifRevision int64) error {
	return s.update(ctx, "delete trigger", func(tx *transaction) error {
		if err := checkRevision(ctx, tx, id, ifRevision); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM triggers WHERE id = ?`, id)
		return err
	})
}

// UpdateActivations stores what f makes of the activations of a trigger, without a new
// revision. trigger.ErrStale says that the trigger was changed in the meantime, and that
// f would have been about an older revision.
func (s *Store) UpdateActivations(ctx context.Context, id, revision int64, f func([]trigger.Activation) []trigger.Activation) error {
	return s.update(ctx, "save activations", func(tx *transaction) error {
		if err := checkRevision(ctx, tx, id, revision); err != nil {
			return err
		}
		rs := []trigger.Record{{Trigger: &trigger.Trigger{ID: id}}}
		if err := loadActivations(ctx, tx, rs); err != nil {
			return err
		}
		return saveActivations(ctx, tx, id, f(rs[0].Activations))
	})
}

func checkRevision(ctx context.Context, tx *transaction, id, want int64) error {
	var has int64
	err := tx.QueryRowContext(ctx, `SELECT revision FROM triggers WHERE id = ?`, id).Scan(&has)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return trigger.ErrNotFound
	case err != nil:
		return err
	case want != 0 && want != has:
		return trigger.ErrStale
	}
	return nil
}

func checkName(ctx context.Context, tx *transaction, t *trigger.Trigger) error {
	var other int64
	err := tx.QueryRowContext(ctx, `SELECT id FROM triggers WHERE name = ? AND id <> ?`, nullable(t.Name), t.ID).Scan(&other)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil
	case err != nil:
		return err
	}
	return &trigger.ConflictError{Pointer: "/name", Detail: fmt.Sprintf("trigger %d has this name", other)}
}

// saveDestinations makes t's destinations those that the store knows of t, and gives
// ids to those without.
func saveDestinations(ctx context.Context, tx *transaction, t *trigger.Trigger) error {
	var keep []string
	for at, id := range t.DestinationIDs() {
		if *id == "" {
			continue
		}
		var owner int64
		err := tx.QueryRowContext(ctx, `SELECT trigger_id FROM destinations WHERE id = ?`, *id).Scan(&owner)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			_, err = tx.ExecContext(ctx, `INSERT INTO destinations (id, trigger_id) VALUES (?, ?)`, *id, t.ID)
		case err == nil && owner != t.ID:
			err = &trigger.ConflictError{Pointer: at + "/id", Detail: fmt.Sprintf("a destination of trigger %d has this id", owner)}
		}
		if err != nil {
			return err
		}
		keep = append(keep, *id)
	}
	if err := forgetDestinations(ctx, tx, t.ID, keep); err != nil {
		return err
	}
	for _, id := range t.DestinationIDs() {
		if *id != "" {
			continue
		}
		number, err := tx.insert(ctx, "number", `INSERT INTO destinations (id, trigger_id) VALUES ('', ?)`, t.ID)
		if err != nil {
			return err
		}
		*id = "d" + strconv.FormatInt(number, 10)
		if _, err := tx.ExecContext(ctx, `UPDATE destinations SET id = ? WHERE number = ?`, *id, number); err != nil {
			return err
		}
	}
	return nil
}

func forgetDestinations(ctx context.Context, tx *transaction, triggerID int64, keep []string) error {
	rows, err := tx.QueryContext(ctx, `SELECT id FROM destinations WHERE trigger_id = ?`, triggerID)
	if err != nil {
		return err
	}
	defer rows.Close()
	var gone []string
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return err
		}
		if !slices.Contains(keep, id) {
			gone = append(gone, id)
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	for _, id := range gone {
		if _, err := tx.ExecContext(ctx, `DELETE FROM destinations WHERE id = ?`, id); err != nil {
			return err
		}
	}
	return nil
}

const selectTriggers = `SELECT id, origin, revision, paused, document, sealed, warnings, created_at, updated_at FROM triggers`

func (s *Store) scanTrigger(row interface{ Scan(...any) error }) (trigger.Record, error) {
	var r trigger.Record
	var id int64
	var document, sealed, warned, created, updated string
	err := row.Scan(&id, &r.Origin, &r.Revision, &r.Paused, &document, &sealed, &warned, &created, &updated)
	if errors.Is(err, sql.ErrNoRows) {
		return r, trigger.ErrNotFound
	}
	if err != nil {
		return r, err
	}
	if r.Trigger, err = s.readDocument(id, document, sealed); err != nil {
		return r, damaged("trigger %d: %w", id, err)
	}
	if err := json.Unmarshal([]byte(warned), &r.Warnings); err != nil {
		return r, damaged("trigger %d: read warnings: %w", id, err)
	}
	if r.Trigger.CreatedAt, err = parseTimestamp(created); err != nil {
		return r, err
	}
	r.Trigger.UpdatedAt, err = parseTimestamp(updated)
	return r, err
}

func origin(o trigger.Origin) trigger.Origin {
	if o == "" {
		return trigger.FromAPI
	}
	return o
}

// nullable keeps unnamed triggers out of the uniqueness of names.
func nullable(name string) sql.NullString { return sql.NullString{String: name, Valid: name != ""} }

func warnings(ws []string) string {
	if len(ws) == 0 {
		return "[]"
	}
	b, err := json.Marshal(ws)
	if err != nil { // strings always encode
		panic(fmt.Sprintf("encode warnings: %v", err))
	}
	return string(b)
}
