package event_test

import (
	"encoding/json"
	"math"
	"math/big"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/sparrowhq/sparrow/event"
)

func randomID(r *rand.Rand) uuid.UUID {
	var id uuid.UUID
	for i := range id {
		id[i] = byte(r.Uint32())
	}
	return id
}

// The definition is textual, since warehouses compute it from the eventId: the last 15 hexadecimal digits.
func TestIDTailIsTheLast15HexDigits(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	ids := []uuid.UUID{{}, uuid.Max, uuid.MustParse("01890a5d-ac96-774b-bcce-b302099a8057"), uuid.Must(uuid.NewV7())}
	for range 1000 {
		ids = append(ids, randomID(r))
	}
	for _, id := range ids {
		digits := strings.ReplaceAll(id.String(), "-", "")
		want, err := strconv.ParseUint(digits[len(digits)-15:], 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		if got := event.IDTail(id); got != want || got > math.MaxInt64 {
			t.Errorf("IDTail(%s) = %d, want %d, a signed 64-bit integer", id, got, want)
		}
	}
}

func bigSum(s event.Sum) *big.Int {
	n := new(big.Int).SetUint64(s.Hi)
	return n.Add(n.Lsh(n, 64), new(big.Int).SetUint64(s.Lo))
}

func TestSumIsExactIn128Bits(t *testing.T) {
	edges := []uint64{0, 1, 1<<60 - 1, 1 << 60, math.MaxInt64, math.MaxUint64 - 1, math.MaxUint64}
	var sums []event.Sum
	for _, hi := range edges {
		for _, lo := range edges {
			sums = append(sums, event.Sum{Hi: hi, Lo: lo})
		}
	}
	r := rand.New(rand.NewPCG(4, 4))
	for range 30 {
		sums = append(sums, event.Sum{Hi: r.Uint64(), Lo: r.Uint64()})
	}
	mod := new(big.Int).Lsh(big.NewInt(1), 128)
	for _, s := range sums {
		if got, want := s.String(), bigSum(s).String(); got != want {
			t.Fatalf("%#v is written %s, want %s", s, got, want)
		}
		back, err := event.ParseSum(s.String())
		if err != nil || back != s {
			t.Fatalf("ParseSum(%s) = %v, %v", s, back, err)
		}
		for _, u := range sums {
			want := new(big.Int).Add(bigSum(s), bigSum(u))
			if got := bigSum(s.Add(u)); got.Cmp(want.Mod(want, mod)) != 0 {
				t.Fatalf("%v + %v = %v, want %v", s, u, got, want)
			}
		}
	}
}

func TestParseSumRefuses(t *testing.T) {
	for _, text := range []string{
		"", " ", "-1", "+1", "1 ", " 1", "1_000", "0x10", "1e3", "1.0", "١", "340282366920938463463374607431768211456",
		strings.Repeat("9", 40), strings.Repeat("0", 100000),
	} {
		if s, err := event.ParseSum(text); err == nil {
			t.Errorf("ParseSum(%.50q) = %v, want an error", text, s)
		} else if len(err.Error()) > 200 {
			t.Errorf("an error of %d bytes repeats its input", len(err.Error()))
		}
	}
	if s, err := event.ParseSum("340282366920938463463374607431768211455"); err != nil || s != (event.Sum{Hi: math.MaxUint64, Lo: math.MaxUint64}) {
		t.Errorf("2^128-1 is read as %v, %v", s, err)
	}
}

func TestTotalsForms(t *testing.T) {
	full := event.Totals{Requests: 3, Bytes: 700, FirstAt: 1700000000000001, LastAt: 1700000000999999, IDSum: event.Sum{Hi: 1, Lo: 5}}
	for _, row := range []struct {
		totals       event.Totals
		header, json string
	}{
		{event.Totals{}, "0 0 0 0 0", `{"requests":0,"bytes":0,"firstAt":0,"lastAt":0,"idSum":"0"}`},
		{full, "3 700 1700000000000001 1700000000999999 18446744073709551621",
			`{"requests":3,"bytes":700,"firstAt":1700000000000001,"lastAt":1700000000999999,"idSum":"18446744073709551621"}`},
	} {
		if got := row.totals.String(); got != row.header {
			t.Errorf("header form %q, want %q", got, row.header)
		}
		back, err := event.ParseTotals(row.header)
		if err != nil || back != row.totals {
			t.Errorf("ParseTotals(%q) = %v, %v", row.header, back, err)
		}
		encoded, err := json.Marshal(row.totals)
		if err != nil || string(encoded) != row.json {
			t.Errorf("JSON form %s, %v; want %s", encoded, err, row.json)
		}
		var decoded event.Totals
		if err := json.Unmarshal(encoded, &decoded); err != nil || decoded != row.totals {
			t.Errorf("JSON form read as %v, %v", decoded, err)
		}
	}
	for _, header := range []string{"", "1 2 3 4", "1 2 3 4 5 6", "1 2 3 4 5 ", " 1 2 3 4 5", "1  2 3 4 5", "-1 2 3 4 5", "1 2 3 4 x", "1 2 3 4 -5", "1\t2 3 4 5"} {
		if got, err := event.ParseTotals(header); err == nil {
			t.Errorf("ParseTotals(%q) = %v, want an error", header, got)
		}
	}
	for _, text := range []string{`{"idSum":5}`, `{"idSum":"-5"}`, `{"idSum":null}`} {
		var got event.Totals
		if err := json.Unmarshal([]byte(text), &got); err == nil {
			t.Errorf("%s is read as %v, want an error", text, got)
		}
	}
}

// Totals over any grouping and order of the same requests are equal: that is what lets ledger lines, headers and
// warehouse rows be compared.
func TestTotalsDoNotDependOnGrouping(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	type request struct {
		id   uuid.UUID
		body int
		at   int64
	}
	for range 200 {
		all := make([]request, r.IntN(40))
		for i := range all {
			all[i] = request{randomID(r), r.IntN(5000), r.Int64N(2e15) - 1e15}
		}
		var whole event.Totals
		for _, q := range all {
			whole.Add(q.id, q.body, q.at)
		}
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		groups := make([]event.Totals, 1+r.IntN(8))
		for _, q := range all {
			groups[r.IntN(len(groups))].Add(q.id, q.body, q.at)
		}
		var merged event.Totals
		for _, g := range groups {
			merged.Merge(g)
		}
		if diff := cmp.Diff(whole, merged); diff != "" {
			t.Fatalf("merged differs (-whole +merged):\n%s", diff)
		}
		if len(all) > 0 {
			lost := event.Totals{}
			for _, q := range all[1:] {
				lost.Add(q.id, q.body, q.at)
			}
			lost.Add(randomID(r), all[0].body, all[0].at)
			if lost.IDSum == whole.IDSum {
				t.Fatal("another request in the place of one leaves the sum as it was")
			}
		}
	}
}

func BenchmarkTotalsHeader(b *testing.B) {
	t := event.Totals{Requests: 30, Bytes: 7000, FirstAt: 1700000000000001, LastAt: 1700000000999999, IDSum: event.Sum{Hi: 1, Lo: 5}}
	for b.Loop() {
		if _, err := event.ParseTotals(t.String()); err != nil {
			b.Fatal(err)
		}
	}
}
