package telemetry

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f flood
		// try reports n times and says how many went out, and what the last of them said was suppressed.
		try := func(kind string, n int) (out, suppressed int) {
			for range n {
				if s, ok := f.allow(kind); ok {
					out, suppressed = out+1, s
				}
			}
			return out, suppressed
		}
		expect := func(what string, kind string, n, out, suppressed int) {
			t.Helper()
			if gotOut, gotSuppressed := try(kind, n); gotOut != out || gotSuppressed != suppressed {
				t.Errorf("%s: %d of %d out, %d said to be suppressed; want %d and %d", what, gotOut, n, gotSuppressed, out, suppressed)
			}
		}
		expect("a burst", "a", 100, burst, 0)
		expect("another kind at the same time", "b", 3, 3, 0)
		time.Sleep(interval - 1)
		expect("not a minute later", "a", 10, 0, 0)
		time.Sleep(1 * time.Nanosecond)
		expect("a minute later", "a", 10, 1, 105)
		time.Sleep(90 * time.Second)
		expect("another minute and a half", "a", 1, 1, 9)
		time.Sleep(30 * time.Second) // the half minute is not lost
		expect("half a minute more", "a", 4, 1, 0)
		time.Sleep(time.Hour)
		expect("an hour later, the burst is back and no more", "a", 50, burst, 0)

		for i := range 2 * maxFingerprints {
			f.allow(fmt.Sprint("kind ", i))
		}
		if len(f.kinds) > maxFingerprints+1 {
			t.Errorf("%d kinds are remembered", len(f.kinds))
		}
		expect("a kind too many shares the budget of all such", "yet another", 1, 0, 0)
		expect("while a known one has its own", "b", 10, burst, 0)
	})
}
