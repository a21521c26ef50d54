package store

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// sealedTables have a column sealed: the name of the key with which the row's secrets
// are encrypted, "" = they are in clear.
var sealedTables = []string{"triggers", "deliveries"}

// saveDocument stores t's JSON form, with its secrets sealed if there is a key that
// seals.
func (s *Store) saveDocument(ctx context.Context, tx *transaction, t *trigger.Trigger) error {
	sealed := s.keys.Name()
	if sealed != "" {
		var err error
		t, err = t.MapSecrets(func(at string, v any) (any, error) {
			plain, err := json.Marshal(v)
			return base64.RawStdEncoding.EncodeToString(s.keys.Seal(nil, plain, place(t.ID, at))), err
		})
		if err != nil {
			return err
		}
	}
	_, err := tx.ExecContext(ctx, `UPDATE triggers SET document = ?, sealed = ? WHERE id = ?`, string(t.JSON()), sealed, t.ID)
	return err
}

// place binds a secret to its row and field.
func place(id int64, at string) string { return fmt.Sprintf("triggers/%d%s", id, at) }

// readDocument undoes saveDocument.
func (s *Store) readDocument(id int64, document, sealed string) (*trigger.Trigger, error) {
	t, err := trigger.FromJSON([]byte(document))
	if err != nil {
		return nil, err
	}
	t.ID = id
	if sealed == "" {
		return t, nil
	}
	return t.MapSecrets(func(at string, v any) (any, error) {
		text, _ := v.(string)
		b, err := base64.RawStdEncoding.DecodeString(text)
		if err == nil {
			b, err = s.keys.Open(nil, b, place(id, at))
		}
		if err != nil {
			return nil, fmt.Errorf("%s %w", at, err)
		}
		d := json.NewDecoder(strings.NewReader(string(b)))
		d.UseNumber()
		var out any
		err = d.Decode(&out)
		return out, err
	})
}

// useKeys proves that keys are the right ones, so that a wrong or missing one shows at
// the start and not when a secret is needed, and seals anew what another one sealed.
func (s *Store) useKeys(ctx context.Context, keys []Key) error {
	var err error
	if s.keys, err = NewKeys(keys...); err != nil {
		return err
	}
	if err := s.update(ctx, "prove the keys", func(tx *transaction) error { return s.proveKeys(ctx, tx) }); err != nil {
		return err
	}
	for more := true; more; {
		err := s.update(ctx, "encrypt", func(tx *transaction) (err error) {
			more, err = s.reseal(ctx, tx)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// proveKeys compares each key with what it sealed when it first was to seal, and says
// which key is missing.
func (s *Store) proveKeys(ctx context.Context, tx *transaction) error {
	proofs := map[string]string{}
	if err := texts(ctx, tx, proofs, `SELECT name, proof FROM encryption_keys`); err != nil {
		return err
	}
	for name, proof := range proofs {
		if s.keys.byName[name] == nil {
			continue
		}
		b, err := base64.RawStdEncoding.DecodeString(proof)
		if err == nil {
			_, err = s.keys.Open(nil, b, "encryption_keys/"+name)
		}
		if err != nil {
			return damaged("store.encryption_keys: %s is another key than the one that encrypted the store under this name", name)
		}
	}
	for _, table := range sealedTables {
		used := map[string]string{}
		if err := texts(ctx, tx, used, `SELECT DISTINCT sealed, '' FROM `+table); err != nil {
			return err
		}
		for name := range used {
			if name != "" && s.keys.byName[name] == nil {
				return damaged("the table %s %w", table, missingKey(name))
			}
		}
	}
	name := s.keys.Name()
	if _, known := proofs[name]; known || name == "" {
		return nil
	}
	proof := s.keys.Seal(nil, nil, "encryption_keys/"+name)
	_, err := tx.ExecContext(ctx, `INSERT INTO encryption_keys (name, proof) VALUES (?, ?)`, name, base64.RawStdEncoding.EncodeToString(proof))
	return err
}

// resealAtOnce bounds the triggers of one transaction.
const resealAtOnce = 200

// reseal stores triggers anew that are not sealed with the key that seals, and reports
// whether there may be more.
func (s *Store) reseal(ctx context.Context, tx *transaction) (more bool, err error) {
	rows, err := tx.QueryContext(ctx, selectTriggers+` WHERE sealed <> ? ORDER BY id`, s.keys.Name())
	if err != nil {
		return false, err
	}
	defer rows.Close()
	var rs []trigger.Record
	for len(rs) < resealAtOnce && rows.Next() {
		r, err := s.scanTrigger(rows)
		if err != nil {
			return false, err
		}
		rs = append(rs, r)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return false, err
	}
	for _, r := range rs {
		if err := s.saveDocument(ctx, tx, r.Trigger); err != nil {
			return false, err
		}
	}
	return len(rs) == resealAtOnce, nil
}

// texts reads pairs of texts.
func texts(ctx context.Context, tx *transaction, into map[string]string, query string) error {
	rows, err := tx.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var k, v string
		if err := rows.Scan(&k, &v); err != nil {
			return err
		}
		into[k] = v
	}
	return errors.Join(rows.Err(), rows.Close())
}
