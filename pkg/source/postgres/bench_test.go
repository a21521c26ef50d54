package postgres

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

// message builds a pgoutput message for tests.
type message []byte

func (m message) u8(v byte) message    { return append(m, v) }
func (m message) u16(v uint16) message { return binary.BigEndian.AppendUint16(m, v) }
func (m message) u32(v uint32) message { return binary.BigEndian.AppendUint32(m, v) }
func (m message) u64(v uint64) message { return binary.BigEndian.AppendUint64(m, v) }
func (m message) str(s string) message { return append(append(m, s...), 0) }
func (m message) tuple(values ...string) message {
	m = m.u16(uint16(len(values)))
	for _, v := range values {
		switch v {
		case "\x00null":
			m = m.u8('n')
		case "\x00toast":
			m = m.u8('u')
		default:
			m = append(m.u8('t').u32(uint32(len(v))), v...)
		}
	}
	return m
}

const null, toast = "\x00null", "\x00toast"

func begin(at uint64, xid uint32) message { return message{'B'}.u64(at).u64(0).u32(xid) }
func commit(at, end uint64) message {
	return message{'C'}.u8(0).u64(at).u64(end).u64(0)
}

// saleRelation is the bench's table: id, customer, product, quantity, price, at.
func saleRelation(oid uint32) message {
	m := message{'R'}.u32(oid).str("public").str("sale").u8('d').u16(6)
	for i, c := range []struct {
		name string
		typ  uint32
	}{{"id", 20}, {"customer_id", 20}, {"product", 25}, {"quantity", 23}, {"price", 1700}, {"sold_at", 1184}} {
		m = m.u8(map[bool]byte{true: 1}[i == 0]).str(c.name).u32(c.typ).u32(0xffffffff)
	}
	return m
}

func offline(tb testing.TB, from change.Mark) *decoder {
	tb.Helper()
	log := slog.New(slog.DiscardHandler)
	nothing := func(context.Context, func(context.Context, *pgx.Conn) error) error { return nil } // as if every table were gone
	rels := &relations{types: newTypes(newTypeLog(func(string, string) {})), lookup: nothing, known: map[uint32]*relation{}}
	d, err := newDecoder(from, rels, rules{}, func() {}, log)
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

// BenchmarkDecode decodes frames of transactions of 100 rows as they lie in the
// reader's memory; ns/op is for one row.
func BenchmarkDecode(b *testing.B) {
	ctx := context.Background()
	row := message{'I'}.u32(7).u8('N').tuple("123456", "4711", "a product with a name of some length, about eighty bytes altogether, as in shops", "3", "1234.50", "2024-03-09 21:00:00.123456+00")
	d := offline(b, change.Mark{})
	if err := d.message(ctx, saleRelation(7)); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(row)))
	b.ReportAllocs()
	chunk := []byte{}
	at := uint64(1000)
	for i := 0; b.Loop(); i++ {
		if i%100 == 0 {
			if i > 0 {
				_ = d.message(ctx, commit(at, at+50))
			}
			at += 100
			_ = d.message(ctx, begin(at, uint32(i)))
		}
		if len(chunk) < len(row) {
			chunk = make([]byte, 256<<10) // as wire does
		}
		n := copy(chunk, row)
		if err := d.message(ctx, chunk[:n:n]); err != nil {
			b.Fatal(err)
		}
		chunk = chunk[n:]
		if d.full() {
			d.take()
		}
	}
}

// BenchmarkStream reads a backlog of 200,000 rows from a real server, in transactions
// of 100 and in one, and prints rows per second from the start of Run, and this
// process's CPU seconds for 100,000 rows.
func BenchmarkStream(b *testing.B) {
	const rows = 200_000
	for _, per := range []int{100, rows} {
		b.Run(fmt.Sprintf("tx=%d", per), func(b *testing.B) {
			db := newDatabase(b, servers(b)[0])
			db.exec("create table sale (id bigint primary key, customer_id bigint, product text, quantity int, price numeric(10,2), sold_at timestamptz)")
			var took, cpu time.Duration
			for i := range b.N {
				cfg := db.config()
				cfg.Slot = fmt.Sprintf("%s_%d", db.name, i)
				st := &memory{}
				s := newSource(b, cfg)
				state, err := s.Prepare(context.Background(), st.last(), st.save)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := s.Publish(context.Background(), []source.TableName{{Schema: "public", Name: "sale"}}); err != nil {
					b.Fatal(err)
				}
				db.exec(fmt.Sprintf(`do $$ begin for i in 0..%d loop
					insert into sale select %d + i * %d + g, g %% 1000, 'product ' || g || repeat('x', 60), 3, 12.50, now() from generate_series(1, %d) g;
					commit; end loop; end $$`, rows/per-1, i*rows, per, per))
				t, c := drain(b, s, state.Mark, rows)
				took, cpu = took+t, cpu+c
			}
			b.ReportMetric(float64(rows*b.N)/took.Seconds(), "rows/s")
			b.ReportMetric(cpu.Seconds()/float64(rows*b.N)*1e5, "CPU-s/100k")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// drain runs s until rows row changes came, and closes it.
func drain(b *testing.B, s *Source, from change.Mark, rows int) (took, cpu time.Duration) {
	b.Helper()
	ctx, stop := context.WithCancel(context.Background())
	out, done := make(chan source.Batch, 16), make(chan error, 1)
	began, used := time.Now(), cpuTime()
	go func() { done <- s.Run(ctx, from, out) }()
	for n := 0; n < rows; {
		for _, c := range <-out {
			if c.Op != change.Commit {
				n++
			} else if c.Tx.End != "" {
				s.Ack(c.Tx.End)
			}
		}
	}
	took, cpu = time.Since(began), cpuTime()-used
	stop()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	return took, cpu
}

func cpuTime() time.Duration {
	var ru syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}
