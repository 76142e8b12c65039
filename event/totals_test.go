package event

import (
	"math"
	"testing"
)

func FuzzTotals(f *testing.F) {
	f.Add(uint64(0), uint64(0), int64(0), int64(0), uint64(0), uint64(0))
	f.Add(uint64(1), uint64(2), int64(-3), int64(4), uint64(0), uint64(math.MaxUint64))
	f.Add(uint64(math.MaxUint64), uint64(math.MaxUint64), int64(math.MinInt64), int64(math.MaxInt64), uint64(math.MaxUint64), uint64(1))
	f.Fuzz(func(t *testing.T, requests, bytes uint64, first, last int64, hi, lo uint64) {
		want := Totals{Requests: requests, Bytes: bytes, FirstAt: first, LastAt: last, IDSum: Sum{Hi: hi, Lo: lo}}
		got, err := ParseTotals(want.String())
		if err != nil || got != want {
			t.Errorf("%q parsed to %+v, %v; want %+v", want.String(), got, err, want)
		}
	})
}

func TestParseTotalsRefuses(t *testing.T) {
	for _, s := range []string{
		"", "1", "1 2 3 4", "1 2 3 4 5 6", "a 2 3 4 5", "1 -2 3 4 5", "1 2 3 4 -5", "1 2 3 4 ", " 1 2 3 4 5", "1  2 3 4 5",
		"18446744073709551616 2 3 4 5", "1 2 3 4 340282366920938463463374607431768211456",
	} {
		if got, err := ParseTotals(s); err == nil {
			t.Errorf("%q parsed to %+v", s, got)
		}
	}
}
