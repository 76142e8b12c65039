package journal

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
)

// A consumer that passes over messages must not turn into a gap what is still there.
func TestGapIsSplitAtControlRecords(t *testing.T) {
	j := open(t, options(t.TempDir()))
	var controls []Entry
	for range 2 {
		for range 3 {
			publish(t, j, "x")
		}
		controls = append(controls, cutover(t, j))
	}
	first := initial(t, j)
	r := j.Read(1)
	defer r.Close()
	got, err := r.gap(t.Context(), 1, 9)
	if err != nil {
		t.Fatal(err)
	}
	want := []Entry{first, {Sequence: 4, Kind: Gap, First: 2, Last: 4}, controls[0], {Sequence: 8, Kind: Gap, First: 6, Last: 8}, controls[1]}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// The last message was lost, and none comes after it that would show it.
func TestLostLastMessageComesAgain(t *testing.T) {
	j := open(t, options(t.TempDir()))
	r := j.Read(1)
	defer r.Close()
	read(t, r, 1, 1000)
	messages := r.p.messages
	go func() {
		for m := range messages {
			if m.Header.Get("Status") == "" {
				return
			}
			messages <- m
		}
	}()
	// Nobody else takes from the channel yet.
	if err := r.p.ask(1000); err != nil {
		t.Fatal(err)
	}
	want := publish(t, j, "lost")
	got := read(t, r, 2, 1000)
	if d := cmp.Diff([]Entry{want}, got); d != "" {
		t.Error(d)
	}
}

// Messages lost between server and reader must come again, and never be taken for trimmed.
func TestLostMessagesComeAgain(t *testing.T) {
	j := open(t, options(t.TempDir()))
	want := []Entry{initial(t, j)}
	for i := range 600 {
		want = append(want, publish(t, j, fmt.Sprint(i)))
	}
	r := j.Read(1)
	defer r.Close()
	got := read(t, r, 1, 1) // now it has a connection
	stolen := 0
	messages := r.p.messages
	done := make(chan struct{})
	stop := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for stolen < 20 {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			var m *nats.Msg
			select {
			case m = <-messages:
			case <-stop:
				return
			}
			if m.Header.Get("Status") == "" {
				stolen++
			} else {
				messages <- m
			}
		}
	}()
	got = append(got, read(t, r, want[len(want)-1].Sequence, 10_000)...)
	close(stop)
	<-done
	if stolen == 0 {
		t.Fatal("no message was lost")
	}
	t.Logf("%d messages lost on the way", stolen)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%d messages were lost on the way (-want +got):\n%.3000s", stolen, d)
	}
}

// A consumer that is alive and has something, and never brings it, does not keep a reader waiting.
func TestConsumerThatBringsNothingIsReplaced(t *testing.T) {
	j := open(t, options(t.TempDir()))
	r := j.Read(1)
	defer r.Close()
	read(t, r, 1, 1000)
	if err := r.p.ask(1000); err != nil { // it hears heartbeats from now on
		t.Fatal(err)
	}
	e, _, err := j.engine()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.js.PauseConsumer(t.Context(), mainStream, r.p.consumer, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	stuck := r.p.consumer
	want := publish(t, j, "there")
	got := read(t, r, 2, 1000)
	if d := cmp.Diff([]Entry{want}, got); d != "" {
		t.Error(d)
	}
	if r.p.consumer == stuck {
		t.Error("the paused consumer brought it: this test shows nothing")
	}
}
