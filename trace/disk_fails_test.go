package trace_test

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sparrowhq/sparrow/trace/sandbox"
)

// The disk takes nothing at the moment at which the vendors' answers come: what they said is kept, said to be stuck, and made
// durable once the disk takes it. Nothing is sent again for it, and nothing is forgotten.
func TestResultsWaitForTheDisk(t *testing.T) {
	v, w := startVendors(t), openWarehouse(t)
	l := serveWarehouse(t, w)
	s := spawn(t, t.TempDir(), v.url, "http://"+l.Addr().String())
	t.Cleanup(s.kill)
	files := func(bytes uint64) { // as large as that the process may make its files
		t.Helper()
		var now unix.Rlimit
		if err := unix.Prlimit(s.cmd.Process.Pid, unix.RLIMIT_FSIZE, nil, &now); err != nil {
			t.Fatal(err)
		}
		now.Cur = min(bytes, now.Max)
		if err := unix.Prlimit(s.cmd.Process.Pid, unix.RLIMIT_FSIZE, &now, nil); err != nil {
			t.Fatal(err)
		}
	}
	s.deliver(many(t, 1, 5))
	s.settled()
	v.scenario("rules: [{name: slow, vendor: heap, fault: slow, delay: 1s}]")
	s.deliver(many(t, 6, 5))
	files(1)
	until(t, "it says what is stuck", func() bool {
		return strings.Contains(s.status().Lanes["heap"].Stopped, "results cannot be made durable")
	})
	v.scenario("rules: []")
	files(unix.RLIM_INFINITY)
	s.settled()
	for _, stage := range []string{"trace", "ga4", "heap", "amplitude", "hook"} {
		if got := outcomes(t, w, stage); len(got) != 200 {
			t.Errorf("%s has %d outcomes, want 200", stage, len(got))
		}
	}
	ids := v.ids(sandbox.Heap, "production")
	for id, n := range ids {
		if n != 1 {
			t.Errorf("heap got %s %d times", id, n)
		}
	}
	if len(ids) != 200 {
		t.Errorf("heap got %d events, want 200", len(ids))
	}
}
