package supervisor

import (
	"testing"
	"time"
)

func TestBackoff(t *testing.T) {
	b := Backoff{}.withDefaults()
	for failures, want := range map[int]time.Duration{1: 200 * time.Millisecond, 2: 400 * time.Millisecond, 4: 1600 * time.Millisecond, 8: 15 * time.Second, 10_000: 15 * time.Second} {
		if got := b.after(failures, 0); got != want {
			t.Errorf("after %d failures: %s, want %s", failures, got, want)
		}
		if got := b.after(failures, 0.999999); got < want/2 || got > want*51/100 {
			t.Errorf("after %d failures, lowest: %s, want about half of %s", failures, got, want)
		}
	}
}
