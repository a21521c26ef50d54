package postgres

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func validJSON(b []byte) bool { return json.Valid(b) }

func frame(typ byte, body string) message {
	return append(message{typ}.u32(uint32(len(body)+4)), body...)
}

// collect reads every frame of r.
func collect(t *testing.T, w *wire) (types string, bodies []string) {
	t.Helper()
	for {
		typ, body, ok, err := w.next()
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			types += string(typ)
			bodies = append(bodies, string(body))
			for i := range body {
				body[i] = '!' // ours to write to
			}
			continue
		}
		if _, err := w.fill(); errors.Is(err, io.EOF) {
			return types, bodies
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestWireFrames(t *testing.T) {
	big := strings.Repeat("b", 3*maxChunk)
	stream := slicesJoin(frame('d', "one"), frame('E', ""), frame('d', big), frame('d', "last"))
	for name, r := range map[string]io.Reader{
		"at once":      bytes.NewReader(stream),
		"byte by byte": iotest.OneByteReader(bytes.NewReader(stream)),
		"halves":       iotest.HalfReader(bytes.NewReader(stream)),
	} {
		types, bodies := collect(t, newWire(r))
		if types != "dEdd" || bodies[0] != "one" || bodies[1] != "" || bodies[2] != big || bodies[3] != "last" {
			t.Errorf("%s: got %s", name, types)
		}
	}
}

func slicesJoin(ms ...message) []byte {
	var out []byte
	for _, m := range ms {
		out = append(out, m...)
	}
	return out
}

// TestWireHandsOver: the client library reads whole frames and nothing beyond, so that
// what the server sends right after its last answer is not lost.
func TestWireHandsOver(t *testing.T) {
	login, rest := slicesJoin(frame('R', "auth"), frame('W', "both")), slicesJoin(frame('d', "row"))
	w := newWire(bytes.NewReader(append(bytes.Clone(login), rest...)))
	got := make([]byte, 0, 100)
	buf := make([]byte, 64)
	for len(got) < len(login) {
		n, err := w.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, buf[:n]...)
	}
	if !bytes.Equal(got, login) {
		t.Errorf("read %q, want %q", got, login)
	}
	if types, bodies := collect(t, w); types != "d" || bodies[0] != "row" {
		t.Errorf("left %s %q", types, bodies)
	}
}

func TestWireRefusesLengths(t *testing.T) {
	for _, length := range []uint32{0, 3, maxFrame + 1, 1 << 31} {
		w := newWire(bytes.NewReader(message{'d'}.u32(length)))
		if _, err := w.fill(); err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := w.next(); err == nil {
			t.Errorf("length %d is accepted", length)
		}
	}
	// A false length claims no memory before the data is there.
	w := newWire(iotest.HalfReader(bytes.NewReader(message{'d'}.u32(1 << 29))))
	for range 10 {
		if _, _, _, err := w.next(); err != nil {
			t.Fatal(err)
		}
		if _, err := w.fill(); err != nil {
			break
		}
	}
	if cap(w.buf) > maxChunk {
		t.Errorf("%d bytes are held", cap(w.buf))
	}
}

func TestGather(t *testing.T) {
	var g gather
	now := time.Now()
	for range 1000 { // 4,000 small messages a second
		now = now.Add(250 * time.Microsecond)
		if g.saw(200, now); g.wait != 0 {
			t.Fatal("waits on a moderately busy stream")
		}
	}
	for range gatherReads + 1 {
		now = now.Add(8 * time.Microsecond)
		g.saw(200, now)
	}
	if g.wait == 0 {
		t.Fatal("does not wait on a dense stream")
	}
	for range 10 {
		g.saw(4<<10, now)
	}
	if g.wait != gatherMax {
		t.Errorf("waits %v for small reads", g.wait)
	}
	for range 10 {
		g.saw(200<<10, now)
	}
	if g.wait != gatherMin {
		t.Errorf("waits %v for large reads", g.wait)
	}
	for range gatherSparse {
		g.saw(0, now)
	}
	if g.wait != 0 {
		t.Error("still waits when nothing comes")
	}
	if g.saw(gatherFull, now); g.wait == 0 {
		t.Error("a large read does not show that we are behind")
	}
}
