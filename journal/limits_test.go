package journal

import (
	"errors"
	"testing"
	"time"
)

func TestFramesStopBeforeTheLimitAndControlRecordsDoNot(t *testing.T) {
	o := options(t.TempDir())
	o.MaxBytes = 4 << 20
	j := open(t, o)
	frames, refusal := publishUntilRefused(t, j, 10_000)
	if !errors.Is(refusal, ErrFull) {
		t.Fatalf("a full journal refuses with %v", refusal)
	}
	b, err := j.Bounds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if b.Bytes > 4<<20/100*95 || b.Bytes < 4<<20/100*94 {
		t.Errorf("frames stopped at %d of %d bytes, want just below 95 %%", b.Bytes, b.MaxBytes)
	}
	for b.Bytes < 4<<20/100*95 {
		cutover(t, j)
		if b, err = j.Bounds(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		cutover(t, j)
	}
	if err := j.Accepting(); !errors.Is(err, ErrFull) {
		t.Errorf("accepting above 95 %%: %v", err)
	}
	if _, err := j.Trim(t.Context(), frames[100].Sequence); err != nil {
		t.Fatal(err)
	}
	if err := j.Accepting(); err != nil {
		t.Errorf("after trimming: %v", err)
	}
	publish(t, j, "more")
}

func TestLoweredLimitKeepsEverythingAndLetsControlRecordsIn(t *testing.T) {
	o := options(t.TempDir())
	o.MaxBytes = 16 << 20
	j := open(t, o)
	frames, _ := publishUntilRefused(t, j, 100_000)
	j.Close()

	o = j.again()
	o.MaxBytes = 2 << 20
	j = open(t, o)
	if err := j.Accepting(); !errors.Is(err, ErrFull) {
		t.Errorf("accepting with 15 MiB under a limit of 2: %v", err)
	}
	checkFrames(t, j, frames)
	cutover(t, j)
	if _, err := j.Trim(t.Context(), frames[len(frames)-5].Sequence); err != nil {
		t.Fatal(err)
	}
	frames = append(frames[len(frames)-4:], publish(t, j, "below the limit"))
	j.Close()

	o = j.again()
	o.MaxBytes = 64 << 20
	j = open(t, o)
	checkFrames(t, j, frames)
	if b, err := j.Bounds(t.Context()); err != nil || b.MaxBytes != 64<<20 {
		t.Errorf("bounds after raising the limit: %+v, %v", b, err)
	}
}

func TestFrameLargerThanAMessageIsRefused(t *testing.T) {
	j := open(t, options(t.TempDir()))
	largest, totals := make([]byte, MaxFrameBytes), frameTotals(t)
	n, err := j.Publish(t.Context(), largest, totals)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := j.Publish(t.Context(), append(largest, 0), totals); err == nil {
		t.Error("a larger one was taken")
	}
	r := j.Read(n)
	defer r.Close()
	if es := read(t, r, n, 1000); len(es) != 1 || len(es[0].Data) != MaxFrameBytes {
		t.Errorf("read %d entries", len(es))
	}
}

func TestAgedFindsWhatIsOlderThanMaxAge(t *testing.T) {
	o := options(t.TempDir())
	j := open(t, o)
	publish(t, j, "1")
	old := publish(t, j, "2")
	young := time.Now()
	for time.Since(young) < 20*time.Millisecond { // the server stamps by its own clock
		publish(t, j, "3")
	}
	j.o.MaxAge = time.Hour
	if n, err := j.Aged(t.Context()); err != nil || n != 0 {
		t.Errorf("older than an hour: up to %d, %v; want nothing", n, err)
	}
	j.o.MaxAge = time.Since(young)
	n, err := j.Aged(t.Context())
	b, boundsErr := j.Bounds(t.Context())
	if err := errors.Join(err, boundsErr); err != nil {
		t.Fatal(err)
	}
	if n < old.Sequence || n >= b.Last {
		t.Errorf("up to %d of %d; frame %d is older, the last younger", n, b.Last, old.Sequence)
	}
	j.o.MaxAge = time.Nanosecond
	if n, err := j.Aged(t.Context()); err != nil || n != b.Last {
		t.Errorf("everything is older than a nanosecond: up to %d, %v; want %d", n, err, b.Last)
	}
}
