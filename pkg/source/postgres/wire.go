package postgres

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

const (
	minChunk = 32 << 10
	maxChunk = 256 << 10
	minRoom  = 8 << 10 // less room than this is not worth a read
	maxFrame = 1<<30 + 1<<20
)

// wire cuts what the server sends into frames (type byte, length, body).
//
// It reads into chunks of memory that are filled once from front to back and never
// written again, so the values of a row may point into them: a row costs no copy. The
// price is that a row somebody keeps holds its whole chunk, up to maxChunk.
type wire struct {
	r     io.Reader
	buf   []byte // the current chunk as far as it is filled
	pos   int    // start of the next frame
	chunk int    // size of the next chunk: small while idle, large while behind
	left  int    // Read: what is left of the frame being handed out
}

func newWire(r io.Reader) *wire { return &wire{r: r, chunk: minChunk} }

// Read serves the client library while it logs in. It never hands out more than the
// frame the library asked for: what follows belongs to next.
func (w *wire) Read(p []byte) (int, error) {
	for w.left == 0 {
		if len(w.buf)-w.pos < 5 {
			if _, err := w.fill(); err != nil {
				return 0, err
			}
			continue
		}
		n := int(binary.BigEndian.Uint32(w.buf[w.pos+1:]))
		if n < 4 || n > maxFrame {
			return 0, fmt.Errorf("read frame: length %d", n)
		}
		w.left = 1 + n
	}
	if w.pos == len(w.buf) {
		if _, err := w.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, w.buf[w.pos:min(len(w.buf), w.pos+w.left)])
	w.pos += n
	w.left -= n
	return n, nil
}

// next returns the next frame if it is there as a whole. body may be written to, and
// is not touched by wire again.
func (w *wire) next() (typ byte, body []byte, ok bool, err error) {
	b := w.buf[w.pos:]
	if len(b) < 5 {
		return 0, nil, false, nil
	}
	n := int(binary.BigEndian.Uint32(b[1:]))
	if n < 4 || n > maxFrame {
		return 0, nil, false, fmt.Errorf("read frame: type %q has length %d", b[0], n)
	}
	if len(b) < n+1 {
		return 0, nil, false, nil
	}
	w.pos += n + 1
	return b[0], b[5 : n+1 : n+1], true, nil
}

// fill reads once, whatever is there.
func (w *wire) fill() (int, error) {
	if cap(w.buf)-len(w.buf) < minRoom {
		w.renew()
	}
	n, err := w.r.Read(w.buf[len(w.buf):cap(w.buf)])
	if n > 0 && n == cap(w.buf)-len(w.buf) {
		w.chunk = min(2*w.chunk, maxChunk)
	}
	w.buf = w.buf[:len(w.buf)+n]
	if n == 0 && err == nil {
		err = errors.New("read frame: nothing read")
	}
	return n, err
}

// renew starts a chunk with the unfinished frame. A large frame's memory grows with
// what has arrived of it, so that a false length cannot claim memory.
func (w *wire) renew() {
	rest := w.buf[w.pos:]
	buf := make([]byte, len(rest), max(w.chunk, 2*len(rest)+minRoom))
	copy(buf, rest)
	w.buf, w.pos = buf, 0
}

// idle shrinks what the next chunk will take, once nothing came for a while.
func (w *wire) idle() { w.chunk = minChunk }

// gather decides when to let data pile up in the socket before the next read, and for
// how long. The server sends one message a call; a reader that wakes for each makes
// both half as fast at three times the cost. It waits only while messages follow each
// other closely, so an idle or moderately busy stream is read at once.
type gather struct {
	wait   time.Duration // before the next read; 0: none
	reads  int           // in the window, while there is no wait
	start  time.Time     // of the window
	sparse int           // reads in a row that brought little in spite of the wait
}

const (
	gatherMin    = 50 * time.Microsecond
	gatherMax    = 800 * time.Microsecond
	gatherWindow = 2 * time.Millisecond
	gatherReads  = 24       // so many reads in a window: the stream is dense
	gatherFull   = 16 << 10 // so large a read: we are behind
	gatherMuch   = 48 << 10 // reads this large are large enough: wait less
	gatherLittle = 512      // so little after a wait: not behind any more
	gatherSparse = 4
)

// saw tells gather what a read brought.
func (g *gather) saw(n int, now time.Time) {
	if g.wait == 0 {
		if now.Sub(g.start) > gatherWindow {
			g.start, g.reads = now, 0
		}
		if g.reads++; n >= gatherFull || g.reads >= gatherReads {
			g.wait, g.sparse = gatherMin, 0
		}
		return
	}
	if n >= gatherLittle {
		g.sparse = 0
	} else if g.sparse++; g.sparse >= gatherSparse {
		*g = gather{start: now}
		return
	}
	switch {
	case n >= gatherMuch:
		g.wait = max(g.wait/2, gatherMin)
	case n < gatherFull:
		g.wait = min(g.wait*2, gatherMax)
	}
}
