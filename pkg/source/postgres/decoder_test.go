package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waltrigger/waltrigger/pkg/change"
)

// feed decodes messages and returns what came out.
func feed(t *testing.T, d *decoder, ms ...message) []change.Change {
	t.Helper()
	for _, m := range ms {
		if err := d.message(context.Background(), bytes.Clone(m)); err != nil {
			t.Fatalf("message %q: %v", m[0], err)
		}
	}
	return d.take()
}

func insertSale(id string) message {
	return message{'I'}.u32(7).u8('N').tuple(id, "1", "p", "2", "1.50", "2024-03-09 21:00:00+00")
}

func brief(cs []change.Change) string {
	var out []string
	for _, c := range cs {
		s := c.Op.String()
		if c.Op != change.Commit {
			s += fmt.Sprintf("%d", c.Ordinal)
		}
		if c.Tx.Position != "" {
			s += "@" + string(c.Tx.Position)
		}
		if c.Op == change.Commit {
			s += ".." + string(c.Tx.End)
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

func TestDecoderTransaction(t *testing.T) {
	d := offline(t, change.Mark{End: "0/50"})
	got := feed(t, d, saleRelation(7), begin(0x100, 42), insertSale("1"), insertSale("2"), commit(0x100, 0x130))
	if s := brief(got); s != "insert1@0-100 insert2@0-100 commit@0-100..0/130" {
		t.Errorf("got %s", s)
	}
	tx := got[0].Tx
	if tx.ID != "42" || tx.Seq != 0x100 || tx.Committed.Format("2006-01-02T15:04:05Z07:00") != "2000-01-01T00:00:00Z" {
		t.Errorf("tx %+v", tx)
	}
	if s := show(got[0], got[0].After); s != `id=1 customer_id=1 product="p" quantity=2 price="1.50" sold_at="2024-03-09T21:00:00Z"` {
		t.Errorf("row %s", s)
	}
	// The same commit again, as a server sends it to a new connection: nothing twice.
	d.reset()
	if got := feed(t, d, saleRelation(7), begin(0x200, 43), insertSale("3"), commit(0x200, 0x230)); brief(got) != "insert1@0-200 commit@0-200..0/230" {
		t.Errorf("got %s", brief(got))
	}
}

func logical(prefix, content string) message {
	return append(message{'M'}.u8(1).u64(0).str(prefix).u32(uint32(len(content))), content...)
}

// TestDecoderHolds: a small transaction is handed over whole, a large one as it comes.
func TestDecoderHolds(t *testing.T) {
	d := offline(t, change.Mark{})
	if got := feed(t, d, saleRelation(7), begin(0x100, 1), insertSale("1"), commit(0x100, 0x110), begin(0x200, 2), insertSale("2"), insertSale("3")); brief(got) != "insert1@0-100 commit@0-100..0/110" {
		t.Errorf("got %s", brief(got))
	}
	got := feed(t, d, logical("waltrigger", `{"a":1}`), commit(0x200, 0x210))
	if brief(got) != "insert1@0-200 insert2@0-200 commit@0-200..0/210" || got[0].Tx.Annotations != `{"a":1}` {
		t.Errorf("got %s, annotations %s", brief(got), got[0].Tx.Annotations)
	}
	feed(t, d, begin(0x300, 3))
	for i := range batchChanges {
		if n := len(feed(t, d, insertSale("4"))); n != 0 && i < batchChanges-1 || n == 0 && i == batchChanges-1 {
			t.Fatalf("after %d rows %d are handed over", i+1, n)
		}
	}
	got = feed(t, d, logical("waltrigger", `{"too":"late"}`), logical("waltrigger.skip", ""), insertSale("5"), commit(0x300, 0x310))
	if brief(got) != "insert257@0-300 commit@0-300..0/310" || got[0].Tx.Annotations != "" || d.skipped != 0 {
		t.Errorf("got %s, annotations %s", brief(got), got[0].Tx.Annotations)
	}
	// One row that is large is not held.
	big := message{'I'}.u32(7).u8('N').tuple("1", "1", strings.Repeat("x", batchBytes), null, null, null)
	if got := feed(t, d, begin(0x400, 4), big); len(got) != 1 {
		t.Errorf("a large row is held")
	}
}

// TestDecoderHeldIsCut: a held transaction that is cut off was never there; what its
// messages said is heard again, once.
func TestDecoderHeldIsCut(t *testing.T) {
	all := []message{saleRelation(7), begin(0x100, 42), insertSale("1"), logical("waltrigger", `{"a":1}`), insertSale("2"), logical("waltrigger", `{"b":2}`), commit(0x100, 0x130)}
	for cut := range len(all) - 1 {
		d := offline(t, change.Mark{})
		feed(t, d, all[:cut+1]...)
		d.reset()
		got := feed(t, d, all...)
		if s := brief(got); s != "insert1@0-100 insert2@0-100 commit@0-100..0/130" || got[0].Tx.Annotations != `{"a":1,"b":2}` || d.events != 2 {
			t.Errorf("cut after %d: %s, annotations %s, %d events", cut, s, got[0].Tx.Annotations, d.events)
		}
	}
	// Beside a whole one that waits to be taken.
	d := offline(t, change.Mark{})
	for _, m := range []message{saleRelation(7), begin(0x50, 1), insertSale("0"), commit(0x50, 0x60), all[1], all[2]} {
		if err := d.message(context.Background(), bytes.Clone(m)); err != nil {
			t.Fatal(err)
		}
	}
	d.reset()
	if s := brief(feed(t, d, all...)); s != "insert1@0-50 commit@0-50..0/60 insert1@0-100 insert2@0-100 commit@0-100..0/130" {
		t.Errorf("got %s", s)
	}
	// A large one, cut after a part was sent: what it said stays.
	d = offline(t, change.Mark{})
	large := []message{saleRelation(7), begin(0x100, 42), logical("waltrigger", `{"a":1}`)}
	for range batchChanges + 10 {
		large = append(large, insertSale("1"))
	}
	large = append(large, logical("waltrigger", `{"late":1}`), commit(0x100, 0x130))
	tx := feed(t, d, large[:batchChanges+5]...)[0].Tx
	d.reset()
	got := feed(t, d, large...)
	if n := len(got); n != 9 || got[0].Tx != tx || tx.Annotations != `{"a":1}` {
		t.Errorf("%d more changes, annotations %s", n, tx.Annotations)
	}
}

func TestDecoderMutes(t *testing.T) {
	d := offline(t, change.Mark{})
	got := feed(t, d, saleRelation(7), begin(0x100, 1), insertSale("1"), logical("waltrigger.skip", "why"), insertSale("2"), commit(0x100, 0x110), begin(0x200, 2), insertSale("3"), commit(0x200, 0x210))
	if brief(got) != "insert1@0-200 commit@0-200..0/210" || d.skipped != 1 || d.events != 1 {
		t.Errorf("got %s, %d skipped, %d events", brief(got), d.skipped, d.events)
	}
	feed(t, d, begin(0x300, 3), logical("waltrigger.skip", ""), insertSale("4"), commit(0x300, 0x310))
	if d.settle(); brief(d.take()) != "commit..0/310" {
		t.Error("the position behind a skipped transaction does not come")
	}
	d.rules.ignoreSkip = true
	if got := feed(t, d, begin(0x400, 4), logical("waltrigger.skip", ""), insertSale("5"), commit(0x400, 0x410)); len(got) != 2 || d.skipped != 2 {
		t.Errorf("got %s, %d skipped", brief(got), d.skipped)
	}
	origin := message{'O'}.u64(1).str("elsewhere")
	replicated := []message{begin(0x500, 5), origin, insertSale("6"), commit(0x500, 0x510), begin(0x600, 6), insertSale("7"), commit(0x600, 0x610)}
	if got := feed(t, d, replicated...); len(got) != 4 {
		t.Errorf("got %s", brief(got))
	}
	d.rules.localOnly = true
	replicated[0], replicated[3], replicated[4], replicated[6] = begin(0x700, 7), commit(0x700, 0x710), begin(0x800, 8), commit(0x800, 0x810)
	if got := feed(t, d, replicated...); brief(got) != "insert1@0-800 commit@0-800..0/810" {
		t.Errorf("got %s", brief(got))
	}
	for name, content := range map[string]string{"list": "[1]", "null": "null", "no JSON": "{", "empty": "", "no UTF-8": "{\"a\":\"\xff\"}", "too large": `{"a":"` + strings.Repeat("x", maxAnnotations) + `"}`} {
		if got := feed(t, d, begin(0x900, 9), logical("waltrigger", content), insertSale("8"), commit(0x900, 0x910)); got[0].Tx.Annotations != "" {
			t.Errorf("%s: annotations %.20s", name, got[0].Tx.Annotations)
		}
	}
}

// TestDecoderMutedIsCut: a skipped transaction stays so, and counts once, wherever the
// connection breaks.
func TestDecoderMutedIsCut(t *testing.T) {
	all := []message{saleRelation(7), begin(0x100, 42), logical("waltrigger.skip", "")}
	for range batchChanges + 10 {
		all = append(all, insertSale("1"))
	}
	all = append(all, commit(0x100, 0x130))
	for _, cut := range []int{3, 4, batchChanges, batchChanges + 3, batchChanges + 5, len(all) - 1} {
		d := offline(t, change.Mark{})
		got := feed(t, d, all[:cut]...)
		d.reset()
		if d.cut() != (place{}) {
			t.Errorf("cut after %d: changes count as sent", cut)
		}
		got = append(got, feed(t, d, all...)...)
		got = append(got, feed(t, d, begin(0x200, 43), insertSale("2"), commit(0x200, 0x230))...)
		if s := brief(got); s != "insert1@0-200 commit@0-200..0/230" || d.skipped != 1 {
			t.Errorf("cut after %d: %s, %d skipped", cut, s, d.skipped)
		}
	}
}

// TestDecoderResumes cuts a transaction off after each of its messages.
func TestDecoderResumes(t *testing.T) {
	all := []message{saleRelation(7), begin(0x100, 42), insertSale("1"), insertSale("2"), insertSale("3"), commit(0x100, 0x130)}
	for cut := range all {
		d := offline(t, change.Mark{})
		got := feed(t, d, all[:cut+1]...)
		d.reset()
		if cut == len(all)-1 {
			continue // the server would not send it again
		}
		got = append(got, feed(t, d, all...)...)
		if s := brief(got); s != "insert1@0-100 insert2@0-100 insert3@0-100 commit@0-100..0/130" {
			t.Errorf("cut after %d: %s", cut, s)
		}
		if txs := slices.CompactFunc(got, func(a, b change.Change) bool { return a.Tx == b.Tx }); len(txs) != 1 {
			t.Errorf("cut after %d: the changes have %d Tx", cut, len(txs))
		}
	}
	// From a mark of an earlier process.
	d := offline(t, change.Mark{End: "0/50", Tx: "0-100", Done: 2})
	if s := brief(feed(t, d, all...)); s != "insert3@0-100 commit@0-100..0/130" {
		t.Errorf("from the mark: %s", s)
	}
	// The transaction of the mark is not there any more.
	d = offline(t, change.Mark{End: "0/50", Tx: "0-90", Done: 2})
	if s := brief(feed(t, d, all...)); s != "insert1@0-100 insert2@0-100 insert3@0-100 commit@0-100..0/130" {
		t.Errorf("past the mark: %s", s)
	}
}

// TestDecoderAsksAgain: a relation with a type that may change is asked for again after a
// while. A row for which the catalog cannot be asked comes once it can be.
func TestDecoderAsksAgain(t *testing.T) {
	relation := message{'R'}.u32(7).str("public").str("sale").u8('d').u16(1).u8(1).str("id").u32(99999).u32(0)
	row := message{'I'}.u32(7).u8('N').tuple("1")
	all := []message{relation, begin(0x100, 42), row, row, row, commit(0x100, 0x130)}
	d := offline(t, change.Mark{})
	asked, down := 0, errors.New("down")
	d.relations.lookup = func(context.Context, func(context.Context, *pgx.Conn) error) error { asked++; return down }
	if err := d.message(context.Background(), bytes.Clone(relation)); !errors.As(err, new(lookupError)) {
		t.Errorf("got %v", err)
	}
	down = nil
	feed(t, d, all[:3]...)
	d.current[7].resolved = time.Now().Add(-relationFor)
	down = errors.New("down")
	if err := d.message(context.Background(), bytes.Clone(row)); !errors.As(err, new(lookupError)) || d.ordinal != 1 {
		t.Errorf("got %v, %d rows", err, d.ordinal)
	}
	d.reset()
	down = nil
	if s := brief(feed(t, d, all...)); s != "insert1@0-100 insert2@0-100 insert3@0-100 commit@0-100..0/130" || asked != 4 {
		t.Errorf("%s, asked %d times", s, asked)
	}
}

func TestDecoderSettles(t *testing.T) {
	d := offline(t, change.Mark{End: "0/50"})
	settled := func() string { d.settle(); return brief(d.take()) }
	if got := settled(); got != "" {
		t.Errorf("nothing new: %s", got)
	}
	d.alive(0x80)
	d.alive(0x90)
	if got := settled(); got != "commit..0/90" {
		t.Errorf("keepalives: %s", got)
	}
	if got := brief(feed(t, d, begin(0x100, 1), commit(0x100, 0x110))); got != "" {
		t.Errorf("empty transaction: %s", got)
	}
	if got := settled(); got != "commit..0/110" {
		t.Errorf("after an empty transaction: %s", got)
	}
	feed(t, d, saleRelation(7), begin(0x200, 2), insertSale("1"))
	d.alive(0x190)
	if got := settled(); got != "" {
		t.Errorf("inside a transaction: %s", got)
	}
	d.reset() // the connection is lost; a keepalive of the new one comes before the transaction
	d.alive(0x190)
	if got := settled(); got != "" {
		t.Errorf("before the rest of a transaction: %s", got)
	}
	if got := brief(feed(t, d, saleRelation(7), begin(0x200, 2), insertSale("1"), insertSale("2"), commit(0x200, 0x230))); got != "insert1@0-200 insert2@0-200 commit@0-200..0/230" {
		t.Errorf("rest: %s", got)
	}
}

func TestDecoderBatchIsBounded(t *testing.T) {
	d := offline(t, change.Mark{})
	feed(t, d, saleRelation(7), begin(0x100, 1))
	n := 0
	for !d.full() {
		n++
		if err := d.message(context.Background(), insertSale("1")); err != nil || n > batchChanges {
			t.Fatal(n, err)
		}
	}
	d.take()
	big := message{'I'}.u32(7).u8('N').tuple("1", "1", strings.Repeat("x", batchBytes), null, null, null)
	if err := d.message(context.Background(), big); err != nil || !d.full() {
		t.Errorf("a row of %d bytes does not fill a batch (%v)", len(big), err)
	}
}

// TestDecoderRefuses: what is malformed or unknown is an error, never skipped.
func TestDecoderRefuses(t *testing.T) {
	for name, ms := range map[string][]message{
		"empty":                   {{}},
		"unknown type":            {{'x', 1, 2}},
		"stream start":            {{'S', 0, 0, 0, 1, 1}},
		"prepare":                 {{'P', 0}},
		"row without transaction": {saleRelation(7), insertSale("1")},
		"row without relation":    {begin(1, 1), insertSale("1")},
		"begin in transaction":    {begin(1, 1), begin(2, 2)},
		"commit alone":            {commit(1, 2)},
		"truncate unknown":        {begin(1, 1), message{'T'}.u32(1).u8(0).u32(9)},
		"other number of columns": {saleRelation(7), begin(1, 1), message{'I'}.u32(7).u8('N').tuple("1")},
		"binary column":           {saleRelation(7), begin(1, 1), append(message{'I'}.u32(7).u8('N').u16(6), 'b')},
		"length beyond the end":   {saleRelation(7), begin(1, 1), append(message{'I'}.u32(7).u8('N').u16(6), 't', 0xff, 0xff, 0xff, 0xff, 1)},
		"insert with old row":     {saleRelation(7), begin(1, 1), message{'I'}.u32(7).u8('X').tuple("1")},
		"delete with new row":     {saleRelation(7), begin(1, 1), message{'D'}.u32(7).u8('N').tuple("1")},
		"relation cut short":      {saleRelation(7)[:20]},
	} {
		d := offline(t, change.Mark{})
		var err error
		for _, m := range ms {
			err = d.message(context.Background(), bytes.Clone(m))
		}
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := newDecoder(change.Mark{End: "nonsense"}, nil, rules{}, nil, nil); err == nil {
		t.Error("a mark of another kind is accepted")
	}
}

func TestDecoderImages(t *testing.T) {
	d := offline(t, change.Mark{})
	two := func(identity byte) message {
		return message{'R'}.u32(8).str("").str("two").u8(identity).u16(2).u8(1).str("id").u32(23).u32(0).u8(map[byte]byte{'f': 1}[identity]).str("body").u32(25).u32(0)
	}
	got := feed(t, d, two('d'), begin(1, 1),
		message{'U'}.u32(8).u8('N').tuple("1", toast),
		append(message{'U'}.u32(8).u8('K').tuple("1", null).u8('N'), message{}.tuple("2", null)...),
		message{'D'}.u32(8).u8('K').tuple("2", null),
		two('f'),
		append(message{'U'}.u32(8).u8('O').tuple("1", "long").u8('N'), message{}.tuple("1", toast)...),
		commit(1, 2),
	)
	got = got[:len(got)-1]
	want := []string{
		"update two none / none -> id=1 body=missing",
		"update two key_only / id=1 body=missing -> id=2 body=null",
		"delete two key_only / id=2 body=missing -> none",
		`update two full / id=1 body="long" -> id=1 body="long"`,
	}
	for i, c := range got {
		if s := line(c); s != want[i] {
			t.Errorf("got %s, want %s", s, want[i])
		}
		if c.Table.Schema != "pg_catalog" { // sent as an empty string
			t.Errorf("schema %q", c.Table.Schema)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d changes", len(got))
	}
}

// FuzzDecoder feeds arbitrary bytes: an error, never a panic.
func FuzzDecoder(f *testing.F) {
	for _, m := range []message{saleRelation(7), begin(1, 1), insertSale("1"), commit(1, 2), {'T', 0, 0, 0, 1, 0, 0, 0, 0, 7}, {'M', 1}} {
		f.Add([]byte(m))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d := offline(t, change.Mark{})
		feed(t, d, saleRelation(7), begin(1, 1), insertSale("1"))
		if len(b) > 0 && b[0] == 'R' {
			p := parser{b: bytes.Clone(b[1:])}
			parseRelation(&p)
			return // resolving asks a server
		}
		_ = d.message(context.Background(), bytes.Clone(b))
	})
}

// FuzzValue feeds arbitrary text to every class: always JSON, never a panic.
func FuzzValue(f *testing.F) {
	for _, c := range typeCases(f) {
		f.Add([]byte(strings.Trim(c.JSON, `"`)))
	}
	f.Add([]byte(`{{1,"a\"b"},{NULL,"NULL"}}`))
	f.Add([]byte(`(1,"x,""y",)`))
	f.Add([]byte(`"a"=>"1", "b"=>NULL`))
	text := &pgType{name: "text"}
	array := &pgType{class: classArray, elem: text, delim: ','}
	pair := &pgType{class: classComposite, fields: []field{{"a", text}, {"b", array}}}
	all := []*pgType{text, array, pair, {class: classArray, elem: pair, delim: ','}, {class: classHstore}, {class: classBytes}, {class: classTimestampTZ}, {class: classTimestamp}, {class: classBool}, {class: classDate}}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, typ := range all {
			v := typ.value(bytes.Clone(b))
			if v.Kind == change.Array || v.Kind == change.Object || v.Kind == change.String {
				if out := v.AppendJSON(nil); !validJSON(out) {
					t.Errorf("class %d: %q gives %q", typ.class, b, out)
				}
			}
		}
	})
}
