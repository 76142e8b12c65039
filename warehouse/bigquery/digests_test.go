package bigquery

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/bigquery/fake"
	"github.com/sparrowhq/sparrow/warehouse/rules"
)

// marksIn counts the marks of a stage's buckets in green.
func marksIn(t *testing.T, e *Engine, stage warehouse.Stage) map[int64]int64 {
	t.Helper()
	out := map[int64]int64{}
	err := e.each(t.Context(), "SELECT `first`, CAST(SUM(marks) AS INT64) FROM green.digests WHERE marks > 0 AND stage = ? GROUP BY `first`", func(r []any) error {
		out[r[0].(int64)] = r[1].(int64)
		return nil
	}, string(stage))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestDigestsOfAllRowsOrNone makes digests where rows are not to be seen, where an older build wrote marks that do not
// tell, and while the answers to jobs get lost.
func TestDigestsOfAllRowsOrNone(t *testing.T) {
	all := map[int64]int64{2: 1, 4: 1, 6: 1, 8: 1, 10: 1}
	for name, c := range map[string]struct {
		plant  string
		faults []fake.Fault
		want   map[int64]int64
	}{
		"nothing":             {want: all},
		"rows not to be seen": {plant: `DELETE FROM project.green.raw_log WHERE frame = 7 AND request = 1 AND "cursorStage" IS NULL`, want: map[int64]int64{2: 1, 4: 1, 8: 1, 10: 1}},
		"one row too many":    {plant: `INSERT INTO project.green.raw_log SELECT * FROM project.green.raw_log WHERE frame = 7 AND request = 1 AND "cursorStage" IS NULL`, want: map[int64]int64{2: 1, 4: 1, 8: 1, 10: 1}},
		"an older build":      {plant: `UPDATE project.green.raw_log SET "cursorFirst" = NULL WHERE "cursorStage" IS NOT NULL AND frame <= 6`, want: map[int64]int64{8: 1, 10: 1}},
		"answers lost":        {faults: []fake.Fault{{Call: "jobs.insert", Kind: fake.AnswerLost, Every: 2}, {Call: "jobs.get", Kind: fake.AnswerLost, Every: 3}}, want: all},
		"internal errors":     {faults: []fake.Fault{{Call: "jobs.insert", Kind: fake.InternalAfter, Every: 2}}, want: all},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, fake.Options{})
			o := options(s)
			o.DigestFrames = 2
			e := open(t, o)
			defer e.Close()
			j := newTraffic(t, 10)
			for from := uint64(0); from < 12; from += 3 {
				if _, err := e.Append(t.Context(), j.batch(event.Green, warehouse.Raw, event.Cursor{Frame: from}, event.Cursor{Frame: from + 3})); err != nil {
					t.Fatal(err)
				}
			}
			if c.plant != "" {
				if err := s.Exec(t.Context(), c.plant); err != nil {
					t.Fatal(err)
				}
			}
			s.Set(c.faults...)
			for range 2 {
				if err := e.MakeDigests(t.Context(), 2, 11); err != nil {
					t.Fatal(err)
				}
			}
			s.Set()
			if got := marksIn(t, e, warehouse.Raw); !cmp.Equal(got, c.want) {
				t.Errorf("marks %v, want %v", got, c.want)
			}
		})
	}
}

// TestMarksTellOfEachBucket packs random batches, and counts their rows otherwise.
func TestMarksTellOfEachBucket(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 5))
	days := partitions{first: 1000, last: 2000}
	for round := range 200 {
		width := 1 + r.Uint64N(4)
		want, got := map[string]span{}, map[string]span{}
		wantRows, gotRows := map[string]int{}, map[string]int{}
		cursors := map[rules.Key]place{}
		at := event.Cursor{}
		for range 1 + r.IntN(3) { // appends
			load := payload{width: width}
			for range 1 + r.IntN(4) { // batches
				b := &warehouse.Batch{Stack: event.Green, Stage: warehouse.Raw, Journal: "j", From: at, To: event.Cursor{Frame: at.Frame + r.Uint64N(9)}}
				for frame := at.Frame; frame < b.To.Frame; frame++ {
					for request := range r.IntN(3) {
						when := 990 + r.Int64N(1020)
						b.Rows = append(b.Rows, warehouse.Row{Position: event.Position{Frame: frame, Request: uint32(request)}, Timestamp: when})
						key := fmt.Sprint(frame / width)
						s := want[key]
						s.take(frame, when, wantRows[key], days)
						want[key] = s
						wantRows[key]++
					}
				}
				at = b.To
				if full, err := load.add(&pending{}, b, cursors, 1<<20, days); full || err != nil {
					t.Fatal(full, err)
				}
			}
			for i, m := range load.marks {
				if i > 0 && m.at.compare(load.marks[i-1].at) < 0 {
					t.Fatalf("round %d: marks %v are not in order", round, load.marks)
				}
				if m.rows == 0 {
					continue
				}
				key := fmt.Sprint(m.first / width)
				if old, ok := got[key]; ok {
					old.and(m.span)
					got[key] = old
				} else {
					got[key] = m.span
				}
				gotRows[key] += m.rows
			}
			if n := len(load.marks); n > 0 && load.marks[n-1].at.Cursor != at {
				t.Fatalf("round %d: the last mark is at %v, the cursor at %v", round, load.marks[n-1].at, at)
			}
			cursors = map[rules.Key]place{{Stack: event.Green, Stage: warehouse.Raw}: {Cursor: at}}
		}
		if d := cmp.Diff(want, got, cmp.AllowUnexported(span{})); d != "" || !cmp.Equal(wantRows, gotRows) {
			t.Fatalf("round %d: rows %v, want %v\n-want +got\n%s", round, gotRows, wantRows, d)
		}
	}
}

// TestGroupsStayInADay cuts at gaps, at midnight, and where stages differ.
func TestGroupsStayInADay(t *testing.T) {
	of := func(n uint64, stages ...warehouse.Stage) shelf {
		s := shelf{number: n, rows: map[warehouse.Stage]int64{}, from: int64(n) * day / 4, to: int64(n)*day/4 + 7}
		for _, stage := range stages {
			s.rows[stage] = 1
		}
		return s
	}
	around := of(9, "a") // midnight
	around.from -= day
	empty := shelf{number: 11, rows: map[warehouse.Stage]int64{"a": 0}, from: lastTime, to: firstTime}
	var got [][]uint64
	for _, g := range groups([]shelf{of(1, "a"), of(2, "a"), of(3, "a", "b"), of(4, "b", "a"), of(5, "a", "b"), of(7, "a"), of(8, "a"), around, of(10, "a"), empty}) {
		var numbers []uint64
		for _, s := range g {
			numbers = append(numbers, s.number)
		}
		got = append(got, numbers)
	}
	want := [][]uint64{{1, 2}, {3}, {4, 5}, {7}, {8}, {9}, {10, 11}}
	if !slices.EqualFunc(got, want, slices.Equal[[]uint64]) {
		t.Errorf("groups %v, want %v", got, want)
	}
}
