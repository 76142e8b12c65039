package journal

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestCloseLeavesNothingRunning(t *testing.T) {
	before := goleak.IgnoreCurrent()
	for range 3 {
		o := options(t.TempDir())
		o.Secret = testSecret
		j := open(t, o)
		publish(t, j, "x")
		r, totals := j.Read(1), j.ReadTotals(1)
		read(t, r, 2, 1000)
		read(t, totals, 2, 1000)
		breakDown(t, j)
		publishWithin(t, j, 10*time.Second)
		read(t, r, 3, 1000)
		r.Close()
		totals.Close()
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
	goleak.VerifyNone(t, before)
}
