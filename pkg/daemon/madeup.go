package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/signal"
	"github.com/waltrigger/waltrigger/pkg/source"
	"github.com/waltrigger/waltrigger/pkg/trigger"
)

// madeUp is a change that did not happen, as the log would hold it if it did.
type madeUp struct {
	tail     *tail
	info     source.TableInfo
	name     signal.ContentType
	from     string // given, key or latest
	c        *change.Change
	warnings []string
	problems []trigger.Problem
}

func (m *madeUp) problem(at, code, format string, args ...any) {
	m.problems = append(m.problems, trigger.Problem{Pointer: at, Code: code, Detail: fmt.Sprintf(format, args...)})
}

// makeUp makes a change of a sample for t. position is part of the event's id.
func (s *sources) makeUp(ctx context.Context, t *trigger.Trigger, sample *trigger.Sample, position string) (*madeUp, error) {
	m := &madeUp{}
	ct, err := m.contentType(t, sample)
	if err != nil {
		return nil, err
	}
	table, err := s.resolve(ctx, ct)
	switch {
	case errors.Is(err, trigger.ErrUnavailable):
		return nil, unavailable(err)
	case err != nil:
		m.problem("/sample/content_type", trigger.CodeUnknown, "%s: %v", ct.Name(), err)
		return nil, &trigger.InvalidError{Problems: m.problems}
	}
	m.tail = s.byName(table.Source)
	tables, err := m.tail.catalog(ctx)
	if err != nil {
		return nil, unavailable(err)
	}
	m.info, _ = m.tail.find(tables, ct)
	m.name = ct.Name()
	m.name.Source = table.Source
	m.c = &change.Change{
		Op: operation(t, sample), Ordinal: 1, Table: tableOf(m.info),
		Tx: &change.Tx{ID: "0", Position: change.Position(position), Committed: time.Now()},
	}
	if err := m.rows(ctx, sample); err != nil {
		return nil, err
	}
	if len(m.problems) > 0 {
		return nil, &trigger.InvalidError{Problems: m.problems}
	}
	return m, nil
}

// contentType picks the content type of the sample, which must be one of t's.
func (m *madeUp) contentType(t *trigger.Trigger, sample *trigger.Sample) (trigger.ContentType, error) {
	if sample.ContentType == nil {
		return t.ContentTypes[0], nil
	}
	for _, c := range t.ContentTypes {
		s := sample.ContentType
		if strings.EqualFold(c.AppLabel, s.AppLabel) && strings.EqualFold(c.ModelName, s.ModelName) && (s.Source == "" || s.Source == c.Source) {
			return c, nil
		}
	}
	m.problem("/sample/content_type", trigger.CodeUnknown, "%s is none of the trigger's content types", sample.ContentType.Name())
	return trigger.ContentType{}, &trigger.InvalidError{Problems: m.problems}
}

func operation(t *trigger.Trigger, sample *trigger.Sample) change.Op {
	switch sample.Operation {
	case "insert":
		return change.Insert
	case "update":
		return change.Update
	case "delete":
		return change.Delete
	case "truncate":
		return change.Truncate
	}
	signals := t.Signals()
	saves := signals.Has(signal.PreSave) || signals.Has(signal.PostSave)
	switch {
	case sample.After != nil && sample.Before != nil:
		return change.Update
	case sample.Before != nil, sample.After == nil && !saves && (signals.Has(signal.PreDelete) || signals.Has(signal.PostDelete)):
		return change.Delete
	case sample.After == nil && !saves:
		return change.Truncate
	}
	return change.Insert
}

// tableOf makes of the catalog's table what the log says of one.
func tableOf(info source.TableInfo) *change.Table {
	var columns []change.Column
	var key []int
	for _, c := range info.Columns {
		if !c.Generated {
			columns = append(columns, change.Column{Name: c.Name, Type: c.Type, Identity: slices.Contains(info.PrimaryKey, c.Name)})
		}
	}
	for _, k := range info.PrimaryKey {
		if i := slices.IndexFunc(columns, func(c change.Column) bool { return c.Name == k }); i >= 0 {
			key = append(key, i)
		}
	}
	return change.NewTable(info.Schema, info.Name, columns, key, len(key) > 0, info.Identity)
}

// rows gives the change its rows, as the log of the table would hold them.
func (m *madeUp) rows(ctx context.Context, sample *trigger.Sample) error {
	m.from = "given"
	if m.c.Op == change.Truncate {
		return nil
	}
	row, before := m.cells("/sample/after", sample.After), m.cells("/sample/before", sample.Before)
	if m.c.Op == change.Delete {
		row = before
	}
	if sample.Key != nil || sample.Latest {
		var err error
		if row, err = m.stored(ctx, sample); err != nil || len(m.problems) > 0 {
			return err
		}
	}
	if row == nil {
		m.problem("/sample", trigger.CodeRequired, "a sample of %s needs the row that it writes or deletes", m.c.Op)
		return nil
	}
	full := m.info.Identity == change.IdentityFull
	switch m.c.Op {
	case change.Insert:
		m.c.After = row
	case change.Delete:
		m.c.Before, m.c.Image = row, change.ImageFull
		if !full {
			m.keyOnly(row)
		}
	case change.Update:
		m.c.After = row
		if before == nil {
			before = make([]change.Value, len(row))
		}
		for i := range before {
			if before[i].Kind == change.Missing {
				before[i] = row[i]
			}
		}
		m.c.Before, m.c.Image = before, change.ImageFull
		if !full {
			m.keyOnly(before)
		}
	}
	return nil
}

// keyOnly leaves of the old row what a log without whole old rows holds.
func (m *madeUp) keyOnly(old []change.Value) {
	t := m.c.Table
	m.c.Before, m.c.Image = make([]change.Value, len(old)), change.ImageKeyOnly
	moved := false
	for _, k := range t.Key {
		m.c.Before[k] = old[k]
		moved = moved || m.c.After != nil && m.c.After[k] != old[k]
	}
	if m.c.Op == change.Update && !moved {
		m.c.Before, m.c.Image = nil, change.ImageNone
	}
	m.warnings = append(m.warnings, fmt.Sprintf("of the old row the log of %s holds the key at most, and so does this sample; mend with %s", m.info.TableName, fullIdentity(m.info)))
}

// cells makes a row of what was given; nil of nothing.
func (m *madeUp) cells(at string, cells trigger.Cells) []change.Value {
	if cells == nil {
		return nil
	}
	row := make([]change.Value, len(m.c.Table.Columns))
	for _, c := range cells {
		i := m.c.Table.Lookup(c.Name)
		if i < 0 {
			m.problem(at+"/"+c.Name, trigger.CodeUnknown, "table %s has no column %s%s", m.info.TableName, c.Name, trigger.DidYouMean(c.Name, offers(m.info)))
			continue
		}
		v, err := sampleValue(m.c.Table.Columns[i].Type, c.Value)
		if err != nil {
			m.problem(at+"/"+c.Name, trigger.CodeType, "%v", err)
		}
		row[i] = v
	}
	return row
}

// stored reads the row that the sample names.
func (m *madeUp) stored(ctx context.Context, sample *trigger.Sample) ([]change.Value, error) {
	var set source.RowSet
	var err error
	at := "/sample"
	if m.from = "latest"; sample.Latest {
		latest, ok := m.tail.source().(source.Latest)
		if !ok {
			m.problem(at, trigger.CodeNotAllowed, "source %s cannot tell its latest row; name one by its key, or give the row itself", m.tail.name)
			return nil, nil
		}
		set, err = latest.Latest(ctx, m.info.TableName)
	} else {
		m.from, at = "key", "/sample/key"
		given := m.cells(at, sample.Key)
		var columns, key []string
		for i, v := range given {
			if v.Kind != change.Missing {
				columns, key = append(columns, m.c.Table.Columns[i].Name), append(key, v.Text)
			}
		}
		if len(m.problems) > 0 {
			return nil, nil
		}
		if len(columns) == 0 {
			m.problem(at, trigger.CodeRequired, "may not be empty")
			return nil, nil
		}
		set, err = m.tail.source().Rows(ctx, source.Query{Table: m.info.TableName, Columns: columns, Keys: [][]string{key}})
	}
	if err != nil {
		return nil, unavailable(err)
	}
	if len(set.Rows) != 1 {
		m.problem(at, trigger.CodeUnknown, "table %s has %d such rows; a sample is one", m.info.TableName, len(set.Rows))
		return nil, nil
	}
	row := make([]change.Value, len(m.c.Table.Columns))
	for i, c := range m.c.Table.Columns {
		if j := set.Table.Lookup(c.Name); j >= 0 {
			row[i] = set.Rows[0][j]
		}
	}
	return row, nil
}
