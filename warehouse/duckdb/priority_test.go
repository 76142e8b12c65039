package duckdb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/telemetry"
	"github.com/sparrowhq/sparrow/warehouse"
)

func openTest(t *testing.T, o Options) *Engine {
	t.Helper()
	o.Path = filepath.Join(t.TempDir(), "warehouse", "warehouse.duckdb")
	e, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// initial is the first control record of a journal in which stack is live.
func initial(t *testing.T, stack event.Stack) *event.ControlEntry {
	t.Helper()
	data, err := event.Control{Format: event.ControlFormat, Generation: 1, Kind: event.Initial, Live: stack}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return &event.ControlEntry{Sequence: 1, Record: data}
}

// frames is a batch of whole frames, each of one request with the given number of rows.
func frames(stack event.Stack, from, to uint64, rows int) *warehouse.Batch {
	b := &warehouse.Batch{Stack: stack, Stage: warehouse.Raw, Journal: "j", From: event.Cursor{Frame: from}, To: event.Cursor{Frame: to}}
	for f := max(from, 2); f < to; f++ {
		for i := range rows {
			b.Rows = append(b.Rows, warehouse.Row{Position: event.Position{Frame: f, Request: uint32(i)}, EventID: fmt.Sprintf("%d-%d", f, i), Event: "e", Data: []byte("{}"), ItemsInRequest: 1, Build: "b"})
		}
	}
	return b
}

// TestLiveComesFirst has the candidate write a hundred times the rows of the live stack and looks at the order of
// transactions: while a live batch waits or is written, at most the one candidate transaction that had already been let
// through may begin, and none is larger than its bound.
func TestLiveComesFirst(t *testing.T) {
	const bound = 500
	e := openTest(t, Options{CandidateRows: bound, Patience: 1 << 40})
	var mu sync.Mutex
	waiting := false // the live stack has something queued or in progress
	began, most, candidates, between := 0, 0, 0, 0
	live := e.writers[event.Green].queue
	tell := live.changed
	live.changed = func(batches int, bytes int64) {
		mu.Lock()
		if !waiting && batches > 0 {
			began = 0
		}
		waiting = batches > 0
		mu.Unlock()
		tell(batches, bytes)
	}
	e.begin = func(stack event.Stack, tx *transaction) {
		mu.Lock()
		defer mu.Unlock()
		if stack != event.Blue {
			return
		}
		candidates++
		most = max(most, tx.rows[rawRows])
		if !waiting {
			between++
		} else if began++; began > 1 {
			t.Errorf("%d transactions of the candidate began while one live batch waited", began)
		}
	}
	if _, err := e.Append(t.Context(), &warehouse.Batch{Stack: event.Green, Stage: warehouse.Raw, Journal: "j", To: event.Cursor{Frame: 2}, Controls: []*event.ControlEntry{initial(t, event.Green)}}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var flood sync.WaitGroup
	flood.Go(func() {
		for at := uint64(0); ctx.Err() == nil; at += 10 {
			_, err := e.Append(ctx, frames(event.Blue, at, at+10, 1000))
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
				return
			}
		}
	})
	for at := uint64(2); at < 150; at++ {
		if _, err := e.Append(t.Context(), frames(event.Green, at, at+1, 10)); err != nil {
			t.Fatal(err)
		}
		// The feed's round trip, in which the candidate may go on.
		for spin := 0; spin < 1000; spin++ {
			runtime.Gosched()
		}
	}
	stop()
	flood.Wait()
	if most > bound {
		t.Errorf("a transaction of the candidate had %d rows, the bound is %d", most, bound)
	}
	if candidates == 0 {
		t.Error("the candidate never wrote: nothing was shown")
	}
	t.Logf("%d candidate transactions, %d of them between live batches, the largest of %d rows", candidates, between, most)
}

// TestCandidateIsNotStarved keeps the live stack's load above zero for ever: the candidate goes on, by patience.
func TestCandidateIsNotStarved(t *testing.T) {
	e := openTest(t, Options{Patience: 1})
	if _, err := e.Append(t.Context(), &warehouse.Batch{Stack: event.Green, Stage: warehouse.Raw, Journal: "j", To: event.Cursor{Frame: 2}, Controls: []*event.ControlEntry{initial(t, event.Green)}}); err != nil {
		t.Fatal(err)
	}
	e.gate.set(event.Green, 1)
	if _, err := e.Append(t.Context(), frames(event.Blue, 0, 10, 10)); err != nil {
		t.Fatal(err)
	}
}

// TestWaitingBatchesShareATransaction holds the writer back while batches gather.
func TestWaitingBatchesShareATransaction(t *testing.T) {
	e := openTest(t, Options{})
	var transactions []*transaction
	e.begin = func(_ event.Stack, tx *transaction) { transactions = append(transactions, tx) }
	if _, err := e.Append(t.Context(), frames(event.Green, 0, 2, 0)); err != nil {
		t.Fatal(err)
	}
	e.shared.Lock()
	const batches = 40
	var answers sync.WaitGroup
	for at := uint64(2); at < 2+batches; at++ {
		answers.Go(func() {
			b := frames(event.Green, 0, 3, 5)
			b.Run = at // each a cursor of its own, so that their order does not matter
			if _, err := e.Append(t.Context(), b); err != nil {
				t.Error(err)
			}
		})
	}
	for queued := 0; queued < batches; {
		q := e.writers[event.Green].queue
		q.mu.Lock()
		queued = q.total().batches
		q.mu.Unlock()
	}
	e.shared.Unlock()
	answers.Wait()
	// The writer may have taken the first one or few before the rest had come.
	if n := len(transactions) - 1; n > 3 {
		t.Errorf("%d waiting batches took %d transactions", batches, n)
	}
}

// TestOneBadBatchSparesItsNeighbours fails every transaction that holds a certain row.
func TestOneBadBatchSparesItsNeighbours(t *testing.T) {
	e := openTest(t, Options{})
	if _, err := e.Append(t.Context(), frames(event.Green, 0, 2, 0)); err != nil {
		t.Fatal(err)
	}
	bad := errors.New("bad row")
	e.fault = func(tx *transaction) error {
		for _, p := range tx.parts {
			if p.from.batch.Run == 3 {
				return bad
			}
		}
		return nil
	}
	e.shared.Lock()
	errs := make([]error, 6)
	var answers sync.WaitGroup
	for run := range errs {
		answers.Go(func() {
			b := frames(event.Green, 0, 4, 5)
			b.Run = uint64(run)
			_, errs[run] = e.Append(t.Context(), b)
		})
	}
	for queued := 0; queued < len(errs); {
		q := e.writers[event.Green].queue
		q.mu.Lock()
		queued = q.total().batches
		q.mu.Unlock()
	}
	e.shared.Unlock()
	answers.Wait()
	for run, err := range errs {
		if (run == 3) != errors.Is(err, bad) || (run != 3) != (err == nil) {
			t.Errorf("run %d: %v", run, err)
		}
	}
	e.fault = nil
	b := frames(event.Green, 0, 4, 5)
	b.Run = 3
	if _, err := e.Append(t.Context(), b); err != nil { // nothing of the failed attempts is left
		t.Fatal(err)
	}
	c, err := e.db.connect()
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if n, err := c.value("SELECT count(*) FROM green.raw"); err != nil || n != int64(6*10) {
		t.Errorf("%v rows, %v; want 60", n, err)
	}
	if err := checkCounts(c, event.Green); err != nil {
		t.Error(err)
	}
}

// TestFailingAppendsAreSaidOnce: whoever appends tries again, so the log has one warning, and a word when it is over.
func TestFailingAppendsAreSaidOnce(t *testing.T) {
	var log bytes.Buffer
	tel, err := telemetry.New(telemetry.Options{Process: "warehouse", Output: &log})
	if err != nil {
		t.Fatal(err)
	}
	e := openTest(t, Options{Telemetry: tel})
	e.fault = func(*transaction) error { return errors.New("planted") }
	for range 5 {
		if _, err := e.Append(t.Context(), frames(event.Green, 0, 3, 1)); err == nil {
			t.Fatal("it was appended all the same")
		}
	}
	e.fault = nil
	for at := range uint64(3) {
		from := uint64(0)
		if at > 0 {
			from = at + 2
		}
		if _, err := e.Append(t.Context(), frames(event.Green, from, at+3, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if text := log.String(); strings.Count(text, "level=") != 2 || !strings.Contains(text, `level=WARN msg="appends fail; trying again"`) || !strings.Contains(text, `level=INFO msg="appends work again"`) {
		t.Errorf("the log:\n%s", text)
	}
}
