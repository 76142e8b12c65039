package bigquery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	bq "cloud.google.com/go/bigquery"

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

// mostBuckets bounds the buckets that one statement makes digests of. Their rows lie in one day, as BigQuery divides its
// tables, where they can: a statement is billed for the days that it names, and must not pass the byte limit.
const (
	mostBuckets = 4096
	day         = int64(24 * time.Hour / time.Microsecond)
)

// shelf is a closed bucket in which stages of a log have no digests yet.
type shelf struct {
	number   uint64                    // frames number·width to (number+1)·width − 1
	rows     map[warehouse.Stage]int64 // of the stages that lack a digest, by their marks
	from, to int64                     // timestamps; from > to: there are no rows
	odd      bool                      // some of the rows have no timestamp
}

// MakeDigests implements warehouse.DigestMaker. It is asked for by whoever compares, since reading rows back is what
// comparing costs: a row is read once, by the first comparison of its bucket, and by none after it.
func (e *Engine) MakeDigests(ctx context.Context, first, last uint64) error {
	e.closing.Lock() // two at a time would make the same digests twice, and those count for nothing
	defer e.closing.Unlock()
	width := e.o.DigestFrames
	from, end := (first+width-1)/width, (last+1)/width
	if from+16*mostBuckets < end {
		from = end - 16*mostBuckets
	}
	var failed []error
	for _, stack := range event.Stacks() {
		for _, l := range []log{rawLog, outcomesLog} {
			ends := map[warehouse.Stage]uint64{}
			for k, at := range e.writers[stack][l].stages() {
				if end := min(end, at.Frame/width); k.Run == 0 && from < end {
					ends[k.Stage] = end
				}
			}
			if len(ends) == 0 {
				continue
			}
			if err := e.digestLog(ctx, stack, l, from, ends); err != nil {
				failed = append(failed, fmt.Errorf("warehouse: digests of %s, %s, from frame %d: %w", stack, l, from*width, err))
			}
			if ctx.Err() != nil {
				return failed[0]
			}
		}
	}
	return errors.Join(failed...)
}

// digestLog makes the digests of a log that are lacking from bucket first on, of each stage before its end. All stages
// of a bucket are read together, since their rows lie together.
func (e *Engine) digestLog(ctx context.Context, stack event.Stack, l log, first uint64, ends map[warehouse.Stage]uint64) error {
	shelves, err := e.shelves(ctx, stack, l, first, ends)
	if err != nil {
		return err
	}
	var failed []error
	for _, group := range groups(shelves) {
		err := e.digestGroup(ctx, stack, l, group)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil { // a bucket around midnight may pass the limit, and those after it need not
			failed = append(failed, err)
		}
		if len(failed) == 3 {
			break
		}
	}
	return errors.Join(failed...)
}

// digestGroup makes the digests of a run of buckets, but for those whose rows are not all to be seen.
func (e *Engine) digestGroup(ctx context.Context, stack event.Stack, l log, group []shelf) error {
	group, err := e.whole(ctx, stack, l, group)
	if err != nil {
		return err
	}
	for _, run := range groups(group) {
		if err := e.insert(ctx, e.names.makeDigests(stack, l, run, e.o.DigestFrames)); err != nil {
			return err
		}
	}
	return nil
}

// shelves returns the buckets that lack digests of some stage, and what they have to hold, as the marks tell it. Of those
// that an older build filled they do not.
func (e *Engine) shelves(ctx context.Context, stack event.Stack, l log, first uint64, ends map[warehouse.Stage]uint64) ([]shelf, error) {
	type slot struct {
		stage  warehouse.Stage
		bucket uint64
	}
	end, width := uint64(0), e.o.DigestFrames
	for _, n := range ends {
		end = max(end, n)
	}
	have := map[slot]bool{}
	err := e.each(ctx, e.names.marked(stack), func(r []any) error {
		have[slot{warehouse.Stage(r[0].(string)), uint64(r[1].(int64)) / width}] = true
		return nil
	}, int64(first*width), int64(end*width-1))
	if err != nil {
		return nil, err
	}
	all := make([]shelf, end-first)
	for i := range all {
		all[i] = shelf{number: first + uint64(i), rows: map[warehouse.Stage]int64{}, from: lastTime, to: firstTime}
		for stage, end := range ends {
			if at := (slot{stage, all[i].number}); at.bucket < end && !have[at] {
				all[i].rows[stage] = 0
			}
		}
	}
	lacking := func(s shelf) bool { return len(s.rows) > 0 }
	if !slices.ContainsFunc(all, lacking) {
		return nil, nil
	}
	err = e.each(ctx, e.names.told(stack, l, width), func(r []any) error {
		stage := warehouse.Stage(r[0].(string))
		if r[1] == nil { // an older build's
			for i := range all[:min(uint64(len(all)), max(first, uint64(r[6].(int64))/width+1)-first)] {
				delete(all[i].rows, stage)
			}
			return nil
		}
		n := uint64(r[1].(int64))
		if n < first || n >= end || !has(all[n-first].rows, stage) {
			return nil
		}
		s := &all[n-first]
		s.rows[stage] += r[2].(int64)
		s.odd = s.odd || r[5].(int64) > 0
		if r[3] != nil {
			s.from, s.to = min(s.from, r[3].(int64)), max(s.to, r[4].(int64))
		}
		return nil
	}, int64(first*width))
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(s shelf) bool { return !lacking(s) }), nil
}

// groups cuts shelves into runs without a gap, of the same stages and not too many buckets, each in one day but for
// buckets that are not.
func groups(all []shelf) [][]shelf {
	var out [][]shelf
	from, to := int64(lastTime), int64(firstTime)
	for i, s := range all {
		if i == 0 || s.number != all[i-1].number+1 || !sameStages(s, all[i-1]) || len(out[len(out)-1]) == mostBuckets || from <= to && s.from <= s.to && min(from, s.from)/day != max(to, s.to)/day {
			out = append(out, nil)
			from, to = lastTime, firstTime
		}
		out[len(out)-1] = append(out[len(out)-1], s)
		from, to = min(from, s.from), max(to, s.to)
	}
	return out
}

func sameStages(a, b shelf) bool {
	return len(a.rows) == len(b.rows) && slices.Equal(a.stages(), b.stages())
}

func (s shelf) stages() []warehouse.Stage { return slices.Sorted(maps.Keys(s.rows)) }

// whole leaves out the stages of a bucket of which the table does not show as many rows, within the days that the marks
// name, as the marks say. They get no digest: rows that a statement does not see must not look as if they were not there.
func (e *Engine) whole(ctx context.Context, stack event.Stack, l log, group []shelf) ([]shelf, error) {
	seen := map[warehouse.Stage]map[uint64]int64{}
	for _, stage := range group[0].stages() {
		seen[stage] = map[uint64]int64{}
	}
	err := e.each(ctx, e.names.seen(stack, l, group, e.o.DigestFrames), func(r []any) error {
		seen[warehouse.Stage(r[0].(string))][uint64(r[1].(int64))] = r[2].(int64)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, s := range group {
		maps.DeleteFunc(s.rows, func(stage warehouse.Stage, n int64) bool { return seen[stage][s.number] != n })
	}
	return slices.DeleteFunc(group, func(s shelf) bool { return len(s.rows) == 0 }), nil
}

// insert runs a statement that stores what it reads, exactly once: whatever the outcome of a call, the same job is
// asked for again.
func (e *Engine) insert(ctx context.Context, sql string) error {
	ctx, cancel := context.WithTimeout(ctx, e.o.MaxWait*5)
	defer cancel()
	q := e.rest.Query(sql)
	q.Location, q.MaxBytesBilled = e.o.Location, e.o.MaxScanned
	return e.insist(ctx, func() (final bool, err error) {
		s, err := e.attempt(ctx, q, "digests")
		if s != nil && s.Statistics != nil {
			if d, ok := s.Statistics.Details.(*bq.QueryStatistics); ok {
				e.metrics.billed.Add(float64(d.TotalBytesBilled))
			}
		}
		return permanent(err), err
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
