package bigquery

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	bq "cloud.google.com/go/bigquery"
	"github.com/google/uuid"
	"google.golang.org/api/googleapi"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/rules"
)

var (
	_ warehouse.Digester    = (*Engine)(nil)
	_ warehouse.DigestMaker = (*Engine)(nil)
)

// DigestFrames implements warehouse.Digester.
func (e *Engine) DigestFrames(context.Context) (uint64, error) { return e.o.DigestFrames, nil }

// mostBuckets bounds the buckets that one statement makes digests of; mostDays, over how many days their rows may lie:
// a statement is billed for the days that it names.
const (
	mostBuckets = 4096
	mostDays    = 2
	day         = int64(24 * time.Hour / time.Microsecond)
)

// shelf is a closed bucket that has no digest yet.
type shelf struct {
	number   uint64 // frames number·width to (number+1)·width − 1
	rows     int64  // by its marks
	from, to int64  // timestamps; from > to: it has no rows
	odd      bool   // some of its rows have no timestamp
}

// MakeDigests implements warehouse.DigestMaker. It is asked for by whoever compares, since reading rows back is what
// comparing costs: a row is read once, by the first comparison of its bucket, and by none after it.
func (e *Engine) MakeDigests(ctx context.Context, first, last uint64) error {
	e.closing.Lock() // two at a time would make the same digests twice, and those count for nothing
	defer e.closing.Unlock()
	width := e.o.DigestFrames
	from, end := (first+width-1)/width, (last+1)/width
	for _, stack := range event.Stacks() {
		for _, l := range []log{rawLog, outcomesLog} {
			for k, at := range e.writers[stack][l].stages() {
				if k.Run != 0 {
					continue
				}
				end := min(end, at.Frame/width)
				if from >= end {
					continue
				}
				if err := e.digestStage(ctx, stack, k.Stage, from, end); err != nil {
					return fmt.Errorf("warehouse: digests of %s, frames %d to %d: %w", stack, from*width, end*width-1, err)
				}
			}
		}
	}
	return nil
}

// digestStage makes the digests of a stage that are lacking in the buckets [first, end).
func (e *Engine) digestStage(ctx context.Context, stack event.Stack, stage warehouse.Stage, first, end uint64) error {
	if end-first > 16*mostBuckets {
		first = end - 16*mostBuckets
	}
	width := e.o.DigestFrames
	have := map[uint64]bool{}
	err := e.each(ctx, e.names.marked(stack), func(r []any) error {
		have[uint64(r[0].(int64))/width] = true
		return nil
	}, string(stage), int64(first*width), int64(end*width-1))
	if err != nil {
		return err
	}
	if uint64(len(have)) == end-first {
		return nil
	}
	shelves, err := e.shelves(ctx, stack, stage, first, end)
	if err != nil {
		return err
	}
	shelves = slices.DeleteFunc(shelves, func(s shelf) bool { return have[s.number] })
	for _, group := range groups(shelves) {
		if group, err = e.whole(ctx, stack, stage, group); err != nil {
			return err
		}
		for _, run := range groups(group) {
			if err := e.insert(ctx, e.names.makeDigests(stack, stage, run, width)); err != nil {
				return err
			}
		}
	}
	return nil
}

// shelves reads from the marks what each bucket has to hold. Of those that an older build filled they do not tell.
func (e *Engine) shelves(ctx context.Context, stack event.Stack, stage warehouse.Stage, first, end uint64) ([]shelf, error) {
	width := e.o.DigestFrames
	at := map[uint64]shelf{}
	untold := uint64(0) // buckets below it
	err := e.each(ctx, e.names.told(stack, logOf(stage), width), func(r []any) error {
		if r[0] == nil {
			untold = uint64(r[5].(int64))/width + 1
			return nil
		}
		s := shelf{number: uint64(r[0].(int64)), rows: r[1].(int64), from: lastTime, to: firstTime, odd: r[4].(int64) > 0}
		if r[2] != nil {
			s.from, s.to = r[2].(int64), r[3].(int64)
		}
		at[s.number] = s
		return nil
	}, string(stage), int64(first*width))
	if err != nil {
		return nil, err
	}
	var out []shelf
	for n := max(first, untold); n < end; n++ {
		s, ok := at[n]
		if !ok {
			s = shelf{number: n, from: lastTime, to: firstTime}
		}
		out = append(out, s)
	}
	return out, nil
}

// groups cuts shelves into runs without a gap, of not too many buckets, and of not too many days.
func groups(all []shelf) [][]shelf {
	var out [][]shelf
	from, to := int64(lastTime), int64(firstTime)
	for i, s := range all {
		if i == 0 || s.number != all[i-1].number+1 || len(out[len(out)-1]) == mostBuckets || max(to, s.to)/day-min(from, s.from)/day >= mostDays && from <= to && s.from <= s.to {
			out = append(out, nil)
			from, to = lastTime, firstTime
		}
		out[len(out)-1] = append(out[len(out)-1], s)
		from, to = min(from, s.from), max(to, s.to)
	}
	return out
}

// whole returns the buckets of which the table shows as many rows, within the days that the marks name, as the marks say.
// Others get no digest: rows that a statement does not see must not look as if they were not there.
func (e *Engine) whole(ctx context.Context, stack event.Stack, stage warehouse.Stage, group []shelf) ([]shelf, error) {
	seen := map[uint64]int64{}
	err := e.each(ctx, e.names.seen(stack, stage, group, e.o.DigestFrames), func(r []any) error {
		seen[uint64(r[0].(int64))] = r[1].(int64)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(group), func(s shelf) bool { return seen[s.number] != s.rows }), nil
}

// insert runs a statement that stores what it reads, exactly once: whatever the outcome of a call, the same job is
// asked for again.
func (e *Engine) insert(ctx context.Context, sql string) error {
	id := "sparrow_digests_" + uuid.NewString()
	ctx, cancel := context.WithTimeout(ctx, e.o.MaxWait*5)
	defer cancel()
	return e.insist(ctx, func() (final bool, err error) {
		q := e.rest.Query(sql)
		q.Location, q.JobID, q.MaxBytesBilled = e.o.Location, id, e.o.MaxScanned
		job, err := q.Run(ctx)
		var api *googleapi.Error
		if errors.As(err, &api) && api.Code == http.StatusConflict { // it is there already
			job, err = e.rest.JobFromIDLocation(ctx, id, e.o.Location)
		}
		if err != nil {
			return permanent(err), err
		}
		s, err := job.Wait(ctx)
		if err != nil {
			return permanent(err), err
		}
		if s.Statistics != nil {
			if d, ok := s.Statistics.Details.(*bq.QueryStatistics); ok {
				e.metrics.billed.Add(float64(d.TotalBytesBilled))
			}
		}
		return true, s.Err() // the job has failed, and stays so
	})
}

// stages returns the keys whose cursors are in the log, and where they stand.
func (w *writer) stages() map[rules.Key]event.Cursor {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[rules.Key]event.Cursor{}
	for k, at := range w.cursors {
		out[k] = at.Cursor
	}
	return out
}
