package bigquery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/rules"
)

// spotsAtOnce bounds the spots that one statement names: its text may have 1 MB.
const spotsAtOnce = 5000

// erasePasses bounds how often an erasure looks for what was appended while it looked before.
const erasePasses = 3

// bufferedFor is for how long BigQuery's documentation has refused to change rows that were streamed.
const bufferedFor = 90 * time.Minute

var _ warehouse.Eraser = (*Engine)(nil)

// erasure is one in progress.
type erasure struct {
	e     *Engine
	who   warehouse.Person
	out   warehouse.Erased
	found map[spot]bool
	later *warehouse.LaterError // rows that BigQuery does not let us change yet
}

// Erase implements warehouse.Eraser. Outcomes are buried before raw rows, which tell where outcomes are: so whatever an
// error or a crash leaves undone, the next Erase finds.
func (e *Engine) Erase(ctx context.Context, who warehouse.Person, by string) (warehouse.Erased, error) {
	x := &erasure{e: e, who: who, found: map[spot]bool{}, out: warehouse.Erased{Rows: map[event.Stack]uint64{}, Outcomes: map[event.Stack]uint64{}}}
	if err := who.Check(); err != nil {
		return x.out, fmt.Errorf("warehouse: erase: %w", err)
	}
	e.mu.Lock()
	closed := e.closed
	if !closed {
		e.reading.Add(1)
	}
	e.mu.Unlock()
	if closed {
		return x.out, ErrClosed
	}
	defer e.reading.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.running, cancel)()
	// One at a time: statements that change the same partition at the same time fail.
	select {
	case e.erasing <- struct{}{}:
		defer func() { <-e.erasing }()
	case <-ctx.Done():
		return x.out, fmt.Errorf("warehouse: erase: waiting for another erasure: %w", context.Cause(ctx))
	}
	err := x.run(ctx)
	if err == nil || len(x.found) > 0 {
		err = errors.Join(err, x.record(context.WithoutCancel(ctx), by))
	}
	if err == nil && x.later != nil {
		err = x.later
	}
	if err != nil {
		return x.out, fmt.Errorf("warehouse: erase: %w", err)
	}
	return x.out, nil
}

// run looks and buries, until a look finds nothing more.
func (x *erasure) run(ctx context.Context) error {
	since := uint64(0)
	for range erasePasses {
		next := x.head()
		before := len(x.found)
		for _, stack := range event.Stacks() {
			if err := x.look(ctx, stack, since); err != nil {
				return err
			}
		}
		if x.e.o.looked != nil {
			x.e.o.looked()
		}
		buried, err := x.bury(ctx)
		if err != nil {
			return err
		}
		if len(x.found) == before && !buried || x.later != nil {
			return nil
		}
		since = next
	}
	return nil
}

// head is a frame below which both stacks' raw rows of run 0 are all stored.
func (x *erasure) head() uint64 {
	head := uint64(1<<63 - 1)
	for _, stack := range event.Stacks() {
		head = min(head, x.e.writers[stack][rawLog].cursor(rules.Key{Stack: stack, Stage: warehouse.Raw}).Frame)
	}
	return head
}

// look finds the person's events of a stack, day by day, so that no statement reads more than one day's rows.
func (x *erasure) look(ctx context.Context, stack event.Stack, since uint64) error {
	var days []calendarDay
	err := x.ask(ctx, x.e.names.days(rawLog.table(stack)), func(r []any) error {
		days = append(days, dayOf(r[0]))
		return nil
	})
	if err != nil {
		return err
	}
	for _, d := range days {
		err := x.ask(ctx, x.e.names.find(stack, x.who, d, since), func(r []any) error {
			if data, ok := r[4].(string); ok && !x.who.In([]byte(data)) {
				return nil
			}
			x.found[spot{uint64(r[0].(int64)), event.Position{Frame: uint64(r[1].(int64)), Request: uint32(r[2].(int64)), Item: uint32(r[3].(int64))}}] = true
			return nil
		}, x.who.ID, []byte(x.who.ID))
		if err != nil {
			return fmt.Errorf("looking in %s: %w", x.e.names.table(rawLog.table(stack)), err)
		}
	}
	x.out.Events = len(x.found)
	return nil
}

func dayOf(v any) calendarDay {
	if n, ok := v.(int64); ok {
		return calendarDay(n)
	}
	return noDay
}

// bury makes tombstones of what lies at the spots, raw last, and reports whether that was anything.
func (x *erasure) bury(ctx context.Context) (any bool, err error) {
	var spots []spot
	for s := range x.found {
		spots = append(spots, s)
	}
	slices.SortFunc(spots, func(a, b spot) int { return a.Position.Compare(b.Position) })
	x.later = nil
	x.e.closing.Lock() // or digests are made of what is about to go
	defer x.e.closing.Unlock()
	for _, l := range []log{outcomesLog, correctionsLog, rawLog} {
		if l == rawLog && x.later != nil {
			break // what still has to be found by its raw row
		}
		if l == rawLog {
			if err := x.forget(ctx, spots); err != nil {
				return any, fmt.Errorf("digests: %w", err)
			}
		}
		for _, stack := range event.Stacks() {
			for part := range slices.Chunk(spots, spotsAtOnce) {
				n, err := x.buryPart(ctx, l, stack, part)
				if err != nil {
					return any, fmt.Errorf("in %s: %w", x.e.names.table(l.table(stack)), err)
				}
				any = any || n > 0
			}
		}
	}
	return any, nil
}

// forget deletes the digests of what is erased.
func (x *erasure) forget(ctx context.Context, spots []spot) error {
	for _, stack := range event.Stacks() {
		for part := range slices.Chunk(spots, spotsAtOnce) {
			if err := x.change(ctx, x.e.names.forget(stack, part, x.e.o.DigestFrames)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (x *erasure) buryPart(ctx context.Context, l log, stack event.Stack, spots []spot) (buried uint64, err error) {
	rows := map[calendarDay]int64{}
	err = x.ask(ctx, x.e.names.locate(l.table(stack), spots), func(r []any) error {
		rows[dayOf(r[0])] = r[1].(int64)
		return nil
	})
	if err != nil {
		return 0, err
	}
	days := []calendarDay{}
	for d := range rows {
		days = append(days, d)
	}
	slices.Sort(days)
	for _, d := range days {
		switch err := x.change(ctx, x.e.names.bury(l, stack, d, spots)); {
		case isBuffered(err):
			if x.later == nil {
				x.later = &warehouse.LaterError{After: bufferedFor}
			}
			x.later.Rows += rows[d]
			continue
		case err != nil:
			return buried, err
		}
		n := uint64(rows[d])
		buried += n
		if l == rawLog {
			x.out.Rows[stack] += n
		} else {
			x.out.Outcomes[stack] += n
		}
		x.e.o.Telemetry.Log.Info("erased rows of a partition", slog.String("stack", string(stack)), slog.String("table", string(l)), slog.Uint64("rows", n), slog.Int64("scanned", x.out.Scanned))
	}
	return buried, nil
}

// record notes what was done, for all who ask later.
func (x *erasure) record(ctx context.Context, by string) error {
	x.out.At = time.Now().UnixMicro()
	x.out.Salt, x.out.Hash = x.who.Salted()
	var rows, outcomes uint64
	for _, stack := range event.Stacks() {
		rows, outcomes = rows+x.out.Rows[stack], outcomes+x.out.Outcomes[stack]
	}
	var r row
	r.int(x.out.At)
	for _, text := range []string{x.who.Kind, x.out.Salt, x.out.Hash, by} {
		r.text(text)
	}
	for _, n := range []uint64{uint64(x.out.Events), rows, outcomes} {
		r.int(int64(n))
	}
	if err := x.e.appendShared(ctx, erasuresLog, [][]byte{r.bytes}); err != nil {
		return fmt.Errorf("the record of it: %w", err)
	}
	return nil
}
