package mysql

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strings"
	"testing"

	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/waltrigger/waltrigger/pkg/change"
)

const anUUID = "bf8f7e60-e9a5-11f1-940a-02fc00000001"

func TestPlace(t *testing.T) {
	for _, text := range []change.Position{
		"binlog.000003:1234@274877908176/" + anUUID + ":1-77",
		"binlog.000003:1234@0/" + anUUID + ":1-77:79,cf8f7e60-e9a5-11f1-940a-02fc00000001:5",
		"binlog.000003:4@7/" + anUUID + ":tag:1-7",
		"binlog.000003:4@7/",
		"mariadb-bin.000001:328@68719477064/0-1-5,7-10-18446744073709551615",
		"mariadb-bin.000001:328@0/-",
		"a@b:c.999999:5000000000@1",
	} {
		p, err := parsePlace(text)
		if err != nil || p.position() != text {
			t.Errorf("%s is read as %s, %v", text, p.position(), err)
		}
	}
	for _, text := range []change.Position{
		"", "binlog.000003", "binlog.000003:4", "binlog.000003@4", ":4@1", "binlog.000003:-4@1", "binlog.000003:4@x", "binlog.000003:4@1/x",
		"binlog.000003:4@1/0-1", "binlog.000003:4@1/0-1-x", "binlog.000003:4@1/" + anUUID + ":0-x", "0/16B3748",
	} {
		if p, err := parsePlace(text); err == nil {
			t.Errorf("%q is read as %+v", text, p)
		}
	}
}

func FuzzPlace(f *testing.F) {
	f.Add("binlog.000003:1234@274877908176/" + anUUID + ":1-77")
	f.Add("binlog.000003:1@1/1-2-3,4-5-6")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parsePlace(change.Position(text))
		if err != nil {
			return
		}
		again, err := parsePlace(p.position())
		if err != nil || again.position() != p.position() {
			t.Errorf("%q: %s, then %s, %v", text, p.position(), again.position(), err)
		}
	})
}

// TestGroupNames: the name of a group fits into an event id whatever it is.
func TestGroupNames(t *testing.T) {
	allowed := regexp.MustCompile(`^[A-Za-z0-9_-]{1,56}$`)
	seen := map[change.Position]string{}
	for _, text := range []string{
		anUUID + ":1", anUUID + fmt.Sprintf(":%d", uint64(math.MaxInt64)), anUUID + ":a:1", anUUID + ":b:1",
		anUUID + ":" + strings.Repeat("z", 32) + fmt.Sprintf(":%d", uint64(math.MaxInt64)),
		"0-1-1", "4294967295-4294967295-18446744073709551615",
	} {
		g, err := parseGTID(text)
		if err != nil || g.String() != text {
			t.Errorf("%s is read as %s, %v", text, g, err)
		}
		p := g.position()
		if !allowed.MatchString(string(p)) || seen[p] != "" {
			t.Errorf("%s and %s: position %s", text, seen[p], p)
		}
		seen[p] = text
	}
	for _, text := range []string{"", "1", "0-1", "0-1-x", "x:1", anUUID + ":x", anUUID + ":a:b:1", "4294967296-1-1"} {
		if g, err := parseGTID(text); err == nil {
			t.Errorf("%q is read as %s", text, g)
		}
	}
	g := group{place: groupPlace{File: "a strange/näme.1234567", Pos: 1 << 35}}
	if p := g.position(); !allowed.MatchString(string(p)) {
		t.Errorf("position %s", p)
	}
}

func TestExecuted(t *testing.T) {
	set := func(text string) *executed {
		e, err := parseExecuted(text)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	add := func(e *executed, text string) {
		g, err := parseGTID(text)
		if err != nil {
			t.Fatal(err)
		}
		e.add(g)
	}
	for _, tt := range []struct{ set, add, want string }{
		{"", ":1", ":1"},
		{":1-5", ":6", ":1-6"},
		{":1-5", ":3", ":1-5"},
		{":1-5:9-10", ":7", ":1-5:7:9-10"},
		{":1-5:7-10", ":6", ":1-10"},
		{":1-5", ":t:1", ":1-5:t:1"},
		{":t:1-5", ":t:6", ":t:1-6"},
	} {
		full := strings.Replace(tt.set, ":", anUUID+":", 1)
		e := set(full)
		before := e.clone()
		add(e, anUUID+tt.add)
		if got := e.String(); got != anUUID+tt.want {
			t.Errorf("%s and %s make %s", tt.set, tt.add, got)
		}
		if before.String() != full {
			t.Errorf("the clone of %s is now %s", full, before)
		}
		if !e.holds(before) || before.holds(e) != (before.String() == e.String()) {
			t.Errorf("%s holds %s: %v, and back %v", e, before, e.holds(before), before.holds(e))
		}
	}
	e := set(anUUID + ":1-9")
	for name, want := range map[string]string{":1": ":2-9", ":5": ":1-4:6-9", ":9": ":1-8", ":12": ":1-9", ":t:5": ":1-9"} {
		g, err := parseGTID(anUUID + name)
		if err != nil {
			t.Fatal(err)
		}
		if got := e.without(g).String(); got != anUUID+want {
			t.Errorf("1-9 without %s is %s", name, got)
		}
	}
	g, _ := parseGTID(anUUID + ":1")
	if got := set(anUUID + ":1").without(g).String(); got != "" {
		t.Errorf("a set without its only transaction is %s", got)
	}
	m := set("0-1-5,3-1-7")
	add(m, "3-2-8")
	add(m, "5-1-1")
	if m.String() != "0-1-5,3-2-8,5-1-1" || !m.holds(set("3-9-8")) || m.holds(set("3-2-9")) || m.holds(set("6-1-1")) {
		t.Errorf("got %s", m)
	}
}

// TestClock: what a Seq is keeps growing over servers, and what Barrier returned lies
// below all that follows.
func TestClock(t *testing.T) {
	ctx := context.Background()
	notes := &memory{}
	c := &clock{notes: notes}
	load := func() {
		all, _ := notes.LoadNotes(ctx)
		if err := c.load(all); err != nil {
			t.Fatal(err)
		}
	}
	connected := func(server, file string, last uint64) {
		if err := c.connected(ctx, server, file, last); err != nil {
			t.Fatal(err)
		}
	}
	load()
	connected("a", "binlog.000007", 0)
	first := c.seq("binlog.000007", 100)
	if first != 7<<seqBits+100 {
		t.Errorf("the first server's is %d", first)
	}
	barrier, err := c.end(ctx, "a", "binlog.000007", 5000)
	if err != nil || barrier <= first {
		t.Errorf("barrier %d, %v", barrier, err)
	}
	connected("a", "binlog.000001", 0) // the same one: nothing changes
	if c.seq("binlog.000007", 100) != first {
		t.Error("the offset changed")
	}
	connected("b", "binlog.000002", first) // counts lower, and the barrier lies ahead
	load()                                 // what was promised survives us
	if got := c.seq("binlog.000002", 4); got <= barrier {
		t.Errorf("after the fail-over %d, the barrier was %d", got, barrier)
	}
	if _, err := c.end(ctx, "a", "binlog.000007", 6000); err == nil {
		t.Error("a barrier of a server that is not read")
	}
	last := c.seq("binlog.000002", 9000)
	connected("a", "binlog.000008", last) // back again
	if got := c.seq("binlog.000008", 4); got <= last {
		t.Errorf("after the return %d, before it %d", got, last)
	}
	notes.fail = errors.New("full")
	if _, err := c.end(ctx, "a", "binlog.000009", 6000); err == nil {
		t.Error("a barrier that is not remembered")
	}
	notes.fail = nil
	if err := c.load(map[string]string{noteClock: "{"}); err == nil {
		t.Error("a broken note is read")
	}
}

// TestReset: a file of the same name that was begun at another time is another file.
func TestReset(t *testing.T) {
	ctx := context.Background()
	c := &clock{notes: &memory{}}
	for i, step := range []struct {
		file       string
		begun      uint32
		any, other bool
	}{
		{"binlog.000001", 10, false, false},
		{"binlog.000001", 10, false, false},
		{"binlog.000002", 20, false, false},
		{"binlog.000002", 30, false, true},
		{"binlog.000002", 30, true, false},
		{"binlog.000002", 30, false, false},
	} {
		if other, err := c.opened(ctx, step.file, step.begun, step.any); err != nil || other != step.other {
			t.Errorf("step %d: %v, %v", i, other, err)
		}
	}
}

// event is one of which only where it ends is of interest.
func event(kind replication.EventType, end uint64, size uint32, flags uint16) *replication.BinlogEvent {
	return &replication.BinlogEvent{Header: &replication.EventHeader{EventType: kind, LogPos: uint32(end), EventSize: size, Flags: flags}}
}

// TestPositionsBeyond4GiB: positions go on where their 32 bits end.
func TestPositionsBeyond4GiB(t *testing.T) {
	const g = 1 << 30
	pos := uint64(fileStart)
	for _, end := range []uint64{g, 3 * g, 4*g - 1, 4*g + 5, 6 * g, 9 * g} {
		if pos = next(pos, event(replication.QUERY_EVENT, end, 50, 0).Header); pos != end {
			t.Fatalf("got %d, want %d", pos, end)
		}
	}
	for _, h := range []*replication.BinlogEvent{event(replication.HEARTBEAT_EVENT, 7, 50, 0), event(replication.FORMAT_DESCRIPTION_EVENT, 7, 50, flagArtificial)} {
		if got := next(pos, h.Header); got != pos {
			t.Errorf("an event that is in no file moves on to %d", got)
		}
	}
	if got := next(pos, event(replication.QUERY_EVENT, 0, 50, 0).Header); got != pos+50 {
		t.Errorf("an event that does not tell its end moves on to %d", got)
	}
}

func TestPassOver(t *testing.T) {
	const g = 1 << 30
	var got []string
	handle := passOver(5*g, func(e *replication.BinlogEvent) error {
		s := fmt.Sprint(e.Header.LogPos)
		if r, ok := e.Event.(*replication.RotateEvent); ok {
			s = fmt.Sprintf("rotate %d", r.Position/g)
		} else if e.Event != nil {
			s = "format"
		}
		got = append(got, s)
		return nil
	})
	rotate, format := event(replication.ROTATE_EVENT, 0, 0, flagArtificial), event(replication.FORMAT_DESCRIPTION_EVENT, 120, 116, 0)
	rotate.Event, format.Event = &replication.RotateEvent{Position: fileStart}, &replication.FormatDescriptionEvent{}
	other := event(replication.ROTATE_EVENT, 0, 0, 0)
	other.Event = &replication.RotateEvent{Position: fileStart}
	for _, e := range []*replication.BinlogEvent{
		rotate, format, event(replication.QUERY_EVENT, g, 9, 0), event(replication.QUERY_EVENT, 4*g-1, 9, 0), event(replication.QUERY_EVENT, 4*g+7, 9, 0),
		event(replication.QUERY_EVENT, 5*g, 9, 0), event(replication.QUERY_EVENT, 5*g+9, 9, 0), other, event(replication.QUERY_EVENT, 200, 9, 0),
	} {
		if err := handle(e); err != nil {
			t.Fatal(err)
		}
	}
	if want := fmt.Sprintf("[rotate 5 format %d rotate 0 200]", uint32(5*g+9-4*g)); fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
}
