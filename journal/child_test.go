package journal

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sparrowhq/sparrow/event"
)

// TestMain lets the test binary be a process of its own, to be killed, traced, or put on a small disk.
func TestMain(m *testing.M) {
	if role := os.Getenv("SPARROW_JOURNAL_CHILD"); role != "" {
		if err := children[role](); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// children are the roles of a child. They take their settings from the environment.
var children = map[string]func() error{
	"publish": publisher,
	"hang":    hanging,
}

// child returns the command that starts this binary in a role.
func child(ctx context.Context, role string, env ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, os.Args[0])
	c.Env = append(os.Environ(), append(env, "SPARROW_JOURNAL_CHILD="+role)...)
	c.Stderr = os.Stderr
	return c
}

func setting(name string) int {
	n, err := strconv.Atoi(os.Getenv(name))
	if err != nil {
		return 0
	}
	return n
}

// publisher publishes FRAMES frames of up to SIZE bytes into DIR, one at a time, and writes "ack <sequence> <sha256>" for
// each once Publish has returned, in one system call. In between it trims, appends control records and sets state.
// Frames that are refused or fail are tried again.
func publisher() error {
	ctx := context.Background()
	o := options(os.Getenv("DIR"))
	o.unsafeNoSync = os.Getenv("UNSAFE_NO_SYNC") != ""
	j, err := Open(ctx, o)
	if err != nil {
		return err
	}
	defer j.Close()
	mix := os.Getenv("MIX") != ""
	for i := range setting("FRAMES") {
		body := make([]byte, 1+rand.IntN(setting("SIZE")))
		for k := range body {
			body[k] = byte(rand.Uint32())
		}
		n, err := j.Publish(ctx, body, event.Totals{Requests: 1})
		for err != nil {
			fmt.Fprintf(os.Stderr, "not acknowledged: %v\n", err)
			time.Sleep(20 * time.Millisecond) // as a client that was told to come back
			n, err = j.Publish(ctx, body, event.Totals{Requests: 1})
		}
		fmt.Fprintf(os.Stdout, "ack %d %x\n", n, sha256.Sum256(body))
		if mix && i%20 == 19 {
			t, err := j.Timeline(ctx)
			if err != nil {
				return err
			}
			head, _ := t.Head()
			r, err := j.AppendControl(ctx, event.Control{Generation: head.Generation + 1, Kind: event.Cutover, Live: head.Live.Other()})
			if err != nil {
				return err
			}
			fmt.Fprintf(os.Stdout, "ack %d %x\n", r.Sequence, sha256.Sum256(r.Bytes))
			if err := j.PutState(ctx, "trimmed", fmt.Append(nil, n)); err != nil {
				return err
			}
			fmt.Fprintf(os.Stdout, "state %d\n", n)
			if n > 300 {
				fmt.Fprintf(os.Stdout, "trim %d\n", n-300)
				if _, err := j.Trim(ctx, n-300); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// hanging publishes into DIR until frames were refused for a while and then taken again.
func hanging() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	j, err := Open(ctx, options(os.Getenv("DIR")))
	if err != nil {
		return err
	}
	defer j.Close()
	go func() {
		for ctx.Err() == nil {
			_, _ = j.Publish(ctx, []byte("x"), event.Totals{})
		}
	}()
	for _, refused := range []bool{true, false} {
		for {
			err := j.Accepting()
			if errors.Is(err, ErrUnavailable) == refused {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("refused: %v, want %v", err, refused)
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	return nil
}

// acks is what a publisher said it was told.
type acks struct {
	sums    map[uint64]string // by sequence
	last    uint64
	state   uint64
	trimmed uint64 // asked to be trimmed
}

// collect reads what a publisher says, until it ends or enough has been acknowledged. A line cut short was never said.
func (a *acks) collect(t testing.TB, r io.Reader, enough int) {
	t.Helper()
	if a.sums == nil {
		a.sums = map[uint64]string{}
	}
	lines := bufio.NewReader(r)
	for n := 0; n < enough; {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		f := strings.Fields(line)
		seq, err := strconv.ParseUint(f[1], 10, 64)
		if err != nil {
			t.Fatalf("the child said %q", line)
		}
		switch f[0] {
		case "ack":
			if a.sums[seq] != "" {
				t.Errorf("sequence %d acknowledged twice", seq)
			}
			a.sums[seq], a.last = f[2], max(a.last, seq)
			n++
		case "state":
			a.state = seq
		case "trim":
			a.trimmed = seq
		}
	}
}

// check reads the journal from its beginning and finds everything acknowledged, unchanged, at its sequence.
func (a *acks) check(t testing.TB, j *Journal) {
	t.Helper()
	b, err := j.Bounds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if b.Last < a.last {
		t.Fatalf("acknowledged up to %d, the journal ends at %d", a.last, b.Last)
	}
	r := j.Read(1)
	defer r.Close()
	next := uint64(1)
	found := map[uint64]bool{}
	for _, e := range read(t, r, b.Last, 1<<20) {
		if e.First != next {
			t.Fatalf("%s from %d follows what ended at %d", e.Kind, e.First, next-1)
		}
		next = e.Last + 1
		if e.Kind == Gap && e.Last > a.trimmed {
			t.Fatalf("a gap from %d to %d, trimmed was up to %d", e.First, e.Last, a.trimmed)
		}
		for seq := e.First; seq <= e.Last; seq++ {
			found[seq] = true
		}
		// What was not acknowledged may be there too: written, and the process killed before it could say so.
		if want, ok := a.sums[e.Sequence]; ok && e.Kind != Gap && want != fmt.Sprintf("%x", sha256.Sum256(e.Data)) {
			t.Fatalf("the %s at %d is not what was acknowledged", e.Kind, e.Sequence)
		}
	}
	for seq := range a.sums {
		if !found[seq] {
			t.Errorf("%d was acknowledged and is not there", seq)
		}
	}
	if a.state == 0 {
		return
	}
	v, err := j.GetState(t.Context(), "trimmed")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := strconv.ParseUint(string(v), 10, 64); err != nil || n < a.state {
		t.Errorf("state is %q, acknowledged was %d", v, a.state)
	}
}

func TestKillLosesNothingAcknowledged(t *testing.T) {
	dir := t.TempDir()
	var a acks
	for round := range 6 {
		c := child(t.Context(), "publish", "DIR="+dir, "FRAMES=1000000", "SIZE=20000", "MIX=1")
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		a.collect(t, out, 40+rand.IntN(400))
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		a.collect(t, out, 1<<30) // what it had said before it died
		if err := c.Wait(); err == nil || c.ProcessState.Exited() {
			t.Fatalf("round %d: the child ended by itself: %v", round, err)
		}
		j := open(t, options(dir))
		a.check(t, j)
		j.Close()
	}
	if len(a.sums) < 240 {
		t.Fatalf("only %d acknowledged", len(a.sums))
	}
}
