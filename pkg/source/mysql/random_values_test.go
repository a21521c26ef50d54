package mysql

import (
	"context"
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/waltrigger/waltrigger/pkg/change"
	"github.com/waltrigger/waltrigger/pkg/source"
)

// randomDouble is a number of any size, plain ones more often.
func randomDouble(r *rand.Rand) float64 {
	switch r.IntN(4) {
	case 0:
		return float64(r.IntN(2000)-1000) / 8
	case 1:
		return math.Round(r.NormFloat64()*1e6) / 1e4
	case 2:
		return r.NormFloat64() * math.Pow(10, float64(r.IntN(40)-20))
	}
	for {
		if f := math.Float64frombits(r.Uint64()); !math.IsNaN(f) && !math.IsInf(f, 0) {
			return f
		}
	}
}

func randomJSON(r *rand.Rand, depth int) string {
	switch n := r.IntN(9); {
	case n == 0:
		return "null"
	case n == 1:
		return strconv.FormatBool(r.IntN(2) == 0)
	case n == 2:
		return strconv.FormatInt(int64(r.Uint64())>>r.IntN(64), 10)
	case n == 3 || n == 4:
		return strconv.FormatFloat(randomDouble(r), 'g', -1, 64)
	case n == 5 || depth > 3:
		return strconv.Quote(strings.Repeat("aé\t\"\\/", r.IntN(4)))
	case n == 6:
		var list []string
		for range r.IntN(6) {
			list = append(list, randomJSON(r, depth+1))
		}
		return "[" + strings.Join(list, ",") + "]"
	}
	var list []string
	for i := range r.IntN(6) {
		list = append(list, fmt.Sprintf("%q: %s", strings.Repeat("k", r.IntN(20)+i), randomJSON(r, depth+1)))
	}
	return "{" + strings.Join(list, ",") + "}"
}

// TestRandomValues writes values that nobody thought of: the log and a query must give
// the same.
func TestRandomValues(t *testing.T) {
	everywhere(t, func(t *testing.T, db *testDB) {
		more := ""
		if db.mariadb {
			more = ", i6 inet6, u uuid"
		}
		db.exec("create table v (id int primary key, d double, f float, n decimal(38,9), t time(6), dt datetime(6), ts timestamp(6) null, b bit(37), j json, x binary(7)" + more + ")")
		db.exec("set time_zone = '+00:00'")
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		r := rand.New(rand.NewPCG(seed, 1))
		reader := start(t, db, "v")
		const rows = 400
		var keys [][]string
		for id := range rows {
			inet := make([]byte, 16)
			for i := range inet {
				if r.IntN(2) == 0 {
					inet[i] = byte(r.Uint32())
				}
			}
			cols := []string{
				strconv.Itoa(id), strconv.FormatFloat(randomDouble(r), 'e', -1, 64), strconv.FormatFloat(float64(float32(r.NormFloat64()*math.Pow(10, float64(r.IntN(30)-15)))), 'e', -1, 32),
				fmt.Sprintf("%d.%09d", int64(r.Uint64())>>r.IntN(63), r.IntN(1e9)),
				fmt.Sprintf("'%s%d:%02d:%02d.%06d'", []string{"", "-"}[r.IntN(2)], r.IntN(838), r.IntN(60), r.IntN(60), r.IntN(1e6)),
				fmt.Sprintf("'%04d-%02d-%02d %02d:%02d:%02d.%06d'", 1+r.IntN(9999), 1+r.IntN(12), 1+r.IntN(28), r.IntN(24), r.IntN(60), r.IntN(60), r.IntN(1e6)),
				fmt.Sprintf("from_unixtime(%d.%06d)", 1+r.IntN(math.MaxInt32-1), r.IntN(1e6)),
				strconv.FormatUint(r.Uint64()>>27, 10), "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(randomJSON(r, 0)) + "'",
				"x'" + hex.EncodeToString(inet[:r.IntN(8)]) + "'",
			}
			if db.mariadb {
				b := append([]byte{}, inet...)
				b[6], b[8] = b[6]&15|byte(1+r.IntN(5))<<4, b[8]&63|128 // versions that the server takes
				cols = append(cols, "inet6_ntoa(x'"+hex.EncodeToString(inet)+"')", fmt.Sprintf("'%x-%x-%x-%x-%x'", b[:4], b[4:6], b[6:8], b[8:10], b[10:]))
			}
			db.exec("insert into v values (" + strings.Join(cols, ", ") + ")")
			keys = append(keys, []string{strconv.Itoa(id)})
		}
		got, err := reader.Rows(context.Background(), source.Query{Table: db.table("v"), Columns: []string{"id"}, Keys: keys})
		if err != nil || len(got.Rows) != rows {
			t.Fatalf("%d rows, error %v", len(got.Rows), err)
		}
		byID := map[string][]change.Value{}
		for _, row := range got.Rows {
			byID[row[0].Text] = row
		}
		for range rows {
			c := reader.row()
			for i, v := range c.After {
				if w := byID[c.After[0].Text][i]; v != w {
					t.Errorf("%s: the log has %v, the table %v", c.Table.Columns[i].Name, v, w)
				}
			}
		}
	})
}
