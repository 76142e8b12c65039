package bigquery

import (
	"fmt"
	"testing"

	"github.com/sparrowhq/sparrow/event"
	"github.com/sparrowhq/sparrow/warehouse"
	"github.com/sparrowhq/sparrow/warehouse/bigquery/fake"
)

// TestJobOfALostAnswer has the answer to the request for a job lost: for a query, for statements that change rows, for one that
// makes a view. Whether the job was made or not, there is one in the end, what it does was done once, and the caller gets its
// answer. A job that failed is known to have done nothing, so what it was for gets another one.
func TestJobOfALostAnswer(t *testing.T) {
	const make, look = "jobs.insert", "jobs.get"
	for _, f := range []fake.Fault{
		{Call: make, Kind: "nothing"},
		{Call: make, Kind: fake.AnswerLost},    // the job is made
		{Call: make, Kind: fake.InternalAfter}, // it is made, and the client library tries again
		{Call: make, Kind: fake.RequestLost},   // it is not made
		{Call: make, Kind: fake.JobFails},
		{Call: look, Kind: fake.AnswerLost},
	} {
		failed := 0
		if f.Kind == fake.JobFails {
			failed = 1
		}
		t.Run(f.Call+" "+string(f.Kind), func(t *testing.T) {
			t.Parallel()
			s := start(t, fake.Options{})
			o := options(s)
			o.DigestFrames = 8
			e := open(t, o)
			defer e.Close()
			_, hers := annsTraffic(t, e)
			const asked = "green.raw_log WHERE 4711"
			for _, c := range []struct {
				part string // of the statement
				jobs int    // that have it
				do   func() error
				sql  string // asks what was done
				want int64
			}{
				{asked, 1, func() error {
					rows, err := e.Query(t.Context(), warehouse.Query{SQL: "SELECT COUNT(*) AS n FROM green.raw_log WHERE 4711 = 4711"})
					if err != nil {
						return err
					}
					defer rows.Close()
					row, err := rows.Next()
					if err == nil && row[0].(int64) == 0 {
						err = fmt.Errorf("answered %v", row)
					}
					return err
				}, "SELECT COUNT(*) FROM cursors WHERE stack = 'green' AND stage = 'raw'", 1},
				{"INSERT INTO `project`.`green`.`digests`", 2, func() error { return e.MakeDigests(t.Context(), 8, 15) },
					"SELECT CAST(SUM(marks) AS INT64) FROM green.digests WHERE `first` = 8 AND stage = 'raw'", 1},
				{"VIEW `project`.`green`.`raw_normalized`", 1, func() error {
					return e.Normalise(t.Context(), event.Green, []warehouse.Property{{Name: "colour", Keys: []string{"colour"}, Type: warehouse.TypeString}})
				}, "SELECT COUNT(colour) FROM green.raw_normalized", 0},
				{"UPDATE `project`.`green`.`raw_log`", 2, func() error {
					out, err := e.Erase(t.Context(), ann, "ops")
					if err == nil && out.Rows[event.Green] != uint64(hers) {
						err = fmt.Errorf("said to have erased %+v, want %d rows", out.Rows, hers)
					}
					return err
				}, "SELECT COUNT(*) FROM green.raw_log WHERE erased = 1", int64(hers)},
			} {
				if c.part == asked && (failed > 0 || f.Call != make) {
					continue // its caller is told
				}
				before := s.Jobs(c.part)
				f.Times, f.Of = 1, c.part
				if f.Call != make { // GET, which net/http sends again by itself, but not for ever
					f.Times, f.Of = 3, ""
				}
				s.Set(f)
				if err := c.do(); err != nil {
					t.Errorf("%s: %v", c.part, err)
				}
				if s.Hits() != f.Times {
					t.Errorf("%s: the fault struck %d times", c.part, s.Hits())
				}
				s.Set()
				if n := s.Jobs(c.part) - before; n != c.jobs+failed {
					t.Errorf("%s: %d jobs, want %d", c.part, n, c.jobs+failed)
				}
				if got := count(t, e, c.sql); got != c.want {
					t.Errorf("%s: %s answers %d, want %d", c.part, c.sql, got, c.want)
				}
			}
		})
	}
}
